"""The part of a service manager in front of single programs: sockets that outlive them, what they tell, restarts. For what a
real one makes of the units see systemd.py."""

import os
import signal
import socket
import subprocess

from .agent import BUILD
from .instance import BedError, wait_until


class Notifications:
    """A socket for NOTIFY_SOCKET, and what came there."""

    def __init__(self, path):
        self.path, self.told = path, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        os.chmod(path, 0o777)
        self.socket.setblocking(False)

    def read(self):
        """All messages so far, each as one text."""
        while True:
            try:
                self.told.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self.told

    def wait(self, message, count=1, since=0, timeout=20):
        wait_until(lambda: self.read()[since:].count(message) >= count, timeout, f"{count} times {message}; got {self.told}")

    def status(self):
        return next((text.removeprefix("STATUS=") for text in reversed(self.read()) if text.startswith("STATUS=")), "")

    def close(self):
        self.socket.close()


class ManagedEndpoint:
    """ecs-endpoint with the sockets of ecs-endpoint.socket."""

    def __init__(self, instance, directory, **environment):
        self.instance, self.directory = instance, directory
        self.control_path = f"{directory}/control.sock"
        self.log_file = f"{directory}/ecs-endpoint.log"
        self.notifications = Notifications(f"{directory}/notify-endpoint")
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ECS_LOGLEVEL": "debug",
                            "NOTIFY_SOCKET": self.notifications.path, **environment}
        # In no order that matters.
        self.sockets = [instance.listen("127.0.0.1", 51678), instance.listen_unix(self.control_path),
                        instance.listen("127.0.0.1", 51679)]
        self.process = None

    def start(self):
        fds = [each.fileno() for each in self.sockets]
        hand_over = " ".join(f"{3 + i}<&{fd}" for i, fd in enumerate(fds))
        program = os.path.realpath(os.path.join(BUILD, "ecs-endpoint"))
        if not os.access(program, os.X_OK):
            raise BedError(f"there is no {program}: build it first (or set ECSD_BUILD)")
        mark = len(self.notifications.read())
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", f'export LISTEN_PID=$$ LISTEN_FDS={len(fds)}; exec "$@" {hand_over}', "bash",
                 *self.instance.command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
                                        program)],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", pass_fds=fds)
        self.notifications.wait("READY=1", since=mark)
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def log(self):
        with open(self.log_file, errors="replace") as file:
            return file.read()

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        for each in self.sockets:
            each.close()
        self.notifications.close()
