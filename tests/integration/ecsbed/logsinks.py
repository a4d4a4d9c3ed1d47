"""Receivers of logs: what arrives is kept, and can be held up, cut off, and turned away."""

import socket
import threading
import time

from .instance import BedError, wait_until

SYSLOG_PORT = 5514


class LineSink:
    """A TCP server of lines (syslog without octet counting) in an instance, on loopback."""

    def __init__(self, instance, port):
        self.instance, self.port = instance, port
        self.lines, self.connections = [], 0
        self._lock = threading.Lock()
        self._open, self._listening = [], None
        self.reading = threading.Event()
        self.reading.set()
        self.rate = None    # bytes a second that are read of each connection; None: all there is

    def up(self):
        self._listening = self.instance.listen("127.0.0.1", self.port)
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()
        return self

    def _accept(self, listening):
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection):
        rest = b""
        while True:
            self.reading.wait()
            try:
                data = connection.recv(self.rate // 10 if self.rate else 1 << 16)
            except OSError:
                data = b""
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            with self._lock:
                self.lines += lines
            if self.rate:
                time.sleep(len(data) / self.rate)
        connection.close()

    def down(self, abort=False):
        """Stops listening and ends all connections. What the kernel had not handed to us yet is read before, unless
        aborted: a receiver that dies loses it."""
        if self._listening:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None
        with self._lock:
            connections, self._open = self._open, []
        for connection in connections:
            try:
                if abort:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def texts(self):
        with self._lock:
            return list(self.lines)

    def wait(self, count, timeout=30):
        wait_until(lambda: len(self.lines) >= count, timeout, f"{count} lines", 0.02)
        return self.texts()

    def messages(self):
        """What containers have written, without what syslog puts in front."""
        return [line.partition(b"]: ")[2] for line in self.texts()]

    def assert_complete(self, name, count):
        """Lines "NAME 0" and so on are all there, each after those before it. They may still be on their way from the
        kernel, which has acknowledged them."""
        try:
            wait_until(lambda: not self.numbered().missing(name, count), 5, "all lines")
        except BedError:
            pass
        numbered = self.numbered()
        assert numbered.missing(name, count) == []
        assert numbered.in_order(name)

    def numbered(self):
        return Numbered(line.decode(errors="replace") for line in self.texts())


class Numbered:
    """What became of numbered lines "NAME 1", "NAME 2", ... of several containers."""

    def __init__(self, lines):
        self.of = {}
        for line in lines:
            name, _, number = line.rpartition(": ")[2].partition(" ")
            if number.isdigit():
                self.of.setdefault(name, []).append(int(number))

    def missing(self, name, count, first=0):
        return sorted(set(range(first, first + count)) - set(self.of.get(name, [])))

    def duplicates(self, name):
        numbers = self.of.get(name, [])
        return len(numbers) - len(set(numbers))

    def in_order(self, name):
        """Whether each line first arrived after all those before it."""
        most = -1
        for number in self.of.get(name, []):
            if number > most + 1:
                return False
            most = max(most, number)
        return True
