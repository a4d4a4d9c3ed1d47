"""An HTTP proxy that knows CONNECT only, inside an instance, and writes down what it is asked."""

import socket
import threading

from . import netns
from .httpd import Closed, Server


class ConnectProxy:
    """requests: (method, target) in order; status: what it answers with, 200: it connects."""

    def __init__(self, instance, port=3128):
        self.instance, self.status = instance, 200
        self.address = f"127.0.0.1:{port}"
        self.requests, self.authorizations = [], []
        self.changed = threading.Condition()
        self.tunnels = []
        self.server = Server(instance.listen("127.0.0.1", port), self._handle, name="proxy")

    def stop(self):
        for sock in self.tunnels:
            _shut(sock)
        self.server.stop()

    def wait_request(self, count=1, timeout=20):
        """The first count requests."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.requests) >= count, timeout):
                raise AssertionError(f"the proxy was asked {len(self.requests)} times, not {count}, in {timeout} s")
            return self.requests[:count]

    def _handle(self, request):
        with self.changed:
            self.requests.append((request.method, request.target))
            self.authorizations.append(request.header("Proxy-Authorization"))
            self.changed.notify_all()
        status = self.status if request.method == "CONNECT" else 405
        if status != 200:
            request.connection.respond(status, "no", [("Connection", "close")])
            raise Closed
        host, _, port = request.target.rpartition(":")
        upstream = netns.connect(self.instance.netns, host, int(port))
        upstream.settimeout(None)
        self.tunnels.append(upstream)
        client = request.connection.sock
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=_copy, args=(upstream, client), daemon=True).start()
        _copy(client, upstream)
        raise Closed


def _copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    _shut(target)


def _shut(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
