"""A container's log as dockerd writes it to a log plugin, without a Docker: the FIFO, the calls, the records (docs:
moby's daemon/logger: plugin.go, adapter.go, copier.go; internal/logdriver/entry.proto)."""

import errno
import fcntl
import json
import os
import select
import struct
import termios
import time

from .instance import BedError, wait_until
from .logsinks import SYSLOG_PORT

LOGGING = "/run/docker/logging"
PIECE = 16384    # bytes of a line in one record, at most


# --- records

def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number_field(field, value):
    return varint(field << 3) + varint(value) if value else b""


def bytes_field(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value if value else b""


def framed(message):
    return struct.pack(">I", len(message)) + message


def fields(line=b"", source="stdout", time_ns=None, piece=None):
    """The fields of a LogEntry as a list; piece: (id, ordinal, last) of a line that was cut."""
    parts = [bytes_field(1, source), number_field(2, time.time_ns() if time_ns is None else time_ns),
             bytes_field(3, line)]
    if piece:
        which, ordinal, last = piece
        parts += [number_field(4, 1),
                  bytes_field(5, number_field(1, int(last)) + bytes_field(2, which) + number_field(3, ordinal))]
    return parts


def record(line=b"", source="stdout", time_ns=None, piece=None):
    return framed(b"".join(fields(line, source, time_ns, piece)))


def new_id():
    return os.urandom(32).hex()


def records_of_line(line, source="stdout", time_ns=None, ended=True):
    """The records of one line as Docker's splitter cuts it; ended: it had a newline."""
    line = line.encode() if isinstance(line, str) else line
    time_ns = time.time_ns() if time_ns is None else time_ns
    if ended and len(line) < PIECE:
        return [record(line, source, time_ns)]
    cuts = [line[i:i + PIECE] for i in range(0, len(line), PIECE)]
    if ended and len(line) % PIECE == 0:
        cuts.append(b"")    # the newline came alone
    which = new_id()
    return [record(cut, source, time_ns, (which, ordinal, ended and ordinal == len(cuts)))
            for ordinal, cut in enumerate(cuts, 1)]


def short_records(lines, source="stdout", time_ns=None):
    """Records of many lines of less than 128 bytes, faster."""
    head = bytes_field(1, source) + number_field(2, time.time_ns() if time_ns is None else time_ns)
    return b"".join(struct.pack(">I", len(head) + 2 + len(line)) + head + b"\x1a" + bytes((len(line),)) + line
                    for line in lines)


# --- the FIFO

class Refused(Exception):
    """StartLogging said no; the text is its reason."""


class LogFifo:
    """One log of one container. start() is `docker start`, stop() its end; in between write() and line()."""

    def __init__(self, logd, driver="syslog", container=None, name="test", env=(), labels=None, **options):
        """options: log-opts, underscores for hyphens."""
        self.logd, self.container = logd, container or new_id()
        self.path = f"{LOGGING}/{new_id()}"
        self.inside = logd.instance.path_inside(self.path)
        self.config = {"x-ecs-driver": driver, **{key.replace("_", "-"): str(value) for key, value in options.items()}}
        self.info = {"Config": self.config, "ContainerID": self.container, "ContainerName": f"/{name}",
                     "ContainerEntrypoint": "sh", "ContainerArgs": None, "ContainerImageID": "sha256:" + "ab" * 32,
                     "ContainerImageName": "busybox:test", "ContainerCreated": "2026-01-02T03:04:05.678901234Z",
                     "ContainerEnv": list(env), "ContainerLabels": labels or {}, "LogPath": "", "DaemonName": "docker"}
        self.fd = -1

    def open(self):
        """Makes the FIFO and opens it as dockerd does, for reading as well: it never sees that nobody reads."""
        os.makedirs(os.path.dirname(self.inside), mode=0o700, exist_ok=True)
        os.mkfifo(self.inside, 0o700)
        self.fd = os.open(self.inside, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        return self

    def start(self):
        if self.fd < 0:
            self.open()
        self.logd.call("POST", "/LogDriver.Capabilities")
        status, answer = self.logd.call("POST", "/LogDriver.StartLogging",
                                        json.dumps({"File": self.path, "Info": self.info}) + "\n")
        if status != 200 or answer.get("Err"):
            raise Refused(answer.get("Err") or f"status {status}")
        return self

    def write(self, data, timeout=30):
        """Writes all of it, as a blocking writer does."""
        left = memoryview(data)
        limit = time.monotonic() + timeout
        while left:
            left = left[self.write_some(left):]
            if left and not select.select([], [self.fd], [], max(0, limit - time.monotonic()))[1]:
                raise BedError(f"waited {timeout} s in vain: {len(left)} bytes do not fit into the FIFO")

    def write_some(self, data):
        """How many bytes fit now."""
        try:
            return os.write(self.fd, data)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return 0
            raise

    def fill(self, records):
        """Writes these records over and over until ecs-logd holds the container back and the FIFO is full. Returns what is
        left of the last round: it has to be written next."""
        rest, held = b"", False
        while True:
            rest = rest or records
            taken = self.write_some(rest)
            rest = rest[taken:]
            if taken == 0 and held:
                return rest
            held = self.figures["Stalls"] > 0

    def line(self, text, source="stdout", time_ns=None, ended=True):
        for each in records_of_line(text, source, time_ns, ended):
            self.write(each)

    def lines(self, name, count, first=0):
        """Numbered lines "NAME 0", ..., many of them at once."""
        for start in range(first, first + count, 1000):
            self.write(short_records(b"%b %d" % (name.encode(), i) for i in range(start, min(start + 1000, first + count))))

    def stop(self):
        """The end of the container: StopLogging, which reads all, and only then the writer's end and the FIFO go."""
        answer = self.logd.call("POST", "/LogDriver.StopLogging", json.dumps({"File": self.path}) + "\n")
        if answer != (200, {"Err": ""}):
            raise BedError(f"StopLogging: {answer}")
        self.drop()
        self.remove()

    def drop(self):
        """The engine is killed: its descriptor goes, the FIFO stays."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def remove(self):
        if os.path.exists(self.inside):
            os.unlink(self.inside)

    def wait_read(self, timeout=30):
        """Waits until the FIFO is empty."""
        unread = bytearray(4)

        def empty():
            fcntl.ioctl(self.fd, termios.FIONREAD, unread)
            return unread == bytes(4)
        wait_until(empty, timeout, "an empty FIFO", 0.01)

    @property
    def writable(self):
        return bool(select.select([], [self.fd], [], 0)[1])

    @property
    def figures(self):
        """What ecs-logd says of this container; None: it does not know it."""
        return next((each for each in self.logd.status()["Containers"] if each["Container"] == self.container), None)


def syslog(logd, **options):
    """A log that goes to a LineSink."""
    return LogFifo(logd, **{"syslog_address": f"tcp://127.0.0.1:{SYSLOG_PORT}", **options})
