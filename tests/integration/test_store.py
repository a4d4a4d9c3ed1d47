"""The state on disk: a full disk is survived, a damaged database is rebuilt, and no secret is ever in it."""

import os
import stat

import pytest

from ecsbed import tasks
from ecsbed.instance import wait_until

SQLITE_MAGIC = b"SQLite format 3\x00"


def stop_task(bed, task):
    bed.cp.wait_ack(bed.cp.send_payload(tasks.stopped(task)))
    return bed.cp.wait_task_status(task["arn"], "STOPPED")


def files(directory):
    for path, _, names in os.walk(directory):
        for name in names:
            if os.path.isfile(os.path.join(path, name)):    # no sockets
                yield os.path.join(path, name)


def databases(directory):
    found = []
    for path in files(directory):
        with open(path, "rb") as file:
            if file.read(16) == SQLITE_MAGIC:
                found.append(path)
    return found


@pytest.fixture
def small_disk(make_bed, instance):
    """A bed, started, whose data directory is a file system of 32 MiB; fill() and clear() do as they say."""
    bed = make_bed()
    instance.run("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", bed.agent.data)
    inside = instance.path_inside(bed.agent.data)

    def fill():
        with open(inside + "/filler", "ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

    bed.fill, bed.clear = fill, lambda: os.unlink(inside + "/filler")
    yield bed.start()
    bed.agent.close()
    instance.run("umount", "--lazy", bed.agent.data)


def test_full_disk(small_disk):
    """Running tasks are stopped and reported, new ones are neither started nor acknowledged; when there is
    room again, they are."""
    bed = small_disk
    first, second, third = (tasks.task() for _ in range(3))
    bed.run_task(first)
    bed.run_task(second)
    bed.fill()
    stop_task(bed, first)
    message_id = bed.cp.send_payload(third)
    bed.cp.settle()
    assert message_id not in [message.get("messageId") for _, message in bed.cp.acks()]
    assert bed.instance.containers(third["arn"]) == []
    bed.instance.docker("kill", bed.instance.container(second["arn"], "m"))
    bed.cp.wait_task_status(second["arn"], "STOPPED")
    assert bed.agent.running

    bed.clear()
    mark = bed.cp.recording.mark()

    def acknowledged():
        bed.cp.send_payload(third, message_id=message_id)     # ECS delivers again what was not acknowledged
        bed.cp.settle()
        return message_id in [message.get("messageId") for _, message in bed.cp.acks(mark)]
    wait_until(acknowledged, 30, "acknowledgement once there is room again", 0.3)
    bed.cp.wait_task_status(third["arn"], "RUNNING")
    assert len(bed.instance.containers(third["arn"])) == 1


def test_start_on_a_full_disk_without_tasks(small_disk):
    """With nothing to write, room that comes back is noticed all the same."""
    bed = small_disk
    bed.agent.terminate()
    os.unlink(bed.instance.path_inside(bed.agent.data) + "/ballast")
    bed.fill()
    bed.start()
    task = tasks.task()
    message_id = bed.cp.send_payload(task)
    bed.cp.settle()
    assert message_id not in [message.get("messageId") for _, message in bed.cp.acks()]
    bed.clear()
    bed.agent.wait_log("disk has room again")
    bed.run_task(task)


def test_restart_on_a_full_disk(small_disk):
    bed = small_disk
    task = tasks.task()
    bed.run_task(task)
    bed.fill()
    bed.agent.kill()
    bed.start()
    stop_task(bed, task)
    assert len(bed.proxy.requests("POST /containers/create")) == 1


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty"])
def test_damaged_database(bed, instance, damage):
    """It is put aside under another name; the task is known again from Docker, and its exit is reported."""
    task = tasks.task()
    bed.run_task(task)
    bed.agent.terminate()
    found = databases(bed.agent.data)
    assert len(found) == 1
    path, size = found[0], os.path.getsize(found[0])
    garbage = b"not a database\n" * 300
    with open(path, "r+b") as file:
        if damage == "garbage":
            file.write(garbage)
        else:
            file.truncate(size // 2 if damage == "truncated" else 0)
    for suffix in ("-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.unlink(path + suffix)
    bed.start()
    bed.cp.settle()
    if damage == "garbage":
        aside = [name for name in files(bed.agent.data) if name != path and garbage[:100] in open(name, "rb").read()]
        assert aside, "the damaged file is kept"
    assert len(bed.cp.registered) == 1, "the instance's ARN does not depend on the database"
    assert len(instance.containers(task["arn"])) == 1
    assert task["arn"] in bed.introspect("/v1/tasks").text
    bed.cp.wait_ack(bed.cp.send_payload(task))
    bed.cp.settle()
    assert len(instance.containers(task["arn"])) == 1
    instance.docker("kill", instance.container(task["arn"], "m"))
    change = bed.cp.wait_container_status(task["arn"], "m", "STOPPED")
    assert change["exitCode"] == 137


def test_no_secret_on_disk_or_in_logs(bed):
    """Neither task credentials, nor refreshed ones, nor the instance's own."""
    role, execution = tasks.credentials(), tasks.credentials("ASIATESTEXECKEY")
    task = tasks.task(roleCredentials=role, executionRoleCredentials=execution)
    bed.run_task(task)
    new = tasks.credentials(identifier=role["credentialsId"])
    bed.cp.wait_ack(bed.cp.send_credentials(task["arn"], new), type="IAMRoleCredentialsAckRequest")
    bed.credentials("/v2/credentials/" + role["credentialsId"])
    bed.agent.terminate()
    bed.start()
    bed.agent.kill()
    secrets = [bed.agent.environment["AWS_SECRET_ACCESS_KEY"]]
    for credentials in (role, execution, new):
        secrets += [credentials["secretAccessKey"], credentials["sessionToken"]]
    for path in files(bed.directory):
        with open(path, "rb") as file:
            content = file.read()
        for secret in secrets:
            assert secret.encode() not in content, f"{secret} is in {path}"


def test_files_are_for_root_only(bed):
    bed.run_task(tasks.task())
    for path in files(bed.agent.data):
        mode = stat.S_IMODE(os.stat(path).st_mode)
        assert mode & 0o077 == 0, f"{path} has mode {mode:o}"
