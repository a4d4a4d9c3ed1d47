"""ecs-logd as Docker and ecsd see it, in little: a log driver plugin that reads its FIFOs, or does not, and the
socket on which ecsd says which containers end."""

import json
import os
import select
import socket
import struct
import threading

from .httpd import Connection
from .instance import wait_until
from .recording import Recording

NAME = "ecslogs"
HELLO, STOPPING, EXITED = 1, 32, 33    # common/wire.h
WIRE_VERSION = "1"


def listen(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    return listener


def hang_up(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:    # closed already
        pass


class LogPlugin:
    """Answers Docker on its plugin socket. `starts` has the requests of StartLogging; the FIFOs' bytes go to `data`, by
    container, as long as `drain` is set. stop() leaves nothing behind."""

    def __init__(self, instance):
        self.path = instance.path_inside(f"/run/docker/plugins/{NAME}.sock")
        self.inside = instance.path_inside
        self.recording = Recording()
        self.starts, self.data = [], {}
        self.drain, self.answer, self.ended = threading.Event(), threading.Event(), False
        self.drain.set()
        self.answer.set()    # cleared: it accepts, and says nothing
        self.connections = []
        self.listener = listen(self.path)
        self._spawn(self._accept)

    @staticmethod
    def _spawn(target, *arguments):
        threading.Thread(target=target, args=arguments, daemon=True).start()

    def _accept(self):
        while not self.ended:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(sock)
            self._spawn(self._serve, sock)

    def _serve(self, sock):
        with sock:
            connection = Connection(sock, None)
            while not self.ended:
                try:
                    request = connection.read_request()
                    if request is None:
                        return
                    self.recording.add("plugin", path=request.path, body=request.body)
                    while not self.answer.wait(0.1):
                        if self.ended:
                            return
                    body = json.dumps(self._handle(request)).encode()
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                except OSError:
                    return

    def _handle(self, request):
        if request.path == "/Plugin.Activate":
            return {"Implements": ["LogDriver"]}
        if request.path == "/LogDriver.Capabilities":
            return {"Cap": {"ReadLogs": False}}
        if request.path == "/LogDriver.StartLogging":
            start = json.loads(request.body)
            fifo = os.open(self.inside(start["File"]), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self.starts.append(start)
            self._spawn(self._read, fifo, start["Info"]["ContainerID"])
        return {"Err": ""}

    def _read(self, fifo, container):
        """Whatever comes out of one FIFO, unless nothing shall."""
        try:
            while not self.ended:
                if not self.drain.wait(0.05):
                    continue
                if not select.select([fifo], [], [], 0.05)[0]:
                    continue
                data = os.read(fifo, 1 << 20)
                if not data:
                    return
                self.data[container] = self.data.get(container, b"") + data
        finally:
            os.close(fifo)

    def paths(self):
        return [event["path"] for event in self.recording.events]

    def stop(self):
        self.ended = True
        self.drain.set()
        for sock in (self.listener, *self.connections):
            hang_up(sock)
        self.listener.close()
        os.unlink(self.path)


class LogdSocket:
    """ecs-logd's own socket: `notices` has what ecsd said, as (what, container id). One connection at a time."""

    def __init__(self, path):
        self.path, self.notices, self.connections = path, [], 0
        self.sock, self.ended = None, False
        self.changed = threading.Condition()
        self.listener = listen(path)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while not self.ended:
            try:
                self.sock, _ = self.listener.accept()
            except OSError:
                return
            try:
                self._serve(self.sock)
            except OSError:
                pass
            self.sock.close()

    @staticmethod
    def message(kind, *fields):
        body = struct.pack("<HH", kind, len(fields))
        for field in fields:
            body += struct.pack("<I", len(field)) + field.encode()
        return struct.pack("<I", len(body)) + body

    def _serve(self, sock):
        sock.sendall(self.message(HELLO, WIRE_VERSION, WIRE_VERSION, "stand-in"))
        file = sock.makefile("rb")
        while head := file.read(4):
            body = file.read(struct.unpack("<I", head)[0])
            kind, count = struct.unpack_from("<HH", body)
            fields, at = [], 4
            for _ in range(count):
                size, = struct.unpack_from("<I", body, at)
                fields.append(body[at + 4:at + 4 + size].decode())
                at += 4 + size
            with self.changed:
                if kind == HELLO:
                    self.connections += 1
                else:
                    self.notices.append(({STOPPING: "stopping", EXITED: "exited"}.get(kind, kind), fields[0]))
                self.changed.notify_all()

    def wait(self, what, container, timeout=20):
        with self.changed:
            assert self.changed.wait_for(lambda: (what, container) in self.notices, timeout), \
                f"no word of {what} {container}: {self.notices}"

    def wait_connections(self, count, timeout=20):
        wait_until(lambda: self.connections >= count, timeout, f"{count} connections of ecsd")

    def hang_up(self):
        hang_up(self.sock)

    def stop(self):
        self.ended = True
        hang_up(self.listener)
        self.listener.close()
        if self.sock:
            self.hang_up()
        os.unlink(self.path)
