"""An instance with a systemd of its own: process 1 of its namespaces, its files an overlay of this machine's, with the
programs and units installed as a package would. Docker is simulated."""

import json
import os
import re
import shutil
import signal
import subprocess

from .agent import BUILD, with_sanitizer
from .instance import BedError, kill_and_wait, wait_until
from .simulated import SimulatedInstance

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
SYSTEMD = "/lib/systemd/systemd"
UNITS = ("ecsd.service", "ecs-endpoint.service", "ecs-logd.service", "ecs-host.service")
USERS = {"ecs-endpoint": 981, "ecs-logd": 982}

# $1: the instance's directory, $2: its cgroup. The root is made from outside, and left for good before systemd starts.
BOOT = """
set -e
dir=$1 root=$1/root
mount -t tmpfs tmpfs "$dir/boot"
mkdir "$dir/boot/upper" "$dir/boot/work"
mkdir "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/boot/upper,workdir=$dir/boot/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    mknod -m 666 "$root/dev/$device" c $(stat -c '0x%t 0x%T' "/dev/$device")
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mkdir -p "$root$dir"
mount --bind "$dir" "$root$dir"
rm -rf "$root/etc/systemd/system" "$root/etc/ecs" "$root/var/lib/ecs" "$root/var/lib/ecs-logd" "$root/var/log/ecs" \
    "$root/var/lib/cloud"
mkdir -p "$root/etc/systemd/system" "$root/etc/ecs" "$root/usr/libexec/ecsd" "$root/usr/lib/ecsd"
printf '[Journal]\\nStorage=volatile\\n' > "$root/etc/systemd/journald.conf"
for unit in containerd.service systemd-udevd.service systemd-networkd.service systemd-resolved.service; do
    ln -s /dev/null "$root/etc/systemd/system/$unit"
done
touch "$dir/root-made"
while [ ! -e "$dir/installed" ]; do sleep 0.02; done
cd "$root"
mkdir -p .old
pivot_root . .old
umount --lazy /.old
exec env -i container=ecsd PATH=/usr/sbin:/usr/bin:/sbin:/bin """ + SYSTEMD + """ --system --log-target=journal \
    --show-status=no --unit=multi-user.target
"""

# Docker as far as its unit goes: with a container to restore it asks for the log driver before it is up.
DOCKER = """#!/usr/bin/python3
import os, signal, socket
if os.path.exists("/run/docker/has-containers"):
    with socket.socket(socket.AF_UNIX) as plugin:
        plugin.connect("/run/docker/plugins/ecslogs.sock")
        plugin.sendall(b"POST /Plugin.Activate HTTP/1.1\\r\\nHost:\\r\\nContent-Length: 0\\r\\n\\r\\n")
        assert b"LogDriver" in plugin.recv(4096)
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.connect(os.environ["NOTIFY_SOCKET"])
manager.send(b"READY=1")
signal.pause()
"""
DOCKER_UNIT = """[Unit]
After=network-online.target
[Service]
Type=notify
ExecStart=/usr/sbin/dockerd-of-test
"""
HOST = DOCKER.replace("/run/docker/has-containers", "/nowhere")    # stands for an ecs-host that is not built

def missing():
    """What a machine lacks for this; None if it is all there."""
    if not os.path.exists(SYSTEMD):
        return "there is no systemd"
    return None if _cgroup2() else "there is no cgroup2 hierarchy"

def _cgroup2():
    with open("/proc/mounts") as file:
        return next((fields[1] for fields in map(str.split, file) if fields[2] == "cgroup2"), None)

class SystemdInstance(SimulatedInstance):
    """up() boots it: sockets and services of ours are as a freshly installed package leaves them, not enabled."""

    def __init__(self, **options):
        super().__init__(**options)
        self.keeper = self.manager = None
        self.cgroup = f"{_cgroup2()}/ecsd-test-{self.name}"

    def up(self):
        super().up()
        try:
            self.boot()
        except BaseException:
            self.down()
            raise
        return self

    def boot(self):
        os.makedirs(f"{self.dir}/boot", exist_ok=True)
        os.makedirs(self.cgroup, exist_ok=True)
        with open(f"{self.dir}/systemd.log", "ab") as log:
            self.manager = subprocess.Popen(
                ["nsenter", f"--net={self.netns}", "sh", "-c",
                 'echo $$ > "$2/cgroup.procs"; exec unshare --mount --pid --uts --ipc --cgroup --fork --propagation private '
                 'sh -c "$3" sh "$1" "$2"', "sh", self.dir, self.cgroup, BOOT],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: os.path.exists(f"{self.dir}/root-made") or self.manager.poll() is not None, 20, "a root")
        if self.manager.poll() is not None:
            with open(f"{self.dir}/systemd.log") as log:
                raise BedError("no systemd: " + log.read())
        pid = self._first_process()
        self.keeper, self.holder = self.holder, _Process(pid)
        self.root = f"/proc/{pid}/root"
        self.install(f"{self.root}{self.dir}/root")
        open(f"{self.dir}/installed", "w").close()
        wait_until(lambda: os.path.exists(f"{self.root}/run/systemd/private"), 30, "systemd")
        wait_until(lambda: self.systemctl("is-system-running", check=False) in ("running", "degraded"), 60, "the boot", 0.1)

    def _first_process(self):
        with open(f"/proc/{self.manager.pid}/task/{self.manager.pid}/children") as file:
            return int(file.read().split()[0])

    def install(self, root):
        def write(path, text, mode=0o644):
            with open(root + path, "w") as file:
                file.write(text)
            os.chmod(root + path, mode)
        shutil.copy(f"{BUILD}/ecsd", f"{root}/usr/sbin/ecsd")
        for name in ("ecs-endpoint", "ecs-logd"):
            shutil.copy(f"{BUILD}/{name}", f"{root}/usr/libexec/ecsd/{name}")
        if os.path.exists(f"{BUILD}/ecs-host"):
            shutil.copy(f"{BUILD}/ecs-host", f"{root}/usr/libexec/ecsd/ecs-host")
        else:
            write("/usr/libexec/ecsd/ecs-host", HOST, 0o755)
        shutil.copy(f"{ROOT}/dist/ecs.defaults", f"{root}/usr/lib/ecsd/ecs.defaults")
        for name in os.listdir(f"{ROOT}/dist/systemd"):
            shutil.copy(f"{ROOT}/dist/systemd/{name}", f"{root}/usr/lib/systemd/system/{name}")
        os.symlink("ecsd.service", f"{root}/usr/lib/systemd/system/ecs.service")
        write("/usr/sbin/dockerd-of-test", DOCKER, 0o755)
        write("/etc/systemd/system/docker.service", DOCKER_UNIT)
        for name, number in USERS.items():
            for path, line in (("/etc/passwd", f"{name}:x:{number}:{number}::/:/usr/sbin/nologin\n"),
                               ("/etc/group", f"{name}:x:{number}:\n")):
                with open(root + path, "a") as file:
                    file.write(line)
        if with_sanitizer():    # no ptrace for the search for leaks; and what is not ours has no part in it
            for unit in UNITS:
                os.makedirs(f"{root}/etc/systemd/system/{unit}.d")
                write(f"/etc/systemd/system/{unit}.d/sanitizer.conf", "[Service]\nEnvironment=ASAN_OPTIONS=detect_leaks=0\n")

    def down(self):
        if self.manager:
            if self.keeper:
                kill_and_wait([self.holder.pid])
                self.holder, self.keeper = self.keeper, None
            self.manager.kill()
            self.manager.wait()
            for directory, _, _ in os.walk(self.cgroup, topdown=False):
                wait_until(lambda: _removed(directory), 10, f"the end of {directory}")
        super().down()

    # --- inside

    def command(self, *arguments):
        if not self.keeper:
            return super().command(*arguments)
        return ["nsenter", f"--target={self.holder.pid}", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup",
                "--root", "--wd=/", *arguments]

    def systemctl(self, *arguments, check=True):
        return self.run("systemctl", "--no-pager", *arguments, check=check).strip()

    def show(self, unit, name):
        """A property of a unit."""
        return self.systemctl("show", "--property", name, "--value", unit)

    def main_pid(self, unit):
        """Of a service, as seen from outside; None: it does not run."""
        pid = int(self.show(unit, "MainPID"))
        return next((outer for outer in self._members() if _inner_pid(outer) == pid), None) if pid else None

    def _members(self):
        """Every process below systemd."""
        found = []
        for directory, _, _ in os.walk(self.cgroup):
            try:
                with open(f"{directory}/cgroup.procs") as file:
                    found += [int(pid) for pid in file.read().split()]
            except OSError:
                continue
        return found

    def journal(self, unit):
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", unit)

    def wait_journal(self, unit, pattern, timeout=20):
        return wait_until(lambda: re.search(pattern, self.journal(unit)), timeout, f"{pattern} in the journal of {unit}", 0.1)

    def write(self, path, text, append=False):
        os.makedirs(os.path.dirname(self.path_inside(path)), exist_ok=True)
        with open(self.path_inside(path), "a" if append else "w") as file:
            file.write(text)

    def drop_in(self, unit, text):
        """Settings of this test's own; reset() takes them away."""
        self.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
        self.systemctl("daemon-reload")

    def reset(self):
        """Everything of ours stopped, disabled, and forgotten."""
        names = os.listdir(f"{ROOT}/dist/systemd")
        self.systemctl("stop", "docker.service", *names, check=False)
        self.systemctl("disable", "ecsd.service", check=False)
        for unit in UNITS:
            path = self.path_inside(f"/etc/systemd/system/{unit}.d/test.conf")
            if os.path.exists(path):
                os.unlink(path)
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed")
        for path in ("/etc/ecs", "/var/lib/ecs", "/var/lib/ecs-logd", "/var/log/ecs", "/run/cloud-init", "/run/docker",
                     "/run/ecs-logd", "/run/ecs", "/var/lib/cloud"):
            shutil.rmtree(self.path_inside(path), ignore_errors=True)
        self.run("journalctl", "--rotate")
        self.run("journalctl", "--vacuum-time=1s", check=False)

class _Process:
    """Stands for the process that keeps the namespaces."""

    def __init__(self, pid):
        self.pid = pid

def _inner_pid(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            return int(next(line for line in file if line.startswith("NSpid:")).split()[-1])
    except (OSError, StopIteration):
        return None

def _removed(directory):
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True

class UnitAgent:
    """In the place of agent.Agent in a bed: ecsd as its unit. `settings` are what /etc/ecs/ecs.config has."""

    def __init__(self, instance, settings):
        self.instance, self.settings = instance, dict(settings)
        if "SSL_CERT_FILE" in self.settings:
            shutil.copy(self.settings["SSL_CERT_FILE"], instance.path_inside("/etc/ecs-test-ca.pem"))
            self.settings["SSL_CERT_FILE"] = "/etc/ecs-test-ca.pem"

    def configure(self):
        self.instance.write("/etc/ecs/ecs.config", "".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def start(self, **environment):
        self.settings.update({name: str(value) for name, value in environment.items()})
        self.configure()
        self.instance.systemctl("start", "ecs.service")
        return self

    @property
    def pid(self):
        return self.instance.main_pid("ecsd.service")

    @property
    def status(self):
        return self.instance.show("ecsd.service", "StatusText")

    def wait_status(self, pattern, timeout=20):
        return wait_until(lambda: re.search(pattern, self.status), timeout, f"status {pattern}", 0.1)

    def kill(self):
        """kill -9; systemd starts the next."""
        old = self.pid
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: self.pid != old, 10, "the end of ecsd")

    def log(self):
        return "".join(self.instance.journal(unit) for unit in UNITS[:3])

    def log_tail(self, lines=40):
        return "\n".join(self.log().splitlines()[-lines:])

    def wait_log(self, pattern, timeout=20):
        return wait_until(lambda: re.search(pattern, self.log()), timeout, f"log line {pattern}", 0.1)

    def refused(self):
        return [line for line in self.log().splitlines()
                if re.search(r"refused system call|status=31/SYS|AddressSanitizer", line)]


def version():
    return int(re.search(r"systemd (\d+)", subprocess.run([SYSTEMD, "--version"], capture_output=True, text=True,
                                                         check=True).stdout).group(1))


def security(unit):
    """What systemd-analyze says of a unit's sandbox: the score, and each setting that adds to it."""
    run = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--json=short",
                          f"{ROOT}/dist/systemd/{unit}"], capture_output=True, text=True, check=False)
    rows = json.loads(run.stdout[run.stdout.index("["):])
    text = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", f"{ROOT}/dist/systemd/{unit}"],
                          capture_output=True, text=True, check=False).stdout
    overall = re.search(r"Overall exposure level for \S+: ([0-9.]+)", text).group(1)
    return {"overall": overall, "exposed": [row["name"] for row in rows if float(row.get("exposure") or 0) > 0]}
