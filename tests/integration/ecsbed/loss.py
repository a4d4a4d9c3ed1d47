"""What becomes of numbered lines: five containers for each driver, something that goes wrong, and a count of what arrived.

A Cell is one run: an instance, receivers of all drivers in question, containers that log to them through ecs-logd or through
Docker's own drivers, one scenario, and the Outcome of each driver. Lines are counted where they are written (in the container, in
a file that survives it: tests/logging/numbers.c), where ecs-logd accepts them, and where they arrive."""

import concurrent.futures
import contextlib
import itertools
import mmap
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
import zlib

from . import cloudwatch, image, tasks
from .fluentd import ForwardServer
from .instance import BedError, Instance, kill_and_wait, wait_until
from .logd import Logd, options
from .logplugin import HELLO, WIRE_VERSION, LogdSocket
from .logsinks import LineSink
from .powercut import Disk

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
CONTAINERS = 5
LINE_BYTES = 240
SLOW = 10 << 10     # bytes a second of each connection; a container writes 60 KB/s
SMALL_BUFFERS = "4096 16384 16384"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": cloudwatch.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": cloudwatch.SECRET_KEY}
# What Docker's SDK signs; ecs-logd signs as a newer one does.
DOCKER_SIGNS = ("content-length", "content-type", "host", "x-amz-date", "x-amz-target")


# --- who receives

class Syslog:
    driver, port, text = "syslog", 5601, "syslog tcp"

    def __init__(self, instance, for_docker):
        self.sink = LineSink(instance, self.port).up()

    def options(self, name):
        return {"syslog-address": f"tcp://127.0.0.1:{self.port}"}

    def down(self):
        self.sink.down()

    def up(self):
        self.sink.up()

    def slow(self, rate):
        self.sink.rate = rate

    def texts(self):
        return self.sink.texts()

    def count(self):
        return len(self.sink.lines)

    def close(self):
        self.sink.rate = None
        self.sink.down()


class Fluentd:
    driver, port, text, acknowledged = "fluentd", 5602, "fluentd without ack", False

    def __init__(self, instance, for_docker):
        self.instance = instance
        self.server = ForwardServer(sock=instance.listen("127.0.0.1", self.port))

    def options(self, name):
        return {"fluentd-address": f"tcp://127.0.0.1:{self.port}", "fluentd-request-ack": str(self.acknowledged).lower()}

    def down(self):
        self.server.stop()

    def up(self):
        self.server.restart(self.instance.listen("127.0.0.1", self.port))

    def slow(self, rate):
        self.server.rate = rate

    def texts(self):
        return self.server.logs()

    def count(self):
        return len(self.server.events)

    def close(self):
        self.server.rate = None
        self.server.stop()


class FluentdAck(Fluentd):
    port, text, acknowledged = 5603, "fluentd with ack", True


class AwsLogs:
    driver, port, text, group = "awslogs", 5604, "awslogs", "loss"

    def __init__(self, instance, for_docker):
        self.instance = instance
        self.service = cloudwatch.CloudWatch(instance.listen("127.0.0.1", self.port), groups=(self.group,))
        if for_docker:
            self.service.signed = DOCKER_SIGNS

    def options(self, name):
        return {"awslogs-group": self.group, "awslogs-stream": name, "awslogs-region": tasks.REGION,
                "awslogs-endpoint": f"http://127.0.0.1:{self.port}"}

    def down(self):
        self.service.server.stop()

    def up(self):
        self.service.restart(self.instance.listen("127.0.0.1", self.port))

    def slow(self, rate):
        self.service.rate = rate

    def texts(self):
        """As they arrived, not by time stamp."""
        with self.service.changed:
            return [event.message.encode() for events in self.service.streams.values() for event in events]

    def count(self):
        return sum(len(events) for events in list(self.service.streams.values()))

    def close(self):
        self.service.rate = None
        self.service.stop()
        if self.service.violations:
            raise BedError(f"the service would have refused: {self.service.violations[:3]}")


RECEIVERS = {"awslogs": AwsLogs, "fluentd-ack": FluentdAck, "fluentd": Fluentd, "syslog": Syslog}


# --- who writes

class Writer:
    """One container; its state is that of numbers.c."""

    def __init__(self, instance, name):
        self.instance, self.name = instance, name
        self.path = f"{instance.dir}/numbers/{name}"
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path, "wb") as file:
            file.write(bytes(24))
        with open(self.path, "r+b") as file:
            self.state = mmap.mmap(file.fileno(), 24)
        self.id = None

    def run(self, program, rate, log_options):
        self.id = self.instance.docker(
            "run", "-d", "--network", "none", "--name", self.name, *log_options, "--log-opt", "cache-disabled=true",
            "-v", f"{program}:/numbers:ro", "-v", f"{self.path}:/state", image.NAME,
            "/numbers", self.name, str(rate), str(LINE_BYTES), "/state").strip()

    @property
    def written(self):
        return struct.unpack_from("<Q", self.state, 0)[0]

    @property
    def held_up_ms(self):
        """The longest time that a write took."""
        return struct.unpack_from("<Q", self.state, 8)[0]

    def stop(self):
        self.state[16] = 1


# --- what arrived

class Outcome:
    """Of one driver: sums over its containers. Lines: `written` by containers; lost `before` they reached ecs-logd, as far as that
    is known; `missing` after that; `duplicates`; `disorder`: first arrived after a later one; `pieces` of lines that somebody cut."""

    def __init__(self):
        self.written = self.arrived = self.before = self.missing = self.duplicates = self.disorder = self.pieces = 0
        self.held_up_ms = 0
        self.unsynced_s = None      # of accepted lines, that a power cut took
        self.accepted = 0           # None: not known
        self.gaps = []

    def add(self, name, written, accepted, numbers, suffix=False):
        """suffix: what is missing is to be the last ones (of a power cut)."""
        seen = set(numbers)
        # The very last line may be out and not counted yet when its writer is killed.
        self.written += max(written, max(seen, default=-1) + 1)
        self.arrived += len(seen)
        self.duplicates += len(numbers) - len(seen)
        self.disorder += out_of_order(numbers)
        self.accepted = None if accepted is None or self.accepted is None else self.accepted + accepted
        if suffix and seen and len(seen) <= max(seen):
            self.gaps.append(f"{name}: {max(seen) + 1 - len(seen)} missing before {max(seen)}")

    def close(self, pieces):
        self.pieces = pieces
        lost = self.written - self.arrived
        self.before = 0 if self.accepted is None else min(lost, max(0, self.written - (self.accepted - pieces)))
        self.missing = lost - self.before


def out_of_order(numbers):
    """Lines that first arrived after a later one."""
    seen, most, count = set(), -1, 0
    for number in numbers:
        if number < most and number not in seen:
            count += 1
        seen.add(number)
        most = max(most, number)
    return count


def by_writer(texts):
    """(name -> numbers, as they arrived; how many pieces of lines there are)"""
    found, pieces = {}, 0
    for text in texts:
        match = re.search(rb"([a-z-]+\.\d) (\d+) x+$", text)
        if match and len(match.group()) == LINE_BYTES - 1:
            found.setdefault(match.group(1).decode(), []).append(int(match.group(2)))
        else:
            pieces += 1
    return found, pieces


# --- the spool as it is on disk, for the lines that a power cut takes

_BATCH = struct.Struct("<IIIIQIBBHIIqq")    # struct batch of logging/spool_segment.h


def batches(directory):
    """(first, count, kind, first_ns, last_ns) of the whole batches of a container's spool, oldest first."""
    found = []
    for name in os.listdir(directory):
        if not name.endswith(".log"):
            continue
        with open(f"{directory}/{name}", "rb") as file:
            data = file.read()
        at = 0
        while at + _BATCH.size <= len(data):
            salt, _, payload_sum, size, first, count, kind, _, _, _, _, first_ns, last_ns = _BATCH.unpack_from(data, at)
            payload = data[at + _BATCH.size:at + _BATCH.size + size]
            if len(payload) < size or (size and zlib.crc32(payload, salt) != payload_sum):
                break
            found.append((first, count, kind, first_ns, last_ns))
            at += _BATCH.size + size
    return sorted(found)


# --- one run

def make_program(directory):
    """tests/logging/numbers.c, linked statically as it runs in containers that have no library."""
    program = f"{directory}/numbers.program"
    subprocess.run(["gcc", "-static", "-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-o", program,
                    f"{ROOT}/tests/logging/numbers.c"], check=True)
    return program


class Cell:
    """native: Docker's own drivers instead of ecs-logd. rate: lines a second of each container. brief: everything lasts a
    fraction of the time, with fewer containers."""

    def __init__(self, scenario, drivers=tuple(RECEIVERS), native=False, rate=250, brief=False, instance=None):
        self.scenario, self.native, self.rate, self.brief = SCENARIOS[scenario], native, rate, brief
        self.drivers, self.containers = drivers, 2 if brief else CONTAINERS
        self.instance, self.own_instance = instance, instance is None
        self.receivers, self.writers, self.logd, self.disk = {}, {}, None, None
        self.killed = self.is_cut = False
        self.cut_spool = {}

    def run(self):
        """{driver: Outcome}"""
        with contextlib.ExitStack() as stack:
            self._set_up(stack)
            self._start_writers()
            self.scenario(self)
            if not self.is_cut:
                self._finish_writers()
            self._wait_arrivals()
            self.status = self.logd.status()["Containers"] if self.logd else []
            return {driver: self._outcome(driver) for driver in self.drivers}

    def lasting(self, seconds, brief):
        time.sleep(brief if self.brief else seconds)

    # --- begin and end

    def _small_buffers(self):
        """So that a few seconds are enough to fill what lies between sender and receiver."""
        for name in ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"):
            self.instance.run("sysctl", "-qw", f"{name}={SMALL_BUFFERS}")

    def _set_up(self, stack):
        if self.own_instance:
            self.instance = Instance(live_restore=True)
            self.instance.docker_environment = CREDENTIALS
            stack.callback(self.instance.down)
            self.instance.up()
        self.program = make_program(self.instance.dir)
        if self.scenario is slow:
            self._small_buffers()
        for driver in self.drivers:
            self.receivers[driver] = RECEIVERS[driver](self.instance, self.native)
        if not self.native:
            self.logd = Logd(self.instance, self.instance.new_directory(), **CREDENTIALS)
            if self.scenario is power_cut:
                self.disk = Disk(self.instance, self.logd.spool).mount()
            self.logd.start()
        stack.callback(self._close)

    def _close(self):
        errors = []

        def attempt(function):
            try:
                function()
            except Exception as error:      # the others are to be closed all the same
                errors.append(error)
        for writer in self.all_writers():
            writer.stop()
        if self.logd and not self.logd.running:
            attempt(self.logd.start)        # else Docker hangs on containers that are left
        attempt(self.instance.remove_containers)
        for receiver in self.receivers.values():
            attempt(receiver.close)         # after the containers: Docker's fluentd driver would hang without
        if self.logd:
            if refused := self.logd.refused():
                errors.append(BedError(f"refused system calls: {refused}"))
            attempt(self.logd.close)
        if self.disk:
            attempt(self.disk.close)
        if errors:
            raise errors[0]

    def all_writers(self):
        return list(itertools.chain.from_iterable(self.writers.values()))

    def _log_options(self, driver, name):
        receiver = self.receivers[driver]
        if not self.native:
            return options(receiver.driver, **receiver.options(name))
        return ["--log-driver", receiver.driver] + [f"--log-opt={key}={value}" for key, value in receiver.options(name).items()]

    def _start_writers(self):
        jobs = []
        for driver in self.drivers:
            self.writers[driver] = [Writer(self.instance, f"{driver}.{i}") for i in range(self.containers)]
            jobs += [(writer, driver) for writer in self.writers[driver]]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(writer.run, self.program, self.rate, self._log_options(driver, writer.name))
                         for writer, driver in jobs]:
                done.result()
        for driver in self.drivers:
            wait_until(lambda: self.receivers[driver].count() >= 20, 60, f"the first lines of {driver}")

    def _finish_writers(self):
        self.lasting(4, 1)
        for writer in self.all_writers():
            writer.stop()
        wait_until(lambda: not self.instance.containers(running=True), 180, "the end of the containers", 0.2)

    def _wait_arrivals(self):
        if self.logd:
            self.logd.all_shipped(300)
            return
        # Docker says nothing of what it still holds: it had its time when nothing comes any more. awslogs sends every 5 s.
        count = {"last": -1, "since": 0}

        def quiet():
            now = sum(receiver.count() for receiver in self.receivers.values())
            if now != count["last"]:
                count.update(last=now, since=time.monotonic())
            return time.monotonic() - count["since"] > 12
        wait_until(quiet, 300, "the last lines", 0.2)

    # --- the count

    def _accepted(self, writer):
        """Lines of a container that reached ecs-logd; None: it cannot say."""
        if self.killed or self.native:
            return None
        if self.is_cut:
            return max((first + count for first, count, *_ in self.cut_spool[writer.id]), default=None)
        return next((each["Lines"] for each in self.status if each["Container"] == writer.id), None)

    def _outcome(self, driver):
        outcome = Outcome()
        numbers, pieces = by_writer(self.receivers[driver].texts())
        for writer in self.writers[driver]:
            arrived = numbers.get(writer.name, [])
            outcome.add(writer.name, writer.written, self._accepted(writer), arrived, self.is_cut)
            outcome.held_up_ms = max(outcome.held_up_ms, writer.held_up_ms)
            if self.is_cut and not self.native:
                self._judge_cut(outcome, writer, len(set(arrived)))
        outcome.close(pieces)
        return outcome

    def _judge_cut(self, outcome, writer, arrived):
        """How much time is gone: from the oldest line that is missing, or was in a batch with it, to the last one accepted."""
        found = self.cut_spool[writer.id]
        lost = [first_ns for first, count, _, first_ns, _ in found if first + count > arrived]
        gone = max(last_ns for *_, last_ns in found) - min(lost) if lost else 0
        outcome.unsynced_s = max(outcome.unsynced_s or 0, gone / 1e9)

    # --- what scenarios do

    def each_receiver(self, function):
        for receiver in self.receivers.values():
            function(receiver)

    def black_hole(self, on):
        """Packets from and to the receivers vanish."""
        for receiver in self.receivers.values():
            for direction in ("--dport", "--sport"):
                self.instance.run("iptables", "-w", "-D" if not on else "-I", "INPUT", "-i", "lo", "-p", "tcp", direction,
                                  str(receiver.port), "-j", "DROP")

    def wait_caught_up(self):
        """Returns when what is written from now on arrives, or after a minute: containers would end while Docker's
        drivers wait for a retransmission, and 10 s later what they hold would be thrown away."""
        goals = [(driver, writer.name, writer.written) for driver in self.drivers for writer in self.writers[driver]]

        def caught_up():
            arrived = {driver: by_writer(self.receivers[driver].texts())[0] for driver in self.drivers}
            return all(max(arrived[driver].get(name, [-1])) >= goal for driver, name, goal in goals)
        with contextlib.suppress(BedError):
            wait_until(caught_up, 60, "lines written after the trouble", 0.1 if self.brief else 1)

    def wait_lines(self, more, timeout=30):
        """So many lines more are written by each container."""
        goals = [(writer, writer.written + more) for writer in self.all_writers()]
        wait_until(lambda: all(writer.written >= goal for writer, goal in goals), timeout, f"{more} lines", 0.01)


# --- scenarios

def undisturbed(cell):
    cell.lasting(8, 1)


def down(cell):
    cell.each_receiver(lambda receiver: receiver.down())
    cell.lasting(10, 2)
    cell.each_receiver(lambda receiver: receiver.up())
    cell.wait_caught_up()


def slow(cell):
    cell.each_receiver(lambda receiver: receiver.slow(SLOW))
    cell.lasting(45, 3)
    cell.each_receiver(lambda receiver: receiver.slow(None))
    cell.wait_caught_up()


def black_hole(cell):
    cell.black_hole(True)
    cell.lasting(45, 4)
    cell.black_hole(False)
    cell.wait_caught_up()


def killed(cell):
    cell.killed = True
    chance = random.Random(1)
    for _ in range(20 if not cell.brief else 5):
        cell.wait_lines(20)
        cell.lasting(chance.uniform(0, 4), 0.2)
        cell.logd.kill()
        cell.logd.start()


def docker_terminated(cell):
    cell.lasting(2, 0)
    cell.instance.restart_dockerd(signal.SIGTERM)
    cell.lasting(2, 0)


def docker_killed(cell):
    cell.lasting(2, 0)
    cell.instance.restart_dockerd(signal.SIGKILL)
    cell.lasting(2, 0)


def ecsd_restarted(cell):
    """A control connection that comes, tells which ecsd it is, and goes."""
    for _ in range(20 if not cell.brief else 5):
        cell.wait_lines(50)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(cell.instance.path_inside(cell.logd.control_path))
            connection.sendall(LogdSocket.message(HELLO, WIRE_VERSION, WIRE_VERSION, "loss"))
            cell.wait_lines(50)


def power_cut(cell):
    """The destination has been away for three seconds, so that the disk matters, when the power goes; it is there again when
    the machine is. Containers do not come back."""
    cell.lasting(2, 1)
    cell.each_receiver(lambda receiver: receiver.down())
    cell.lasting(3, 2)
    instance = cell.instance
    pids = [pid for pid in instance.processes() if pid != instance.holder.pid]
    kill_and_wait(pids)
    cell.is_cut = True
    instance.dockerd.wait(10)
    if cell.logd:
        cell.logd.process.wait(10)
        inside = instance.path_inside(cell.logd.spool)
        cell.cut_spool = cell.disk.cut(lambda: {name: batches(f"{inside}/{name}") for name in os.listdir(inside)
                                                if len(name) == 64})
        shutil.rmtree(cell.logd.run_directory)    # as everything in /run
        for fifo in os.listdir(f"{instance.dir}/run-docker/logging"):
            os.unlink(f"{instance.dir}/run-docker/logging/{fifo}")
        cell.disk.mount()
        cell.logd.start()
    cell.each_receiver(lambda receiver: receiver.up())
    instance.start_dockerd()


SCENARIOS = {"undisturbed": undisturbed, "down": down, "slow": slow, "black-hole": black_hole, "killed": killed,
             "docker-term": docker_terminated, "docker-kill": docker_killed, "ecsd": ecsd_restarted, "power": power_cut}
# Those that say nothing of Docker's own drivers.
ONLY_OURS = {"killed", "ecsd"}
# Where what was under way may be sent again: an answer, or an acknowledgement of TCP's, was lost on the way.
MAY_DUPLICATE = {"down", "black-hole", "killed", "power"}


def verdict(scenario, outcome):
    """What is wrong with an outcome of ecs-logd's, as texts."""
    found = list(outcome.gaps)
    if outcome.missing and scenario != "power":
        found.append(f"{outcome.missing} accepted lines are missing")
    if outcome.duplicates and scenario not in MAY_DUPLICATE:
        found.append(f"{outcome.duplicates} lines arrived twice")
    if outcome.disorder:
        found.append(f"{outcome.disorder} lines are out of order")
    if outcome.before and scenario not in ("docker-kill", "docker-term", "power"):
        found.append(f"{outcome.before} lines did not reach ecs-logd")
    return found
