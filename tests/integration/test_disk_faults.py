"""A disk that fails while the agent runs: full, broken, read-only. Nothing is acknowledged that is not on disk, no false state
is told, and work goes on when the disk does. Calls are made to fail by diskfault.c, preloaded into ecsd."""

import errno
import os

import pytest

from ecsbed import tasks
from ecsbed.disk import ALLOCATE, CHANGES, RENAME, SYNC, WRITE, Disk
from ecsbed.instance import wait_until

@pytest.fixture
def faulty(make_bed, shim):
    """A bed, not started, with `disk`."""
    bed = make_bed()
    bed.disk = Disk(f"{bed.directory}/diskfault")
    bed.agent.environment.update(bed.disk.environment(shim, bed.agent.data))
    yield bed
    bed.disk.heal()


def acked(bed, message_id, mark=0):
    return message_id in [message.get("messageId") for _, message in bed.cp.acks(mark)]


def deliver(bed, task, message_id=None):
    """As ECS does it: again until it is acknowledged."""
    message_id = message_id or bed.cp.send_payload(task)

    def delivered():
        if acked(bed, message_id):
            return True
        bed.cp.send_payload(task, message_id=message_id)
        bed.cp.settle()
        return acked(bed, message_id)
    wait_until(delivered, 30, "the acknowledgement", 0.1)


def check_history(bed, task):
    """Each status once more than the one before, or the same; and one container was made."""
    order = [["PENDING", "RUNNING", "STOPPED"].index(status) for status in bed.cp.statuses(task["arn"])]
    assert order == sorted(order)
    assert len(bed.instance.containers(task["arn"])) == 1


# What fails, from which call on. A launch writes about 60 times and syncs about 6 times.
SWEEP = [(WRITE | ALLOCATE, errno.ENOSPC, n) for n in (0, 9, 24, 41)] + \
    [(SYNC, errno.EIO, n) for n in range(4)] + [(WRITE, errno.EIO, n) for n in (2, 33)]


def test_sweep_over_a_launch_and_a_stop(faulty):
    """The disk fails at some point of a launch and stays so; then either the agent is killed, or the disk comes back.
    What was acknowledged is known after that, and runs exactly once; the stop that follows meets one more fault."""
    bed = faulty.start()
    noticed = 0
    for turn, (operations, error, skip) in enumerate(SWEEP):
        task = tasks.task()
        bed.disk.fail(operations, error, skip)
        message_id = bed.cp.send_payload(task)

        def met():
            if bed.disk.failed or "RUNNING" in bed.cp.statuses(task["arn"]):
                return True
            bed.cp.send_payload(task, message_id=message_id)    # refused while the last fault's ballast is away
            return False
        wait_until(met, 20, "a fault or the launch", 0.1)
        bed.cp.settle()
        noticed += bed.disk.failed > 0
        was_acked = acked(bed, message_id)
        if turn % 2 == 0:
            bed.agent.kill()
            bed.disk.heal()
            bed.start()
            if was_acked:    # not delivered again: it has to be on disk
                assert task["arn"] in bed.introspect("/v1/tasks").text
        bed.disk.heal()
        if not was_acked:
            deliver(bed, task, message_id)
        bed.cp.wait_task_status(task["arn"], "RUNNING")
        bed.disk.fail(operations, error, skip // 3, times=2)
        bed.cp.wait_ack(bed.cp.send_payload(tasks.stopped(task)))
        bed.cp.wait_task_status(task["arn"], "STOPPED")
        bed.disk.heal()
        check_history(bed, task)
    assert noticed > len(SWEEP) // 2
    assert len(bed.cp.registered) == 1


@pytest.mark.parametrize("operations, error, text", [
    (CHANGES, errno.EROFS, "Read-only file system"),
    (SYNC, errno.EIO, "Input/output error"),
], ids=["read-only", "sync"])
def test_disk_breaks_while_running(faulty, operations, error, text):
    """Nothing new begins and nothing is told that is not on disk; the log says so once, and when it is over."""
    bed = faulty.start()
    running, new = tasks.task(), tasks.task()
    bed.run_task(running)
    bed.disk.fail(operations, error)
    message_id = bed.cp.send_payload(new)
    bed.agent.wait_log(rf'msg="state cannot be written; nothing further is done before it is" .*error="{bed.agent.data}'
                       rf'/ecsd.db: (begin|write task|commit): [^"]* \({text}\)" every_ms=1000')
    bed.instance.docker("kill", bed.instance.container(running["arn"], "m"))
    before = bed.disk.failed
    wait_until(lambda: bed.disk.failed > before + 2, 20, "more attempts")
    bed.cp.settle()
    assert not acked(bed, message_id)
    assert bed.instance.containers(new["arn"]) == []
    assert "STOPPED" not in bed.cp.statuses(running["arn"])
    assert bed.agent.running
    with open(bed.agent.log_file) as file:
        assert file.read().count("state cannot be written") == 1

    bed.disk.heal()
    bed.agent.wait_log("state is written again")
    bed.cp.wait_task_status(running["arn"], "STOPPED")
    deliver(bed, new, message_id)
    bed.cp.wait_task_status(new["arn"], "RUNNING")
    check_history(bed, new)


def test_read_only_at_start(bed, instance):
    """The start fails with a text that names the file and the cause, and nothing is lost by it."""
    task = tasks.task()
    bed.run_task(task)
    bed.agent.terminate()
    instance.run("mount", "--bind", bed.agent.data, bed.agent.data)
    instance.run("mount", "-o", "remount,ro,bind", bed.agent.data)
    try:
        assert bed.agent.start().wait() == 1
    finally:
        instance.run("umount", bed.agent.data)
    bed.agent.wait_log(f'msg="start-up failed" .*error="{bed.agent.data}/ecsd.db: open: .*Read-only file system')
    assert not [name for name in os.listdir(bed.agent.data) if "corrupt" in name]
    bed.start()
    bed.cp.wait_ack(bed.cp.send_payload(tasks.stopped(task)))
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    assert len(bed.cp.registered) == 1


def test_identity_is_not_saved_at_once(faulty):
    """An instance that cannot save its ARN tries until it can, and so does not register anew."""
    bed = faulty
    bed.disk.fail(RENAME, errno.EIO)
    bed.start()
    bed.agent.wait_log(r'msg="the instance.s identity is not saved, a restart would register a new container instance; '
                       rf'trying again" .*error="cannot save the instance.s identity in {bed.agent.data}/instance.json.copy: '
                       'Input/output error" every_ms=5000')
    bed.disk.heal()
    bed.agent.wait_log("the instance's identity is saved")
    bed.agent.kill()
    bed.start()
    assert len(bed.cp.registered) == 1


def test_damaged_identity(bed):
    """The copy is read when the file is damaged: the ARN stays."""
    bed.agent.terminate()
    path = bed.agent.data + "/instance.json"
    with open(path, "r+b") as file:
        content = bytearray(file.read())
        content[content.index(b"container-instance/") + 25] ^= 1
        file.seek(0)
        file.write(content)
    bed.start()
    bed.agent.wait_log(f'identity is read from its copy; registration writes both anew" .*error="{path} is damaged: '
                       f'its checksum does not fit" copy={path}.copy aside={path}.corrupt-')
    assert len(bed.cp.registered) == 1


@pytest.fixture
def small_log(make_bed, instance):
    """A bed, not started, whose logs are on a file system of 64 KiB."""
    bed = make_bed()
    directory = f"{bed.directory}/log"
    os.makedirs(directory)
    instance.run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory)
    bed.logs = instance.path_inside(directory)
    bed.agent.log_file, bed.agent.audit_file = f"{directory}/ecsd.log", f"{directory}/audit.log"
    bed.agent.environment.update(ECS_LOGFILE=bed.agent.log_file, ECS_AUDIT_LOGFILE=bed.agent.audit_file)
    yield bed
    bed.agent.close()
    instance.run("umount", "--lazy", directory)


def test_full_log_directory(small_log):
    """Logs that cannot be written stop nothing; lost lines of the audit log are counted."""
    bed = small_log.start()
    task = tasks.task(roleCredentials=tasks.credentials())
    with open(bed.logs + "/filler", "wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    os.truncate(bed.logs + "/audit.log", 0)
    bed.run_task(task)
    target = "/v2/credentials/" + task["roleCredentials"]["credentialsId"]

    def full():
        assert bed.credentials(target).status == 200
        return "the audit log cannot be written" in bed.agent.log()
    wait_until(full, 20, "the audit log to be full")
    assert bed.credentials(target).status == 200
    log = bed.agent.log()
    assert ('msg="the audit log cannot be written: requests are served all the same, their lines are lost" '
            'prog=ecs-endpoint error="No space left on device"') in log
    assert log.count("the audit log cannot be written") == 1
    os.unlink(bed.logs + "/filler")
    assert bed.credentials(target).status == 200
    bed.agent.wait_log(r'msg="the audit log is written again" prog=ecs-endpoint lines_lost=\d+')
    with open(bed.logs + "/audit.log") as file:
        assert file.read().endswith("\n")


def test_read_only_log_directory_at_start(small_log, instance):
    bed = small_log
    instance.run("mount", "-o", "remount,ro", os.path.dirname(bed.agent.log_file))
    bed.start()
    bed.run_task(tasks.task())
    bed.agent.wait_log('msg="there is no log file: the log goes to standard error only, until a restart" prog=ecsd '
                       f'error="cannot open log file {bed.agent.log_file}: Read-only file system"')
