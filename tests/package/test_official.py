"""Beside the official agent's package: its agent gives way, its volume plugin stays (dist/debian/ecsd.README.Debian)."""

import pytest

from conftest import build_deb

UNIT = "[Unit]\nDescription=official {}\n[Service]\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n"
AGENT = ("/usr/libexec/amazon-ecs-init", "{units}/ecs.service")
PLUGIN = ("/usr/libexec/amazon-ecs-volume-plugin", "{units}/amazon-ecs-volume-plugin.service",
          "{units}/amazon-ecs-volume-plugin.socket")
OTHERS = ("/usr/share/man/man1/amazon-ecs-init.1.gz", "/var/cache/ecs/state")
ASIDE = ".amazon-ecs-init"
# As debhelper made them when the official package was last built: neither enabled nor started.
SCRIPTS = {
    "postinst": "#!/bin/sh\nset -e\ndeb-systemd-helper update-state ecs.service >/dev/null || true\n"
                "deb-systemd-helper update-state amazon-ecs-volume-plugin.service >/dev/null || true\n",
    "postrm": "#!/bin/sh\nset -e\nif [ \"$1\" = purge ]; then deb-systemd-helper purge ecs.service >/dev/null || true\n"
              "deb-systemd-helper unmask ecs.service >/dev/null || true\nfi\n",
}


@pytest.fixture(params=["/lib/systemd/system", "/usr/lib/systemd/system"], ids=["lib", "usr-lib"])
def units(request):
    """Where the official package has its units; both are one directory."""
    return request.param


@pytest.fixture
def official(units, tmp_path):
    """Makes the official package of a version."""
    def make(version):
        files = {path.format(units=units): UNIT.format(version) if path.startswith("{units}") else f"official {version}\n"
                 for path in (*AGENT, *PLUGIN, *OTHERS)}
        return build_deb(tmp_path, "amazon-ecs-init", version, files, scripts=SCRIPTS)
    return make


def agent_gives_way(host, units, version):
    for path in AGENT:
        path = path.format(units=units)
        assert f"official {version}" not in host.read(path), path
        assert f"official {version}" in host.read(path + ASIDE), path
    plugin_stays(host, units, version)


def agent_is_back(host, units, version):
    for path in AGENT:
        path = path.format(units=units)
        assert f"official {version}" in host.read(path), path
        assert not host.exists(path + ASIDE), path
    plugin_stays(host, units, version)


def plugin_stays(host, units, version):
    for path in (*PLUGIN, *OTHERS):
        assert f"official {version}" in host.read(path.format(units=units)), path


def test_ecsd_comes_second(host, deb, official, units):
    host.install(official("1.105"))
    before = host.files()
    host.install(deb)
    agent_gives_way(host, units, "1.105")
    host.install(official("1.106"))
    agent_gives_way(host, units, "1.106")
    host.install(official("1.105"))
    host.run("dpkg", "--purge", "ecsd")
    agent_is_back(host, units, "1.105")
    assert sorted(host.files().keys() ^ before.keys()) == []


def test_ecsd_comes_first(host, deb, newer_deb, official, units):
    host.install(deb)
    host.install(official("1.105"))
    agent_gives_way(host, units, "1.105")
    host.install(newer_deb)
    agent_gives_way(host, units, "1.105")
    host.run("dpkg", "--purge", "amazon-ecs-init")
    assert "ecsd.service" in host.run("readlink", "/lib/systemd/system/ecs.service").stdout
    assert host.exists("/usr/libexec/amazon-ecs-init")
    assert not host.exists("/usr/libexec/amazon-ecs-init" + ASIDE)
    host.run("dpkg", "--purge", "ecsd")
    assert not host.exists("/lib/systemd/system/ecs.service") and not host.exists("/usr/libexec/amazon-ecs-init")


def test_an_enabled_agent_has_a_successor(host, deb, official):
    """So the instance has an agent after its next boot, before as after."""
    host.install(official("1.105"))
    host.run("systemctl", "enable", "ecs")
    host.install(deb)
    assert host.run("systemctl", "is-enabled", "ecsd").stdout.split()[-1] == "enabled"
    host.run("dpkg", "--purge", "ecsd")
    assert host.run("systemctl", "is-enabled", "ecs").stdout.split()[-1] == "enabled"


def test_logs_of_the_official_agent_stay(host, deb, official):
    host.install(official("1.105"))
    host.install(deb)
    host.write("/var/log/ecs/ecs-agent.log", "whose?")
    host.write("/var/lib/ecs/data/ecs_volume_plugin.json", "the plugin's")
    host.run("dpkg", "--purge", "ecsd")
    assert host.exists("/var/log/ecs/ecs-agent.log") and host.exists("/var/lib/ecs/data/ecs_volume_plugin.json")


def test_not_removed_with_it(host, deb, official):
    """Neither package takes the other with it, in whatever order they are asked for together."""
    host.install(official("1.105"))
    host.install(deb)
    assert host.state("amazon-ecs-init") == "installed" and host.state() == "installed"
    assert host.run("dpkg", "--audit").stdout == ""
