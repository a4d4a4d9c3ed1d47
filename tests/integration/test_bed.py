"""Tests of the test bed itself, without an agent: that its verifiers catch what they are there for."""

import http.client
import json
import os
import subprocess
import sys
import threading
import uuid

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import compare
import transcript
from ecsbed import instance as instances
from ecsbed import model, tasks
from ecsbed.controlplane import ACCESS_KEY, SECRET_KEY, TARGET, ControlPlane
from ecsbed.dockerproxy import DockerProxy
from ecsbed.imds import Imds
from ecsbed.netns import connect

AGENT = "Amazon ECS Agent - v1.105.1 (0123abcd) (linux; LINUX) (+http://aws.amazon.com/ecs/)"
DISCOVER = {"cluster": "lab", "containerInstance": "arn", "zoneId": ""}


@pytest.fixture
def cp(instance):
    control_plane = ControlPlane(instance, heartbeat=0)
    yield control_plane
    control_plane.stop()


def call(cp, operation="DiscoverPollEndpoint", body=None, secret=SECRET_KEY, attempt="attempt=1; max=3",
         agent=AGENT, sent=None, invocation=None):
    """One API call as the agent makes it; sent: the body that goes out instead of the signed one."""
    data = json.dumps(DISCOVER if body is None else body).encode()
    request = AWSRequest("POST", cp.endpoint + "/", data=data, headers={
        "Host": cp.endpoint.partition("//")[2], "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": TARGET + operation, "Amz-Sdk-Invocation-Id": invocation or str(uuid.uuid4()),
        "Amz-Sdk-Request": attempt, "Content-Length": str(len(data))})
    SigV4Auth(Credentials(ACCESS_KEY, secret), "ecs", "us-west-2").add_auth(request)
    client = http.client.HTTPConnection("127.0.0.1", 8443)
    client.sock = connect(cp.instance.netns, "127.0.0.1", 8443)
    client.request("POST", "/", sent or data, {**dict(request.headers), "User-Agent": agent})
    answer = client.getresponse()
    return answer.status, answer.read()


def test_a_correct_call_is_no_violation(cp):
    status, body = call(cp)
    assert status == 200 and json.loads(body)["endpoint"] == "http://127.0.0.1:8443/acs/"
    assert cp.violations == []


@pytest.mark.parametrize("wrong, complaint", [
    ({"secret": "not the secret"}, "signature does not match"),
    ({"sent": json.dumps({**DISCOVER, "cluster": "LAB"}).encode()}, "signature does not match"),
    ({"body": {**DISCOVER, "colour": "red"}}, "colour is unknown"),
    ({"body": {**DISCOVER, "cluster": 7}}, "cluster is no string"),
    ({"operation": "SubmitTaskStateChange", "attempt": "attempt=1; max=298",
      "body": {"cluster": "lab", "task": "x", "status": "STOPPED", "reason": "",
               "containers": [{"containerName": "m", "exitCode": "0"}]}}, "exitCode is no integer"),
    ({"operation": "SubmitTaskStateChange", "attempt": "attempt=1; max=298",
      "body": {"cluster": "lab", "task": "x", "status": "STOPPED"}}, "reason is missing"),
    ({"operation": "EatContainer"}, "unknown operation"),
    ({"attempt": "attempt=2; max=3"}, "attempt 2 follows attempt 0"),
    ({"attempt": "attempt=1; max=5"}, "max=5"),
    ({"agent": "curl/7.88"}, "User-Agent"),
])
def test_a_wrong_call_is_a_violation(cp, wrong, complaint):
    call(cp, **wrong)
    assert len(cp.violations) == 1 and complaint in cp.violations[0]


def test_an_attempt_may_come_while_the_last_one_is_still_looked_at(cp, monkeypatch):
    arrived, done, problems = threading.Event(), threading.Event(), model.problems
    invocation = str(uuid.uuid4())

    def slow(operation, body):
        if not arrived.is_set():
            arrived.set()
            assert done.wait(10)
        return problems(operation, body)
    monkeypatch.setattr(model, "problems", slow)
    first = threading.Thread(target=call, args=(cp,), kwargs={"invocation": invocation})
    first.start()
    assert arrived.wait(10)
    assert call(cp, attempt="attempt=2; max=3", invocation=invocation)[0] == 200
    done.set()
    first.join()
    assert cp.violations == []


def test_faults_hold_fail_and_drop(cp):
    cp.fault("DiscoverPollEndpoint", status=400, type="ThrottlingException")
    status, body = call(cp)
    assert status == 400 and json.loads(body)["__type"] == "ThrottlingException"
    cp.fault("DiscoverPollEndpoint", "drop")
    with pytest.raises(http.client.RemoteDisconnected):
        call(cp)
    cp.fault("DiscoverPollEndpoint", "garble")
    with pytest.raises(ValueError):
        json.loads(call(cp)[1])
    assert call(cp)[0] == 200


def test_an_unsigned_upgrade_is_a_violation(cp):
    cp.registered.append("arn:x")
    with connect(cp.instance.netns, "127.0.0.1", 8443) as client:
        client.sendall(b"GET /acs/ws?seqNum=1 HTTP/1.1\r\nHost: 127.0.0.1:8443\r\nUpgrade: websocket\r\n"
                       b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in client.recv(4096)   # the sample of RFC 6455
        cp.wait_acs()
        client.sendall(b"\x81\x02{}")   # not masked
        cp.recording.wait(lambda e: e["kind"] == "ws.closed", what="close")
    text = "\n".join(cp.violations)
    assert "Authorization is missing" in text and "not masked" in text
    assert "parameter sendCredentials is missing" in text


def test_a_report_after_stopped_is_a_violation(cp):
    for status in ("STOPPED", "RUNNING"):
        call(cp, "SubmitTaskStateChange", {"cluster": "lab", "task": "t", "status": status, "reason": ""},
             attempt="attempt=1; max=298")
    assert len(cp.violations) == 1 and "after STOPPED" in cp.violations[0]


def test_imds_wants_a_token(instance):
    imds = Imds(instance)
    try:
        url = "http://169.254.169.254/latest/"
        assert instance.http("GET", url + "meta-data/mac").status == 401
        token = instance.http("PUT", url + "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "300"}).text
        answer = instance.http("GET", url + "meta-data/mac", {"X-aws-ec2-metadata-token": token})
        assert (answer.status, answer.text) == (200, "02:00:00:00:00:01")
        imds.v1_only = True
        assert instance.http("GET", url + "meta-data/mac").status == 200
        assert instance.http("GET", url + "user-data").status == 404
    finally:
        imds.stop()


def test_docker_proxy(instance):
    proxy = DockerProxy(f"{instance.new_directory()}/proxy.sock", instance.docker_socket)
    try:
        docker = ["docker", "-H", f"unix://{proxy.path}"]
        done = subprocess.run([*docker, "run", "--rm", "busybox:test", "echo", "hello"], timeout=60,
                              capture_output=True, text=True)
        assert done.stdout == "hello\n", done.stderr
        assert proxy.requests("POST /containers/create")
        events = subprocess.Popen([*docker, "events"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        asked = proxy.wait_request("GET /events")
        proxy.recording.wait(lambda e: e["kind"] == "docker.answer" and e["request"] == asked["seq"])
        proxy.cut("GET /events")
        assert events.wait(10) is not None
        held = proxy.rule("GET /images/json")
        client = subprocess.Popen([*docker, "images"], stdout=subprocess.PIPE)
        held.wait_reached()
        assert client.poll() is None
        held.release()
        assert b"busybox" in client.communicate(timeout=10)[0]
        proxy.rule("GET /info", "fail")
        failed = subprocess.run([*docker, "info"], timeout=10, capture_output=True, text=True)
        assert "made to fail" in failed.stdout + failed.stderr
    finally:
        proxy.stop()


def test_containers_reach_the_endpoint_address(instance):
    """169.254.170.2:80 arrives at 127.0.0.1:51679, from a bridge container and from a host one."""
    from ecsbed.httpd import Server
    server = Server(instance.listen("127.0.0.1", 51679),
                    lambda request: request.connection.respond(200, request.path))
    try:
        for network in ("bridge", "host"):
            out = instance.docker("run", "--rm", "--net", network, "busybox:test",
                                  "get", "http://169.254.170.2/v2/x")
            assert out == "/v2/x\n"
    finally:
        server.stop()


def test_two_instances_do_not_meet(instance):
    from ecsbed.instance import Instance
    other = Instance().up()
    try:
        other.docker("run", "--detach", "--publish", "18099:80", "busybox:test", "httpd", "-f")
        with pytest.raises(OSError):
            connect(instance.netns, "127.0.0.1", 18099, 1)
        assert instance.containers() == []
    finally:
        other.down()
    assert not os.path.exists(other.dir) and not os.path.exists(other.netns)


# --- comparing

def reports(name):
    return [event for event in transcript.load(name) if event["kind"] == "http.request"]


def test_only_instances_without_an_owner_are_stale(tmp_path, monkeypatch):
    with subprocess.Popen(["true"]) as ended:
        pass
    for name, pid in (("mine", os.getpid()), ("being-made", ""), ("stale", ended.pid)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "owner").write_text(str(pid))
    (tmp_path / "going").mkdir()
    (tmp_path / "going" / "owner").symlink_to(tmp_path / "nowhere")     # listed, but gone when it is read
    removed = []
    monkeypatch.setattr(instances, "ROOT", str(tmp_path))
    monkeypatch.setattr(instances.Instance, "processes", lambda self: [])
    monkeypatch.setattr(instances.Instance, "down", lambda self: removed.append(self.name))
    monkeypatch.setattr(instances.glob, "glob", lambda pattern: [str(path / "owner") for path in tmp_path.iterdir()])
    instances.remove_stale()
    assert removed == ["stale"]


def test_a_recording_equals_itself():
    for name in os.listdir(transcript.DIRECTORY):
        name = name.removesuffix(".jsonl")
        assert compare.compare(name, transcript.load(name), transcript.load(name)) == []


@pytest.mark.parametrize("change", [
    lambda event: event["body"]["containers"][0].update(exitCode=1),
    lambda event: event["body"]["containers"][0].pop("exitCode"),
    lambda event: event["body"]["containers"][0].update(reason="because"),
    lambda event: event["body"].update(reason="because"),
    lambda event: event["body"].update(status="RUNNING"),
])
def test_a_difference_is_found(change):
    ours = transcript.load("stop-sigkill")
    change([event for event in ours if event["kind"] == "http.request"][-1])
    assert compare.compare("stop-sigkill", transcript.load("stop-sigkill"), ours)


def test_other_ids_are_no_difference_but_other_ports_are():
    theirs = transcript.load("task-bridge-role")
    ours = json.loads(json.dumps(theirs).replace("3a22d23799b94aae878d0b0565cc2ace", uuid.uuid4().hex)
                      .replace("32768", "41000"))
    assert compare.compare("task-bridge-role", theirs, ours) == []
    ours = json.loads(json.dumps(theirs).replace("18081", "18082"))
    assert compare.compare("task-bridge-role", theirs, ours)


def test_compare_on_the_command_line(tmp_path):
    ours = tmp_path / "ours.jsonl"
    ours.write_text("".join(json.dumps(event) + "\n" for event in transcript.load("killed")[:-2]))
    recorded = os.path.join(transcript.DIRECTORY, "killed.jsonl")
    program = [sys.executable, compare.__file__, "killed", recorded]
    assert subprocess.run([*program, recorded], capture_output=True).returncode == 0
    done = subprocess.run([*program, str(ours)], capture_output=True, text=True)
    assert done.returncode == 1 and "STOPPED" in done.stdout


def test_task_builder():
    task = tasks.task(tasks.container("a"), roleCredentials=tasks.credentials())
    assert tasks.stopped(task)["arn"] == task["arn"]
