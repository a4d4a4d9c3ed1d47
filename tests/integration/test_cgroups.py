"""Task cgroups on the real kernel: limits of tasks as a whole, what the kernel makes of them, and that nothing is left.

These tests read the kernel's files of the tasks they made (ids are drawn at random) and touch no other cgroup. They
expect cgroup v1 and Docker's cgroupfs driver; the other drivers are tested in tests/unit/test_cgroups.c."""

import contextlib
import glob
import os
import subprocess
import time

import pytest

from ecsbed import tasks
from ecsbed.instance import wait_until

TREE = "/sys/fs/cgroup"
CAPABILITIES = {"ecs.capability.task-cpu-mem-limit", "ecs.capability.increased-task-cpu-limit"}
REASON = "CgroupError: Agent could not create task's platform resources"
BUSY = ["sh", "-c", "trap 'exit 0' TERM; while true; do true; done"]
# Reads 256 MiB into memory at once.
EATER = ["dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"]
CLEAN_SOON = {"ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION": "5s"}     # one second of the tests' clock

pytestmark = pytest.mark.skipif(not os.path.isdir(TREE + "/memory"), reason="this kernel has no cgroup v1")


def task_id(task):
    return task["arn"].rpartition("/")[2]


def cgroups(task):
    """Where the task has a cgroup."""
    return sorted(glob.glob(f"{TREE}/*/ecs/{task_id(task)}"))


def read(task, controller, file):
    with open(f"{TREE}/{controller}/ecs/{task_id(task)}/{file}") as text:
        return text.read().strip()


def registered(bed):
    """Capabilities given at the last registration."""
    request = bed.cp.recording.select(
        lambda e: e["kind"] == "http.request" and e["op"] == "RegisterContainerInstance")[-1]
    return {attribute["name"] for attribute in request["body"]["attributes"]}


def stop(bed, task):
    bed.cp.send_payload(tasks.stopped(task))
    return bed.cp.wait_task_status(task["arn"], "STOPPED")


def wait_cleaned(bed, task):
    bed.agent.wait_log(f"task cleaned up.*{task_id(task)}")
    assert cgroups(task) == []
    assert bed.instance.containers(task["arn"]) == []


@contextlib.contextmanager
def read_only(instance, path):
    """The path is read-only in the instance's mount namespace, and nowhere else."""
    instance.run("mount", "--bind", path, path)
    try:
        instance.run("mount", "-o", "remount,bind,ro", path)
        yield
    finally:
        instance.run("umount", path)


@pytest.fixture
def locked_root(instance):
    """/ecs of the memory hierarchy cannot be written to; everything else can."""
    root = f"{TREE}/memory/ecs"
    os.makedirs(root, exist_ok=True)     # shared, and never removed
    with read_only(instance, root):
        yield


def test_the_three_limits(make_bed, instance):
    """The kernel's files have them, a busy loop gets a quarter of a core, and all is gone after clean-up."""
    bed = make_bed(ECS_ENABLE_TASK_CPU_MEM_LIMIT=True, ECS_TASK_PIDS_LIMIT=20, **CLEAN_SOON).start()
    assert CAPABILITIES <= registered(bed)
    task = tasks.task(tasks.container("m", BUSY, host_config={"CgroupParent": "/elsewhere"}),
                      tasks.container("n", BUSY), cpu=0.25, memory=64)
    bed.run_task(task)
    assert read(task, "cpu", "cpu.cfs_quota_us") == "25000"
    assert read(task, "cpu", "cpu.cfs_period_us") == "100000"
    assert read(task, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert read(task, "memory", "memory.use_hierarchy") == "1"
    assert read(task, "pids", "pids.max") == "20"
    for name in ("m", "n"):
        container = instance.inspect(instance.container(task["arn"], name))
        assert container["HostConfig"]["CgroupParent"] == "/ecs/" + task_id(task)
        with open(f"/proc/{container['State']['Pid']}/cgroup") as text:
            assert f"cpu:/ecs/{task_id(task)}/{container['Id']}\n" in text.read()
    before, since = int(read(task, "cpuacct", "cpuacct.usage")), time.monotonic()
    time.sleep(2)
    used = (int(read(task, "cpuacct", "cpuacct.usage")) - before) / 1e9 / (time.monotonic() - since)
    assert 0.1 < used < 0.35
    assert int(read(task, "cpu", "cpu.stat").split()[3]) > 0, "the busy loops were held back"
    bed.agent.wait_log(f"limits are in force.*{task_id(task)}")
    stop(bed, task)
    wait_cleaned(bed, task)
    assert "is not in force" not in bed.agent.log()


def test_too_many_processes(make_bed, instance):
    bed = make_bed(ECS_TASK_PIDS_LIMIT=10, **CLEAN_SOON).start()
    task = tasks.task(tasks.container("m", ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 20 & done; "
                                            "wait"]))
    bed.cp.send_payload(task)
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    container = instance.container(task["arn"], "m")
    logs = subprocess.run(instance.command("docker", "-H", f"unix://{instance.docker_socket}", "logs", container),
                          capture_output=True, text=True, timeout=20)
    assert "can't fork" in logs.stderr
    wait_cleaned(bed, task)


@pytest.mark.parametrize("own_limit", [0, 32])
def test_out_of_memory(make_bed, own_limit):
    """The task's limit kills as a container's own does, and is reported as such."""
    bed = make_bed(**CLEAN_SOON).start()
    task = tasks.task(tasks.container("m", EATER, memory=own_limit), memory=64)
    bed.cp.send_payload(task)
    report = bed.cp.wait_task_status(task["arn"], "STOPPED")
    change = bed.cp.wait_container_status(task["arn"], "m", "STOPPED")
    assert change["exitCode"] == 137
    assert change["reason"] == "OutOfMemoryError: Container killed due to memory usage"
    assert report["reason"] == ""
    wait_cleaned(bed, task)


def test_shares_of_a_task_without_cpu(make_bed):
    bed = make_bed(ECS_CGROUP_CPU_PERIOD="50ms", **CLEAN_SOON).start()
    task = tasks.task(tasks.container("m", cpu=0), tasks.container("n", cpu=512))
    bed.run_task(task)
    assert read(task, "cpu", "cpu.shares") == "514"
    assert read(task, "cpu", "cpu.cfs_quota_us") == "-1"
    assert read(task, "pids", "pids.max") == "max"
    other = tasks.task(cpu=1.5)
    bed.run_task(other)
    assert read(other, "cpu", "cpu.cfs_quota_us") == "75000"
    assert read(other, "cpu", "cpu.cfs_period_us") == "50000"
    for each in (task, other):
        stop(bed, each)
    wait_cleaned(bed, other)


def test_limits_off(make_bed, instance):
    """Nothing is made, nothing is limited, and both are said."""
    bed = make_bed(ECS_ENABLE_TASK_CPU_MEM_LIMIT=False, **CLEAN_SOON).start()
    assert not CAPABILITIES & registered(bed)
    task = tasks.task(tasks.container("m", memory=128), cpu=0.25, memory=64)
    bed.run_task(task)
    assert cgroups(task) == []
    container = instance.inspect(instance.container(task["arn"], "m"))
    assert container["HostConfig"]["CgroupParent"] == ""
    assert task_id(task) not in open(f"/proc/{container['State']['Pid']}/cgroup").read()
    bed.agent.wait_log(f"limits of tasks are off.*{task_id(task)}")
    stop(bed, task)
    wait_cleaned(bed, task)


def test_a_container_wants_more_than_its_task(bed, instance):
    task = tasks.task(tasks.container("m", memory=65), memory=64)
    bed.cp.wait_ack(bed.cp.send_payload(task))
    report = bed.cp.wait_task_status(task["arn"], "STOPPED")
    assert report["reason"] == (
        f"resource cannot be initialized for task {task['arn']}: cgroup resource: unable to build resource spec for "
        "task: task memory spec builder: container memory limit(65) greater than task memory limit(64)")
    assert cgroups(task) == [] and instance.containers(task["arn"]) == []


def test_root_cannot_be_made_and_limits_are_asked_for(make_bed, locked_root):
    bed = make_bed(ECS_ENABLE_TASK_CPU_MEM_LIMIT=True)
    bed.agent.start()
    assert bed.agent.wait() == 5
    assert "Unable to initialize cgroup root for ECS" in bed.agent.log()
    assert f"{TREE}/memory/ecs is not writable: Read-only file system" in bed.agent.log()
    assert bed.cp.registered == []


def test_root_cannot_be_made_and_nobody_asked(make_bed, locked_root):
    bed = make_bed().start()
    assert not CAPABILITIES & registered(bed)
    bed.agent.wait_log("Disabling TaskCPUMemLimit because agent is unable to setup '/ecs' cgroup")
    task = tasks.task(cpu=0.25, memory=64)
    bed.run_task(task)
    assert cgroups(task) == []
    stop(bed, task)


def test_a_path_without_cgroups(make_bed):
    bed = make_bed(ECS_ENABLE_TASK_CPU_MEM_LIMIT=True, ECS_CGROUP_PATH="/proc")
    bed.agent.start()
    assert bed.agent.wait() == 5
    assert "no cgroup hierarchy with the controller cpu is mounted below /proc" in bed.agent.log()


def test_a_tasks_cgroup_cannot_be_made(bed, instance):
    """Only this task fails, with the reason ECS knows; the next one runs."""
    first, second = tasks.task(cpu=1), tasks.task(cpu=1)
    root = f"{TREE}/memory/ecs"
    with read_only(instance, root):
        bed.cp.wait_ack(bed.cp.send_payload(first))
        report = bed.cp.wait_task_status(first["arn"], "STOPPED")
    assert report["reason"] == REASON
    assert instance.containers(first["arn"]) == []
    assert [change.get("reason") for change in report["containers"]] == [None]
    assert bed.cp.statuses(first["arn"]) == ["STOPPED"]
    bed.run_task(second)
    stop(bed, second)


def test_killed_before_clean_up(make_bed, instance):
    """What a crash leaves behind is removed by the next process, because the task is still in the store."""
    bed = make_bed(**CLEAN_SOON).start()
    first, second = tasks.task(memory=64), tasks.task(memory=64)
    for task in (first, second):
        bed.run_task(task)
    bed.agent.kill()
    instance.docker("kill", instance.container(first["arn"], "m"))
    assert cgroups(first) and cgroups(second)
    bed.start()
    bed.cp.wait_task_status(first["arn"], "STOPPED")
    wait_cleaned(bed, first)
    assert len(cgroups(second)) >= 10, "the running task keeps its own, in every hierarchy"
    stop(bed, second)
    wait_cleaned(bed, second)


def test_busy_at_clean_up(make_bed):
    """A process in the task's cgroup holds up the clean-up of this task, and nothing else."""
    bed = make_bed(**CLEAN_SOON).start()
    first, second = tasks.task(), tasks.task()
    for task in (first, second):
        bed.run_task(task)
    guest = subprocess.Popen(["sleep", "100"])
    try:
        with open(f"{TREE}/pids/ecs/{task_id(first)}/cgroup.procs", "w") as procs:
            procs.write(str(guest.pid))
        for task in (first, second):
            stop(bed, task)
        wait_cleaned(bed, second)
        bed.agent.wait_log(f"cannot be removed yet.*{task_id(first)}.*is in use")
        assert f"{TREE}/pids/ecs/{task_id(first)}" in cgroups(first)
        assert guest.poll() is None
    finally:
        guest.kill()
        guest.wait()
    wait_cleaned(bed, first)


def test_limits_switched_on_while_a_task_runs(make_bed):
    """A task that was accepted without limits: an error where limits are asked for, else they stay off."""
    bed = make_bed(ECS_ENABLE_TASK_CPU_MEM_LIMIT=False).start()
    task = tasks.task(cpu=0.25)
    bed.run_task(task)
    bed.agent.terminate()
    bed.agent.start(ECS_ENABLE_TASK_CPU_MEM_LIMIT=True)
    assert bed.agent.wait() == 5
    assert "TaskCPUMemLimits setting is incompatible with old state" in bed.agent.log()
    del bed.agent.environment["ECS_ENABLE_TASK_CPU_MEM_LIMIT"]
    bed.start()
    bed.agent.wait_log("App: disabling TaskCPUMemLimit.")
    assert not CAPABILITIES & registered(bed)
    stop(bed, task)
    bed.agent.terminate()
    bed.start()
    other = tasks.task(cpu=0.25)
    bed.run_task(other)
    assert read(other, "cpu", "cpu.cfs_quota_us") == "25000"
    stop(bed, other)


def test_limits_switched_off_while_a_task_runs(make_bed):
    """A task keeps what it was accepted with, and its cgroup is removed all the same."""
    bed = make_bed(**CLEAN_SOON).start()
    task, other = tasks.task(cpu=0.25), tasks.task(cpu=0.25)
    bed.run_task(task)
    bed.agent.terminate()
    bed.start(ECS_ENABLE_TASK_CPU_MEM_LIMIT=False)
    assert read(task, "cpu", "cpu.cfs_quota_us") == "25000"
    bed.run_task(other)
    assert cgroups(other) == []
    for each in (task, other):
        stop(bed, each)
    wait_cleaned(bed, task)


def test_a_lost_database(make_bed, instance):
    """The label on the containers says that the task has a cgroup, and which limits."""
    bed = make_bed(**CLEAN_SOON).start()
    task = tasks.task(cpu=0.25, memory=64)
    bed.run_task(task)
    bed.agent.kill()
    for path in glob.glob(bed.agent.data + "/ecsd.db*"):
        os.unlink(path)
    bed.start()
    wait_until(lambda: task["arn"] in bed.introspect("/v1/tasks").text, 10, "the task, rebuilt")
    stop(bed, task)
    wait_cleaned(bed, task)
    assert "is not in force" not in bed.agent.log()
