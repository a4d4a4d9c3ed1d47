"""ECS Anywhere: an external instance signs with the credentials that the SSM agent keeps in a file, and never asks instance
metadata. The recorded registration of one is in test_restart_scenarios.py."""

import re

import pytest

from ecsbed import tasks
from ecsbed.instance import wait_until

SCALE = 30    # the minute after which the file is looked at again takes 2 s
FIRST = ("ASIAEXTERNALFIRST", "first/secret+key", "first-token==")
SECOND = ("ASIAEXTERNALSECOND", "second/secret+key", "second-token==")


def text(key, profile="default"):
    return (f"[{profile}]\naws_access_key_id = {key[0]}\naws_secret_access_key = {key[1]}\n"
            f"aws_session_token = {key[2]}\n")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "credentials"


@pytest.fixture
def external(make_bed, file):
    """A bed whose agent is external and not started. There is instance metadata with a role in it, which nobody may ask."""
    beds = []

    def make(**environment):
        bed = make_bed(clock_scale=SCALE, heartbeat=0.5, ECS_EXTERNAL="true", AWS_ACCESS_KEY_ID=None,
                       AWS_SECRET_ACCESS_KEY=None, ECSD_ROTATING_CREDENTIALS_FILE=file, **environment)
        bed.imds.set_role("ASIAROLEOFEC2", "role/secret", "role-token==")
        bed.cp.keys = {key: (secret, token) for key, secret, token in (FIRST, SECOND)}
        beds.append(bed)
        return bed
    yield make
    for bed in beds:
        assert bed.imds.recording.select() == []


def signers(bed, since=0):
    """The access keys that requests and connections were signed with."""
    events = bed.cp.recording.select(lambda e: e["kind"] in ("http.request", "ws.upgrade"), since)
    headers = [{name.lower(): value for name, value in event["headers"]} for event in events]
    return {re.search("Credential=([^/]+)/", found["authorization"]).group(1) for found in headers}


def signers_of_a_task(bed):
    mark = bed.cp.recording.mark()
    bed.run_task(tasks.task(launchType="EXTERNAL"))
    return signers(bed, mark)


def test_credentials_rotate(external, file):
    """Written in place, as the SSM agent does it; and a task has its own role's credentials."""
    file.write_text(text(FIRST))
    bed = external().start()
    role = tasks.credentials()
    bed.run_task(tasks.task(launchType="EXTERNAL", roleCredentials=role))
    answer = bed.credentials("/v2/credentials/" + role["credentialsId"])
    assert answer.status == 200 and role["accessKeyId"] in answer.text
    assert signers(bed) == {FIRST[0]}
    file.write_text(text(SECOND))
    wait_until(lambda: SECOND[0] in signers_of_a_task(bed), 60, "the new key")
    bed.cp.keys.pop(FIRST[0])    # from now on a violation
    assert signers_of_a_task(bed) == {SECOND[0]}
    mark = bed.cp.recording.mark()
    bed.cp.acs.socket.close()
    bed.cp.wait_acs(since=mark)
    assert bed.agent.terminate() == 0
    bed.start()
    assert signers(bed, mark) == {SECOND[0]} and len(bed.cp.registered) == 1


def test_refused_credentials_are_read_again(external, file):
    """Nobody waits for the minute to end."""
    file.write_text(text(FIRST))
    bed = external(ECSD_CLOCK_SCALE=1).start()
    file.write_text(text(SECOND))
    bed.cp.fault("SubmitTaskStateChange", status=400, type="ExpiredTokenException", message="expired")
    mark = bed.cp.recording.mark()
    arn = bed.run_task(tasks.task())
    bed.cp.wait_api("SubmitTaskStateChange", since=mark, count=2)
    assert signers(bed, mark) == {FIRST[0], SECOND[0]} and bed.cp.statuses(arn)[-1] == "RUNNING"


@pytest.mark.parametrize("broken, said", [
    ("", "no profile default in "), (None, "cannot read "),
    ("[default]\naws_access_key_id = ASIA\n", "has no aws_secret_access_key"), ("\x01\x02", "no profile default in ")])
def test_broken_file(external, file, broken, said):
    """The credentials of before serve until they are refused; then it is said which file is wrong and how, and nothing is
    lost until it is mended."""
    file.write_text(text(FIRST))
    bed = external().start()
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    what = f'credentials not refreshed, the old ones serve until they are refused" .*{said}.*'
    wait_until(lambda: signers_of_a_task(bed) and re.search(what, bed.agent.log()), 60, what)
    assert signers(bed) == {FIRST[0]}
    bed.cp.lossy = True     # an attempt that nothing can sign is not sent
    bed.cp.fault("SubmitTaskStateChange", status=400, type="ExpiredTokenException", message="expired")
    task = tasks.task()
    mark = bed.cp.recording.mark()
    bed.cp.wait_ack(bed.cp.send_payload(task), since=mark)
    bed.agent.wait_log(f"SubmitTaskStateChange: no credentials found: .*credentials file of the SSM agent: .*{said}")
    assert signers(bed, mark) == {FIRST[0]} and bed.cp.statuses(task["arn"]) == ["RUNNING"]    # the refused one
    file.write_text(text(SECOND))
    bed.cp.wait_api("SubmitTaskStateChange", since=mark, count=2, timeout=60)
    assert signers(bed, mark) == {FIRST[0], SECOND[0]} and bed.cp.statuses(task["arn"]) == ["RUNNING"] * 2


def test_no_file(external, file):
    """The SSM agent is not registered yet: an end that is worth a new start."""
    bed = external()
    assert bed.agent.start().wait() == 1
    assert f"credentials file of the SSM agent: cannot read {file}" in bed.agent.log()
    assert bed.cp.recording.select() == []
    file.write_text(text(FIRST))
    bed.start()


def test_profile(external, file):
    file.write_text(text(SECOND) + text(FIRST, "ecs"))
    bed = external(ECS_ALTERNATE_CREDENTIAL_PROFILE="ecs").start()
    assert signers(bed) == {FIRST[0]}


def test_state_is_kept(external, file, instance):
    """There is no instance id to compare it by."""
    file.write_text(text(FIRST))
    bed = external().start()
    arn = bed.run_task(tasks.task(launchType="EXTERNAL"))
    bed.agent.kill()
    bed.start()
    assert len(bed.cp.registered) == 1 and len(instance.containers(arn, running=True)) == 1
    bed.cp.send_payload(tasks.stopped(tasks.task(arn=arn)))
    bed.cp.wait_task_status(arn, "STOPPED")


def test_external_by_the_json_file(make_bed, file, tmp_path):
    file.write_text(text(FIRST))
    settings = tmp_path / "ecs.config.json"
    settings.write_text('{"External": true}')
    bed = make_bed(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, ECSD_ROTATING_CREDENTIALS_FILE=file,
                   ECS_AGENT_CONFIG_FILE_PATH=settings)
    bed.cp.keys = {FIRST[0]: FIRST[1:]}
    bed.start()
    assert bed.imds.recording.select() == []
