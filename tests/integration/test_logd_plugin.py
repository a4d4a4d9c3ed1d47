"""ecs-logd's plugin interface and its FIFOs, without a Docker: calls and records are made as dockerd makes them, and as it
never would."""

import json
import os
import random
import socket
import time

import pytest

from ecsbed.cloudwatch import ACCESS_KEY, SECRET_KEY, CloudWatch
from ecsbed.instance import wait_until
from ecsbed.logfifo import (LOGGING, PIECE, LogFifo, Refused, bytes_field, fields, framed, new_id, number_field, record,
                            records_of_line, short_records, syslog)
from ecsbed.tasks import REGION

DOCKER = False
START = "/LogDriver.StartLogging"


class Wire:
    """A connection to the plugin's socket, for what no HTTP client would send."""

    def __init__(self, logd, data=b""):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(logd.instance.path_inside(logd.plugin_path))
        self.sock.settimeout(10)
        self.send(data)

    def send(self, data):
        """False: the other side has gone."""
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def answer(self):
        """All there is until the other side closes, or the first part of it."""
        try:
            return self.sock.recv(1 << 16)
        except OSError:
            return b""

    def close(self):
        self.sock.close()


def post(path, body, length=None):
    return b"POST %b HTTP/1.1\r\nHost: plugin\r\nContent-Length: %d\r\n\r\n" % (
        path.encode(), len(body) if length is None else length) + body


@pytest.mark.row(39)
class TestCalls:
    BODIES = [b"", b"\n", b"null", b"[]", b"{", b'"text"', b"\xff\xfe", b"{}", b'{"File": ""}', b'{"File": 7}',
              b'{"File": {}}', b"[" * 100000, b'{"a":' * 100000, b'{"File": "x"} and more']
    INFOS = [None, [], {}, {"ContainerID": ""}, {"ContainerID": "short"}, {"ContainerID": "AB" * 32},
             {"ContainerID": "../" * 20 + "etc0"}, {"ContainerID": 5}, {"ContainerID": "ab" * 32 + "\0"}]

    def test_bodies(self, logd):
        for body in self.BODIES:
            for path in (START, "/LogDriver.StopLogging"):
                if b'"x"' in body and "Stop" in path:
                    continue
                status, answer = logd.call("POST", path, body)
                assert status == 400 and answer["Err"], body[:40]
        for info in self.INFOS:
            status, answer = logd.call("POST", START, json.dumps({"File": f"{LOGGING}/x", "Info": info}))
            assert status == 400 and answer["Err"], info
        assert logd.status()["Containers"] == []

    def test_methods_and_paths(self, logd):
        for method, path, status in (("GET", START, 405), ("PUT", "/LogDriver.StopLogging", 405), ("POST", "/", 404),
                                     ("POST", "/LogDriver.ReadLogs", 404), ("POST", "/LogDriver.StartLogging/x", 404),
                                     ("POST", "/LogDriver.startlogging", 404), ("POST", "/" + "x" * 30000, 404)):
            got, answer = logd.call(method, path, b"{}")
            assert got == status and answer["Err"], path[:40]
        assert logd.call("POST", "/Plugin.Activate") == (200, {"Implements": ["LogDriver"]})
        assert logd.call("POST", "/LogDriver.Capabilities") == (200, {"Cap": {"ReadLogs": False}, "Err": ""})
        assert logd.call("POST", "/LogDriver.StopLogging", json.dumps({"File": f"{LOGGING}/x"})) == (200, {"Err": ""})

    def test_not_http(self, logd):
        for data in (b"\0" * 100000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(400), b"hello\r\n\r\n",
                     b"POST / HTTP/9.9\r\n\r\n", b"POST " + START.encode() + b" HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                     post(START, b"", 1 << 62), b"GET /status HTTP/1.1\r\n" + b"A: " + b"x" * 200000 + b"\r\n\r\n"):
            wire = Wire(logd, data)
            wire.sock.shutdown(socket.SHUT_WR)
            assert b" 200 " not in wire.answer(), data[:40]
            wire.close()
        assert logd.status()["Containers"] == []

    def test_huge_bodies(self, logd, sink):
        wire = Wire(logd, post(START, b"", 17 << 20))
        while wire.send(b" " * 65536) and not wire.answer():
            pass
        wire.close()
        log = syslog(logd, env=["BIG=" + "x" * (15 << 20)]).start()    # R-1.7
        log.lines("big", 10)
        log.stop()
        sink.assert_complete("big", len(sink.wait(10)))

    def test_slow_clients(self, logd, sink):
        """They hold up nobody, and nothing is left of them."""
        before = logd.descriptors()
        slow = [Wire(logd, part) for part in (b"", b"P", b"POST " + START.encode(), post(START, b"{", 1000)) * 50]
        log = syslog(logd).start()
        log.lines("fast", 100)
        log.stop()
        sink.assert_complete("fast", len(sink.wait(100)))
        for wire in slow:
            wire.close()
        wait_until(lambda: logd.descriptors() <= before + 3, 10, "the end of 200 connections")

    def test_answers_byte_by_byte(self, logd):
        wire = Wire(logd)
        for byte in post("/Plugin.Activate", b""):
            wire.send(bytes((byte,)))
        assert b'{"Implements":["LogDriver"]}' in wire.answer()
        wire.send(b"POST /Plugin.Activate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
        assert b'{"Implements":["LogDriver"]}' in wire.answer()
        wire.close()

    def test_client_that_does_not_wait(self, make_logd, instance):
        """Docker is killed while its call waits for a destination that says nothing."""
        logd = make_logd(ECSD_CLOCK_SCALE=20, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY).start()
        silent = instance.listen("127.0.0.1", 9600)
        log = syslog(logd, driver="awslogs", awslogs_group="g", awslogs_region=REGION,
                   awslogs_endpoint="http://127.0.0.1:9600").open()
        log.config.pop("syslog-address")
        wire = Wire(logd, post(START, json.dumps({"File": log.path, "Info": log.info}).encode()))
        wait_until(lambda: log.figures, 10, "the log")
        wire.close()
        log.write(record(b"a line"))
        wait_until(lambda: log.figures["Lines"] == 1, 10, "a line")
        logd.call("POST", "/LogDriver.StopLogging", json.dumps({"File": log.path}))
        silent.close()
        log.drop()

    def test_files(self, logd, instance):
        log = syslog(logd).open()
        inside = instance.path_inside(LOGGING)
        with open(f"{inside}/regular", "w"):
            pass
        os.symlink(log.path, f"{inside}/link")
        os.mkdir(f"{inside}/directory")
        for path in ("/etc/passwd", "relative", "/", LOGGING, LOGGING + "/", f"{LOGGING}/.", f"{LOGGING}/../x",
                     f"{LOGGING}/a/b", f"{LOGGING}/.hidden", f"{LOGGING}x/y", f"{LOGGING}/none", f"{LOGGING}/regular",
                     f"{LOGGING}/link", f"{LOGGING}/directory", f"{LOGGING}/" + "x" * 300, f"{LOGGING}/a\0b"):
            status, answer = logd.call("POST", START, json.dumps({"File": path, "Info": log.info}))
            assert status == 400 or answer["Err"], path
        log.start()
        other = syslog(logd)
        other.path = log.path
        status, answer = logd.call("POST", START, json.dumps({"File": other.path, "Info": other.info}))
        assert "another container" in answer["Err"]
        log.start()    # once more the same: R-1.10
        assert log.figures["OpenStreams"] == 1
        log.stop()
        assert os.listdir(logd.run_directory) == []

    def test_options_refused(self, logd):
        before = logd.descriptors()
        for options in ({"syslog_facility": "nowhere"}, {"driver": "gelf"}, {"zzz": 1}, {"tag": "{{"}, {"mode": "both"},
                        {"syslog_address": "ftp://x"}, {"syslog_address": "tcp://x:99999"}):
            log = syslog(logd, **options)
            with pytest.raises(Refused):
                log.start()
            log.drop()
        assert logd.status()["Containers"] == []
        assert os.listdir(logd.run_directory) == os.listdir(logd.spool) == []
        wait_until(lambda: logd.descriptors() <= before, 10, "no descriptor left")


@pytest.mark.row(40)
class TestRecords:
    """Garbage is skipped up to the next record, counted, and told in the log where it was."""
    T = 1700000000123456789
    ODD = {
        "empty": (framed(b"") + record(b"empty"), b"empty"),    # an empty line is no message, as with Docker's driver
        "reordered": (framed(b"".join(reversed(fields(b"reordered", time_ns=T)))), b"reordered"),
        "unknown fields": (framed(b"".join(fields(b"unknown", time_ns=T)) + bytes_field(6, b"attr") + bytes_field(999, b"x")
                                  + number_field(77, 1 << 60) + b"\x7d1234" + b"\x7912345678"), b"unknown"),
        "the last of a field counts": (framed(b"".join(fields(b"first", time_ns=T)) + bytes_field(3, b"second")), b"second"),
        "without time": (framed(bytes_field(1, "stdout") + bytes_field(3, b"timeless")), b"timeless"),
        "before 1970": (record(b"old", time_ns=-1), b"old"),
        "in the year 2262": (record(b"far", time_ns=(1 << 63) - 1), b"far"),
        "of another source": (record(b"other", source="syslog", time_ns=T), b"other"),
        "without source": (record(b"none", source="", time_ns=T), b"none"),
        "largest": (framed(b"".join(fields(b"x" * ((1 << 20) - 22), time_ns=T))), b"x" * ((1 << 20) - 22)),
        "piece without metadata": (framed(b"".join(fields(b"piece", time_ns=T)) + number_field(4, 1)), b"piece"),
        "piece 0": (record(b"zero", time_ns=T, piece=("id", 0, False)), b"zero"),
        "piece -1": (record(b"minus", time_ns=T, piece=(new_id(), -1, False)), b"minus"),
    }
    GARBAGE = {
        "text": b"this is no record at all\n" * 100,
        "random": random.Random(4).randbytes(100000),
        "zeros and more": b"\0\0\0\1" * 1000,
        "ones": b"\xff" * 5000,
        "huge length": b"\x7f\xff\xff\xff" + record(b"x" * 100)[4:],
        "more than the largest": framed(b"".join(fields(b"x" * (1 << 20)))),
        "length too long": b"\0\0\x40\0" + record(b"short")[4:],
        "length too short": b"\0\0\0\x14" + record(b"longer than that")[4:],
        "overlong number": framed(bytes_field(1, "stdout") + b"\x10" + b"\xff" * 11),
        "field beyond the end": framed(bytes_field(1, "stdout") + b"\x10\x01\x1a\x7fshort"),
        "group": framed(bytes_field(1, "stdout") + b"\x10\x01\x1b"),
        "wrong wire type": framed(bytes_field(1, "stdout") + b"\x10\x01\x18\x05"),
        "field 0": framed(bytes_field(1, "stdout") + b"\x10\x01\x02\x00"),
    }

    @pytest.fixture
    def log(self, make_logd):
        log = syslog(make_logd().start()).start()
        yield log
        log.stop()
        assert log.logd.running

    @pytest.mark.parametrize("name", ODD)
    def test_odd(self, log, sink, name):
        data, text = self.ODD[name]
        log.write(record(b"before") + data + record(b"after"))
        sink.wait(3)
        assert sink.messages() == [b"before", text, b"after"]
        assert (log.figures["Lines"], log.figures["GarbageBytes"]) == (4 if name == "empty" else 3, 0)

    @pytest.mark.parametrize("name", GARBAGE)
    def test_garbage(self, log, sink, name):
        garbage = self.GARBAGE[name]
        log.write(record(b"before") + garbage + record(b"after") + record(b"and after") * 3)
        wait_until(lambda: sink.messages().count(b"and after") == 3, 20, "lines behind the garbage")
        messages = sink.messages()
        assert messages[0] == b"before" and messages[-4:] == [b"after"] + [b"and after"] * 3
        assert 0 < log.figures["GarbageBytes"] <= len(garbage)
        assert any(b"ecs-logd: " in message for message in messages[1:-4])

    def test_half_a_record(self, log, sink):
        """It takes what follows for its own, as far as its length goes; behind that all is well again."""
        log.write(record(b"y" * 5000)[:2000])
        log.lines("behind", 500)
        wait_until(lambda: sink.messages()[-1:] == [b"behind 499"], 20, "the last line")
        swallowed = [i for i in range(500) if b"behind %d" % i not in sink.messages()]
        assert swallowed == list(range(len(swallowed))) and len(swallowed) < 100

    def test_in_pieces(self, log, sink):
        """Written a few bytes at a time, as no writer does."""
        data = short_records([b"piecewise %d" % i for i in range(20)])
        for at in range(0, len(data), 3):
            log.write(data[at:at + 3])
        sink.wait(20)
        sink.assert_complete("piecewise", 20)
        assert log.figures["GarbageBytes"] == 0

    def test_end_inside_a_record(self, logd, sink):
        log = syslog(logd).start()
        log.write(record(b"whole") + record(b"never whole")[:15])
        log.stop()
        wait_until(lambda: log.figures["OpenStreams"] == 0 and not log.figures["WaitingLines"], 20, "the end")
        assert sink.messages()[0] == b"whole"

    def test_end_inside_a_record_engine_killed(self, logd, sink):
        log = syslog(logd).start()
        log.write(record(b"whole") + record(b"never whole")[:15])
        log.drop()
        wait_until(lambda: log.figures["OpenStreams"] == 0 and not log.figures["WaitingLines"], 20, "the end")
        assert sink.messages()[0] == b"whole"
        assert log.figures["GarbageBytes"] == 15
        assert os.listdir(logd.run_directory) == []


class TestInput:
    """What containers write, whatever it is, arrives as it is; syslog sends each piece as its own message."""

    @pytest.mark.parametrize("size", [1 << 20, 64 << 20])
    def test_long_lines(self, logd, sink, size):
        log = syslog(logd).start()
        text = (b"0123456789abcde " * (size // 16 + 1))[:size]
        log.line(text)
        log.line("and another")
        log.stop()
        wait_until(lambda: sink.texts()[-1:] and sink.texts()[-1].endswith(b"and another"), 60, "all of it")
        messages = sink.messages()
        assert b"".join(messages[:-1]) == text
        assert max(len(message) for message in messages) == PIECE
        if not logd.with_sanitizer():
            assert logd.private_dirty() < 40 << 20

    def test_no_newline_at_all(self, logd, sink):
        """Nothing waits for the end of a line, and the end of the log is one."""
        log = syslog(logd).start()
        pieces = records_of_line(b"x" * (PIECE * 200 + 7), ended=False)
        for piece in pieces:
            log.write(piece)
        sink.wait(201)
        log.stop()
        assert b"".join(sink.messages()) == b"x" * (PIECE * 200 + 7)
        assert log.figures["DroppedByDocker"] == 0

    def test_bytes(self, logd, sink):
        log = syslog(logd).start()
        texts = [bytes(each for each in range(256) if each != 10), b"\0", b"\0" * 1000, b"\xff\xfe\xed\xa0\x80\xc0\x80",
                 b"\xf4\x90\x80\x80 \xc3", b"ends with\r", b"\x1b[31mred\x1b[0m", b"  blanks  ", "ä€\U0001f600".encode()]
        for text in texts:
            log.line(text)
        log.stop()
        sink.wait(len(texts))
        assert sink.messages() == texts

    @pytest.mark.row(35)
    def test_time_goes_backwards(self, logd, sink):
        log = syslog(logd).start()
        now = time.time_ns()
        for i in range(1000):
            log.write(record(b"back %d" % i, time_ns=now - i * 3600 * 10 ** 9))
        log.stop()
        sink.wait(1000)
        assert [int(message.split()[1]) for message in sink.messages()] == list(range(1000))

    @pytest.mark.row(12, 13, 15)
    def test_long_lines_to_awslogs(self, make_logd, instance):
        """Joined again, and cut at the destination's own limit."""
        service = CloudWatch(instance.listen("127.0.0.1", 9601), keys={ACCESS_KEY: (SECRET_KEY, None)})
        logd = make_logd(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY,
                         ECSD_CLOCK_SCALE=10).start()
        log = LogFifo(logd, driver="awslogs", awslogs_group="group", awslogs_stream="s", awslogs_region=REGION,
                      awslogs_endpoint="http://127.0.0.1:9601").start()
        texts = [b"a" * 262117, b"b" * 262119, b"c" * (1 << 20), b"d" * (8 << 20), b"unfinished " * 5000]
        for text in texts:
            log.line(text, ended=text != texts[-1])
        log.stop()
        logd.all_shipped()
        got = [event.message.encode() for event in service.streams["group", "s"]]
        expected = [text[at:at + 262118] for text in texts for at in range(0, len(text), 262118)]
        assert [len(text) for text in got] == [len(text) for text in expected]
        assert got == expected
        assert service.violations == [] and service.server.errors == []
        service.stop()
