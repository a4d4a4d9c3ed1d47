"""awslogs from end to end: containers of a real Docker Engine, ecs-logd, and CloudWatch Logs of the bed; beside Docker's own
driver, and as tasks of ECS. Rows are those of the test matrix of logs."""

import re
import time

import pytest

from ecsbed import tasks
from ecsbed.cloudwatch import CloudWatch
from ecsbed.controlplane import API_SIGNED
from ecsbed.imds import Imds
from ecsbed.instance import BedError, wait_until
from ecsbed.logd import options
from ecsbed.tasks import REGION

INSTANCE_KEY = ("AKIDINSTANCEROLE", "secret/of+instance", "token//instance==")
GROUP = "group"
# Debian's Docker has an older SDK than ours is held to.
SIGNED_BY_DOCKER = ("content-length", "content-type", "host", "x-amz-date", "x-amz-target")


@pytest.fixture
def service(instance):
    """Takes what the instance's role signs."""
    key, secret, token = INSTANCE_KEY
    service = CloudWatch(listener=instance.listen("127.0.0.1", 0), keys={key: (secret, token)})
    yield service
    service.stop()
    assert service.server.errors == []
    assert service.violations == []


@pytest.fixture
def imds(instance):
    imds = Imds(instance)
    imds.set_role(*INSTANCE_KEY)
    yield imds
    imds.stop()


@pytest.fixture
def make_logd(service, make_logd):
    """Started, and ended before the service that they ship to."""
    def make(**settings):
        return make_logd(**settings).start()
    return make


@pytest.fixture
def logd(make_logd, imds):
    return make_logd()


def log_options(service, **more):
    return {"awslogs_group": GROUP, "awslogs_region": REGION, "awslogs_endpoint": service.endpoint, **more}


def run(instance, arguments, script, name="main"):
    """Runs a container to its end and removes it; returns its id and what Docker says of its start."""
    container = instance.docker("create", "--network", "none", "--name", name, *arguments, "busybox:test", "sh", "-c",
                                script).strip()
    try:
        instance.docker("start", container)
        instance.docker("wait", container)
    finally:
        instance.docker("rm", "--force", container)
    return container


def by_logd(instance, logd, service, script, name="main", **more):
    container = run(instance, options("awslogs", **log_options(service, **more)), script, name)
    logd.all_shipped()
    return container


def by_docker(instance, service, script, name="main", **more):
    """With Docker's own driver, as the same task definition would."""
    arguments = ["--log-driver", "awslogs"]
    for key, value in log_options(service, **more).items():
        arguments += ["--log-opt", f"{key.replace('_', '-')}={value}"]
    return run(instance, arguments, script, name)


def streams(service):
    """Names and events of what there is in the group, in the order in which they were made."""
    with service.changed:
        return {stream: list(events) for (_, stream), events in service.streams.items()}


# --- containers

@pytest.mark.row(1)
def test_lines_of_containers(instance, logd, service):
    """Five at once, with credentials of the instance's role and the region of the instance."""
    for number in range(5):
        arguments = {**log_options(service, tag="load/{{.Name}}"), "awslogs_force_flush_interval_seconds": 1}
        del arguments["awslogs_region"]
        instance.docker("run", "-d", "--network", "none", "--name", f"c{number}", *options("awslogs", **arguments),
                        "busybox:test", "sh", "-c", f"i=0; while [ $i -lt 4000 ]; do echo c{number} $i; i=$((i+1)); done")
    instance.docker("wait", *(f"c{number}" for number in range(5)))
    logd.all_shipped()
    for number in range(5):
        assert service.messages(GROUP, f"load/c{number}") == [f"c{number} {i}" for i in range(4000)]


def test_external_instance(instance, make_logd, imds, service):
    """ECS Anywhere: credentials of the file that the SSM agent writes, where it is shown to ecs-logd. Instance metadata has
    a role and a region, and is not asked."""
    shown = instance.new_directory()
    with open(f"{shown}/credentials", "w") as file:
        file.write("[ssm]\naws_access_key_id = ASIASSM\naws_secret_access_key = ssm/secret\naws_session_token = ssm==\n")
    service.keys = {"ASIASSM": ("ssm/secret", "ssm==")}
    logd = make_logd(ECS_EXTERNAL="true", AWS_DEFAULT_REGION=REGION, ECS_LOGD_SHOWN=shown,
                     ECSD_ROTATING_CREDENTIALS_FILE=f"{shown}/credentials", ECS_ALTERNATE_CREDENTIAL_PROFILE="ssm")
    arguments = {**log_options(service, awslogs_stream="s")}
    del arguments["awslogs_region"]
    run(instance, options("awslogs", **arguments), "echo a; echo b")
    logd.all_shipped()
    assert service.messages(GROUP, "s") == ["a", "b"]
    assert imds.recording.select() == []


@pytest.mark.row(38)
def test_docker_logs_ships_nothing(instance, logd, service):
    """It makes a driver of its own, with a FIFO on which nothing comes (R-1.24)."""
    instance.docker("run", "--network", "none", "--name", "seen", *options("awslogs", **log_options(service)), "busybox:test",
                    "sh", "-c", "echo a; echo b")
    logd.all_shipped()
    before = len(service.calls)
    assert instance.docker("logs", "seen").split() == ["a", "b"]
    instance.docker("rm", "seen")
    assert [call[0] for call in service.calls[before:]] in ([], ["CreateLogStream"])
    assert [[event.message for event in events] for events in streams(service).values()] == [["a", "b"]]


# --- Docker's own driver beside it

LINES = r"""printf 'plain\n  two spaces  \n\ntab\there\r\n'; printf '"quoted" \\ / <&>\n'
printf '\303\244\342\202\254\360\237\230\200\n'; printf 'a\377\376b\n'; printf '\001\033[31mred\033[0m\177\n'
head -c 16384 /dev/zero | tr '\0' x; echo; head -c 40000 /dev/zero | tr '\0' y; echo
head -c 262118 /dev/zero | tr '\0' z; echo; head -c 300000 /dev/zero | tr '\0' w; echo
printf 'no newline'"""
STAMPED = r"""printf '  before\n2026-01-02 first\n  at one\n  at two\n\n2026-01-03 second\n2026-01-04 third\nmore'"""
PATTERN = r"^\d{4}-\d\d-\d\d"


@pytest.mark.row(1, 12, 13, 14, 15, 17)
@pytest.mark.parametrize("script, more", [
    (LINES, {}),
    (STAMPED, {"awslogs_multiline_pattern": PATTERN}),
    (STAMPED, {"awslogs_datetime_format": "%Y-%m-%d"}),
    ("echo a", {"tag": "{{.Name}}/{{.FullID}}/{{.ID}}/{{.DaemonName}}/{{printf \"%.3s\" .ImageFullID}}"}),
    ("echo a", {"awslogs_stream": "p/m/1", "tag": "{{.Name}}"}),
    ("echo a", {"awslogs_create_group": "true", "awslogs_group": "new"}),
    ("echo a", {"mode": "non-blocking", "max_buffer_size": "4m"}),
    ("echo first; sleep 1; echo second", {}),
], ids=["lines", "pattern", "datetime", "tag", "stream", "group", "non-blocking", "time"])
def test_as_dockers_driver_sends_it(instance, logd, service, script, more):
    """The same group, stream, messages and times, by the same calls."""
    group = more.get("awslogs_group", GROUP)
    more = {"awslogs_force_flush_interval_seconds": "1000", **more}    # all in one batch, at the end
    seen = []
    for service.signed, service.charset, send in (
            (SIGNED_BY_DOCKER, "replaced", lambda: by_docker(instance, service, script, **more)),
            (API_SIGNED, "strict", lambda: by_logd(instance, logd, service, script, **more))):
        began = time.time()
        container = send()
        ended = time.time()
        service.wait(lambda: service.operations("PutLogEvents"))
        # All of the container's last batch came in one call, or nothing of it.
        (name, events), = [(key[1], events) for key, events in service.streams.items() if key[0] == group]
        assert all(began - 1 <= event.timestamp / 1000 <= ended + 1 for event in events)
        seen.append((name.replace(container, "FULL").replace(container[:12], "SHORT"),
                     [event.message for event in events], events[-1].timestamp - events[0].timestamp,
                     [call[0] for call in service.calls]))
        with service.changed:
            service.streams.clear()
            service.calls.clear()
            service.groups.pop("new", None)
    (name, messages, span, calls), ours = seen
    assert (ours[0], ours[3]) == (name, calls)
    assert [message[:100] for message in ours[1]] == [message[:100] for message in messages]
    assert ours[1] == messages
    assert abs(ours[2] - span) < 1000


# --- what refuses a start, beside Docker's own driver

def refusal(instance, arguments):
    """Why it does not start; None: it does."""
    instance.docker("create", "--network", "none", "--name", "refused", *arguments, "busybox:test", "true")
    try:
        instance.docker("start", "refused")
    except BedError as error:
        return str(error).partition("failed to initialize logging driver: ")[2] or str(error)
    finally:
        instance.docker("rm", "--force", "refused")
    return None


@pytest.mark.row(2, 21)
@pytest.mark.parametrize("more, fault, text", [
    ({"awslogs_group": "nothing"}, None, "failed to create Cloudwatch log stream: .*ResourceNotFoundException: The specified "
                                         "log group does not exist."),
    ({}, ("CreateLogStream", 400, "AccessDeniedException"), "failed to create Cloudwatch log stream: .*AccessDeniedException"),
    ({"awslogs_group": "new", "awslogs_create_group": "true"}, ("CreateLogGroup", 400, "AccessDeniedException"),
     "failed to create Cloudwatch log group: .*AccessDeniedException"),
    ({"tag": "{{.Nothing}}"}, None, "can't evaluate field Nothing"),
    ({"tag": "{{.Name"}, None, "unclosed action"),
    ({"awslogs_multiline_pattern": "(a"}, None, "awslogs could not parse multiline pattern key \"\\(a\""),
    ({"mode": "non-blocking", "awslogs_group": "nothing"}, None, None),
], ids=["group", "access", "access-group", "field", "template", "pattern", "non-blocking"])
def test_refusals(instance, logd, service, more, fault, text):
    """Docker's own driver and ecs-logd refuse the same, for the same reason."""
    if fault:
        operation, status, code = fault
        service.fault(operation, times=10, status=status, type=code, message="User is not authorized")
    arguments = log_options(service, **more)
    ours = refusal(instance, options("awslogs", **arguments))
    service.signed = SIGNED_BY_DOCKER
    dockers = refusal(instance, ["--log-driver", "awslogs", *options("", **arguments)[4:]])
    if text is None:
        assert (ours, dockers) == (None, None)
    else:
        assert re.search(text, ours, re.DOTALL) and re.search(text, dockers, re.DOTALL), (ours, dockers)


@pytest.mark.row(2)
@pytest.mark.parametrize("fault", [
    dict(action="error", status=503, type="ServiceUnavailableException"),
    dict(action="error", status=400, type="ThrottlingException"),
    dict(action="reset"), dict(action="hold")], ids=["unavailable", "throttled", "reset", "stalls"])
def test_starts_while_the_service_is_away(instance, logd, service, fault):
    """It starts within a few seconds, and nothing is lost."""
    fault = service.fault("CreateLogStream", times=1000, **fault)
    began = time.monotonic()
    instance.docker("run", "-d", "--network", "none", "--name", "away",
                    *options("awslogs", **log_options(service, awslogs_stream="s")), "busybox:test", "sh", "-c", "echo a; echo b")
    assert time.monotonic() - began < 15
    instance.docker("wait", "away")
    instance.docker("rm", "away")
    assert service.streams == {}
    fault.release()
    service.wait_events(GROUP, "s", 2, timeout=60)
    assert service.messages(GROUP, "s") == ["a", "b"]


# --- tasks of ECS

@pytest.fixture
def make_logged(make_bed, make_logd):
    """Beds with an ecs-logd that ecsd is connected to, and a role of the instance."""
    def make(logd=None, **settings):
        bed = make_bed(ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE="true", **settings)
        bed.imds.set_role(*INSTANCE_KEY)
        bed.logd = make_logd(control=bed.agent.environment["ECSD_LOGD_SOCKET"], **(logd or {}))
        return bed.start()
    return make


def role(service):
    """An execution role that the service knows."""
    made = tasks.credentials("ASIAEXECUTIONROLE")
    service.keys[made["accessKeyId"]] = (made["secretAccessKey"], made["sessionToken"])
    return made


def logged(service, script, role=None, **more):
    """A task of one container, whose log is signed for by this execution role; None: by the instance's."""
    config = {key.replace("_", "-"): value for key, value in log_options(service, awslogs_stream_prefix="p", **more).items()}
    how = {"logsAuthStrategy": "ExecutionRole"} if role else {}
    container = tasks.container("main", ["sh", "-c", script],
                                host_config={"LogConfig": {"Type": "awslogs", "Config": config}}, **how)
    return tasks.task(container, **({"executionRoleCredentials": role} if role else {}))


def stream_of(task):
    return "p/main/" + task["arn"].rpartition("/")[2]


def send(bed, task):
    bed.cp.wait_ack(bed.cp.send_payload(task))
    return task


COUNT = "i=0; while [ $i -lt {count} ]; do echo line $i; i=$((i+1)); {pause} done"


def numbers(service, task):
    return [int(message.split()[1]) for message in service.messages(GROUP, stream_of(task))]


@pytest.mark.row(1)
def test_a_task_with_its_execution_role(make_logged, service):
    """Its credentials come from the endpoint on the host, by the address that Docker's driver asks (R-3.5)."""
    bed = make_logged()
    key = role(service)
    service.expired.add(INSTANCE_KEY[0])    # it must not be used
    task = send(bed, logged(service, COUNT.format(count=1000, pause=""), key))
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    service.wait_events(GROUP, stream_of(task), 1000)
    assert numbers(service, task) == list(range(1000))
    assert any("GetCredentialsExecutionRole" in line for line in bed.agent.audit())
    assert key["secretAccessKey"] not in bed.logd.log() and key["sessionToken"] not in bed.logd.log()


@pytest.mark.row(2)
def test_a_task_whose_group_does_not_exist(make_logged, service):
    bed = make_logged()
    task = send(bed, logged(service, "true", role(service), awslogs_group="nothing"))
    change = bed.cp.wait_container_status(task["arn"], "main", "STOPPED")
    assert "failed to create Cloudwatch log stream" in change["reason"]
    assert "ResourceNotFoundException: The specified log group does not exist." in change["reason"]


@pytest.mark.row(3, 30)
def test_ecsd_restarts_during_an_outage(make_logged, service):
    """Delivery goes on whatever ecsd does."""
    bed = make_logged()
    key = role(service)
    task = send(bed, logged(service, COUNT.format(count=200, pause="sleep 0.01;"), key,
                            awslogs_force_flush_interval_seconds="1"))
    service.wait_events(GROUP, stream_of(task), 1)
    outage = service.fault("PutLogEvents", "reset", times=100000)
    outage.wait_reached()
    bed.agent.kill()
    bed.start()
    outage.release()
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    service.wait_events(GROUP, stream_of(task), 200, timeout=60)
    assert numbers(service, task) == list(range(200))


CLEANED_UP_SOON = {"ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION": "10s", "ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER": "0s"}
KEPT = "the execution role's credentials are kept"


def kept(bed):
    """How often it was logged that credentials are."""
    with open(bed.agent.log_file) as file:
        return file.read().count(KEPT)


def cleaned_up(bed, task, times=1):
    """All but the credentials of its execution role, which are served."""
    wait_until(lambda: not bed.instance.containers(task["arn"]), 60, "the removal of its container")
    wait_until(lambda: kept(bed) == times, 30, "the end of its clean-up")
    assert bed.credentials("/v2/credentials/" + task["executionRoleCredentials"]["credentialsId"]).status == 200


def credentials_are_gone(bed, task):
    uri = "/v2/credentials/" + task["executionRoleCredentials"]["credentialsId"]
    wait_until(lambda: bed.credentials(uri).status == 400, 60, "the end of the task's credentials")
    bed.agent.wait_log("task cleaned up")


def ended_in_an_outage(make_logged, service):
    """A bed, a task that logged 500 lines with its execution role and has ended, and the outage that keeps them waiting."""
    bed = make_logged({"ECSD_CLOCK_SCALE": 20}, **CLEANED_UP_SOON)
    service.expired.add(INSTANCE_KEY[0])
    outage = service.fault("PutLogEvents", "reset", times=100000)
    task = send(bed, logged(service, COUNT.format(count=500, pause=""), role(service)))
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    outage.wait_reached()
    return bed, task, outage


@pytest.mark.row(31)
@pytest.mark.parametrize("restarted", [(), ("ecsd",), ("ecs-logd",), ("ecsd", "ecs-logd")],
                         ids=["nothing", "ecsd", "ecs-logd", "both"])
def test_a_task_is_cleaned_up_during_an_outage(make_logged, service, restarted):
    """Its execution role's credentials stay until its log has been shipped with them (R-3.4)."""
    bed, task, outage = ended_in_an_outage(make_logged, service)
    cleaned_up(bed, task)
    if "ecsd" in restarted:
        bed.agent.kill()
        bed.start()
        cleaned_up(bed, task, 2)
    if "ecs-logd" in restarted:    # which then has to ask for the credentials again
        bed.logd.kill()
        bed.logd.start()
    outage.release()
    service.wait_events(GROUP, stream_of(task), 500, timeout=60)
    assert numbers(service, task) == list(range(500))
    credentials_are_gone(bed, task)


@pytest.mark.row(31)
def test_a_task_is_cleaned_up_while_ecs_logd_is_away(make_logged, service):
    bed, task, outage = ended_in_an_outage(make_logged, service)
    bed.logd.kill()
    cleaned_up(bed, task)
    outage.release()
    bed.logd.start()
    service.wait_events(GROUP, stream_of(task), 500, timeout=60)
    credentials_are_gone(bed, task)


@pytest.mark.row(31, 32)
def test_credentials_expire_during_an_outage(make_logged, service):
    """Then they are of no use to anybody, and the lines wait until they are too old."""
    bed = make_logged({"ECSD_CLOCK_SCALE": 20}, **CLEANED_UP_SOON)
    key = role(service)
    outage = service.fault("PutLogEvents", "reset", times=100000)
    expires = time.time() + 15
    key["expiration"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
    task = send(bed, logged(service, COUNT.format(count=500, pause=""), key))
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    outage.wait_reached()
    cleaned_up(bed, task)
    credentials_are_gone(bed, task)
    assert time.time() >= expires - 1
    outage.release()
    wait_until(lambda: "HTTP 400" in (bed.logd.status()["Containers"][0].get("Trouble") or ""), 60, "why nothing is shipped")
    assert bed.logd.status()["Containers"][0]["WaitingLines"] >= 500
    assert numbers(service, task) == []
