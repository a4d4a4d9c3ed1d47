"""A container of the simulated Docker: its state, and what its command makes it do.

A command is a list of words; what is not said has the default. Seconds are divided by the simulation's scale.

    exit N             ends by itself with this code, after 0 seconds
    after S            ... after so many
    on-term N          ends with this code when it gets SIGTERM (default 0)
    term-after S       ... after so many seconds (default 0)
    deaf               does not care for SIGTERM
    oom                is killed by the kernel at its end: 137, OOMKilled
    oom-event S        after so long, a process in it is killed for lack of memory; it goes on
    healthy S          after so long it is healthy (needs a health check); also: unhealthy S
    refuse             cannot be started

The usual commands of the tests work too: `true`, `false`, `sleep N`, `sh -c "sleep S; exit N"`; a command that
begins with `/` does not exist. Anything else runs until it is told to stop, and ends with 0 then."""

import dataclasses
import re
import time

ZERO_TIME = "0001-01-01T00:00:00Z"
SHELL = re.compile(r"(?:sleep ([0-9.]+); *)?exit ([0-9]+)")


@dataclasses.dataclass
class Behaviour:
    exits_after: float | None = None
    code: int = 0
    term_code: int = 0
    term_after: float = 0.0
    deaf: bool = False
    oom: bool = False
    oom_event: float | None = None
    health: tuple = ()              # (seconds, status) pairs
    refused: bool = False


def _shell_behaviour(words):
    if words[0] in ("true", "false"):
        return Behaviour(exits_after=0, code=int(words[0] == "false"))
    if words[0] == "sleep":
        return Behaviour(exits_after=float(words[1]), deaf=True)
    if words[:2] == ["sh", "-c"] and (match := SHELL.fullmatch(words[2])):
        return Behaviour(exits_after=float(match[1] or 0), code=int(match[2]))
    if words[:2] == ["sh", "-c"] and "x=$x$x" in words[2]:      # eats all memory
        return Behaviour(exits_after=0.1, code=137, oom=True)
    if words == ["sh", "-c", "kill -9 $$"]:
        return Behaviour(exits_after=0, code=137)
    if words[0].startswith("/"):
        return Behaviour(refused=True)
    return None


def behaviour_of(command):
    words = [str(word) for word in command or []]
    if words and (known := _shell_behaviour(words)):
        return known
    made, rest = Behaviour(), iter(words)
    for word in rest:
        if word == "exit":
            made.code, made.exits_after = int(next(rest)), made.exits_after or 0
        elif word == "after":
            made.exits_after = float(next(rest))
        elif word == "on-term":
            made.term_code = int(next(rest))
        elif word == "term-after":
            made.term_after = float(next(rest))
        elif word == "deaf":
            made.deaf = True
        elif word == "oom":
            made.oom, made.code = True, 137
        elif word == "oom-event":
            made.oom_event = float(next(rest))
        elif word in ("healthy", "unhealthy"):
            made.health += ((float(next(rest)), word),)
        elif word == "refuse":
            made.refused = True
        else:
            return Behaviour()
    if made.oom and made.exits_after is None:
        made.exits_after = 0
    return made


def rfc3339(ns):
    if not ns:
        return ZERO_TIME
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z"


class Container:
    """Plain facts; DockerSim changes them under its lock."""

    def __init__(self, identifier, name, body, image_id, address):
        self.id, self.name, self.image_id, self.address = identifier, name, image_id, address
        self.host_config = body.pop("HostConfig", None) or {}
        body.pop("NetworkingConfig", None)
        self.config = body
        self.labels = body.get("Labels") or {}
        self.behaviour = behaviour_of((body.get("Entrypoint") or []) + (body.get("Cmd") or []))
        self.status = "created"      # created, running, paused, exited
        self.exit_code, self.error = 0, ""
        self.oom_seen, self.oom_killed = False, False
        self.pid, self.child = 0, None
        self.created, self.started, self.finished = time.time_ns(), 0, 0
        self.run = 0                 # number of starts: timers of earlier runs are void
        self.ports = {}              # "80/tcp" -> host port
        test = (body.get("Healthcheck") or {}).get("Test") or ["NONE"]
        self.checked = test[0] != "NONE"
        if self.checked and not self.behaviour.health and test[1:] == ["true"]:
            self.behaviour.health = ((body["Healthcheck"].get("Interval", 30 * 10**9) / 1e9, "healthy"),)
        self.health = None

    @property
    def networked(self):
        """Has an address of its own."""
        return self.host_config.get("NetworkMode") not in ("host", "none")

    @property
    def running(self):
        return self.status in ("running", "paused")

    @property
    def task(self):
        return self.labels.get("com.amazonaws.ecs.task-arn", "")

    @property
    def container_name(self):
        return self.labels.get("com.amazonaws.ecs.container-name", "")

    def mounts(self):
        """As inspect tells them; volumes by name, in a place that nobody looks into."""
        made = []
        for bind in self.host_config.get("Binds") or []:
            source, _, rest = bind.partition(":")
            target, _, mode = rest.partition(":")
            if source.startswith("/"):
                made.append({"Type": "bind", "Source": source, "Destination": target, "Mode": mode,
                             "RW": mode != "ro", "Propagation": "rprivate"})
            else:
                made.append({"Type": "volume", "Name": source, "Source": f"/var/lib/docker/volumes/{source}/_data",
                             "Destination": target, "Driver": "local", "Mode": mode or "z", "RW": mode != "ro",
                             "Propagation": ""})
        return made

    def port_map(self):
        return {port: [{"HostIp": "0.0.0.0", "HostPort": str(host)}] for port, host in self.ports.items()}

    def state(self):
        made = {"Status": self.status, "Running": self.running, "Paused": self.status == "paused",
                "Restarting": False, "OOMKilled": self.oom_killed, "Dead": False, "Pid": self.pid,
                "ExitCode": self.exit_code, "Error": self.error, "StartedAt": rfc3339(self.started),
                "FinishedAt": rfc3339(self.finished)}
        if self.health:
            made["Health"] = {"Status": self.health, "FailingStreak": 0, "Log": []}
        return made

    def network_settings(self):
        live = self.running and self.networked
        address = self.address if live else ""
        return {"IPAddress": address, "Ports": self.port_map() if live else {},
                "Networks": {"bridge": {"IPAddress": address, "NetworkID": "0" * 64}}}

    def inspected(self):
        return {"Id": self.id, "Created": rfc3339(self.created), "Path": "", "Args": [], "State": self.state(),
                "Image": self.image_id, "Name": "/" + self.name, "RestartCount": 0, "Driver": "overlay2",
                "Platform": "linux", "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "", "ExecIDs": None,
                "HostConfig": self.host_config, "GraphDriver": {"Name": "overlay2", "Data": None},
                "Mounts": self.mounts(), "Config": self.config, "NetworkSettings": self.network_settings()}

    def listed(self):
        return {"Id": self.id, "Names": ["/" + self.name], "Image": self.config.get("Image", ""),
                "ImageID": self.image_id, "Command": " ".join(self.config.get("Cmd") or []),
                "Created": self.created // 10**9, "Ports": [], "Labels": self.labels, "State": self.status,
                "Status": {"created": "Created", "exited": f"Exited ({self.exit_code}) 1 second ago",
                           "running": "Up 1 second", "paused": "Up 1 second (Paused)"}[self.status],
                "HostConfig": {"NetworkMode": self.host_config.get("NetworkMode", "default")},
                "NetworkSettings": {"Networks": {}}, "Mounts": self.mounts()}
