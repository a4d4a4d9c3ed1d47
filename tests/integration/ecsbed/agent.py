"""ecsd as a process under test: started in an instance's namespaces, killed, ended, started again."""

import os
import re
import signal
import subprocess

from .instance import BedError, alive, kill_and_wait, wait_until

BUILD = os.path.abspath(os.environ.get("ECSD_BUILD") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "build"))


def with_sanitizer():
    with open(os.path.join(BUILD, "ecsd"), "rb") as program:
        return b"__asan_init" in program.read()


def memory_kib(pid, field="VmRSS"):
    """VmRSS: resident now, VmHWM: the most there was. 0 in a build with AddressSanitizer, which keeps what was freed."""
    with open(f"/proc/{pid}/status") as file:
        return 0 if with_sanitizer() else int(re.search(field + r":\s+(\d+)", file.read()).group(1))


class Agent:
    """One data directory, and the processes of ecsd that use it one after the other."""

    def __init__(self, instance, directory, environment):
        self.instance, self.directory = instance, directory
        self.data, self.run_directory = f"{directory}/data", f"{directory}/run"
        self.log_file, self.audit_file = f"{directory}/ecsd.log", f"{directory}/audit.log"
        self.stderr_file = f"{directory}/ecsd.stderr"
        for path in (self.data, self.run_directory):
            os.makedirs(path, exist_ok=True)
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ECS_DATADIR": self.data,
            "ECSD_RUN_DIR": self.run_directory, "ECS_LOGFILE": self.log_file, "ECS_LOGLEVEL": "debug",
            "ECSD_LOGD_SOCKET": f"{directory}/ecs-logd.sock",
            "ECSD_DOCKER_CONFIG_FILE": f"{directory}/daemon.json",    # not this machine's
            "ECS_AUDIT_LOGFILE": self.audit_file, **environment}
        self.program = os.path.join(BUILD, "ecsd")
        self.arguments = []
        self.process = None

    def start(self, **environment):
        """Starts ecsd; more environment variables are for this start and all later ones."""
        self.environment.update({name: str(value) for name, value in environment.items()})
        if not os.access(self.program, os.X_OK):
            raise BedError(f"there is no {self.program}: build it first (or set ECSD_BUILD)")
        if self.running:
            raise BedError("ecsd is running already")
        with open(self.stderr_file, "ab") as log:
            self.process = subprocess.Popen(self.instance.command(os.path.realpath(self.program), *self.arguments),
                                            env=self.environment, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=self.directory)
        return self

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def wait(self, timeout=30):
        """Waits for the end; returns the exit code (negative: the signal)."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"ecsd has not ended in {timeout} s\n{self.log_tail()}") from None

    def kill(self):
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.wait(5)

    def terminate(self, timeout=15):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    # --- logs

    def log(self):
        text = ""
        for path in (self.log_file, self.stderr_file):
            if os.path.exists(path):
                with open(path, errors="replace") as file:
                    text += file.read()
        return text

    def log_tail(self, lines=40):
        return "\n".join(self.log().splitlines()[-lines:])

    def wait_log(self, pattern, timeout=20):
        return wait_until(lambda: re.search(pattern, self.log()), timeout, f"log line {pattern}")

    def refused(self):
        """Log lines about system calls that a sandbox refused: ecsd's own, or ecs-endpoint killed for one."""
        return [line for line in self.log().splitlines()
                if re.search(r'refused system call|was killed" .*Bad system call', line)]

    def audit(self):
        """Lines of the audit log."""
        if not os.path.exists(self.audit_file):
            return []
        with open(self.audit_file) as file:
            return file.read().splitlines()

    # --- the endpoint, which survives ecsd

    def endpoint_pid(self):
        try:
            with open(f"{self.run_directory}/ecs-endpoint.pid") as file:
                return int(file.read())
        except (OSError, ValueError):
            return None

    def kill_endpoint(self):
        pid = self.endpoint_pid()
        if pid and alive(pid):
            kill_and_wait([pid])

    def close(self):
        """Ends ecsd and whatever of its family is left in the instance."""
        if self.running:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self.kill_endpoint()
        kill_and_wait([pid for pid in self.instance.processes() if self._is_ours(pid)])

    def _is_ours(self, pid):
        try:
            return os.readlink(f"/proc/{pid}/exe").startswith(os.path.dirname(os.path.realpath(self.program)) + "/")
        except OSError:
            return False
