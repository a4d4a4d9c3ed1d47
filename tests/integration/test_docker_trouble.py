"""Docker restarted, hanging, or meddled with: what is unknown is not stopped, and what happened is reported
in the end."""

import signal

import pytest

from ecsbed import tasks
from ecsbed.instance import wait_until

LIVE_RESTORE = True    # containers outlive the engine


def creates(bed):
    return bed.proxy.requests("POST /containers/create")


def stop_task(bed, task):
    bed.cp.send_payload(tasks.stopped(task))
    return bed.cp.wait_task_status(task["arn"], "STOPPED")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_engine_restarted(bed, instance, how):
    """Live restore keeps the container: no STOPPED, and the agent still sees what happens later."""
    task = tasks.task()
    bed.run_task(task)
    mark = bed.proxy.recording.mark()
    instance.restart_dockerd(how)
    bed.proxy.wait_request("GET /events", since=mark)
    bed.cp.settle()
    assert bed.cp.statuses(task["arn"]) == ["RUNNING"]
    instance.docker("kill", instance.container(task["arn"], "m"))
    change = bed.cp.wait_container_status(task["arn"], "m", "STOPPED")
    assert change["exitCode"] == 137 and len(creates(bed)) == 1


def test_container_dies_while_the_engine_is_away(bed, instance):
    task = tasks.task()
    bed.run_task(task)
    pid = instance.inspect(instance.container(task["arn"], "m"))["State"]["Pid"]
    instance.stop_dockerd()
    instance.run("kill", "-9", str(pid))
    instance.start_dockerd()
    bed.cp.wait_container_status(task["arn"], "m", "STOPPED")
    assert len(creates(bed)) == 1


def test_task_sent_while_the_engine_is_away(bed, instance):
    """It is acknowledged (it is on disk) and starts when the engine is there again."""
    instance.stop_dockerd()
    task = tasks.task()
    try:
        bed.cp.wait_ack(bed.cp.send_payload(task))
        bed.cp.recording.never(lambda e: e["kind"] == "http.request", 1, bed.cp.recording.mark(), "a report")
    finally:
        instance.start_dockerd()
    bed.cp.wait_task_status(task["arn"], "RUNNING", 60)


def test_engine_hangs(bed):
    """Nothing is answered for many seconds (five times as many by the agent's clock)."""
    task = tasks.task()
    bed.run_task(task)
    mark = bed.cp.recording.mark()
    bed.proxy.stall()
    bed.cp.recording.never(lambda e: e["kind"] == "http.request" and e["body"].get("status") == "STOPPED",
                           8, mark, "STOPPED")
    bed.cp.settle()      # the control plane is still served
    bed.proxy.resume()
    assert stop_task(bed, task)["containers"][0]["exitCode"] == 0


@pytest.mark.parametrize("call", ["GET /containers/[^/]+/json", "GET /events"])
def test_engine_answers_with_errors(bed, call):
    task = tasks.task()
    bed.run_task(task)
    failing = bed.proxy.rule(call, "fail", times=10**6)
    bed.proxy.cut("GET /events")
    bed.cp.recording.never(lambda e: e["kind"] == "http.request" and e["body"].get("status") == "STOPPED",
                           3, bed.cp.recording.mark(), "STOPPED")
    failing.release()
    assert stop_task(bed, task)["containers"][0]["exitCode"] == 0
    assert bed.cp.statuses(task["arn"]) == ["RUNNING", "STOPPED"]


def test_a_slow_launch_does_not_hold_up_others(bed):
    """One create call hangs; another task starts all the same."""
    stuck = bed.proxy.rule("POST /containers/create.*-stuck-")
    slow, quick = tasks.task(tasks.container("stuck")), tasks.task(tasks.container("quick"))
    bed.cp.send_payload(slow)
    stuck.wait_reached()
    bed.run_task(quick)
    stuck.release()
    bed.cp.wait_task_status(slow["arn"], "RUNNING")


@pytest.mark.parametrize("command", [("kill",), ("rm", "--force")])
def test_container_ended_by_hand(bed, instance, command):
    task = tasks.task()
    bed.run_task(task)
    instance.docker(*command, instance.container(task["arn"], "m"))
    change = bed.cp.wait_container_status(task["arn"], "m", "STOPPED")
    if command == ("kill",):
        assert change["exitCode"] == 137 and "reason" not in change


def test_out_of_memory(bed):
    task = tasks.task(tasks.container("m", ["sh", "-c", "x=x; while true; do x=$x$x; done"], memory=16))
    bed.cp.send_payload(task)
    change = bed.cp.wait_container_status(task["arn"], "m", "STOPPED")
    assert change["reason"] == "OutOfMemoryError: Container killed due to memory usage"


def test_event_stream_cut(bed, instance):
    """What happens while there is no event stream is found out when there is one again."""
    task = tasks.task()
    bed.run_task(task)
    refused = bed.proxy.rule("GET /events", "drop", times=10**6)
    bed.proxy.cut("GET /events")
    refused.wait_reached()
    instance.docker("kill", instance.container(task["arn"], "m"))
    refused.release()
    bed.cp.wait_container_status(task["arn"], "m", "STOPPED")


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_containers_are_adopted_after_a_restart(bed, instance, end):
    task = tasks.task(tasks.container("a"), tasks.container("b"))
    bed.run_task(task)
    getattr(bed.agent, end)()
    mark = bed.cp.recording.mark()
    bed.start()
    bed.cp.settle()
    assert len(creates(bed)) == 2 and len(instance.containers(task["arn"], running=True)) == 2
    assert "STOPPED" not in [body["status"] for body in (
        e["body"] for e in bed.cp.recording.select(lambda e: e["kind"] == "http.request", mark)) if "status" in body]
    changes = {change["containerName"]: change for change in stop_task(bed, task)["containers"]}
    assert {name: change["exitCode"] for name, change in changes.items()} == {"a": 0, "b": 0}


def test_stopped_by_ecs_while_the_agent_was_away(bed, instance):
    task = tasks.task()
    bed.run_task(task)
    bed.agent.kill()
    bed.start()
    assert stop_task(bed, task)["containers"][0]["exitCode"] == 0
    assert instance.containers(task["arn"], running=True) == []


def test_foreign_containers_are_left_alone(bed, instance):
    """Also one that copies the labels of a task the agent does not know."""
    foreign = instance.docker("run", "--detach", "busybox:test", "sleep", "1000").strip()
    labelled = instance.docker("run", "--detach", "--label", "com.amazonaws.ecs.cluster=lab",
                               "busybox:test", "sleep", "1000").strip()
    task = tasks.task()
    bed.run_task(task)
    bed.agent.kill()
    bed.start()
    stop_task(bed, task)
    assert bed.agent.terminate() == 0
    for container in (foreign, labelled):
        assert instance.inspect(container)["State"]["Running"]
    touched = bed.proxy.requests(f"(POST|DELETE) /containers/({foreign[:12]}|{labelled[:12]})")
    assert touched == []


def test_container_restarted_by_hand(bed, instance):
    """ECS was told STOPPED: what starts again behind its back is stopped, and cleaned up."""
    task = tasks.task()
    bed.run_task(task)
    identifier = instance.container(task["arn"], "m")
    instance.docker("restart", "-t", "0", identifier)
    bed.cp.wait_container_status(task["arn"], "m", "STOPPED")
    wait_until(lambda: not instance.inspect(identifier)["State"]["Running"], 30, "the container to be stopped again")
    bed.cp.settle()
    assert bed.cp.statuses(task["arn"]) == ["RUNNING", "STOPPED"]


def test_conflict_that_is_not_the_name(bed):
    """409 for another reason: a bounded number of tries, then Docker's text."""
    rule = bed.proxy.rule("POST /containers/create", "fail", times=1000, status=409)
    task = tasks.task()
    bed.cp.send_payload(task)
    bed.cp.wait_task_status(task["arn"], "STOPPED", 60)
    change = bed.cp.wait_container_status(task["arn"], "m", "STOPPED")
    assert change["reason"] == "CannotCreateContainerError: Error response from daemon: made to fail by the test"
    assert len(creates(bed)) < 20
    rule.release()


def test_first_version_call_fails(make_bed):
    """A daemon that answers with an error is not a daemon that cannot be used: no exit."""
    bed = make_bed()
    bed.proxy.rule("GET /version", "fail", times=3)
    bed.start()
    assert bed.cp.statuses(bed.run_task(tasks.task())) == ["RUNNING"]
    assert len(bed.proxy.requests("GET /version")) >= 4 and bed.agent.running


def test_start_call_cut_off(bed):
    """A start whose answer is lost is made again; the container runs once."""
    bed.proxy.rule("POST /containers/[^/]+/start", "drop")
    task = tasks.task()
    bed.run_task(task)
    assert len(creates(bed)) == 1 and bed.cp.statuses(task["arn"]) == ["RUNNING"]
