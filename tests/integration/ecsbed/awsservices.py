"""Amazon ECR and AWS Secrets Manager, as far as the agent calls them for tasks: checked like the control plane."""

import base64
import json
import time
import uuid

from . import model, sigv4
from .controlplane import API_SIGNED, JSON_TYPE, USER_AGENT
from .httpd import Server
from .tasks import REGION

TARGETS = {"AmazonEC2ContainerRegistry_V20150921": "ecr", "secretsmanager": "secretsmanager"}


class AwsServices:
    """keys: access key id -> (secret, token). Answers are scripted: `tokens` is what ECR gives as
    user:password, `secrets` maps a secret's id to its text; `error` (status, type, message) replaces both."""

    def __init__(self, instance, pki, keys, port=8444):
        self.endpoint = f"https://127.0.0.1:{port}"
        self.host = f"127.0.0.1:{port}"
        self.keys, self.tokens, self.secrets, self.error = dict(keys), "AWS:password", {}, None
        self.proxy_endpoint = "https://registry.test"
        self.lifetime = 12 * 3600
        self.calls, self.violations = [], []    # calls: (operation, body, access key id)
        self.server = Server(instance.listen("127.0.0.1", port), self._handle, pki.server_context, "aws")

    def stop(self):
        self.server.stop()

    def count(self, operation):
        return sum(1 for call in self.calls if call[0] == operation)

    def _handle(self, request):
        prefix, _, operation = (request.header("X-Amz-Target") or "").partition(".")
        service = TARGETS.get(prefix, "")
        body = json.loads(request.body)
        key = (request.header("Authorization") or "").partition("Credential=")[2].partition("/")[0]
        self.calls.append((operation, body, key))
        self.violations += [f"{operation}: {what}" for what in self._problems(request, service, operation, body)]
        headers = [("Content-Type", JSON_TYPE), ("x-amzn-RequestId", str(uuid.uuid4()))]
        if self.error:
            status, kind, message = self.error
            answer = {"__type": kind, "message": message}
        elif operation == "GetAuthorizationToken":
            status, answer = 200, {"authorizationData": [{
                "authorizationToken": base64.b64encode(self.tokens.encode()).decode(),
                "expiresAt": time.time() + self.lifetime, "proxyEndpoint": self.proxy_endpoint}]}
        elif body.get("SecretId") in self.secrets:
            status, answer = 200, {"Name": "s", "SecretString": self.secrets[body["SecretId"]]}
        else:
            status, answer = 400, {"__type": "ResourceNotFoundException",
                                   "Message": "Secrets Manager can't find the specified secret."}
        request.connection.respond(status, answer, headers)

    def _problems(self, request, service, operation, body):
        if (request.method, request.target) != ("POST", "/"):
            yield f"{request.method} {request.target} instead of POST /"
        if not service:
            yield f"X-Amz-Target: {request.header('X-Amz-Target')}"
            return
        if request.header("Content-Type") != JSON_TYPE:
            yield f"Content-Type: {request.header('Content-Type')}"
        if not USER_AGENT.match(request.header("User-Agent") or ""):
            yield f"User-Agent: {request.header('User-Agent')}"
        yield from sigv4.problems(request, "https", self.keys, REGION, service, API_SIGNED)
        yield from model.problems(operation, body, service)
