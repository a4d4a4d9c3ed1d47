"""Conformance: the same payloads as were sent to the reference agent, and the same reports expected.

All scenarios run one after the other on one agent, as they did when they were recorded."""

import pytest

import compare
import transcript
from ecsbed.bed import Bed

SCENARIOS = [
    "task-bridge-role", "task-host-none", "essential-exit", "fast-exit", "depends-on", "depends-on-fail",
    "depends-on-cycle", "depends-on-unknown", "fail-exec-notfound", "fail-hostconfig-json",
    "fail-config-json", "fail-mount-unknown", "fail-volumesfrom-unknown", "fail-memory-too-small",
    "fail-logdriver", "fail-bad-memory", "fail-port-conflict", "stop-sigkill", "killed", "healthcheck"]    # those that pull: test_pulls.py


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


@pytest.mark.parametrize("name", SCENARIOS)
def test_reports_what_the_reference_reports(bed, name, request, tmp_path):
    if name == "fail-port-conflict":
        request.getfixturevalue("occupied_port")
    recorded = transcript.load(name)
    host_path = {"/lab/rootfs": f"{bed.directory}/host-path"}
    ours = transcript.Replay(bed.cp, recorded, host_path).run()
    bed.cp.recording.dump(tmp_path / "everything.jsonl")
    differences = compare.compare(name, recorded, ours)
    assert not differences, "\n".join(differences)
    assert sorted(kind for kind, _ in transcript.acks(ours) if kind != "HeartbeatAckRequest") == \
        sorted(kind for kind, _ in transcript.acks(recorded))
