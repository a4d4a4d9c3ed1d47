"""The syslog destination against a real rsyslogd: what it understands of our messages, and that its restart loses none.
tests/logging/feed.c ships numbered lines without Docker."""

import datetime
import json
import os
import socket
import subprocess

import pytest

from ecsbed.agent import BUILD
from ecsbed.instance import wait_until
from ecsbed.rsyslog import Rsyslog

FEED = os.path.join(BUILD, "tests/logging/feed")
TAG = "0123456789ab"
SCALE = 5
LINES = 100000    # while rsyslogd is restarted


class Feed:
    """One run of the feeding program; options are log-opts."""

    def __init__(self, rsyslog, address, directory, lines, rate=0, scale=SCALE, **options):
        named = {name.replace("_", "-"): value for name, value in options.items()}
        command = [FEED, "driver=syslog", f"spool={directory}", f"lines={lines}", f"rate={rate}", f"scale={scale}",
                   *(f"{name}={value}" for name, value in named.items())]
        if address:
            command.append(f"syslog-address={address}")
        self.process = subprocess.Popen(rsyslog.inside(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(self, timeout=60):
        out, err = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, err
        return json.loads(out)

    def end(self):
        """However it stands."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def rsyslog(tmp_path, pki):
    made = Rsyslog(str(tmp_path), pki)
    yield made.start()
    made.stop()


@pytest.fixture
def feed(rsyslog, tmp_path, pki):
    runs = []

    def start(way, lines, **options):
        if way == "tls":
            cert, key = pki.client()
            options = {"syslog_tls_ca_cert": pki.ca, "syslog_tls_cert": cert, "syslog_tls_key": key, **options}
        runs.append(Feed(rsyslog, rsyslog.address(way), tmp_path / "spool", lines, **options))
        return runs[-1]
    yield start
    for run in runs:
        run.end()


def numbers(seen):
    return [int(message.text.split()[0]) for message in seen]


def wait_for_lines(rsyslog, way, lines):
    def complete():
        return len(rsyslog.lines(way)) >= lines and rsyslog.seen(way)
    return wait_until(complete, 20, f"rsyslogd to write {lines} lines that came by {way}")


@pytest.mark.row(1, 42, 44)
@pytest.mark.parametrize("syslog_format", ["", "rfc3164", "rfc5424", "rfc5424micro"])
@pytest.mark.parametrize("way", ["udp", "tcp", "tls", "unix", "unixgram"])
def test_messages_are_understood(rsyslog, feed, way, syslog_format):
    result = feed(way, 1000, syslog_format=syslog_format, syslog_facility="local3").result()
    assert (result["DeliveredLines"], result["Waiting"], result["RefusedLines"]) == (1000, 0, 0)
    seen = wait_for_lines(rsyslog, way, 1000)
    assert numbers(seen) == list(range(1000))
    now = datetime.datetime.now(datetime.timezone.utc)
    for number, message in enumerate(seen):
        assert int(message.priority) == 19 * 8 + (3 if number % 10 == 9 else 6)
        assert message.text.strip() == f"{number} ".ljust(100, "x")
        assert (message.program, message.process) == (TAG, "4711")
        if "rfc" in syslog_format:
            assert message.host == socket.gethostname()
        if syslog_format.startswith("rfc5424"):
            assert message.message_id == TAG
        assert abs(datetime.datetime.fromisoformat(message.time) - now) < datetime.timedelta(seconds=60)
        assert ("." in message.time.split("T")[1]) == (syslog_format == "rfc5424micro")


@pytest.mark.row(1)
@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_octet_counting(rsyslog, feed, way):
    feed(way, 1000, syslog_format="rfc5424", x_ecs_syslog_octet_counting="true").result()
    assert numbers(wait_for_lines(rsyslog, way, 1000)) == list(range(1000))


@pytest.mark.row(3, 4)
@pytest.mark.parametrize("way", ["tcp", "tls", "unix", "unixgram"])
def test_a_restart_loses_nothing(rsyslog, feed, way):
    """Lines keep coming while rsyslogd ends and starts anew, three times: none is missing, and no more than was said came
    twice. In rsyslogd's buffers wait lines that it has not read when it ends. In real time, as rsyslogd has no other."""
    running = feed(way, LINES, rate=LINES // 3, scale=1)
    for restart in range(3):
        wait_until(lambda: len(rsyslog.lines(way)) > (restart + 1) * LINES // 5, 30, "lines to come")
        rsyslog.stop().start()
    result = running.result()
    assert result["DeliveredLines"] == LINES and result["Retries"] >= 1
    rsyslog.stop()    # after it has written all that it has
    # The end of a connection can tear a line, of which rsyslogd then writes the beginning.
    seen = numbers(message for message in rsyslog.seen(way) if len(message.text.strip()) == 100)
    missing = sorted(set(range(LINES)) - set(seen))
    assert not missing, f"{len(missing)} lines are missing, from {missing[0]}"
    assert len(seen) - LINES <= result["RepeatedLines"]


@pytest.mark.row(2, 3)
def test_down_for_a_while(rsyslog, feed):
    rsyslog.stop()
    running = feed("tcp", 5000)
    assert "Connection refused" in running.process.stderr.readline()
    rsyslog.start()
    result = running.result()
    assert result["Retries"] >= 1 and result["RepeatedLines"] == 0
    assert numbers(wait_for_lines(rsyslog, "tcp", 5000)) == list(range(5000))


@pytest.mark.row(42)
def test_tls_without_a_certificate_is_refused(rsyslog, tmp_path, pki):
    """rsyslogd ends such a connection after the handshake, with or without an alert; nothing counts as arrived."""
    run = Feed(rsyslog, rsyslog.address("tls"), tmp_path / "spool", 10, syslog_tls_ca_cert=pki.ca)
    try:
        assert f"localhost:{rsyslog.ports['tls']}" in run.process.stderr.readline()
        run.process.terminate()
        out, _ = run.process.communicate(timeout=20)
    finally:
        run.end()
    assert run.process.returncode == 1 and json.loads(out)["DeliveredLines"] == 0
    assert rsyslog.seen("tls") == []


@pytest.mark.row(1)
def test_the_hosts_own_syslog(tmp_path, pki):
    """Without an address: /dev/log is not there in this mount namespace, /var/run/syslog is."""
    host = subprocess.Popen(["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run && echo ready && exec sleep 600"],
                            stdout=subprocess.PIPE, text=True)
    rsyslog = None
    try:
        assert host.stdout.readline() == "ready\n"
        rsyslog = Rsyslog(str(tmp_path), pki, host=host.pid).start()
        run = Feed(rsyslog, None, tmp_path / "spool", 1000)
        assert run.result()["DeliveredLines"] == 1000
        assert numbers(wait_for_lines(rsyslog, "local", 1000)) == list(range(1000))
    finally:
        if rsyslog:
            rsyslog.stop()
        host.kill()
        host.wait()
