"""The two Dockers of the campaign, real and simulated: how each is had, what happened in it, what is left in it.

What a real Docker did is known from its events, and from a look at every container before it is removed and in the
end. The simulated one keeps a journal."""

import datetime
import http.client
import json
import re
import socket
import threading
import time
import urllib.parse

from ecsbed.bed import Bed
from ecsbed.dockerproxy import DockerProxy
from ecsbed.instance import Instance
from ecsbed.simfaults import Action, Call, Drop
from ecsbed.simulated import SimulatedInstance

from oracle import Container

TASK, NAME = "com.amazonaws.ecs.task-arn", "com.amazonaws.ecs.container-name"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout=None):
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def seconds(text):
    """Docker's time as seconds since the epoch; None for its zero."""
    if not text or text.startswith("0001-"):
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.datetime.fromisoformat(whole + "+00:00")
    return moment.timestamp() + float("0." + (fraction or "0"))


class Journal:
    def __init__(self, docker_socket):
        self.socket, self.lock = docker_socket, threading.Lock()
        self.containers = {}
        self.seen = set()
        self.since = "0"
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._follow, name="journal", daemon=True)
        self.thread.start()

    def stop(self):
        """Takes a last look at what there is."""
        self.stopping.set()
        for identifier in self._list():
            self.look(identifier)

    def look(self, identifier):
        """Asks Docker about a container now; also called right before it is removed."""
        try:
            info = self._get(f"/containers/{identifier}/json")
        except (OSError, http.client.HTTPException, ValueError):
            return
        state, labels = info["State"], info["Config"]["Labels"] or {}
        with self.lock:
            entry = self._entry(info["Id"], labels)
            entry.running = state["Running"]
            entry.started = seconds(state["StartedAt"]) or entry.started
            entry.error = entry.error or state["Error"]
            entry.oom = entry.oom or state["OOMKilled"]
            # Killed before it had written the start down: the container is as if it had never run.
            entry.vanished = entry.vanished or (entry.starts > 0 and state["Status"] == "created")
            if not state["Running"] and state["Status"] != "created":
                entry.exit_codes.add(state["ExitCode"])
                entry.finished = entry.finished or seconds(state["FinishedAt"])

    def _entry(self, identifier, labels):
        if identifier not in self.containers:
            self.containers[identifier] = Container(identifier, labels.get(TASK), labels.get(NAME))
        return self.containers[identifier]

    def _get(self, path):
        connection = _Connection(self.socket, 20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise ValueError(body)
            return json.loads(body)
        finally:
            connection.close()

    def _list(self):
        try:
            return [item["Id"] for item in self._get("/containers/json?all=1")]
        except (OSError, http.client.HTTPException, ValueError):
            return []

    def _follow(self):
        """Docker forgets its events when it is killed: what it has is looked at after each connection."""
        while not self.stopping.wait(0.1):
            query = urllib.parse.urlencode({"since": self.since, "filters": '{"type":["container"]}'})
            connection = _Connection(self.socket)
            try:
                connection.request("GET", "/events?" + query)
                answer = connection.getresponse()
                for identifier in self._list():
                    self.look(identifier)
                while line := answer.readline():
                    self._event(json.loads(line))
            except (OSError, http.client.HTTPException, ValueError):
                pass
            finally:
                connection.close()

    def _event(self, event):
        key = (event["Actor"]["ID"], event["Action"], event["timeNano"])
        if key in self.seen:
            return
        self.seen.add(key)
        self.since = "%d.%09d" % divmod(event["timeNano"], 10**9)
        attributes = event["Actor"]["Attributes"]
        with self.lock:
            entry = self._entry(event["Actor"]["ID"], attributes)
            if event["Action"] == "start":
                entry.starts += 1
                entry.started = entry.started or event["timeNano"] / 1e9
                entry.running = True
            elif event["Action"] == "die":
                entry.exit_codes.add(int(attributes["exitCode"]))
                entry.finished = entry.finished or event["timeNano"] / 1e9
                entry.running = False
            elif event["Action"] == "destroy":
                entry.running = False


class WatchedProxy(DockerProxy):
    """Lets a journal look at a container before a request to remove it gets to Docker."""

    journal = None

    def _apply(self, stage, request, client):
        match = re.match(r"DELETE /containers/([^/?]+)", request)
        if match and stage == "request" and self.journal:
            self.journal.look(match[1])
        super()._apply(stage, request, client)


class _WatchedBed(Bed):
    proxy_class = WatchedProxy


# What the agent asks of Docker; a trigger may be any of them, before or after it is done.
VERBS = {"create": "POST /containers/create", "start": "POST /containers/[^/]+/start", "stop": "POST /containers/[^/]+/stop",
         "inspect": "GET /containers/[^/]+/json", "list": "GET /containers/json", "remove": "DELETE /containers/",
         "events": "GET /events", "version": "GET /version", "info": "GET /info", "pull": "POST /images/create",
         "image_inspect": "GET /images/.+/json", "volume_remove": "DELETE /volumes/"}


class Real:
    """Docker in namespaces of its own. pace: by how much everything may be quicker than in real life."""

    scale, pace, repeat, cleanup = 5, 1.0, 2.0, "10s"
    crowd, launches, stops = 8, (0, 1, 1, 2), 0.2   # tasks at a time; new ones in a step; share of them stopped then
    simulated = False

    def __init__(self, live_restore):
        self.instance = Instance(live_restore=live_restore).up()
        self.journal = Journal(self.instance.docker_socket)

    def bed(self, **settings):
        self.made = _WatchedBed(self.instance, None, clock_scale=self.scale, **settings)
        self.made.proxy.journal = self.journal
        self.made.proxy.recording.listeners.append(self._recorded)
        self.asked, self.function = {}, None
        return self.made

    def seen(self):
        """How much has happened."""
        return self.made.proxy.recording.mark()

    def trigger(self, verb, stage, function):
        """Calls function at each request of a verb: stage "before" or "after" Docker has done it."""
        self.function = (re.compile(VERBS[verb]), stage, function)

    def untrigger(self):
        self.function = None

    def cut(self, verb, late):
        """Cuts off the next request of a verb: Docker has done it, or never saw it."""
        self.made.proxy.rule("^" + VERBS[verb], "drop", "answer" if late else "request")

    def _recorded(self, event):
        if event["kind"] == "docker.request":
            self.asked[event["seq"]] = event["request"]
        trigger = self.function
        if trigger and trigger[1] == ("before" if event["kind"] == "docker.request" else "after"):
            request = event["request"] if event["kind"] == "docker.request" else self.asked[event["request"]]
            if trigger[0].match(request):
                trigger[2]()

    def stop(self):
        self.journal.stop()

    def containers(self):
        return [c for c in self.journal.containers.values() if c.task]

    def left_over(self, docker_was_killed):
        found = [f"volume {name}" for name in self.instance.docker("volume", "ls", "--quiet").split()]
        if docker_was_killed:
            return found        # packet-filter rules of a daemon that was killed stay until the next one starts
        rules = self.instance.run("iptables", "-w", "-t", "nat", "-S", "DOCKER", check=False)
        return found + [f"host port: {line}" for line in rules.splitlines() if "DNAT" in line]

    def down(self):
        self.instance.down()


class _Late(Action):
    """The connection is cut, and the request is executed some time later all the same."""

    def __init__(self, seconds):
        self.seconds = seconds

    def perform(self, connection, request, answer):
        connection.sock.shutdown(socket.SHUT_RDWR)
        time.sleep(self.seconds)
        return False


class Simulated:
    scale, pace, repeat, cleanup = 10, 0.3, 0.3, "20s"
    crowd, launches, stops = 20, (0, 1, 2, 4), 0.05
    simulated = True
    images = [f"crash/pulled{number}:1" for number in range(6)]

    def __init__(self, live_restore):
        self.instance = SimulatedInstance(live_restore=live_restore, scale=self.scale, pid_share=0.2).up()
        self.sim = self.instance.sim
        for name in self.images:
            self.sim.publish(name, seconds=1.0)
        self.hooked = None
        self.offset = time.time() - time.monotonic()

    def bed(self, **settings):
        return Bed(self.instance, None, clock_scale=self.scale, heartbeat=0.5,
                   DOCKER_HOST=f"unix://{self.instance.docker_socket}", **settings)

    def seen(self):
        return 2 * len(self.sim.requests)

    def trigger(self, verb, stage, function):
        call = Call(lambda request: function())
        self.hooked = self.sim.hook(lambda s, request: call if (s, request.verb) == (stage, verb) else None)

    def cut(self, verb, late):
        """Cuts off the next request of a verb; Docker gets round to it later, or never saw it.

        A start is done at once: one that comes after another one, when the container has ended already, starts it
        again, and nobody who does not know of it could help that."""
        if late and verb == "start":
            self.sim.fault(verb, Drop(), "after")
        else:
            self.sim.fault(verb, _Late(late) if late else Drop())

    def untrigger(self):
        if self.hooked:
            self.sim.unhook(self.hooked)
        self.hooked = None

    def stop(self):
        self.made = {}
        for entry in self.sim.happened():
            container = self.made.setdefault(entry.id, Container(entry.id, entry.task, entry.container))
            if entry.what == "start":
                container.starts += 1
                container.started = container.started or entry.mono + self.offset
                container.running = True
            elif entry.what == "exit":
                container.exit_codes.add(entry.code)
                container.finished = entry.mono + self.offset
                container.running = False
            container.oom = container.oom or entry.oom

    def containers(self):
        return [c for c in self.made.values() if c.task]

    def left_over(self, docker_was_killed):
        return [f"volume {name}" for name in self.sim.volumes] + [f"simulation: {text}" for text in self.sim.errors]

    def down(self):
        self.instance.down()
