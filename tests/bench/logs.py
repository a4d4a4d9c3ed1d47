"""Container logs: what they cost with ecs-logd, with Docker's own drivers, and with a plugin that throws them away.

One instance, one container at a time, which writes lines of 100 bytes (log_writer.c). Receivers (log_sink.c) cost little,
share the machine, and are not counted."""

import contextlib
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import tempfile
import threading
import time

from subject import TOOLS
from ecsbed.instance import Instance, wait_until
from ecsbed.logd import DRIVER, PLUGINS, Logd

STREAM_PORT, HTTP_PORT = 5514, 5580
SIZE, BLOCK = 100, 4096      # of a line, and of what the container writes at once: as the C library does
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDTESTLOGS", "AWS_SECRET_ACCESS_KEY": "logs/secret+key"}
OPTIONS = {
    "awslogs": {"awslogs-group": "group", "awslogs-stream": "stream", "awslogs-region": "us-west-2",
                "awslogs-endpoint": f"http://127.0.0.1:{HTTP_PORT}"},
    "fluentd": {"fluentd-address": f"127.0.0.1:{STREAM_PORT}"},
    "syslog": {"syslog-address": f"tcp://127.0.0.1:{STREAM_PORT}"},
}
OUTAGE_S = 600          # of ecs-logd's clock
ROOM = {"ECS_LOGD_CONTAINER_MAX": "4g"}     # for what nobody takes: a container that is held back writes at no rate
TICKS = os.sysconf("SC_CLK_TCK")


def docker_options(driver, **more):
    return driver, {**OPTIONS[driver], **more}


def logd_options(driver, **more):
    return DRIVER, {"x-ecs-driver": driver, **OPTIONS[driver], **more}


def cpu_seconds(pids):
    """User and system time so far."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            total += sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
    return total / TICKS


class LogBed:
    """An instance whose dockerd can sign requests; a context manager."""

    def __enter__(self):
        os.environ.update(CREDENTIALS)      # dockerd, and with it Docker's awslogs driver, has this environment
        self.instance = Instance().up()
        return self

    def __exit__(self, *_):
        self.instance.down()

    @contextlib.contextmanager
    def logd(self, **environment):
        logd = Logd(self.instance, self.instance.new_directory(), ECS_LOGLEVEL="info", **CREDENTIALS, **environment).start()
        try:
            yield logd
        finally:
            if not logd.running:
                logd.start()    # else Docker hangs on containers that are left
            self.instance.remove_containers()
            logd.close()

    @contextlib.contextmanager
    def container(self, options, count=0, rate=0, block=BLOCK):
        """One that writes `count` lines (0: without end), `rate` a second (0: all it can), and then sleeps."""
        driver, values = options
        arguments = [part for name, value in values.items() for part in ("--log-opt", f"{name}={value}")]
        container = self.instance.docker(
            "run", "--detach", "--network", "none", "--volume", f"{TOOLS}/log_writer:/log_writer:ro", "--log-driver", driver,
            *arguments, "busybox:test", "/log_writer", str(count), str(SIZE), str(rate),
            str(block)).strip()
        try:
            yield container
        finally:
            self.instance.docker("rm", "--force", container)

    def shims(self, container):
        """The processes between a container and dockerd."""
        found = []
        for pid in self.instance.processes():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
                if b"containerd-shim" in words[0] and container.encode() in words:
                    found.append(pid)
        return found


class Sink:
    """The receiver of everything, a context manager; as often as one is made it has received nothing."""

    def __init__(self, bed):
        self.instance = bed.instance
        self.process = subprocess.Popen(self.instance.command(f"{TOOLS}/log_sink", str(STREAM_PORT), str(HTTP_PORT)))
        wait_until(self._answers, 10, "log_sink")

    def _answers(self):
        with contextlib.suppress(OSError):
            return self.seen()

    def seen(self):
        return json.loads(self.instance.http("GET", f"http://127.0.0.1:{HTTP_PORT}/lines").body)

    def lines(self):
        return self.seen()["lines"]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Discard(Logd):
    """The plugin that throws away; what it says is asked for as with ecs-logd."""

    def __init__(self, bed):
        super().__init__(bed.instance, bed.instance.new_directory())
        self.plugin_path = f"{PLUGINS}/discard.sock"

    def __enter__(self):
        os.makedirs(self.instance.path_inside(PLUGINS), exist_ok=True)
        self.process = subprocess.Popen(self.instance.command(f"{TOOLS}/log_discard", self.plugin_path))
        wait_until(lambda: os.path.exists(self.instance.path_inside(self.plugin_path)), 10, "log_discard")
        return self

    def __exit__(self, *_):
        self.instance.remove_containers()
        self.close()

    def lines(self):
        return self.status()["Lines"]


class Follower:
    """Reads a container's log from Docker as it comes, as `docker logs --follow`; counts its lines."""

    def __init__(self, instance, container):
        self.count = 0
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(instance.docker_socket)
        self.sock.sendall(f"GET /containers/{container}/logs?follow=1&stdout=1 HTTP/1.0\r\n\r\n".encode())
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while data := self.sock.recv(1 << 20):
            self.count += data.count(b"~")

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)


# --- from a FIFO to the spool

def measure_spool(seconds):
    """For each size of lines: (size, lines/s and CPU s a million of the discarding reader, the same of ours, ratio)."""
    # On the disk of the build, as /tmp may be none.
    with tempfile.TemporaryDirectory(dir=TOOLS) as directory:
        out = subprocess.run([f"{TOOLS}/spool_bench", directory, str(seconds)], check=True, capture_output=True, text=True)
    return [[float(word) for word in line.split()] for line in out.stdout.splitlines()]


# --- through dockerd

def rate(lines, seconds):
    """Lines a second of a stream that is running already."""
    first = lines()
    wait_until(lambda: lines() > first + 10000, 60, "lines")
    first, begin = lines(), time.monotonic()
    time.sleep(seconds)
    return (lines() - first) / (time.monotonic() - begin)


def through_discard(bed, seconds, **more):
    with Discard(bed) as plugin, bed.container(("discard", more)):
        return rate(plugin.lines, seconds)


def through_logd(bed, seconds, **more):
    """Into the spool, with a destination that takes all of it."""
    with bed.logd(**ROOM) as logd, Sink(bed), bed.container(logd_options("syslog", **more)):
        return rate(lambda: sum(each["Lines"] for each in logd.status()["Containers"]), seconds)


def through_spool(bed, seconds, **more):
    """Into the spool, and no further: nobody listens."""
    with bed.logd(**ROOM) as logd, bed.container(logd_options("syslog", **more)):
        return rate(lambda: sum(each["Lines"] for each in logd.status()["Containers"]), seconds)


def through_json_file(bed, seconds):
    with bed.container(("json-file", {})) as container:
        follower = Follower(bed.instance, container)
        try:
            return rate(lambda: follower.count, seconds)
        finally:
            follower.close()


def measure_rates(rounds, seconds):
    """Medians, by what takes the lines: "discard", "logd", "spool" (without Docker's cache, and with it: "... cache") and
    "json-file"."""
    ways = {"json-file": through_json_file}
    for name, way in (("discard", through_discard), ("logd", through_logd), ("spool", through_spool)):
        ways[name] = lambda bed, seconds, way=way: way(bed, seconds, **{"cache-disabled": "true"})
        ways[f"{name} cache"] = way
    found = {name: [] for name in ways}
    with LogBed() as bed:
        for _ in range(rounds):
            for name, way in ways.items():
                found[name].append(way(bed, seconds))
    return {name: statistics.median(values) for name, values in found.items()}


# --- CPU

def cpu_of(bed, options, count, logd=None):
    """CPU seconds a million lines of dockerd, the container's shim and ecs-logd, from the start of a container that writes
    so many lines until all have arrived."""
    ours = [bed.instance.dockerd.pid] + ([logd.pid] if logd else [])
    before = cpu_seconds(ours)
    with Sink(bed) as sink, bed.container(options, count) as container:
        wait_until(lambda: sink.lines() >= count, 600, f"{count} lines", 0.25)
        if logd:
            logd.all_shipped(60)
        each = [cpu_seconds([pid]) for pid in ours] + [cpu_seconds(bed.shims(container))]
    return (sum(each) - before) / count * 1e6


def measure_cpu(rounds, count):
    """{driver: (with ecs-logd, with Docker's own)}: CPU seconds a million lines, medians."""
    found = {driver: ([], []) for driver in OPTIONS}
    with LogBed() as bed, bed.logd() as logd:
        for _ in range(rounds):
            for driver, (ours, dockers) in found.items():
                ours.append(cpu_of(bed, logd_options(driver), count, logd))
                dockers.append(cpu_of(bed, docker_options(driver), count))
    return {driver: tuple(map(statistics.median, both)) for driver, both in found.items()}


# --- memory

def record(line):
    """A line as Docker writes it to a FIFO (logging.md 1.7)."""
    message = b"\x0a\x06stdout\x10" + varint(time.time_ns()) + b"\x1a" + varint(len(line)) + line
    return len(message).to_bytes(4, "big") + message


def varint(number):
    out = b""
    while number > 0x7f:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


def private_dirty(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(re.search(r"Private_Dirty:\s+(\d+)", file.read())[1])


def start_stream(logd, fifos, number):
    """A container's log without a container; returns the descriptor that Docker would write to."""
    path, (_, config) = f"{fifos}/{number:064x}", logd_options("syslog")
    os.mkfifo(path, 0o700)
    writer = os.open(path, os.O_RDWR | os.O_NONBLOCK)   # as dockerd does
    status, answer = logd.call("POST", "/LogDriver.StartLogging", json.dumps({"File": path, "Info": {
        "Config": config, "ContainerID": f"{number:064x}", "ContainerName": f"/c{number}"}}))
    assert status == 200 and not answer["Err"], answer
    return writer


def measure_memory(streams):
    """(private dirty KiB without streams, with so many that have shipped lines and are idle)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, streams + 1000)), hard))
    with LogBed() as bed:
        fifos = bed.instance.new_directory()
        with bed.logd(ECS_LOGD_LOGGING_DIR=fifos) as logd, Sink(bed) as sink:
            time.sleep(1)
            before = private_dirty(logd.pid)
            writers = [start_stream(logd, fifos, number) for number in range(streams)]
            for writer in writers:
                os.write(writer, b"".join(record(b"%010d~ a container that has little to say" % i) for i in range(20)))
            wait_until(lambda: sink.lines() >= 20 * streams, 60, "lines of all streams")
            logd.all_shipped()
            time.sleep(3)       # what it frees when nothing happens
            after = private_dirty(logd.pid)
            for writer in writers:
                os.close(writer)
    return before, after


# --- an outage

def outage(bed, driver, seconds, rate_in):
    """(lines that waited, seconds until none did, lines that arrived by then, gaps, repeated lines)"""
    scale = OUTAGE_S / seconds
    with bed.logd(ECSD_CLOCK_SCALE=scale) as logd, bed.container(logd_options(driver), rate=rate_in):
        with Sink(bed) as sink:
            wait_until(lambda: sink.lines() >= rate_in, 60, "lines before the outage")
            before = sink.seen()
        time.sleep(seconds)
        waiting = lambda: sum(each["WaitingLines"] for each in logd.status()["Containers"])
        waited = waiting()
        with Sink(bed) as sink:
            wait_until(lambda: sink.lines() > 0, 120, "lines after the outage", 0.005)
            begin = time.monotonic()
            wait_until(lambda: waiting() < rate_in / 2, 600, "the end of what waited", 0.005)
            took, after = time.monotonic() - begin, sink.seen()
    return waited, took, after["lines"], after["gaps"] + (after["first"] > before["next"] + rate_in), after["repeated"]


def measure_outage(seconds, rate_in):
    with LogBed() as bed:
        return {driver: outage(bed, driver, seconds, rate_in) for driver in OPTIONS}
