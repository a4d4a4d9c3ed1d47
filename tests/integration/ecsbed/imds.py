"""A fake EC2 instance metadata service (169.254.169.254) that records every request."""

import json
import secrets
import time

from .httpd import Server
from .recording import Recording

MAC = "02:00:00:00:00:01"
TOKEN_HEADER = "X-Aws-Ec2-Metadata-Token"


class Imds:
    """values maps paths to texts and can be changed by a test; v1_only refuses tokens."""

    def __init__(self, instance, region="us-west-2", account="123456789012", v1_only=False):
        self.v1_only = v1_only
        self.recording = Recording()
        self.tokens = set()
        identity = {
            "accountId": account, "architecture": "x86_64", "availabilityZone": region + "a",
            "billingProducts": None, "devpayProductCodes": None, "marketplaceProductCodes": None,
            "imageId": "ami-0123456789abcdef0", "instanceId": "i-0123456789abcdef0",
            "instanceType": "c5.large", "kernelId": None, "pendingTime": "2026-01-01T00:00:00Z",
            "privateIp": "10.0.0.10", "ramdiskId": None, "region": region, "version": "2017-09-30"}
        nic = f"/latest/meta-data/network/interfaces/macs/{MAC}"
        self.values = {
            "/latest/meta-data/instance-id": identity["instanceId"],
            "/latest/meta-data/mac": MAC,
            "/latest/meta-data/network/interfaces/macs": MAC + "/",
            nic + "/vpc-id": "vpc-0123456789abcdef0",
            nic + "/subnet-id": "subnet-0123456789abcdef0",
            "/latest/meta-data/placement/region": region,
            "/latest/meta-data/placement/availability-zone": region + "a",
            "/latest/meta-data/placement/availability-zone-id": "usw2-az1",
            "/latest/meta-data/local-ipv4": "10.0.0.10",
            "/latest/dynamic/instance-identity/document": json.dumps(identity, indent=2),
            "/latest/dynamic/instance-identity/signature": "ZmFrZSBzaWduYXR1cmUg" * 8,
        }
        self.server = Server(instance.listen("169.254.169.254", 80), self._handle, name="imds")

    def set_role(self, access_key, secret_key, token, name="test-instance-role", seconds=6 * 3600):
        """Gives the instance a role."""
        def stamp(when):
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
        base = "/latest/meta-data/iam/security-credentials/"
        self.values[base] = self.values[base.rstrip("/")] = name
        self.values[base + name] = json.dumps({
            "Code": "Success", "LastUpdated": stamp(time.time()), "Type": "AWS-HMAC",
            "AccessKeyId": access_key, "SecretAccessKey": secret_key, "Token": token,
            "Expiration": stamp(time.time() + seconds)}, indent=2)

    def paths(self):
        """The paths asked for, in order."""
        return [event["path"] for event in self.recording.select()]

    def _handle(self, request):
        self.recording.add("http.request", method=request.method, path=request.path,
                           headers=request.headers)
        status, body, headers = self._answer(request)
        request.connection.respond(status, body, [("Content-Type", "text/plain"), *headers])

    def _answer(self, request):
        if request.path == "/latest/api/token":
            if self.v1_only:
                return 403, "", ()
            ttl = request.header("X-aws-ec2-metadata-token-ttl-seconds")
            if request.method != "PUT" or not ttl:
                return 400, "", ()
            token = secrets.token_urlsafe(40)
            self.tokens.add(token)
            return 200, token, [("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", ttl)]
        if not self.v1_only and request.header(TOKEN_HEADER) not in self.tokens:
            return 401, "", ()
        value = self.values.get(request.path)
        if value is None:
            return 404, '<?xml version="1.0"?><error>404 - Not Found</error>', ()
        return 200, value, ()

    def stop(self):
        self.server.stop()
