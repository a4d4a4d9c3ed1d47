"""Fixtures of the integration tests. They need root, Docker, iproute2, iptables, gcc and busybox-static.

An instance (network namespace and Docker engine) is made once for each module; control plane, metadata
service and agent are new for each test. ECSD_BUILD names the directory of the programs under test."""

import os

import pytest

from ecsbed import disk
from ecsbed.bed import Bed
from ecsbed.instance import Instance, Namespaces, remove_stale
from ecsbed.logd import Logd
from ecsbed.logsinks import SYSLOG_PORT, LineSink
from ecsbed.pki import Pki
from ecsbed.simulated import SimulatedInstance

SIMULATED = os.environ.get("ECSD_TEST_DOCKER") == "simulated"    # the engine of the tests that do not choose


def pytest_configure(config):
    config.addinivalue_line("markers", "row(number, ...): rows of the test matrix of logs (docs/LOGGING.md)")


def pytest_sessionstart(session):
    if os.geteuid():
        pytest.exit("the integration tests make network namespaces: run them as root", 2)
    remove_stale()


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(str(tmp_path_factory.mktemp("pki")))


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """The library that makes a disk fail."""
    if disk.with_sanitizer():
        pytest.skip("AddressSanitizer has to be the first library; the preloaded one would be")
    return disk.build_shim(tmp_path_factory.mktemp("diskfault"))


@pytest.fixture(scope="module")
def instance(request):
    """An instance for the tests of a module; `LIVE_RESTORE = True` in it keeps containers over dockerd,
    DOCKER_OPTIONS are for dockerd. `SIMULATED = True` has a simulated engine,
    DOCKER_SCALE times as fast, PID_SHARE of its containers with a process; `DOCKER = False` has none."""
    live_restore = getattr(request.module, "LIVE_RESTORE", False)
    if not getattr(request.module, "DOCKER", True):
        made = Namespaces()
        made.up_namespaces()
        yield made
        made.remove_namespaces()
        return
    if getattr(request.module, "SIMULATED", SIMULATED):
        made = SimulatedInstance(live_restore=live_restore, scale=getattr(request.module, "DOCKER_SCALE", 1),
                                 pid_share=getattr(request.module, "PID_SHARE", 1)).up()
    else:
        made = Instance(live_restore=live_restore, docker_options=getattr(request.module, "DOCKER_OPTIONS", ())).up()
    yield made
    made.down()


def pytest_runtest_makereport(item, call):
    if call.when == "call":
        item.failed_in_call = call.excinfo is not None


def finish(bed, request):
    """Closes a bed; the test fails for violations even if it was content itself."""
    if getattr(request.node, "failed_in_call", False):
        print("--- end of the agent's log ---\n" + bed.agent.log_tail(60))
    wrong = bed.close()
    assert not wrong, "the agent broke the protocol:\n" + "\n".join(wrong)


@pytest.fixture
def make_bed(instance, pki, request):
    """Makes beds whose agent is not started yet: make_bed(ECS_...=value, ...)."""
    beds = []

    def make(tls=True, pki=pki, **options):
        beds.append(Bed(instance, pki if tls else None, **options))
        return beds[-1]
    yield make
    for bed in beds:
        finish(bed, request)


@pytest.fixture
def bed(make_bed):
    """A bed with a running, connected agent."""
    return make_bed().start()


@pytest.fixture
def make_logd(instance, request):
    """Makes instances of ecs-logd that are not started yet: make_logd(ECS_LOGD_...=value, ...). Their log must not have a
    line of a system call that was refused."""
    made = []

    def make(**options):
        made.append(Logd(instance, instance.new_directory(), **{"ECS_LOGD_FLUSH": "100ms", **options}))
        return made[-1]
    yield make
    for logd in made:
        if not logd.running:
            logd.start()    # else Docker hangs on containers that are left
    if hasattr(instance, "remove_containers"):
        instance.remove_containers()
    for logd in made:
        if getattr(request.node, "failed_in_call", False):
            print("--- end of ecs-logd's log ---\n" + logd.log_tail(80))
        refused = logd.refused()
        logd.close()
        assert not refused


@pytest.fixture
def logd(make_logd):
    return make_logd().start()


@pytest.fixture
def sink(instance):
    """A receiver of syslog over TCP, at SYSLOG_PORT."""
    sink = LineSink(instance, SYSLOG_PORT).up()
    yield sink
    sink.down()
