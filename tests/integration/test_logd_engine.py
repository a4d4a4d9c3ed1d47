"""ecs-logd on a real Docker Engine without live-restore: `docker logs`, restarts of the engine, containers that come and go,
and ecs-logd away for long."""

import os
import socket
import threading
import time

import pytest

from ecsbed.instance import wait_until
from ecsbed.logd import options
from ecsbed.logplugin import EXITED, HELLO, STOPPING, WIRE_VERSION, LogdSocket
from ecsbed.logsinks import SYSLOG_PORT

LIVE_RESTORE = False
TASK_LABEL = ["--label", "com.amazonaws.ecs.task-arn=arn:aws:ecs:us-west-2:123456789012:task/default/test"]


def run(instance, script, *more, name, detach=True, **log_options):
    return instance.docker("run", *(["-d"] if detach else []), "--network", "none", "--name", name, *more,
                           *options("syslog", syslog_address=f"tcp://127.0.0.1:{SYSLOG_PORT}", **log_options),
                           "busybox:test", "sh", "-c", script).strip()


def counting(name, count, pause=""):
    return f'i=0; while [ $i -lt {count} ]; do echo "{name} $i"; i=$((i+1)); {pause} done'


def ended(instance, name):
    return name not in instance.docker("ps", "--format", "{{.Names}}").split()


@pytest.mark.row(38)
class TestDockerLogs:
    """From Docker's own cache: what ecs-logd and the destination do makes no difference."""

    def test_running_and_stopped(self, instance, logd, sink):
        run(instance, counting("seen", 20) + "; sleep 60", name="seen")
        sink.wait(20)
        wait_until(lambda: len(instance.docker("logs", "seen").splitlines()) == 20, 10, "lines")
        assert instance.docker("logs", "--tail", "1", "seen") == "seen 19\n"
        instance.docker("stop", "-t", "0", "seen")
        connections = sink.connections
        for _ in range(3):
            assert len(instance.docker("logs", "seen").splitlines()) == 20
        assert len(sink.texts()) == 20 and sink.connections == connections

    def test_follow_during_an_outage(self, instance, logd, sink):
        sink.down()
        run(instance, counting("follows", 50, "sleep 0.02;"), name="follows")
        assert len(instance.docker("logs", "--follow", "follows").splitlines()) == 50
        sink.up()
        sink.wait(50)

    def test_without_a_cache(self, instance, logd, sink):
        run(instance, counting("uncached", 20), name="uncached", detach=False, cache_disabled="true")
        sink.wait(20)
        assert instance.docker("logs", "uncached", check=False) == ""


class TestRestarts:
    @pytest.mark.row(28)
    def test_engine_restarted(self, instance, logd, sink):
        """It ends its containers; all that they have written until then arrives."""
        run(instance, "trap 'echo \"ends 0\"; exit' TERM; " + counting("ended", 100) + "; while :; do sleep 0.05; done",
            name="ended")
        sink.wait(100)
        instance.restart_dockerd()
        sink.assert_complete("ended", 100)
        sink.assert_complete("ends", 1)
        logd.all_shipped()
        assert logd.status()["Containers"][0]["OpenStreams"] == 0
        assert os.listdir(logd.run_directory) == []

    @pytest.mark.row(26)
    @pytest.mark.parametrize("mode", ["blocking", "non-blocking"])
    def test_away_for_long(self, instance, logd, sink, mode):
        """A container in blocking mode is held back, another goes on; Docker answers, and after that nothing is missing."""
        run(instance, counting("long", 25000) + "; echo 'done 0' > /proc/self/fd/2; sleep 60", name="long", mode=mode)
        sink.wait(1)
        logd.kill()
        other = ["inspect", "long"]
        wait_until(lambda: '"Running": true' in instance.docker(*other), 10, "Docker")
        for _ in range(5):
            instance.docker("ps")
            time.sleep(0.1)
        logd.start()
        wait_until(lambda: any(b"done 0" in line for line in sink.texts()), 30, "the last line")
        logd.all_shipped()
        if mode == "blocking":
            sink.assert_complete("long", 25000)
        instance.docker("rm", "-f", "long")


@pytest.mark.row(37)
class TestChurn:
    def test_short_lives(self, instance, make_logd, sink):
        """Containers that end at once, several at a time; the one line of each arrives, and nothing is left."""
        logd = make_logd(ECSD_CLOCK_SCALE=100).start()
        before = logd.descriptors()

        def churn(worker):
            for i in range(3):
                instance.docker("run", "--rm", "--network", "none",
                                *options("syslog", syslog_address=f"tcp://127.0.0.1:{SYSLOG_PORT}"), "busybox:test",
                                "echo", f"w{worker} {i}")
        workers = [threading.Thread(target=churn, args=(worker,)) for worker in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        for worker in range(3):
            sink.assert_complete(f"w{worker}", 3)
        wait_until(lambda: logd.status()["Containers"] == [], 20, "no container")
        wait_until(lambda: logd.descriptors() <= before + 6, 10, "no descriptor left")    # Docker's connections
        assert os.listdir(logd.run_directory) == os.listdir(logd.spool) == []
        assert os.listdir(instance.path_inside("/run/docker/logging")) == []

    def test_restart_policy(self, instance, logd, sink):
        run(instance, 'echo "once more"; exit 1', "--restart", "on-failure:3", name="loops")
        sink.wait(4, 60)
        wait_until(lambda: ended(instance, "loops"), 30, "the end")
        logd.all_shipped()
        assert len(sink.texts()) == 4 and len(logd.status()["Containers"]) == 1
        assert os.listdir(logd.run_directory) == []


@pytest.mark.row(45)
@pytest.mark.parametrize("word", [STOPPING, EXITED, None])
def test_stop_with_a_full_spool(instance, make_logd, sink, word):
    """FIFO and spool full, blocking mode: `docker stop` ends with ecsd's word, and without ecsd after a minute (scaled)."""
    logd = make_logd(ECS_LOGD_CONTAINER_MAX="1m", **({} if word else {"ECSD_CLOCK_SCALE": 20})).start()
    if word:
        ecsd = socket.socket(socket.AF_UNIX)
        ecsd.connect(logd.control_path)
        ecsd.sendall(LogdSocket.message(HELLO, WIRE_VERSION, WIRE_VERSION, "test"))
    sink.down()
    container = run(instance, 'while :; do echo "endless line of some length that fills up the spool soon"; done',
                    *TASK_LABEL, name="endless")
    logd.wait_log("the container is held back")
    stop = threading.Thread(target=instance.docker, args=("stop", "-t", "1", "endless"))
    stop.start()
    if word == STOPPING:
        ecsd.sendall(LogdSocket.message(word, container))
    elif word == EXITED:
        pid = instance.inspect(container)["State"]["Pid"]
        wait_until(lambda: pid == 0 or not os.path.exists(f"/proc/{pid}"), 20, "the process' end")
        ecsd.sendall(LogdSocket.message(word, container))
    stop.join(30)
    assert not stop.is_alive()
    instance.docker("rm", "endless")
    sink.up()
    logd.all_shipped()
