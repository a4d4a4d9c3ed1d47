"""The instance: a virtual machine in qemu, driven over SSH."""

import os
import subprocess

from ecsbed.imds import MAC
from ecsbed.instance import BedError, kill_and_wait, wait_until
from vpc import INSTANCE, TAP

# Without KVM, which few test machines have, the processor is emulated. BOOT_ACCEL=kvm where there is one.
ACCEL = os.environ.get("BOOT_ACCEL", "tcg,thread=multi")
PATIENCE = 900      # seconds until what is waited for counts as failed: nothing is measured here
EC2_UUID = "ec2a1b2c-3d4e-4f50-8123-456789abcdef"   # how cloud-init knows EC2: it begins with "ec2", and is the serial number too


class Failed(Exception):
    """A command in the guest that ended with another code than 0."""

    def __init__(self, command, done):
        self.output = (done.stdout + done.stderr).decode(errors="replace")
        super().__init__(f"{command!r}: exit code {done.returncode}: {self.output.strip()[-2000:]}")


class Machine:
    def __init__(self, vpc, image, directory):
        self.vpc, self.image, self.directory = vpc, image, directory
        self.console = f"{directory}/console.log"
        self.key = f"{directory}/key"
        self.process = None
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "boot-test", "-f", self.key], check=True)

    @property
    def public_key(self):
        with open(self.key + ".pub") as file:
            return file.read().strip()

    def start(self):
        """What it writes to its disk is gone when it ends."""
        self.process = subprocess.Popen(self.vpc.command(
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "q35", "-accel", ACCEL, "-cpu", "max",
            "-smp", "2", "-m", "2048", "-display", "none", "-serial", f"file:{self.console}",
            "-drive", f"file={self.image},if=virtio,format=raw,cache=unsafe,snapshot=on",
            "-netdev", f"tap,id=n0,ifname={TAP},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=n0,mac={MAC},romfile=", "-device", "virtio-rng-pci",
            "-smbios", f"type=1,manufacturer=Amazon EC2,product=c5.large,uuid={EC2_UUID},serial={EC2_UUID}",
            "-smbios", "type=3,asset=Amazon EC2"),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        return self

    def close(self):
        """Pulls the plug, unless it has switched itself off."""
        if self.process:
            kill_and_wait([self.process.pid])
            self.process.wait()

    def wait_off(self, timeout):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise BedError(f"the machine is still on after {timeout} s") from None

    def wait_ssh(self, timeout, boot_before=None):
        """Until a command can be run (in another boot than that one); returns the boot's id."""
        def answers():
            if self.process.poll() is not None:
                raise BedError(f"qemu ended with {self.process.returncode}; see {self.console}")
            try:
                boot = self.run("cat /proc/sys/kernel/random/boot_id", timeout=60).strip()
            except (Failed, subprocess.TimeoutExpired):
                return None
            return boot if boot != boot_before else None
        return wait_until(answers, timeout, f"a login over SSH; see {self.console}", 1)

    # --- inside

    def ssh(self, *arguments):
        return self.vpc.command(
            "ssh", "-F", "none", "-i", self.key, "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR",
            "-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={self.directory}/known_hosts",
            "-o", "ControlMaster=auto", "-o", f"ControlPath={self.directory}/ssh", "-o", "ControlPersist=yes",
            "-o", "ServerAliveInterval=10", *arguments)

    def run(self, command, check=True, stdin=None, timeout=PATIENCE):
        """A line of shell as root; returns what it wrote to standard output."""
        done = subprocess.run(self.ssh(f"root@{INSTANCE}", command), input=stdin, capture_output=True, timeout=timeout,
                              stdin=subprocess.DEVNULL if stdin is None else None)
        if check and done.returncode:
            raise Failed(command, done)
        return done.stdout.decode(errors="replace")

    def put(self, path, data):
        self.run(f"cat >{path}", stdin=data)

    def hang_up(self):
        """Ends the connection, as a machine that goes down does not always."""
        subprocess.run(self.ssh("-O", "exit", f"root@{INSTANCE}"), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
