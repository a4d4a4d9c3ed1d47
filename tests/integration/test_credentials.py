"""What containers and operators ask of the agent: the credentials endpoint with its audit log and rate limit,
and introspection."""

import json
import re

import pytest

from ecsbed import tasks
from ecsbed.instance import BRIDGE_ADDRESS, wait_until

EMPTY_TASK = {"Arn": "", "KnownStatus": "", "Family": "", "Version": "", "Containers": None}
COMMANDS = '{"AvailableCommands":["/v1/metadata","/v1/tasks","/license"]}'


def error(version, code, message, status=400):
    return json.dumps({"code": code, "message": f"CredentialsV{version}Request: {message}",
                       "HTTPErrorCode": status}, separators=(",", ":"))


@pytest.fixture
def role():
    return tasks.credentials()


@pytest.fixture
def task(bed, role):
    """A running task with a role."""
    made = tasks.task(tasks.container("web"), tasks.container("side", essential=False), roleCredentials=role)
    bed.run_task(made)
    return made


def test_credentials(bed, task, role):
    """Both versions give the same text, whatever the method."""
    expected = json.dumps({"RoleArn": role["roleArn"], "AccessKeyId": role["accessKeyId"],
                           "SecretAccessKey": role["secretAccessKey"], "Token": role["sessionToken"],
                           "Expiration": role["expiration"]}, separators=(",", ":"))
    for path in ("/v2/credentials/", "/v1/credentials?id="):
        url = "http://127.0.0.1:51679" + path + role["credentialsId"]
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            answer = bed.instance.http(method, url)
            assert (answer.status, answer.text) == (200, expected)
            assert answer.headers["Content-Type"] == "application/json"
        head = bed.instance.http("HEAD", url)
        assert (head.status, head.text, head.headers["Content-Length"]) == (200, "", str(len(expected)))


@pytest.mark.parametrize("target, status, body", [
    ("/v2/credentials/nope", 400, error(2, "InvalidIdInRequest", "Credentials not found")),
    ("/v2/credentials/no/pe", 400, error(2, "InvalidIdInRequest", "Credentials not found")),
    ("/v2/credentials/", 400, error(2, "NoIdInRequest", "No Credential ID in the request")),
    ("/v1/credentials?id=nope", 400, error(1, "InvalidIdInRequest", "Credentials not found")),
    ("/v1/credentials?id=", 400, error(1, "NoIdInRequest", "No Credential ID in the request")),
    ("/v1/credentials", 400, error(1, "NoIdInRequest", "No Credential ID in the request")),
    ("/v2/credentials", 404, "404 page not found\n"), ("/v1/credentials/", 404, "404 page not found\n"),
    ("/nope", 404, "404 page not found\n"), ("/", 404, "404 page not found\n"),
], ids=lambda value: value if str(value).startswith("/") else "")
def test_credentials_errors(bed, target, status, body):
    answer = bed.credentials(target)
    assert (answer.status, answer.text) == (status, body)
    assert answer.headers["X-Rate-Limit-Limit"] == "40.00"
    assert answer.headers["X-Rate-Limit-Duration"] == "1"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", answer.headers["X-Rate-Limit-Request-Remote-Addr"])
    assert answer.headers["Content-Type"] == ("application/json" if status == 400 else "text/plain; charset=utf-8")


@pytest.mark.parametrize("target, location", [
    ("/v2/credentials/%2e%2e/x", "/v2/x"), ("/v2/credentials//", "/v2/credentials/")])
def test_unclean_paths_are_redirected(bed, target, location):
    answer = bed.credentials(target)
    assert (answer.status, answer.headers["Location"], answer.text) == (301, location, "")
    assert "X-Rate-Limit-Limit" not in answer.headers


def test_from_inside_containers(bed, instance, role):
    """By the address that the SDKs know, in a bridge container and in a host one."""
    show = ["sh", "-c", "get http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI; sleep 1000"]
    for mode in ("bridge", "host"):
        task = tasks.task(tasks.container("m", show), roleCredentials=role, networkMode=mode)
        bed.run_task(task)
        identifier = instance.container(task["arn"], "m")
        wait_until(lambda: role["secretAccessKey"] in instance.docker("logs", identifier), 10, "credentials")


def test_credentials_end_with_the_task(bed, task, role):
    target = "/v2/credentials/" + role["credentialsId"]
    assert bed.credentials(target).status == 200
    bed.cp.send_payload(tasks.stopped(task))
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    wait_until(lambda: bed.credentials(target).status == 400, 5, "end of the credentials")


def test_served_while_the_agent_is_down(bed, task, role):
    target = "/v2/credentials/" + role["credentialsId"]
    bed.agent.kill()
    assert bed.credentials(target).status == 200
    bed.start()
    assert bed.agent.terminate() == 0
    assert bed.credentials(target).status == 200


def test_pending_after_both_are_gone(bed, task, role):
    """Ids known from disk answer 503 until ECS has sent the credentials again."""
    target = "/v2/credentials/" + role["credentialsId"]
    bed.agent.kill()
    bed.agent.kill_endpoint()
    bed.start()
    answer = bed.credentials(target)
    assert (answer.status, answer.text) == (
        503, error(2, "CredentialsUninitialized", "Credentials uninitialized for ID", 503))
    bed.cp.wait_ack(bed.cp.send_payload(task))
    assert bed.credentials(target).status == 200


def test_endpoint_is_started_again(bed, task, role):
    """ecs-endpoint killed while ecsd runs: a new one serves the same credentials."""
    bed.agent.kill_endpoint()

    def served():
        try:
            return bed.credentials("/v2/credentials/" + role["credentialsId"]).status == 200
        except OSError:
            return False
    wait_until(served, 15, "a new endpoint", 0.1)


def test_restarted_one_after_the_other(bed, task, role):
    """As in an upgrade: a new ecsd, then a new ecs-endpoint, which is filled with what the old one gave back."""
    bed.agent.terminate()
    bed.start()
    bed.agent.wait_log('msg="ecsd connected" prog=ecs-endpoint credentials=1')
    test_endpoint_is_started_again(bed, task, role)


def test_audit_log(bed, task, role):
    agent = {"User-Agent": "aws-cli/2.0 test"}
    bed.credentials("/v2/credentials/" + role["credentialsId"], headers=agent)
    bed.credentials("/v1/credentials?id=nope", headers=agent)
    lines = wait_until(lambda: (found := bed.agent.audit()) and len(found) >= 2 and found, 5, "audit log")
    start = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ %d 127\.0\.0\.1:\d+ "
    good = re.escape(f'"/v2/credentials" "aws-cli/2.0 test" {task["arn"]} GetCredentials 2 lab {bed.cp.instance_arn}')
    assert re.fullmatch(start % 200 + good, lines[0])
    assert re.fullmatch(start % 400 + re.escape('"/v1/credentials" "aws-cli/2.0 test" - '), lines[1])
    assert role["credentialsId"] not in "\n".join(lines)


def test_rate_limit(make_bed):
    """Each path has a bucket of its own; a refused request is plain text, and audited."""
    bed = make_bed(ECS_TASK_METADATA_RPS_LIMIT="1,5", ECSD_CLOCK_SCALE="1").start()
    answers = []
    while len(answers) < 100 and (not answers or answers[-1].status != 429):
        answers.append(bed.credentials("/v2/credentials/nope"))
    refused = answers[-1:]
    assert [answer.status for answer in answers[:5]] == [400] * 5 and refused[0].status == 429
    assert refused[0].text == "You have reached maximum request limit."
    assert refused[0].headers["Content-Type"] == "text/plain; charset=utf-8"
    assert refused[0].headers["X-Rate-Limit-Limit"] == "1.00"
    assert bed.credentials("/v1/credentials?id=nope").status == 400
    wait_until(lambda: any(" 429 " in line for line in bed.agent.audit()), 5, "audit line of a refused request")


# --- introspection

def test_metadata(bed):
    answer = bed.introspect("/v1/metadata")
    document = json.loads(answer.text)
    assert list(document) == ["Cluster", "ContainerInstanceArn", "Version"]
    assert (document["Cluster"], document["ContainerInstanceArn"]) == ("lab", bed.cp.instance_arn)
    assert re.fullmatch(r"Amazon ECS Agent - v\d+\.\d+\.\d+ \(\*?[0-9a-f]+\)", document["Version"])
    assert answer.headers["Content-Type"] == "application/json"


def test_tasks_and_filters(bed, task, instance):
    docker_id = instance.container(task["arn"], "web")
    listed = json.loads(bed.introspect("/v1/tasks").text)["Tasks"]
    assert [entry["Arn"] for entry in listed] == [task["arn"]]
    one = listed[0]
    assert (one["DesiredStatus"], one["KnownStatus"], one["Family"], one["Version"]) == (
        "RUNNING", "RUNNING", "lab", "1")
    web = next(entry for entry in one["Containers"] if entry["Name"] == "web")
    seen = instance.inspect(docker_id)
    assert web["DockerId"] == docker_id and web["DockerName"] == seen["Name"].lstrip("/")
    assert web["Image"] == "busybox:test" and web["ImageID"] == seen["Image"]
    def found(query):
        return json.loads(bed.introspect("/v1/tasks?" + query).text)["Arn"]
    for query in (f"dockerid={docker_id}", f"dockerid={docker_id[:12]}", f"taskarn={task['arn']}"):
        assert found(query) == task["arn"]


@pytest.mark.parametrize("query, status", [
    ("dockerid=nope", 404), ("taskarn=nope", 404), ("taskarn=a&dockerid=b", 400), ("dockerid=", 400)])
def test_tasks_errors(bed, task, query, status):
    answer = bed.introspect("/v1/tasks?" + query)
    assert (answer.status, json.loads(answer.text)) == (status, EMPTY_TASK)


def test_no_tasks(bed):
    assert bed.introspect("/v1/tasks").text == '{"Tasks":[]}'


@pytest.mark.parametrize("target", ["/", "/v1", "/v1/tasks/", "/v1/metadata/", "/nope"])
def test_other_paths_list_the_commands(bed, target):
    answer = bed.introspect(target)
    assert (answer.status, answer.text) == (200, COMMANDS)


def test_license(bed):
    answer = bed.introspect("/license")
    assert answer.status == 200 and "Apache License" in answer.text


def test_introspection_from_a_container(bed, instance):
    """Sidecars read it at the bridge's address."""
    out = instance.docker("run", "--rm", "busybox:test", "get", f"http://{BRIDGE_ADDRESS}:51678/v1/metadata")
    assert bed.cp.instance_arn in out
