"""Servers of fluentd's forward protocol, and what feeds them.

NodeServer is an independent one (../fluentd/server.js). ForwardServer is ours: it keeps every byte, and acknowledges, stalls,
closes and logs in as a test says. Shipper is the program that runs one destination (tests/logging/ship.c)."""

import base64
import gzip
import hashlib
import json
import os
import socket
import struct
import subprocess
import threading
import time

import msgpack

from .instance import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
BUILD = os.path.abspath(os.environ.get("ECSD_BUILD") or os.path.join(ROOT, "build"))


class Lines:
    """A program that answers in JSON lines: `read` has them as they come."""

    def __init__(self, arguments, environment=None):
        self.read = []
        self._changed = threading.Condition()
        self.errors = []
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
        for stream, into in ((self.process.stdout, self.read), (self.process.stderr, self.errors)):
            threading.Thread(target=self._follow, args=(stream, into), daemon=True).start()

    def _follow(self, stream, into):
        for line in stream:
            with self._changed:
                into.append(json.loads(line) if into is self.read else line)
                self._changed.notify_all()

    def wait_for(self, count, timeout=20):
        """The first `count` lines."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.read) >= count, timeout):
                raise AssertionError(f"{len(self.read)} of {count} lines; errors: {''.join(self.errors)[-2000:]}")
            return self.read[:count]

    def kill(self):
        self.process.kill()
        self.process.wait(10)


class NodeServer(Lines):
    def __init__(self, **options):
        super().__init__(["node", os.path.join(ROOT, "tests/integration/fluentd/server.js"), json.dumps(options)],
                         {"NODE_PATH": os.path.join(ROOT, "build/fluentd-server/node_modules")})
        self.port = self.wait_for(1)[0].get("port")

    def events(self, count, timeout=20):
        return self.wait_for(count + 1, timeout)[1:]


class Shipper(Lines):
    """options: of the destination's driver, with their dashes as underscores; environment: ECS_LOGD_..."""

    def __init__(self, directory, driver="fluentd", environment=None, scale=1, attributes=None, **options):
        arguments = [f"{key.replace('_', '-')}={value}" for key, value in options.items()]
        arguments += [f"attribute.{key}={value}" for key, value in (attributes or {}).items()]
        super().__init__([os.path.join(BUILD, "tests/logging/ship"), str(directory), driver, *arguments],
                         {"ECSD_CLOCK_SCALE": str(scale), **(environment or {})})

    def send(self, **message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def status(self):
        count = len(self.read)
        self.send(status=True)
        return self.wait_for(count + 1)[-1]

    def finish(self, timeout=30):
        """No more input: waits until all is confirmed, and returns the last status."""
        self.process.stdin.close()
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not all was confirmed; {''.join(self.errors)[-2000:]}") from None
        assert code == 0, "".join(self.errors)[-4000:]
        wait_until(lambda: self.read, 5, "the last status")
        return self.read[-1]


def event_time(code, data):
    return msgpack.ExtType(code, data)


class Connection:
    """raw: every byte that came; objects: the messages in it."""

    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.raw, self.objects = b"", []
        self.hello = None

    def run(self):
        unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=64 << 20)
        try:
            if self.server.tls:
                self.sock = self.server.tls.wrap_socket(self.sock, server_side=True)
            if self.server.shared_key:
                self._greet()
            while True:
                while self.server.stalled.is_set():
                    self.server.resumed.wait(0.05)
                rate = self.server.rate
                data = self.sock.recv(rate // 10 if rate else 65536)
                if not data:
                    break
                if rate:
                    time.sleep(len(data) / rate)
                self.raw += data
                unpacker.feed(data)
                for message in unpacker:
                    self._take(message)
        except (OSError, ValueError):
            pass
        finally:
            self.sock.close()

    def send(self, value):
        self.sock.sendall(msgpack.packb(value, use_bin_type=True))

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _greet(self):
        self.hello = {"nonce": os.urandom(16), "auth": os.urandom(16) if self.server.users else b"",
                      "keepalive": self.server.keepalive}
        self.send(["HELO", self.hello])

    def _log_in(self, ping):
        kind, hostname, salt, digest, user, password = ping
        assert kind == b"PING"
        sha = lambda *parts: hashlib.sha512(b"".join(parts)).hexdigest().encode()
        key, nonce = self.server.shared_key.encode(), self.hello["nonce"]
        reason = "" if digest == sha(salt, hostname, nonce, key) else "shared_key mismatch"
        if not reason and self.server.users:
            known = self.server.users.get(user.decode(), "").encode()
            if password != sha(self.hello["auth"], user, known):
                reason = "username/password mismatch"
        self.hello = None
        self.send(["PONG", not reason, reason, "python-server",
                   sha(salt, b"python-server", nonce, key).decode() if not reason else ""])
        if reason:
            raise ValueError(reason)

    def _take(self, message):
        if self.hello:
            self._log_in(message)
            return
        self.objects.append(message)
        tag, option = message[0], message[-1]
        if isinstance(message[1], list):
            entries = message[1]
        elif isinstance(message[1], bytes):
            packed = gzip.decompress(message[1]) if option.get(b"compressed") == b"gzip" else message[1]
            unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
            unpacker.feed(packed)
            entries = list(unpacker)
        else:
            entries = [message[1:3]]
        for time, record in entries:
            self.server.events.append((tag, time, record))
        chunk = option.get(b"chunk")
        if chunk:
            assert len(base64.b64decode(chunk)) == 16
            self.server.chunks.append(chunk)
            self.server.on_chunk(self, chunk)
        if self.server.shared_key and not self.server.keepalive:
            self.sock.shutdown(socket.SHUT_RDWR)
            raise ValueError("one message")


class ForwardServer:
    """on_chunk(connection, chunk) is called for each chunk that wants an acknowledgement; acknowledges by default."""

    def __init__(self, sock=None, path=None, tls=None, shared_key=None, users=None, keepalive=True):
        self.tls, self.shared_key, self.users, self.keepalive = tls, shared_key, users, keepalive
        self.events, self.chunks, self.connections = [], [], []
        self.stalled, self.resumed = threading.Event(), threading.Event()
        self.rate = None    # bytes a second that are read of each connection; None: all there is
        self.on_chunk = lambda connection, chunk: connection.send({"ack": chunk.decode()})
        self._given, self._path, self.port, self._listener = sock, path, 0, None
        self.start()

    def restart(self, sock):
        """Listens at this socket, after stop()."""
        self._given, self.connections = sock, []
        self.start()

    def start(self):
        """Listens (again), at the same port."""
        if self._given:
            listener = self._given
        elif self._path:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(self._path)
            listener.listen(64)
        else:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen(64)
        if listener.family == socket.AF_INET:
            self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            connection = Connection(self, sock)
            self.connections.append(connection)
            threading.Thread(target=connection.run, daemon=True).start()

    def stop(self, reset=False):
        """Nobody listens, and all connections end."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            try:
                if reset:
                    connection.reset()
                else:
                    connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if self._path:
            os.unlink(self._path)

    def logs(self):
        return [record[b"log"] for _, _, record in list(self.events)]

    def numbers(self):
        return [int(log.split()[0]) for log in self.logs()]

    def wait_for(self, count, timeout=20):
        wait_until(lambda: len(self.events) >= count, timeout, f"{count} events")
        return list(self.events)
