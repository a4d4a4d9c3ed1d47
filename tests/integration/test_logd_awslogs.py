"""The awslogs destination against CloudWatch Logs of the bed: whatever happens on the way, each line arrives, in order, and
no request is one that the service would not take. Fed by tests/logging/feed.c, so Docker is not needed. Rows
are those of the test matrix of logs."""

import collections
import datetime
import json
import os
import signal
import subprocess
import time

import pytest

from ecsbed.cloudwatch import ACCESS_KEY, SECRET_KEY, CloudWatch
from ecsbed.pki import Pki
from ecsbed.tasks import REGION

BUILD = os.environ.get("ECSD_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
GROUP, STREAM = "group", "a/stream"
SCALE = 30
TASK_KEY = "AKIDTASKROLE"


@pytest.fixture
def service():
    service = CloudWatch(keys={ACCESS_KEY: (SECRET_KEY, None), TASK_KEY: ("secret/of/a+task", "token//+==")})
    yield service
    service.stop()
    assert service.server.errors == []
    assert service.violations == []


class Feed:
    def __init__(self, service, spool, lines=0, environment=None, **options):
        """Options: of feed.c and of the log driver, with _ for -."""
        arguments = {"driver": "awslogs", "spool": str(spool), "lines": lines, "scale": SCALE, "awslogs-group": GROUP,
                     "awslogs-stream": STREAM, "awslogs-region": REGION, "awslogs-endpoint": service.endpoint,
                     **{name.replace("_", "-"): value for name, value in options.items()}}
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HTTP"))}
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "tests/logging/feed"), *[f"{name}={value}" for name, value in arguments.items()]],
            env={**clean, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                 "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true",
                 **(environment or {})},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait(self, timeout=60, status=0):
        """What it reports at its end."""
        try:
            out, errors = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("it did not end: " + self.process.communicate()[1]) from None
        assert self.process.returncode == status, errors
        return json.loads(out)

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.communicate(timeout=20)


def numbers(service):
    return [int(message.split(" ", 1)[0]) for message in service.messages(GROUP, STREAM)]


def check(service, lines, duplicates=False):
    """Every line is there; in order but for those that were sent twice."""
    found = numbers(service)
    assert sorted(set(found)) == list(range(lines))
    if not duplicates:
        assert found == list(range(lines))
    return len(found) - lines


@pytest.mark.row(1)
@pytest.mark.parametrize("lines, size", [(1, 100), (100, 1000), (30000, 100), (40, 250_000)])
def test_lines_arrive(service, tmp_path, lines, size):
    report = Feed(service, tmp_path, lines, size=size, batch=min(lines, 1000) if size < 1000 else 1).wait()
    check(service, lines)
    assert all(len(message) == size for message in service.messages(GROUP, STREAM))
    assert report["DeliveredLines"] == lines and report["Retries"] == 0
    compressed = sum(call[4] for call in service.operations("PutLogEvents"))
    assert compressed < lines * size / 4 or lines == 1


@pytest.mark.row(1)
def test_without_compression(service, tmp_path):
    Feed(service, tmp_path, 1000, {"ECS_LOGD_AWSLOGS_GZIP": "false"}).wait()
    check(service, 1000)
    assert sum(call[4] for call in service.operations("PutLogEvents")) > 100_000


@pytest.mark.row(42)
def test_tls(tmp_path):
    pki = Pki(str(tmp_path / "pki"))
    service = CloudWatch(tls=pki.server_context)
    Feed(service, tmp_path / "spool", 1000, {"SSL_CERT_FILE": pki.ca}).wait()
    check(service, 1000)
    service.stop()
    assert service.violations == []


@pytest.mark.row(1, 32)
def test_embedded_metrics_and_credentials_of_a_task(service, tmp_path):
    service.credentials["/v2/credentials/id"] = {"AccessKeyId": TASK_KEY, "SecretAccessKey": "secret/of/a+task",
                                                 "Token": "token//+==", "Expiration": "2099-01-01T00:00:00Z"}
    service.expired.add(ACCESS_KEY)     # it must not be used
    Feed(service, tmp_path, 100, {"ECS_LOGD_CREDENTIALS_BASE": service.endpoint}, awslogs_format="json/emf",
         awslogs_credentials_endpoint="/v2/credentials/id").wait()
    check(service, 100)


@pytest.mark.row(32)
def test_credentials_that_come_late(service, tmp_path):
    service.credentials["/v2/credentials/id"] = (503, {"code": "Unavailable", "message": "not yet"})
    feed = Feed(service, tmp_path, 100, {"ECS_LOGD_CREDENTIALS_BASE": service.endpoint},
                awslogs_credentials_endpoint="/v2/credentials/id")
    service.expired.add(TASK_KEY)
    service.credentials["/v2/credentials/id"] = {"AccessKeyId": TASK_KEY, "SecretAccessKey": "secret/of/a+task",
                                                 "Token": "token//+=="}
    service.wait(lambda: any(call[2] == "ExpiredTokenException" for call in service.calls))
    service.expired.clear()
    feed.wait()
    check(service, 100)


@pytest.mark.row(10)
def test_the_group_is_made(service, tmp_path):
    service.delete_group(GROUP)
    Feed(service, tmp_path, 100, awslogs_create_group="true").wait()
    check(service, 100)
    assert [call[0] for call in service.operations()][:3] == ["CreateLogStream", "CreateLogGroup", "CreateLogStream"]


@pytest.mark.row(10)
def test_the_stream_is_deleted_while_it_is_used(service, tmp_path):
    feed = Feed(service, tmp_path, 20_000, rate=5000, awslogs_force_flush_interval_seconds=1)
    service.wait_events(GROUP, STREAM, 1)
    service.delete_stream(GROUP, STREAM)
    feed.wait()
    found = numbers(service)
    assert found == list(range(found[0], 20_000))


@pytest.mark.row(6)
def test_throttling(service, tmp_path):
    service.throttle = 0.3
    report = Feed(service, tmp_path, 20_000, rate=5000, awslogs_force_flush_interval_seconds=1).wait()
    check(service, 20_000)
    assert report["Retries"] == sum(call[2] == "ThrottlingException" for call in service.calls) > 0


@pytest.mark.row(4, 8)
def test_everything_goes_wrong_now_and_then(service, tmp_path):
    """Lost answers may repeat lines; nothing else does."""
    faults = [dict(action="drop"), dict(action="reset"), dict(action="lost"), dict(action="html", status=502),
              dict(action="garble"), dict(action="error", status=503, type="ServiceUnavailableException"),
              dict(action="error", status=400, type="ThrottlingException"), dict(action="html", status=413),
              dict(action="error", status=500, type="InternalFailure"), dict(action="delay", seconds=2)]
    feed = Feed(service, tmp_path, 20_000, rate=4000, awslogs_force_flush_interval_seconds=1)
    for done, options in enumerate(faults):
        before = len(service.operations("PutLogEvents"))
        service.fault("PutLogEvents", **options)
        service.wait(lambda: len(service.operations("PutLogEvents")) > before + 1, what=f"fault {done}")
    report = feed.wait()
    again = check(service, 20_000, duplicates=True)
    # On a connection that was used before the HTTP client repeats a lost request by itself.
    lost = sum(call[3] for call in service.operations("PutLogEvents") if call[2] == "lost")
    assert 0 < again <= report["RepeatedLines"] + lost


@pytest.mark.row(3, 4)
def test_an_outage(service, tmp_path):
    service.fault("PutLogEvents", "reset", times=10)
    # An answer that takes three seconds is taken for none, and the lines would come again.
    report = Feed(service, tmp_path, 50_000, batch=1000, scale=10).wait()
    check(service, 50_000)
    assert report["Retries"] >= 9      # one may be repeated by the connection below


@pytest.mark.row(24, 25)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_restarts(service, tmp_path, how):
    lines = 0
    for _ in range(5):
        count = len(service.operations("PutLogEvents"))
        feed = Feed(service, tmp_path, 50_000, rate=20_000, awslogs_force_flush_interval_seconds=1, **{"from": lines})
        service.wait(lambda: len(service.operations("PutLogEvents")) >= count + 2)
        feed.end(how)
        lines = max(numbers(service)) + 1
        # What was in the spool and had not gone out has numbers above; the next feed begins with those that arrived last.
    Feed(service, tmp_path, 1000, **{"from": lines}).wait()
    found = collections.Counter(numbers(service))
    assert sorted(found)[:lines + 1000] == list(range(lines + 1000))


@pytest.mark.row(5)
def test_a_slow_line(service, tmp_path):
    """A full batch takes longer than a call may, and arrives nevertheless, later: batches become smaller."""
    service.rate = 100_000
    report = Feed(service, tmp_path, 4000, {"ECS_LOGD_AWSLOGS_GZIP": "false"}, scale=60).wait(timeout=120)
    assert check(service, 4000, duplicates=True) <= report["RepeatedLines"]
    assert 0 < report["Retries"] < 20


@pytest.mark.row(35)
def test_a_service_with_another_time(service, tmp_path):
    service.ahead = -3600
    Feed(service, tmp_path, 1000).wait()
    check(service, 1000)


@pytest.mark.row(8)
def test_refused_events(service, tmp_path):
    service.refuse = lambda event: event.message.startswith(("77 ", "500 "))
    report = Feed(service, tmp_path, 1000).wait()
    assert numbers(service) == [number for number in range(1000) if number not in (77, 500)]
    assert report["RefusedLines"] == 2


@pytest.mark.row(8)
def test_sequence_tokens_of_old(service, tmp_path):
    service.tokens = True
    Feed(service, tmp_path, 20_000).wait()
    check(service, 20_000)


@pytest.mark.row(3)
@pytest.mark.parametrize("scale", [1800, 64_800], ids=["two hours", "three days"])
def test_a_long_outage(service, tmp_path, scale):
    """On a clock that runs for four seconds of ours. Tries become rare, and stay so: about two a minute in the end."""
    service.fault("PutLogEvents", "reset", times=1_000_000)
    feed = Feed(service, tmp_path, 20_000, scale=scale)
    service.wait(lambda: service.operations("PutLogEvents"))
    time.sleep(4)
    feed.end()
    # Pauses grow to half a minute on average in the first minutes.
    assert 1 < len(service.operations("PutLogEvents")) < 50 + 4 * scale / 60 * 4
    service.faults.clear()
    # On that clock a call has no time, so another one goes on with the spool.
    Feed(service, tmp_path).wait()
    check(service, 20_000)


@pytest.mark.row(32)
@pytest.mark.parametrize("endpoint", ["renews", "fails", "gone"])
def test_credentials_expire(service, tmp_path, endpoint):
    """They are used until they expire, whatever the endpoint says meanwhile; afterwards lines wait for new ones."""
    def document(key, token, seconds):
        expires = datetime.datetime.fromtimestamp(time.time() + seconds, datetime.timezone.utc)
        return {"AccessKeyId": key, "SecretAccessKey": "secret/of/a+task", "Token": token,
                "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
    service.keys["AKIDSECOND"] = ("secret/of/a+task", "second")
    service.credentials["/v2/credentials/id"] = document(TASK_KEY, "token//+==", 3)
    lines = 1500 if endpoint == "renews" else 4500
    feed = Feed(service, tmp_path, lines, {"ECS_LOGD_CREDENTIALS_BASE": service.endpoint}, rate=1000, scale=5,
                awslogs_credentials_endpoint="/v2/credentials/id", awslogs_force_flush_interval_seconds=1)
    service.wait_events(GROUP, STREAM, 1)
    renewed = document("AKIDSECOND", "second", 3600)
    if endpoint == "renews":
        service.credentials["/v2/credentials/id"] = renewed
    else:
        service.credentials["/v2/credentials/id"] = (503 if endpoint == "fails" else 404, {"code": "no", "message": "no"})
        time.sleep(3.5)
        service.expired.add(TASK_KEY)
        assert len(service.messages(GROUP, STREAM)) > 1000     # until they expired
        service.credentials["/v2/credentials/id"] = renewed
    feed.wait()
    check(service, lines)
    assert "AKIDSECOND" in service.headers[-1]["authorization"]
