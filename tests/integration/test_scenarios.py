"""Conformance: the same payloads as were sent to the reference agent, and the same reports expected.

All scenarios run one after the other on one agent, as they did when they were recorded."""

import subprocess

import pytest

import compare
import transcript
from ecsbed.bed import Bed
from ecsbed.instance import wait_until

SCENARIOS = [
    "task-bridge-role", "task-host-none", "essential-exit", "fast-exit", "depends-on", "depends-on-fail",
    "depends-on-cycle", "depends-on-unknown", "fail-exec-notfound", "fail-hostconfig-json",
    "fail-config-json", "fail-mount-unknown", "fail-volumesfrom-unknown", "fail-memory-too-small",
    "fail-logdriver", "fail-bad-memory", "fail-port-conflict", "stop-sigkill", "killed", "healthcheck",
    "fail-image-name", "fail-pull-manifest", "fail-pull-refused", "real-pull"]
# Their images come, or do not come, from a registry on 127.0.0.1:5000.
FROM_REGISTRY = ["fail-image-name", "fail-pull-manifest", "fail-pull-refused", "real-pull"]


@pytest.fixture(scope="module")
def shared_bed(instance, pki):
    made = Bed(instance, pki)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def bed(shared_bed, request):
    """The bed of the module; each test answers for its own violations."""
    before = len(shared_bed.cp.violations)
    yield shared_bed
    if getattr(request.node, "failed_in_call", False):
        print("--- end of the agent's log ---\n" + shared_bed.agent.log_tail())
    assert shared_bed.cp.violations[before:] == []


@pytest.fixture
def occupied_port(instance):
    """Somebody else's container has the port that fail-port-conflict wants."""
    taken = instance.docker("run", "--detach", "--publish", "18099:80", "busybox:test", "sleep", "1000").strip()
    yield
    instance.docker("rm", "--force", taken)


@pytest.fixture(scope="module")
def registry(instance):
    """Debian's docker-registry on the instance's own 127.0.0.1:5000, with busybox:1 and nothing else."""
    config = f"{instance.dir}/registry.yml"
    with open(config, "w") as file:
        file.write("version: 0.1\nlog: {level: error}\nhttp: {addr: '127.0.0.1:5000'}\n"
                   f"storage: {{filesystem: {{rootdirectory: '{instance.dir}/registry'}}}}\n")
    process = subprocess.Popen(instance.command("docker-registry", "serve", config), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_registry(instance), 20, "docker-registry")
        instance.docker("tag", "busybox:test", "127.0.0.1:5000/busybox:1")
        instance.docker("push", "127.0.0.1:5000/busybox:1")
        instance.docker("rmi", "127.0.0.1:5000/busybox:1")
        yield
    finally:
        process.kill()
        process.wait()


def is_registry(instance):
    try:
        return instance.http("GET", "http://127.0.0.1:5000/v2/").status == 200
    except OSError:
        return False


def scenario(name):
    marks = pytest.mark.xfail(strict=False, reason="digest resolution") if name in FROM_REGISTRY else ()
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", map(scenario, SCENARIOS))
def test_reports_what_the_reference_reports(bed, name, request, tmp_path):
    if name == "fail-port-conflict":
        request.getfixturevalue("occupied_port")
    if name in FROM_REGISTRY:
        request.getfixturevalue("registry")
    recorded = transcript.load(name)
    host_path = {"/lab/rootfs": f"{bed.directory}/host-path"}
    ours = transcript.Replay(bed.cp, recorded, host_path).run()
    bed.cp.recording.dump(tmp_path / "everything.jsonl")
    differences = compare.compare(name, recorded, ours)
    assert not differences, "\n".join(differences)
    assert sorted(kind for kind, _ in transcript.acks(ours) if kind != "HeartbeatAckRequest") == \
        sorted(kind for kind, _ in transcript.acks(recorded))
