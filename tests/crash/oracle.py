"""Compares what Docker had with what the control plane was told. Pure: a History in, violations out.

What is asked, for every task that was sent:
  launched-twice      a container was created or started more than once
  not-executed        an acknowledged task of which nothing was made, and nothing says why
  not-reported        an acknowledged task, or an ended container, whose end ECS was never told
  false-state         RUNNING of what never ran, or STOPPED of what still ran
  wrong-exit          an exit code that Docker never gave, or none although there was one
  wrong-order         a status that went back
  contradiction       the same state told twice in different words
  wrong-reason        a reason for a container that just ended, or one without a name
  wrong-dependency    a container that was started before what it depends on
  left-over           anything that is still there in the end
  protocol            a request that the control plane found wrong, or ecsd ended by itself"""

import dataclasses
import itertools
import re

SLACK = 0.5     # seconds by which Docker's clock and the control plane's may seem to differ
_RANKS = {"MANIFEST_PULLED": 0, "PENDING": 0, "RUNNING": 1, "STOPPED": 2}
_NAMED = re.compile(r"[A-Z]\w+(Error|Exception)?: ")
# Docker gives no exit code for what ecsd itself decided (task-engine.md §7.5).
_NEVER_STARTED = 143


@dataclasses.dataclass
class Container:
    """What Docker had. Times are seconds since the epoch; None: it did not happen, or nobody saw it."""
    id: str
    task: str
    name: str
    starts: int = 0
    started: float = None
    finished: float = None
    exit_codes: set = dataclasses.field(default_factory=set)    # whatever Docker said of the end
    error: str = ""                                             # State.Error
    oom: bool = False
    running: bool = False                                       # when last looked at
    vanished: bool = False                                      # ended without Docker being able to say how


@dataclasses.dataclass
class Report:
    """One SubmitTaskStateChange as it came; accepted: the control plane answered 200."""
    time: float
    body: dict
    accepted: bool = True


@dataclasses.dataclass
class Task:
    payload: dict
    acknowledged: bool = True
    stop_sent: float = None     # when ECS first wanted it stopped


@dataclasses.dataclass
class History:
    tasks: list
    reports: list
    containers: list
    left_over: list = dataclasses.field(default_factory=list)   # texts
    protocol: list = dataclasses.field(default_factory=list)    # texts


@dataclasses.dataclass
class Violation:
    kind: str
    task: str
    text: str

    def __str__(self):
        return f"{self.kind}: {self.text}" + (f" [{self.task}]" if self.task else "")


def check(history):
    """All violations of a history."""
    found = []
    for task in history.tasks:
        arn = task.payload["arn"]
        view = _View(task, [report for report in history.reports if report.body["task"] == arn],
                     [container for container in history.containers if container.task == arn])
        for rule in _RULES:
            found += [Violation(kind, arn, text) for kind, text in rule(view)]
    known = {task.payload["arn"] for task in history.tasks}
    found += [Violation("false-state", report.body["task"], "a report of a task that was never sent")
              for report in history.reports if report.body["task"] not in known]
    found += [Violation("left-over", "", text) for text in history.left_over]
    found += [Violation("protocol", "", text) for text in history.protocol]
    return found


class _View:
    """All that is known of one task."""

    def __init__(self, task, reports, containers):
        self.task, self.reports, self.containers = task, reports, containers
        self.names = [container["name"] for container in task.payload["containers"]]
        self.accepted = [report for report in reports if report.accepted]

    def docker(self, name):
        return [container for container in self.containers if container.name == name]

    def changes(self, name, status=None, accepted=False):
        """(report, change) of one container, in the order in which they came."""
        return [(report, change) for report in (self.accepted if accepted else self.reports)
                for change in report.body.get("containers", [])
                if change["containerName"] == name and status in (None, change["status"])]

    def stopped(self):
        """The first accepted report of the task's end."""
        return next((report for report in self.accepted if report.body["status"] == "STOPPED"), None)

    def reasons(self):
        texts = [change.get("reason", "") for name in self.names for _, change in self.changes(name)]
        return [text for text in texts + [report.body.get("reason", "") for report in self.reports] if text]


def _launched_once(view):
    for name in {container.name for container in view.containers}:
        made = view.docker(name)
        if len(made) > 1:
            yield "launched-twice", f"{len(made)} containers for {name}: {[c.id[:12] for c in made]}"
        if name not in view.names:
            yield "launched-twice", f"a container {name} that the task does not have"
        starts = sum(container.starts for container in made)
        if starts > 1:
            yield "launched-twice", f"{name} was started {starts} times"


def _executed(view):
    if not view.task.acknowledged or view.containers:
        return
    end = view.stopped()
    wanted_stop = view.task.stop_sent is not None and (end is None or view.task.stop_sent <= end.time + SLACK)
    if not wanted_stop and not view.reasons():
        yield "not-executed", "acknowledged, but no container was made and no reason given"


def _reported(view):
    end = view.stopped()
    if view.task.acknowledged and not end:
        yield "not-reported", f"acknowledged, never told STOPPED; told {[r.body['status'] for r in view.reports]}"
    for container in view.containers:
        if container.running or container.name not in view.names:
            continue
        if not view.changes(container.name, "STOPPED", accepted=True):
            yield "not-reported", f"{container.name} has ended ({sorted(container.exit_codes)}), ECS was not told"
    if end and len(view.names) == 1 and view.task.stop_sent is None:
        for container in view.containers:
            if container.starts and not view.changes(container.name, "RUNNING", accepted=True):
                yield "not-reported", f"{container.name} ran, and ECS was not told RUNNING"


def _true_states(view):
    for name in view.names:
        made = view.docker(name)
        for report, change in view.changes(name):
            if change["status"] == "RUNNING" and not any(c.starts or c.started for c in made):
                yield "false-state", f"RUNNING of {name}, which never ran"
            elif change["status"] == "RUNNING" and all(
                    c.started is not None and c.started > report.time + SLACK for c in made):
                yield "false-state", f"RUNNING of {name} before it was started"
            if change["status"] != "STOPPED":
                continue
            if any(c.running or (c.finished is not None and c.finished > report.time + SLACK) for c in made):
                yield "false-state", f"STOPPED of {name} while it ran"
            runtime = change.get("runtimeId")
            if made and runtime and runtime not in [c.id for c in made]:
                yield "false-state", f"{name} has the id {runtime[:12]} in a report"


def _exit_codes(view):
    for name in view.names:
        for container in view.docker(name):
            for _, change in view.changes(name, "STOPPED"):
                code = change.get("exitCode")
                if code is not None and code not in container.exit_codes and not _decided(container, change):
                    yield "wrong-exit", f"{name}: reported {code}, Docker says {sorted(container.exit_codes)}"
                if code is None and container.started is not None and not container.vanished:
                    yield "wrong-exit", f"{name}: no exit code, Docker says {sorted(container.exit_codes)}"
        if not view.docker(name):
            for _, change in view.changes(name, "STOPPED"):
                if change.get("exitCode") not in (None, _NEVER_STARTED):
                    yield "wrong-exit", f"{name}: exit code {change['exitCode']} of no container"


def _decided(container, change):
    return container.started is None and change["exitCode"] == _NEVER_STARTED


def _order(view):
    told = [_RANKS.get(report.body["status"], 0) for report in view.reports]
    if told != sorted(told):
        yield "wrong-order", f"task: {[report.body['status'] for report in view.reports]}"
    for name in view.names:
        # A report may come twice, so each tells at least what the one before it told; inside it, order is order.
        told = [[_RANKS.get(change["status"], 0) for change in report.body.get("containers", [])
                 if change["containerName"] == name] for report in view.reports]
        told = [ranks for ranks in told if ranks]
        if any(ranks != sorted(ranks) for ranks in told) or \
                any(max(after) < max(before) for before, after in itertools.pairwise(told)):
            yield "wrong-order", f"{name}: {[change['status'] for _, change in view.changes(name)]}"


def _consistent(view):
    for name in view.names:
        words = {}
        for _, change in view.changes(name):
            first = words.setdefault(change["status"], change)
            if _contradicts(first, change):
                yield "contradiction", f"{name}: {first} and then {change}"
    ends = {report.body.get("reason") for report in view.reports if report.body["status"] == "STOPPED"}
    if len(ends) > 1:
        yield "contradiction", f"task: STOPPED with the reasons {sorted(ends)}"


def _contradicts(first, second):
    """Later more may be known (an id, ports), but of an end all is said at once."""
    final = ("exitCode", "reason") if first["status"] == "STOPPED" else ()
    return any(first.get(member) != second.get(member) for member in (first.keys() & second.keys()) | set(final))


def _reasons(view):
    for name in view.names:
        for _, change in view.changes(name, "STOPPED"):
            reason = change.get("reason", "")
            if reason and not _NAMED.match(reason):
                yield "wrong-reason", f"{name}: {reason!r}"
            for container in view.docker(name):
                plain = container.started is not None and not container.error and not container.oom
                if reason and plain and not container.vanished:
                    yield "wrong-reason", f"{name} just ended, but was reported with {reason!r}"
                if container.oom and container.started is not None and "OutOfMemoryError" not in reason:
                    yield "wrong-reason", f"{name} was killed for memory, but was reported with {reason!r}"
        for _, change in view.changes(name, "RUNNING"):
            if change.get("reason"):
                yield "wrong-reason", f"{name} RUNNING with {change['reason']!r}"


def _dependencies(view):
    for spec in view.task.payload["containers"]:
        for started in (c for c in view.docker(spec["name"]) if c.started is not None):
            for needed in spec.get("dependsOn", []):
                problem = _unmet(view.docker(needed["containerName"]), needed["condition"], started.started)
                if problem:
                    yield "wrong-dependency", f"{spec['name']} was started, but {needed['containerName']} {problem}"


def _unmet(containers, condition, when):
    met = [c for c in containers if c.started is not None and c.started <= when + SLACK]
    if not met:
        return "was not yet"
    if condition in ("COMPLETE", "SUCCESS") and all(c.finished is None or c.finished > when + SLACK for c in met):
        return "had not ended"
    if condition == "SUCCESS" and all(0 not in c.exit_codes for c in met):
        return f"had failed with {[sorted(c.exit_codes) for c in met]}"
    return None


_RULES = (_launched_once, _executed, _reported, _true_states, _exit_codes, _order, _consistent, _reasons, _dependencies)
