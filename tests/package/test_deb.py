"""The deb in a fresh Debian 12: installed, upgraded, removed, purged."""

import os
import stat

import pytest

from conftest import CONTAINER, build_deb

CONFIG = "#A=b\nECS_CLUSTER=  \"mine\" \r\nECS_RESERVED_PORTS=[1,2]\n"
PROGRAMS = ("/usr/sbin/ecsd", "/usr/libexec/ecsd/ecs-endpoint", "/usr/libexec/ecsd/ecs-logd", "/usr/libexec/ecsd/ecs-host")
USERS = ("ecs-endpoint", "ecs-logd")
STATE = ("/var/lib/ecs/data/ecsd.db", "/var/lib/ecs/data/ecsd.db-wal", "/var/lib/ecs/data/ecsd.db.corrupt-1",
         "/var/lib/ecs/data/instance.json", "/var/lib/ecs/data/instance.json.copy", "/var/lib/ecs/data/ballast",
         "/var/lib/ecs-logd/0123/1", "/var/log/ecs/ecs-agent.log", "/var/log/ecs/ecs-agent.log.3",
         "/var/log/ecs/audit.log", "/var/log/ecs/audit.log.2026-11-23-12")


def users(host):
    return [line.split(":")[0] for line in host.read("/etc/passwd").splitlines()]


@pytest.fixture
def configured(host):
    """A host whose administrator has been there first."""
    host.write("/etc/ecs/ecs.config", CONFIG, 0o600)
    host.write("/var/lib/ecs/ecs.config", "ECS_EXTERNAL=false\n")
    return host


def configuration_is_as_it_was(host):
    assert host.read("/etc/ecs/ecs.config").encode() == CONFIG.replace("\r\n", "\n").encode()
    assert stat.S_IMODE(os.stat(host.path("/etc/ecs/ecs.config")).st_mode) == 0o600
    assert host.read("/var/lib/ecs/ecs.config") == "ECS_EXTERNAL=false\n"


def test_installed(host, deb):
    host.install(deb)
    for program in PROGRAMS:
        answer = host.run(program, "--help" if program.endswith("logd") else "-version", check=False).stdout
        assert "not found" not in answer and "No such file" not in answer, answer
    assert "ecsd 0." in host.run("/usr/sbin/ecsd", "-version").stdout
    assert "ecsd 0." in host.run("/usr/libexec/amazon-ecs-init", "version").stdout
    for user in USERS:
        assert user in users(host)
        assert "nologin" in next(line for line in host.read("/etc/passwd").splitlines() if line.startswith(user + ":"))
    for profile in ("ecs-endpoint", "ecs-logd"):
        host.run("apparmor_parser", "--skip-kernel-load", "--skip-cache", f"/usr/share/apparmor/extra-profiles/usr.libexec.ecsd.{profile}")
    for page in ("man8/ecsd.8", "man8/ecs-endpoint.8", "man8/ecs-logd.8", "man8/ecs-host.8", "man5/ecs.config.5"):
        assert page.split("/")[1] + ".gz" in host.run("dpkg", "-L", "ecsd").stdout
    defaults = host.read("/usr/lib/ecsd/ecs.defaults")
    assert defaults == host.run("/usr/sbin/ecsd", "-print-packaged-defaults").stdout


def enabled(host, unit):
    return host.run("systemctl", "is-enabled", unit, check=False).stdout.split()[-1]


def test_nothing_is_enabled(host, deb):
    """As with the official package. Both names enable it, as often as anybody likes."""
    host.install(deb)
    assert enabled(host, "ecsd.service") == "disabled"
    for name in ("ecs", "ecs", "ecsd", "ecs"):
        host.run("systemctl", "enable", name)
        assert enabled(host, "ecsd.service") == "enabled"
    host.run("systemctl", "disable", "ecs")
    assert enabled(host, "ecsd.service") == "disabled"


# What the installer of ECS Anywhere looks at and does for an agent, with the file it has downloaded for amazon-ecs-init in $1
# (scripts/ecs-anywhere-install.sh, step 4; `systemctl start ecs` follows).
ANYWHERE = """set -e
[ ! -x /usr/libexec/amazon-ecs-init ] || { echo found; exit 0; }
dpkg --install "$1"
touch /etc/ecs/ecs.config /var/lib/ecs/ecs.config
echo ECS_CLUSTER=lab >> /etc/ecs/ecs.config
printf 'AWS_DEFAULT_REGION=us-west-2\\nECS_EXTERNAL=true\\n' >> /var/lib/ecs/ecs.config
systemctl enable ecs
"""
EXTERNAL = "AWS_DEFAULT_REGION=us-west-2\nECS_EXTERNAL=true\n"


def test_installer_of_ecs_anywhere_brings_ecsd(host, deb):
    """Told by --deb-url to take ecsd, under the name of the official package's file."""
    os.rename(host.path(host.copy_in(deb)), host.path("/tmp/amazon-ecs-init-latest.amd64.deb"))
    host.run("sh", "-c", ANYWHERE, "sh", "/tmp/amazon-ecs-init-latest.amd64.deb")
    assert enabled(host, "ecsd.service") == "enabled" and enabled(host, "ecs.service") != "disabled"
    assert host.read("/etc/ecs/ecs.config") == "ECS_CLUSTER=lab\n" and host.read("/var/lib/ecs/ecs.config") == EXTERNAL


def test_installer_of_ecs_anywhere_comes_later(host, deb):
    """It takes ecsd for the agent that it would install, and leaves it and its configuration as they are."""
    host.install(deb)
    host.write("/etc/ecs/ecs.config", "ECS_CLUSTER=mine\n")
    host.write("/var/lib/ecs/ecs.config", EXTERNAL)
    host.run("systemctl", "enable", "ecs")
    before = host.files()
    assert host.run("sh", "-c", ANYWHERE, "sh", "/nonexistent.deb").stdout == "found\n"
    assert host.files() == before and host.state("amazon-ecs-init") == "not-installed"
    assert enabled(host, "ecsd.service") == "enabled"


def test_units_are_sound(host, deb):
    host.install(deb)
    units = [os.path.basename(line) for line in host.run("dpkg", "-L", "ecsd").stdout.split()
             if line.endswith((".service", ".socket"))]
    assert {"ecsd.service", "ecs-logd.service", "ecs-logd.socket"} <= set(units)
    said = host.run("systemd-analyze", "verify", "--man=no", *units, check=False).stdout
    assert [line for line in said.splitlines() if any(unit in line for unit in units)] == []


def test_upgraded(configured, deb, newer_deb):
    configured.install(deb)
    configured.run("systemctl", "enable", "ecs")
    for path in STATE:
        configured.write(path, "state")
    configured.log_of_a_container()     # an upgrade is no matter of whether somebody logs
    before = configured.files()
    configured.install(newer_deb)
    after = configured.files()
    assert {path for path in before.keys() ^ after.keys() if not path.startswith("/var/lib/systemd")} == set()
    assert {path: entry for path, entry in after.items() if path.startswith("/etc")} == \
        {path: entry for path, entry in before.items() if path.startswith("/etc")}
    assert enabled(configured, "ecsd.service") == "enabled"
    configuration_is_as_it_was(configured)


def test_removed(configured, deb):
    """State, logs and users stay; programs, units and what lives in /run go."""
    configured.install(deb)
    for path in (*STATE, "/run/ecsd/ecs-endpoint.sock", "/run/ecs/ecs-logd.sock", "/run/docker/plugins/ecslogs.sock"):
        configured.write(path, "state")
    configured.run("dpkg", "--remove", "ecsd")
    assert configured.state() == "config-files"
    for path in STATE:
        assert configured.exists(path)
    for path in (*PROGRAMS, "/lib/systemd/system/ecsd.service", "/lib/systemd/system/ecs.service", "/run/ecsd", "/run/ecs",
                 "/run/ecs-logd", "/run/docker/plugins/ecslogs.sock", "/usr/libexec/amazon-ecs-init", "/usr/lib/ecsd"):
        assert not configured.exists(path), path
    assert set(USERS) <= set(users(configured))
    configuration_is_as_it_was(configured)


def test_purged(configured, deb):
    """Nothing is left but what the administrator has written. It can be installed again."""
    before = configured.files()
    for _ in range(2):
        configured.install(deb)
        configured.run("systemctl", "enable", "ecs")
        for path in STATE:
            configured.write(path, "state")
        configured.run("dpkg", "--purge", "ecsd")
        assert configured.state() == "not-installed"
        after = configured.files()
        assert sorted(after.keys() - before.keys()) == []
        assert sorted(before.keys() - after.keys()) == []
        assert {path for path in after if after[path][3] != before[path][3]} == set()
        configuration_is_as_it_was(configured)
    assert "ecsd" not in configured.run("dpkg-divert", "--list").stdout


def test_purged_without_configuration(host, deb):
    before = host.files()
    host.install(deb)
    host.run("dpkg", "--purge", "ecsd")
    assert sorted(host.files().keys() ^ before.keys()) == []


def test_files_of_others_stay(configured, deb):
    """What is not ours by name is not removed, wherever it is."""
    others = ("/var/lib/ecs/data/ecs_volume_plugin.json", "/var/lib/ecs/data/agent.db", "/var/lib/ecs/deps/x",
              "/var/log/ecs/ecs-volume-plugin.log", "/etc/ecs/ecs.config.json", "/run/ecs/service_connect/x")
    configured.install(deb)
    for path in others:
        configured.write(path, "theirs")
    configured.run("dpkg", "--purge", "ecsd")
    for path in others:
        assert configured.read(path) == "theirs"


@pytest.mark.parametrize("action", ["--remove", "--purge"])
def test_not_removed_while_containers_log(configured, deb, action):
    configured.install(deb)
    fifo = configured.log_of_a_container()
    done = configured.run("dpkg", action, "ecsd", check=False)
    assert done.returncode and CONTAINER[:12] in done.stdout and "ecs-logd" in done.stdout, done.stdout
    assert configured.state() == "installed"
    assert configured.exists("/usr/libexec/ecsd/ecs-logd") and configured.exists("/run/ecs-logd/" + "5" * 64)
    assert configured.run("dpkg", "--audit").stdout == ""
    os.unlink(fifo)     # the container has ended
    configured.run("dpkg", action, "ecsd")
    assert configured.state() in ("config-files", "not-installed")


def test_installation_that_fails(host, deb, tmp_path_factory):
    """Another package has a file of ours: nothing is diverted afterwards."""
    other = build_deb(tmp_path_factory.mktemp("other"), "other", "1", {"/usr/sbin/ecsd": "theirs"})
    host.install(other)
    before = host.files()
    assert host.install(deb, check=False).returncode
    assert "ecsd" not in host.run("dpkg-divert", "--list").stdout
    assert sorted(host.files().keys() ^ before.keys()) == []
    assert host.read("/usr/sbin/ecsd") == "theirs"
