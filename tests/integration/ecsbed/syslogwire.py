"""A receiver of syslog that keeps every byte, by each way syslog can come, and takes it apart as the RFCs say."""

import collections
import os
import re
import socket
import ssl
import threading

from . import netns
from .instance import wait_until

SO_RCVBUFFORCE = 33    # <asm-generic/socket.h>
Message = collections.namedtuple("Message", "priority time host tag process text")    # all bytes; host may be b""

_BSD = re.compile(rb"<(\d+)>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?:(\S+) )?([^\s\[]*)\[(\d+)\]: (.*)\n", re.DOTALL)
_NEW = re.compile(rb"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?(?:Z|[+-]\d\d:\d\d)) (\S+) (\S*) (\d+) (\S*) - (.*)\n",
                  re.DOTALL)


def parse(data):
    """One message with its newline; AssertionError if it is none."""
    found = _NEW.fullmatch(data)
    if found:
        priority, time, host, tag, process, again, text = found.groups()
        assert tag == again, data
        return Message(priority, time, host, tag, process, text)
    found = _BSD.fullmatch(data)
    assert found, data
    priority, time, host, tag, process, text = found.groups()
    return Message(priority, time, host or b"", tag, process, text)


class SyslogWire:
    """way: udp, tcp, tls, unix, unixgram. By the first three on a port of 127.0.0.1 in the instance (family: or of ::1), else
    at a path. Everything is in `datagrams`, or in `streams` with one entry for each connection."""

    def __init__(self, instance, way, path=None, tls=None, address="127.0.0.1"):
        self.instance, self.way, self.path, self.tls, self.address, self.port = instance, way, path, tls, address, 0
        self.datagrams, self.streams, self.failures = [], [], []    # failures: of TLS
        self.connections = 0
        self.reading = threading.Event()
        self.reading.set()
        self._open = []
        self.up()

    def up(self):
        """Listens, at the same port after down()."""
        datagram = self.way in ("udp", "unixgram")

        def make():
            family = socket.AF_UNIX if self.path else socket.AF_INET6 if ":" in self.address else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.way == "udp":    # what does not fit is lost, and this process is slow
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
            sock.bind(self.path or (self.address, self.port))
            if self.path:
                os.chmod(self.path, 0o666)
            if not datagram:
                sock.listen(64)
            return sock
        self.sock = netns.run_in(self.instance.netns, make)
        if not self.path:
            self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._take_datagrams if datagram else self._accept, args=(self.sock,), daemon=True).start()
        return self

    def down(self):
        """Nobody listens, connections end; what has come is read before."""
        for sock in (self.sock, *self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.sock.close()
        self._open = []
        if self.path and os.path.exists(self.path):
            os.unlink(self.path)

    @property
    def url(self):
        if self.path:
            return f"{self.way}://{self.path}"
        scheme = "tcp+tls" if self.way == "tls" else self.way
        return f"{scheme}://{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}"

    def _take_datagrams(self, sock):
        while True:
            self.reading.wait()
            try:
                data = sock.recv(1 << 20)
            except OSError:
                return
            if not data:
                return
            self.datagrams.append(data)

    def _accept(self, sock):
        while True:
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection):
        stream = bytearray()
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self.streams.append(stream)
            while True:
                self.reading.wait()
                data = connection.recv(1 << 16)
                if not data:
                    break
                stream += data
        except (OSError, ssl.SSLError) as error:
            self.failures.append(str(error))
        finally:
            connection.close()

    def raw(self, counted=False):
        """Whole messages with their newlines. counted: each has its length in front (RFC 6587, 3.4.1)."""
        found = list(self.datagrams)
        for stream in self.streams:
            rest = bytes(stream)
            while rest:
                if counted:
                    head, space, _ = rest.partition(b" ")
                    assert not space or head.isdigit(), rest[:100]
                    end = len(head) + 1 + int(head) if space else len(rest) + 1
                else:
                    end = rest.find(b"\n") + 1 or len(rest) + 1
                if end > len(rest):
                    break    # the end has not come yet
                found.append(rest[len(head) + 1 if counted else 0:end])
                rest = rest[end:]
        return found

    def messages(self, counted=False):
        return [parse(data) for data in self.raw(counted)]

    def wait(self, count, counted=False, timeout=20):
        wait_until(lambda: len(self.raw(counted)) >= count, timeout, f"{count} messages by {self.way}")
        return self.messages(counted)
