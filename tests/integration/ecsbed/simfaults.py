"""What a simulated Docker can do instead of what it should: actions for DockerSim.hook() and DockerSim.fault().

An action is performed before the request is executed, or after that and before the answer goes out. It returns
True if the request has been dealt with (its connection is of no more use), False to go on as if nothing were."""

import json
import threading
import time


class Cut(Exception):
    """The connection is to be closed."""


class Action:
    def perform(self, connection, request, answer):
        """answer: (status, body) of an executed request, or None."""
        raise NotImplementedError

    def release(self):
        """Ends what lasts."""


class Stall(Action):
    """Holds requests until release(). They are executed, or answered, then: also if nobody listens any more."""

    def __init__(self):
        self.released = threading.Event()
        self.held = 0
        self.lock = threading.Lock()

    def perform(self, connection, request, answer):
        with self.lock:
            self.held += 1
        self.released.wait()
        with self.lock:
            self.held -= 1
        return False

    def release(self):
        self.released.set()


class Slow(Action):
    def __init__(self, seconds):
        self.seconds = seconds

    def perform(self, connection, request, answer):
        time.sleep(self.seconds)
        return False


class Status(Action):
    """An error instead of the answer."""

    def __init__(self, status=500, text="made to fail by the test"):
        self.status, self.text = status, text

    def perform(self, connection, request, answer):
        connection.respond(self.status, {"message": self.text}, [("Content-Type", "application/json")])
        return True


class Drop(Action):
    def perform(self, connection, request, answer):
        raise Cut


class Rewrite(Action):
    """Another answer than the true one: function(JSON) -> JSON. After execution only."""

    def __init__(self, function):
        self.function = function

    def perform(self, connection, request, answer):
        status, body = answer
        connection.respond(status, json.dumps(self.function(json.loads(body))), [("Content-Type", "application/json")])
        return True


class Call(Action):
    """Runs a function of the test (which may kill the agent) and goes on."""

    def __init__(self, function):
        self.function = function

    def perform(self, connection, request, answer):
        self.function(request)
        return False


JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def _true_body(answer):
    return answer[1] if answer and answer[1] else b'{"Id":"0123456789abcdef","message":"x"}'


def _wrong_types(value):
    """The same members, each of another type."""
    if isinstance(value, dict):
        return {name: _wrong_types(member) for name, member in value.items()} or []
    if isinstance(value, list):
        return {"0": value[0]} if value else {}
    if isinstance(value, str):
        return [value]
    return {"is": value} if isinstance(value, bool) else str(value) + "x"


def _no_http(connection, request, answer):
    connection.sock.sendall(b"\x16\x03\x01 this is no HTTP at all\r\n\r\n")


def _broken_json(connection, request, answer):
    body = _true_body(answer)
    connection.respond(200, body[:len(body) // 2] + b'\x00}]"', [("Content-Type", "application/json")])


def _truncated(connection, request, answer):
    body = _true_body(answer)
    connection.sock.sendall(JSON_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:len(body) // 2])


def _too_short(connection, request, answer):
    """The length announced is less than what follows."""
    body = _true_body(answer)
    connection.sock.sendall(JSON_HEAD + b"Content-Length: %d\r\n\r\n" % (len(body) // 3) + body)


def _wrong_types_answer(connection, request, answer):
    connection.respond(200, json.dumps(_wrong_types(json.loads(_true_body(answer)))).encode(),
                       [("Content-Type", "application/json")])


def _huge_length(connection, request, answer):
    connection.sock.sendall(JSON_HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 30) + b'{"Id":"x')


def _endless_chunk(connection, request, answer):
    connection.sock.sendall(JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n7fffffff\r\n")
    for _ in range(2048):       # 128 MiB, more than any answer may have
        connection.sock.sendall(b"a" * 65536)


def _half_head(connection, request, answer):
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")


GARBLES = {"no-http": _no_http, "broken-json": _broken_json, "truncated": _truncated, "too-short": _too_short,
           "wrong-types": _wrong_types_answer, "huge-length": _huge_length, "endless-chunk": _endless_chunk,
           "half-head": _half_head}


class Garble(Action):
    """Rubbish, one of GARBLES, then the connection is closed."""

    def __init__(self, kind):
        self.kind = kind

    def perform(self, connection, request, answer):
        try:
            GARBLES[self.kind](connection, request, answer)
        except OSError:
            pass        # the client has had enough
        raise Cut
