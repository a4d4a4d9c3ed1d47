"""Verifies AWS Signature Version 4 with botocore's own signer: the request is rebuilt from what came over
the wire, signed again with the date it carries, and the signatures are compared."""

import datetime
import re
from urllib.parse import parse_qsl, quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})\Z")
MAX_SKEW = 300


def problems(request, scheme, keys, region, service, expected_headers, ahead=0):
    """What is wrong with a request's signature: a list of texts, empty when all is well.

    keys maps access key ids to (secret, token or None). expected_headers are the names that must be signed,
    besides x-amz-security-token, which must be there exactly when the key has a token. ahead: seconds that the
    service's clock is ahead of ours."""
    match = _AUTHORIZATION.match(request.header("Authorization") or "")
    if not match:
        return [f"Authorization is missing or malformed: {request.header('Authorization')!r}"]
    key_id, day, signed_region, signed_service, names, signature = match.groups()
    if key_id not in keys:
        return [f"unknown access key id {key_id}"]
    secret, token = keys[key_id]
    found = []

    stamp = request.header("X-Amz-Date") or ""
    try:
        when = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ")
    except ValueError:
        return [f"X-Amz-Date {stamp!r}"]
    if abs((datetime.datetime.utcnow() - when).total_seconds() + ahead) > MAX_SKEW:
        found.append(f"X-Amz-Date {stamp} is not the present time")
    if stamp[:8] != day:
        found.append(f"the date of the scope is {day}, X-Amz-Date {stamp}")
    if (signed_region, signed_service) != (region, service):
        found.append(f"signed for {signed_region}/{signed_service}, not {region}/{service}")
    if request.header("X-Amz-Security-Token") != token:
        found.append("X-Amz-Security-Token is not that of the access key")

    expected = sorted([*expected_headers, *(["x-amz-security-token"] if token else [])])
    if names.split(";") != expected:
        found.append(f"signed headers are {names}, not {';'.join(expected)}")

    path, _, query = request.target.partition("?")
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~"))
                   for name, value in parse_qsl(query, keep_blank_values=True))
    canonical_query = "&".join(f"{name}={value}" for name, value in pairs)
    url = f"{scheme}://{request.header('Host')}{path}" + ("?" + canonical_query if pairs else "")
    again = AWSRequest(method=request.method, url=url, data=request.body,
                       headers={name: request.header(name) or "" for name in names.split(";")})
    again.context["timestamp"] = stamp
    signer = SigV4Auth(Credentials(key_id, secret, token), service, region)
    canonical = signer.canonical_request(again)
    if signer.signature(signer.string_to_sign(again, canonical), again) != signature:
        found.append("the signature does not match; canonical request should be:\n" + canonical)
    return found
