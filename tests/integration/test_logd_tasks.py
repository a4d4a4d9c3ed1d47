"""Tasks of ECS whose logs go through ecs-logd: ecsd, ecs-logd and a real Docker Engine together."""

import time

import pytest

from ecsbed import tasks
from ecsbed.instance import wait_until
from ecsbed.logsinks import SYSLOG_PORT, Numbered


@pytest.fixture
def make_logged(make_bed, make_logd):
    """Beds with an ecs-logd that ecsd is connected to."""
    def make(limits=None, **settings):
        bed = make_bed(**settings)
        bed.logd = make_logd(control=bed.agent.environment["ECSD_LOGD_SOCKET"], **(limits or {})).start()
        return bed.start()
    return make


def logged(script, name="m", **options):
    config = {"Type": "syslog", "Config": {"syslog-address": f"tcp://127.0.0.1:{SYSLOG_PORT}", "tag": "{{.Name}}",
                                           **{key.replace("_", "-"): value for key, value in options.items()}}}
    return tasks.container(name, ["sh", "-c", script], host_config={"LogConfig": config})


def counting(name, count, pause=""):
    return f'i=0; while [ $i -lt {count} ]; do echo "{name} $i"; i=$((i+1)); {pause} done'


def complete(sink, name, count):
    numbered = Numbered(line.decode(errors="replace") for line in sink.texts())
    return not numbered.missing(name, count) and numbered.in_order(name)


def test_lines_of_a_task(make_logged, sink):
    bed = make_logged()
    task = tasks.task(logged(counting("task", 1000)))
    bed.cp.wait_ack(bed.cp.send_payload(task))
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    wait_until(lambda: complete(sink, "task", 1000), 20, "all lines")
    container = bed.instance.inspect(bed.instance.container(task["arn"], "m"))
    assert container["HostConfig"]["LogConfig"]["Type"] == "ecslogs"
    assert container["Name"][1:].encode() in sink.texts()[0]    # the tag


def test_a_task_of_fifty_milliseconds(make_logged, sink):
    bed = make_logged()
    batch = [tasks.task(logged(f"echo short {number}")) for number in range(10)]
    bed.cp.send_payload(*batch)
    for task in batch:
        bed.cp.wait_task_status(task["arn"], "STOPPED")
    wait_until(lambda: complete(sink, "short", 10) or len(sink.texts()) >= 10, 20, "the lines")
    assert sorted(line.rpartition(b" ")[2] for line in sink.texts()) == sorted(b"%d" % i for i in range(10))


@pytest.mark.parametrize("mode", ["blocking", "non-blocking"])
def test_stop_with_a_full_spool(make_logged, sink, mode):
    """ecsd tells ecs-logd, which then drains the FIFO: STOPPED does not wait for a destination that is away."""
    bed = make_logged({"ECS_LOGD_CONTAINER_MAX": "1m"}, clock_scale=1)
    sink.down()
    task = tasks.task(logged('while true; do echo "a line of some length, again and again and again"; done', mode=mode))
    bed.run_task(task)
    wait_until(lambda: bed.logd.status()["Containers"][0]["SpoolBytes"] > 700000, 60, "a full spool")
    if mode == "blocking":
        bed.logd.wait_log("the container is held back")
    started = time.monotonic()
    bed.cp.send_payload(tasks.stopped(task))
    bed.cp.wait_task_status(task["arn"], "STOPPED", timeout=60)
    # The stop's own grace is two seconds; without being told, ecs-logd would hold the container back for a minute.
    assert time.monotonic() - started < 40


def test_everything_restarted(make_logged, sink):
    bed = make_logged()
    task = tasks.task(logged(counting("kept", 2000, "sleep 0.005;")))
    bed.run_task(task)
    for _ in range(3):
        wait_for = len(sink.texts()) + 50
        wait_until(lambda: len(sink.texts()) >= wait_for, 30, "more lines")
        bed.logd.kill()
        bed.agent.kill()
        bed.agent.start()
        bed.logd.start()
    bed.cp.wait_task_status(task["arn"], "STOPPED", timeout=60)
    wait_until(lambda: complete(sink, "kept", 2000), 30, "all lines")


def test_counters_reach_ecsd(make_logged, sink):
    bed = make_logged({"ECSD_CLOCK_SCALE": 20})    # a minute between two messages
    task = tasks.task(logged(counting("counted", 100)))
    bed.cp.send_payload(task)
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    bed.agent.wait_log("msg=ecs-logd .*lines_in=100 ", timeout=30)
