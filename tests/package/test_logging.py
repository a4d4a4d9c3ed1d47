"""Upgrade, purge and reinstallation while a container prints and logs through ecs-logd: Docker never hangs, and no line is
lost. The host has an instance's Docker Engine; sockets are held and ecs-logd is restarted by the test, as the units do."""

import contextlib
import os
import re
import subprocess
import time

import pytest

from ecsbed.instance import Instance, wait_until
from ecsbed.logd import Logd, options
from ecsbed.logsinks import SYSLOG_PORT, LineSink

HANGS_S = 20    # that Docker hangs shows after so long


class PackagedLogd(Logd):
    """ecs-logd of the package, as its user, in the host's root directory."""

    def __init__(self, instance, host):
        super().__init__(instance, instance.new_directory())
        self.host = host
        self.program = host.path("/usr/libexec/ecsd/ecs-logd")
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ECS_LOGD_FLUSH": "100ms", "ECS_LOGD_CONTROL_SOCKET": self.control_path}

    def start(self, wait=True, **environment):
        command, self.instance.command = self.instance.command, self.inside
        try:
            return super().start(wait, **environment)
        finally:
            self.instance.command = command

    def inside(self, _program):
        return [*Instance.command(self.instance), "/usr/sbin/chroot", self.host.root, "/usr/libexec/ecsd/ecs-logd"]

    def restart(self):
        self.terminate()
        self.start()


@pytest.fixture
def instance(host):
    """After the host: its mount namespace has a copy of all mounts that are there."""
    made = Instance(live_restore=True).up()
    yield made
    made.down()


@pytest.fixture
def machine(instance, host, deb):
    """The host with that engine: what is done in it is done in the instance's namespaces."""
    os.makedirs(host.path("/run/docker"), exist_ok=True)
    instance.run("mount", "--bind", "/run/docker", host.path("/run/docker"))
    instance.run("mount", "-t", "proc", "proc", host.path("/proc"))
    host.command = lambda *arguments: [*instance.command("/usr/sbin/chroot", host.root), *arguments]
    host.install(deb)
    yield host
    for path in ("/run/docker", "/proc"):
        instance.run("umount", host.path(path))


@pytest.fixture
def logd(instance, machine):
    made = PackagedLogd(instance, machine).start()
    yield made
    if not made.running:
        with contextlib.suppress(Exception):
            made.start()
    instance.remove_containers()
    made.close()


@pytest.fixture
def sink(instance):
    made = LineSink(instance, SYSLOG_PORT).up()
    yield made
    made.down()


def docker(instance, *arguments):
    """Fails if Docker hangs."""
    return subprocess.run(["docker", "-H", f"unix://{instance.docker_socket}", *arguments], check=True, capture_output=True,
                          text=True, timeout=HANGS_S).stdout.strip()


def print_lines(instance, name):
    docker(instance, "run", "-d", "--network", "none", "--name", name,
           *options("syslog", syslog_address=f"tcp://127.0.0.1:{SYSLOG_PORT}"), "busybox:test",
           "sh", "-c", f'i=0; while :; do echo "{name} $i"; i=$((i+1)); sleep 0.01; done')


def docker_answers(instance, name):
    assert docker(instance, "inspect", "--format", "{{.State.Status}}", name) == "running"
    assert name in docker(instance, "ps", "--format", "{{.Names}}").split()


def numbers(sink, name):
    """Of the lines that have come, in their order."""
    found = (re.search(rb" %b (\d+)$" % name.encode(), text) for text in sink.texts())
    return [int(match[1]) for match in found if match]


def printed_on(sink, name, more=50):
    reached = len(numbers(sink, name)) + more
    wait_until(lambda: len(numbers(sink, name)) >= reached, 30, f"more lines of {name}")


def test_upgrade_purge_reinstall(instance, machine, logd, sink, deb, newer_deb):
    print_lines(instance, "first")
    printed_on(sink, "first")

    machine.install(newer_deb)
    logd.restart()
    docker_answers(instance, "first")
    printed_on(sink, "first")

    for action in ("--remove", "--purge"):
        done = machine.run("dpkg", action, "ecsd", check=False)
        identity = docker(instance, "inspect", "--format", "{{.Id}}", "first")
        assert done.returncode and identity[:12] in done.stdout, done.stdout
        assert machine.state() == "installed" and logd.running
        docker_answers(instance, "first")
        printed_on(sink, "first")

    # While it is away, as between the end of one and the start of the next: refused too, and nothing is lost.
    logd.terminate()
    assert machine.run("dpkg", "--purge", "ecsd", check=False).returncode
    time.sleep(0.5)
    logd.start()
    docker_answers(instance, "first")
    printed_on(sink, "first")

    docker(instance, "stop", "-t", "1", "first")
    wait_until(lambda: not os.listdir(machine.path("/run/ecs-logd")), 20, "the end of the log")
    logd.all_shipped()
    came = numbers(sink, "first")
    assert sorted(set(came)) == list(range(max(came) + 1))

    logd.close()
    machine.run("dpkg", "--purge", "ecsd")
    assert machine.state() == "not-installed"
    docker(instance, "rm", "first")
    docker(instance, "run", "--rm", "--network", "none", "busybox:test", "true")

    machine.install(deb)
    logd.start()
    print_lines(instance, "second")
    printed_on(sink, "second")
    docker(instance, "stop", "-t", "1", "second")


def test_purge_with_a_stopped_container(instance, machine, logd, sink):
    """It does not log any more; what is left of it can be looked at and removed."""
    print_lines(instance, "past")
    printed_on(sink, "past")
    docker(instance, "stop", "-t", "1", "past")
    wait_until(lambda: not os.listdir(machine.path("/run/ecs-logd")), 20, "the end of the log")
    logd.close()
    machine.run("dpkg", "--purge", "ecsd")
    assert docker(instance, "inspect", "--format", "{{.State.Status}}", "past") == "exited"
    docker(instance, "rm", "past")
