"""What goes when: tasks after their wait, images that nobody uses, and room on a disk that is too full.

ECSD_TEST_BIG_DISK=1 makes the last part large: a root of 1 GiB, 50 images of 200 MiB (five minutes)."""

import io
import os
import re
import socket
import sqlite3
import subprocess
import tarfile
import threading
import time
import urllib.parse

import pytest

from ecsbed import image, tasks
from ecsbed.bed import Bed
from ecsbed.instance import Instance, wait_until
from ecsbed.localregistry import LocalRegistry

BIG = bool(os.environ.get("ECSD_TEST_BIG_DISK"))


def stop_task(bed, task):
    bed.cp.wait_ack(bed.cp.send_payload(tasks.stopped(task)))
    return bed.cp.wait_task_status(task["arn"], "STOPPED")


def rows(bed):
    """Rows of each table; the agent must have ended (it locks the database)."""
    database = sqlite3.connect(f"{bed.agent.data}/ecsd.db")
    try:
        return {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("task", "container", "transition")}
    finally:
        database.close()


def test_everything_of_a_task_goes(make_bed, instance):
    """Containers, volume, rows, introspection and credentials: all there until the wait is over, then none."""
    bed = make_bed(ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION="10s").start()    # 2 s on this clock
    role, execution = tasks.credentials(), tasks.credentials("ASIATESTEXECUTION")
    task = tasks.task(
        tasks.container("a", mountPoints=[{"sourceVolume": "v", "containerPath": "/v", "readOnly": False}]),
        tasks.container("b", ["true"], essential=False),
        volumes=[{"name": "v", "host": {}}], roleCredentials=role, executionRoleCredentials=execution)
    bed.run_task(task)
    volumes = instance.docker("volume", "ls", "--quiet").split()
    assert len([name for name in volumes if name.startswith("ecs-lab-1-v-")]) == 1
    stop_task(bed, task)
    assert len(instance.containers(task["arn"])) == 2
    assert task["arn"] in bed.introspect("/v1/tasks").text
    wait_until(lambda: not instance.containers(task["arn"]), 15, "containers removed")
    bed.agent.wait_log("task cleaned up")
    removed = bed.proxy.requests("DELETE /containers/")
    assert len(removed) == 2, removed
    assert all(re.search(r"v=1$", request) for request in removed), "anonymous volumes too, not by force"
    assert instance.docker("volume", "ls", "--quiet", "--filter", "name=ecs-lab-1-v-") == ""
    wait_until(lambda: task["arn"] not in bed.introspect("/v1/tasks").text, 5, "introspection entry gone")
    for credentials in (role, execution):
        assert bed.credentials("/v2/credentials/" + credentials["credentialsId"]).status == 400
    assert bed.agent.terminate() == 0
    assert rows(bed) == {"task": 0, "container": 0, "transition": 0}


def test_report_goes_before_clean_up(make_bed, instance):
    bed = make_bed(ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION="1s").start()
    task = tasks.task()
    bed.run_task(task)
    held = bed.cp.fault("SubmitTaskStateChange", "hold", match=lambda body: body.get("status") == "STOPPED")
    bed.cp.wait_ack(bed.cp.send_payload(tasks.stopped(task)))
    held.wait_reached()
    time.sleep(1.5)    # long after the clean-up wait on this clock: that nothing happens is the test
    assert len(instance.containers(task["arn"])) == 1
    held.release()
    wait_until(lambda: not instance.containers(task["arn"]), 15, "containers removed")


# --- images ---

def make_image(instance, name):
    """A small image with an id of its own."""
    buffer = io.BytesIO(image.tar_bytes())
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        mark = name.encode()
        entry = tarfile.TarInfo("etc/mark")
        entry.size = len(mark)
        tar.addfile(entry, io.BytesIO(mark))
    instance.docker("import", "-", name, stdin=buffer.getvalue())
    return name


def image_names(instance):
    return set(instance.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split())


@pytest.fixture
def fast(make_bed, instance):
    """An agent whose clean-up of images, every ten minutes at most, comes every ten seconds."""
    def make(**options):
        bed = make_bed(clock_scale=60, ECS_IMAGE_PULL_BEHAVIOR="default", ECS_IMAGE_CLEANUP_INTERVAL="10m",
                       ECS_IMAGE_MINIMUM_CLEANUP_AGE="1s", NON_ECS_IMAGE_MINIMUM_CLEANUP_AGE="1s",
                       ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION="1s", ECS_CONTAINER_START_TIMEOUT="60m",
                       ECS_CONTAINER_CREATE_TIMEOUT="60m", ECS_CONTAINER_STOP_TIMEOUT="3m",
                       **{"ECS_EXCLUDE_UNTRACKED_IMAGE": image.NAME, **options})
        threading.Thread(target=bed.cp._heartbeats, args=(0.3,), daemon=True).start()    # as fast as the clock
        return bed.start()
    yield make
    for name in image_names(instance) - {image.NAME}:
        instance.docker("image", "rm", "--force", name, check=False)


def removal(name):
    """Docker's request for it."""
    return f"DELETE /images/{urllib.parse.quote(name)}?noprune=1"


def deploy(bed, name):
    """A task with this image, run and stopped."""
    task = tasks.task(tasks.container("m", image=name))
    bed.run_task(task)
    stop_task(bed, task)


def test_images_go_least_recently_used_first(fast, instance):
    """Two in a cycle; neither an excluded one nor one in use, and nothing that tasks never used."""
    bed = fast(ECS_EXCLUDE_UNTRACKED_IMAGE="keep:1," + image.NAME, ECS_NUM_IMAGES_DELETE_PER_CYCLE="2")
    for name in ("keep:1", "used:1", "a:1", "b:1", "c:1", "stranger:1"):
        make_image(instance, name)
    bed.run_task(tasks.task(tasks.container("m", image="used:1")))
    for name in ("keep:1", "b:1", "c:1", "a:1"):
        deploy(bed, name)
    bed.proxy.wait_request("DELETE /images/", 30, count=2)
    assert bed.proxy.requests("DELETE /images/") == [removal("b:1"), removal("c:1")]
    wait_until(lambda: image_names(instance) == {image.NAME, "keep:1", "used:1", "a:1", "stranger:1"}, 5, "two gone")
    bed.proxy.wait_request(re.escape(removal("a:1")), 20)
    wait_until(lambda: image_names(instance) == {image.NAME, "keep:1", "used:1", "stranger:1"}, 5, "a:1 gone")
    assert bed.agent.terminate() == 0
    names = sqlite3.connect(f"{bed.agent.data}/ecsd.db").execute("SELECT names FROM image").fetchall()
    assert sorted(names) == [('["keep:1"]',), ('["used:1"]',)]


def test_untracked_ones_go_if_that_is_wanted(fast, instance):
    """An ended container of nobody's and images of nobody's; not what runs, and not what is excluded."""
    bed = fast(ECS_ENABLE_UNTRACKED_IMAGE_CLEANUP="true", ECS_EXCLUDE_UNTRACKED_IMAGE="mine:1," + image.NAME)
    for name in ("free:1", "ended:1", "runs:1", "mine:1"):
        make_image(instance, name)
    instance.docker("run", "--name", "ended", "ended:1", "true")
    instance.docker("create", "--name", "never", "ended:1", "true")
    instance.docker("run", "--detach", "--name", "runs", "runs:1", "sleep", "1000")
    wait_until(lambda: image_names(instance) == {image.NAME, "runs:1", "mine:1"}, 30, "images removed")
    assert instance.docker("ps", "--all", "--format", "{{.Names}}").split() == ["runs"]
    assert bed.agent.running


def test_removal_and_use_of_an_image_exclude_each_other(fast, instance):
    """A task that comes while its image is being removed waits for the end of that; others do not."""
    bed = fast()
    make_image(instance, "gone:1")
    make_image(instance, "other:1")
    deploy(bed, "gone:1")
    held = bed.proxy.rule(re.escape(removal("gone:1")), "hold")
    held.wait_reached(30)
    mark = bed.proxy.recording.mark()
    task = tasks.task(tasks.container("m", image="gone:1"))
    bed.cp.wait_ack(bed.cp.send_payload(task))
    bed.run_task(tasks.task(tasks.container("m", image="other:1")))
    assert bed.proxy.requests("fromImage=gone", mark) == []
    held.release()
    bed.proxy.wait_request("fromImage=gone", since=mark)
    bed.cp.wait_task_status(task["arn"], "STOPPED")    # nobody serves it: that it was asked for is the test


# --- a small disk ---

class SmallRoot(Instance):
    """Docker's directory is an ext4 file system of its own."""
    mebibytes = 1024 if BIG else 300

    def up_namespaces(self):
        super().up_namespaces()
        os.makedirs(f"{self.dir}/data")
        disk = f"{self.dir}/disk"
        with open(disk, "wb") as file:
            file.truncate(self.mebibytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
        self.run("mount", "-o", "loop", disk, f"{self.dir}/data")

    def inside(self, name=""):
        return self.path_inside(f"{self.dir}/data/{name}")

    def used_percent(self):
        fs = os.statvfs(self.inside())
        return 100 * (1 - fs.f_bavail / fs.f_blocks)

    def fill(self):
        with open(self.inside("filler"), "ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

    def clear(self):
        os.unlink(self.inside("filler"))


@pytest.fixture
def small(pki):
    """A bed on an instance with a small disk for Docker and for the agent's own data, and a registry."""
    instance = SmallRoot()
    registry = bed = None
    try:
        instance.up()
        registry = LocalRegistry(instance)
        bed = Bed(instance, pki, ECS_IMAGE_PULL_BEHAVIOR="default", ECSD_IMAGE_DISK_HIGH_PERCENT="45",
                  ECSD_IMAGE_DISK_LOW_PERCENT="30", ECS_DATADIR=f"{instance.dir}/data/ecsd")
        bed.registry = registry
        yield bed
        assert not bed.close()
    finally:
        if bed:
            bed.agent.close()
        if registry:
            registry.stop()
        instance.down()


def test_deploys_do_not_fill_the_disk(small):
    """Many times the disk's size in images, one after the other; stopped tasks keep their containers for three
    hours otherwise. Then a disk without one free byte: tasks are stopped and reported, and it is over when there
    is room again."""
    bed, size = small.start(), 200 if BIG else 60
    last, worst = None, 0
    for number in range(50 if BIG else 12):
        task = tasks.task(tasks.container("m", image=bed.registry.add("app", str(number), size)))
        bed.run_task(task)
        if last:
            stop_task(bed, last)
        last = task
        worst = max(worst, bed.instance.used_percent())
    assert worst < 99
    assert "no space left" not in bed.agent.log()
    assert "cleaned up before its time" in bed.agent.log()
    assert bed.agent.log().count("image removed") >= (40 if BIG else 8)

    second = tasks.task(tasks.container("m", image=last["containers"][0]["image"]))
    bed.run_task(second)
    bed.instance.fill()
    assert bed.instance.used_percent() == 100
    stop_task(bed, last)
    bed.instance.docker("kill", bed.instance.container(second["arn"], "m"))
    bed.cp.wait_task_status(second["arn"], "STOPPED")
    assert bed.agent.running
    bed.instance.clear()
    third = tasks.task(tasks.container("m", image=bed.registry.add("app", "after", size)))

    def acknowledged():
        message_id = bed.cp.send_payload(third)
        bed.cp.settle()
        return message_id in [message.get("messageId") for _, message in bed.cp.acks()]
    wait_until(acknowledged, 30, "acknowledgement once there is room again", 0.3)
    bed.cp.wait_task_status(third["arn"], "RUNNING")


def test_room_is_made_while_credentials_are_kept(small):
    """An ecs-logd that does not say what it needs: the tasks' execution roles are kept, their images are not."""
    role = {"host_config": {"LogConfig": {"Type": "none", "Config": {}}}, "logsAuthStrategy": "ExecutionRole"}
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(small.agent.environment["ECSD_LOGD_SOCKET"])
        silent.listen()
        bed = small.start()
        for number in range(8):
            task = tasks.task(tasks.container("m", image=bed.registry.add("app", str(number), 60), **role),
                              executionRoleCredentials=tasks.credentials())
            bed.run_task(task)
            stop_task(bed, task)
            assert bed.instance.used_percent() < 99
        assert bed.agent.log().count("the execution role's credentials are kept") >= 4
        assert bed.agent.log().count("image removed") >= 4


def test_no_room_can_be_made(small):
    """Nothing but an image in use: the pull goes on all the same."""
    bed = small.start(ECSD_IMAGE_DISK_HIGH_PERCENT="2", ECSD_IMAGE_DISK_LOW_PERCENT="1")
    first = tasks.task(tasks.container("m", image=bed.registry.add("app", "1", 30)))
    second = tasks.task(tasks.container("m", image=bed.registry.add("app", "2", 30)))
    bed.run_task(first)
    bed.run_task(second)
    assert "no unused image is left" in bed.agent.log()
    assert len(image_names(bed.instance) & {"127.0.0.1:5000/app:1", "127.0.0.1:5000/app:2"}) == 2
