"""Recorded conversations with the reference agent, and playing their inbound side to another agent.

A transcript (transcripts/NAME.jsonl) holds what the control plane sent to the agent on ACS, and the API
requests and answers, in order. Replay sends the same frames with fresh ids, each when the agent has done
what it had done at that point of the recording."""

import base64
import json
import os
import re
import uuid

from ecsbed import websocket

DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "transcripts")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TASK = re.compile(r"(?<=:task/lab/)[0-9a-f]{32}")
_INSTANCE = re.compile(r"arn:aws:ecs:[^\"\s]*:container-instance/lab/[0-9a-f]{32}")


def read(path):
    """The events of a recording."""
    with open(path) as file:
        return [json.loads(line) for line in file]


def load(name):
    return read(os.path.join(DIRECTORY, name + ".jsonl"))


def operations(events):
    """The API calls of a recording: (operation, attempt, status of the answer, what it was about)."""
    calls, waiting = [], {}
    for event in events:
        if event["kind"] == "http.request":
            headers = {name.lower(): value for name, value in event["headers"]}
            attempt = headers.get("amz-sdk-request", "").partition(";")[0]
            body = event["body"]
            if event["op"] == "RegisterContainerInstance":
                about = "again" if "containerInstanceArn" in body else "new"
            else:
                about = body.get("status", "")
            calls.append([event["op"], attempt, None, about])
            waiting.setdefault(event["op"], []).append(calls[-1])
        elif event["kind"] == "http.response" and waiting.get(event["op"]):
            waiting[event["op"]].pop(0)[2] = event["status"]
    return [tuple(call) for call in calls]


def acks(events):
    """The types and message ids of the agent's acknowledgements."""
    return [(event["type"], event["message"].get("messageId")) for event in events
            if event["kind"] == "ws.frame" and event["dir"] == "in" and event.get("type")]


class Replay:
    """Plays a transcript to the agent behind a control plane."""

    def __init__(self, control_plane, events, replacements=(), after=None):
        """after: the replay of the recording that came before on the same agent, whose ids occur again."""
        self.cp, self.events, self.replacements = control_plane, events, dict(replacements)
        self.ids = after.ids if after else {}
        self.start = control_plane.recording.mark()

    def _fresh(self, match):
        old = match.group()
        if old not in self.ids:
            self.ids[old] = str(uuid.uuid4()) if "-" in old else uuid.uuid4().hex
        return self.ids[old]

    def translate(self, value):
        """The same message with this run's ids."""
        text = _INSTANCE.sub(self.cp.instance_arn, json.dumps(value))
        text = _UUID.sub(self._fresh, _TASK.sub(self._fresh, text))
        for old, new in self.replacements.items():
            text = text.replace(json.dumps(old), json.dumps(new))
        return json.loads(text)

    def run(self, timeout=30):
        """Returns the events of this run."""
        due = []
        for event in self.events:
            if event["kind"] == "ws.frame" and event["dir"] == "out":
                self._await(due, timeout)
                self._send(event)
            else:
                due.append(event)
        self._await(due, timeout)
        self.cp.settle()
        return self.cp.recording.select(since=self.start)

    def _send(self, event):
        if event["opcode"] == "ping":
            self.cp.acs.socket.send_frame(websocket.PING, base64.b64decode(event["text"]))
            return
        if event["opcode"] == "binary":
            self.cp.send_text(base64.b64decode(event["text"]).decode(), websocket.BINARY)
            return
        if event.get("type") is None:
            self.cp.send_text(event["text"] if "text" in event else json.dumps(event["extra"]))
            return
        if event["message"] is None:
            self.cp.send_text(json.dumps({"type": event["type"]}))
            return
        message = self.translate(event["message"])
        for task in isinstance(message, dict) and message.get("tasks") or []:
            if task.get("arn", "").startswith("arn:"):
                self.cp.instance.note_task(task["arn"])
        self.cp.send(event["type"], message)

    def _await(self, due, timeout):
        """Waits until the agent has sent the equivalent of these recorded events."""
        for event in due:
            if event["kind"] == "http.request" and event["op"] == "SubmitTaskStateChange":
                body = self.translate(event["body"])
                if body["status"] != "PENDING":   # those depend on a batch timer
                    self.cp.wait_task_status(body["task"], body["status"], timeout, self.start)
            elif event["kind"] == "ws.frame" and event["opcode"] == "pong":
                self.cp.recording.wait(lambda e, text=event["text"]: e.get("opcode") == "pong" and e["text"] == text,
                                       timeout, self.start, "pong")
            elif event["kind"] == "ws.frame" and event.get("type"):
                message = self.translate(event["message"])
                self.cp.wait_ack(message.get("messageId"), timeout, self.start, event["type"])
        due.clear()
