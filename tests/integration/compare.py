#!/usr/bin/env python3
"""Compares what two agents reported in the same scenario:

    compare.py NAME recording.jsonl ours.jsonl

For each task, in the order in which ECS sent them: the sequence of (status, reason) of the task, and for
each container the sequence of (status, exitCode, reason, networkBindings). Ids, ARNs, host ports that were
given dynamically, and times are made comparable first. Exit code 0: no difference; 1: some, printed."""

import json
import re
import sys

import differences
import transcript

# The first rule that matches wins; each value found is replaced by its kind and number of appearance.
_PATTERNS = re.compile(
    r"(?P<task>(?<=:task/lab/)[0-9a-f]{32})|(?P<instance>(?<=:container-instance/lab/)[0-9a-f]{32})"
    r"|(?P<docker>\b[0-9a-f]{64}\b)|(?P<suffix>(?<=-)[0-9a-f]{20}\b)"
    r"|(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
FIRST_DYNAMIC_PORT = 32768


class Names:
    """Gives the ids of one recording numbers, in order of appearance."""

    def __init__(self):
        self.known = {}

    def name(self, kind, value):
        kinds = self.known.setdefault(kind, {})
        return f"<{kind}-{kinds.setdefault(value, len(kinds) + 1)}>"

    def text(self, text):
        return _PATTERNS.sub(lambda match: self.name(match.lastgroup, match.group()), text)

    def port(self, port):
        return self.name("port", port) if port >= FIRST_DYNAMIC_PORT else port


def _bindings(names, change):
    bindings = sorted(change["networkBindings"], key=lambda b: (b.get("containerPort", 0), b.get("protocol", "")))
    return [{**binding, "hostPort": names.port(binding.get("hostPort", 0))} for binding in bindings]


def extract(events):
    """The report in a recording: a list of tasks, each with its own and its containers' sequences."""
    names, tasks, calls = Names(), {}, set()

    def task(arn):
        return tasks.setdefault(arn, {"task": [], "containers": {}})

    for event in events:
        if event["kind"] == "ws.frame" and event["dir"] == "out" and event.get("type") == "PayloadMessage":
            message = event["message"] if isinstance(event["message"], dict) else {}
            for sent in message.get("tasks") or []:
                names.text(sent.get("arn", ""))
                task(sent.get("arn", ""))
        if event["kind"] != "http.request" or event["op"] != "SubmitTaskStateChange":
            continue
        call = dict(event["headers"]).get("Amz-Sdk-Invocation-Id")
        if call and call in calls:      # a retry of the same call
            continue
        calls.add(call)
        body = event["body"]
        changes = body.get("containers", [])
        task(body["task"])["task"].append({
            "status": body["status"], "reason": names.text(body.get("reason", "")),
            "pulling": any(change["status"] == "PENDING" for change in changes)})
        for change in changes:
            entry = {"status": change["status"]}
            if "exitCode" in change:
                entry["exitCode"] = change["exitCode"]
            if "reason" in change:
                entry["reason"] = names.text(change["reason"])
            if "networkBindings" in change:
                entry["networkBindings"] = _bindings(names, change)
            task(body["task"])["containers"].setdefault(change["containerName"], []).append(entry)
    return list(tasks.values())


def frames(events):
    """What the agent sent on ACS, without order: acknowledgements have none among each other. Heartbeats
    that the bed adds by itself (their ids are random) are left out."""
    names, found = Names(), []
    for event in events:
        if event["kind"] != "ws.frame" or event["op"] != "acs":
            continue
        message = event.get("message")
        own = event.get("type", "").startswith("Heartbeat") if event.get("type") else False
        if own and len((message or {}).get("messageId", "")) > 20:
            continue
        if event["dir"] == "out":
            names.text(json.dumps(message))
        elif event["opcode"] == "text":
            if "stopCandidates" in message:
                message = {**message, "stopCandidates": sorted(
                    names.text(json.dumps(one, sort_keys=True)) for one in message["stopCandidates"])}
            found.append(event["type"] + " " + names.text(json.dumps(message, sort_keys=True)))
        else:
            found.append(event["opcode"] + " " + event.get("text", ""))
    return sorted(found)


def compare(name, theirs, ours):
    """The differences between two recordings of a scenario, as lines of text."""
    left, right = extract(theirs), extract(ours)
    differences.apply(name, left)
    differences.apply(name, right)
    lines = []
    if len(left) != len(right):
        lines.append(f"{len(left)} tasks in the recording, {len(right)} in ours")
    for number, (a, b) in enumerate(zip(left, right), 1):
        sides = {f"task {number}": (a["task"], b["task"])}
        for container in sorted(a["containers"].keys() | b["containers"].keys()):
            sides[f"task {number}, container {container}"] = (
                a["containers"].get(container, []), b["containers"].get(container, []))
        for what, (expected, found) in sides.items():
            if expected != found:
                lines.append(f"{what}:")
                lines += [f"  recorded  {json.dumps(entry)}" for entry in expected]
                lines += [f"  ours      {json.dumps(entry)}" for entry in found]
    return lines


def main(arguments):
    if len(arguments) != 3:
        sys.exit(__doc__)
    name, theirs, ours = arguments
    lines = compare(name, transcript.read(theirs), transcript.read(ours))
    print("\n".join(lines) or f"{name}: no difference")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
