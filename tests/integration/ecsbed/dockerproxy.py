"""A proxy in front of the Docker engine's Unix socket: records every request, and can hold, delay, fail or
drop chosen ones, before they reach the engine or before their answer goes back."""

import json
import os
import re
import select
import socket
import threading
import time

from .recording import Recording


class Rule:
    """Catches requests whose "METHOD /path" (without the API version) matches pattern.

    action: hold (until release()), delay (seconds), fail (status), drop (close the connection).
    stage: "request" (the engine has not seen it) or "answer" (the engine has done it)."""

    def __init__(self, pattern, action, stage, times, seconds, status):
        self.pattern, self.action, self.stage = re.compile(pattern), action, stage
        self.left, self.seconds, self.status = times, seconds, status
        self.reached = threading.Event()
        self.released = threading.Event()

    def release(self):
        """Lets held ones go, and catches no more."""
        self.left = 0
        self.released.set()

    def wait_reached(self, timeout=20):
        if not self.reached.wait(timeout):
            raise AssertionError(f"no request matched {self.pattern.pattern} in {timeout} s")


class _Gone(Exception):
    """One side has closed, or a rule wants the connection cut."""


class _Stream:
    """Buffered reading from a socket that also notices when the other side of the proxy goes away."""

    def __init__(self, sock, watch=None):
        self.sock, self.watch, self.buffer = sock, watch, b""

    def fill(self):
        while True:
            watched = [self.watch] if self.watch else []
            ready, _, _ = select.select([self.sock, *watched], [], [], 60)
            if self.sock in ready:
                data = self.sock.recv(65536)
                if not data:
                    raise _Gone
                self.buffer += data
                return
            if ready and not self.watch.recv(1, socket.MSG_PEEK):
                raise _Gone
            if ready:               # a pipelined request: it has to wait, stop watching
                self.watch = None

    def until(self, mark):
        while mark not in self.buffer:
            self.fill()
        data, _, self.buffer = self.buffer.partition(mark)
        return data + mark

    def exactly(self, count):
        while len(self.buffer) < count:
            self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data


def _head(stream):
    """The head of a message: bytes, first line, and headers in lower case."""
    raw = stream.until(b"\r\n\r\n")
    lines = raw.decode("latin-1").split("\r\n")
    headers = dict((name.lower(), value.strip()) for name, _, value in
                   (line.partition(":") for line in lines[1:] if line))
    return raw, lines[0], headers


class DockerProxy:
    def __init__(self, path, upstream):
        self.path, self.upstream = path, upstream
        self.recording = Recording()
        self.rules = []
        self.running = threading.Event()   # cleared: nothing moves in either direction
        self.running.set()
        self.live = {}                     # client socket -> what it is asking
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(128)
        self.thread = threading.Thread(target=self._accept, name="docker-proxy", daemon=True)
        self.thread.start()

    # --- what a test scripts

    def rule(self, pattern, action="hold", stage="request", times=1, seconds=0.0, status=500):
        rule = Rule(pattern, action, stage, times, seconds, status)
        self.rules.append(rule)
        return rule

    def stall(self):
        """From now on nothing is answered and no event comes: an engine that hangs."""
        self.running.clear()

    def resume(self):
        self.running.set()

    def cut(self, pattern=""):
        """Closes the connections that are busy with a matching request (the event stream, say)."""
        for client, asking in list(self.live.items()):
            if re.search(pattern, asking):
                _shut(client)

    def requests(self, pattern="", since=0):
        """The requests seen that match, in order, as "METHOD /path"."""
        return [e["request"] for e in self.recording.select(
            lambda e: e["kind"] == "docker.request" and re.search(pattern, e["request"]), since)]

    def wait_request(self, pattern, timeout=20, since=0, count=1):
        return self.recording.wait(
            lambda e: e["kind"] == "docker.request" and re.search(pattern, e["request"]),
            timeout, since, f"Docker request {pattern}", count)

    def stop(self):
        for rule in self.rules:
            rule.release()
        self.resume()
        _shut(self.listener)
        self.listener.close()
        self.thread.join(5)
        self.cut()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    # --- serving

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="docker-proxy", daemon=True).start()

    def _serve(self, client):
        server = None
        try:
            self.live[client] = ""
            stream = _Stream(client)
            while True:
                raw, line, headers = _head(stream)
                body = stream.exactly(int(headers.get("content-length") or 0))
                if "chunked" in headers.get("transfer-encoding", ""):
                    body = b"".join(self._chunks(stream))
                method, target, _ = line.split(" ", 2)
                request = f"{method} {re.sub(r'^/v1[.][0-9]+', '', target)}"
                self.live[client] = request
                event = self.recording.add("docker.request", request=request, target=target, body=_json(body))
                self._apply("request", request, client)
                if server is None:
                    server = socket.socket(socket.AF_UNIX)
                    server.connect(self.upstream)
                server.sendall(raw + body)
                self._relay(client, server, method, request, event)
                self.live[client] = ""
        except (_Gone, OSError, ValueError):
            pass
        finally:
            self.live.pop(client, None)
            for sock in (client, server):
                if sock:
                    _shut(sock)
                    sock.close()

    def _relay(self, client, server, method, request, event):
        """Brings the answer back, as it comes (event and log streams have no end)."""
        answer = _Stream(server, watch=client)
        raw, line, headers = _head(answer)
        status = int(line.split(" ")[1])
        self._apply("answer", request, client)
        self._pass(client, raw)
        self.recording.add("docker.answer", request=event["seq"], status=status)
        if status == 101 or "vnd.docker.raw-stream" in headers.get("content-type", ""):
            self._hijacked(client, server, answer.buffer)
        elif method == "HEAD" or status in (204, 304):
            return
        elif "chunked" in headers.get("transfer-encoding", ""):
            for chunk in self._chunks(answer):
                self._pass(client, chunk)
        elif "content-length" in headers:
            self._pass(client, answer.exactly(int(headers["content-length"])))
        else:
            while True:
                self._pass(client, answer.buffer)
                answer.buffer = b""
                answer.fill()

    @staticmethod
    def _chunks(stream):
        while True:
            line = stream.until(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line + stream.exactly(size) + stream.until(b"\r\n")
            if not size:
                return

    def _hijacked(self, client, server, first):
        self._pass(client, first)
        ways = {client: server, server: client}
        while server in ways:       # the client may close its half first
            ready, _, _ = select.select(list(ways), [], [])
            for source in ready:
                data = source.recv(65536)
                if data:
                    self._pass(ways[source], data)
                else:
                    ways.pop(source).shutdown(socket.SHUT_WR)
        raise _Gone

    def _pass(self, sink, data):
        self.running.wait()
        sink.sendall(data)

    def _apply(self, stage, request, client):
        self.running.wait()
        for rule in list(self.rules):
            if rule.stage != stage or rule.left <= 0 or not rule.pattern.search(request):
                continue
            rule.left -= 1
            rule.reached.set()
            if rule.action == "drop":
                raise _Gone
            if rule.action == "delay":
                time.sleep(rule.seconds)
            elif rule.action == "fail":
                body = b'{"message":"made to fail by the test"}'
                client.sendall(b"HTTP/1.1 %d Test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                               b"Connection: close\r\n\r\n%s" % (rule.status, len(body), body))
                raise _Gone
            elif rule.action == "hold":
                rule.released.wait()
            if _closed(client):     # who asked is gone: a request that never arrived
                raise _Gone


def _closed(sock):
    ready, _, _ = select.select([sock], [], [], 0)
    try:
        return bool(ready) and not sock.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def _shut(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _json(body):
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None
