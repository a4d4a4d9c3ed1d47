"""What is done to the agent and to what it works with. Each kind draws its moment from the seed."""

import os
import random
import re
import signal
import threading
import time

from ecsbed.agent import BUILD

import engines

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(HERE, "..", "..")


def point_names():
    """The crash points that are in the source, but for those of the take-over from another agent, which happens once
    (test_takeover.py kills there)."""
    names = set()
    for top in ("agent", "common", "cgroups"):
        for directory, _, files in os.walk(os.path.join(SOURCES, top)):
            for file in files:
                if file.endswith(".c") and not directory.endswith("/takeover"):
                    with open(os.path.join(directory, file)) as source:
                        names |= set(re.findall(r'CRASH_POINT\("([^"]+)"\)', source.read()))
    return sorted(names)


def has_points():
    """Whether the programs under test have them."""
    with open(os.path.join(BUILD, "ecsd"), "rb") as program:
        return b"ECSD_CRASH_AT" in program.read()


class Points:
    """Which crash points are still to be hit. Those that were hit least come first."""

    def __init__(self, rng, names):
        self.rng = rng
        self.hits = dict.fromkeys(names, 0)
        self.tries = dict.fromkeys(names, 0)

    def draw(self):
        """A point and a number of passages, as ECSD_CRASH_AT wants them."""
        least = min(self.hits[name] + self.tries[name] / 4 for name in self.hits)
        name = self.rng.choice([n for n in self.hits if self.hits[n] + self.tries[n] / 4 <= least + 0.25])
        passage = 1 if self.tries[name] or self.rng.random() < 0.5 else self.rng.randint(2, 4)
        self.tries[name] += 1
        return f"{name}:{passage}"

    def hit(self, name):
        self.hits[name] += 1
        self.tries[name] = 0


# What the control plane sees of the agent: (kind of event, operation or type of message).
EVENTS = ([(kind, operation) for kind in ("http.request", "http.response")
           for operation in ("SubmitTaskStateChange", "SubmitTaskStateChange", "RegisterContainerInstance",
                             "DiscoverPollEndpoint")] +
          [("ws.upgrade", "acs"), ("ws.open", "acs"), ("ws.frame", "AckRequest"), ("ws.frame", "AckRequest"),
           ("ws.frame", "IAMRoleCredentialsAckRequest"), ("ws.frame", "PayloadMessage")])


class Trigger:
    """Kills the agent at the n-th request of a verb to Docker, or the n-th event at the control plane."""

    def __init__(self, rng, bed, docker):
        self.bed, self.docker = bed, docker
        self.left = rng.choice((1, 1, 2, 3, 6))
        self.fired = False
        self.process = None         # only this one is killed
        if rng.random() < 0.5:
            verb, stage = rng.choice(sorted(engines.VERBS)), rng.choice(("before", "after"))
            self.kind = "kill at a request to Docker"
            docker.trigger(verb, stage, self.passed)
        else:
            self.kind = "kill at an event of the control plane"
            self.wanted = rng.choice(EVENTS)
            bed.cp.recording.listeners.append(self.event)

    def event(self, event):
        if (event["kind"], event.get("type") or event.get("op")) == self.wanted:
            self.passed()

    def passed(self):
        self.left -= 1
        if self.left == 0 and self.process and not self.fired:
            self.fired = True
            self.process.send_signal(signal.SIGKILL)

    def close(self):
        self.docker.untrigger()
        if self.event in self.bed.cp.recording.listeners:
            self.bed.cp.recording.listeners.remove(self.event)


class Killer:
    """Kills and cuts in one bed; counts what it did."""

    def __init__(self, bed, docker, rng, points=None):
        self.bed, self.docker, self.instance, self.rng, self.points = bed, docker, docker.instance, rng, points
        self.counts = {}
        self.armed = None           # the crash point that the present process may die at
        self.trigger = None         # or what it is killed at
        self.read = 0               # of the agent's standard error
        self.unexpected = []

    @property
    def kills(self):
        return sum(count for kind, count in self.counts.items() if kind.startswith("kill "))

    def count(self, kind):
        self.counts[kind] = self.counts.get(kind, 0) + 1

    # --- the agent's life

    def start(self, arm=False):
        """Starts the agent, perhaps with a crash point to die at, or an event to be killed at."""
        self.disarm()
        if arm and self.points and self.rng.random() < 0.5:
            self.armed = self.points.draw()
        elif arm:
            self.trigger = Trigger(self.rng, self.bed, self.docker)
        if self.armed and self.armed.startswith(("server.", "spawner.")):
            self.bed.agent.kill_endpoint()      # only a new one passes there
        self.bed.agent.start(ECSD_CRASH_AT=self.armed or "")
        if self.trigger:
            self.trigger.process = self.bed.agent.process

    def waits(self):
        return bool(self.armed or self.trigger)

    def disarm(self):
        """The process that may have been about to die is dead already."""
        if self.trigger:
            self.trigger.close()
        self.armed = self.trigger = None

    def crashed(self):
        """Whether a crash point was hit since the last question; also ends what is left of that agent."""
        with open(self.bed.agent.stderr_file, errors="replace") as file:
            file.seek(self.read)
            text = file.read()
            self.read = file.tell()
        names = re.findall(r"^crash point (\S+)$", text, re.M)
        if not names:
            return False
        for name in names:
            self.points.hit(name)
            self.count("kill at a crash point")
        self.armed = None
        if self.bed.agent.running:              # it was the spawner or ecs-endpoint, which die again and again
            self.bed.agent.kill()
            self.bed.agent.kill_endpoint()
        else:
            self.bed.agent.wait(5)
        return True

    def died(self):
        """Whether the agent ended, as it was told to or not."""
        if self.crashed():
            return True
        if self.bed.agent.running:
            return False
        if self.crashed():                      # it died between the two questions
            return True
        if self.trigger and self.trigger.fired:
            self.count(self.trigger.kind)
            return True
        self.unexpected.append(f"ecsd ended with {self.bed.agent.process.returncode}\n{self.bed.agent.log_tail(15)}")
        return True

    def pause(self, seconds, events):
        """Waits for so many events at the control plane and at Docker, or so long; True if the agent died meanwhile."""
        limit, goal = time.monotonic() + seconds, self.seen() + events
        while (left := limit - time.monotonic()) > 0 and self.seen() < goal:
            if not self.bed.agent.running and self.died():
                return True
            time.sleep(min(left, 0.005))
        return self.died()

    def seen(self):
        return self.bed.cp.recording.mark() + self.docker.seen()

    # --- what can happen

    def ecsd(self):
        self.bed.agent.kill()
        self.count("kill ecsd")
        self.start(arm=self.rng.random() < 0.4)

    def ecsd_in_recovery(self):
        """Killed again while it reads its state, asks Docker, registers."""
        self.bed.agent.kill()
        self.count("kill ecsd")
        self.start()
        time.sleep(self.rng.random() * 0.08)     # a start takes some 40 ms
        self.bed.agent.kill()
        self.count("kill ecsd in recovery")
        self.start()

    def endpoint(self):
        self.bed.agent.kill_endpoint()
        self.count("kill ecs-endpoint")

    def both(self):
        self.bed.agent.kill()
        self.bed.agent.kill_endpoint()
        self.count("kill ecsd and ecs-endpoint")
        self.start(arm=self.rng.random() < 0.4)

    def dockerd(self):
        self.count("kill dockerd")
        self.instance.stop_dockerd(signal.SIGKILL)
        time.sleep(self.rng.random() * self.docker.pace)
        self.instance.start_dockerd()

    def cut_acs(self):
        session = self.bed.cp.acs
        if session and session.socket.open:
            session.socket.abort()
            self.count("cut of ACS")

    def cut_docker(self):
        verb = self.rng.choice(("create", "start", "stop", "remove", "inspect", "list", "events"))
        self.docker.cut(verb, self.rng.choice((0, self.rng.random() * 0.2)))
        self.count("cut of a request to Docker")

    def api_fault(self):
        operation = self.rng.choice(("SubmitTaskStateChange",) * 4 + ("DiscoverPollEndpoint",
                                                                    "RegisterContainerInstance"))
        action = self.rng.choice(("error", "throttle", "drop", "hold"))
        self.count(f"API {action}")
        if action == "hold":
            fault = self.bed.cp.fault(operation, "hold")
            timer = threading.Timer(self.rng.random() * 1.5 * self.docker.pace, fault.release)
            timer.daemon = True
            timer.start()
        elif action == "throttle":
            self.bed.cp.fault(operation, times=self.rng.randint(1, 3), status=400, type="ThrottlingException")
        elif action == "error":
            self.bed.cp.fault(operation, times=self.rng.randint(1, 3))
        else:
            self.bed.cp.fault(operation, "drop")


def rng_of(*parts):
    """Random numbers that depend on nothing but these."""
    return random.Random("/".join(map(str, parts)))
