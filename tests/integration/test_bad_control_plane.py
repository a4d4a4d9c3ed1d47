"""A control plane that answers wrongly, slowly, or not at all: what is said, when the agent ends and with which code,
and that ACS and the tasks do not suffer."""

import gzip
import json
import re
import socket
import time

import pytest

from ecsbed import netns, tasks
from ecsbed.agent import memory_kib
from ecsbed.bed import with_bystander
from ecsbed.httpd import Server
from ecsbed.instance import wait_until

ANSWER_LIMIT = 4 << 20      # of a body, common/http.h
CALL_TIMEOUT_S = 42         # control-plane.md §1.3


def reports(bed, since=0):
    return bed.cp.recording.select(
        lambda e: e["kind"] == "http.request" and e["op"] == "SubmitTaskStateChange", since)


def resident_kib(bed):
    return memory_kib(bed.agent.process.pid)


def peak_kib(bed):
    return memory_kib(bed.agent.process.pid, "VmHWM")


# --- answers that are none: each by its bytes

def raw(*parts, hold=0.0):
    """Sends these bytes and ends the connection, after a while if the agent has to end it itself."""
    def script(request):
        for part in parts:
            request.connection.sock.sendall(part)
        if hold:
            request.connection.sock.settimeout(hold)
            request.connection.sock.recv(1)
    return script


def head(status="200 OK", *lines):
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: application/x-amz-json-1.1", *lines, "", ""]).encode()


HTML = b"<html><body>Sign in to the network</body></html>"


def endless(request):
    """100 MiB without a stated length."""
    request.connection.sock.sendall(head("200 OK"))
    for _ in range(100):
        request.connection.sock.sendall(b" " * (1 << 20))


def drip(request):
    """One byte a second of the agent's time, for ever."""
    request.connection.sock.sendall(head("200 OK", "Content-Length: 10000"))
    for _ in range(10000):
        request.connection.sock.sendall(b" ")
        time.sleep(0.02)


def reset(request):
    request.connection.close(reset=True)


def body_of(data, *lines, status="200 OK"):
    return raw(head(status, f"Content-Length: {len(data)}", *lines) + data)


BOMB = gzip.compress(bytes(100 << 20), 1)
ANSWERS = {
    "HTML with 200": (body_of(HTML), "unusable answer: invalid JSON: unexpected '<' at byte 0"),
    "HTML with 503": (body_of(HTML, status="503 x"), "UnknownError (HTTP 503)"),
    "a list": (body_of(b"[1]"), "unusable answer: not a JSON object"),
    "no JSON behind 400": (body_of(b"", status="400 x"), "UnknownError (HTTP 400)"),
    "truncated JSON": (body_of(b'{"a":'), "unusable answer: invalid JSON: unexpected end"),
    "truncated body": (raw(head("200 OK", "Content-Length: 100") + b"{"), "connection closed in the middle of the answer"),
    "100 MiB announced": (raw(head("200 OK", f"Content-Length: {100 << 20}"), b" " * (5 << 20)),
                          f"the answer is larger than {ANSWER_LIMIT} bytes"),
    "100 MiB endless": (endless, f"the answer is larger than {ANSWER_LIMIT} bytes"),
    "100 MiB packed": (body_of(BOMB, "Content-Encoding: gzip"), f"the answer is larger than {ANSWER_LIMIT} bytes"),
    "bad gzip": (body_of(b"no gzip", "Content-Encoding: gzip"), "incorrect header check"),
    "a redirect": (body_of(b"", "Location: https://127.0.0.1:1/", status="307 x"), "UnknownError (HTTP 307)"),
    "one byte a second": (drip, f"timed out after {CALL_TIMEOUT_S * 1000} ms"),
    "a reset": (reset, "connection reset by peer|broken pipe"),
    "nothing": (raw(), "connection closed before an answer came"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9\r\n"), "HTTP/0.9"),
    "a bad length": (raw(head("200 OK", "Content-Length: many") + b"{}"), "Content-Length"),
    "bad chunks": (raw(head("200 OK", "Transfer-Encoding: chunked") + b"xyz\r\n{}", hold=5), "hunk"),
    "headers without end": (raw(head("200 OK", *(f"X-{n}: {'x' * 1000}" for n in range(400))), hold=5), f"the answer is larger than {256 << 10} bytes"),
    "an unknown version": (raw(b"HTTP/9.9 200 OK\r\n\r\n"), "version"),
}


@pytest.fixture(scope="class")
def shared_bed(instance, pki):
    with with_bystander(instance, pki, clock_scale=50, heartbeat=0.3) as made:
        made.cp.lossy = True
        yield made


class TestAnswers:
    """Of every kind, to reports: the report is repeated, and ACS does not notice."""

    @pytest.mark.parametrize("what", ANSWERS)
    def test_bad_answer(self, shared_bed, what):
        bed, (script, words) = shared_bed, ANSWERS[what]
        mark = bed.cp.recording.mark()
        task = tasks.stopped(tasks.task())
        bed.cp.fault("SubmitTaskStateChange", "script", script=script, times=3, match=lambda b: b["task"] == task["arn"])
        bed.cp.wait_ack(bed.cp.send_payload(task))
        line = bed.agent.wait_log(f"state change not accepted, trying again.*{task['arn']}.*", 20).group()
        assert any(text in line for text in words.split("|"))
        bed.agent.wait_log(f"state change accepted.*{task['arn']} status=STOPPED")
        assert peak_kib(bed) < 64 << 10
        assert not bed.cp.recording.select(lambda e: e["kind"] == "ws.upgrade", mark)
        assert bed.cp.statuses(bed.bystander["arn"]) == ["RUNNING"]


# --- registration, and the way to ACS

REGISTRATION = {
    "incomplete signature": (dict(status=400, type="IncompleteSignature"), 1,
                             "RegisterContainerInstance: IncompleteSignature: test"),
    "wrong signature": (dict(status=403, type="SignatureDoesNotMatch"), 1,
                        "RegisterContainerInstance: SignatureDoesNotMatch: test"),
    "validation": (dict(status=400, type="InvalidParameterException"), 5,
                   "RegisterContainerInstance: InvalidParameterException: test"),
    "no such operation": (dict(status=404, type="UnknownOperationException"), 1,
                          "RegisterContainerInstance: UnknownOperationException: test"),
    "bad gateway": (dict(status=502, type="", times=3), 1, "RegisterContainerInstance: UnknownError: test"),
    "too many requests": (dict(status=429, type="TooManyRequestsException", times=3), 1,
                          "RegisterContainerInstance: TooManyRequestsException: test"),
    "HTML": (dict(action="script", script=body_of(HTML)), 1,
             "RegisterContainerInstance: unusable answer: invalid JSON: unexpected '<' at byte 0"),
    "redirect": (dict(action="script", script=body_of(b"", "Location: https://127.0.0.1:1/", status="301 x")), 1,
                 "RegisterContainerInstance: UnknownError (HTTP 301)"),
}


@pytest.mark.parametrize("what", REGISTRATION)
def test_registration_refused(make_bed, what):
    """The exit code of control-plane.md §7.6, and the reason as the last word of the log."""
    fault, code, words = REGISTRATION[what]
    bed = make_bed(clock_scale=50)
    bed.cp.lossy = True
    bed.cp.fault("RegisterContainerInstance", **fault)
    assert bed.agent.start().wait() == code
    assert f'msg="cannot start" prog=ecsd error="{words}" exit_code={code}' in bed.agent.log()
    attempts = bed.cp.operations().count("RegisterContainerInstance")
    assert attempts == fault.get("times", 1)


TRANSIENT = ["ThrottlingException", "LimitExceededException", "ServerException"]


def test_registration_repeated(make_bed):
    """What may pass is waited for, round after round, and each one is said."""
    bed = make_bed(clock_scale=50)
    for name in TRANSIENT:
        bed.cp.fault("RegisterContainerInstance", times=3, status=500 if name == "ServerException" else 400, type=name)
    bed.cp.fault("RegisterContainerInstance", "script", script=body_of(b"{}"))
    bed.cp.lossy = True
    bed.start()
    log = bed.agent.log()
    for round, words in enumerate([name + ": test" for name in TRANSIENT], 1):
        assert f'error="RegisterContainerInstance: {words}" round={round} ' in log
    assert 'error="the answer has no containerInstanceArn" round=4 ' in log


ENDPOINTS = ["garbage", "ftp://127.0.0.1/", "https://", "https://[::1", "https://127.0.0.1:99999/", "javascript:alert(1)"]


def test_bad_poll_endpoints(make_bed):
    """Each class of refusal and each address that is none: said, and asked for again."""
    bed = make_bed(clock_scale=50)
    bed.cp.lossy = True
    said = []
    for type in ("AccessDeniedException", "ClientException", "InvalidParameterException"):
        bed.cp.fault("DiscoverPollEndpoint", status=400, type=type)
        said.append(f"DiscoverPollEndpoint: {type}: test")
    bed.cp.fault("DiscoverPollEndpoint", status=503, type="", times=3)
    bed.cp.fault("DiscoverPollEndpoint", "script", script=body_of(HTML))
    bed.cp.fault("DiscoverPollEndpoint", "script", script=body_of(b'{"endpoint":7}'))
    said += ["DiscoverPollEndpoint: UnknownError: test", "DiscoverPollEndpoint: unusable answer: invalid JSON",
             "no endpoint returned; nil"]
    for endpoint in ENDPOINTS:
        bed.cp.fault("DiscoverPollEndpoint", "script", script=body_of(json.dumps({"endpoint": endpoint}).encode()))
        said.append("the ACS endpoint is no http or https address: " + endpoint)
    bed.start()
    log, position = bed.agent.log(), 0
    for words in said:
        position = log.index(words, position) + 1
    bed.run_task(tasks.task())


def test_acs_on_ipv6_and_another_port(make_bed, pki, instance):
    def make():
        listener = socket.socket(socket.AF_INET6)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("::1", 9443))
        listener.listen()
        return listener
    bed = make_bed()
    bed.cp.acs_server = Server(netns.run_in(instance.netns, make), bed.cp._handle, pki.context("v6", "IP:::1"), "acs")
    bed.cp.acs_endpoint = "https://[::1]:9443"
    bed.start()
    bed.run_task(tasks.task())


def test_a_wrong_clock(make_bed):
    """An hour behind, noticed at registration and while running: said once for each, and gone by from then on."""
    bed = make_bed()
    bed.cp.ahead = 3600
    bed.start()
    told = "the clock of this host is wrong: requests are signed with the time of the service"
    assert re.search(told + '.* service=ecs .* ahead_s=3(600|599) operation=RegisterContainerInstance '
                     'error="InvalidSignatureException: Signature expired', bed.agent.log())

    def times_told():
        with open(bed.agent.log_file) as file:
            return file.read().count(told)
    arn = bed.run_task(tasks.task())
    bed.agent.wait_log(f"state change accepted.*{arn} status=RUNNING")
    assert times_told() == 1
    bed.cp.ahead = -1800
    arn = bed.run_task(tasks.task())
    bed.agent.wait_log(f"state change accepted.*{arn} status=RUNNING")
    assert times_told() == 2


# --- outages

def test_ten_minutes_of_throttling(make_bed):
    """200 tasks and more to report, all refused: asked for at a bounded rate, in bounded memory, and told in the end, each
    once and in its order. ACS goes on all the while."""
    scale = 100
    bed = make_bed(tls=False, clock_scale=scale, heartbeat=0.1, ECSD_CLOCK_SCALE=5).start()
    task = tasks.task()
    throttled = bed.cp.fault("SubmitTaskStateChange", status=400, type="ThrottlingException", times=1 << 30)
    bed.cp.wait_ack(bed.cp.send_payload(task))
    bed.cp.wait_task_status(task["arn"], "RUNNING")     # heard, and refused
    bed.cp.wait_ack(bed.cp.send_payload(tasks.stopped(task)))
    wait_until(lambda: not bed.instance.containers(task["arn"], running=True), 20, "end of the task")
    bed.agent.terminate()
    bed.start(ECSD_CLOCK_SCALE=scale)
    mark, begin = bed.cp.recording.mark(), time.monotonic()
    many = [tasks.stopped(tasks.task()) for _ in range(200)]
    bed.cp.wait_ack(bed.cp.send_payload(*many))
    before = resident_kib(bed)
    while time.monotonic() - begin < 600 / scale:
        bed.cp.settle()
        time.sleep(0.2)
    asked = reports(bed, mark)
    last_minute = [e for e in asked if e["mono"] > asked[-1]["mono"] - 60 / scale]
    assert len(asked) <= 201 * 15 and len(last_minute) <= 201 * 3
    assert resident_kib(bed) - before < 4096
    assert not bed.cp.recording.select(lambda e: e["kind"] == "ws.upgrade", mark)
    throttled.release()
    accepted = {}

    def all_told():
        told = {e["request"]: e for e in bed.cp.recording.select(
            lambda e: e["kind"] == "http.response" and e["op"] == "SubmitTaskStateChange" and e["status"] == 200)}
        accepted.clear()
        for event in reports(bed):
            if event["seq"] in told:
                accepted.setdefault(event["body"]["task"], []).append(event["body"]["status"])
        return len(accepted) == 201 and "STOPPED" in accepted[task["arn"]]
    wait_until(all_told, 30, "all reports", 0.2)
    assert accepted.pop(task["arn"]) == ["RUNNING", "STOPPED"]
    assert set(map(tuple, accepted.values())) == {("STOPPED",)}


def test_a_half_open_connection(make_bed):
    """Packets are lost from now on, both ways: noticed within three minutes of the agent's time, while a report waits;
    when they pass again, ACS is back and the report is told."""
    scale = 20
    bed = make_bed(clock_scale=scale, heartbeat=0.3).start()
    bed.cp.lossy = True
    rules = [(option, str(bed.cp.server.listener.getsockname()[1])) for option in ("--dport", "--sport")]
    mark, begin = bed.cp.recording.mark(), time.monotonic()
    for option, number in rules:
        bed.instance.run("iptables", "-I", "INPUT", "-i", "lo", "-p", "tcp", option, number, "-j", "DROP")
    try:
        bed.agent.wait_log("not connected to ACS, trying again.* reason=\"no message from ACS within the heartbeat time")
        assert time.monotonic() - begin < 180 / scale
        bed.agent.wait_log("not connected to ACS, trying again.* reason=\"websocket to 127.0.0.1:8443: not connected "
                           "after 30000 ms")
    finally:
        for option, number in rules:
            bed.instance.run("iptables", "-D", "INPUT", "-i", "lo", "-p", "tcp", option, number, "-j", "DROP")
    bed.cp.wait_acs(since=mark)
    bed.run_task(tasks.task())
