"""The ACS session: acknowledgements, redelivery, malformed and unusual frames."""

import json
import uuid

import pytest

import compare
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


def test_bad_messages_and_a_manifest(bed):
    """The recorded list of malformed frames, and the manifest that was sent to the same agent after it, which
    asks about a task of that list: the same frames in answer and the same reports, on one connection."""
    replay = None
    for name in ("bad-messages", "task-manifest"):
        recorded = transcript.load(name)
        replay = transcript.Replay(bed.cp, recorded, after=replay)
        ours = replay.run()
        assert compare.frames(ours) == compare.frames(recorded)
        assert compare.compare(name, recorded, ours) == []
    assert len(upgrades(bed)) == 1


def test_the_manifest_number_outlives_the_agent(bed):
    """Not newer than the last is not answered, also after a restart; then its stop verification has no manifest."""
    def manifest(timeline):
        message = {"messageId": uuid.uuid4().hex, "clusterArn": bed.cp.cluster_arn,
                   "containerInstanceArn": bed.cp.instance_arn, "tasks": [], "timeline": timeline}
        bed.cp.send("TaskManifestMessage", message)
        return message["messageId"]

    def acknowledged(timeline):
        message_id = manifest(timeline)
        bed.cp.settle()
        return message_id in [message.get("messageId") for _, message in bed.cp.acks()]
    arn = bed.run_task(tasks.task())
    assert not acknowledged(0)
    assert acknowledged(1000)
    assert not acknowledged(1000) and not acknowledged(999)
    bed.agent.kill()
    bed.start()
    assert not acknowledged(1000)
    last = manifest(1001)
    assert bed.cp.wait_ack(last, type="TaskStopVerificationMessage")["stopCandidates"] == [
        {"desiredStatus": "STOPPED", "taskArn": arn, "taskClusterArn": bed.cp.cluster_arn}]
    stop = {"generatedAt": 1, "stopTasks": [{"taskArn": arn}, {"taskArn": tasks.task_arn()}, {}]}
    bed.cp.send("TaskStopVerificationAck", {"messageId": "another", **stop})
    bed.cp.settle()
    assert bed.cp.statuses(arn) == ["RUNNING"]
    bed.cp.send("TaskStopVerificationAck", {"messageId": last, **stop})
    bed.cp.wait_task_status(arn, "STOPPED")


def test_without_checkpoints_every_number_is_new_after_a_start(make_bed):
    bed = make_bed(ECS_CHECKPOINT="false").start()
    for _ in range(2):
        bed.cp.send("TaskManifestMessage", {"messageId": "zero", "clusterArn": bed.cp.cluster_arn,
                                            "containerInstanceArn": bed.cp.instance_arn, "tasks": []})
        bed.cp.wait_ack("zero", since=bed.cp.recording.mark() - 2)
        assert bed.agent.terminate() == 0
        bed.start()


@pytest.mark.parametrize("type", ["StageUpdateMessage", "PerformUpdateMessage"])
def test_updates_are_refused(bed, type):
    message = {"messageId": "update", "clusterArn": bed.cp.cluster_arn, "containerInstanceArn": bed.cp.instance_arn,
               "updateInfo": {"location": "https://127.0.0.1/image", "signature": "00"}}
    bed.cp.send(type, message)
    assert bed.cp.wait_frame("NackRequest") == {
        "cluster": bed.cp.cluster_arn, "containerInstance": bed.cp.instance_arn, "messageId": "update",
        "reason": "Updates are disabled"}
    bed.cp.send(type, {})
    bed.cp.settle()
    assert len(bed.cp.acks()) == 1 and bed.agent.running


def test_attachments_are_refused(bed):
    """Checked as the reference does; what is valid is refused by name. Never acknowledged."""
    envelope = {"messageId": "a", "clusterArn": bed.cp.cluster_arn, "containerInstanceArn": bed.cp.instance_arn,
                "waitTimeoutMs": 60000}
    eni = {"attachmentArn": "arn:aws:ecs:us-west-2:123456789012:attachment/eni", "ec2Id": "eni-0123",
           "macAddress": "02:00:00:00:00:09", "subnetGatewayIpv4Address": "10.0.0.1/24",
           "ipv4Addresses": [{"primary": True, "privateAddress": "10.0.0.9"}]}
    volume = {"attachmentArn": "arn:aws:ecs:us-west-2:123456789012:attachment/ebs", "attachmentType": "amazonebs",
              "attachmentProperties": [{"name": name, "value": "x"} for name in (
                  "volumeId", "volumeSizeGib", "deviceName", "sourceVolumeHostPath", "volumeName")]}
    enis = {"elasticNetworkInterfaces": [eni]}
    bed.cp.send("AttachTaskNetworkInterfacesMessage", {**envelope, **enis, "taskArn": tasks.task_arn()})
    bed.agent.wait_log("attachment of network interfaces is not supported.*AttachTask.*eni-0123")
    bed.cp.send("AttachInstanceNetworkInterfacesMessage", {**envelope, **enis})
    bed.agent.wait_log("attachment of network interfaces is not supported.*AttachInstance.*eni-0123")
    bed.cp.send("ConfirmAttachmentMessage", {**envelope, "attachment": volume})
    bed.agent.wait_log("attachment of volumes is not supported.*attachment/ebs.*amazonebs")
    bed.cp.send("AttachTaskNetworkInterfacesMessage", {**envelope, **enis})
    bed.agent.wait_log("not valid and not acknowledged.*AttachTask.*no taskArn")
    bed.cp.send("AttachInstanceNetworkInterfacesMessage", {**envelope, "elasticNetworkInterfaces": [{}]})
    bed.agent.wait_log("not valid.*eni message validation: no ipv4 addresses in the message")
    bed.cp.send("ConfirmAttachmentMessage", {**envelope, "attachment": {**volume, "attachmentArn": "x"}})
    bed.agent.wait_log("not valid.*ConfirmAttachment.*attachmentArn is no ARN")
    bed.cp.settle()
    assert bed.cp.acks() == [] and len(upgrades(bed)) == 1


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
