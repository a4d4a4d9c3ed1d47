"""What ecsd does with ecs-logd, here a stand-in, and a real Docker: whose logs it is given, with which options, and
what it is told when containers end."""

import json
import os
import time

import pytest

from ecsbed import tasks
from ecsbed.instance import alive, wait_until
from ecsbed.logplugin import LogdSocket, LogPlugin

NOWHERE = {"syslog-address": "udp://127.0.0.1:514"}    # Docker's own driver starts with it
GROUP = {"awslogs-group": "lab", "awslogs-region": "us-west-2", "awslogs-stream": "p/m/1"}
FLOOD = ["yes", "0123456789abcdef"]    # soon more than Docker and all pipes hold


@pytest.fixture
def plugin(instance):
    made = LogPlugin(instance)
    yield made
    made.stop()


@pytest.fixture
def make_logged(make_bed):
    """Beds with ecs-logd's socket in their own directory."""
    sockets = []

    def make(**settings):
        bed = make_bed(clock_scale=1, **settings)    # a second for an answer of the plugin is a second
        bed.logd = LogdSocket(bed.agent.environment["ECSD_LOGD_SOCKET"])
        sockets.append(bed.logd)
        return bed
    yield make
    for made in sockets:
        made.stop()


def start(bed):
    bed.start()
    bed.logd.wait_connections(1)
    return bed


def logging(driver, options=None, command=None, **members):
    config = {"Type": driver} if options is None else {"Type": driver, "Config": options}
    return tasks.container("m", command, host_config={"LogConfig": config}, **members)


def stop(bed, task):
    bed.cp.send_payload(tasks.stopped(task))
    return bed.cp.wait_task_status(task["arn"], "STOPPED")


def log_config(bed, task):
    return bed.instance.inspect(bed.instance.container(task["arn"], "m"))["HostConfig"]["LogConfig"]


def run(bed, driver="syslog", options=None):
    task = tasks.task(logging(driver, NOWHERE if options is None and driver == "syslog" else options))
    bed.run_task(task)
    return task


@pytest.mark.parametrize("driver, options", [
    ("awslogs", GROUP),
    ("fluentd", {"fluentd-address": "127.0.0.1:24224", "tag": "{{.Name}}", "labels": "a,b"}),
    ("syslog", {**NOWHERE, "x-ecs-spool-max-size": "1m"}),
])
def test_options_arrive_unchanged(plugin, make_logged, driver, options):
    bed = start(make_logged())
    task = run(bed, driver, options)
    expected = {**options, "x-ecs-driver": driver}
    assert log_config(bed, task) == {"Type": "ecslogs", "Config": expected}
    assert [s["Info"]["Config"] for s in plugin.starts] == [expected]
    stop(bed, task)


def test_lines_arrive(plugin, make_logged):
    bed = start(make_logged())
    task = tasks.task(logging("awslogs", GROUP, ["sh", "-c", "echo first; echo last"]))
    bed.cp.wait_ack(bed.cp.send_payload(task))
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    container = bed.instance.container(task["arn"], "m")
    wait_until(lambda: b"last" in plugin.data.get(container, b""), 10, "the last line")
    assert b"first" in plugin.data[container]


def test_without_ecs_logd(make_logged):
    """Docker's own driver, and not a moment later; it does not know what is for ecs-logd alone."""
    bed = start(make_logged())
    task = run(bed, "syslog", {**NOWHERE, "x-ecs-spool-max-size": "1m"})
    assert log_config(bed, task) == {"Type": "syslog", "Config": NOWHERE}
    bed.agent.wait_log("ecs-logd does not answer: Docker's own log drivers are used")


def test_it_comes_and_goes(make_logged, instance):
    """Asked for each container while it is away; and again after a while when it was there."""
    bed = start(make_logged())
    assert log_config(bed, run(bed))["Type"] == "syslog"
    plugin = LogPlugin(instance)
    try:
        task = run(bed)
        assert log_config(bed, task)["Type"] == "ecslogs"
        stop(bed, task)
    finally:
        plugin.stop()
    time.sleep(5)    # LOGD_FRESH_MS
    assert log_config(bed, run(bed))["Type"] == "syslog"


def test_it_does_not_answer(plugin, make_logged):
    """A second at most, and nobody else waits."""
    plugin.answer.clear()
    bed = start(make_logged())
    assert log_config(bed, run(bed))["Type"] == "syslog"
    before = len(plugin.paths())
    bed.run_task(tasks.task(logging("json-file")))
    assert len(plugin.paths()) == before, "asked for a container that is none of its own"


@pytest.mark.parametrize("setting, taken", [("false", ()), ('["awslogs"]', ("awslogs",))])
def test_switched_off(plugin, make_logged, setting, taken):
    bed = make_logged(ECS_NATIVE_LOGGING=setting).start()
    assert log_config(bed, run(bed))["Type"] == "syslog"
    if taken:
        task = run(bed, "awslogs", GROUP)
        assert log_config(bed, task)["Type"] == "ecslogs"
        stop(bed, task)
    else:
        assert plugin.paths() == [] and bed.logd.connections == 0


def test_other_drivers_pass(plugin, make_logged):
    bed = start(make_logged())
    assert log_config(bed, run(bed, "json-file", {"max-size": "1m"})) == \
        {"Type": "json-file", "Config": {"max-size": "1m"}}
    assert log_config(bed, run(bed, "none"))["Type"] == "none"
    assert plugin.starts == []


@pytest.mark.parametrize("driver, options", [
    ("awslogs", {"awslogs-group": "g", "nonsense": "1"}),
    ("awslogs", {}),
    ("awslogs", {**GROUP, "awslogs-create-group": "maybe"}),
    ("syslog", {"syslog-facility": "nonsense"}),
    ("fluentd", {"fluentd-async": "maybe"}),
    ("syslog", {"mode": "foo"}),
    ("syslog", {"max-buffer-size": "1m"}),
])
def test_wrong_options_read_as_dockers(make_logged, instance, driver, options):
    """With ecs-logd the reason is Docker's own, with what was expected beside it."""
    bed = start(make_logged())

    def reason():
        task = tasks.task(logging(driver, options))
        bed.cp.wait_ack(bed.cp.send_payload(task))
        change = bed.cp.wait_container_status(task["arn"], "m", "STOPPED")
        assert instance.containers(task["arn"]) == []
        return change["reason"]
    dockers = reason()
    plugin = LogPlugin(instance)
    try:
        ours = reason()
        assert plugin.paths() == ["/Plugin.Activate"]
    finally:
        plugin.stop()
    prefix = "CannotCreateContainerError: Error response from daemon: "
    assert ours.startswith(prefix) and dockers.startswith(prefix) and dockers[len(prefix):] in ours


def test_options_of_dockers_default_driver(plugin, make_logged):
    """As Docker merges them: for its own default driver, and the container's win."""
    bed = make_logged()
    with open(bed.agent.environment["ECSD_DOCKER_CONFIG_FILE"], "w") as file:
        json.dump({"log-driver": "syslog", "log-opts": {"tag": "daemon", "syslog-facility": "local1"}}, file)
    start(bed)
    task, other = run(bed, "syslog", {"tag": "mine"}), run(bed, "awslogs", GROUP)
    assert log_config(bed, task)["Config"] == \
        {"tag": "mine", "syslog-facility": "local1", "x-ecs-driver": "syslog"}
    assert log_config(bed, other)["Config"] == {**GROUP, "x-ecs-driver": "awslogs"}
    stop(bed, task)
    stop(bed, other)


def test_stream_prefix_and_buffer_size(plugin, make_logged):
    bed = start(make_logged())
    task = run(bed, "awslogs", {"awslogs-group": "g", "awslogs-stream-prefix": "p", "mode": "non-blocking"})
    assert log_config(bed, task)["Config"] == {
        "awslogs-group": "g", "awslogs-stream": "p/m/" + task["arn"].rpartition("/")[2], "mode": "non-blocking",
        "max-buffer-size": "10m", "x-ecs-driver": "awslogs"}
    stop(bed, task)


def registered(bed):
    body = bed.cp.wait_api("RegisterContainerInstance")["body"]
    return {attribute["name"] for attribute in body["attributes"]}


@pytest.mark.parametrize("there", [True, False])
def test_execution_role(make_logged, instance, there):
    """Its credentials are named in an option; offered to ECS only where somebody can fetch them."""
    plugin = LogPlugin(instance) if there else None
    try:
        bed = start(make_logged(ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE="true"))
        assert ("ecs.capability.execution-role-awslogs" in registered(bed)) == there
        if not there:
            return
        role = tasks.credentials()
        task = tasks.task(logging("awslogs", GROUP, logsAuthStrategy="ExecutionRole"), executionRoleCredentials=role)
        bed.run_task(task)
        uri = "/v2/credentials/" + role["credentialsId"]
        assert log_config(bed, task)["Config"]["awslogs-credentials-endpoint"] == uri
        assert bed.credentials(uri).status == 200
        stop(bed, task)
        task = tasks.task(logging("awslogs", GROUP, logsAuthStrategy="ExecutionRole"))
        bed.cp.wait_ack(bed.cp.send_payload(task))
        change = bed.cp.wait_container_status(task["arn"], "m", "STOPPED")
        assert change["reason"] == "HostConfigError: No execution credentials set for the task"
    finally:
        if plugin:
            plugin.stop()


# --- what ecs-logd is told

def test_told_of_stops_and_exits(plugin, make_logged):
    bed = start(make_logged())
    stopped, killed = run(bed), run(bed)
    ids = [bed.instance.container(task["arn"], "m") for task in (stopped, killed)]
    stop(bed, stopped)
    bed.logd.wait("exited", ids[0])
    os.kill(bed.instance.inspect(ids[1])["State"]["Pid"], 9)
    bed.logd.wait("exited", ids[1])
    bed.cp.wait_task_status(killed["arn"], "STOPPED")
    assert [n for n in bed.logd.notices if n[1] == ids[0]] == [("stopping", ids[0]), ("exited", ids[0])]
    assert [n for n in bed.logd.notices if n[1] == ids[1]] == [("exited", ids[1])]


def full(bed, plugin):
    """A task that cannot write any more, since nobody reads; its container and process."""
    plugin.drain.clear()
    bed.cleanup.callback(plugin.drain.set)    # or Docker could not remove it
    task = tasks.task(logging("syslog", command=FLOOD))
    bed.run_task(task)
    container = bed.instance.container(task["arn"], "m")
    pid = bed.instance.inspect(container)["State"]["Pid"]

    def stuck():
        with open(f"/proc/{pid}/wchan") as file:
            return "pipe_write" in file.read()
    wait_until(stuck, 30, "a container that cannot write")
    return task, container, pid


def test_full_fifo_is_drained_on_notice(plugin, make_logged):
    """Docker cannot say that the container has ended before its FIFO is read; ecsd knows, and says so to ecs-logd."""
    bed = start(make_logged())
    task, container, pid = full(bed, plugin)
    os.kill(pid, 9)
    bed.logd.wait("exited", container)
    assert bed.cp.statuses(task["arn"])[-1] == "RUNNING"
    plugin.drain.set()
    change = bed.cp.wait_task_status(task["arn"], "STOPPED", 10)
    assert change["containers"][0]["exitCode"] == 137


def test_full_fifo_and_a_stop(plugin, make_logged):
    bed = start(make_logged())
    task, container, pid = full(bed, plugin)
    bed.cp.send_payload(tasks.stopped(task))
    bed.logd.wait("stopping", container)
    bed.logd.wait("exited", container)
    assert not alive(pid)
    plugin.drain.set()
    bed.cp.wait_task_status(task["arn"], "STOPPED", 10)


def test_told_again_after_a_restart(plugin, make_logged):
    """Of either side: who comes anew knows of nothing."""
    bed = start(make_logged())
    task, container, pid = full(bed, plugin)
    os.kill(pid, 9)
    bed.logd.wait("exited", container)
    bed.logd.notices.clear()
    bed.logd.hang_up()
    bed.logd.wait_connections(2)
    bed.logd.wait("exited", container)
    plugin.drain.set()
    bed.cp.wait_task_status(task["arn"], "STOPPED", 10)
    # ecsd's own restart: the process is watched again.
    task = run(bed)
    container = bed.instance.container(task["arn"], "m")
    bed.agent.kill()
    bed.start()
    bed.logd.wait_connections(3)
    pid = bed.instance.inspect(container)["State"]["Pid"]
    wait_until(lambda: any("pidfd" in os.readlink(f"/proc/{bed.agent.process.pid}/fd/{fd}")
                           for fd in os.listdir(f"/proc/{bed.agent.process.pid}/fd")), 10, "a pidfd")
    os.kill(pid, 9)
    bed.logd.wait("exited", container)
    bed.cp.wait_task_status(task["arn"], "STOPPED")
