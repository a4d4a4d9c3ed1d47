"""Many containers, much to read, and ecs-logd, dockerd or the container going in the middle of it: FIFOs are written as dockerd
writes them, without a Docker."""

import os
import random
import socket
import threading
import time

import pytest

from ecsbed.instance import wait_until
from ecsbed.logfifo import LogFifo, new_id, record, short_records, syslog
from ecsbed.logplugin import EXITED, HELLO, STOPPING, WIRE_VERSION, LogdSocket
from ecsbed.logsinks import Numbered

DOCKER = False
OF_TASK = {"com.amazonaws.ecs.task-arn": "arn:aws:ecs:us-west-2:123456789012:task/default/test"}


def running(target, *arguments):
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread


class TestLoad:
    @pytest.mark.row(22)
    @pytest.mark.parametrize("name, writers, lines, size", [
        ("burst of 100 bytes", 1, 50000, 100), ("1 KiB", 1, 10000, 1000), ("200 containers", 200, 100, 80)])
    def test_rate(self, make_logd, sink, name, writers, lines, size):
        logd = make_logd().start()
        logs = [syslog(logd).start() for _ in range(writers)]

        def write(number, log):
            pad = b"x" * (size - 20)
            for start in range(0, lines, 500):
                texts = [b"w%d %d" % (number, i) for i in range(start, min(start + 500, lines))]
                if size < 128:
                    log.write(short_records([pad + b"]: " + text for text in texts]), 120)
                else:
                    log.write(b"".join(record(pad + b"]: " + text) for text in texts), 120)
        began = time.monotonic()
        for thread in [running(write, *each) for each in enumerate(logs)]:
            thread.join(120)
        seconds = time.monotonic() - began
        for log in logs:
            log.stop()
        logd.all_shipped(120)
        sink.wait(writers * lines, 60)
        numbered = Numbered(line.decode() for line in sink.texts())
        for number in range(writers):
            assert numbered.missing(f"w{number}", lines) == [] and numbered.in_order(f"w{number}")
        print(f"{name}: {writers * lines / seconds:.0f} lines/s from FIFOs to the spool")

    @pytest.mark.row(23)
    @pytest.mark.parametrize("mode", ["blocking", "non-blocking"])
    def test_flood_of_one_byte_lines(self, make_logd, sink, mode):
        """With a limit that they exceed, while nobody takes them."""
        logd = make_logd(ECS_LOGD_CONTAINER_MAX="1m", ECSD_CLOCK_SCALE=5).start()
        sink.down()
        log = syslog(logd, mode=mode).start()
        rest = self.flood(log, short_records([b"x"] * 1000))
        sink.up()
        log.write(rest)
        log.stop()
        logd.all_shipped()
        figures, told = log.figures, [line for line in sink.messages() if b"lines dropped" in line]
        assert sum(int(line.split()[1]) for line in told) == figures["DroppedLines"]
        assert figures["DeliveredLines"] + figures["DroppedLines"] == figures["Lines"] > 30000
        assert figures["GarbageBytes"] == 0 and (figures["DroppedLines"] > 0) == (mode == "non-blocking")

    @pytest.mark.row(23)
    @pytest.mark.parametrize("mode", ["blocking", "non-blocking"])
    def test_flood_of_empty_lines(self, make_logd, mode):
        logd = make_logd(ECS_LOGD_CONTAINER_MAX="1m", ECSD_CLOCK_SCALE=5).start()
        log = LogFifo(logd, driver="fluentd", fluentd_address="127.0.0.1:9602", mode=mode).start()
        self.flood(log, short_records([b""] * 1000))
        log.stop()
        assert log.figures["GarbageBytes"] < 30    # the beginning of one that had no room

    @staticmethod
    def flood(log, records):
        """All of them, or as many as there is room for."""
        if log.config["mode"] == "blocking":
            rest = log.fill(records)
            assert log.figures["SpoolBytes"] <= 1 << 20
        else:
            for _ in range(150):
                log.write(records)
            wait_until(lambda: log.figures["Lines"] == 150000, 30, "all lines")
            assert log.figures["SpoolBytes"] <= 1 << 20
            rest = b""
        if not log.logd.with_sanitizer():
            assert log.logd.private_dirty() < 24 << 20
        return rest

    def test_500_containers(self, make_logd, sink):
        """All write at once; the memory they take is bounded."""
        logd = make_logd().start()
        logs = [syslog(logd).start() for _ in range(500)]
        idle = logd.private_dirty()
        for turn in range(2):
            for number, log in enumerate(logs):
                log.lines(f"c{number}", 10, turn * 10)
        busy = logd.private_dirty()
        for log in logs:
            log.stop()
        logd.all_shipped(120)
        sink.wait(10000)
        numbered = Numbered(line.decode() for line in sink.texts())
        for number in range(500):
            assert numbered.missing(f"c{number}", 20) == [] and numbered.in_order(f"c{number}")
        print(f"private dirty: {idle >> 10} KiB with 500 idle streams, {busy >> 10} KiB with lines of all")
        if not logd.with_sanitizer():
            assert idle < (8 << 20) + 500 * (64 << 10)
            assert busy < (8 << 20) + (16 << 20) + 500 * (64 << 10)

    def test_backlog_of_50(self, make_logd, sink):
        """While the destination is away nothing of the backlog is in memory; when it is back, no more than the pool."""
        logd = make_logd().start()
        sink.down()
        logs = [syslog(logd).start() for _ in range(50)]
        for number, log in enumerate(logs):
            log.write(short_records([b"x" * 100 + b"]: c%d %d" % (number, i) for i in range(5000)]), 60)
        wait_until(lambda: sum(each["WaitingLines"] for each in logd.status()["Containers"]) == 250000, 60, "all lines")
        waiting = logd.private_dirty()
        sink.pause = 0.001
        sink.up()
        most_pool = most_dirty = 0
        while any(each["WaitingLines"] for each in logd.status()["Containers"]):
            status = logd.status()
            most_pool = max(most_pool, status["PoolBytes"])
            most_dirty = max(most_dirty, logd.private_dirty())
        for log in logs:
            log.stop()
        sink.wait(250000)
        print(f"private dirty: {waiting >> 10} KiB while it waits, {most_dirty >> 10} KiB while it ships; "
              f"pool {most_pool >> 10} KiB")
        assert most_pool <= 16 << 20
        if not logd.with_sanitizer():
            assert waiting < (8 << 20) + 50 * (64 << 10) + (2 << 20)
            assert most_dirty < (8 << 20) + (16 << 20) + 50 * (64 << 10)


@pytest.mark.row(37)
class TestChurn:
    def test_starts_and_stops(self, make_logd, sink):
        """200 containers that live for a moment, 20 at a time; nothing is left of them, and nothing is missing."""
        logd = make_logd(ECSD_CLOCK_SCALE=100).start()
        syslog(logd).start().stop()
        before, before_threads = logd.descriptors(), logd.threads()

        def churn(worker):
            for i in range(10):
                log = syslog(logd).start()
                log.write(record(b"w%d %d" % (worker, i)))
                log.stop()
        for thread in [running(churn, worker) for worker in range(20)]:
            thread.join(120)
        sink.wait(200)
        for worker in range(20):    # each line is of another container, on a connection of its own: in no order
            assert sink.numbered().missing(f"w{worker}", 10) == []
        wait_until(lambda: logd.status()["Containers"] == [], 30, "no container")
        wait_until(lambda: logd.descriptors() <= before, 10, "no descriptor left")
        assert logd.threads() <= before_threads
        assert os.listdir(logd.run_directory) == [] and os.listdir(logd.spool) == []

    def test_restart_loop(self, make_logd, sink):
        """The same container again and again keeps its connection."""
        logd = make_logd().start()
        container = new_id()
        before = None
        for i in range(200):
            log = syslog(logd, container=container).start()
            log.write(record(b"again %d" % i))
            log.stop()
            before = before or logd.descriptors()
        sink.wait(200)
        sink.assert_complete("again", 200)
        assert sink.connections == 1
        assert len(logd.status()["Containers"]) == 1
        wait_until(lambda: logd.descriptors() <= before, 10, "no descriptor left")
        assert os.listdir(logd.run_directory) == [] and len(os.listdir(logd.spool)) == 1

    @pytest.mark.row(38)
    def test_without_a_line(self, make_logd, sink):
        """As `docker logs` of a stopped container has it: nothing is sent, nobody is called (R-1.24)."""
        logd = make_logd(ECSD_CLOCK_SCALE=100).start()
        container = new_id()
        for _ in range(50):
            syslog(logd, container=container).start().stop()
        wait_until(lambda: logd.status()["Containers"] == [], 30, "no container")
        assert sink.connections == 0 and os.listdir(logd.spool) == []


class Writers:
    """Logs that are written all the time, by a thread each."""

    def __init__(self, logd, count, lines):
        self.logs, self.lines = [syslog(logd).start() for _ in range(count)], lines
        self.threads = [running(self._write, *each) for each in enumerate(self.logs)]

    def _write(self, number, log):
        for start in range(0, self.lines, 10):
            log.write(short_records([b"k%d %d" % (number, i) for i in range(start, start + 10)]), 60)
            time.sleep(0.0005)

    @property
    def writing(self):
        return any(thread.is_alive() for thread in self.threads)

    def finish(self, sink):
        for thread in self.threads:
            thread.join(60)
        for log in self.logs:
            log.stop()
        self.logs[0].logd.all_shipped()
        numbered = Numbered(line.decode(errors="replace") for line in sink.texts())
        for number in range(len(self.logs)):
            assert numbered.missing(f"k{number}", self.lines) == [] and numbered.in_order(f"k{number}")
        assert not [line for line in sink.texts() if b"ecs-logd: " in line]    # nothing was taken for garbage
        return numbered


class TestRestarts:
    @pytest.mark.row(24)
    def test_killed_at_any_time(self, make_logd, sink):
        logd = make_logd().start()
        writers = Writers(logd, 5, 10000)
        kills, pause = 0, random.Random(7)
        while writers.writing:
            time.sleep(pause.uniform(0, 0.05))
            logd.kill()
            logd.start()
            kills += 1
        writers.finish(sink)
        assert kills > 5

    @pytest.mark.row(24)
    def test_killed_while_records_are_large(self, make_logd, sink):
        """Records that do not fit into the FIFO as a whole cannot be kept; what follows them is found again."""
        logd = make_logd().start()
        log = syslog(logd).start()

        def write():
            for i in range(20):
                log.write(record(b"y" * 900000) + record(b"]: between %d" % i), 60)
        thread = running(write)
        while thread.is_alive():
            time.sleep(0.02)
            logd.kill()
            logd.start()
        log.stop()
        logd.all_shipped()
        numbered = Numbered(line.decode() for line in sink.texts())
        assert len(numbered.missing("between", 20)) == 0 and numbered.in_order("between")

    @pytest.mark.row(25)
    def test_orderly_under_load_and_during_an_outage(self, make_logd, sink):
        logd = make_logd().start()
        writers = Writers(logd, 5, 10000)
        away = False
        while writers.writing:
            assert logd.terminate() == 0
            logd.start()
            away = not away
            sink.down() if away else sink.up()
            time.sleep(0.05)
        if away:
            sink.up()
        writers.finish(sink)

    @pytest.mark.row(25, 26)
    def test_calls_while_it_is_away(self, logd, sink):
        """They wait in the socket's queue; what is written until then waits in the FIFOs."""
        old = syslog(logd).start()
        logd.terminate()
        old.lines("old", 1000)
        new = [syslog(logd) for _ in range(5)]
        threads = [running(log.start) for log in new] + [running(old.stop)]
        time.sleep(0.2)
        assert all(thread.is_alive() for thread in threads)
        logd.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        for number, log in enumerate(new):
            log.lines(f"new{number}", 10)
            log.stop()
        sink.wait(1050)
        sink.assert_complete("old", 1000)

    @pytest.mark.row(26)
    def test_away_until_the_fifo_is_full(self, logd, sink):
        """The writer is held back and goes on; nothing is missing."""
        log = syslog(logd).start()
        log.lines("long", 10)
        sink.wait(10)
        logd.kill()
        thread = running(log.lines, "long", 100000, 10)
        wait_until(lambda: log.write_some(b"") == 0 and not log.writable, 20, "a full FIFO")
        assert thread.is_alive()
        logd.start()
        thread.join(60)
        log.stop()
        logd.all_shipped()
        sink.assert_complete("long", 100010)

    @pytest.mark.row(29)
    def test_engine_killed(self, logd, sink):
        """What is in the FIFO arrives, and the note of it goes. The FIFO itself is in a directory that ecs-logd cannot write."""
        log = syslog(logd).start()
        log.lines("last", 1000)
        log.drop()
        sink.wait(1000)
        sink.assert_complete("last", 1000)
        wait_until(lambda: os.listdir(logd.run_directory) == [], 10, "no note")

    @pytest.mark.row(27, 29)
    def test_engine_killed_while_it_is_away(self, logd, sink):
        """A new engine makes a new FIFO for the same container; the old one's note and stream end."""
        log = syslog(logd).start()
        log.lines("container", 100)
        sink.wait(100)
        logd.kill()
        log.drop()    # with nobody at either end its content is gone, as the kernel has it
        again = syslog(logd, container=log.container)
        thread = running(again.start)
        logd.start()
        thread.join(10)
        wait_until(lambda: log.figures["OpenStreams"] == 1, 10, "the end of the old one")
        again.lines("container", 100, 100)
        again.stop()
        sink.wait(200)
        sink.assert_complete("container", 200)
        assert os.listdir(logd.run_directory) == []


class Ecsd:
    """ecsd's end of the control socket."""

    def __init__(self, logd):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(logd.control_path)
        self.sock.sendall(LogdSocket.message(HELLO, WIRE_VERSION, WIRE_VERSION, "test"))
        logd.wait_log("ecsd connected")

    def tell(self, kind, container):
        self.sock.sendall(LogdSocket.message(kind, container))


@pytest.mark.row(45)
class TestExit:
    """FIFO full, spool full, blocking: nothing but the word that the container ends, or a minute, sets it free."""

    @pytest.fixture
    def held(self, make_logd, sink):
        logd = make_logd(ECS_LOGD_CONTAINER_MAX="256k", ECSD_CLOCK_SCALE=20).start()
        sink.down()
        return logd

    @staticmethod
    def fill(log):
        rest = log.fill(short_records([b"x" * 100] * 1000))
        assert not log.writable
        return rest

    @pytest.mark.parametrize("word", [STOPPING, EXITED])
    def test_ecsd_tells(self, held, sink, word):
        ecsd = Ecsd(held)
        log, other = syslog(held, labels=OF_TASK).start(), syslog(held, labels=OF_TASK).start()
        rest = self.fill(log)
        self.fill(other)
        time.sleep(3.2)    # more than the minute that it would last without ecsd
        assert not log.writable and not other.writable
        ecsd.tell(word, "not an id")
        ecsd.tell(word, new_id())
        ecsd.tell(word, log.container)
        flood = short_records([b"y" * 100] * 1000)
        log.write(rest, 20)
        for _ in range(80):    # 8 MiB: into the reserve, and then dropped
            log.write(flood, 20)
        log.stop()
        assert not other.writable
        sink.up()
        wait_until(lambda: other.writable, 20, "room")
        held.all_shipped()
        told = [line for line in sink.messages() if b"lines dropped" in line]
        assert sum(int(line.split()[1]) for line in told) == log.figures["DroppedLines"] > 0
        other.stop()

    def test_ecsd_goes(self, held):
        """From when the connection is gone, a minute is the limit."""
        ecsd = Ecsd(held)
        log = syslog(held, labels=OF_TASK).start()
        rest = self.fill(log)
        ecsd.sock.close()
        held.wait_log("ecsd is gone")
        log.write(rest + short_records([b"y" * 100] * 20000), 20)
        held.wait_log("nobody tells whether the container runs")
        log.stop()

    def test_not_of_a_task(self, held):
        """A container that ecsd knows nothing of has its minute."""
        ecsd = Ecsd(held)
        log = syslog(held).start()
        log.write(self.fill(log) + short_records([b"y" * 100] * 20000), 20)
        held.wait_log("nobody tells whether the container runs")
        log.stop()
        ecsd.sock.close()

    def test_stop_itself(self, held):
        """Docker's own word, when the FIFO still has room for its last record, needs nobody else's."""
        ecsd = Ecsd(held)
        log = syslog(held, labels=OF_TASK).start()
        self.fill(log)
        log.stop()
        ecsd.sock.close()
        assert log.figures["OpenStreams"] == 0

    def test_restarted_while_it_is_held(self, held):
        log = syslog(held).start()
        self.fill(log)
        held.kill()
        held.start()
        wait_until(lambda: log.figures["Stalls"], 10, "a pause")
        log.stop()
