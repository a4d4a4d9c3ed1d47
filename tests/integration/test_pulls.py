"""Images from registries: real ones with TLS and passwords, and one that does everything wrong."""

import base64
import contextlib
import io
import json
import os
import re
import tarfile

import pytest

import compare
import transcript
from ecsbed import image, tasks
from ecsbed.awsservices import AwsServices
from ecsbed.bed import Bed
from ecsbed.instance import wait_until
from ecsbed.pki import REGISTRY_ADDRESS
from ecsbed.registry import FakeRegistry, Registry, prepare

# Otherwise Docker itself tries a layer five times, for a minute, before it says anything.
DOCKER_OPTIONS = ("--max-download-attempts", "1")
USERS = {"AWS": "ecr/pass+word", "mary": "mary's password", "list": "of the configuration"}
SECRET = f"arn:aws:secretsmanager:{tasks.REGION}:{tasks.ACCOUNT}:secret:registry-AbCdEf"


@pytest.fixture(scope="module")
def registry(instance):
    """A registry without TLS or password, with busybox:1 in it."""
    made = Registry(instance, f"{instance.dir}/registry")
    push(instance, made, "busybox:1")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def private(instance, pki):
    """A registry with TLS that Docker verifies, and with passwords."""
    prepare(instance, pki)
    made = Registry(instance, f"{instance.dir}/private", REGISTRY_ADDRESS, 5443, pki, USERS)
    instance.docker("login", "--username", "mary", "--password-stdin", made.name, stdin=USERS["mary"].encode())
    push(instance, made, "busybox:1")
    push(instance, made, "mary/busybox:1")
    instance.docker("logout", made.name)
    yield made
    made.stop()


@pytest.fixture
def fake(instance):
    made = FakeRegistry(instance)
    yield made
    made.stop()
    assert made.server.errors == []


@pytest.fixture
def aws(instance, pki, make_bed):
    """ECR and Secrets Manager; knows the instance's key. A test adds those of roles with `role()`."""
    from ecsbed.controlplane import ACCESS_KEY, SECRET_KEY
    made = AwsServices(instance, pki, {ACCESS_KEY: (SECRET_KEY, None)})
    made.tokens = "AWS:" + USERS["AWS"]
    made.instance_key = ACCESS_KEY

    def role(key="ASIATESTEXECUTION"):
        credentials = tasks.credentials(key)
        made.keys[key] = (credentials["secretAccessKey"], credentials["sessionToken"])
        return credentials
    made.role = role
    yield made
    made.stop()
    assert made.violations + made.server.errors == []


def push(instance, to, name, source=image.NAME):
    instance.docker("tag", source, f"{to.name}/{name}")
    instance.docker("push", "--quiet", f"{to.name}/{name}")
    instance.docker("rmi", f"{to.name}/{name}")


def forget(instance, *names):
    for name in names:
        instance.docker("rmi", "--force", name, check=False)


def task_of(*images, command=("true",), **members):
    containers = [tasks.container(f"c{i}", list(command), image=name) for i, name in enumerate(images)]
    for c in containers:
        c.update(members.pop("container", {}))
    return tasks.task(*containers, **members)


def run(bed, task):
    """Sends a task; returns the report of its end."""
    bed.cp.wait_ack(bed.cp.send_payload(task))
    return bed.cp.wait_task_status(task["arn"], "STOPPED")


def reason_of(bed, task, name="c0"):
    return bed.cp.wait_container_status(task["arn"], name, "STOPPED").get("reason", "")


def ecr(aws, execution=True, **data):
    return {"type": "ecr", "ecrAuthData": {"region": tasks.REGION, "registryId": tasks.ACCOUNT,
                                           "endpointOverride": aws.host, "useExecutionRole": execution, **data}}


def asm(secret=SECRET):
    return {"type": "asm", "asmAuthData": {"credentialsParameter": secret, "region": tasks.REGION}}


def no_secrets(bed, *secrets):
    """None of these is in a file of the agent."""
    for path, _, names in os.walk(bed.directory):
        for name in names:
            if not os.path.isfile(os.path.join(path, name)):
                continue
            with open(os.path.join(path, name), "rb") as file:
                content = file.read()
            for secret in secrets:
                assert secret.encode() not in content, f"{secret} is in {name}"


# --- recordings of the reference agent

@pytest.fixture(scope="class")
def recording_bed(instance, pki, registry):
    made = Bed(instance, pki, clock_scale=20, ECS_IMAGE_PULL_BEHAVIOR="default")
    try:
        yield made.start()
    finally:
        made.close()


class TestDefaultBehaviour:
    """On one agent, as the recordings were made."""

    @pytest.mark.parametrize("name", ["real-pull", "fail-pull-manifest", "fail-pull-refused", "fail-image-name"])
    def test_reports_what_the_reference_reports(self, recording_bed, name):
        bed = recording_bed
        recorded = transcript.load(name)
        ours = transcript.Replay(bed.cp, recorded).run()
        differences = compare.compare(name, recorded, ours)
        assert not differences, "\n".join(differences)
        assert bed.cp.violations == []
        bodies = [event["body"] for event in ours if event["kind"] == "http.request"]
        assert "pullStartedAt" in bodies[-1] and "pullStoppedAt" in bodies[-1]
        if name != "real-pull":
            return
        changes = [change for body in bodies for change in body["containers"]]
        digests = {change["imageDigest"] for change in changes}
        assert len(digests) == 1 and re.fullmatch("sha256:[0-9a-f]{64}", digests.pop())
        assert bodies[0]["status"] == "PENDING" and "pullStartedAt" not in bodies[0]
        assert [json.loads(bed.instance.docker("inspect", "127.0.0.1:5000/busybox:1"))[0]["RepoDigests"]] == \
            [["127.0.0.1:5000/busybox@" + changes[0]["imageDigest"]]]

    def test_what_cannot_succeed_is_not_repeated(self, recording_bed, fake):
        """Unlike the reference agent, which spends a minute on a name that is no name."""
        bed = recording_bed
        mark = bed.proxy.recording.mark()
        run(bed, task_of(fake.image("unknown")))
        run(bed, task_of("127.0.0.1:5000/BAD NAME"))
        assert len(bed.proxy.requests("GET /distribution/", mark)) == 2
        assert len(bed.proxy.requests("POST /images/create", mark)) == 1    # the bad name does not get there

    def test_reasons_of_a_registry_out_of_order(self, recording_bed, fake):
        """The texts are Docker's; an error of the manifest comes before one of the pull."""
        bed = recording_bed
        manifest, pull = "CannotPullImageManifestError: Error response from daemon: ", "CannotPullContainerError: "
        ways = {
            "unauthorized": manifest + "unauthorized", "forbidden": manifest + "denied",
            "unknown": manifest + "manifest unknown",
            "throttled": manifest + "toomanyrequests: You have reached your pull rate limit",
            "broken": manifest + "received unexpected HTTP status: 500 Internal Server Error",
            "down": manifest + "received unexpected HTTP status: 503 Service Unavailable",
            "denied": pull + "The task can\u2019t pull the image. Check that the role has the permissions to pull "
                             "images from the registry. pull access denied for 127.0.0.1:5001/denied, repository "
                             "does not exist or may require 'docker login': denied: User: someone is not "
                             "authorized to perform: ecr:BatchGetImage on resource: r",
            "cut": pull + "unexpected EOF"}
        # Docker itself waits 5 s in the last two cases: the first four of the five attempts are cut short.
        bed.proxy.rule("POST /images/create.*cut", "fail", times=4)
        mark = bed.proxy.recording.mark()
        sent = {way: task_of(fake.image(way)) for way in ways}
        bed.cp.send_payload(*sent.values())
        found = {way: reason_of(bed, task) for way, task in sent.items()}
        assert found == ways

        def tries(what):
            return len(bed.proxy.requests(what, mark))
        assert [tries(f"GET /distribution/.*/{way}%3A1") for way in ways] == [1, 1, 1, 9, 9, 9, 1, 1]
        assert [tries(f"POST /images/create.*{way}&") for way in ways] == [1, 1, 1, 5, 5, 5, 1, 5]

    def test_pull_by_digest(self, recording_bed, registry):
        """An image named by digest needs no look-up, and is not tagged."""
        bed = recording_bed
        task = task_of(f"{registry.name}/busybox:1")
        run(bed, task)
        digest = bed.cp.wait_container_status(task["arn"], "c0", "PENDING")["imageDigest"]
        forget(bed.instance, f"{registry.name}/busybox:1", f"{registry.name}/busybox@{digest}")
        mark = bed.proxy.recording.mark()
        task = task_of(f"{registry.name}/busybox@{digest}")
        report = run(bed, task)
        assert report["containers"][0]["imageDigest"] == digest
        assert bed.proxy.requests("/distribution/|/tag", mark) == []
        assert "PENDING" not in [change["status"] for change in report["containers"]]


# --- pull behaviours

@pytest.mark.parametrize("behavior", ["always", "once"])
def test_failed_pull_stops_the_task(make_bed, fake, behavior):
    """Also that of a container which is not essential."""
    bed = make_bed(ECS_IMAGE_PULL_BEHAVIOR=behavior).start()
    task = tasks.task(tasks.container("main", image=fake.image("ok")),
                      tasks.container("side", image=fake.image("unknown"), essential=False))
    run(bed, task)
    assert reason_of(bed, task, "side").startswith("CannotPullImageManifestError: ")
    assert bed.cp.statuses(task["arn"])[-1] == "STOPPED"
    assert "RUNNING" not in bed.cp.statuses(task["arn"])


def test_once(make_bed, registry):
    """Pulled once for all tasks, also after a restart; pulled again when somebody has removed it."""
    name = f"{registry.name}/busybox:1"
    bed = make_bed(ECS_IMAGE_PULL_BEHAVIOR="once")
    bed.start()
    pulls = "POST /images/create|GET /distribution"
    run(bed, task_of(name))
    assert len(bed.proxy.requests(pulls)) == 2    # although the image may be there already
    bed.agent.kill()
    bed.start()
    mark = bed.proxy.recording.mark()
    report = run(bed, task_of(name))
    assert bed.proxy.requests(pulls, mark) == []
    assert "pullStartedAt" not in report and report["containers"][0]["imageDigest"]
    bed.instance.remove_containers()
    forget(bed.instance, name)
    report = run(bed, task_of(name))
    assert report["containers"][-1]["exitCode"] == 0 and "pullStartedAt" in report


def test_prefer_cached(make_bed, registry):
    name = f"{registry.name}/busybox:1"
    bed = make_bed().start()
    forget(bed.instance, name)
    task = task_of(name)
    run(bed, task)
    assert len(bed.proxy.requests("POST /images/create")) == 1
    digest = bed.cp.wait_container_status(task["arn"], "c0", "PENDING")["imageDigest"]
    mark = bed.proxy.recording.mark()
    cached = task_of(name)
    report = run(bed, cached)
    assert bed.proxy.requests("POST /images/create|GET /distribution", mark) == []
    assert report["containers"][0]["imageDigest"] == digest and "pullStartedAt" not in report


# --- one download for all

def big_image(instance, registry, name, mebibytes):
    """busybox and so much random data, in the registry only."""
    buffer = io.BytesIO(image.tar_bytes())
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        entry = tarfile.TarInfo("random")
        entry.size = mebibytes << 20
        tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    instance.docker("import", "-", "big:1", stdin=buffer.getvalue())
    push(instance, registry, name, "big:1")
    instance.docker("rmi", "big:1")


def test_forty_tasks_are_one_download(make_bed, instance, registry):
    """40 tasks that want the same 200 MiB at once: each layer comes once, and Docker is asked once."""
    big_image(instance, registry, "big:1", 200)
    bed = make_bed(ECS_IMAGE_PULL_BEHAVIOR="always").start()
    before = len(registry.requests("GET .*/big/blobs/"))
    sent = [task_of(f"{registry.name}/big:1") for _ in range(40)]
    bed.cp.send_payload(*sent)
    reports = [bed.cp.wait_task_status(task["arn"], "STOPPED", timeout=60) for task in sent]
    blobs = registry.requests("GET .*/big/blobs/")[before:]
    # The layer once; the image's configuration with the digest and with the pull.
    assert sorted(blobs.count(blob) for blob in set(blobs)) == [1, 2], blobs
    assert len(bed.proxy.requests("GET /distribution/")) == 1
    assert len(bed.proxy.requests("POST /images/create")) == 1
    for report in reports:
        assert report["containers"][-1]["exitCode"] == 0
        assert report["pullStartedAt"] < report["pullStoppedAt"]
    # `always`: one that comes later asks the registry again.
    run(bed, task_of(f"{registry.name}/big:1"))
    assert len(bed.proxy.requests("POST /images/create")) == 2
    forget(instance, f"{registry.name}/big:1")


def test_who_stops_leaves_the_download(make_bed, fake):
    """The other goes on; when the last one has left, it is cancelled."""
    bed = make_bed(ECS_IMAGE_PULL_BEHAVIOR="default").start()
    first, second = (task_of(fake.image("stuck")) for _ in range(2))
    bed.cp.send_payload(first, second)
    wait_until(lambda: fake.count("/v2/stuck/blobs/"), 10, "the layer")
    run(bed, tasks.stopped(first))
    assert "/images/create" in str(bed.proxy.live.values())
    run(bed, tasks.stopped(second))
    wait_until(lambda: "/images/create" not in str(bed.proxy.live.values()), 10, "cancelled pull")
    assert len(bed.proxy.requests("POST /images/create")) == 1


# --- logins

@pytest.mark.parametrize("kind", ["dockercfg", "docker"])
def test_logins_of_the_configuration(make_bed, private, kind):
    """The longest key that is the beginning of the image's name; nothing of it in a log or on disk."""
    def entry(user, password):
        if kind == "docker":
            return {"username": user, "password": password, "email": "x@example.com"}
        return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
    data = json.dumps({f"https://{private.name}": entry("list", USERS["list"]),
                       f"{private.name}/mary": entry("mary", "not the password"), "other:5443": entry("x", "y")})
    bed = make_bed(ECS_IMAGE_PULL_BEHAVIOR="always", ECS_ENGINE_AUTH_TYPE=kind, ECS_ENGINE_AUTH_DATA=data).start()
    report = run(bed, task_of(f"{private.name}/busybox:1"))
    assert report["containers"][-1]["exitCode"] == 0
    task = task_of(f"{private.name}/mary/busybox:1")
    run(bed, task)
    assert reason_of(bed, task).startswith("CannotPullImageManifestError: Error response from daemon: ")
    assert "no basic auth" not in reason_of(bed, task)
    no_secrets(bed, USERS["list"], "not the password", base64.b64encode(b"list:" + USERS["list"].encode()).decode())


def test_without_a_login(make_bed, private):
    bed = make_bed(ECS_IMAGE_PULL_BEHAVIOR="always", ECS_ENGINE_AUTH_TYPE="other",
                   ECS_ENGINE_AUTH_DATA="{}").start()
    task = task_of(f"{private.name}/busybox:1")
    run(bed, task)
    assert reason_of(bed, task) == ("CannotPullImageManifestError: Error response from daemon: "
                                    f"Head \"https://{private.name}/v2/busybox/manifests/1\": no basic auth credentials")
    assert "Unknown auth configuration: other" in bed.agent.log()


@pytest.mark.parametrize("execution", [True, False])
def test_ecr(make_bed, private, aws, execution):
    """One call for all tasks of a role, with the role's credentials, or with the instance's."""
    bed = make_bed(ECS_IMAGE_PULL_BEHAVIOR="always").start()
    role = aws.role()
    sent = [task_of(f"{private.name}/busybox:1", container={"registryAuthentication": ecr(aws, execution)},
                    executionRoleCredentials={**role, "credentialsId": f"id-{i}"}) for i in range(3)]
    for task in sent:
        assert run(bed, task)["containers"][-1]["exitCode"] == 0
    assert aws.calls == [("GetAuthorizationToken", {"registryIds": [tasks.ACCOUNT]},
                          role["accessKeyId"] if execution else aws.instance_key)]
    no_secrets(bed, USERS["AWS"], base64.b64encode(f"AWS:{USERS['AWS']}".encode()).decode(),
               role["secretAccessKey"], role["sessionToken"])


def test_ecr_refuses(make_bed, private, aws):
    bed = make_bed(ECS_IMAGE_PULL_BEHAVIOR="default").start()
    aws.error = (400, "AccessDeniedException", "User: x is not authorized to perform: ecr:GetAuthorizationToken")
    with_role = {"executionRoleCredentials": aws.role()}
    auth = {"registryAuthentication": ecr(aws)}
    task = task_of(f"{private.name}/none:1", container=auth, **with_role)
    run(bed, task)
    assert re.fullmatch(
        "CannotPullECRContainerError: operation error ECR: GetAuthorizationToken, https response error StatusCode: "
        "400, RequestID: [0-9a-f-]{36}, api error AccessDeniedException: User: x is not authorized to perform: "
        "ecr:GetAuthorizationToken", reason_of(bed, task))
    assert aws.count("GetAuthorizationToken") == 2      # for the digest, and for the pull
    task = task_of(f"{private.name}/none:1", container=auth)
    run(bed, task)
    assert reason_of(bed, task) == "CannotPullECRContainerError: engine ecr credentials: not found"
    # A token that the registry does not take any more is thrown away.
    aws.error, aws.tokens = None, "AWS:old"
    task = task_of(f"{private.name}/busybox:1", container=auth, **with_role)
    run(bed, task)
    assert reason_of(bed, task).startswith("CannotPullImageManifestError: ")
    aws.tokens = "AWS:" + USERS["AWS"]
    task = task_of(f"{private.name}/busybox:1", container=auth, **with_role)
    assert run(bed, task)["containers"][-1]["exitCode"] == 0


def test_secrets_manager(make_bed, private, aws):
    bed = make_bed(ECS_IMAGE_PULL_BEHAVIOR="always", AWS_ENDPOINT_URL_SECRETS_MANAGER=aws.endpoint).start()
    role = aws.role()
    aws.secrets[SECRET] = json.dumps({"username": "mary", "PassWord": USERS["mary"]})

    def sent(secret=SECRET, credentials=role):
        members = {"executionRoleCredentials": credentials} if credentials else {}
        return task_of(f"{private.name}/busybox:1", f"{private.name}/busybox:1",
                       container={"registryAuthentication": asm(secret)}, **members)
    task = task_of(f"{private.name}/busybox:1", container={"registryAuthentication": asm()},
                   executionRoleCredentials=role)
    assert run(bed, task)["containers"][-1]["exitCode"] == 0
    assert aws.calls == [("GetSecretValue", {"SecretId": SECRET}, role["accessKeyId"])]
    report = run(bed, sent("nobody's"))
    assert re.fullmatch(
        "Asm fetching secret from the service for nobody's: operation error Secrets Manager: GetSecretValue, https "
        "response error StatusCode: 400, RequestID: [0-9a-f-]{36}, ResourceNotFoundException: Secrets Manager can't "
        "find the specified secret.", report["reason"])
    for text, reason in (
            ("", "Asm fetching authorization data: empty secrets value"),
            ("user=mary", "Asm fetching authorization data: unable to unmarshal secret value, invalid schema"),
            ('{"password": "p"}', "Asm fetching username: AuthorizationData is malformed, empty field"),
            ('{"username": "mary"}', "Asm fetching password: AuthorizationData is malformed, empty field")):
        aws.secrets["bad"] = text
        assert run(bed, sent("bad"))["reason"] == reason
    assert run(bed, sent(credentials=None))["reason"] == \
        "Asm resource: unable to find execution role credentials"
    no_secrets(bed, USERS["mary"], role["secretAccessKey"], role["sessionToken"])


def test_waits_for_the_role(make_bed, private, aws, instance):
    """After a restart in which everything in memory was lost, a pull waits until ECS has sent credentials again."""
    bed = make_bed(ECS_IMAGE_PULL_BEHAVIOR="default").start()
    task = task_of(f"{private.name}/busybox:1", container={"registryAuthentication": ecr(aws)},
                   executionRoleCredentials=aws.role())
    held = bed.proxy.rule("GET /distribution/")
    bed.cp.wait_ack(bed.cp.send_payload(task))
    held.wait_reached()
    bed.agent.kill()
    bed.agent.kill_endpoint()
    held.release()
    mark = bed.proxy.recording.mark()
    bed.start()
    bed.cp.settle()
    assert bed.proxy.requests("GET /distribution/", mark) == []
    with contextlib.suppress(AssertionError):
        bed.cp.wait_task_status(task["arn"], "STOPPED", timeout=1)
        pytest.fail("the task did not wait")
    bed.cp.wait_ack(bed.cp.send_payload(task))
    assert bed.cp.wait_task_status(task["arn"], "STOPPED")["containers"][-1]["exitCode"] == 0
