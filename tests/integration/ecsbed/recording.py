"""What was seen, in order and with times; tests wait on it instead of sleeping.

An event is a dict: seq, t (wall clock), mono, kind and the rest. Kinds: http.request, http.response,
ws.upgrade, ws.open, ws.frame, ws.closed, note, violation. dump() writes the form that compare.py reads."""

import json
import threading
import time


class Timeout(AssertionError):
    """What a test waited for did not come."""


class Recording:
    def __init__(self):
        self.events = []
        self.changed = threading.Condition()
        self.listeners = []   # called with every event (the demo prints them)

    def add(self, kind, **fields):
        with self.changed:
            event = {"seq": len(self.events) + 1, "t": time.time(), "mono": time.monotonic(),
                     "kind": kind, **fields}
            self.events.append(event)
            for listener in self.listeners:
                listener(event)
            self.changed.notify_all()
        return event

    def mark(self):
        """A position: events from here on are those not yet seen."""
        return len(self.events)

    def select(self, predicate=lambda event: True, since=0):
        with self.changed:
            return [event for event in self.events[since:] if predicate(event)]

    def wait(self, predicate, timeout=20, since=0, what="an event", count=1):
        """The count-th event from position since on for which predicate holds."""
        limit = time.monotonic() + timeout
        position, seen = since, 0
        with self.changed:
            while True:
                while position < len(self.events):
                    event = self.events[position]
                    position += 1
                    if predicate(event):
                        seen += 1
                        if seen == count:
                            return event
                left = limit - time.monotonic()
                if left <= 0:
                    raise Timeout(f"waited {timeout} s in vain for {what}")
                self.changed.wait(left)

    def never(self, predicate, seconds, since=0, what="an event"):
        """Asserts that no such event comes for so long."""
        try:
            event = self.wait(predicate, seconds, since)
        except Timeout:
            return
        raise AssertionError(f"{what} came: {event}")

    def dump(self, path):
        with self.changed, open(path, "w") as file:
            for event in self.events:
                file.write(json.dumps(event) + "\n")
