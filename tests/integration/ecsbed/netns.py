"""Sockets inside a network or mount namespace, for this process's own servers and clients.

A socket belongs to the namespace in which it was made, and has the path that it had there, not in the one of the thread
that uses it. So a short-lived thread enters the namespace, makes the socket, and ends; everything else stays outside."""

import ctypes
import http.client
import os
import socket
import threading

CLONE_FS, CLONE_NEWNS, CLONE_NEWNET = 0x200, 0x20000, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run_in(path, function, kind=CLONE_NEWNET):
    """Calls function() in a thread that has entered the namespace at path; a mount namespace is kind CLONE_NEWNS."""
    result = []

    def body():
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if kind == CLONE_NEWNS:
                    _libc.unshare(CLONE_FS)     # the thread's root and current directory become its own
                if _libc.setns(fd, kind):
                    raise OSError(ctypes.get_errno(), f"setns {path}")
            finally:
                os.close(fd)
            result.append((function(), None))
        except BaseException as error:  # handed to the caller
            result.append((None, error))

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    value, error = result[0]
    if error:
        raise error
    return value


def listen(path, address, port):
    """A listening TCP socket on address:port in the namespace."""
    def make():
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(64)
        return sock
    return run_in(path, make)


def listen_unix(mount_namespace, path, backlog=128):
    """A listening Unix socket, for its owner alone, at a path in the mount namespace."""
    def make():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path):
            os.unlink(path)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(backlog)
        return sock
    return run_in(mount_namespace, make, CLONE_NEWNS)


def connect(path, address, port, timeout=5, source=None):
    """A connected TCP socket in the namespace."""
    return run_in(path, lambda: socket.create_connection(
        (address, port), timeout, source and (source, 0)))


class Response:
    """An HTTP answer, read to its end."""

    def __init__(self, answer):
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.read()

    @property
    def text(self):
        return self.body.decode()


def http_request(path, method, url, headers=None, timeout=5, source=None):
    """One HTTP request (http://address:port/...) from within the namespace, on a connection of its own."""
    address, _, target = url.removeprefix("http://").partition("/")
    host, _, port = address.partition(":")
    client = http.client.HTTPConnection(host, int(port or 80))
    client.sock = connect(path, host, int(port or 80), timeout, source)
    try:
        client.request(method, "/" + target, headers=headers or {})
        return Response(client.getresponse())
    finally:
        client.close()
