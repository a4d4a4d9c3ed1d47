"""CloudWatch Logs, as far as log drivers call it: it takes what the service takes, refuses what it would refuse, and keeps
what it has taken.

Every request is checked: signature, headers, and the body with botocore's model and the documented limits of
PutLogEvents. What a client must not send is refused as the service would, and is a violation besides."""

import codecs
import collections
import gzip
import io
import json
import random
import re
import socket
import threading
import time
import uuid
import zlib
from email.utils import formatdate

from . import model, sigv4
from .controlplane import API_SIGNED, JSON_TYPE
from .faults import Fault, Faults
from .httpd import Closed, Server
from .tasks import REGION

TARGET = "Logs_20140328."
ACCESS_KEY, SECRET_KEY = "AKIDTESTLOGS", "logs/secret+key"
# logging.md §4.4
MAX_EVENTS, MAX_BYTES, EVENT_COST, MAX_EVENT = 10_000, 1_048_576, 26, 1_048_576
DAY = 86_400_000
OLDEST, NEWEST = 14 * DAY, 2 * 3_600_000
MAX_PLAIN = 64 << 20    # of a body that was compressed
SIGNED_IF_SENT = ("content-encoding", "x-amzn-logs-format")

Event = collections.namedtuple("Event", "timestamp message")


class Refusal(Exception):
    """An error answer: of a mistake of the client's if it is a violation."""

    def __init__(self, code, message, violation=True, **members):
        super().__init__(message)
        self.code, self.violation, self.members = code, violation, members


class CloudWatch:
    """keys: access key id -> (secret, token). What a test sets:

    faults      fault(operation, action, ...): as faults.Fault, and also "html" (status, a page), "reset", "lost" (done, and
                closed without an answer)
    throttle    share of PutLogEvents calls that are throttled, 0 to 1
    delay       seconds before every answer
    rate        bytes a second that are read of requests; None: all there is
    ahead       seconds that the service's clock is ahead
    expired     access key ids that are refused as expired
    refuse      refuse(event): whether an event makes its batch invalid
    tokens      sequence tokens are wanted, as they were until 2023
    signed      names of the headers that have to be signed
    charset     how bodies are decoded: "strict", or each byte that is no UTF-8 is "replaced", as older SDKs leave it to us
    credentials path -> document, or (status, document): what is served to GET, as the ECS agent does
    """

    def __init__(self, listener=None, tls=None, keys=None, region=REGION, groups=("group",), seed=1):
        self.listener = listener or socket.create_server(("127.0.0.1", 0))
        self.scheme = "https" if tls else "http"
        self.endpoint = "%s://%s:%d" % (self.scheme, *self.listener.getsockname()[:2])
        self.keys, self.region = dict(keys or {ACCESS_KEY: (SECRET_KEY, None)}), region
        self.throttle, self.delay, self.rate, self.ahead = 0.0, 0.0, None, 0
        self.expired, self.refuse, self.tokens, self.credentials = set(), None, False, {}
        self.signed, self.charset = API_SIGNED, "strict"
        self.faults = Faults()
        self.random = random.Random(seed)
        self.changed = threading.Condition()
        self.groups = {name: None for name in groups}    # name -> retention in ms, None: for ever
        self.streams = {}                                # (group, stream) -> [Event], as they arrived
        self.calls = []                                  # (operation, status, code, events, bytes of the body)
        self.headers = []                                # of each of them: names in small letters -> values
        self.violations = []
        self._token = {}
        self._stop = threading.Event()
        self.tls = tls
        self.restart(self.listener)

    def restart(self, listener):
        """Serves here, after server.stop(), with all that it has."""
        self.server = Server(listener, self._handle, self.tls, "cloudwatch", self._makefile)

    def stop(self):
        self._stop.set()
        self.faults.clear()
        self.server.stop()

    # --- what a test does

    def fault(self, operation, action="error", **options):
        return self.faults.add(Fault(operation, action, **options))

    def add_group(self, group, retention_days=None):
        with self.changed:
            self.groups[group] = retention_days and retention_days * DAY

    def delete_group(self, group):
        with self.changed:
            del self.groups[group]
            for key in [key for key in self.streams if key[0] == group]:
                del self.streams[key]

    def delete_stream(self, group, stream):
        with self.changed:
            del self.streams[group, stream]

    # --- what a test looks at

    def events(self, group, stream):
        """As the service gives them: by time, and as they came within a millisecond."""
        with self.changed:
            return sorted(self.streams.get((group, stream), []), key=lambda event: event.timestamp)

    def messages(self, group, stream):
        return [event.message for event in self.events(group, stream)]

    def operations(self, operation=None):
        with self.changed:
            return [call for call in self.calls if operation in (None, call[0])]

    def wait(self, predicate, timeout=20, what="what was expected"):
        """Returns once predicate() is true; it is asked after every call."""
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                raise AssertionError(f"{what} did not come in {timeout} s; calls: {self.calls[-10:]}, "
                                     f"violations: {self.violations}")

    def wait_events(self, group, stream, count, timeout=20):
        """At least so many events of a stream, in the service's order."""
        self.wait(lambda: len(self.streams.get((group, stream), ())) >= count, timeout,
                  f"{count} events of {group} {stream}")
        return self.events(group, stream)

    # --- serving

    def _makefile(self, sock):
        return io.BufferedReader(_Slow(self, sock), 4096)

    def now_ms(self):
        return int((time.time() + self.ahead) * 1000)

    def _handle(self, request):
        if request.method == "GET":
            self._give_credentials(request)
            return
        operation = (request.header("X-Amz-Target") or "").removeprefix(TARGET)
        fault = self.faults.take(operation, None)
        if fault and fault.action in ("drop", "reset"):
            self._note(operation, 0, fault.action, 0, request)
            request.connection.close(reset=fault.action == "reset")
            raise Closed
        if fault and fault.action == "hold":
            fault.released.wait()
        self._stop.wait(fault.seconds if fault and fault.action == "delay" else self.delay)
        events, status = 0, 200
        try:
            answer, events = self._answer(request, operation, fault)
        except Refusal as refusal:
            status = 400
            answer = {"__type": refusal.code, "message": str(refusal), **refusal.members}
            if refusal.violation:
                self.violations.append(f"{operation}: {refusal}")
        if fault and fault.action == "lost":
            self._note(operation, 0, fault.action, events, request)
            raise Closed
        if fault and fault.action in ("error", "html"):
            status = fault.status
        self._note(operation, status, answer.get("__type") if isinstance(answer, dict) else "", events, request)
        request.connection.respond(status, answer, [("Content-Type", JSON_TYPE), ("x-amzn-RequestId", str(uuid.uuid4())),
                                                    ("Date", formatdate(time.time() + self.ahead, usegmt=True))])

    def _note(self, operation, status, code, events, request):
        with self.changed:
            self.calls.append((operation, status, code, events, len(request.body)))
            self.headers.append({name.lower(): value for name, value in request.headers})
            self.changed.notify_all()

    def _give_credentials(self, request):
        answer = self.credentials.get(request.path, (404, {"code": "InvalidIdInRequest", "message": "no such id"}))
        status, document = answer if isinstance(answer, tuple) else (200, answer)
        request.connection.respond(status, document, [("Content-Type", "application/json")])

    def _answer(self, request, operation, fault):
        """The answer and how many events were taken; or Refusal."""
        self._check_time_and_key(request)
        signed = self.signed + tuple(name for name in SIGNED_IF_SENT if request.header(name))
        found = self._header_problems(request) + sigv4.problems(
            request, self.scheme, self.keys, self.region, "logs", signed, self.ahead)
        if found:
            raise Refusal("InvalidSignatureException", "; ".join(found))
        if fault and fault.action == "error":
            return {"__type": fault.type, "message": fault.message}, 0
        if fault and fault.action == "html":
            return "<html><body>an error page</body></html>", 0
        if fault and fault.action == "garble":
            return "{\"garbled\": [}", 0
        if operation == "PutLogEvents" and self.random.random() < self.throttle:
            raise Refusal("ThrottlingException", "Rate exceeded", violation=False)
        body = _body(request, self.charset)
        if operation == "PutLogEvents":
            return self._put(body)
        _check_model(operation, body)
        with self.changed:
            if operation == "CreateLogGroup":
                return self._create_group(body["logGroupName"]), 0
            if operation == "CreateLogStream":
                return self._create_stream(body["logGroupName"], body["logStreamName"]), 0
        raise Refusal("UnknownOperationException", operation)

    def _check_time_and_key(self, request):
        stamp = re.fullmatch(r"\d{8}T\d{6}Z", request.header("X-Amz-Date") or "")
        if self.ahead and stamp:
            signed = time.mktime(time.strptime(stamp.group(), "%Y%m%dT%H%M%SZ")) - time.timezone
            if abs(signed - time.time() - self.ahead) > sigv4.MAX_SKEW:
                raise Refusal("InvalidSignatureException", "Signature expired: it is later now", violation=False)
        key = (request.header("Authorization") or "").partition("Credential=")[2].partition("/")[0]
        if key in self.expired:
            raise Refusal("ExpiredTokenException", "The security token included in the request is expired",
                          violation=False)
        if key not in self.keys:
            raise Refusal("UnrecognizedClientException",
                          "The security token included in the request is invalid.", violation=False)

    def _header_problems(self, request):
        found = []
        if (request.method, request.target) != ("POST", "/"):
            found.append(f"{request.method} {request.target} instead of POST /")
        if not (request.header("X-Amz-Target") or "").startswith(TARGET):
            found.append(f"X-Amz-Target: {request.header('X-Amz-Target')}")
        if request.header("Content-Type") != JSON_TYPE:
            found.append(f"Content-Type: {request.header('Content-Type')}")
        if request.header("Content-Encoding") not in (None, "gzip"):
            found.append(f"Content-Encoding: {request.header('Content-Encoding')}")
        if request.header("x-amzn-logs-format") not in (None, "json/emf"):
            found.append(f"x-amzn-logs-format: {request.header('x-amzn-logs-format')}")
        return found

    # --- operations

    def _create_group(self, group):
        if group in self.groups:
            raise Refusal("ResourceAlreadyExistsException", "The specified log group already exists", violation=False)
        self.groups[group] = None
        return {}

    def _create_stream(self, group, stream):
        self._find(group)
        if (group, stream) in self.streams:
            raise Refusal("ResourceAlreadyExistsException", "The specified log stream already exists", violation=False)
        self.streams[group, stream] = []
        return {}

    def _find(self, group, stream=None):
        if group not in self.groups:
            raise Refusal("ResourceNotFoundException", "The specified log group does not exist.", violation=False)
        if stream is not None and (group, stream) not in self.streams:
            raise Refusal("ResourceNotFoundException", "The specified log stream does not exist.", violation=False)

    def _put(self, body):
        events = _check_batch(body)
        group, stream = body["logGroupName"], body["logStreamName"]
        with self.changed:
            self._find(group, stream)
            if self.refuse and any(self.refuse(event) for event in events):
                raise Refusal("InvalidParameterException", "refused by the test", violation=False)
            self._check_token(group, stream, body.get("sequenceToken"))
            now, retention = self.now_ms(), self.groups[group]
            old = sum(event.timestamp < now - OLDEST for event in events)
            expired = sum(event.timestamp < now - retention for event in events) if retention else 0
            new = len(events) - sum(event.timestamp > now + NEWEST for event in events)
            taken = events[max(old, expired):new]
            if taken and taken[-1].timestamp - taken[0].timestamp >= DAY:
                raise Refusal("InvalidParameterException", "The batch of log events in a single PutLogEvents request "
                              "cannot span more than 24 hours.")
            self.streams[group, stream].extend(taken)
        rejected = {}
        if old:
            rejected["tooOldLogEventEndIndex"] = old
        if expired:
            rejected["expiredLogEventEndIndex"] = expired
        if new < len(events):
            rejected["tooNewLogEventStartIndex"] = new
        answer = {"rejectedLogEventsInfo": rejected} if rejected else {}
        return {**answer, "nextSequenceToken": self._token.get((group, stream), str(uuid.uuid4().int))}, len(taken)

    def _check_token(self, group, stream, token):
        if not self.tokens:
            return
        expected = self._token.get((group, stream))
        if token != expected:
            raise Refusal("InvalidSequenceTokenException", f"The given sequenceToken is invalid. The next expected "
                          f"sequenceToken is: {expected}", violation=False, expectedSequenceToken=expected)
        self._token[group, stream] = str(uuid.uuid4().int)


def _check_model(operation, body):
    found = model.problems(operation, body, "logs", limits=True)
    required = {"CreateLogGroup": ("logGroupName",)}.get(operation, ("logGroupName", "logStreamName"))
    found += [f"{name} is missing" for name in required if isinstance(body, dict) and name not in body]
    if found:
        raise Refusal("InvalidParameterException", f"{len(found)} validation errors detected: " + "; ".join(found))


codecs.register_error("replaced", lambda error: ("\ufffd", error.start + 1))


def _body(request, charset):
    data = request.body
    try:
        if request.header("Content-Encoding") == "gzip":
            unpacker = zlib.decompressobj(wbits=31)
            data = unpacker.decompress(data, MAX_PLAIN)
            if unpacker.unconsumed_tail or not unpacker.eof or unpacker.unused_data:
                raise ValueError("the compressed body is too large, cut off, or followed by something")
        return json.loads(data.decode(errors=charset))
    except (ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise Refusal("SerializationException", f"{type(error).__name__}: {error}") from error


def _check_batch(body):
    """The events of a PutLogEvents body that keeps all rules. The model is asked about the first event only: ten
    thousand are looked at faster by hand."""
    events = body.get("logEvents") if isinstance(body, dict) else None
    first = {**body, "logEvents": events[:1]} if isinstance(events, list) else body
    _check_model("PutLogEvents", first)
    if len(events) > MAX_EVENTS:
        raise Refusal("InvalidParameterException", f"{len(events)} events, more than {MAX_EVENTS}")
    size, before, found = 0, 0, []
    for index, event in enumerate(events):
        if not isinstance(event, dict) or event.keys() != {"timestamp", "message"} or \
                type(event["timestamp"]) is not int or type(event["message"]) is not str or not event["message"]:
            raise Refusal("InvalidParameterException", f"event {index} is {event!r}")
        if event["timestamp"] < before:
            raise Refusal("InvalidParameterException",
                          "Log events in a single PutLogEvents request must be in chronological order.")
        before = event["timestamp"]
        length = len(event["message"].encode()) + EVENT_COST
        if length > MAX_EVENT:
            raise Refusal("InvalidParameterException", f"Log event too large: {length} bytes exceeds limit of {MAX_EVENT}")
        size += length
        found.append(Event(event["timestamp"], event["message"]))
    if size > MAX_BYTES:
        raise Refusal("InvalidParameterException", f"Upload too large: {size} bytes exceeds limit of {MAX_BYTES}")
    return found


class _Slow(io.RawIOBase):
    """Reads a socket no faster than the service is told to."""

    def __init__(self, service, sock):
        super().__init__()
        self.service, self.sock = service, sock
        if service.rate:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def readable(self):
        return True

    def readinto(self, buffer):
        rate = self.service.rate
        got = self.sock.recv_into(memoryview(buffer)[:max(1, int(rate / 10)) if rate else None])
        if rate and got:
            self.service._stop.wait(got / rate)
        return got
