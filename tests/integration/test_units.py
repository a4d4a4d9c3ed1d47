"""The units of dist/systemd under a systemd of the test's own: started as user data does it, killed, stopped, hung, and with
cloud-init and Docker around them."""

import json
import os
import re
import signal
import threading

import pytest

from ecsbed import systemd, tasks
from ecsbed.bed import Bed
from ecsbed.instance import wait_until
from ecsbed.systemd import ROOT, UNITS, SystemdInstance, UnitAgent
from test_kill import Poller

pytestmark = pytest.mark.skipif(systemd.missing() is not None, reason=str(systemd.missing()))
OURS = ["ecs.service", *sorted(os.listdir(f"{ROOT}/dist/systemd"))]
DAC_READ_SEARCH = 1 << 2


@pytest.fixture(scope="module")
def instance():
    made = SystemdInstance(pid_share=1).up()
    yield made
    made.down()


@pytest.fixture
def unit_bed(instance, pki, request):
    """A bed whose agent is the unit, configured by /etc/ecs/ecs.config and not started; nothing is enabled."""
    made = Bed(instance, pki)
    made.agent = UnitAgent(instance, {**made.agent.environment, "ECS_ENGINE_AUTH_TYPE": "docker",
                                      "ECS_ENGINE_AUTH_DATA": '{"http://registry.invalid":{"username":"u","password":"p"}}'})
    for name in ("PATH", "ECS_DATADIR", "ECSD_RUN_DIR", "ECS_LOGFILE", "ECSD_LOGD_SOCKET", "ECS_AUDIT_LOGFILE"):
        made.agent.settings.pop(name, None)     # the package's
    instance.systemctl("enable", "ecs.service")
    instance.systemctl("start", "ecs-endpoint.socket", "ecs-logd.socket")    # as at the boot
    yield made
    if getattr(request.node, "failed_in_call", False):
        print(instance.systemctl("status", *OURS, check=False) + "\n" + made.agent.log_tail(60))
    wrong = made.close()
    instance.reset()
    assert not wrong


@pytest.fixture
def bed(unit_bed):
    return unit_bed.start()


def restarts(instance, unit):
    return int(instance.show(unit, "NRestarts"))


def with_credentials(bed):
    """A running task's address at the credentials endpoint."""
    role = tasks.credentials()
    bed.run_task(tasks.task(roleCredentials=role))
    return "/v2/credentials/" + role["credentialsId"]


class TestFiles:
    def test_verified(self, instance):
        paths = [f"/usr/lib/systemd/system/{unit}" for unit in OURS]
        said = instance.run("sh", "-c", 'systemd-analyze verify --man=no "$@" 2>&1', "sh", *paths, check=False)
        assert [line for line in said.splitlines() if "ecs" in line] == []

    def test_enabled_by_either_name(self, instance):
        """As images and user data do it, in whatever order; and taken away by either."""
        for first, second in (("ecs", "ecsd"), ("ecsd", "ecs")):
            instance.systemctl("enable", first)
            instance.systemctl("enable", second)
            for unit in ("ecsd.service", "ecs-endpoint.socket", "ecs-logd.socket", "ecs-host.service"):
                assert instance.systemctl("is-enabled", unit) == "enabled"
            instance.systemctl("disable", first)
            assert instance.systemctl("is-enabled", "ecsd.service", check=False) == "disabled"

    def test_order(self, instance):
        """What would be a deadlock: the log driver after Docker, which waits for it; anything after cloud-init, which may
        wait for us. And what would take ecsd down with Docker."""
        for unit in OURS:
            after = instance.show(unit, "After").split()
            assert not [other for other in after if other.startswith("cloud")]
            assert ("docker.service" in after) == (unit in ("ecsd.service", "ecs.service"))
        for name in ("Requires", "BindsTo", "PartOf", "Requisite", "ConsistsOf"):
            assert "docker.service" not in instance.show("ecsd.service", name).split()
        for unit in ("ecs-endpoint.socket", "ecs-logd.socket"):
            assert {"docker.service", "sockets.target"} <= set(instance.show(unit, "Before").split())

    @pytest.mark.parametrize("unit", UNITS)
    def test_exposure(self, unit):
        """docs/HARDENING.md has the score, and a row with the reason for each setting that is not as strict as it can be."""
        if systemd.version() != 252:
            pytest.skip("other versions count in another way")
        text = systemd.security(unit)
        with open(f"{ROOT}/docs/HARDENING.md") as file:
            section = file.read().partition(f"## {unit}")[2].partition("\n## ")[0]
        assert f"Exposure: **{text['overall']}**" in section
        documented = {name.replace("\\|", "|") for name in re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)}
        assert documented == set(text["exposed"])


class TestStart:
    def test_as_user_data_does_it(self, instance, unit_bed):
        bed, mark = unit_bed, unit_bed.cp.recording.mark()
        bed.agent.configure()
        instance.systemctl("disable", "ecs.service")
        instance.systemctl("enable", "--now", "--no-block", "ecs.service")
        bed.cp.wait_acs(since=mark)
        bed.agent.wait_status("^connected to ECS; registered as " + re.escape(bed.cp.instance_arn) + "$")
        assert instance.systemctl("is-active", "ecs", "ecsd", "ecs-host").split() == ["active"] * 3
        assert bed.introspect("/v1/metadata").text.count(bed.cp.instance_arn) == 1

    def test_bridge_comes_later(self, instance, bed):
        """Introspection is there for containers when Docker has made its bridge, without a restart of anything."""
        instance.run("ip", "link", "add", "docker0", "type", "bridge")
        try:
            instance.run("ip", "link", "set", "docker0", "up")
            for address in ("172.17.0.1", "172.18.0.1"):
                instance.run("ip", "address", "add", f"{address}/16", "dev", "docker0")
                assert instance.http("GET", f"http://{address}:51678/v1/metadata").status == 200
        finally:
            instance.run("ip", "link", "delete", "docker0")

    def test_with_the_boot(self, instance, bed):
        """Down to the sockets and up again, with a Docker that has containers: everything finds its place."""
        bed.run_task(tasks.task())
        instance.write("/run/docker/has-containers", "")
        instance.write("/etc/systemd/system/basic-alone.target",
                       "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n")
        instance.systemctl("daemon-reload")
        instance.systemctl("isolate", "basic-alone.target")
        wait_until(lambda: instance.systemctl("is-active", "ecsd", "ecs-host", "docker", check=False).split()
                   == ["inactive"] * 3, 20, "their ends", 0.1)
        assert instance.systemctl("is-active", "ecs-endpoint.socket", "ecs-logd.socket").split() == ["active"] * 2
        mark = bed.cp.recording.mark()
        instance.systemctl("isolate", "multi-user.target")
        bed.cp.wait_acs(since=mark)
        wait_until(lambda: instance.systemctl("is-active", *UNITS, "docker", check=False).split() == ["active"] * 5, 20,
                   "all units", 0.1)
        assert "cycle" not in instance.run("journalctl", "--no-pager", "--output=cat", "_PID=1")

    def test_what_they_may_do(self, instance, bed):
        with_credentials(bed)
        instance.systemctl("start", "ecs-logd.service")
        for unit, user, capabilities in (("ecsd.service", 0, 1 << 1), ("ecs-endpoint.service", systemd.USERS["ecs-endpoint"], 0),
                                         ("ecs-logd.service", systemd.USERS["ecs-logd"], DAC_READ_SEARCH)):
            with open(f"/proc/{instance.main_pid(unit)}/status") as file:
                fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
            assert set(fields["Uid"].split()) == {str(user)}
            assert {int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {capabilities}
            assert (int(fields["CapAmb"], 16), fields["NoNewPrivs"], fields["Seccomp"]) == (0, "1", "2")
        with open(f"/proc/{instance.main_pid('ecsd.service')}/mounts") as file:
            mounts = {fields[1]: fields[3].split(",") for fields in map(str.split, file)}
        assert "ro" in mounts["/"] and "ro" in mounts["/run"] and "ro" in mounts["/proc/sys"]
        assert "rw" in mounts["/var/lib/ecs"] and "rw" in mounts["/var/log/ecs"] and "rw" in mounts["/sys/fs/cgroup"]
        root = f"/proc/{instance.main_pid('ecs-endpoint.service')}/root"
        assert set(os.listdir(root)) <= {"dev", "etc", "lib", "lib64", "proc", "run", "sys", "usr", "tmp", "var"}
        assert os.listdir(f"{root}/etc") == ["ld.so.cache"] and os.listdir(f"{root}/run") == ["systemd"]
        root = f"/proc/{instance.main_pid('ecs-logd.service')}/root"
        assert not os.path.exists(f"{root}/etc/shadow") and not os.path.exists(f"{root}/root")
        assert os.listdir(f"{root}/run/docker") == ["logging"]
        # The network of the one that parses what containers send is empty; its sockets came from outside.
        with open(f"/proc/{instance.main_pid('ecs-endpoint.service')}/net/dev") as file:
            assert [line.split(":")[0].strip() for line in list(file)[2:]] == ["lo"]

    def test_others_may_not_connect(self, instance, bed):
        for path in ("/run/ecs/ecs-endpoint.sock", "/run/ecs/ecs-logd.sock", "/run/docker/plugins/ecslogs.sock"):
            found = os.stat(instance.path_inside(path))
            assert (found.st_uid, found.st_mode & 0o777) == (0, 0o600)

    def test_audit_log(self, instance, bed):
        assert bed.credentials(with_credentials(bed)).status == 200
        path = instance.path_inside("/var/log/ecs/audit.log")
        wait_until(lambda: os.path.exists(path) and "GetCredentials" in open(path).read(), 10, "an audit record")


class TestEnds:
    def test_credentials_while_ecsd_is_restarted(self, instance, bed):
        target = with_credentials(bed)
        with Poller(bed, target) as poller:
            for end in (bed.agent.kill, lambda: instance.systemctl("restart", "ecsd"), lambda: instance.systemctl("stop", "ecsd")):
                endpoint, mark = instance.main_pid("ecs-endpoint.service"), bed.cp.recording.mark()
                end()
                poller.more()
                if instance.systemctl("is-active", "ecsd", check=False) == "inactive":
                    break
                bed.cp.wait_acs(since=mark)
                poller.more()
                assert instance.main_pid("ecs-endpoint.service") == endpoint
        assert set(poller.answers) == {200}
        assert instance.show("ecsd.service", "Result") == "success"
        assert len(instance.containers(running=True)) == 1, "stopped: containers go on"

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT, signal.SIGTERM])
    def test_endpoint_is_killed(self, instance, bed, how):
        """The next one is given everything again, and nobody is refused meanwhile: connections wait in the socket."""
        target = with_credentials(bed)
        old = instance.main_pid("ecs-endpoint.service")
        with Poller(bed, target) as poller:
            poller.more()
            os.kill(old, how)
            wait_until(lambda: instance.main_pid("ecs-endpoint.service") not in (None, old), 20, "a new ecs-endpoint")
            wait_until(lambda: bed.credentials(target).status == 200, 20, "credentials again")
            poller.more()
        assert set(poller.answers) <= {200, 503} and poller.answers[-4:] == [200] * 4    # one was on its way
        assert bed.introspect("/v1/tasks").text.count("RUNNING") > 0

    def test_endpoint_dies_again_and_again(self, instance, bed):
        """Neither its unit nor its sockets are ever given up."""
        target = with_credentials(bed)
        for _ in range(30):
            old = wait_until(lambda: instance.main_pid("ecs-endpoint.service"), 20, "ecs-endpoint")
            os.kill(old, signal.SIGKILL)
            wait_until(lambda: instance.main_pid("ecs-endpoint.service") != old, 20, "its end")
        wait_until(lambda: bed.credentials(target).status == 200, 20, "credentials")

    def test_manager_is_replaced(self, instance, unit_bed):
        """As by an upgrade of systemd: it goes on hearing of all."""
        for unit in UNITS[:3]:
            instance.drop_in(unit, "[Service]\nWatchdogSec=2s\n")
        unit_bed.start()
        instance.systemctl("start", *UNITS[:3])
        instance.systemctl("daemon-reexec")
        for unit in UNITS[:3]:
            last = instance.show(unit, "WatchdogTimestampMonotonic")
            wait_until(lambda: instance.show(unit, "WatchdogTimestampMonotonic") != last, 20, "a sign of life", 0.2)
            assert (restarts(instance, unit), instance.systemctl("is-active", unit)) == (0, "active")

    @pytest.mark.parametrize("unit", UNITS[:3])
    def test_watchdog(self, instance, unit_bed, unit):
        """Signs of life come while it lives, and one that hangs is replaced."""
        instance.drop_in(unit, "[Service]\nWatchdogSec=2s\nRestartSec=100ms\n")
        unit_bed.start()
        instance.systemctl("start", unit)
        old = instance.main_pid(unit)
        first = instance.show(unit, "WatchdogTimestampMonotonic")
        wait_until(lambda: instance.show(unit, "WatchdogTimestampMonotonic") not in ("0", first), 20, "a sign of life", 0.2)
        assert restarts(instance, unit) == 0
        os.kill(old, signal.SIGSTOP)
        wait_until(lambda: restarts(instance, unit) > 0 and instance.main_pid(unit) not in (None, old), 30, "a new process", 0.2)
        instance.wait_journal(unit, "Watchdog timeout")
        wait_until(lambda: instance.systemctl("is-active", unit, check=False) == "active", 20, "its start", 0.2)

    def test_terminal(self, instance, unit_bed):
        """Exit code 5: it stays down, and says why."""
        bed = unit_bed
        bed.cp.fault("RegisterContainerInstance", status=400, type="InvalidParameterException", message="no such thing", times=99)
        bed.agent.start()
        wait_until(lambda: instance.systemctl("is-failed", "ecsd", check=False) == "failed", 20, "the end", 0.1)
        assert (instance.show("ecsd", "ExecMainStatus"), restarts(instance, "ecsd")) == ("5", 0)
        assert re.match("ended with exit code 5: cannot start: .*InvalidParameterException.*no such thing", bed.agent.status)
        assert instance.systemctl("is-active", "ecs-endpoint.socket", "ecs-logd.socket").split() == ["active"] * 2

    def test_not_terminal(self, instance, unit_bed):
        """Exit code 1: started again, for ever, until it works."""
        bed = unit_bed
        instance.drop_in("ecsd.service", "[Service]\nRestartSec=100ms\n")
        bed.agent.settings["ECS_INSTANCE_ATTRIBUTES"] = "no JSON"
        bed.agent.configure()
        instance.systemctl("start", "--no-block", "ecs")
        wait_until(lambda: restarts(instance, "ecsd") > 7, 30, "restarts", 0.1)
        assert instance.show("ecsd", "ExecMainStatus") in ("0", "1")
        mark = bed.cp.recording.mark()
        bed.agent.settings.pop("ECS_INSTANCE_ATTRIBUTES")
        bed.agent.configure()
        bed.cp.wait_acs(since=mark)

    @pytest.mark.parametrize("code, again", [(0, False), (5, False), (42, True), (1, True), (137, True)])
    def test_exit_codes(self, instance, unit_bed, code, again):
        instance.drop_in("ecsd.service", f"""[Service]
Type=exec
RestartSec=100ms
ExecStart=
ExecStart=/bin/sh -c 'exit {code}'
""")
        instance.systemctl("start", "--no-block", "ecsd")
        if again:
            wait_until(lambda: restarts(instance, "ecsd") > 2, 20, "restarts", 0.1)
        else:
            wait_until(lambda: instance.systemctl("is-active", "ecsd", check=False) == ("failed" if code else "inactive")
                       and instance.show("ecsd", "ExecMainExitTimestampMonotonic") != "0", 20, "its end", 0.1)
            assert restarts(instance, "ecsd") == 0

    def test_docker_is_restarted(self, instance, bed):
        pid, lost = bed.agent.pid, r"^waiting for Docker; registered as "
        instance.systemctl("restart", "docker")
        assert bed.agent.pid == pid
        instance.stop_dockerd()
        bed.agent.wait_status(lost)
        instance.start_dockerd()
        bed.agent.wait_status("^connected to ECS; ")

    def test_docker_is_late(self, instance, unit_bed):
        instance.stop_dockerd()
        try:
            mark = unit_bed.cp.recording.mark()
            unit_bed.agent.start()
            unit_bed.agent.wait_status("^waiting for Docker: ")
        finally:
            instance.start_dockerd()
        unit_bed.cp.wait_acs(since=mark)


class TestCloudInit:
    @pytest.fixture
    def cloud(self, instance, unit_bed):
        """cloud-init is at work, and ecs.config has not been written."""
        instance.write("/run/cloud-init/enabled", "")
        return unit_bed

    def finish(self, instance):
        instance.write("/var/lib/cloud/data/result.json", json.dumps({"v1": {"datasource": "DataSourceEc2Local", "errors": []}}))
        os.symlink("../../var/lib/cloud/data/result.json", instance.path_inside("/run/cloud-init/result.json"))

    def test_waits(self, instance, cloud):
        """Started at the boot: it is up at once, joins nothing, and then what user data has written."""
        instance.systemctl("start", "ecs")
        cloud.agent.wait_status("^waiting for cloud-init to finish$")
        assert instance.systemctl("is-active", "ecs") == "active"
        mark = cloud.cp.recording.mark()
        cloud.agent.configure()
        self.finish(instance)
        cloud.cp.wait_acs(since=mark)
        assert cloud.cp.wait_api("RegisterContainerInstance", since=mark)["body"]["cluster"] == "lab"
        cloud.agent.wait_status("^connected to ECS; ")

    def test_started_by_user_data(self, instance, cloud):
        """A script that writes the configuration, starts the agent and waits for that ends; and only then it registers."""
        cloud.agent.configure()
        instance.write("/etc/systemd/system/user-data.service", """[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl start ecs.service
ExecStart=/usr/bin/systemctl enable --now ecs.service
ExecStart=/usr/bin/systemctl is-active ecs.service
""")
        instance.systemctl("daemon-reload")
        mark = cloud.cp.recording.mark()
        instance.systemctl("start", "user-data.service")
        cloud.agent.wait_status("^waiting for cloud-init to finish$")
        assert not cloud.cp.operations()
        self.finish(instance)
        cloud.cp.wait_acs(since=mark)

    def test_script_that_waits_for_the_agent(self, instance, cloud):
        mark = cloud.cp.recording.mark()
        cloud.agent.start(ECSD_WAIT_FOR_CLOUD_INIT="false")
        cloud.cp.wait_acs(since=mark)

    def test_told_later_not_to_wait(self, instance, cloud):
        mark = cloud.cp.recording.mark()
        cloud.agent.start()
        cloud.agent.wait_status("^waiting for cloud-init to finish$")
        instance.write("/etc/ecs/ecs.config", "ECSD_WAIT_FOR_CLOUD_INIT=false\n", append=True)
        cloud.cp.wait_acs(since=mark)

    def test_stopped_while_it_waits(self, instance, cloud):
        instance.systemctl("start", "ecs")
        cloud.agent.wait_status("^waiting for cloud-init to finish$")
        instance.systemctl("stop", "ecs")
        assert (instance.show("ecsd", "Result"), instance.show("ecsd", "ExecMainStatus")) == ("success", "0")

    def test_not_of_this_boot(self, instance, unit_bed):
        """No cloud-init, or one that is switched off, is not waited for."""
        instance.write("/run/cloud-init/disabled", "")
        unit_bed.start()


class TestAnywhere:
    """ECS Anywhere: what its installer does, and what the SSM agent does in root's home."""

    KEY = ("ASIAEXTERNAL", "external/secret+key", "external-token==")

    @pytest.fixture
    def external(self, instance, unit_bed):
        bed, configuration = unit_bed, unit_bed.agent.settings
        for name in ("AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "ECS_CLUSTER"):
            configuration.pop(name)
        bed.cp.keys = {self.KEY[0]: self.KEY[1:]}
        bed.imds.set_role("ASIAROLEOFEC2", "role/secret", "role-token==")
        bed.agent.configure()
        instance.drop_in("ecsd.service", "[Service]\nRestartSec=100ms\n")
        instance.run("rm", "-rf", "/root/.aws")
        yield bed
        instance.run("rm", "-rf", "/root/.aws")
        assert bed.imds.recording.select() == []

    def install(self, instance):
        """It appends, and finds /etc/ecs and /var/lib/ecs there."""
        instance.write("/etc/ecs/ecs.config", "ECS_CLUSTER=lab\n", append=True)
        instance.write("/var/lib/ecs/ecs.config", f"AWS_DEFAULT_REGION={tasks.REGION}\nECS_EXTERNAL=true\n", append=True)
        instance.systemctl("enable", "ecs")
        instance.systemctl("start", "ecs")

    def ssm_agent_writes(self, instance):
        instance.write("/root/.aws/credentials", "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
                                                 "aws_session_token = {}\n".format(*self.KEY))

    def test_credentials_come_later(self, instance, external):
        """ecsd is tried again until the SSM agent is registered; then the installer finds what it waits for."""
        mark = external.cp.recording.mark()
        self.install(instance)
        wait_until(lambda: restarts(instance, "ecsd") > 1, 30, "restarts", 0.1)
        instance.wait_journal("ecsd.service", "credentials file of the SSM agent: cannot read /root/.aws/credentials: "
                                              "No such file or directory")
        self.ssm_agent_writes(instance)
        external.cp.wait_acs(since=mark)
        answer = json.loads(external.introspect("/v1/metadata").text)
        assert answer["ContainerInstanceArn"] == external.cp.instance_arn and answer["Cluster"] == "lab"
        external.run_task(tasks.task(launchType="EXTERNAL"))

    def test_installed_by_cloud_init(self, instance, external):
        """The installer waits for the registration, and cloud-init for the installer."""
        instance.write("/run/cloud-init/enabled", "")
        self.ssm_agent_writes(instance)
        mark = external.cp.recording.mark()
        self.install(instance)
        external.cp.wait_acs(since=mark)
        assert "waiting for cloud-init" not in external.agent.log()


class TestLogs:
    def test_docker_starts_with_containers(self, instance, unit_bed):
        """Docker waits for the driver before it is up, and the driver for nobody."""
        instance.write("/run/docker/has-containers", "")
        thread = threading.Thread(target=instance.systemctl, args=("start", "docker.service"))
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        assert instance.systemctl("is-active", "docker", "ecs-logd").split() == ["active"] * 2

    def test_reads_dockers_fifos(self, instance, unit_bed):
        from ecsbed.logd import Logd
        from ecsbed.logfifo import LogFifo
        logd = Logd(instance, instance.new_directory())
        instance.systemctl("start", "ecs-logd")
        log = LogFifo(logd, syslog_address="tcp://127.0.0.1:1").start()
        log.lines("kept", 10)
        wait_until(lambda: log.figures["Lines"] == 10, 20, "its lines")
        old = instance.main_pid("ecs-logd.service")
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: instance.main_pid("ecs-logd.service") not in (None, old), 20, "the next")
        log.lines("more", 10)
        wait_until(lambda: log.figures["Lines"] == 10 and log.figures["WaitingLines"] == 20, 20, "all lines")
        log.stop()

    def test_ecsd_finds_it(self, instance, bed):
        """It is started by its socket when ecsd asks, and reads the same configuration."""
        instance.wait_journal("ecs-logd.service", 'msg="ecsd connected"')
        with open(f"/proc/{instance.main_pid('ecs-logd.service')}/environ", "rb") as file:
            environment = file.read().split(b"\0")
        assert b"ECS_LOGLEVEL=debug" in environment
        assert not [line for line in environment if line.startswith(b"ECS_ENGINE_AUTH_DATA")]

    def test_wrong_log_level(self, instance, unit_bed):
        """Of what it shares with ecsd nothing keeps it from reading containers' logs."""
        unit_bed.agent.start(ECS_LOGLEVEL="loud", ECS_LOG_OUTPUT_FORMAT="prose")
        instance.systemctl("start", "ecs-logd")
        instance.wait_journal("ecs-logd.service", 'ECS_LOGLEVEL is .*loud')
