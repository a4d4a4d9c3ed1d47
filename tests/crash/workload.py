"""Tasks of mixed shape, and an ECS that wants them to run and to stop: it repeats what is not acknowledged."""

import threading
import time
import uuid

from ecsbed import tasks

MISSING_IMAGE = "127.0.0.1:1/nobody/missing:1"     # the registry refuses the connection
IGNORES_TERM = ["sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"]
STATIC_PORTS = range(20000, 20010)


def exits(rng):
    return ["sh", "-c", f"sleep {rng.choice((0, 0.05, 0.3, 1)):.2f}; exit {rng.choice((0, 0, 1, 7, 42))}"]


class Shapes:
    """Draws tasks. Static ports are drawn from a small range, so that tasks wait for each other's.

    images: names that can be pulled. simulated: commands are those of simcontainer.py where the shell's would not do."""

    def __init__(self, rng, images=(), simulated=False):
        self.rng, self.images = rng, images
        self.deaf = ["deaf"] if simulated else IGNORES_TERM
        self.healthy = ["healthy", "0.3"] if simulated else None
        self.shapes = [self.single, self.single, self.several, self.several, self.chain, self.volume, self.ports,
                       self.stubborn, self.broken, self.missing, self.health]
        if images:
            self.shapes.append(self.pulled)

    def draw(self):
        extra = {}
        if self.rng.random() < 0.4:
            extra["roleCredentials"] = tasks.credentials()
        if self.rng.random() < 0.15:
            extra["executionRoleCredentials"] = tasks.credentials("ASIATESTEXECUTION")
        if self.rng.random() < 0.3:
            extra.update(cpu=0.25, memory=256)
        containers, more = self.rng.choice(self.shapes)()
        return tasks.task(*containers, **extra, **more)

    def command(self):
        return exits(self.rng) if self.rng.random() < 0.5 else None

    def single(self):
        return [tasks.container("m", self.command())], {}

    def several(self):
        return [tasks.container(name, self.command(), essential=not index or self.rng.random() < 0.3)
                for index, name in enumerate("abc"[:self.rng.randint(2, 3)])], {}

    def chain(self):
        condition = self.rng.choice(("START", "COMPLETE", "SUCCESS"))
        first = tasks.container("first", exits(self.rng) if condition != "START" else self.command(), essential=False)
        return [tasks.container("last", self.command(),
                                dependsOn=[{"containerName": "first", "condition": condition}]), first], {}

    def health(self):
        check = {"Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 500000000, "Timeout": 5000000000,
                                 "Retries": 3, "StartPeriod": 0}}
        return [tasks.container("last", self.command(),
                                dependsOn=[{"containerName": "first", "condition": "HEALTHY"}]),
                tasks.container("first", self.healthy, config=check, healthCheckType="docker")], {}

    def volume(self):
        mount = [{"sourceVolume": "v", "containerPath": "/v", "readOnly": False}]
        return [tasks.container("m", self.command(), mountPoints=mount)], {"volumes": [{"name": "v", "host": {}}]}

    def ports(self):
        host = self.rng.choice((0, self.rng.choice(STATIC_PORTS)))
        return [tasks.container("m", self.command(), portMappings=[
            {"containerPort": 80, "hostPort": host, "protocol": "tcp"}])], {}

    def stubborn(self):
        return [tasks.container("m", self.deaf)], {}

    def broken(self):
        return [tasks.container("m", ["/no/such/command"]), tasks.container("n", self.command(), essential=False)], {}

    def pulled(self):
        return [tasks.container("m", self.command(), image=self.rng.choice(self.images))], {}

    def missing(self):
        return [tasks.container("m", image=MISSING_IMAGE), tasks.container("n", essential=False)], {}


class Wish:
    """What ECS wants of one task, and how far it has got."""

    def __init__(self, payload):
        self.payload = payload
        self.message_id = str(uuid.uuid4())
        self.acknowledged = False       # the present message
        self.ever_acknowledged = False
        self.stop_sent = None
        self.over = False               # STOPPED was accepted
        self.session, self.sent_at = 0, 0.0

    @property
    def arn(self):
        return self.payload["arn"]

    def message(self):
        return tasks.stopped(self.payload) if self.stop_sent else self.payload


class Ecs:
    """Sends wishes over ACS until they are acknowledged: at once, on every new session, and every few seconds."""

    def __init__(self, bed, repeat):
        self.bed, self.cp, self.repeat_after = bed, bed.cp, repeat
        self.wishes, self.lock = {}, threading.RLock()
        self.requests = {}      # sequence number of a request -> task, of ends not yet answered
        self.ended = threading.Event()
        self.events = []
        self.cp.recording.listeners.append(self.events.append)     # called under the recording's lock
        self.thread = threading.Thread(target=self._run, name="ecs", daemon=True)
        self.thread.start()

    def stop(self):
        self.ended.set()
        self.thread.join()
        self._take_events()

    def launch(self, payload):
        with self.lock:
            self.wishes[payload["arn"]] = Wish(payload)
            self._send(self.wishes[payload["arn"]])

    def end(self, arn):
        """Wants a task stopped."""
        with self.lock:
            wish = self.wishes[arn]
            if not wish.over and not wish.stop_sent:
                wish.stop_sent = time.time()
                wish.message_id, wish.acknowledged = str(uuid.uuid4()), False
                self._send(wish)

    def repeat(self, arn):
        """Sends again what was acknowledged already."""
        with self.lock:
            if not self.wishes[arn].over:
                self._send(self.wishes[arn])

    def alive(self):
        """Tasks that have not ended as far as ECS knows, in the order in which they were launched."""
        with self.lock:
            return [wish.arn for wish in self.wishes.values() if not wish.over]

    def settled(self):
        with self.lock:
            return all(wish.over for wish in self.wishes.values())

    def _session(self):
        session = self.cp.acs
        return session.number if session and session.socket.open else 0

    def _send(self, wish):
        wish.session, wish.sent_at = self._session(), time.monotonic()
        if not wish.session:
            return
        try:
            self.cp.send_payload(wish.message(), message_id=wish.message_id)
        except OSError:
            pass

    def _run(self):
        while not self.ended.wait(0.02):
            self._take_events()
            session, now = self._session(), time.monotonic()
            with self.lock:
                for wish in self.wishes.values():
                    due = wish.session != session or now - wish.sent_at > self.repeat_after
                    if session and due and not wish.acknowledged and not wish.over:
                        self._send(wish)

    def _take_events(self):
        events, count = self.events, len(self.events)
        for event in events[:count]:
            with self.lock:
                self._event(event)
        del events[:count]

    def _event(self, event):
        kind, operation = event["kind"], event.get("op")
        if kind == "http.request" and operation == "SubmitTaskStateChange" and event["body"]["status"] == "STOPPED":
            self.requests[event["seq"]] = event["body"]["task"]
        elif kind == "http.response" and event["request"] in self.requests:
            wish = self.wishes.get(self.requests.pop(event["request"]))
            if wish and event["status"] == 200:
                wish.over = True
        elif kind == "ws.frame" and event["dir"] == "in" and event.get("type") == "AckRequest":
            for wish in self.wishes.values():
                if wish.message_id == event["message"]["messageId"]:
                    wish.acknowledged = wish.ever_acknowledged = True
        elif kind == "ws.open" and operation == "acs" and event["query"]["sendCredentials"] == "true":
            self._send_credentials()

    def _send_credentials(self):
        for wish in self.wishes.values():
            if wish.over or not wish.ever_acknowledged:
                continue
            for member, role in (("roleCredentials", "TaskApplication"),
                                 ("executionRoleCredentials", "TaskExecution")):
                if member in wish.payload:
                    try:
                        self.cp.send_credentials(wish.arn, wish.payload[member], role)
                    except OSError:
                        pass
