"""A bare host for ecs-host: network and mount namespaces without anything of ECS in them, with a machine outside, containers
on Docker's default bridge and on another, and programs that listen. /run, /etc and /var/lib are the host's own (a tmpfs
and overlays), so iptables can be of either kind, or missing."""

import json
import os
import signal
import socket
import subprocess
import threading

from . import netns
from .agent import BUILD
from .instance import ROOT, BedError, Namespaces, wait_until

ADDRESSES = {   # of a peer, and the host's on the link to it
    "outside": ("10.9.0.2", "10.9.0.1", "fd09::2", "fd09::1"),
    "container": ("172.31.0.2", "172.31.0.1", "fd31::2", "fd31::1"),
    "other": ("172.30.0.2", "172.30.0.1", "fd30::2", "fd30::1"),
}
BRIDGES = {"container": "docker0", "other": "br-other"}
METADATA, METADATA6 = "169.254.169.254", "fd00:ec2::254"
CREDENTIALS = "169.254.170.2"


class Peer(Namespaces):
    """A network namespace with one link, to the host."""

    def up(self, host, kind):
        self.kind = kind
        self.address, self.gateway, self.address6, self.gateway6 = ADDRESSES[kind]
        os.makedirs(self.dir)
        with open(f"{self.dir}/owner", "w") as file:
            file.write(str(os.getpid()))
        host.call("ip", "netns", "add", os.path.basename(self.netns))
        device = f"to-{kind}"[:15]
        self.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", device, "netns", host.netns)
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "address", "add", f"{self.address6}/64", "dev", "eth0", "nodad")
        self.run("ip", "link", "set", "eth0", "up")
        on = device
        if kind in BRIDGES:
            on = BRIDGES[kind]
            host.run("ip", "link", "add", on, "type", "bridge")
            host.run("ip", "link", "set", device, "master", on)
            host.run("ip", "link", "set", on, "up")
        host.run("ip", "link", "set", device, "up")
        host.run("ip", "address", "add", f"{self.gateway}/24", "dev", on)
        host.run("ip", "address", "add", f"{self.gateway6}/64", "dev", on, "nodad")
        self.run("ip", "route", "add", "default", "via", self.gateway)
        self.run("ip", "-6", "route", "add", "default", "via", self.gateway6)
        return self

    def command(self, *arguments):
        return ["nsenter", f"--net={self.netns}", *arguments]

    def reach(self, address, port, timeout=5):
        """What the server there says of itself; None if none can be reached."""
        return reach(self.netns, address, port, timeout)


def reach(path, address, port, timeout=5):
    try:
        with netns.connect(path, address, port, timeout) as sock:
            return sock.recv(100).decode() or None
    except (TimeoutError, ConnectionError, OSError):
        return None


class Host(Namespaces):
    """With `iptables` "nft" or "legacy". up() makes it, down() takes it away."""

    def up(self, iptables):
        self.peers, self.servers, self.process = {}, [], None
        try:
            self._up(iptables)
        except BaseException:
            self.down()
            raise
        return self

    def _up(self, iptables):
        self.iptables = iptables
        os.makedirs(f"{ROOT}/{self.name}")
        with open(f"{self.dir}/owner", "w") as file:
            file.write(str(os.getpid()))
        self.call("ip", "netns", "add", os.path.basename(self.netns))
        self.log_file = f"{self.dir}/ecs-host.log"
        overlay = "mount -t overlay overlay -o lowerdir=%s,upperdir=/run/%s,workdir=/run/%s-work %s"
        script = " && ".join(["mount -t tmpfs tmpfs /run", "mkdir -p /run/etc /run/etc-work /run/lib /run/lib-work",
                              overlay % ("/etc", "etc", "etc", "/etc"),
                              overlay % ("/var/lib", "lib", "lib", "/var/lib"),
                              "mkdir -p /etc/ecs /var/lib/ecs", "echo", "exec sleep infinity"])
        self.holder = subprocess.Popen(
            ["nsenter", f"--net={self.netns}", "unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        if not self.holder.stdout.readline():
            raise BedError("cannot make a host's mount namespace")
        self.run("ip", "link", "set", "lo", "up")
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for program in ("iptables", "ip6tables"):
            self.alternative(program, f"{program}-{iptables}")

    def down(self):
        if self.running:
            self.process.kill()
            self.process.wait()
        for server in self.servers:
            server.close()
        for peer in self.peers.values():
            peer.remove_namespaces()
        self.remove_namespaces()

    @staticmethod
    def call(*arguments):
        subprocess.run(arguments, check=True, stdin=subprocess.DEVNULL, timeout=60)

    def alternative(self, program, target):
        """Which program /usr/sbin/<program> is; None: there is none."""
        link = self.path_inside(f"/etc/alternatives/{program}")
        if os.path.islink(link):
            os.unlink(link)
        if target:
            os.symlink(f"/usr/sbin/{target}", link)

    def peer(self, kind):
        if kind not in self.peers:
            self.peers[kind] = Peer(f"{self.name}-{kind}").up(self, kind)
        return self.peers[kind]

    def default_route(self):
        """A host like most: all that is not on a link goes outside."""
        self.run("ip", "route", "replace", "default", "via", self.peer("outside").address)

    # --- what listens

    def serve(self, name, address, port, path=None):
        """A server that says its name to whoever connects."""
        def make():
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ":" in address:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, port))
            sock.listen(16)
            return sock
        self._answer(netns.run_in(path or self.netns, make), lambda connection: connection.sendall(name.encode()))

    def docker(self, networks, path="/run/docker.sock"):
        """A Docker that only knows its networks: GET /networks gives these. Returns the requests it gets."""
        requests = []
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path_inside(path))
        listening.listen(16)

        def answer(connection):
            requests.append(connection.recv(4096).decode())
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" +
                               json.dumps(networks() if callable(networks) else networks).encode())
        self._answer(listening, answer)
        return requests

    def _answer(self, listening, answer):
        def body():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    try:
                        answer(connection)
                    except OSError:
                        pass
        self.servers.append(listening)
        threading.Thread(target=body, daemon=True).start()

    def reach(self, address, port, timeout=5):
        return reach(self.netns, address, port, timeout)

    # --- ecs-host

    def ecs_host(self, command, **environment):
        """Runs it to its end: (exit code, standard output, log)."""
        done = subprocess.run(self.command(self.program, command), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120, env=self.environment(environment))
        return done.returncode, done.stdout, done.stderr

    def start(self, ready=True, **environment):
        """`ecs-host run`, until it is ready."""
        mark = len(self.log())
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(self.command(self.program, "run"), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment(environment))
        if ready:
            wait_until(lambda: "msg=watching" in self.log()[mark:] or self.process.poll() is not None, 60, "ecs-host")
            if self.process.poll() is not None:
                raise BedError(f"ecs-host ended with {self.process.returncode}:\n{self.log()[mark:]}")
        return self

    def terminate(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(60)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        if not os.path.exists(self.log_file):
            return ""
        with open(self.log_file) as file:
            return file.read()

    @property
    def program(self):
        path = os.path.join(BUILD, "ecs-host")
        if not os.access(path, os.X_OK):
            raise BedError(f"there is no {path}: build it first (or set ECSD_BUILD)")
        return os.path.realpath(path)

    @staticmethod
    def environment(more):
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **{name: str(value) for name, value in more.items()}}

    # --- what there is

    def rules(self):
        """All rules, in the words of iptables-save; with the table in front."""
        found = []
        for program in ("iptables", "ip6tables"):
            for line in self.run(f"{program}-{self.iptables}-save").splitlines():
                if line.startswith("*"):
                    table = f"{program} {line[1:]}"
                elif line.startswith("-A"):
                    found.append(f"{table} {line}")
        return found

    def sysctl(self, name):
        return int(self.run("sysctl", "-n", name))

    def routes(self):
        return self.run("ip", "-4", "route").splitlines()

    def state(self):
        """Everything that ecs-host may change."""
        return {"rules": self.rules(), "routes": self.routes(),
                "route_localnet": self.sysctl("net.ipv4.conf.all.route_localnet")}

    def write(self, path, text):
        with open(self.path_inside(path), "w") as file:
            file.write(text)
