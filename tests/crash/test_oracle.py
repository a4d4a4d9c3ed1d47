"""The oracle can fail: one made-up history for each kind of violation, and some that are in order."""

import copy
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from oracle import Container, History, Report, Task, check  # noqa: E402

ARN = "arn:aws:ecs:us-west-2:123456789012:task/lab/0123"


def change(name, status, **members):
    return {"containerName": name, "status": status, "runtimeId": "id-" + name, **members}


def report(time, status, *changes, accepted=True, **members):
    return Report(time, {"task": ARN, "status": status, "reason": "", "containers": list(changes), **members}, accepted)


def good():
    """A task of two containers: b ran to its end with 7, a was stopped by ECS."""
    return History(
        tasks=[Task({"arn": ARN, "containers": [
            {"name": "a", "dependsOn": [{"containerName": "b", "condition": "COMPLETE"}]}, {"name": "b"}]},
            stop_sent=30.0)],
        reports=[report(14.0, "RUNNING", change("b", "RUNNING"), change("b", "STOPPED", exitCode=7),
                        change("a", "RUNNING")),
                 report(32.0, "STOPPED", change("a", "STOPPED", exitCode=0))],
        containers=[Container("id-a", ARN, "a", 1, 13.0, 31.0, {0}), Container("id-b", ARN, "b", 1, 10.0, 12.0, {7})])


def single():
    """A task of one container that ended by itself."""
    return History(
        tasks=[Task({"arn": ARN, "containers": [{"name": "m"}]})],
        reports=[report(11.0, "RUNNING", change("m", "RUNNING")),
                 report(13.0, "STOPPED", change("m", "STOPPED", exitCode=3))],
        containers=[Container("id-m", ARN, "m", 1, 10.0, 12.0, {3})])


def kinds(history):
    return {violation.kind for violation in check(history)}


def test_good_histories():
    assert check(good()) == [] and check(single()) == []


def test_the_same_state_twice_is_allowed():
    history = single()
    history.reports.insert(1, copy.deepcopy(history.reports[0]))
    history.reports.append(copy.deepcopy(history.reports[-1]))
    assert check(history) == []


def test_a_report_of_several_states_twice_is_allowed():
    history = good()
    history.reports.insert(0, copy.deepcopy(history.reports[0]))
    assert check(history) == []


def test_refused_reports_are_sent_again():
    history = single()
    first = copy.deepcopy(history.reports[0])
    first.accepted = False
    history.reports.insert(0, first)
    assert check(history) == []


def test_stopped_before_anything_was_made():
    history = History([Task({"arn": ARN, "containers": [{"name": "m"}]}, stop_sent=1.0)], [report(2.0, "STOPPED")], [])
    assert check(history) == []


def test_failed_to_start():
    history = single()
    history.reports = [report(13.0, "STOPPED", change("m", "STOPPED", reason="CannotStartContainerError: no such file"))]
    history.containers = [Container("id-m", ARN, "m", exit_codes={127}, error="no such file")]
    assert check(history) == []


def edit(history, function):
    function(history)
    return history


SPOILED = [
    ("launched-twice", single, lambda h: h.containers.append(Container("id-n", ARN, "m", 0))),
    ("launched-twice", single, lambda h: setattr(h.containers[0], "starts", 2)),
    ("launched-twice", single, lambda h: h.containers.append(Container("id-x", ARN, "x"))),
    ("not-executed", single, lambda h: (h.containers.clear(), h.reports.__setitem__(
        slice(None), [report(13.0, "STOPPED")]))),
    ("not-reported", single, lambda h: h.reports.clear()),
    ("not-reported", single, lambda h: setattr(h.reports[-1], "accepted", False)),
    ("not-reported", single, lambda h: h.reports[-1].body["containers"].clear()),
    ("not-reported", single, lambda h: h.reports.pop(0)),
    ("not-reported", good, lambda h: h.reports[0].body["containers"].pop(1)),
    ("false-state", single, lambda h: (setattr(h.containers[0], "starts", 0),
                                       setattr(h.containers[0], "started", None))),
    ("false-state", single, lambda h: setattr(h.reports[0], "time", 9.0)),
    ("false-state", single, lambda h: setattr(h.reports[-1], "time", 11.0)),
    ("false-state", single, lambda h: setattr(h.containers[0], "running", True)),
    ("false-state", single, lambda h: setattr(h.containers[0], "id", "other")),
    ("false-state", single, lambda h: h.reports.append(Report(1.0, {"task": "unknown", "status": "STOPPED"}))),
    ("wrong-exit", single, lambda h: setattr(h.containers[0], "exit_codes", {4})),
    ("wrong-exit", single, lambda h: h.reports[-1].body["containers"][0].pop("exitCode")),
    ("wrong-exit", single, lambda h: h.containers.clear()),
    ("wrong-order", single, lambda h: h.reports.reverse()),
    ("wrong-order", good, lambda h: h.reports[0].body["containers"].__setitem__(
        slice(0, 2), h.reports[0].body["containers"][1::-1])),
    ("wrong-order", good, lambda h: h.reports.insert(1, report(14.1, "RUNNING", change("b", "RUNNING")))),
    ("contradiction", single, lambda h: h.reports.append(report(14.0, "STOPPED", change("m", "STOPPED", exitCode=4)))),
    ("contradiction", single, lambda h: h.reports.append(report(14.0, "STOPPED", reason="another"))),
    ("contradiction", single, lambda h: h.reports.append(report(14.0, "STOPPED", change("m", "STOPPED")))),
    ("contradiction", single, lambda h: h.reports.insert(1, report(12.0, "RUNNING", change(
        "m", "RUNNING", runtimeId="other")))),
    ("wrong-reason", single, lambda h: h.reports[-1].body["containers"][0].update(reason="SomeError: why")),
    ("wrong-reason", single, lambda h: h.reports[-1].body["containers"][0].update(reason="just so")),
    ("wrong-reason", single, lambda h: setattr(h.containers[0], "oom", True)),
    ("wrong-reason", single, lambda h: h.reports[0].body["containers"][0].update(reason="SomeError: why")),
    ("wrong-dependency", good, lambda h: setattr(h.containers[1], "finished", 14.0)),
    ("wrong-dependency", good, lambda h: setattr(h.containers[1], "started", 15.0)),
    ("wrong-dependency", good, lambda h: h.tasks[0].payload["containers"][0]["dependsOn"][0].update(
        condition="SUCCESS")),
    ("left-over", single, lambda h: h.left_over.append("container x")),
    ("protocol", single, lambda h: h.protocol.append("no signature")),
]


@pytest.mark.parametrize("kind, make, spoil", SPOILED, ids=[f"{kind}-{i}" for i, (kind, _, _) in enumerate(SPOILED)])
def test_spoiled_history(kind, make, spoil):
    assert kind in kinds(edit(make(), spoil))
