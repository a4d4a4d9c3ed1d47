"""ecs-logd as a process under test, in an instance's namespaces, with sockets handed in as a service manager does: they
outlive the process, so that Docker waits for the next one instead of failing."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess

from .agent import BUILD
from .instance import BedError, wait_until

DRIVER = "ecslogs"
PLUGINS = "/run/docker/plugins"


class _UnixHttp(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Logd:
    """One spool, and the processes of ecs-logd that use it one after the other."""

    def __init__(self, instance, directory, activated=True, control=None, **environment):
        self.instance, self.directory, self.activated = instance, directory, activated
        self.spool, self.run_directory = f"{directory}/spool", f"{directory}/logd-run"
        self.log_file = f"{directory}/ecs-logd.log"
        self.plugin_path = f"{PLUGINS}/{DRIVER}.sock"
        self.control_path = control or f"{directory}/logd-control.sock"
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ECS_LOGD_SPOOL_DIR": self.spool,
            "ECS_LOGD_RUN_DIR": self.run_directory, "ECS_LOGD_PLUGIN_SOCKET": self.plugin_path,
            "ECS_LOGD_CONTROL_SOCKET": self.control_path, "ECS_LOGLEVEL": "debug", "ECS_LOGD_USER": "990",
            **{name: str(value) for name, value in environment.items()}}
        self.program = os.path.join(BUILD, "ecs-logd")
        self.process = None
        self._sockets = []

    def _listen(self):
        self._sockets = [self.instance.listen_unix(path) for path in (self.plugin_path, self.control_path)]

    def plugin_inode(self):
        """Of the plugin's listening socket, which has the same path in other instances."""
        return os.fstat(self._sockets[0].fileno()).st_ino

    def start(self, wait=True, **environment):
        self.environment.update({name: str(value) for name, value in environment.items()})
        if not os.access(self.program, os.X_OK):
            raise BedError(f"there is no {self.program}: build it first (or set ECSD_BUILD)")
        if self.with_sanitizer():       # which looks for leaks by way of /proc: not to be seen from within
            self.environment["ASAN_OPTIONS"] = "detect_leaks=0"
        if self.activated and not self._sockets:
            self._listen()
        command, fds = self.instance.command(os.path.realpath(self.program)), [s.fileno() for s in self._sockets]
        if fds:
            hand_over = " ".join(f"{3 + i}<&{fd}" for i, fd in enumerate(fds))
            command = ["bash", "-c", f'export LISTEN_PID=$$ LISTEN_FDS={len(fds)}; exec "$@" {hand_over}', "bash", *command]
        mark = os.path.getsize(self.log_file) if os.path.exists(self.log_file) else 0
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd="/", pass_fds=fds)
        if wait:
            wait_until(lambda: "msg=serving" in self.log(mark) or self.process.poll() is not None, 20, "ecs-logd", 0.01)
            if self.process.poll() is not None:
                raise BedError(f"ecs-logd ended with {self.process.returncode}:\n{self.log_tail()}")
        return self

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def terminate(self, timeout=30):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def close(self):
        if self.running:
            self.process.send_signal(signal.SIGCONT)
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill()
        for listening in self._sockets:
            listening.close()
        self._sockets = []
        path = self.instance.path_inside(self.plugin_path)
        if os.path.exists(path):
            os.unlink(path)

    # --- what it says

    def log(self, since=0):
        if not os.path.exists(self.log_file):
            return ""
        with open(self.log_file, errors="replace") as file:
            file.seek(since)
            return file.read()

    def log_tail(self, lines=40):
        return "\n".join(self.log().splitlines()[-lines:])

    def wait_log(self, pattern, timeout=20):
        return wait_until(lambda: re.search(pattern, self.log()), timeout, f"log line {pattern}")

    def call(self, method, path, body=None):
        """A request to the plugin socket; (status, decoded body)."""
        connection = _UnixHttp(self.instance.path_inside(self.plugin_path))
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def status(self):
        return self.call("GET", "/status")[1]

    # --- what it takes

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def private_dirty(self):
        """Bytes."""
        with open(f"/proc/{self.pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty:")) * 1024

    def with_sanitizer(self):
        with open(self.program, "rb") as file:
            return b"__asan_init" in file.read()

    def refused(self):
        """System calls that its filter refused."""
        return [line for line in self.log().splitlines() if "refused system call" in line]

    def all_shipped(self, timeout=60):
        """Waits until nothing waits in the spool."""
        wait_until(lambda: not any(each.get("WaitingLines") for each in self.status()["Containers"]), timeout,
                   "all logs shipped", 0.05)


def options(driver, **values):
    """Arguments of `docker run` that log through ecs-logd; underscores in names stand for hyphens."""
    arguments = ["--log-driver", DRIVER, "--log-opt", f"x-ecs-driver={driver}"]
    for name, value in values.items():
        arguments += ["--log-opt", f"{name.replace('_', '-')}={value}"]
    return arguments
