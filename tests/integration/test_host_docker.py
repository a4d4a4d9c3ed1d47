"""ecs-host beside a real Docker Engine: its answer is understood, and its restart takes nothing away."""

import os
import signal
import subprocess

import pytest

from ecsbed.agent import BUILD
from ecsbed.instance import wait_until
from test_host import INPUT


@pytest.fixture
def watching(instance, tmp_path):
    """`ecs-host run` in an instance, with a /run of its own; its log file."""
    socket, log = tmp_path / "docker.sock", tmp_path / "log"
    socket.touch()
    script = f"mount --bind {instance.docker_socket} {socket} && mount -t tmpfs tmpfs /run && exec {BUILD}/ecs-host run"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            instance.command("unshare", "--mount", "sh", "-c", script), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            env={"PATH": os.environ["PATH"], "DOCKER_HOST": f"unix://{socket}", "ECS_LOGLEVEL": "debug",
                 "ECSD_CLOCK_SCALE": "30"})
    yield process, log
    if process.poll() is None:
        process.kill()
    process.wait()


def rules(instance):
    return [line for line in instance.run("iptables-save").splitlines() if line.startswith("-A")]


def test_docker(instance, watching):
    process, log = watching
    before = rules(instance)
    wait_until(lambda: 'msg="Docker\'s default bridge" prog=ecs-host bridge=docker0' in log.read_text(), 30, "an answer")
    ours = [rule for rule in rules(instance) if rule in INPUT]
    assert ours == INPUT
    instance.restart_dockerd()
    assert [rule for rule in rules(instance) if rule in INPUT] == INPUT
    assert "put back" not in log.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    # The instance's own copies of the credentials rules, which are the same rules, are gone too; the others are as before.
    assert set(rules(instance)) == {rule for rule in before if "169.254.170.2" not in rule}
