"""An EC2-like instance: a network namespace and a mount namespace with a Docker engine of its own.

There is no route out. 169.254.169.254 and 169.254.170.2 are addresses on its loopback, and the packet-filter
rules that a host of ECS has are in place, so containers reach the agent's endpoints as they would on EC2.
Several instances can run side by side; they share nothing but the kernel (and its cgroup tree)."""

import glob
import itertools
import json
import os
import shutil
import signal
import subprocess
import time

from . import image, netns

ROOT = "/run/ecsd-test"
BRIDGE_ADDRESS = "172.31.0.1"
_numbers = itertools.count(1)


class BedError(Exception):
    """The test bed itself failed (not what it tests)."""


def wait_until(condition, timeout, what, interval=0.02):
    """Waits until condition() is true and returns its value; BedError after timeout seconds."""
    limit = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > limit:
            raise BedError(f"waited {timeout} s in vain: {what}")
        time.sleep(interval)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill_and_wait(pids, timeout=30):
    """SIGKILL for exactly these processes, and waits until they are gone."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_until(lambda: not any(alive(pid) for pid in pids), timeout, f"end of processes {pids}")


class Namespaces:
    """The instance without its Docker: up_namespaces() makes them, remove_namespaces() takes everything away again,
    whatever state it is in. What is asked of Docker is asked through its API, whoever serves it."""

    def __init__(self, name=None):
        self.name = name or f"e{os.getpid()}-{next(_numbers)}"
        self.dir = f"{ROOT}/{self.name}"
        self.netns = f"/run/netns/ecsd-{self.name}"
        self.docker_socket = f"{self.dir}/docker.sock"
        self.holder = None   # keeps the mount namespace
        self._beds = itertools.count(1)

    # --- making and removing

    def up_namespaces(self):
        os.makedirs(f"{self.dir}/run-docker")
        os.makedirs("/run/docker", exist_ok=True)   # a place to mount over
        with open(f"{self.dir}/owner", "w") as file:
            file.write(str(os.getpid()))
        _call("ip", "netns", "add", os.path.basename(self.netns))
        self.holder = subprocess.Popen(
            ["nsenter", f"--net={self.netns}", "unshare", "--mount", "--propagation", "slave", "sh", "-c",
             f"mount --bind {self.dir}/run-docker /run/docker && touch {self.dir}/held && exec sleep infinity"],
            stdin=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda: os.path.exists(f"{self.dir}/held"), 10, "mount namespace")
        with open(f"{self.dir}/holder", "w") as file:
            file.write(str(self.holder.pid))
        self.run("ip", "link", "set", "lo", "up")
        for address in ("169.254.169.254", "169.254.170.2"):
            self.run("ip", "address", "add", address + "/32", "dev", "lo")
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.route_localnet=1")
        rule = ("-p", "tcp", "-d", "169.254.170.2", "--dport", "80", "-j")
        self.run("iptables", "-w", "-t", "nat", "-A", "PREROUTING", *rule,
                 "DNAT", "--to-destination", "127.0.0.1:51679")
        self.run("iptables", "-w", "-t", "nat", "-A", "OUTPUT", *rule, "REDIRECT", "--to-ports", "51679")

    def remove_namespaces(self):
        kill_and_wait(self.processes())
        if self.holder:
            self.holder.wait()
        if os.path.exists(self.netns):
            _call("ip", "netns", "delete", os.path.basename(self.netns))
        self._remove_cgroups()
        with open("/proc/mounts") as file:
            mounts = [line.split()[1] for line in file]
        for mount in sorted((m for m in mounts if m.startswith(self.dir + "/")), reverse=True):
            _call("umount", "--lazy", mount)
        shutil.rmtree(self.dir, ignore_errors=True)

    def processes(self):
        """Every process in this instance's network namespace, and their descendants (containers)."""
        try:
            inode = os.stat(self.netns).st_ino
        except OSError:
            inode = None
        members, parents = set(), {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            pid = int(entry)
            try:
                with open(f"/proc/{pid}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
                if fields[0] in "ZX":
                    continue
                parents[pid] = int(fields[1])
                if inode and os.stat(f"/proc/{pid}/ns/net").st_ino == inode:
                    members.add(pid)
            except OSError:
                continue
        members.discard(os.getpid())
        while True:
            more = {pid for pid, parent in parents.items() if parent in members} - members
            if not more:
                return sorted(members)
            members |= more

    def _remove_cgroups(self):
        """The cgroups of tasks and containers of this instance: those whose ids its Docker knew."""
        ids = set()
        for config in glob.glob(f"{self.dir}/data/containers/*"):
            ids.add(os.path.basename(config))
        try:
            with open(f"{self.dir}/tasks") as file:
                ids |= set(file.read().split())
        except OSError:
            pass
        for task in ids:
            for path in glob.glob(f"/sys/fs/cgroup/*/ecs/{task}") + glob.glob(f"/sys/fs/cgroup/*/docker/{task}"):
                for directory, _, _ in os.walk(path, topdown=False):
                    try:
                        os.rmdir(directory)
                    except OSError:
                        pass

    def note_task(self, arn):
        """Remembers a task sent to this instance, so that its cgroup can be removed in the end."""
        with open(f"{self.dir}/tasks", "a") as file:
            file.write(arn.rpartition("/")[2] + "\n")

    def new_directory(self):
        """A fresh directory for one agent (data, run and log files)."""
        path = f"{self.dir}/b{next(self._beds)}"
        os.makedirs(path)
        return path

    # --- inside

    def command(self, *arguments):
        """The command line that runs these arguments inside the instance (the process keeps the pid)."""
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", f"--net={self.netns}", *arguments]

    def run(self, *arguments, check=True, stdin=None):
        """Runs a command inside; returns its standard output."""
        return _call(*self.command(*arguments), check=check, stdin=stdin)

    def path_inside(self, path):
        """Where this process sees a path of the instance's mount namespace."""
        return f"/proc/{self.holder.pid}/root{path}"

    def listen(self, address, port):
        return netns.listen(self.netns, address, port)

    def listen_unix(self, path):
        return netns.listen_unix(f"/proc/{self.holder.pid}/ns/mnt", path)

    def http(self, method, url, headers=None, timeout=5, source=None):
        return netns.http_request(self.netns, method, url, headers, timeout, source)

    # --- Docker

    def docker(self, *arguments, check=True, stdin=None):
        """The Docker command line, past any proxy; returns its standard output."""
        return _call("docker", "-H", f"unix://{self.docker_socket}", *arguments, check=check, stdin=stdin)

    def inspect(self, container):
        return json.loads(self.docker("inspect", container))[0]

    def containers(self, task=None, running=False):
        """Ids of the containers (of one task)."""
        options = [] if running else ["--all"]
        if task:
            options += ["--filter", f"label=com.amazonaws.ecs.task-arn={task}"]
        return self.docker("ps", "--quiet", "--no-trunc", *options).split()

    def container(self, task, name):
        """Id of one container of a task."""
        ids = self.docker("ps", "--all", "--quiet", "--no-trunc",
                          "--filter", f"label=com.amazonaws.ecs.task-arn={task}",
                          "--filter", f"label=com.amazonaws.ecs.container-name={name}").split()
        if len(ids) != 1:
            raise BedError(f"{len(ids)} containers called {name} of {task}, not 1")
        return ids[0]

    def docker_version(self):
        return self.docker("version", "--format", "{{.Server.Version}}").strip()


class Instance(Namespaces):
    """up() makes it, down() takes everything away again, whatever state it is in."""

    def __init__(self, name=None, live_restore=False, docker_options=()):
        super().__init__(name)
        self.live_restore, self.docker_options = live_restore, docker_options
        self.docker_environment = {}    # dockerd's, besides ours
        self.dockerd = None

    # --- making and removing

    def up(self):
        try:
            self.up_namespaces()
            self.start_dockerd()
            self.docker("import", "-", image.NAME, stdin=image.tar_bytes())
        except BaseException:
            self.down()
            raise
        return self

    def down(self):
        if self.holder and os.path.exists(self.netns):
            try:
                self.remove_containers()
            except Exception as error:  # what is left is killed below
                print(f"{self.name}: cannot remove containers in order: {error}")
        if self.dockerd and self.dockerd.poll() is None:
            self.dockerd.send_signal(signal.SIGCONT)
            self.dockerd.terminate()
            try:
                self.dockerd.wait(10)
            except subprocess.TimeoutExpired:
                pass
        kill_and_wait(self.processes())
        if self.dockerd:
            self.dockerd.wait()
        self.remove_namespaces()

    # --- Docker

    def start_dockerd(self):
        # containerd dies with a dockerd that is killed. Where nobody collects the dead (no init), its pid
        # looks taken, and the next dockerd would wait for it.
        pid_file = f"{self.dir}/exec/containerd/containerd.pid"
        if os.path.exists(pid_file):
            with open(pid_file) as file:
                pid = int(file.read() or 0)
            kill_and_wait([pid] if pid in self.processes() else [])
            os.unlink(pid_file)
        options = ["--data-root", f"{self.dir}/data", "--exec-root", f"{self.dir}/exec",
                   "--pidfile", f"{self.dir}/dockerd.pid", "--host", f"unix://{self.docker_socket}",
                   "--bip", f"{BRIDGE_ADDRESS}/24", "--userland-proxy=false", *self.docker_options]
        if self.live_restore:
            options.append("--live-restore")
        with open(f"{self.dir}/dockerd.log", "ab") as log:
            self.dockerd = subprocess.Popen(self.command("dockerd", *options), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True,
                                            env={**os.environ, **self.docker_environment})
        wait_until(self._docker_answers, 30, f"dockerd; see {self.dir}/dockerd.log", 0.05)

    def _docker_answers(self):
        if self.dockerd.poll() is not None:
            with open(f"{self.dir}/dockerd.log") as log:
                raise BedError("dockerd ended:\n" + log.read()[-2000:])
        return subprocess.run(["docker", "-H", f"unix://{self.docker_socket}", "version"], timeout=20,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def stop_dockerd(self, how=signal.SIGTERM):
        self.dockerd.send_signal(how)
        self.dockerd.wait(30)

    def restart_dockerd(self, how=signal.SIGTERM):
        self.stop_dockerd(how)
        self.start_dockerd()

    def remove_containers(self):
        if self.dockerd is None:
            return
        self.dockerd.send_signal(signal.SIGCONT)
        if self.dockerd.poll() is not None:
            self.start_dockerd()
        ids = self.containers()
        if ids:
            self.docker("rm", "--force", "--volumes", *ids)


def _call(*arguments, check=True, stdin=None):
    done = subprocess.run(arguments, input=stdin, capture_output=True, timeout=120,
                          stdin=subprocess.DEVNULL if stdin is None else None)
    if check and done.returncode:
        raise BedError(f"{' '.join(arguments)}: exit code {done.returncode}: {done.stderr.decode().strip()}")
    return done.stdout.decode(errors="replace")


def remove_stale():
    """Takes away what test runs that were killed have left behind."""
    for owner in glob.glob(f"{ROOT}/*/owner"):
        try:
            with open(owner) as file:
                pid = int(file.read() or 0)
        except FileNotFoundError:
            continue        # its owner takes it away at this moment
        if not pid or alive(pid):
            continue        # 0: its owner has not written down who it is
        stale = Instance(os.path.basename(os.path.dirname(owner)))
        kill_and_wait(stale.processes())
        stale.down()
