"""A scripted ECS control plane: the API, and the ACS and TCS WebSockets, on one port.

Every request and every upgrade is checked (signature, headers, members and types); whatever is wrong is a
violation, and the fixtures fail the test for it in the end. All traffic is in the recording."""

import base64
import calendar
import json
import re
import threading
import time
import uuid
from email.utils import formatdate
from urllib.parse import parse_qsl

from . import model, sigv4, websocket
from .faults import Fault, Faults
from .httpd import Closed, Server
from .recording import Recording
from .tasks import ACCOUNT, CLUSTER, REGION

ACCESS_KEY, SECRET_KEY = "AKIDTESTINSTANCE", "instance/secret+key"
TARGET = "AmazonEC2ContainerServiceV20141113."
JSON_TYPE = "application/x-amz-json-1.1"
API_SIGNED = ("amz-sdk-invocation-id", "amz-sdk-request", "content-length", "content-type", "host",
              "x-amz-date", "x-amz-target")
USER_AGENT = re.compile(r"Amazon ECS Agent - v\d+\.\d+\.\d+ \(\*?[0-9a-f]{7,40}\) \(linux; \w+\) "
                        r"\(\+http://aws\.amazon\.com/ecs/\)( container/\S+)?\Z")
CREDENTIALS_REFUSED = ("ExpiredTokenException", "UnrecognizedClientException")    # the same attempt is signed anew
SDK_REQUEST = re.compile(r"attempt=(\d+); max=(\d+)\Z")
_OPCODES = {websocket.TEXT: "text", websocket.BINARY: "binary", websocket.CLOSE: "close",
            websocket.PING: "ping", websocket.PONG: "pong"}


class ControlPlane:
    def __init__(self, instance, pki=None, port=8443, cluster=CLUSTER, heartbeat=2.0, address="127.0.0.1"):
        """pki None: plain http. heartbeat: seconds between the messages that keep ACS alive; 0: none."""
        self.instance, self.cluster = instance, cluster
        self.scheme = "https" if pki else "http"
        self.endpoint = f"{self.scheme}://{address}" + (f":{port}" if port != 443 else "")
        self.acs_endpoint = self.endpoint    # where DiscoverPollEndpoint sends the agent
        self.docker_version = instance.docker_version()
        self.keys = {ACCESS_KEY: (SECRET_KEY, None)}
        self.recording = Recording()
        self.violations = []
        self.faults = Faults()
        self.refusals = []           # of upgrades: [path, status, body, times]
        self.registered = []         # ARNs of container instances
        self.acs = None              # the newest ACS connection
        self.acs_sessions = 0        # since the last registration
        self.generation = 0          # counts registrations: what a process sent before it was killed may be read late
        self.tags = []
        self.ahead = 0               # seconds that the service's clock is ahead
        self.lossy = False           # attempts may be lost on the way here: numbers may be missing
        self._attempts = {}          # SDK invocation id -> last attempt
        self._dropped = set()        # invocation ids cut off: an HTTP client may resend on its own
        self._stopped = {}           # task ARN -> generation in which STOPPED was accepted
        self._seq = 0
        self._stop = threading.Event()
        self._heartbeat_stop = threading.Event()
        model.load()
        self.server = Server(instance.listen(address, port), self._handle,
                             pki.server_context if pki else None, "control-plane")
        self.acs_server = None       # listen_for_acs: one of its own
        if heartbeat:
            threading.Thread(target=self._heartbeats, args=(heartbeat,), daemon=True).start()

    def stop(self):
        self._stop.set()
        self._heartbeat_stop.set()
        self.faults.clear()
        self.server.stop()
        if self.acs_server:
            self.acs_server.stop()

    def listen_for_acs(self, server_context, port=8444):
        """From the next DiscoverPollEndpoint on ACS is on a port and has a certificate of its own."""
        self.acs_server = Server(self.instance.listen("127.0.0.1", port), self._handle, server_context, "acs")
        self.acs_endpoint = f"https://127.0.0.1:{port}"

    def stop_heartbeats(self):
        """From now on ACS is silent."""
        self._heartbeat_stop.set()

    def violation(self, where, what):
        self.violations.append(f"{where}: {what}")
        self.recording.add("violation", where=where, what=what)

    # --- what a test scripts

    def fault(self, operation, action="error", **options):
        """Makes the next request(s) of an operation go wrong; see faults.Fault."""
        return self.faults.add(Fault(operation, action, **options))

    def refuse_upgrade(self, path="acs", status=500, body="", times=1):
        """Answers the next upgrade(s) of "acs" or "tcs" with this status and body."""
        self.refusals.append([path, status, body, times])

    @property
    def cluster_arn(self):
        return f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{self.cluster}"

    @property
    def instance_arn(self):
        return self.registered[-1]

    def send(self, type, message):
        """Sends one ACS message on the newest connection."""
        self.send_text(json.dumps({"type": type, "message": message}))

    def send_text(self, text, opcode=websocket.TEXT):
        try:
            decoded = json.loads(text)
        except ValueError:
            decoded = None
        fields = {"text": text}
        if isinstance(decoded, dict) and "type" in decoded:
            fields = {"type": decoded["type"], "message": decoded.get("message")}
        self._record_frame(self.acs, "out", opcode, **fields)
        self.acs.socket.send_frame(opcode, text.encode())

    def payload(self, tasks, message_id=None):
        """A payload message as ECS builds it."""
        self._seq += 1
        for task in tasks:
            if task.get("arn"):
                self.instance.note_task(task["arn"])
        return {"messageId": message_id or str(uuid.uuid4()), "clusterArn": self.cluster_arn,
                "containerInstanceArn": self.instance_arn, "seqNum": self._seq,
                "generatedAt": int(time.time() * 1000), "tasks": list(tasks)}

    def send_payload(self, *tasks, message_id=None):
        """Sends tasks; returns the message id. The same id again is a redelivery."""
        message = self.payload(tasks, message_id)
        self.send("PayloadMessage", message)
        return message["messageId"]

    def send_credentials(self, task_arn, credentials, role_type="TaskApplication", message_id=None):
        """Sends a refresh of role credentials; returns the message id."""
        message_id = message_id or str(uuid.uuid4())
        self.send("IAMRoleCredentialsMessage", {"messageId": message_id, "taskArn": task_arn,
                                                "roleType": role_type, "roleCredentials": credentials})
        return message_id

    # --- what a test waits for

    def wait_api(self, operation, timeout=20, since=0, match=lambda body: True, count=1):
        """The (count-th) request of this operation; returns its event."""
        return self.recording.wait(
            lambda e: e["kind"] == "http.request" and e["op"] == operation and match(e["body"]),
            timeout, since, operation, count)

    def wait_task_status(self, arn, status, timeout=30, since=0):
        """The request that reports this status of this task; returns its body."""
        return self.recording.wait(
            lambda e: e["kind"] == "http.request" and e["op"] == "SubmitTaskStateChange"
            and (e["body"]["task"], e["body"]["status"]) == (arn, status),
            timeout, since, f"{status} of {arn}; reported: {self.statuses(arn)}")["body"]

    def wait_container_status(self, arn, name, status, timeout=30, since=0):
        """The container change with this status, as reported."""
        def changes(event):
            if event["kind"] == "http.request" and event["op"] == "SubmitTaskStateChange" \
                    and event["body"]["task"] == arn:
                for change in event["body"].get("containers", []):
                    if (change["containerName"], change["status"]) == (name, status):
                        return change
            return None
        return changes(self.recording.wait(changes, timeout, since, f"{status} of {name} of {arn}"))

    def statuses(self, arn):
        """Statuses reported for a task, in order."""
        return [e["body"]["status"] for e in self.recording.select(
            lambda e: e["kind"] == "http.request" and e["op"] == "SubmitTaskStateChange"
            and e["body"]["task"] == arn)]

    def operations(self, since=0):
        return [e["op"] for e in self.recording.select(lambda e: e["kind"] == "http.request", since)]

    def wait_frame(self, type, timeout=20, since=0, match=lambda message: True):
        """An ACS message from the agent; returns it."""
        return self.recording.wait(
            lambda e: e["kind"] == "ws.frame" and (e["op"], e["dir"], e.get("type")) == ("acs", "in", type)
            and match(e["message"]), timeout, since, type)["message"]

    def wait_ack(self, message_id, timeout=20, since=0, type="AckRequest"):
        return self.wait_frame(type, timeout, since, lambda m: m.get("messageId") == message_id)

    def acks(self, since=0):
        """Every acknowledgement from the agent since then: (type, message), heartbeats left out."""
        return [(e["type"], e["message"]) for e in self.recording.select(
            lambda e: e["kind"] == "ws.frame" and (e["op"], e["dir"]) == ("acs", "in")
            and e.get("type") and e["type"] != "HeartbeatAckRequest", since)]

    def wait_acs(self, timeout=30, since=0):
        """The opening of an ACS connection; returns its event (with the query)."""
        return self.recording.wait(lambda e: e["kind"] == "ws.open" and e["op"] == "acs", timeout, since,
                                   "an ACS connection")

    def settle(self, timeout=20):
        """Returns once the agent has answered a heartbeat sent now: everything before it was handled."""
        message_id = "settle-" + uuid.uuid4().hex
        self.send("HeartbeatMessage", {"healthy": True, "messageId": message_id})
        self.wait_ack(message_id, timeout, type="HeartbeatAckRequest")

    # --- serving

    def _handle(self, request):
        if request.header("Upgrade") or request.path in ("/acs/ws", "/tcs/ws"):
            self._upgrade(request)
            raise Closed
        self._api(request)

    def _api(self, request):
        target = request.header("X-Amz-Target") or ""
        operation = target.removeprefix(TARGET)
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
        event = self.recording.add("http.request", op=operation, method=request.method, path=request.target,
                                   headers=request.headers, body=body)
        if operation == "RegisterContainerInstance":
            self.generation += 1
            self.acs_sessions = 0
        generation = self.generation
        for what in self._attempt_problems(request, operation):
            self.violation(operation or request.target, what)
        if self._signed_at_another_time(request):
            self._refuse_time(request)
            return
        for what in self._api_problems(request, target, operation, body):
            self.violation(operation or request.target, what)
        fault = self.faults.take(operation, body)
        if fault and fault.action == "drop":
            self._dropped.add(request.header("Amz-Sdk-Invocation-Id"))
            raise Closed
        if fault and fault.action == "script":
            self._dropped.add(request.header("Amz-Sdk-Invocation-Id"))
            fault.script(request)
            raise Closed
        if fault and fault.action == "delay":
            self._stop.wait(fault.seconds)
        if fault and fault.action == "hold":
            fault.released.wait()
        if fault and fault.action == "error":
            status, answer = fault.status, {"__type": fault.type, "message": fault.message}
            if fault.type in CREDENTIALS_REFUSED:
                self._dropped.add(request.header("Amz-Sdk-Invocation-Id"))
        elif fault and fault.action == "garble":
            status, answer = 200, "{\"garbled\": [}"
        else:
            status, answer = self._answer(operation, body, generation)
        self.recording.add("http.response", request=event["seq"], op=operation, status=status, body=answer)
        request.connection.respond(status, answer, [("Content-Type", JSON_TYPE),
                                                    ("x-amzn-RequestId", str(uuid.uuid4()))])

    def _signed_at_another_time(self, request):
        """With a clock that is ahead of ours (or behind): what is signed with ours is refused, as by AWS."""
        signed = time.strptime(request.header("X-Amz-Date") or "20000101T000000Z", "%Y%m%dT%H%M%SZ")
        return self.ahead and abs(calendar.timegm(signed) - time.time() - self.ahead) > sigv4.MAX_SKEW

    def _refuse_time(self, request):
        request.connection.respond(
            400, {"__type": "InvalidSignatureException", "message": "Signature expired: it is later now"},
            [("Date", formatdate(time.time() + self.ahead, usegmt=True))])

    def _api_problems(self, request, target, operation, body):
        if (request.method, request.target) != ("POST", "/"):
            yield f"{request.method} {request.target} instead of POST /"
        if not target.startswith(TARGET):
            yield f"X-Amz-Target: {target}"
        if request.header("Content-Type") != JSON_TYPE:
            yield f"Content-Type: {request.header('Content-Type')}"
        if not USER_AGENT.match(request.header("User-Agent") or ""):
            yield f"User-Agent: {request.header('User-Agent')}"
        yield from sigv4.problems(request, self.scheme, self.keys, REGION, "ecs", API_SIGNED, self.ahead)
        yield from model.problems(operation, body)

    def _attempt_problems(self, request, operation):
        """Looked at before all that takes time: an agent that has waited long enough sends the next attempt."""
        invocation = request.header("Amz-Sdk-Invocation-Id") or ""
        try:
            uuid.UUID(invocation)
        except ValueError:
            yield f"Amz-Sdk-Invocation-Id: {invocation!r}"
        attempt = SDK_REQUEST.match(request.header("Amz-Sdk-Request") or "")
        if not attempt:
            yield f"Amz-Sdk-Request: {request.header('Amz-Sdk-Request')}"
            return
        number, most = map(int, attempt.groups())
        if most != (298 if operation.startswith("Submit") else 3):
            yield f"Amz-Sdk-Request: max={most}"
        last = self._attempts.get(invocation, 0)
        lost = self.lossy and number > last
        if number != last + 1 and not lost and not (number == last and invocation in self._dropped):
            yield f"attempt {number} follows attempt {last} of the same call"
        self._attempts[invocation] = number

    def _answer(self, operation, body, generation):
        if not isinstance(body, dict):
            return 400, {"__type": "SerializationException", "message": "no JSON object"}
        if operation == "RegisterContainerInstance":
            arn = body.get("containerInstanceArn")
            if arn is None:
                arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:container-instance/{self.cluster}/{uuid.uuid4().hex}"
            if arn not in self.registered:
                self.registered.append(arn)
            resources = body.get("totalResources", [])
            return 200, {"containerInstance": {
                "containerInstanceArn": arn, "ec2InstanceId": "i-0123456789abcdef0", "status": "ACTIVE",
                "agentConnected": True, "runningTasksCount": 0, "pendingTasksCount": 0, "version": 1,
                "versionInfo": {}, "registeredAt": round(time.time(), 3), "registeredResources": resources,
                "remainingResources": resources, "tags": body.get("tags", []), "attachments": [],
                "attributes": body.get("attributes", []) +
                [{"name": "ecs.availability-zone", "value": REGION + "a"}]}}
        if operation == "CreateCluster":
            return 200, {"cluster": {"clusterName": body.get("clusterName"), "status": "ACTIVE",
                                     "clusterArn": self.cluster_arn}}
        if operation == "DiscoverPollEndpoint":
            return 200, {"endpoint": self.acs_endpoint + "/acs/", "telemetryEndpoint": self.endpoint + "/tcs/",
                         "serviceConnectEndpoint": self.endpoint + "/sc/",
                         "systemLogsEndpoint": self.endpoint + "/logs/"}
        if operation == "SubmitTaskStateChange":
            self._check_state_change(body, generation)
            return 200, {"acknowledgment": "ok"}
        if operation == "SubmitAttachmentStateChanges":
            return 200, {"acknowledgment": "ok"}
        if operation == "UpdateContainerInstancesState":
            return 200, {"containerInstances": [], "failures": []}
        if operation == "ListTagsForResource":
            return 200, {"tags": self.tags}
        return 400, {"__type": "InvalidAction", "message": operation}

    def _check_state_change(self, body, generation):
        """Rules that hold for every report of a task, whatever the test."""
        task, where = body.get("task"), f"SubmitTaskStateChange of {body.get('task')}"
        if body.get("cluster") != self.cluster:
            self.violation(where, f"cluster {body.get('cluster')!r}")
        if "reason" not in body and "attachments" not in body:
            self.violation(where, "reason is missing; it is there even when empty")
        if self._stopped.get(task) == generation:
            self.violation(where, f"{body.get('status')} after STOPPED was accepted")
        untracked = body.get("reason", "").startswith(("UnrecogniedTaskError", "resource cannot be"))
        if body.get("status") == "STOPPED" and not untracked:
            self._stopped[task] = generation

    # --- WebSockets

    def _upgrade(self, request):
        kind = request.path.split("/")[1]
        query = dict(parse_qsl(request.target.partition("?")[2], keep_blank_values=True))
        self.recording.add("ws.upgrade", op=kind, path=request.target, headers=request.headers)
        for what in self._upgrade_problems(request, kind, query):
            self.violation(f"{kind} upgrade", what)
        for refusal in self.refusals:
            if refusal[0] == kind and refusal[3] > 0:
                refusal[3] -= 1
                request.connection.respond(refusal[1], refusal[2])
                return
        session = _Session(kind, websocket.WebSocket(request))
        if kind == "acs":
            self.acs = session
            self.acs_sessions += 1
        self.recording.add("ws.open", op=kind, conn=session.number, query=query)
        code = 1006
        try:
            for opcode, data in session.socket.receive():
                if opcode == websocket.PING:
                    session.socket.send_frame(websocket.PONG, data)
                if opcode == websocket.CLOSE:
                    code = int.from_bytes(data[:2], "big") if data else 1005
                    break
                self._received(session, opcode, data)
        except websocket.ProtocolError as error:
            self.violation(f"{kind} frame", str(error))
        except (OSError, EOFError, ValueError):
            pass
        session.socket.open = False
        self.recording.add("ws.closed", op=kind, conn=session.number, code=code)

    def _upgrade_problems(self, request, kind, query):
        yield from websocket.handshake_problems(request)
        yield from sigv4.problems(request, "https", self.keys, REGION, "ecs", ("host", "x-amz-date"),
                                  self.ahead)
        version = f"{self.docker_version}"
        common = {"agentHash": r"[0-9a-f]{7,40}", "agentVersion": r"\d+\.\d+\.\d+"}
        arn = re.escape(self.registered[-1] if self.registered else "")
        if kind == "acs":
            rules = {**common, "clusterArn": re.escape(self.cluster), "containerInstanceArn": arn,
                     "dockerVersion": re.escape("DockerVersion: " + version), "protocolVersion": "2",
                     "sendCredentials": "false" if self.acs_sessions else "true", "seqNum": "1"}
        else:
            rules = {**common, "cluster": re.escape(self.cluster), "containerInstance": arn,
                     "dockerVersion": re.escape(version)}
        for name in sorted(rules.keys() | query.keys()):
            if name not in query or name not in rules:
                yield f"parameter {name} is {'missing' if name in rules else 'unknown'}"
            elif not re.fullmatch(rules[name], query[name]):
                yield f"parameter {name} is {query[name]!r}, not {rules[name]}"

    def _record_frame(self, session, direction, opcode, **fields):
        self.recording.add("ws.frame", conn=session.number, op=session.kind, dir=direction,
                           opcode=_OPCODES[opcode], **fields)

    def _received(self, session, opcode, data):
        if opcode in (websocket.PING, websocket.PONG):
            self._record_frame(session, "in", opcode, text=base64.b64encode(data).decode())
            return
        text = data.decode(errors="replace")
        if session.kind == "tcs":   # telemetry is signed frame by frame: headers, an empty line, JSON
            text = text.partition("\r\n\r\n")[2]
        try:
            decoded = json.loads(text)
            fields = {"type": decoded["type"], "message": decoded["message"]}
        except (ValueError, KeyError, TypeError):
            fields = {"text": text}
            self.violation(f"{session.kind} frame", f"no envelope: {text[:200]!r}")
        self._record_frame(session, "in", opcode, **fields)

    def _heartbeats(self, interval):
        while not self._heartbeat_stop.wait(interval):
            session = self.acs
            if session and session.socket.open:
                try:
                    self.send("HeartbeatMessage", {"healthy": True, "messageId": str(uuid.uuid4())})
                except OSError:
                    pass


class _Session:
    _numbers = iter(range(1, 1 << 30))

    def __init__(self, kind, socket):
        self.kind, self.socket, self.number = kind, socket, next(self._numbers)
