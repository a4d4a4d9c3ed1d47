"""kill -9 of ecsd in the middle of things: nothing is launched twice, nothing goes unreported, and the
credentials endpoint goes on answering."""

import threading
import time

import pytest

from ecsbed import tasks
from ecsbed.instance import wait_until


class Poller:
    """Asks the credentials endpoint again and again in a thread, and keeps what it answered."""

    def __init__(self, bed, target):
        self.bed, self.target, self.answers = bed, target, []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.stop.wait(0.03):     # below the rate limit
            try:
                self.answers.append(self.bed.credentials(self.target, timeout=3).status)
            except OSError as error:
                self.answers.append(str(error))

    def __enter__(self):
        self.thread.start()
        return self

    def more(self, count=5):
        """Waits for so many further answers."""
        goal = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= goal, 20, "answers of the credentials endpoint")

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def creates(bed):
    return bed.proxy.requests("POST /containers/create")


def stop_task(bed, task):
    bed.cp.send_payload(tasks.stopped(task))
    return bed.cp.wait_task_status(task["arn"], "STOPPED")


@pytest.mark.parametrize("call, stage", [
    ("POST /containers/create", "request"), ("POST /containers/create", "answer"),
    ("POST /containers/[^/]+/start", "request"), ("POST /containers/[^/]+/start", "answer")])
def test_killed_during_a_launch(bed, instance, call, stage):
    """Whether or not Docker has done what it was asked: one container in the end, and it runs."""
    held = bed.proxy.rule(call, "hold", stage)
    task = tasks.task()
    bed.cp.wait_ack(bed.cp.send_payload(task))
    held.wait_reached()
    bed.agent.kill()
    held.release()
    bed.start()
    bed.cp.wait_task_status(task["arn"], "RUNNING")
    assert len(instance.containers(task["arn"])) == 1
    assert len(instance.containers(task["arn"], running=True)) == 1
    names = {request.partition("name=")[2] for request in creates(bed)}
    assert len(names) == 1, "the container's name is decided once, before the first attempt"
    stop_task(bed, task)


@pytest.mark.parametrize("stage", ["request", "answer"])
def test_killed_during_a_stop(bed, instance, stage):
    task = tasks.task()
    bed.run_task(task)
    held = bed.proxy.rule("POST /containers/[^/]+/(stop|kill)", "hold", stage)
    bed.cp.wait_ack(bed.cp.send_payload(tasks.stopped(task)))
    held.wait_reached()
    bed.agent.kill()
    held.release()
    bed.start()
    report = bed.cp.wait_task_status(task["arn"], "STOPPED")
    assert report["containers"][0]["exitCode"] in (0, 137)
    assert instance.containers(task["arn"], running=True) == []
    assert len(creates(bed)) == 1


@pytest.mark.parametrize("status", ["RUNNING", "STOPPED"])
def test_killed_during_a_report(bed, status):
    """A report whose acceptance was not seen is sent again by the next process."""
    task = tasks.task()
    if status == "STOPPED":
        bed.run_task(task)
    held = bed.cp.fault("SubmitTaskStateChange", "hold", match=lambda body: body["status"] == status)
    bed.cp.send_payload(task if status == "RUNNING" else tasks.stopped(task))
    held.wait_reached()
    bed.agent.kill()
    held.release()
    mark = bed.cp.recording.mark()
    bed.start()
    body = bed.cp.wait_task_status(task["arn"], status, since=mark)
    assert body["containers"][0]["containerName"] == "m"
    assert len(creates(bed)) == 1


def test_killed_before_the_payload_is_acknowledged_or_after(bed, instance):
    """Killed as soon as the payload is out: either it was acknowledged and runs, or it is sent again."""
    task = tasks.task()
    message_id = bed.cp.send_payload(task)
    bed.agent.kill()
    bed.start()
    acknowledged = any(message.get("messageId") == message_id for _, message in bed.cp.acks())
    if not acknowledged:
        bed.cp.wait_ack(bed.cp.send_payload(task, message_id=message_id))
    bed.cp.wait_task_status(task["arn"], "RUNNING")
    assert len(instance.containers(task["arn"])) == 1


def test_killed_during_a_credentials_refresh(bed):
    """The endpoint serves the old credentials or the new ones, at every moment."""
    old = tasks.credentials()
    task = tasks.task(roleCredentials=old)
    bed.run_task(task)
    target = "/v2/credentials/" + old["credentialsId"]
    new = tasks.credentials("ASIATESTROTATED", identifier=old["credentialsId"])
    with Poller(bed, target) as poller:
        bed.cp.send_credentials(task["arn"], new)
        bed.agent.kill()
        poller.more()
        mark = bed.cp.recording.mark()
        bed.start()
        assert bed.cp.wait_acs(since=mark)["query"]["sendCredentials"] == "true"
        bed.cp.wait_ack(bed.cp.send_credentials(task["arn"], new), type="IAMRoleCredentialsAckRequest")
        assert "ASIATESTROTATED" in bed.credentials(target).text
    assert set(poller.answers) == {200}


def test_credentials_are_served_through_restarts(bed):
    role = tasks.credentials()
    bed.run_task(tasks.task(roleCredentials=role))
    with Poller(bed, "/v2/credentials/" + role["credentialsId"]) as poller:
        poller.more()
        bed.agent.kill()
        poller.more()
        bed.start()
        poller.more()
        assert bed.agent.terminate() == 0
        poller.more()
        bed.start()
        bed.cp.settle()
        poller.more()
    assert set(poller.answers) == {200}


def test_killed_again_and_again_under_load(bed, instance):
    """Ten short tasks while the agent is killed at moments of chance: each runs once and is reported."""
    work = [tasks.task(tasks.container("m", ["sh", "-c", "sleep 1; exit 7"])) for _ in range(10)]
    bed.cp.wait_ack(bed.cp.send_payload(*work))
    for pause in (0.1, 0.37, 0.8, 0.05, 1.3):
        time.sleep(pause)    # the moment of the kill is the input of this test, not a wait for something
        bed.agent.kill()
        bed.start()
    for task in work:
        change = bed.cp.wait_container_status(task["arn"], "m", "STOPPED", 60)
        assert change["exitCode"] == 7
        assert len(instance.containers(task["arn"])) == 1
