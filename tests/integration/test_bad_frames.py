"""Bad input on ACS: frames that break the protocol, messages that are none, tasks that cannot be.

Each is named in the log, or in the report that ECS gets, with what was wrong; the task that runs goes on, the next one
starts, and nothing false is reported."""

import json
import os
import re
import struct

import pytest

from ecsbed import tasks, websocket
from ecsbed.agent import memory_kib
from ecsbed.bed import with_bystander
from ecsbed.instance import wait_until

LIMIT = 4 << 20     # of a message, common/websocket.h


@pytest.fixture(scope="class")
def shared_bed(instance, pki, request):
    """One agent for the tests of a class, with a task that none of them concerns."""
    with with_bystander(instance, pki, **request.cls.SETTINGS) as made:
        yield made


@pytest.fixture
def bed(shared_bed, instance, request):
    """After each test: the bystander was not touched, ACS is there, a task sent now is taken and reported."""
    before = len(shared_bed.cp.violations)
    container = instance.container(shared_bed.bystander["arn"], "m")
    yield shared_bed
    if getattr(request.node, "failed_in_call", False):
        print("--- end of the agent's log ---\n" + shared_bed.agent.log_tail())
        return
    next_one = tasks.stopped(tasks.task(family="next"))
    shared_bed.cp.wait_ack(shared_bed.cp.send_payload(next_one))
    shared_bed.cp.wait_task_status(next_one["arn"], "STOPPED")
    assert shared_bed.cp.statuses(shared_bed.bystander["arn"]) == ["RUNNING"]
    assert instance.container(shared_bed.bystander["arn"], "m") == container
    assert instance.inspect(container)["State"]["Running"]
    assert shared_bed.cp.violations[before:] == []


def log_since(bed, size):
    with open(bed.agent.log_file, errors="replace") as file:
        file.seek(size)
        return file.read()


def said(bed, send, *words):
    """Does it, and returns the first log line since then that has all the words; fails if none comes."""
    size = os.path.getsize(bed.agent.log_file)
    send()

    def found():
        for line in log_since(bed, size).splitlines():
            if all(word in line.replace('\\"', '"') for word in words):
                return line
        return None
    try:
        return wait_until(found, 10, "a log line")
    except Exception:
        raise AssertionError(f"no log line with {words}:\n{log_since(bed, size)}") from None


def resident_kib(bed):
    return memory_kib(bed.agent.process.pid)


# --- the WebSocket protocol: the session ends, with the reason; the next one comes

def heartbeat(message_id, size=0):
    return json.dumps({"type": "HeartbeatMessage", "message": {"messageId": message_id, "more": "x" * size}}).encode()


def exactly(message_id, size):
    return heartbeat(message_id, size - len(heartbeat(message_id)))


def pieces(data, size):
    return [data[at:at + size] for at in range(0, len(data), size)]


TOO_LARGE = f"message is larger than {LIMIT} bytes"
PROTOCOL = "breaks the WebSocket protocol"
NOT_UTF8 = "text is not UTF-8"
VIOLATIONS = {
    "10 MiB": (lambda s: s.send_frame(websocket.TEXT, exactly("a", 10 << 20)), TOO_LARGE, 1009),
    "10 MiB in fragments": (lambda s: s.send_fragments(pieces(exactly("a", 10 << 20), 64 << 10)), TOO_LARGE, 1009),
    "10 MiB binary": (lambda s: s.send_frame(websocket.BINARY, bytes(10 << 20)), TOO_LARGE, 1009),
    "20,000 fragments": (lambda s: s.send_fragments([b"x"] * 20000), "in more than 16384 fragments", 1009),
    "length beyond 63 bits": (lambda s: s.connection.sock.sendall(b"\x81\x7f" + b"\xff" * 8), PROTOCOL, 1005),
    "reserved bit": (lambda s: s.send_frame(websocket.TEXT, heartbeat("a"), reserved=0x40), PROTOCOL, 1002),
    "reserved opcode": (lambda s: s.send_frame(3, b"x"), PROTOCOL, 1002),
    "reserved control opcode": (lambda s: s.send_frame(11, b"x"), PROTOCOL, 1002),
    "masked": (lambda s: s.send_frame(websocket.TEXT, heartbeat("a"), mask=bytes(4)), PROTOCOL, 1002),
    "continuation of nothing": (lambda s: s.send_frame(websocket.CONTINUATION, b"x"), PROTOCOL, 1002),
    "message inside a message": (lambda s: (s.send_frame(websocket.TEXT, b"{", final=False), s.send_frame(websocket.TEXT, b"}")), PROTOCOL, 1002),
    "ping of 126 bytes": (lambda s: s.send_frame(websocket.PING, b"x" * 126), PROTOCOL, 1005),
    "ping in fragments": (lambda s: s.send_frame(websocket.PING, b"x", final=False), PROTOCOL, 1005),
    "text not UTF-8": (lambda s: s.send_frame(websocket.TEXT, b'{"type":"\xc3\x28"}'), NOT_UTF8, 1007),
    "text ends in a character": (lambda s: s.send_frame(websocket.TEXT, b'{"type":"\xe2\x82'), NOT_UTF8, 1007),
    "close with one byte": (lambda s: s.send_frame(websocket.CLOSE, b"\x03"), "close code 1005", 1005),
    "close 999": (lambda s: s.close(999), PROTOCOL, 1002),
    "close 1005": (lambda s: s.close(1005), PROTOCOL, 1002),
    "close 1006": (lambda s: s.close(1006), PROTOCOL, 1002),
    "close 65535": (lambda s: s.close(65535), PROTOCOL, 1002),
    "close not UTF-8": (lambda s: s.send_frame(websocket.CLOSE, struct.pack(">H", 1000) + b"\xff"), NOT_UTF8, 1007),
}


# --- frames that are no messages: dropped, and the session stays

DEEP = '{"type":"HeartbeatMessage","message":' + '{"a":' * 100 + "1" + "}" * 101
DROPPED = {
    "not JSON": ("hello", "not JSON: invalid JSON: unexpected 'h' at byte 0"),
    "cut off": ('{"type":"HeartbeatMessage","message":{"messageId":"a"', "not JSON: invalid JSON: unexpected end"),
    "two documents": ("{} {}", "not JSON: invalid JSON: "),
    "empty": ("", "not JSON: invalid JSON: unexpected end at byte 0"),
    "list": ("[]", "not a JSON object"),
    "null": ("null", "not JSON: invalid JSON: null where a value is expected"),
    "no type": ("{}", "no message type"),
    "type of a wrong type": ('{"type":7,"message":{}}', "no message type"),
    "unknown type": ('{"type":"Nonsense","message":{}}', "unknown message type Nonsense"),
    "no message": ('{"type":"PayloadMessage"}', "PayloadMessage without a message"),
    "too deep": (DEEP, "not JSON: invalid JSON: nesting too deep"),
    "far too deep": ("[" * 1000000, "not JSON: invalid JSON: nesting too deep"),
    "NUL byte": ('{"type":"\0"}', "not JSON: invalid JSON: NUL byte at byte 9"),
    "NUL in a name": ('{"type\\u0000":"HeartbeatMessage"}', "not JSON: invalid JSON: NUL in a member's name"),
    "NUL in a value": ('{"type":"HeartbeatMessage","message":{"messageId":"a\\u0000b"}}',
                       "json: field HeartbeatMessage.messageId holds a NUL character"),
    "not a number": ('{"type":"PayloadMessage","message":{"seqNum":NaN}}', "invalid JSON: unexpected 'N'"),
    "huge number": ('{"type":"PayloadMessage","message":{"seqNum":99999999999999999999}}',
                    "cannot unmarshal number 18446744073709551615 into Go struct field PayloadMessage.seqNum"),
    "fraction": ('{"type":"PayloadMessage","message":{"seqNum":1e999}}', "PayloadMessage.seqNum of type int64"),
    "line break in a string": ('{"type":"a\nb"}', "invalid JSON: control character in a string at byte 10"),
}


# Each message type: a member, a value of a wrong type, and what is said; then what is missing.
WRONG_TYPES = [
    ("HeartbeatMessage", "messageId", 5, "cannot unmarshal number 5 into Go struct field HeartbeatMessage.messageId"),
    ("HeartbeatMessage", "healthy", "yes", "cannot unmarshal string into Go struct field HeartbeatMessage.healthy"),
    ("PayloadMessage", "messageId", {}, "cannot unmarshal object into Go struct field PayloadMessage.messageId"),
    ("PayloadMessage", "clusterArn", [], "cannot unmarshal array into Go struct field PayloadMessage.clusterArn"),
    ("PayloadMessage", "seqNum", "1", "cannot unmarshal string into Go struct field PayloadMessage.seqNum"),
    ("PayloadMessage", "tasks", {}, "PayloadMessage: tasks is not a list"),
    ("PayloadMessage", "tasks", ["x"], "PayloadMessage: task 0 is not an object"),
    ("PayloadMessage", "tasks", [None] * 1001, "PayloadMessage has 1001 tasks, more than 1000"),
    ("IAMRoleCredentialsMessage", "taskArn", 1, "Go struct field IAMRoleCredentialsMessage.taskArn of type string"),
    ("IAMRoleCredentialsMessage", "roleCredentials", "x",
     "Go struct field IAMRoleCredentialsMessage.roleCredentials of type IAMRoleCredentials"),
    ("IAMRoleCredentialsMessage", "roleCredentials", {"expiration": 5},
     "Go struct field IAMRoleCredentials.roleCredentials.expiration of type string"),
    ("TaskManifestMessage", "tasks", [{"taskArn": False}], "cannot unmarshal bool into Go struct field"),
    ("TaskManifestMessage", "timeline", 1.5, "number 1.5 into Go struct field TaskManifestMessage.timeline"),
    ("TaskStopVerificationAck", "stopTasks", "x", "Go struct field TaskStopVerificationAck.stopTasks"),
    ("StageUpdateMessage", "updateInfo", 1, "number 1 into Go struct field UpdateMessage.updateInfo"),
    ("PerformUpdateMessage", "messageId", True, "bool into Go struct field UpdateMessage.messageId"),
    ("AttachTaskNetworkInterfacesMessage", "waitTimeoutMs", "1", "waitTimeoutMs of type int64"),
    ("AttachInstanceNetworkInterfacesMessage", "elasticNetworkInterfaces", {}, "elasticNetworkInterfaces"),
    ("ConfirmAttachmentMessage", "attachment", [], "attachment"),
    ("CloseMessage", "message", 1, "number 1 into Go struct field ErrorMessage.message"),
    ("ErrorMessage", "message", [], "array into Go struct field ErrorMessage.message"),
    ("ServerException", "message", {}, "object into Go struct field ErrorMessage.message"),
]
MISSING = [
    ("PayloadMessage", {}, "payload from ACS not handled", "no messageId"),
    ("PayloadMessage", {"messageId": "m"}, "payload from ACS not handled", "no clusterArn"),
    ("PayloadMessage", {"messageId": "m", "clusterArn": "c"}, "payload from ACS not handled", "no containerInstanceArn"),
    ("IAMRoleCredentialsMessage", {}, "credentials from ACS not taken", "no messageId"),
    ("IAMRoleCredentialsMessage", {"messageId": "m"}, "credentials from ACS not taken", "no taskArn"),
    ("IAMRoleCredentialsMessage", {"messageId": "m", "taskArn": "t"}, "credentials from ACS not taken",
     "no roleCredentials"),
    ("IAMRoleCredentialsMessage", {"messageId": "m", "taskArn": "t", "roleCredentials": {}},
     "credentials from ACS not taken", "no credentialsId"),
    ("IAMRoleCredentialsMessage", {"messageId": "m", "taskArn": "t", "roleCredentials": {"credentialsId": "c"}},
     "credentials from ACS not taken", "unknown roleType"),
    ("IAMRoleCredentialsMessage", {"messageId": "m", "taskArn": "t", "roleCredentials": {"credentialsId": "c"},
                                   "roleType": "TaskExecution"}, "credentials from ACS not taken", "unknown task", "task=t"),
    ("TaskManifestMessage", {"timeline": 5}, "task manifest from ACS not handled", "no messageId"),
    ("TaskStopVerificationAck", {}, "stop verification from ACS is not for the last manifest"),
    ("StageUpdateMessage", {}, "update from ACS dropped", "type=StageUpdateMessage", "no messageId"),
    ("PerformUpdateMessage", {}, "update from ACS dropped", "type=PerformUpdateMessage", "no messageId"),
    ("AttachTaskNetworkInterfacesMessage", {}, "not valid and not acknowledged", "no messageId"),
    ("AttachInstanceNetworkInterfacesMessage", {}, "not valid and not acknowledged", "no messageId"),
    ("ConfirmAttachmentMessage", {}, "not valid and not acknowledged", "no messageId"),
    ("AckRequest", {}, "message from ACS has no handler", "type=AckRequest"),
]


# --- tasks that cannot be: refused by name, with the reason that ECS is told

def port(container=80, host=0, **more):
    return {"containerPort": container, "hostPort": host, "protocol": "tcp", **more}


LOADING = "UnrecogniedTaskError: Error loading task - "
REFUSED = {
    "two containers of one name": (
        [tasks.container("m"), tasks.container("m")], "resource cannot be initialized for task {}: container name m is used twice"),
    "500 containers": (
        [tasks.container(f"c{n}") for n in range(500)], LOADING + "500 containers, at most 100 are accepted"),
    "a cycle": (
        [tasks.container("a", dependsOn=[{"containerName": "b", "condition": "START"}]),
         tasks.container("b", dependsOn=[{"containerName": "a", "condition": "START"}])],
        "Task dependencies cannot be resolved, taskArn: {}"),
    "depends on itself": (
        [tasks.container("a", dependsOn=[{"containerName": "a", "condition": "START"}])],
        "Task dependencies cannot be resolved, taskArn: {}"),
    "depends on nobody": (
        [tasks.container("a", dependsOn=[{"containerName": "x", "condition": "START"}])],
        "Task dependencies cannot be resolved, taskArn: {}"),
    "port 65536": (
        [tasks.container("m", portMappings=[port(65536)])],
        LOADING + "json: cannot unmarshal number 65536 into Go struct field "
        "PortBinding.Containers.portMappings.ContainerPort of type uint16"),
    "port -1": (
        [tasks.container("m", portMappings=[port(80, -1)])],
        LOADING + "json: cannot unmarshal number -1 into Go struct field "
        "PortBinding.Containers.portMappings.HostPort of type uint16"),
    "201 ports": (
        [tasks.container("m", portMappings=[port(n + 1) for n in range(201)])],
        LOADING + "container m has 201 port mappings, at most 200 are accepted"),
    "memory -1": (
        [tasks.container("m", memory=-1)],
        LOADING + "json: cannot unmarshal number -1 into Go struct field Container.Containers.Memory of type uint"),
    "cpu -1": (
        [tasks.container("m", cpu=-1)],
        LOADING + "json: cannot unmarshal number -1 into Go struct field Container.Containers.Cpu of type uint"),
    "a name with NUL": (
        [tasks.container("a\0b")], LOADING + "json: field Container.Containers.Name holds a NUL character"),
    "no name": ([tasks.container("m"), tasks.container("")],
                "resource cannot be initialized for task {}: container 2 has no name"),
}


class TestFrames:
    """What ends a session, and what does not; the clock runs fast for the pauses between sessions."""
    SETTINGS = {"clock_scale": 50, "heartbeat": 0.3}

    @pytest.mark.parametrize("what", VIOLATIONS)
    def test_broken_protocol(self, bed, what):
        do, words, code = VIOLATIONS[what]
        if bed.cp.acs_sessions > 8:     # a new process begins without the pauses that have grown
            bed.agent.terminate()
            bed.start()
        mark, socket = bed.cp.recording.mark(), bed.cp.acs.socket

        def send():
            try:
                do(socket)
            except OSError:     # the agent has gone before the end of it
                pass
        said(bed, send, "not connected to ACS, trying again", words)
        bed.cp.wait_acs(since=mark)
        closed = bed.cp.recording.wait(lambda e: e["kind"] == "ws.closed" and e["op"] == "acs", since=mark)
        assert closed["code"] == code

    def test_large_but_allowed(self, bed):
        """Just below the limit: whole, in fragments, and in fragments with pings between; answered on the same session."""
        mark, socket = bed.cp.recording.mark(), bed.cp.acs.socket
        socket.send_frame(websocket.TEXT, exactly("whole", LIMIT))
        bed.cp.wait_ack("whole", type="HeartbeatAckRequest")
        socket.send_fragments(pieces(exactly("pieces", LIMIT), 300))
        bed.cp.wait_ack("pieces", type="HeartbeatAckRequest")
        parts = pieces(exactly("pings", LIMIT), 1 << 20)
        with socket.sending:
            for index, part in enumerate(parts):
                socket.send_frame(websocket.CONTINUATION if index else websocket.TEXT, part, index == len(parts) - 1)
                socket.send_frame(websocket.PING, b"%d" % index)
                socket.send_frame(websocket.PONG, b"nobody asked")
        bed.cp.wait_ack("pings", type="HeartbeatAckRequest")
        assert not bed.cp.recording.select(lambda e: e["kind"] == "ws.upgrade", mark)

    def test_a_flood_of_pings(self, bed):
        """Each is answered, and none is kept."""
        mark, before, count = bed.cp.recording.mark(), resident_kib(bed), 5000
        frame = b"\x89\x7d" + b"p" * 125
        bed.cp.acs.socket.connection.sock.sendall(frame * count)
        bed.cp.recording.wait(lambda e: e.get("opcode") == "pong", 30, mark, "pongs", count)
        assert resident_kib(bed) - before < 4096
        assert not bed.cp.recording.select(lambda e: e["kind"] == "ws.upgrade", mark)

    @pytest.mark.parametrize("what", DROPPED)
    def test_no_message(self, bed, what):
        text, words = DROPPED[what]
        mark = bed.cp.recording.mark()
        line = said(bed, lambda: bed.cp.acs.socket.send_frame(websocket.TEXT, text.encode()), "message from ACS dropped", words)
        assert len(line) < 8192 and f"bytes={len(text)}" in line
        bed.cp.settle()
        assert not bed.cp.recording.select(lambda e: e["kind"] == "ws.upgrade", mark)

    def test_wrong_types_and_missing_members(self, bed):
        """Of every message type; all on one session, and nothing is acknowledged."""
        mark = bed.cp.recording.mark()
        for type, member, value, words in WRONG_TYPES:
            said(bed, lambda: bed.cp.send(type, {member: value}), "message from ACS dropped", type, words)
        for type, message, *words in MISSING:
            said(bed, lambda: bed.cp.send(type, message), *words)
        bed.cp.settle()
        assert bed.cp.acks(mark) == []
        assert not bed.cp.recording.select(lambda e: e["kind"] == "ws.upgrade", mark)

    def test_for_somebody_else(self, bed):
        """A payload or a manifest of another instance: not a trace of it but the line in the log."""
        mark = bed.cp.recording.mark()
        task, stranger, words = tasks.task(), bed.cp.instance_arn[:-4] + "0000", "another container instance"
        payload = {**bed.cp.payload([task]), "containerInstanceArn": stranger}
        manifest = {"messageId": "m", "clusterArn": bed.cp.cluster_arn, "containerInstanceArn": stranger, "tasks": [],
                    "timeline": 1 << 40}
        said(bed, lambda: bed.cp.send("PayloadMessage", payload), "payload from ACS not handled", words, stranger,
             payload["messageId"])
        said(bed, lambda: bed.cp.send("TaskManifestMessage", manifest), "task manifest from ACS not handled", words,
             stranger)
        bed.cp.settle()
        assert bed.cp.statuses(task["arn"]) == [] and bed.cp.acks(mark) == []

    def test_duplicate_members(self, bed):
        """The last one counts, as with the reference's JSON library."""
        bed.cp.send_text('{"type":"Nonsense","type":"HeartbeatMessage","message":{"messageId":"no"},'
                         '"message":{"messageId":"first","messageId":"last"}}')
        bed.cp.wait_ack("last", type="HeartbeatAckRequest")

    def test_sequence_numbers_of_payloads(self, bed):
        """Repeated, falling, negative, absent: they order nothing."""
        mark, ids = bed.cp.recording.mark(), []
        for number in (7, 7, 3, -1, 0, 9223372036854775807, None):
            task = tasks.stopped(tasks.task())
            message = {**bed.cp.payload([task]), "seqNum": number}
            if number is None:
                del message["seqNum"]
            bed.cp.send("PayloadMessage", message)
            bed.cp.wait_ack(message["messageId"])
            bed.cp.wait_task_status(task["arn"], "STOPPED")
            ids.append(message["messageId"])
        assert [message["messageId"] for _, message in bed.cp.acks(mark)] == ids

    @pytest.mark.parametrize("what", REFUSED)
    def test_refused_tasks(self, bed, what):
        containers, reason = REFUSED[what]
        task = tasks.task(*containers)
        said(bed, lambda: bed.cp.send_payload(task), "task refused", task["arn"])
        report = bed.cp.wait_task_status(task["arn"], "STOPPED")
        assert report["reason"] == reason.format(task["arn"])
        assert bed.cp.statuses(task["arn"]) == ["STOPPED"]


class TestTasks:
    """Tasks that cannot do what they should, on a real engine."""
    SETTINGS = {"ECS_CONTAINER_STOP_TIMEOUT": "2s"}

    def test_the_same_task_twice_in_one_payload(self, bed, instance):
        task = tasks.task()
        message_id = bed.cp.send_payload(task, task, tasks.stopped(tasks.task()))
        bed.cp.wait_ack(message_id)
        bed.cp.wait_task_status(task["arn"], "RUNNING")
        bed.cp.settle()
        assert len(instance.containers(task["arn"])) == 1 and bed.cp.statuses(task["arn"]) == ["RUNNING"]

    def test_started_and_stopped_in_one_payload(self, bed, instance):
        """Stops are taken first; a task that is to run and to stop is stopped."""
        task = tasks.task()
        bed.cp.wait_ack(bed.cp.send_payload(task, tasks.stopped(task)))
        bed.cp.wait_task_status(task["arn"], "STOPPED")
        assert instance.containers(task["arn"], running=True) == []
        assert bed.cp.statuses(task["arn"]) == ["STOPPED"]

    def test_no_containers(self, bed):
        """As the reference: acknowledged, and never reported."""
        task = tasks.task()
        task["containers"] = []
        bed.cp.wait_ack(bed.cp.send_payload(task))
        bed.cp.settle()
        assert bed.cp.statuses(task["arn"]) == []

    def failure(self, bed, container):
        """Runs a task of this container that cannot start, and another one; returns the first one's change."""
        task = tasks.task(container, tasks.container("side"))
        bed.cp.send_payload(task)
        change = bed.cp.wait_container_status(task["arn"], container["name"], "STOPPED")
        bed.cp.wait_task_status(task["arn"], "STOPPED")
        assert bed.cp.statuses(task["arn"]).count("STOPPED") == 1
        return change

    def test_a_command_that_does_not_exist(self, bed):
        change = self.failure(bed, tasks.container("m", ["/no/such/program"]))
        assert change["reason"].startswith("CannotStartContainerError: Error response from daemon: ")
        assert 'exec: "/no/such/program": stat /no/such/program: no such file or directory' in change["reason"]

    def test_an_environment_of_1_mib(self, bed):
        """The kernel takes no such string; Docker has started the container by then, and it ends with 1."""
        assert self.failure(bed, tasks.container("m", environment={"BIG": "x" * (1 << 20)}))["exitCode"] == 1

    def test_the_same_host_port_twice(self, bed):
        change = self.failure(bed, tasks.container("m", portMappings=[port(80, 18080), port(81, 18080)]))
        assert re.match("CannotStartContainerError: .*Bind for 0.0.0.0:18080 failed: port is already allocated",
                        change["reason"])

    def test_port_0(self, bed):
        """Taken as Docker takes it; that host ports are chosen is for ECS to see."""
        task = tasks.task(tasks.container("m", portMappings=[port(80, 0), port(0, 0)]))
        bed.run_task(task)
        change = bed.cp.wait_container_status(task["arn"], "m", "RUNNING")
        assert {b["containerPort"] for b in change["networkBindings"]} == {0, 80}
        assert all(b["hostPort"] > 0 for b in change["networkBindings"])

    def test_a_name_that_docker_refuses(self, bed):
        """Control characters neither start a line of the log nor are lost on the way to ECS."""
        fake = "\nlevel=critical msg=faked\r\x1b[2J\x85\u2028"
        task = tasks.task(tasks.container("m" + fake), family="f" + fake, version="1" + fake)
        message_id = "id" + fake
        bed.cp.send_payload(task, message_id=message_id)
        bed.cp.wait_ack(message_id)
        change = bed.cp.wait_container_status(task["arn"], "m" + fake, "STOPPED")
        assert change["reason"].startswith("CannotCreateContainerError: ")
        bad = tasks.task(tasks.container("m", volumesFrom=[{"sourceContainer": "x" + fake}]), arn=tasks.task_arn() + fake)
        bed.cp.send_payload(bad)
        assert bed.cp.wait_task_status(bad["arn"], "STOPPED")["reason"].endswith("with name x" + fake)
        log = bed.agent.log()
        assert not re.search("^level=critical|[\x00-\x09\x0b-\x1f\x7f\x85\u2028]", log, re.M)
        assert "\\nlevel=critical msg=faked\\x0d\\x1b[2J\\xc2\\x85\\xe2\\x80\\xa8" in log

    def test_a_container_that_ignores_sigterm(self, bed, instance):
        """Killed after its own stopTimeout; a task that stops at the same time does not wait for it."""
        stubborn = tasks.task(tasks.container("m", ["sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"],
                                              stopTimeout=2))
        ready = tasks.task()
        bed.run_task(stubborn)
        bed.run_task(ready)
        mark = bed.cp.recording.mark()
        bed.cp.send_payload(tasks.stopped(stubborn), tasks.stopped(ready))
        bed.cp.wait_task_status(ready["arn"], "STOPPED")
        assert bed.cp.statuses(stubborn["arn"]) == ["RUNNING"]
        change = bed.cp.wait_container_status(stubborn["arn"], "m", "STOPPED", since=mark)
        assert change["exitCode"] == 137

    def test_the_next_task_runs(self, bed):
        bed.run_task(tasks.task())
