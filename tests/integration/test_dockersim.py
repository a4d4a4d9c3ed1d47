"""The simulated Docker against a real one: the same calls, and the same answers, states and events as far as the
agent looks at them. And what the simulation adds: faults, and the journal."""

import http.client
import json
import re
import socket
import time
import urllib.parse

import pytest

from ecsbed import simfaults
from ecsbed.image import NAME
from ecsbed.instance import Instance, wait_until
from ecsbed.simulated import SimulatedInstance
from ecsbed.tasks import UNTIL_STOPPED

LABELS = {"com.amazonaws.ecs.task-arn": "arn:task", "com.amazonaws.ecs.container-name": "m"}
ZERO_TIME = "0001-01-01T00:00:00Z"


class Client:
    """Calls on a Docker socket; keeps the connection."""

    def __init__(self, path):
        self.http = http.client.HTTPConnection("docker")
        self.http.sock = socket.socket(socket.AF_UNIX)
        self.http.sock.settimeout(20)
        self.http.sock.connect(path)

    def call(self, method, path, body=None):
        self.http.request(method, path, body=None if body is None else json.dumps(body),
                          headers={"Content-Type": "application/json"} if body is not None else {})
        answer = self.http.getresponse()
        data = answer.read()
        if path.startswith("/events") or data[:1] not in (b"{", b"["):
            return answer.status, data
        return answer.status, json.loads(data)


@pytest.fixture(scope="module")
def real():
    made = Instance().up()
    yield made
    made.down()


@pytest.fixture(scope="module")
def simulated():
    made = SimulatedInstance(pid_share=1).up()
    yield made
    assert made.sim.errors == []
    made.down()


def plain(value):
    """Without what differs each time."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict) and set(value) == {"message"}:
        text = re.sub("[0-9a-f]{64}", "<id>", value["message"])
        return re.sub("\\b[0-9a-f]{12}\\b", "<short id>", text)
    return value


def inspected(answer):
    """What the agent reads of an inspect answer."""
    state, network = answer["State"], answer["NetworkSettings"]
    flags = ("Status", "Running", "Paused", "Restarting", "OOMKilled", "Dead", "ExitCode", "Error")
    ports = {port: sorted((b["HostIp"], b["HostPort"] != "") for b in bindings or [])
             for port, bindings in (network["Ports"] or {}).items()}
    return {"name": answer["Name"], "image": answer["Image"].startswith("sha256:"), "labels": answer["Config"]["Labels"],
            "created": answer["Created"] > "2020", "started": state["StartedAt"] != ZERO_TIME,
            "finished": state["FinishedAt"] != ZERO_TIME, "pid": state["Pid"] > 0, "ports": ports,
            "health": state.get("Health", {}).get("Status"),
            "mounts": [(m["Type"], m.get("Name"), m["Destination"]) for m in answer["Mounts"]],
            "address": bool(network.get("IPAddress") or network["Networks"]["bridge"]["IPAddress"]),
            **{flag: state[flag] for flag in flags}}


def listed(answer):
    """What it reads of a list."""
    return [(c["Names"], c["State"], c["Labels"], c["ImageID"].startswith("sha256:"), c["Created"] > 0, len(c["Id"]))
            for c in answer]


class Session:
    """One engine, and all that was seen of it."""

    def __init__(self, instance, simulated):
        self.client, self.simulated = Client(instance.docker_socket), simulated
        self.seen = []
        self.since = time.time_ns()

    def note(self, what, value):
        self.seen.append((what, value))

    def call(self, method, path, body=None, read=plain):
        status, answer = self.client.call(method, path, body)
        if status < 300 and read is plain and not isinstance(answer, bytes):
            answer = None
        self.note(f"{method} {path}", (status, read(answer) if status < 300 else plain(answer)))
        return status, answer

    def create(self, name, command, **body):
        return self.call("POST", f"/containers/create?name={name}",
                         {"Image": NAME, "Cmd": command, "Labels": LABELS, **body})

    def inspect(self, name):
        self.call("GET", f"/containers/{name}/json", read=inspected)

    def wait(self, name, condition):
        """Until State is as it should be."""
        wait_until(lambda: condition(self.client.call("GET", f"/containers/{name}/json")[1]["State"]), 20, name)

    def events(self, **filters):
        query = urllib.parse.urlencode({
            "filters": json.dumps({"type": ["container"], **filters}), "until": f"{time.time():.9f}",
            "since": f"{self.since // 10**9}.{self.since % 10**9:09d}"})
        _, data = self.client.call("GET", "/events?" + query)
        return [json.loads(line) for line in data.splitlines()]


def life(s):
    """One container from its creation to its end, with everything that can be asked out of turn."""
    s.call("GET", "/_ping")
    s.create("one", UNTIL_STOPPED, ExposedPorts={"80/tcp": {}},
             HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "18091"}]}, "Binds": ["vol-1:/data"]})
    s.inspect("one")
    s.create("one", ["true"])
    s.create("other", ["true"], Image="nowhere/none:1")
    s.create("other", ["true"], Image="none")
    s.call("POST", "/containers/one/pause")
    s.call("POST", "/containers/one/stop?t=1")
    s.call("POST", "/containers/one/start")
    s.call("POST", "/containers/one/start")
    s.inspect("one")
    labels = urllib.parse.quote(json.dumps({"label": ["com.amazonaws.ecs.task-arn"]}))
    s.call("GET", f"/containers/json?all=1&filters={labels}", read=listed)
    none = urllib.parse.quote(json.dumps({"label": ["com.amazonaws.ecs.task-arn=no"]}))
    s.call("GET", f"/containers/json?all=1&filters={none}", read=listed)
    s.call("DELETE", "/containers/one?v=1")
    s.call("DELETE", "/volumes/vol-1")
    s.call("POST", "/containers/one/pause")
    s.inspect("one")
    s.call("POST", "/containers/one/start")
    s.call("DELETE", "/containers/one?v=1")
    s.call("GET", f"/containers/json?all=1&filters={labels}", read=listed)
    s.call("POST", "/containers/one/unpause")
    s.call("POST", "/containers/one/rename?name=first")
    s.inspect("one")
    s.call("POST", "/containers/first/stop?t=5")
    s.inspect("first")
    s.call("POST", "/containers/first/stop?t=5")
    s.call("POST", "/containers/first/kill")
    s.call("GET", f"/containers/json?all=1&filters={labels}", read=listed)
    s.call("POST", "/containers/first/start")
    s.inspect("first")
    s.call("POST", "/containers/first/kill")
    s.wait("first", lambda state: not state["Running"])
    s.inspect("first")
    s.call("DELETE", "/containers/first?v=1")
    for method, rest in (("GET", "/json"), ("POST", "/start"), ("POST", "/stop"), ("POST", "/kill"), ("DELETE", "")):
        s.call(method, f"/containers/first{rest}")
    s.call("DELETE", "/volumes/vol-1")
    s.call("DELETE", "/volumes/vol-1")


def ends(s):
    """Ways to end."""
    s.create("seven", ["sh", "-c", "sleep 0.2; exit 7"])
    s.call("POST", "/containers/seven/start")
    s.wait("seven", lambda state: not state["Running"])
    s.inspect("seven")
    s.create("nothing", ["/does/not/exist"])
    s.call("POST", "/containers/nothing/start")
    s.inspect("nothing")
    s.create("deaf", ["sleep", "1000"])
    s.call("POST", "/containers/deaf/start")
    s.call("POST", "/containers/deaf/stop?t=1")
    s.inspect("deaf")
    s.create("eats", ["sh", "-c", "x=x; while true; do x=$x$x; done"],
             HostConfig={"Memory": 16 << 20, "MemorySwap": 16 << 20})
    s.call("POST", "/containers/eats/start")
    s.wait("eats", lambda state: not state["Running"] and state["OOMKilled"])
    s.inspect("eats")
    s.create("again", UNTIL_STOPPED)
    s.call("POST", "/containers/again/start")
    s.call("POST", "/containers/again/restart?t=2")
    s.inspect("again")
    s.call("DELETE", "/containers/again?force=1")


def oom_inside(s):
    """A process of the container is killed for lack of memory, and the container goes on, to end with 0."""
    s.create("part", ["oom-event", "0.2", "exit", "0", "after", "1.5"] if s.simulated else
             ["sh", "-c", "(x=x; while true; do x=$x$x; done) & sleep 1.5; exit 0"],
             HostConfig={"Memory": 16 << 20, "MemorySwap": 16 << 20})
    s.call("POST", "/containers/part/start")
    wait_until(lambda: s.events(event=["oom"]), 20, "the kernel")
    s.inspect("part")
    s.wait("part", lambda state: not state["Running"])
    s.inspect("part")


def health(s):
    s.create("well", ["healthy", "0.3"] if s.simulated else UNTIL_STOPPED,
             Healthcheck={"Test": ["CMD", "true"], "Interval": 200_000_000, "Timeout": 10**9, "Retries": 1})
    s.call("POST", "/containers/well/start")
    s.inspect("well")
    s.wait("well", lambda state: state["Health"]["Status"] == "healthy")
    s.inspect("well")
    s.call("POST", "/containers/well/stop?t=5")
    s.inspect("well")


def images(s):
    s.call("GET", f"/images/{urllib.parse.quote(NAME, safe='')}/json",
           read=lambda a: (a["Id"].startswith("sha256:"), a["RepoTags"], a["RepoDigests"], type(a["Size"])))
    s.call("GET", "/images/none/json")
    s.call("GET", "/images/json", read=lambda a: [(i["RepoTags"], i["RepoDigests"], type(i["Size"]), type(i["Created"]))
                                                  for i in a])
    s.call("POST", f"/images/{NAME}/tag?repo=busy&tag=2")
    s.call("DELETE", "/images/busy:2?noprune=1", read=lambda a: a)
    s.call("DELETE", "/images/busy:2?noprune=1")
    s.create("user", ["true"])
    s.call("DELETE", f"/images/{NAME}?noprune=1")


def info(s):
    s.call("GET", "/version", read=lambda a: {name: type(a[name]) for name in ("Version", "ApiVersion", "MinAPIVersion")})
    s.call("GET", "/info", read=lambda a: (type(a["DockerRootDir"]), a["CgroupDriver"], a["CgroupVersion"]))


def differences(ours, theirs):
    """(what, simulated, real) wherever the two differ."""
    assert [what for what, _ in ours] == [what for what, _ in theirs]
    for (what, (status, a)), (_, (real_status, b)) in zip(ours, theirs):
        if isinstance(a, dict) and isinstance(b, dict) and status == real_status:
            yield from ((what, name, a.get(name), b.get(name)) for name in sorted({*a, *b}) if a.get(name) != b.get(name))
        elif (status, a) != (real_status, b):
            yield what, (status, a), (real_status, b)


@pytest.mark.parametrize("script", [life, ends, oom_inside, health, images, info], ids=lambda script: script.__name__)
def test_conforms(real, simulated, script):
    engines = Session(real, False), Session(simulated, True)
    told = []
    for session in engines:
        try:
            script(session)
            seen = {}      # of each container, in order; the kernel's verdict may come before or after the end
            for event in session.events(event=["create", "start", "die", "stop", "oom", "health_status", "destroy",
                                               "pause", "unpause", "rename", "restart"]):
                attributes = event["Actor"]["Attributes"]
                assert event["timeNano"] // 10**9 == event["time"] and event["Type"] == "container"
                assert event.get("id", event["Actor"]["ID"]) == event["Actor"]["ID"]
                seen.setdefault(event["Actor"]["ID"], []).append(
                    (event["Action"], attributes.get("exitCode"), attributes["name"], attributes["image"],
                     attributes.get("com.amazonaws.ecs.task-arn")))
            together = {"oom", "die"}
            told.append([sorted(events, key=lambda e: e[0] in together) if any(e[0] == "oom" for e in events) else events
                         for events in seen.values()])
        finally:
            for name in ("one", "first", "seven", "nothing", "deaf", "eats", "again", "part", "well", "user"):
                session.client.call("DELETE", f"/containers/{name}?force=1")
    real_one, simulated_one = engines
    found = list(differences(simulated_one.seen, real_one.seen))
    assert not found, "\n".join(map(str, found))
    assert [sorted(events, key=str) for events in told[1]] == [sorted(events, key=str) for events in told[0]]
    if script not in (ends, oom_inside):
        assert told[1] == told[0]
