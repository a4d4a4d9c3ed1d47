"""A small threaded HTTP/1.1 server: one thread for each connection, requests handed over whole.

Written for the bed because the tests need hold of the connection itself: to drop it, to stall it, to
answer with rubbish, or to turn it into a WebSocket."""

import json
import socket
import struct
import threading


class Request:
    def __init__(self, method, target, headers, body, connection):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.connection = connection
        self.path = target.partition("?")[0]

    def header(self, name, default=None):
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return default


class Closed(Exception):
    """The handler wants this connection closed without an answer."""


class Connection:
    def __init__(self, sock, peer, makefile=None):
        self.sock, self.peer = sock, peer
        self.file = makefile(sock) if makefile else sock.makefile("rb")
        self.reset = False

    def read_request(self):
        if self.file.peek(1)[:1] == b"\x16":     # a TLS client at a port without TLS
            return None
        line = self.file.readline(65536)
        if not line.strip():
            return None
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers = []
        while True:
            line = self.file.readline(65536)
            if line in (b"\r\n", b"\n", b""):
                break
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        lower = {name.lower(): value for name, value in headers}
        if "100-continue" in lower.get("expect", ""):
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in lower.get("transfer-encoding", ""):
            body = b""
            while size := int(self.file.readline().split(b";")[0], 16):
                body += self.file.read(size)
                self.file.readline()
            self.file.readline()
        else:
            length = int(lower.get("content-length") or 0)
            body = self.file.read(length)
            if len(body) < length:      # the client has gone
                return None
        return Request(method, target, headers, body, self)

    def respond(self, status, body=b"", headers=()):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        elif isinstance(body, str):
            body = body.encode()
        head = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in headers]
        self.sock.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    def close(self, reset=False):
        """Closes the TCP connection; reset sends RST instead of FIN. The shutdown comes first in any case:
        it wakes the thread that reads, which holds the lock that closing the file needs."""
        self.reset = self.reset or reset
        try:
            if self.reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.shutdown(socket.SHUT_RD if self.reset else socket.SHUT_RDWR)
        except OSError:
            pass
        for thing in (self.file, self.sock):
            try:
                thing.close()
            except OSError:
                pass


REASONS = {101: "Switching Protocols", 200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
           404: "Not Found", 405: "Method Not Allowed", 413: "Payload Too Large", 429: "Too Many Requests",
           500: "Internal Server Error", 503: "Service Unavailable"}


class Server:
    """Serves a listening socket until stop(). handler(request) answers through request.connection. makefile(sock):
    what requests are read from, where it is not just the socket."""

    def __init__(self, listener, handler, tls=None, name="server", makefile=None):
        self.listener, self.handler, self.tls, self.name = listener, handler, tls, name
        self.makefile = makefile
        self.connections = set()
        self.errors = []
        self.stopping = False
        self.thread = threading.Thread(target=self._accept, name=name, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                sock, peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock, peer), name=self.name, daemon=True).start()

    def _serve(self, sock, peer):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            connection = Connection(sock, "%s:%d" % peer[:2], self.makefile)
        except OSError:
            sock.close()
            return
        self.connections.add(connection)
        try:
            while request := connection.read_request():
                self.handler(request)
                if (request.header("Connection") or "").lower() == "close":
                    break
        except (OSError, ValueError, Closed):
            pass
        except Exception as error:   # a fault of the bed: shown by the fixture
            if not self.stopping:
                self.errors.append(f"{self.name}: {type(error).__name__}: {error}")
        finally:
            self.connections.discard(connection)
            connection.close()

    def stop(self):
        self.stopping = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.thread.join(5)
        for connection in list(self.connections):
            connection.close(reset=True)
