"""What is around an instance in its VPC, in a network namespace with no way out: a router that gives it its address (DHCP), the
instance metadata service at 169.254.169.254, ECS, and CloudWatch Logs. The virtual machine's network card is a tap device in it."""

import os
import re
import subprocess

from ecsbed import cloudwatch, netns, tasks
from ecsbed.controlplane import ControlPlane
from ecsbed.imds import MAC, Imds
from ecsbed.instance import kill_and_wait

ROUTER, INSTANCE = "10.99.0.1", "10.99.0.10"
TAP = "tap0"
ROLE = ("ASIABOOTINSTANCE", "instance/role+secret", "instance/role/token==")     # of the instance, from the metadata service
LOGS_PORT = 8445
PIDS = 100     # ECS_TASK_PIDS_LIMIT
DHCP = f"""start {INSTANCE}
end {INSTANCE}
interface {TAP}
lease_file {{0}}/udhcpd.leases
pidfile {{0}}/udhcpd.pid
option subnet 255.255.255.0
option router {ROUTER}
option lease 86400
"""


class Metadata(dict):
    """The tree of metadata as cloud-init walks it: under every version, with directories that list what is in them."""

    def get(self, path, default=None):
        path = re.sub(r"^/\d{4}-\d\d-\d\d/", "/latest/", path)
        if path in self:
            return self[path]
        below = path.rstrip("/") + "/"
        parts = [name[len(below):].partition("/") for name in self if name.startswith(below)]
        directories = {first for first, slash, _ in parts if slash}
        names = {first + "/" if first in directories else first for first, _, _ in parts if first}
        return "\n".join(sorted(names)) or default


class Vpc:
    """Stands where ecsbed's servers expect an instance: it is where they listen."""

    def __init__(self, directory, docker_version):
        self.directory, self._docker_version = directory, docker_version
        self.name = f"ecsd-boot-{os.getpid()}"
        self.netns = f"/run/netns/{self.name}"
        self.dhcp = self.imds = self.cp = self.logs = None

    def up(self, pki, user_data, public_key):
        _call("ip", "netns", "add", self.name)
        for command in (f"tuntap add dev {TAP} mode tap", f"address add {ROUTER}/24 dev {TAP}", "address add 169.254.169.254 dev lo",
                        f"link set {TAP} up", "link set lo up"):
            _call("ip", "-n", self.name, *command.split())
        with open(f"{self.directory}/udhcpd.conf", "w") as file:
            file.write(DHCP.format(self.directory))
        with open(f"{self.directory}/udhcpd.log", "w") as log:
            self.dhcp = subprocess.Popen(self.command("busybox", "udhcpd", "-f", f"{self.directory}/udhcpd.conf"),
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.imds = Imds(self)
        self.imds.values = Metadata(self.imds.values)
        self.imds.set_role(*ROLE)
        self.imds.values.update({
            "/latest/user-data": user_data,
            "/latest/meta-data/local-ipv4": INSTANCE,
            "/latest/meta-data/local-hostname": "ip-10-99-0-10.us-west-2.compute.internal",
            "/latest/meta-data/public-keys/": "0=boot-test",
            "/latest/meta-data/public-keys/0/openssh-key": public_key,
            f"/latest/meta-data/network/interfaces/macs/{MAC}/device-number": "0"})
        self.cp = ControlPlane(self, pki, address=ROUTER)
        self.cp.keys = {ROLE[0]: ROLE[1:]}
        self.execution_role = tasks.credentials("ASIABOOTEXECUTION")
        self.logs = cloudwatch.CloudWatch(self.listen(ROUTER, LOGS_PORT), groups=(), keys={
            self.execution_role["accessKeyId"]: (self.execution_role["secretAccessKey"], self.execution_role["sessionToken"])})
        return self

    def down(self):
        """Takes all away; returns what was wrong with what the servers were asked."""
        wrong = []
        for server in (self.cp, self.imds, self.logs):
            if server:
                server.stop()
                wrong += getattr(server, "violations", []) + server.server.errors
        if self.dhcp:
            kill_and_wait([self.dhcp.pid])
            self.dhcp.wait()
        if os.path.exists(self.netns):
            _call("ip", "netns", "delete", self.name)
        return wrong

    def command(self, *arguments):
        """The command line that runs these arguments in the VPC (the process keeps the pid)."""
        return ["nsenter", f"--net={self.netns}", *arguments]

    # --- what ecsbed's servers ask of an instance

    def listen(self, address, port):
        return netns.listen(self.netns, address, port)

    def docker_version(self):
        return self._docker_version

    def note_task(self, arn):
        """Nothing of it stays on this machine."""


def _call(*arguments):
    subprocess.run(arguments, check=True, stdin=subprocess.DEVNULL)


def user_data(ca):
    """What the user gives the instance: as for the official agent, a script that configures it and starts it."""
    return f"""#!/bin/sh
cat >/etc/ecs/boot-test-ca.pem <<END
{ca}END
cat >>/etc/ecs/ecs.config <<END
ECS_CLUSTER={tasks.CLUSTER}
ECS_BACKEND_HOST=https://{ROUTER}:8443
SSL_CERT_FILE=/etc/ecs/boot-test-ca.pem
ECS_IMAGE_PULL_BEHAVIOR=prefer-cached
ECS_CONTAINER_STOP_TIMEOUT=60s
ECS_TASK_PIDS_LIMIT={PIDS}
END
systemctl enable --now --no-block ecs.service
systemctl start ecs
systemctl is-active ecs >/run/user-data-returned
"""
