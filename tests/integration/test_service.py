"""ecsd and ecs-endpoint as a service manager starts them, each by itself: sockets handed in, what they tell, who of them does
what. How the units hold together is in test_units.py."""

import os
import re
import subprocess

import pytest

from ecsbed import tasks
from ecsbed.instance import wait_until
from ecsbed.service import ManagedEndpoint, Notifications
from test_kill import Poller

SIMULATED = True


@pytest.fixture
def endpoint(instance):
    made = ManagedEndpoint(instance, instance.new_directory(), WATCHDOG_USEC="200000")
    try:
        yield made.start()
    finally:
        made.close()
    assert "AddressSanitizer" not in made.log()


@pytest.fixture
def managed(make_bed, endpoint, instance):
    """A bed with an ecsd that is not started: told of the manager, and configured by a file."""
    bed = make_bed()
    path = f"{bed.directory}/ecs.config"
    with open(path, "w") as file:
        file.write(f"ECS_CLUSTER={bed.agent.environment.pop('ECS_CLUSTER')}\n# ECS_DATADIR=/nowhere\n")
    bed.notifications = Notifications(f"{bed.directory}/notify")
    bed.agent.environment.update(ECSD_CONFIG_FILES=f"/nowhere/ecs.config:{path}", ECSD_ENDPOINT_SOCKET=endpoint.control_path,
                                 NOTIFY_SOCKET=bed.notifications.path, WATCHDOG_USEC="400000")
    yield bed
    bed.notifications.close()


@pytest.fixture
def bed(managed):
    return managed.start()


def with_credentials(bed):
    role = tasks.credentials()
    bed.run_task(tasks.task(roleCredentials=role))
    return "/v2/credentials/" + role["credentialsId"]


def test_what_ecsd_tells(bed):
    arn = bed.cp.instance_arn
    wait_until(lambda: bed.notifications.status() == f"connected to ECS; registered as {arn}", 20, "its status")
    told = bed.notifications.read()
    assert told.count("READY=1") == 1
    statuses = [text.removeprefix("STATUS=") for text in told if text.startswith("STATUS=")]
    assert statuses == ["reading EC2 user data", "asking instance metadata who this is", "registering in cluster lab",
                        f"connecting to ECS; registered as {arn}", f"connected to ECS; registered as {arn}"]
    assert told.index("READY=1") < told.index("STATUS=asking instance metadata who this is")
    bed.notifications.wait("WATCHDOG=1", count=3)
    assert bed.agent.terminate() == 0
    assert bed.notifications.read()[-1] == "STOPPING=1"


def test_no_endpoint_of_its_own(bed, instance):
    assert bed.agent.endpoint_pid() is None
    assert os.listdir(bed.agent.run_directory) == []
    with open(f"/proc/{bed.agent.process.pid}/task/{bed.agent.process.pid}/children") as file:
        assert file.read().split() == []


def test_credentials_while_ecsd_is_away(bed, endpoint):
    target = with_credentials(bed)
    with Poller(bed, target) as poller:
        bed.agent.kill()
        poller.more()
        bed.start()
        poller.more()
        assert bed.agent.terminate() == 0
        poller.more()
        bed.start()
        poller.more()
    assert set(poller.answers) == {200}
    assert endpoint.process.poll() is None


def test_endpoint_is_replaced(bed, endpoint):
    """By the manager: ecsd finds the new one at the same socket and gives it everything."""
    target = with_credentials(bed)
    for _ in range(3):
        endpoint.kill()
        endpoint.start()
        wait_until(lambda: bed.credentials(target).status == 200, 20, "credentials")
        wait_until(lambda: "RUNNING" in bed.introspect("/v1/tasks").text, 20, "tasks")
    assert bed.agent.audit()
    assert bed.agent.running


def test_endpoint_is_late(managed, endpoint):
    """ecsd waits at the socket, and so do those who ask for credentials."""
    endpoint.kill()
    managed.agent.start()
    managed.agent.wait_log("connected to ACS")
    managed.agent.wait_log('level=warn .*msg="ecs-endpoint does not answer, waiting on"')
    endpoint.start()
    assert managed.credentials(with_credentials(managed)).status == 200


def test_signs_of_life_of_the_endpoint(endpoint):
    """After its filter is in place, which has no call that makes a socket."""
    endpoint.notifications.wait("WATCHDOG=1", count=3)


def test_endpoint_without_its_sockets(instance):
    lacking = ManagedEndpoint(instance, instance.new_directory())
    try:
        with open(lacking.log_file, "ab") as log:
            done = subprocess.run(instance.command(os.path.realpath(os.path.join(os.environ.get("ECSD_BUILD", "build"),
                                                                                 "ecs-endpoint"))),
                                  stdout=log, stderr=log, env={"LISTEN_FDS": "2", "LISTEN_PID": "1"}, timeout=20)
        assert done.returncode == 2 and "usage: ecs-endpoint" in lacking.log()
    finally:
        lacking.close()


def test_only_roots_ecsd_is_let_in(endpoint, instance):
    """Even if the socket's mode were wrong; its own user is no exception."""
    os.chmod(endpoint.control_path, 0o666)
    os.chmod(endpoint.directory, 0o755)
    subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "--regid=65534", "/usr/bin/python3", "-c",
                    f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({endpoint.control_path!r}); s.recv(1)"],
                   check=True, timeout=20)
    assert re.search(r'msg="control connection refused" .*uid=65534', endpoint.log())


def test_terminal(managed):
    managed.cp.fault("RegisterContainerInstance", status=400, type="InvalidParameterException", message="not so", times=99)
    managed.agent.start()
    assert managed.agent.wait() == 5
    assert re.match("ended with exit code 5: cannot start: .*InvalidParameterException.*not so", managed.notifications.status())


def test_bad_configuration(managed):
    managed.agent.start(ECS_INSTANCE_ATTRIBUTES="[]")
    assert managed.agent.wait() == 1
    assert "READY=1" not in managed.notifications.read()
    assert managed.notifications.status().startswith("cannot start: Error loading config: ")
