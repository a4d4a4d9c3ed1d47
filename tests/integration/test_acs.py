"""The ACS session: acknowledgements, redelivery, malformed and unusual frames, closing, reconnecting."""

import json
import time

import pytest

import transcript
from ecsbed import tasks, websocket

CREDENTIALS_ACK = "IAMRoleCredentialsAckRequest"


def upgrades(bed, since=0):
    return bed.cp.recording.select(lambda e: e["kind"] == "ws.upgrade" and e["op"] == "acs", since)


def test_payload_is_acknowledged_with_its_own_arns(bed):
    role, execution = tasks.credentials(), tasks.credentials("ASIATESTEXECKEY")
    task = tasks.task(roleCredentials=role, executionRoleCredentials=execution)
    message_id = bed.cp.send_payload(task)
    assert bed.cp.wait_ack(message_id) == {
        "cluster": bed.cp.cluster_arn, "containerInstance": bed.cp.instance_arn, "messageId": message_id}
    for credentials in (role, execution):
        bed.cp.wait_frame(CREDENTIALS_ACK, match=lambda message: message == {
            "credentialsId": credentials["credentialsId"], "expiration": credentials["expiration"],
            "messageId": message_id})


def test_redelivery_is_acknowledged_and_launches_nothing(bed, instance):
    task = tasks.task()
    message_id = bed.cp.send_payload(task)
    bed.cp.wait_ack(message_id)
    mark = bed.cp.recording.mark()
    bed.cp.send_payload(task, message_id=message_id)
    bed.cp.wait_ack(message_id, since=mark)
    bed.cp.wait_task_status(task["arn"], "RUNNING")
    bed.cp.send_payload(task)
    bed.cp.settle()
    assert len(instance.containers(task["arn"])) == 1 and bed.cp.statuses(task["arn"]) == ["RUNNING"]


def test_bad_messages(bed):
    """The recorded list of malformed frames: the same acknowledgements, on the same connection."""
    recorded = transcript.load("bad-messages")
    ours = transcript.Replay(bed.cp, [e for e in recorded if e.get("opcode") not in ("ping", "pong", "binary")
                                      and e.get("message") != {"messageId": "bin"}]).run()
    assert [kind for kind, _ in transcript.acks(ours) if kind == "AckRequest"] == \
        [kind for kind, _ in transcript.acks(recorded) if kind == "AckRequest"]
    assert len(upgrades(bed)) == 1


def test_one_bad_task_of_two(bed, instance):
    """The good one runs, the bad one is reported, the payload is not acknowledged."""
    good, bad = tasks.task(), tasks.task(tasks.container("m", memory=-5))
    message_id = bed.cp.send_payload(bad, good)
    assert bed.cp.wait_task_status(bad["arn"], "STOPPED")["reason"].startswith(
        "UnrecogniedTaskError: Error loading task - ")
    bed.cp.wait_task_status(good["arn"], "RUNNING")
    bed.cp.settle()
    assert message_id not in [message.get("messageId") for _, message in bed.cp.acks()]
    assert instance.containers(bad["arn"]) == []


def test_unknown_members_are_ignored(bed):
    task = tasks.task(tasks.container("m", future={"a": [1]}), futureMember=True)
    message = {**bed.cp.payload([task]), "another": None}
    bed.cp.send("PayloadMessage", message)
    bed.cp.wait_ack(message["messageId"])
    bed.cp.wait_task_status(task["arn"], "RUNNING")


def test_heartbeats(bed):
    bed.cp.settle()
    mark = bed.cp.recording.mark()
    bed.cp.send("HeartbeatMessage", {})
    assert bed.cp.wait_frame("HeartbeatAckRequest", since=mark, match=lambda m: not m) == {}


def test_credentials_refresh_and_refusals(bed):
    """The frames of the recording: two are acknowledged, four are not, and the connection stays."""
    recorded = transcript.load("task-bridge-role")
    replay = transcript.Replay(bed.cp, recorded, {"/lab/rootfs": f"{bed.directory}/host-path"})
    ours = replay.run()
    acknowledged = [message for kind, message in transcript.acks(ours) if kind == CREDENTIALS_ACK]
    assert len(acknowledged) == 4 and {"cred-1", "cred-6"} <= set(acknowledged)
    assert len(upgrades(bed)) == 1


def test_refreshed_credentials_are_served(bed):
    role = tasks.credentials()
    task = tasks.task(roleCredentials=role)
    bed.run_task(task)
    new = tasks.credentials("ASIATESTROTATED", identifier=role["credentialsId"])
    bed.cp.wait_ack(bed.cp.send_credentials(task["arn"], new), type=CREDENTIALS_ACK)
    served = json.loads(bed.credentials("/v2/credentials/" + role["credentialsId"]).text)
    assert served["AccessKeyId"] == "ASIATESTROTATED"


@pytest.mark.parametrize("code", [1000, 1001, 1011, "eof"])
def test_a_clean_end_is_followed_by_a_reconnect_at_once(bed, code):
    mark, start = bed.cp.recording.mark(), time.monotonic()
    if code == "eof":
        bed.cp.acs.socket.eof()
    else:
        bed.cp.acs.socket.close(code, "test")
    opened = bed.cp.wait_acs(since=mark)
    assert opened["query"]["sendCredentials"] == "false"
    assert opened["mono"] - start < 0.25
    bed.cp.settle()
    assert bed.cp.operations().count("DiscoverPollEndpoint") == 1   # its answer is kept


@pytest.mark.parametrize("code", [1002, 1008, 1013, 4000, None])
def test_other_ends_are_followed_by_a_reconnect_after_a_pause(make_bed, code):
    bed = make_bed(clock_scale=1).start()
    mark, start = bed.cp.recording.mark(), time.monotonic()
    bed.cp.acs.socket.close(code, "")
    opened = bed.cp.wait_acs(since=mark)
    assert 0.25 <= opened["mono"] - start < 1.5
    bed.cp.settle()


def test_backoff_grows(make_bed):
    bed = make_bed(clock_scale=1)
    bed.cp.refuse_upgrade("acs", 500, "", times=4)
    bed.start()
    times = [event["mono"] for event in upgrades(bed)]
    pauses = [after - before for before, after in zip(times, times[1:])]
    for pause, least in zip(pauses, (0.25, 0.375, 0.562, 0.843)):
        assert least <= pause < least * 1.2 + 0.5, pauses


def test_tcp_reset(bed):
    mark = bed.cp.recording.mark()
    bed.cp.acs.socket.abort()
    bed.cp.wait_acs(since=mark)
    bed.cp.settle()


def test_inactive_instance_is_not_hammered(make_bed):
    """One hour (by the scaled clock 12 minutes) until the next attempt."""
    bed = make_bed()
    bed.cp.refuse_upgrade("acs", 400, '{"InactiveInstanceException":"gone"}')
    bed.agent.start()
    bed.cp.recording.wait(lambda e: e["kind"] == "ws.upgrade" and e["op"] == "acs", what="upgrade")
    bed.cp.recording.never(lambda e: e["kind"] == "ws.upgrade" and e["op"] == "acs", 3, bed.cp.recording.mark())
    assert bed.agent.terminate() == 0


def test_send_credentials_only_on_the_first_connect(make_bed):
    """true until a connect succeeds, false from then on, true again after a restart."""
    bed = make_bed()
    bed.cp.refuse_upgrade("acs", 500, "")
    bed.start()
    mark = bed.cp.recording.mark()
    bed.cp.acs.socket.close(1000)
    bed.cp.wait_acs(since=mark)
    bed.agent.kill()
    bed.start()
    seen = ["sendCredentials=true" in event["path"] for event in upgrades(bed)]
    assert seen == [True, True, False, True]


def test_fragmented_and_binary_frames(bed):
    task = tasks.task()
    message = bed.cp.payload([task])
    text = json.dumps({"type": "PayloadMessage", "message": message}).encode()
    bed.cp.acs.socket.send_frame(websocket.TEXT, text[:100], final=False)
    bed.cp.acs.socket.send_frame(websocket.PING, b"between")
    bed.cp.acs.socket.send_frame(websocket.CONTINUATION, text[100:101], final=False)
    bed.cp.acs.socket.send_frame(websocket.CONTINUATION, text[101:])
    bed.cp.wait_ack(message["messageId"])
    heartbeat = json.dumps({"type": "HeartbeatMessage", "message": {"messageId": "binary"}})
    bed.cp.send_text(heartbeat, websocket.BINARY)
    bed.cp.wait_ack("binary", type="HeartbeatAckRequest")
    bed.cp.recording.wait(lambda e: e.get("opcode") == "pong" and e["text"] == "YmV0d2Vlbg==", what="pong")


def test_a_large_payload(bed):
    """Fifty tasks in one frame of well over 64 KiB, which are not to run: each is reported STOPPED."""
    many = [tasks.stopped(tasks.task(tasks.container("m", environment={"X": "x" * 2000}))) for _ in range(50)]
    bed.cp.wait_ack(bed.cp.send_payload(*many))
    for task in many:
        bed.cp.wait_task_status(task["arn"], "STOPPED")


def test_silence_ends_the_connection(make_bed):
    """Without any message for one to two minutes (scaled) the agent connects anew."""
    bed = make_bed(clock_scale=20).start()
    bed.cp.stop_heartbeats()
    mark = bed.cp.recording.mark()
    opened = bed.cp.wait_acs(12, since=mark)
    closed = bed.cp.recording.wait(lambda e: e["kind"] == "ws.closed" and e["op"] == "acs", since=mark)
    assert opened["seq"] > closed["seq"] - 3


def test_throttled_reports_are_repeated(bed):
    bed.cp.fault("SubmitTaskStateChange", times=3, status=400, type="ThrottlingException")
    bed.run_task(tasks.task())
    bed.cp.recording.wait(lambda e: e["kind"] == "http.response" and e["op"] == "SubmitTaskStateChange"
                          and e["status"] == 200, what="accepted report")


def test_a_refused_report_is_dropped(bed):
    """InvalidParameterException: not sent again, and the next one is."""
    bed.cp.fault("SubmitTaskStateChange", status=400, type="InvalidParameterException")
    task = tasks.task()
    bed.run_task(task)
    bed.cp.send_payload(tasks.stopped(task))
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    assert bed.cp.statuses(task["arn"]) == ["RUNNING", "STOPPED"]


@pytest.mark.parametrize("action", ["drop", "garble"])
def test_a_lost_answer_is_asked_for_again(bed, action):
    bed.cp.fault("SubmitTaskStateChange", action)
    task = tasks.task()
    bed.run_task(task)
    bed.cp.wait_api("SubmitTaskStateChange", count=2 if action == "drop" else 1)
    bed.cp.settle()
