"""The deb on an instance with a systemd of its own (tests/integration/ecsbed/systemd.py): what its scripts do to what runs."""

import os
import shutil
import signal
import subprocess

import pytest

from ecsbed import systemd, tasks
from ecsbed.bed import Bed
from ecsbed.instance import wait_until
from ecsbed.pki import Pki
from test_kill import Poller

from conftest import CONTAINER, build_deb

pytestmark = pytest.mark.skipif(systemd.missing() is not None, reason=str(systemd.missing()))
UNITS = ("ecsd.service", "ecs-endpoint.service", "ecs-logd.service", "ecs-host.service")
SOCKETS = ("ecs-endpoint.socket", "ecs-logd.socket")
OFFICIAL_UNIT = "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


class PackagedInstance(systemd.SystemdInstance):
    """Nothing of ours is there before the package is installed. What the scripts start and stop is not forbidden by a policy of
    this machine's."""

    def install(self, root):
        for path, text in (("/usr/sbin/dockerd-of-test", systemd.DOCKER), ("/etc/systemd/system/docker.service", systemd.DOCKER_UNIT),
                           ("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n")):
            with open(root + path, "w") as file:
                file.write(text)
            os.chmod(root + path, 0o755 if "sbin" in path else 0o644)
        shutil.rmtree(f"{root}/usr/libexec/ecsd", ignore_errors=True)
        shutil.rmtree(f"{root}/usr/share/ecsd", ignore_errors=True)

    def dpkg(self, *arguments, package=None, check=True):
        if package:
            shutil.copy(package, self.path_inside("/root/package.deb"))
            arguments += ("/root/package.deb",)
        done = subprocess.run(self.command("dpkg", *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"})
        assert not check or done.returncode == 0, done.stdout
        return done

    def active(self, unit):
        return self.systemctl("is-active", unit, check=False)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(str(tmp_path_factory.mktemp("pki")))


@pytest.fixture
def instance():
    made = PackagedInstance(pid_share=1).up()
    yield made
    made.down()


@pytest.fixture
def bed(instance, pki, deb, request):
    """The package installed, configured and started as a user does it."""
    instance.dpkg("--install", package=deb)
    made = Bed(instance, pki)
    made.agent = systemd.UnitAgent(instance, made.agent.environment)
    for name in ("PATH", "ECS_DATADIR", "ECSD_RUN_DIR", "ECS_LOGFILE", "ECSD_LOGD_SOCKET", "ECS_AUDIT_LOGFILE"):
        made.agent.settings.pop(name, None)
    instance.systemctl("enable", "--now", *SOCKETS)
    instance.systemctl("enable", "ecs")
    yield made.start()
    print(instance.systemctl("status", *UNITS, check=False) + "\n" + made.agent.log_tail(60))
    assert not made.close()


def processes(instance):
    return {unit: instance.main_pid(unit) for unit in UNITS}


def test_upgraded(instance, bed, newer_deb):
    """All programs are new, the sockets are not, and the credentials of a task are served on, also those that ECS had sent before
    ecsd was last restarted."""
    role = tasks.credentials()
    bed.run_task(tasks.task(roleCredentials=role))
    target = "/v2/credentials/" + role["credentialsId"]
    mark = bed.cp.recording.mark()
    instance.systemctl("restart", "ecsd")
    bed.cp.wait_acs(since=mark)
    wait_until(lambda: instance.show("ecs-endpoint.service", "StatusText").startswith("filled"), 20, "ecs-endpoint")
    instance.systemctl("start", "ecs-logd")
    before = processes(instance)
    sockets = {unit: instance.show(unit, "ActiveEnterTimestampMonotonic") for unit in SOCKETS}
    with Poller(bed, target) as poller:
        poller.more()
        mark = bed.cp.recording.mark()
        said = instance.dpkg("--install", package=newer_deb).stdout
        bed.cp.wait_acs(since=mark)
        poller.more()
    assert "restarting" in said and "not been filled" not in said, said
    after = processes(instance)
    for unit in UNITS:
        assert after[unit] not in (None, before[unit]), unit
    assert sockets == {unit: instance.show(unit, "ActiveEnterTimestampMonotonic") for unit in SOCKETS}
    assert set(poller.answers) <= {200, 503} and poller.answers[-5:] == [200] * 5, poller.answers
    assert len(instance.containers(running=True)) == 1


def test_an_upgrade_starts_nothing(instance, deb, newer_deb):
    instance.dpkg("--install", package=deb)
    instance.dpkg("--install", package=newer_deb)
    assert [instance.active(unit) for unit in (*UNITS, *SOCKETS)] == ["inactive"] * 6


def test_an_endpoint_without_ecsd_stays(instance, bed, newer_deb):
    """ecsd is stopped: there is nobody who could give the next one the credentials of the running task."""
    role = tasks.credentials()
    bed.run_task(tasks.task(roleCredentials=role))
    instance.systemctl("stop", "ecsd")
    old = instance.main_pid("ecs-endpoint.service")
    instance.dpkg("--install", package=newer_deb)
    assert instance.main_pid("ecs-endpoint.service") == old
    assert instance.active("ecsd.service") == "inactive"
    assert bed.credentials("/v2/credentials/" + role["credentialsId"]).status == 200


def test_purged(instance, bed):
    """Refused while a container logs, with everything left as it runs; then no process, socket, rule, file or user is left."""
    instance.systemctl("start", "ecs-logd")
    before = processes(instance)
    fifo = "/run/docker/logging/" + "5" * 64
    instance.run("mkfifo", fifo)
    instance.write("/run/ecs-logd/" + "5" * 64, f'{{"File":"{fifo}","Container":"{CONTAINER}","Settings":{{}}}}')
    done = instance.dpkg("--purge", "ecsd", check=False)
    assert done.returncode and CONTAINER[:12] in done.stdout
    assert processes(instance) == before
    instance.run("rm", fifo)
    instance.dpkg("--purge", "ecsd")
    assert [instance.active(unit) for unit in (*UNITS, *SOCKETS)] == ["inactive"] * 6
    for path in ("/usr/sbin/ecsd", "/usr/libexec/ecsd", "/usr/lib/ecsd", "/run/ecs", "/run/ecsd", "/run/ecs-logd", "/var/lib/ecs-logd",
                 "/var/lib/ecs", "/var/log/ecs", "/run/docker/plugins/ecslogs.sock",
                 "/etc/systemd/system/multi-user.target.wants/ecsd.service",
                 "/etc/systemd/system/sockets.target.wants/ecs-logd.socket"):
        assert not os.path.lexists(instance.path_inside(path)), path
    assert os.path.exists(instance.path_inside("/etc/ecs/ecs.config"))
    assert "ecs-" not in instance.run("cat", "/etc/passwd", "/etc/group")
    assert "--dport 51678" not in instance.run("iptables-save")


def test_takes_the_place_of_a_running_agent(instance, deb, tmp_path):
    """An official agent that runs is stopped, and ecsd started; when ecsd goes, the official one is not started."""
    official = build_deb(tmp_path, "amazon-ecs-init", "1.105", {"/lib/systemd/system/ecs.service": OFFICIAL_UNIT,
                                                                 "/usr/libexec/amazon-ecs-init": "#!/bin/sh\n"})
    instance.dpkg("--install", package=official)
    instance.systemctl("daemon-reload")
    instance.systemctl("enable", "--now", "ecs")
    old = instance.main_pid("ecs.service")
    said = instance.dpkg("--install", package=deb).stdout
    assert "stopping the official agent" in said and "starting ecsd" in said
    wait_until(lambda: not os.path.exists(f"/proc/{old}"), 10, "the end of the official agent")
    assert instance.active("ecsd.service") in ("active", "activating")
    assert instance.show("ecs.service", "Id") == "ecsd.service"
    assert instance.systemctl("is-enabled", "ecsd.service") == "enabled"
    os.kill(instance.main_pid("ecsd.service"), signal.SIGTERM)    # it has no metadata service to ask, and would go on waiting
    instance.dpkg("--purge", "ecsd")
    assert instance.active("ecs.service") == "inactive"
    assert "sleep infinity" in instance.systemctl("cat", "ecs.service")
