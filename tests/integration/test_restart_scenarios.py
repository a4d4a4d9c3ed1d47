"""Conformance of starting and starting again: the API calls in their order, registration and
re-registration, retries, exit codes, and what is reported about the time in between."""

import pytest

import compare
import differences
import transcript
from ecsbed import tasks


def calls(bed, since=0):
    return transcript.operations(bed.cp.recording.select(since=since))


def registrations(bed):
    return [event["body"] for event in bed.cp.recording.select(
        lambda e: e["kind"] == "http.request" and e["op"] == "RegisterContainerInstance")]


def check_attributes(ours, theirs):
    """What is announced, the reference announced in the same order (it has features that ecsd has not yet).
    Left out is what depends on the host."""
    recorded = iter(theirs)
    depends = ("fault-injection", "docker-plugin", "optimized-cpu", "gpu", "ebs", "pid-ipc", "logging-driver.",
               "cpu-architecture")
    for attribute in ours:
        if not any(word in attribute["name"] for word in depends):
            assert attribute in recorded, f"{attribute} is out of order or unknown"


def test_reregister(bed):
    """The second start registers again with the ARN it got the first time, and a new client token."""
    assert calls(bed) == transcript.operations(transcript.load("reregister"))
    assert bed.agent.terminate() == 0
    mark = bed.cp.recording.mark()
    bed.start()
    assert calls(bed, mark) == transcript.operations(transcript.load("reregister-second-start"))
    first, second = registrations(bed)
    assert second["containerInstanceArn"] == bed.cp.instance_arn and len(bed.cp.registered) == 1
    assert first["clientToken"] != second["clientToken"]


def test_attributes_are_among_those_of_the_reference(bed):
    check_attributes(registrations(bed)[0]["attributes"], next(
        event["body"]["attributes"] for event in transcript.load("reregister") if event["kind"] == "http.request"))


def test_restart_with_tasks(bed, instance):
    """One task goes on, one container is killed and one removed while the agent is down."""
    transcript.Replay(bed.cp, transcript.load("restart-1-before")).run()
    arns = [event["message"]["tasks"][0]["arn"] for event in bed.cp.recording.select(
        lambda e: e["kind"] == "ws.frame" and e["dir"] == "out" and e["type"] == "PayloadMessage")]
    assert bed.agent.terminate() == 0
    kept, killed, removed = [instance.container(arn, "m") for arn in arns]
    instance.docker("kill", killed)
    instance.docker("rm", "--force", removed)
    mark = bed.cp.recording.mark()
    bed.start()
    for arn in arns[1:]:
        bed.cp.wait_task_status(arn, "STOPPED", since=mark)
    bed.cp.settle()
    recorded = transcript.load("restart-2-after")
    assert sorted(calls(bed, mark)) == sorted(transcript.operations(recorded))
    assert calls(bed, mark)[0][0] == "RegisterContainerInstance"
    ours, theirs = ([sorted(map(str, task["containers"].items())) for task in compare.extract(
        [e for e in events if e["kind"] == "http.request"])]
        for events in (bed.cp.recording.select(since=mark), recorded))
    assert sorted(ours) == sorted(theirs)
    assert instance.inspect(kept)["State"]["Running"] and len(instance.containers(arns[0])) == 1


def test_register_faults(make_bed):
    """Four times a server error: the calls are repeated as the reference does, with one client token."""
    bed = make_bed()
    bed.cp.fault("RegisterContainerInstance", times=4, status=500, type="ServerException")
    bed.start()
    assert calls(bed) == transcript.operations(transcript.load("register-faults"))
    assert len({body["clientToken"] for body in registrations(bed)}) == 1


@pytest.mark.parametrize("name", ["register-clientexception", "register-invalidparameter"])
def test_register_refused_ends_the_agent(make_bed, name):
    """The recorded refusal; the reference's exit code was 5 as well."""
    recorded = transcript.load(name)
    answer = recorded[-1]
    bed = make_bed()
    bed.cp.fault("RegisterContainerInstance", status=answer["status"], type=answer["body"]["__type"],
                 message=answer["body"]["message"])
    assert bed.agent.start().wait() == 5
    assert calls(bed) == transcript.operations(recorded)


def test_register_in_the_default_cluster(make_bed):
    recorded = transcript.load("register-default-cluster")
    bed = make_bed(cluster="").start()
    assert calls(bed) == transcript.operations(recorded)
    assert registrations(bed)[0]["cluster"] == recorded[0]["body"]["cluster"] == "default"
    bed.run_task(tasks.task())


def test_register_with_metadata_and_tags(make_bed):
    """What is asked of the metadata service, in the order of the recording, and the tags."""
    recorded = transcript.load("register-imds")
    bed = make_bed(ECS_CONTAINER_INSTANCE_TAGS='{"lab": "tag"}').start()
    theirs = [event["path"] for event in recorded if event.get("op") == "imds"]
    ours = bed.imds.paths()
    assert ours == [path for path in theirs if path in ours or path not in differences.IMDS_NOT_ASKED]
    recorded = [event for event in recorded if event.get("op") != "imds"]
    assert calls(bed) == transcript.operations(recorded)
    assert registrations(bed)[0]["tags"] == recorded[0]["body"]["tags"]


def test_blackholed_metadata_ends_the_agent(make_bed):
    """The recording is empty and the exit code 1."""
    bed = make_bed(arguments=["--blackhole-ec2-metadata"])
    assert bed.agent.start().wait() == 1
    assert bed.cp.recording.select() == [] and bed.imds.paths() == []


@pytest.mark.parametrize("arguments", [(), ("--blackhole-ec2-metadata",)])
def test_external(make_bed, arguments):
    """ECS Anywhere: the same calls, no identity document, its own attributes, and nothing is asked of instance metadata."""
    recorded = transcript.load("external")
    bed = make_bed(ECS_EXTERNAL="true", arguments=arguments).start()
    assert calls(bed) == transcript.operations(recorded)
    assert bed.imds.recording.select() == []
    ours, theirs = registrations(bed)[0], recorded[0]["body"]
    assert sorted(ours) == sorted(theirs)
    for name in ("instanceIdentityDocument", "instanceIdentityDocumentSignature", "cluster"):
        assert ours[name] == theirs[name]
    check_attributes(ours["attributes"], theirs["attributes"])
    names = [attribute["name"] for attribute in ours["attributes"]]
    assert names[-4:] == [attribute["name"] for attribute in theirs["attributes"]][-4:]
    assert {"ecs.capability.external", "ecs.cpu-architecture"} <= set(names)


def test_access_denied_ends_the_agent_but_not_for_good(make_bed):
    bed = make_bed()
    bed.cp.fault("RegisterContainerInstance", status=400, type="AccessDeniedException", times=99)
    assert bed.agent.start().wait() == 1


def test_default_cluster_is_made(make_bed):
    """Without ECS_CLUSTER a missing cluster is created, and the same registration sent again."""
    bed = make_bed(cluster="")
    bed.cp.fault("RegisterContainerInstance", status=400, type="ClientException", message="Cluster not found.")
    bed.start()
    assert bed.cp.operations()[:3] == ["RegisterContainerInstance", "CreateCluster", "RegisterContainerInstance"]
    assert len({body["clientToken"] for body in registrations(bed)}) == 1


def test_another_cluster_with_old_state_ends_the_agent(bed):
    bed.agent.terminate()
    assert bed.agent.start(ECS_CLUSTER="another").wait() == 5


def test_a_new_instance_id_registers_anew(bed):
    """An image made of a used instance: state of another EC2 instance is not taken over."""
    bed.agent.terminate()
    bed.imds.values["/latest/meta-data/instance-id"] = "i-0fedcba9876543210"
    bed.start()
    assert "containerInstanceArn" not in registrations(bed)[1] and len(bed.cp.registered) == 2


def test_role_credentials_from_the_metadata_service(make_bed):
    """Without keys in the environment the instance's role signs, session token included."""
    bed = make_bed(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
    bed.cp.keys = {"ASIATESTROLE": ("role/secret", "role-token==")}
    bed.imds.set_role("ASIATESTROLE", "role/secret", "role-token==")
    bed.start()
    assert bed.cp.statuses(bed.run_task(tasks.task())) == ["RUNNING"]
    assert bed.cp.violations == []    # every signature was checked with the role's key


def test_metadata_service_version_1(make_bed):
    bed = make_bed(v1_only=True)
    bed.start()
    document = bed.imds.values["/latest/dynamic/instance-identity/document"]
    assert registrations(bed)[0]["instanceIdentityDocument"] == document


def test_plain_http(make_bed):
    bed = make_bed(tls=False).start()
    assert bed.cp.statuses(bed.run_task(tasks.task())) == ["RUNNING"]

