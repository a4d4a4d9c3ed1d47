"""Fixtures of the packages' tests: hosts that are a fresh Debian 12 in a directory. There is no service manager in them, as
in any chroot; programs run in namespaces of their own without a network."""

import os
import shutil
import subprocess
import sys

import pytest

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
PACKAGES = os.path.join(ROOT, "build", "packages")
CONTAINER = "0123456789abcdef" * 4
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))

# Runs a command in a root directory. The process file system is its own; its processes end with it.
INSIDE = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'


class Host:
    """A directory with Debian 12 in it, and what is done there."""

    def __init__(self, base, directory):
        self.root = os.path.join(str(directory), "root")
        layers = [os.path.join(str(directory), name) for name in ("upper", "work")]
        for path in (self.root, *layers):
            os.mkdir(path)
        subprocess.run(["mount", "-t", "overlay", "-o", "lowerdir={},upperdir={},workdir={}".format(base, *layers), "overlay",
                        self.root], check=True)

    def close(self):
        subprocess.run(["umount", "--recursive", self.root], check=True)

    def path(self, path):
        return self.root + path

    def command(self, *arguments):
        return ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child",
                "sh", "-c", INSIDE, self.root, *arguments]

    def run(self, *arguments, check=True):
        done = subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=300,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive",
                                   "LC_ALL": "C.UTF-8"})
        assert not check or done.returncode == 0, f"{' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}"
        return done

    def copy_in(self, file):
        shutil.copy(file, self.path("/tmp"))
        return f"/tmp/{os.path.basename(file)}"

    def install(self, deb, check=True):
        name = self.copy_in(deb)
        done = self.run("dpkg", "--install", name, check=check)
        os.unlink(self.path(name))
        return done

    def state(self, package="ecsd"):
        """What dpkg says of a package: installed, config-files, not-installed, ..."""
        done = self.run("dpkg-query", "-W", "-f", "${db:Status-Status}", package, check=False)
        return done.stdout if done.returncode == 0 else "not-installed"

    def read(self, path):
        with open(self.path(path)) as file:
            return file.read()

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w") as file:
            file.write(text)
        os.chmod(self.path(path), mode)

    def exists(self, path):
        return os.path.lexists(self.path(path))

    def files(self):
        """Every path with its kind, owner, mode and, if it is short, its content, but for what dpkg and its like keep for
        themselves."""
        own = ("/proc", "/tmp", "/var/lib/dpkg", "/var/log/dpkg.log", "/var/cache/debconf", "/etc/.pwd.lock")
        found = {}
        for directory, names, files in os.walk(self.root):
            inside = directory[len(self.root):] or "/"
            if inside.startswith(own):
                names[:] = []
                continue
            for name in names + files:
                path = os.path.join(directory, name)
                stat = os.lstat(path)
                content = os.readlink(path) if os.path.islink(path) else None
                if inside.startswith("/etc") and os.path.isfile(path) and not name.endswith("-"):
                    with open(path, "rb") as file:
                        content = file.read()
                if not path[len(self.root):].startswith(own):
                    found[path[len(self.root):]] = (stat.st_mode, stat.st_uid, stat.st_gid, content)
        return found

    def log_of_a_container(self, container=CONTAINER):
        """A FIFO of Docker's that ecs-logd has noted; returns the FIFO's path here."""
        fifo = "/run/docker/logging/" + "5" * 64
        os.makedirs(self.path("/run/docker/logging"), exist_ok=True)
        os.mkfifo(self.path(fifo), 0o600)
        self.write("/run/ecs-logd/" + "5" * 64, f'{{"File":"{fifo}","Container":"{container}","Settings":{{}}}}', 0o600)
        return self.path(fifo)


@pytest.fixture(scope="session")
def debian(tmp_path_factory):
    """What all hosts have in common; not to be changed."""
    directory = str(tmp_path_factory.mktemp("debian"))
    subprocess.run(["tar", "-C", directory, "--numeric-owner", "-xf", f"{PACKAGES}/debian-12.tar"], check=True)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def host(debian, tmp_path):
    """A fresh one."""
    made = Host(debian, tmp_path)
    yield made
    made.close()


def build_deb(directory, name, version, files, depends="", scripts=None):
    """A small package: paths with texts, {script: text}."""
    tree = os.path.join(str(directory), f"{name}-{version}")
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n" \
              f"Description: for a test\n" + (f"Depends: {depends}\n" if depends else "")
    for path, text, mode in [("/DEBIAN/control", control, 0o644), *((p, t, 0o755) for p, t in files.items()),
                             *((f"/DEBIAN/{n}", t, 0o755) for n, t in (scripts or {}).items())]:
        os.makedirs(os.path.dirname(tree + path), exist_ok=True)
        with open(tree + path, "w") as file:
            file.write(text)
        os.chmod(tree + path, mode)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, f"{tree}.deb"], check=True, capture_output=True)
    return f"{tree}.deb"


@pytest.fixture(scope="session")
def deb():
    """The package under test."""
    found = [name for name in os.listdir(PACKAGES) if name.startswith("ecsd_") and name.endswith(".deb")]
    assert len(found) == 1, f"one deb expected in {PACKAGES}: {found}"
    return os.path.join(PACKAGES, found[0])


@pytest.fixture(scope="session")
def newer_deb(deb, tmp_path_factory):
    """The same, but for a higher version."""
    tree = str(tmp_path_factory.mktemp("newer") / "tree")
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control) as file:
        lines = [line + ".1\n" if line.startswith("Version:") else line + "\n" for line in file.read().splitlines()]
    with open(control, "w") as file:
        file.writelines(lines)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, f"{tree}.deb"], check=True, capture_output=True)
    return f"{tree}.deb"
