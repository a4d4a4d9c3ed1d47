"""ecs-logd on a real Docker Engine: reading, spooling and shipping by syslog over TCP, and whatever is restarted in between."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from ecsbed.instance import BedError, alive, wait_until
from ecsbed.logd import Logd, options
from ecsbed.logsinks import SYSLOG_PORT, Numbered

LIVE_RESTORE = True


def run(instance, script, *log_options, name=None, detach=True):
    """Starts a container with this shell script; returns its id."""
    return instance.docker("run", *(["-d"] if detach else []), "--network", "none", *(["--name", name] if name else []),
                           *(log_options or syslog()), "busybox:test", "sh", "-c", script).strip()


def syslog(**more):
    return options("syslog", syslog_address=f"tcp://127.0.0.1:{SYSLOG_PORT}", **more)


def counting(name, count, pause=""):
    return f'i=0; while [ $i -lt {count} ]; do echo "{name} $i"; i=$((i+1)); {pause} done'


def assert_complete(lines, name, count, duplicates=None):
    numbered = Numbered(line.decode(errors="replace") for line in lines)
    assert numbered.missing(name, count) == []
    assert numbered.in_order(name)
    if duplicates is not None:
        assert numbered.duplicates(name) <= duplicates


def waiting_calls(logd):
    """Connections to the plugin's socket that nobody has accepted yet."""
    # The socket was made by this process, and is in its network namespace.
    listing = subprocess.run(["ss", "--unix", "--listening", "--no-header"], capture_output=True, text=True, check=True)
    inode = str(logd.plugin_inode())
    return sum(int(line.split()[2]) for line in listing.stdout.splitlines() if line.split()[5] == inode)


class TestShipping:
    def test_lines(self, instance, logd, sink):
        container = run(instance, 'echo one; echo "two  "; printf "\\303\\244\\377\\n"; echo four >&2; printf five')
        lines = sink.wait(5)
        texts = sorted(line.rpartition(b"]: ")[2] for line in lines)
        assert texts == sorted([b"one", b"two  ", b"\xc3\xa4\xff", b"four", b"five"])
        assert {line.partition(b">")[0] for line in lines} == {b"<30", b"<27"}
        assert all(container[:12].encode() in line for line in lines)

    @pytest.mark.row(37)
    def test_a_short_life(self, instance, logd, sink):
        for number in range(10):
            run(instance, f"echo short {number}", detach=False)
        assert_complete(sink.wait(10), "short", 10, duplicates=0)

    def test_away_at_the_start(self, instance, logd, sink):
        sink.down()
        run(instance, counting("early", 500), detach=False)
        logd.wait_log("logs wait on disk.*[Cc]onnection refused")
        sink.up()
        sink.wait(500)
        assert_complete(sink.texts(), "early", 500, duplicates=0)

    @pytest.mark.row(38)
    def test_docker_logs(self, instance, logd, sink):
        container = run(instance, counting("seen", 20), detach=False, name="seen")
        assert instance.docker("logs", "seen").splitlines() == [f"seen {i}" for i in range(20)], container
        sink.wait(20)
        time.sleep(0.2)
        assert len(sink.texts()) == 20    # reading them has shipped nothing

    def test_options_that_are_wrong(self, instance, logd):
        for more, text in ((dict(syslog_facility="nowhere"), "invalid syslog facility"),
                           (dict(zzz="1"), "unknown log opt 'zzz' for syslog log driver"),
                           (dict(tag="{{.Nothing}}"), "Nothing")):
            with pytest.raises(BedError) as error:
                run(instance, "true", *syslog(**more))
            assert text in str(error.value)
        with pytest.raises(BedError, match="x-ecs-driver.*awslogs, fluentd or syslog was expected"):
            run(instance, "true", "--log-driver", "ecslogs")
        assert logd.status()["Containers"] == []

    def test_status(self, instance, logd, sink):
        run(instance, counting("figures", 100), detach=False)
        sink.wait(100)
        logd.all_shipped()
        figures, = logd.status()["Containers"]
        assert (figures["Lines"], figures["DeliveredLines"], figures["WaitingLines"]) == (100, 100, 0)
        assert figures["Driver"] == "syslog"


class TestRestarts:
    @pytest.mark.row(24)
    def test_killed_under_load(self, instance, logd, sink):
        names = [f"load{i}" for i in range(5)]
        for name in names:
            run(instance, counting(name, 20000), name=name)
        for _ in range(20):
            wait_for = len(sink.texts()) + 200
            wait_until(lambda: len(sink.texts()) >= wait_for or self.done(instance, names), 60, "lines", 0.01)
            logd.kill()
            logd.start()
        wait_until(lambda: self.done(instance, names), 120, "end of the containers")
        logd.all_shipped()
        for name in names:
            assert_complete(sink.texts(), name, 20000)

    @staticmethod
    def done(instance, names):
        return not set(instance.docker("ps", "--format", "{{.Names}}").split()) & set(names)

    @pytest.mark.row(25)
    def test_orderly(self, instance, logd, sink):
        run(instance, counting("orderly", 20000), name="orderly")
        for _ in range(5):
            wait_for = len(sink.texts()) + 100
            wait_until(lambda: len(sink.texts()) >= wait_for or self.done(instance, ["orderly"]), 60, "lines", 0.01)
            assert logd.terminate() == 0
            logd.start()
        wait_until(lambda: self.done(instance, ["orderly"]), 60, "end of the container")
        logd.all_shipped()
        assert_complete(sink.texts(), "orderly", 20000)

    @pytest.mark.row(27, 29)
    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
    def test_docker_restarted(self, instance, logd, sink, how):
        run(instance, counting("kept", 600, "sleep 0.01;"), name="kept")
        sink.wait(100)
        instance.restart_dockerd(how)
        wait_until(lambda: self.done(instance, ["kept"]), 60, "end of the container")
        logd.all_shipped()
        lines = sink.wait(500)
        numbered = Numbered(line.decode() for line in lines)
        # What dockerd itself held when it was killed is out of anybody's reach.
        assert numbered.missing("kept", 600) == [] or how == signal.SIGKILL
        assert numbered.of["kept"][-1] == 599

    @pytest.mark.row(27)
    def test_docker_starts_while_it_is_away(self, instance, logd, sink):
        run(instance, counting("waits", 400, "sleep 0.01;"), name="waits")
        sink.wait(50)
        instance.stop_dockerd()
        logd.kill()
        # dockerd waits at the listening socket until somebody answers.
        thread = threading.Thread(target=instance.start_dockerd)
        thread.start()
        wait_until(lambda: waiting_calls(logd) > 0, 30, "dockerd's call")
        logd.start()
        thread.join(60)
        assert not thread.is_alive()
        wait_until(lambda: self.done(instance, ["waits"]), 60, "end of the container")
        logd.all_shipped()
        assert_complete(sink.texts(), "waits", 400)


class TestNoRoom:
    LIMITS = {"ECS_LOGD_CONTAINER_MAX": "1m"}

    def test_blocking(self, instance, make_logd, sink):
        logd = make_logd(**self.LIMITS).start()
        sink.down()
        run(instance, counting("held", 100000), name="held")
        logd.wait_log("the container is held back")
        sink.up()
        wait_until(lambda: TestRestarts.done(instance, ["held"]), 120, "end of the container")
        logd.all_shipped()
        assert_complete(sink.texts(), "held", 100000)

    def test_non_blocking(self, instance, make_logd, sink):
        logd = make_logd(**self.LIMITS).start()
        sink.down()
        run(instance, counting("flood", 100000), *syslog(mode="non-blocking"), name="flood", detach=False)
        sink.up()
        logd.all_shipped()
        wait_until(lambda: any(line.endswith(b"flood 99999") for line in sink.texts()), 30, "the last line")
        dropped = [int(re.search(rb"ecs-logd: (\d+) lines dropped, from .* to ", line).group(1))
                   for line in sink.texts() if b"lines dropped" in line]
        # Docker has a queue in front, and drops from it without a word.
        assert 10000 < sum(dropped) <= 100000 - sum(b"flood" in line for line in sink.texts())

    @pytest.mark.row(45)
    def test_stop_with_a_full_spool(self, instance, make_logd, sink):
        """Nobody tells that the container stops: after a minute (scaled) the FIFO is drained whatever is lost."""
        logd = make_logd(**self.LIMITS, ECSD_CLOCK_SCALE=20).start()
        sink.down()
        run(instance, 'while true; do echo "endless line of some length that fills up the spool soon"; done', name="endless")
        logd.wait_log("the container is held back")
        started = time.monotonic()
        instance.docker("stop", "-t", "1", "endless")
        assert time.monotonic() - started < 30
        logd.wait_log("lines are dropped")


class TestSandbox:
    def test_rights(self, instance, logd):
        with open(f"/proc/{logd.pid}/status") as file:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        assert fields["Uid"].split() == ["990"] * 4 and fields["Gid"].split() == ["990"] * 4
        assert fields["Groups"].strip() == ""
        for field in ("CapPrm", "CapEff", "CapBnd"):
            assert int(fields[field], 16) == 1 << 2, field      # CAP_DAC_READ_SEARCH
        assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == ("0" if logd.with_sanitizer() else "2")     # sanitizers make calls of their own

    def test_what_it_sees(self, instance, logd):
        root = f"/proc/{logd.pid}/root"
        seen = set(os.listdir(root))
        assert not seen & {"root", "home", "bin", "sbin", "proc", "sys", "old", "work"}
        assert not os.path.exists(f"{root}/etc/shadow") and not os.path.exists(f"{root}/usr/bin")
        assert os.listdir(f"{root}/run/docker") == ["logging"]
        assert alive(logd.pid)

    def test_files_that_are_replaced(self, instance, make_logd):
        """What a link shows, as /etc/resolv.conf often is one, may be replaced by renaming while it runs."""
        directory, target = instance.new_directory(), instance.new_directory()
        link, file = f"{directory}/ca.pem", f"{target}/real.pem"
        os.symlink(file, link)
        with open(file, "w") as empty:
            empty.write("not yet\n")
        logd = make_logd(ECS_LOGD_SHOWN=link).start()
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", f"{file}.new")
        os.rename(f"{file}.new", file)
        run(instance, "echo done", *options("syslog", syslog_address="tcp+tls://127.0.0.1:1", syslog_tls_ca_cert=link))
        assert logd.running

    def test_tells_the_service_manager(self, instance, make_logd):
        path = f"{instance.new_directory()}/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            os.chmod(path, 0o777)
            manager.settimeout(20)
            make_logd(NOTIFY_SOCKET=path).start()
            assert manager.recv(4096) == b"READY=1"

    def test_only_one(self, instance, make_logd):
        """A second one by mistake leaves the first one's socket and spool alone."""
        first = make_logd(activated=False).start()
        for change in ({}, {"ECS_LOGD_PLUGIN_SOCKET": f"{first.directory}/other.sock",
                            "ECS_LOGD_CONTROL_SOCKET": f"{first.directory}/control.sock"}):
            second = Logd(instance, first.directory, activated=False, **change)
            second.log_file += ".second"
            second.start(wait=False)
            assert second.process.wait(20) == 1
        assert re.search("somebody serves at .*already", second.log())
        assert "is another process's" in second.log()
        assert first.status()["Containers"] == []
