"""Tests of the bed's CloudWatch Logs with botocore's own client: that it takes what is right and catches what is not."""

import gzip
import json
import socket
import time
import uuid

import botocore.config
import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, HTTPClientError
from botocore.httpsession import URLLib3Session

from ecsbed.cloudwatch import ACCESS_KEY, DAY, SECRET_KEY, TARGET, CloudWatch
from ecsbed.tasks import REGION


@pytest.fixture
def service():
    service = CloudWatch()
    yield service
    service.stop()
    assert service.server.errors == []


def send(service, operation, body, gzipped=False, headers=None, key=ACCESS_KEY, secret=SECRET_KEY, tamper=lambda data: data):
    """One call signed as SDKs sign it: status and answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": TARGET + operation,
               "Amz-Sdk-Invocation-Id": str(uuid.uuid4()), "Amz-Sdk-Request": "attempt=1; max=1", **(headers or {})}
    if gzipped:
        data = gzip.compress(data)
        headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(data))
    request = AWSRequest("POST", service.endpoint + "/", data=data, headers=headers)
    SigV4Auth(Credentials(key, secret), "logs", REGION).add_auth(request)
    prepared = request.prepare()
    prepared.body = tamper(data)
    answer = URLLib3Session(timeout=5).send(prepared)
    return answer.status_code, json.loads(answer.content)


def make_stream(service):
    assert send(service, "CreateLogStream", {"logGroupName": "group", "logStreamName": "s"}) == (200, {})


def batch(*events, stream="s"):
    return {"logGroupName": "group", "logStreamName": stream,
            "logEvents": [{"timestamp": timestamp, "message": message} for timestamp, message in events]}


def now():
    return int(time.time() * 1000)


def test_what_is_right(service):
    start = now()
    make_stream(service)
    assert send(service, "PutLogEvents", batch((start, "a"), (start, "b\x00ü\U0001f643")))[0] == 200
    assert send(service, "PutLogEvents", batch((start - 1, "c")), gzipped=True)[0] == 200
    assert send(service, "PutLogEvents", batch((start, "{}")), headers={"x-amzn-logs-format": "json/emf"})[0] == 200
    assert service.messages("group", "s") == ["c", "a", "b\x00ü\U0001f643", "{}"]
    assert service.violations == []
    assert [call[0] for call in service.operations()] == ["CreateLogStream"] + ["PutLogEvents"] * 3


def test_botocores_own_client(service):
    client = botocore.session.Session().create_client(
        "logs", region_name=REGION, endpoint_url=service.endpoint, aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY, config=botocore.config.Config(retries={"total_max_attempts": 1}))
    # It signs other headers than the SDK that Docker uses, which alone is what the bed is strict about.
    with pytest.raises(ClientError, match="signed headers are"):
        client.create_log_stream(logGroupName="group", logStreamName="s")


TOO_MUCH = [(1, "x" * 262_118)] * 4 + [(1, "x")]


@pytest.mark.parametrize("body, complaint", [
    (batch(), "less than 1 long"),
    (batch((2, "b"), (1, "a")), "chronological order"),
    (batch((1, "")), "less than 1 long"),
    (batch((2, "a"), (2, "")), "event 1"),
    (batch(*[(1, "x")] * 10_001), "more than 10000"),
    (batch(*TOO_MUCH), "Upload too large"),
    (batch((1, "x" * 1_048_551)), "Log event too large"),
    (batch((1.5, "a")), "no integer"),
    (batch((-1, "a")), "less than 0"),
    ({**batch((1, "a")), "colour": "red"}, "colour is unknown"),
    ({**batch((1, "a")), "logGroupName": "a b"}, "logGroupName is 'a b'"),
    ({**batch((1, "a")), "logStreamName": "a:b"}, "logStreamName is 'a:b'"),
    ({**batch((1, "a")), "logStreamName": ""}, "less than 1 long"),
    ({**batch((1, "a")), "logGroupName": "x" * 513}, "more than 512 long"),
    ({"logEvents": [{"timestamp": 1, "message": "a"}], "logGroupName": "group"}, "logStreamName is missing"),
    (b"{\"logGroupName\": \"\xff\"}", "UnicodeDecodeError"),
    (b"[1,", "JSONDecodeError"),
    ([], "no JSON object"),
])
def test_what_is_wrong(service, body, complaint):
    make_stream(service)
    status, answer = send(service, "PutLogEvents", body)
    assert status == 400 and complaint in answer["message"]
    assert len(service.violations) == 1
    assert service.messages("group", "s") == []


def test_a_day_is_too_long(service):
    make_stream(service)
    start = now() - 2 * DAY
    assert send(service, "PutLogEvents", batch((start, "a"), (start + DAY - 1, "b")))[0] == 200
    status, answer = send(service, "PutLogEvents", batch((start, "a"), (start + DAY, "b")))
    assert status == 400 and "24 hours" in answer["message"]


@pytest.mark.parametrize("wrong, complaint", [
    ({"secret": "not the secret"}, "signature does not match"),
    ({"tamper": lambda data: data.replace(b"one", b"two")}, "signature does not match"),
    ({"headers": {"Content-Type": "application/json"}}, "Content-Type"),
    ({"headers": {"x-amzn-logs-format": "text"}}, "x-amzn-logs-format"),
    ({"key": "AKIDNOBODY"}, "token included in the request is invalid"),
])
def test_bad_signatures_and_headers(service, wrong, complaint):
    status, answer = send(service, "PutLogEvents", batch((1, "one")), **wrong)
    assert status == 400 and complaint in answer["message"]


def test_compressed_bodies_are_checked(service):
    make_stream(service)
    status, answer = send(service, "PutLogEvents", b"not compressed", headers={"Content-Encoding": "gzip"})
    assert (status, answer["__type"]) == (400, "SerializationException")
    status, answer = send(service, "PutLogEvents", gzip.compress(b"{}")[:-4], headers={"Content-Encoding": "gzip"})
    assert (status, answer["__type"]) == (400, "SerializationException")


def test_out_of_the_window(service):
    make_stream(service)
    service.add_group("group", retention_days=3)
    start = now()
    times = [start - 15 * DAY, start - 4 * DAY, start - 1000, start, start + 3 * 3_600_000]
    answer = send(service, "PutLogEvents", batch(*[(at, str(index)) for index, at in enumerate(times)]))[1]
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2,
                                               "tooNewLogEventStartIndex": 4}
    assert service.messages("group", "s") == ["2", "3"]


def test_what_exists(service):
    group, stream = {"logGroupName": "g"}, {"logGroupName": "g", "logStreamName": "s"}
    kinds = []
    for operation, body in (("CreateLogStream", stream), ("CreateLogGroup", group), ("CreateLogGroup", group),
                            ("PutLogEvents", {**batch((1, "a")), **stream}), ("CreateLogStream", stream),
                            ("CreateLogStream", stream)):
        kinds.append(send(service, operation, body)[1].get("__type", "").removesuffix("Exception"))
    assert kinds == ["ResourceNotFound", "", "ResourceAlreadyExists", "ResourceNotFound", "", "ResourceAlreadyExists"]
    service.delete_group("g")
    assert send(service, "CreateLogStream", stream)[1]["__type"] == "ResourceNotFoundException"
    assert service.violations == []


def test_faults(service):
    make_stream(service)
    body = batch((now(), "a"))
    service.fault("PutLogEvents", status=503, type="ServiceUnavailableException")
    assert send(service, "PutLogEvents", body)[0] == 503
    for action in ("drop", "reset", "lost"):
        service.fault("PutLogEvents", action)
        with pytest.raises(HTTPClientError):
            send(service, "PutLogEvents", body)
    assert service.messages("group", "s") == ["a"]      # the lost one was done
    for action in ("html", "garble"):
        service.fault("PutLogEvents", action, status=502)
        with pytest.raises(ValueError):
            send(service, "PutLogEvents", body)
    service.throttle = 1.0
    assert send(service, "PutLogEvents", body)[1]["__type"] == "ThrottlingException"
    service.throttle = 0.0
    service.expired.add(ACCESS_KEY)
    assert send(service, "PutLogEvents", body)[1]["__type"] == "ExpiredTokenException"
    service.expired.clear()
    service.ahead = 3600
    assert send(service, "PutLogEvents", body)[1]["__type"] == "InvalidSignatureException"
    service.ahead = 0
    service.refuse = lambda event: "poison" in event.message
    assert send(service, "PutLogEvents", batch((now(), "poison")))[1]["__type"] == "InvalidParameterException"
    assert service.violations == []


def test_sequence_tokens(service):
    make_stream(service)
    service.tokens = True
    token = send(service, "PutLogEvents", batch((now(), "a")))[1]["nextSequenceToken"]
    answer = send(service, "PutLogEvents", batch((now(), "b")))[1]
    assert (answer["__type"], answer["expectedSequenceToken"]) == ("InvalidSequenceTokenException", token)
    assert send(service, "PutLogEvents", {**batch((now(), "b")), "sequenceToken": token})[0] == 200


def test_slow_reading(service):
    make_stream(service)
    service.rate = 20_000
    client = socket.create_connection(("127.0.0.1", service.listener.getsockname()[1]))
    began = time.monotonic()
    client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10000\r\n\r\n" + bytes(10_000))
    client.recv(1)
    assert time.monotonic() - began >= 0.4
    client.close()


def test_credentials(service):
    service.credentials["/v2/credentials/x"] = {"AccessKeyId": "A"}
    port = service.listener.getsockname()[1]
    for path, status in (("/v2/credentials/x", b"200"), ("/other", b"404")):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
            assert client.makefile("rb").read().split(b" ")[1] == status
