"""The rpms that Debian's rpm makes: what is in them, what their scripts do, and that they install and erase in a root directory.
That directory is a Debian: what its package manager would have to bring along is not asked for (--nodeps)."""

import os
import subprocess

import pytest

from conftest import CONTAINER, PACKAGES

MAIN = {"/usr/sbin/ecsd", "/usr/libexec/ecsd/ecs-endpoint", "/usr/libexec/ecsd/ecs-logd", "/usr/libexec/ecsd/ecs-host",
        "/usr/lib/ecsd/ecs.defaults", "/usr/lib/ecsd/maintain", "/usr/lib/sysusers.d/ecsd.conf",
        "/usr/lib/tmpfiles.d/ecsd.conf", "/usr/share/bash-completion/completions/ecsd", "/usr/share/man/man5/ecs.config.5",
        "/usr/share/man/man8/ecsd.8", "/usr/share/man/man8/ecs-endpoint.8", "/usr/share/man/man8/ecs-host.8",
        "/usr/share/man/man8/ecs-logd.8", "/etc/ecs", "/var/lib/ecs/data", "/var/log/ecs"}
UNITS = {f"/usr/lib/systemd/system/{name}" for name in ("ecsd.service", "ecs-endpoint.service", "ecs-endpoint.socket",
                                                        "ecs-logd.service", "ecs-logd.socket", "ecs-host.service")}
NAMES = {"/usr/lib/systemd/system/ecs.service", "/usr/libexec/amazon-ecs-init", "/usr/share/man/man8/amazon-ecs-init.8"}


def rpm_file(start, end):
    found = [name for name in os.listdir(PACKAGES) if name.startswith(start) and name.endswith(end)]
    assert len(found) == 1, f"one {start}*{end} expected in {PACKAGES}: {found}"
    return os.path.join(PACKAGES, found[0])


@pytest.fixture(scope="module")
def package():
    return rpm_file("ecsd-0", "x86_64.rpm")


@pytest.fixture(scope="module")
def names():
    return rpm_file("ecsd-ecs-init-0", "noarch.rpm")


def query(*arguments):
    return subprocess.run(["rpm", "-qp", *arguments], check=True, capture_output=True, text=True).stdout


def test_payload(package, names):
    files = set(query("--list", package).split())
    assert MAIN | UNITS <= files
    assert files & NAMES == set()
    assert set(query("--list", names).split()) == NAMES
    archive = subprocess.run(f"rpm2cpio {package} | cpio --list --quiet", shell=True, check=True, capture_output=True,
                             text=True).stdout.split()
    assert {"." + path for path in files} == set(archive)
    assert not [path for path in files if "apparmor" in path or path.startswith("/etc/ecs/")]


def test_scripts(package):
    scripts = query("--scripts", package)
    assert "%" not in scripts, "a macro that was not expanded"
    before_erasure = scripts.partition("preuninstall")[2].partition("postuninstall")[0]
    assert before_erasure.index("may-remove || exit 1") < before_erasure.index("maintain stop")
    for unit in UNITS:
        assert os.path.basename(unit) in scripts
    assert query("--configfiles", package) == ""


def test_relations(package, names):
    needed = query("--requires", package)
    for need in ("docker >= 20.10", "iptables", "ca-certificates", "libcurl.so.4", "systemd"):
        assert need in needed
    assert query("--conflicts", package) == ""    # ecs-init may stay, for its volume plugin
    assert query("--conflicts", names).split() == ["amazon-ecs-init", "ecs-init"]
    assert query("--recommends", package).strip() == "ecsd-ecs-init"


def rpm(host, *arguments, check=True):
    """Runs in namespaces of its own, as what is done in the host does."""
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "rpm", "--root", host.root, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stdout
    return done


def test_installed_and_erased(host, package, names):
    host.write("/etc/ecs/ecs.config", "ECS_CLUSTER=mine\n")
    rpm(host, "--install", "--nodeps", package, names)
    assert "ecs-logd:" in host.read("/etc/passwd") and "ecs-endpoint:" in host.read("/etc/passwd")
    rpm(host, "--upgrade", "--nodeps", "--force", package)
    fifo = host.log_of_a_container()
    refused = rpm(host, "--erase", "ecsd", "ecsd-ecs-init", check=False)
    assert refused.returncode and CONTAINER[:12] in refused.stdout, refused.stdout
    for path in ("/usr/libexec/ecsd/ecs-logd", "/lib/systemd/system/ecsd.service"):
        assert host.exists(path)
    os.unlink(fifo)
    rpm(host, "--erase", "ecsd")
    for path in (*MAIN, *UNITS):
        if path.startswith("/usr"):
            assert not host.exists(path), path
    assert not host.exists("/run/ecs-logd")
    assert host.read("/etc/ecs/ecs.config") == "ECS_CLUSTER=mine\n"
