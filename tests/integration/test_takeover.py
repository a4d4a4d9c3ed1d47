"""The first start after the official agent: the same container instance, its tasks go on, and what cannot be taken over."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
import uuid

import pytest

from ecsbed import official, tasks
from ecsbed.instance import wait_until

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "official-state")
CRASH_BUILD = os.environ.get("ECSD_CRASH_BUILD")


@pytest.fixture
def make(make_bed, instance):
    """make(...) -> a bed whose agent is not started yet, and the official agent that has run before it."""
    def make(state=None, **settings):
        bed = make_bed(**settings)
        return bed, official.Official(instance, bed.agent.data, **(state or {}))
    return make


def registrations(bed):
    return [e["body"] for e in bed.cp.recording.select(
        lambda e: e["kind"] == "http.request" and e["op"] == "RegisterContainerInstance")]


def reports(bed):
    return [op for op in bed.cp.operations() if op == "SubmitTaskStateChange"]


def stop_candidates(bed, *arns):
    """The tasks that the agent would stop after a manifest of these."""
    message = {"messageId": uuid.uuid4().hex, "clusterArn": bed.cp.cluster_arn,
               "containerInstanceArn": bed.cp.instance_arn, "timeline": int(time.time() * 1000),
               "tasks": [{"taskArn": arn, "taskClusterArn": bed.cp.cluster_arn, "desiredStatus": "RUNNING"}
                         for arn in arns]}
    mark = bed.cp.recording.mark()
    bed.cp.send("TaskManifestMessage", message)
    bed.cp.wait_ack(message["messageId"], since=mark)
    bed.cp.settle()
    return [candidate["taskArn"] for kind, answer in bed.cp.acks(mark) if kind == "TaskStopVerificationMessage"
            for candidate in answer["stopCandidates"]]


def taken_over(bed):
    found = re.findall(r'taken over from the official agent".*? agent_version=(\S+) running=(\d+) stopped=(\d+) '
                       r'watch_only=(\d+)', bed.agent.log())
    return list(dict.fromkeys(found))     # the log and standard error have the same line


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


# --- tasks that go on


def test_a_running_task_goes_on(make, instance):
    """Same instance, nothing is told twice, nothing is stopped; a later exit is told with its code, and cleaned up."""
    bed, agent = make(ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION="10s")
    running = agent.launch(official.task(official.container("m", Command=["sh", "-c", "trap 'exit 7' TERM; while true; "
                                                                          "do sleep 0.1; done"]),
                                         MemoryCPULimitsEnabled=True))
    agent.write()
    before = digest(agent.path)
    bed.start()
    arn, docker_id = running["Arn"], running["Containers"][0]["RuntimeID"]
    assert registrations(bed)[0]["containerInstanceArn"] == agent.arn == bed.cp.instance_arn
    assert taken_over(bed) == [("1.105.1", "1", "0", "0")]
    assert stop_candidates(bed, arn) == []
    assert reports(bed) == [] and instance.inspect(docker_id)["State"]["Running"]
    instance.docker("kill", "--signal", "TERM", docker_id)
    bed.cp.wait_task_status(arn, "STOPPED")
    change = bed.cp.wait_container_status(arn, "m", "STOPPED")
    assert (change["exitCode"], change["runtimeId"]) == (7, docker_id)
    assert bed.cp.statuses(arn) == ["STOPPED"]
    wait_until(lambda: not instance.containers(arn), 15, "container removed")
    bed.agent.wait_log("task cleaned up")
    if os.path.isdir("/sys/fs/cgroup/memory"):
        assert not os.path.exists(f"/sys/fs/cgroup/memory/ecs/{arn.rpartition('/')[2]}")
    assert digest(agent.path) == before
    assert bed.proxy.requests("POST /containers/create") == []


def test_stop_task_stops_it(make, instance):
    bed, agent = make()
    running = agent.launch(official.task(official.container("a"), official.container("b", Essential=False)))
    agent.write()
    bed.start()
    task = tasks.task(tasks.container("a"), tasks.container("b", essential=False), arn=running["Arn"])
    bed.cp.wait_ack(bed.cp.send_payload(task))     # redelivered: nothing happens
    bed.cp.settle()
    assert reports(bed) == []
    bed.cp.wait_ack(bed.cp.send_payload(tasks.stopped(task)))
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    assert bed.cp.wait_container_status(task["arn"], "b", "STOPPED")["exitCode"] == 0
    assert instance.containers(task["arn"], running=True) == []


def test_what_happened_in_between(make, instance):
    """One has ended, one was removed, of one the end was known but not told, and one had told all there was."""
    bed, agent = make()
    ended, removed = (agent.launch(official.task(official.container("m"))) for _ in range(2))
    instance.docker("kill", ended["Containers"][0]["RuntimeID"])
    instance.docker("rm", "--force", removed["Containers"][0]["RuntimeID"])
    untold = agent.add(official.task(official.container("m", "STOPPED", "RUNNING", KnownExitCode=3),
                                     known="STOPPED", sent="RUNNING", desired="STOPPED"))
    told = agent.add(official.task(official.container("m", "STOPPED", KnownExitCode=4), known="STOPPED", desired="STOPPED"))
    agent.write()
    bed.start()
    for arn, code in ((ended["Arn"], 137), (removed["Arn"], None), (untold["Arn"], 3)):
        bed.cp.wait_task_status(arn, "STOPPED")
        assert bed.cp.wait_container_status(arn, "m", "STOPPED").get("exitCode") == code
    assert bed.cp.wait_container_status(removed["Arn"], "m", "STOPPED")["reason"].startswith("ContainerVanishedError: ")
    bed.cp.settle()
    assert bed.cp.statuses(told["Arn"]) == [] and stop_candidates(bed) == []
    assert taken_over(bed) == [("1.105.1", "2", "2", "0")]
    bed.cp.wait_ack(bed.cp.send_payload(tasks.task(arn=told["Arn"])))     # it is not run once more
    bed.cp.settle()
    assert instance.containers(told["Arn"]) == []


def test_what_had_ended_is_cleaned_up(make, instance):
    """The wait counts from the end that the official agent saw: containers and the task's volume go, and nothing is told."""
    bed, agent = make(ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION="1h")
    volume = f"ecs-lab-1-v-{uuid.uuid4().hex[:20]}"
    instance.docker("volume", "create", volume)
    ended = {when: official.task(official.container("m", "STOPPED", KnownExitCode=0, Command=["true"]), known="STOPPED",
                                 desired="STOPPED", KnownTime=when,
                                 volumes=[{"name": "v", "type": "host", "host": {"hostPath": volume}}])
             for when in ("2026-01-01T00:00:00Z", official.now())}
    for one in ended.values():
        agent.launch(one, start=False)
    old, new = (one["Arn"] for one in ended.values())
    agent.write()
    bed.start()
    wait_until(lambda: not instance.containers(old), 15, "container removed")
    bed.agent.wait_log(f"task cleaned up.*{old}")
    assert instance.docker("volume", "ls", "--quiet", "--filter", f"name={volume}") == ""
    assert len(instance.containers(new)) == 1 and reports(bed) == []


def test_a_task_that_had_not_started_is_launched(make, instance):
    """It is one of ours: its container is made as for any other task, with the volume that was named for it."""
    bed, agent = make()
    waiting = agent.add(official.task(
        official.container("m", "NONE", desired="RUNNING", Command=["sh", "-c", "env; exit 5"],
                           mountPoints=[{"sourceVolume": "v", "containerPath": "/v", "readOnly": False}]),
        known="NONE", volumes=[{"name": "v", "type": "host", "host": {"hostPath": "ecs-lab-1-v-0123"}}]))
    agent.write()
    bed.start()
    bed.cp.wait_task_status(waiting["Arn"], "STOPPED")
    assert bed.cp.wait_container_status(waiting["Arn"], "m", "STOPPED")["exitCode"] == 5
    made = instance.inspect(instance.container(waiting["Arn"], "m"))
    assert [mount["Name"] for mount in made["Mounts"]] == ["ecs-lab-1-v-0123"]
    assert not [variable for variable in made["Config"]["Env"] if variable.startswith("ECS_AGENT_URI")]


def test_a_created_container_is_started(make, instance):
    bed, agent = make()
    made = agent.launch(official.task(official.container("m", "CREATED", "NONE", "RUNNING"), known="CREATED", sent="NONE"),
                        start=False)
    agent.write()
    bed.start()
    bed.cp.wait_task_status(made["Arn"], "RUNNING")
    assert len(instance.containers(made["Arn"], running=True)) == 1
    assert bed.proxy.requests("POST /containers/create") == []


def test_credentials_are_known_but_not_there(make):
    """503 until ECS sends them; of a stopped task, 400."""
    bed, agent = make()
    role, ended = tasks.credentials(), tasks.credentials()
    running = agent.launch(official.task(official.container("m"), credentialsID=role["credentialsId"]))
    agent.add(official.task(official.container("m", "STOPPED"), known="STOPPED", desired="STOPPED",
                            credentialsID=ended["credentialsId"]))
    agent.write()
    bed.start()
    assert bed.credentials("/v2/credentials/" + role["credentialsId"]).status == 503
    assert bed.credentials("/v2/credentials/" + ended["credentialsId"]).status == 400
    bed.cp.wait_ack(bed.cp.send_credentials(running["Arn"], role), type="IAMRoleCredentialsAckRequest")
    assert bed.credentials("/v2/credentials/" + role["credentialsId"]).status == 200


# --- tasks that are only watched


ENI = {"ec2Id": "eni-0123", "macAddress": "02:00:00:00:00:02", "subnetGatewayIpv4Address": "10.0.0.1/24",
       "ipv4Addresses": [{"primary": True, "privateAddress": "10.0.0.9"}]}


def awsvpc_task(*containers, **members):
    return official.task(official.pause(), *containers, NetworkMode="awsvpc",
                         ENI=[{"ec2Id": "eni-0123", "MacAddress": "02:00:00:00:00:02"}], **members)


def awsvpc_payload(arn, **members):
    return tasks.task(tasks.container("m"), arn=arn, networkMode="awsvpc", elasticNetworkInterfaces=[ENI], **members)


def test_an_awsvpc_task_is_watched_and_stopped(make, instance):
    """Its payload, refused of any other task, stops it: pause container last. ECS is told of the task's own containers only."""
    bed, agent = make(ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION="10s")
    role = tasks.credentials()
    running = agent.launch(awsvpc_task(official.container("m", secrets=[{"name": "S", "provider": "ssm"}]),
                                       credentialsID=role["credentialsId"]))
    agent.write()
    bed.start()
    arn = running["Arn"]
    assert taken_over(bed) == [("1.105.1", "1", "0", "1")]
    assert f"task={arn} feature=\"network mode awsvpc\"" in bed.agent.log()
    assert stop_candidates(bed, arn) == []
    bed.cp.wait_ack(bed.cp.send_payload(awsvpc_payload(arn, roleCredentials=role)))
    assert bed.credentials("/v2/credentials/" + role["credentialsId"]).status == 200
    bed.cp.settle()
    assert reports(bed) == [] and len(instance.containers(arn, running=True)) == 2
    assert official.PAUSE not in bed.introspect("/v1/tasks").text
    bed.cp.wait_ack(bed.cp.send_payload(tasks.stopped(awsvpc_payload(arn))))
    report = bed.cp.wait_task_status(arn, "STOPPED")
    assert [(c["containerName"], c["exitCode"]) for c in report["containers"]] == [("m", 0)]
    ids = {c["Name"]: c["RuntimeID"] for c in running["Containers"]}
    stops = [request.split("/")[2] for request in bed.proxy.requests("POST /containers/[^/]+/stop")]
    assert stops == [ids["m"], ids[official.PAUSE]]
    wait_until(lambda: not instance.containers(arn), 15, "containers removed")


def test_nothing_of_a_watched_task_is_started(make, instance):
    """A container that was not there yet is told as STOPPED with the reason; the essential one ends the task."""
    bed, agent = make()
    half = agent.launch(awsvpc_task(official.container("m"),
                                    official.container("late", "PULLED", "NONE", "RUNNING", Essential=False),
                                    known="MANIFEST_PULLED", sent="NONE"), official.PAUSE, "m")
    none = agent.add(awsvpc_task(official.container("m", "NONE", desired="RUNNING"), known="NONE"))
    none["Containers"][0].update(KnownStatus="NONE")
    agent.write()
    bed.start()
    reason = bed.cp.wait_container_status(half["Arn"], "late", "STOPPED")["reason"]
    assert reason.startswith("CannotStartContainerError: it had not started when ecsd took the task over")
    assert "network mode awsvpc" in reason
    assert instance.inspect(half["Containers"][1]["RuntimeID"])["State"]["Running"]
    bed.cp.wait_task_status(none["Arn"], "STOPPED")
    assert bed.proxy.requests("POST /containers/create") == []
    assert not bed.proxy.requests("POST /containers/[^/]+/start")


def test_a_watched_container_ends_by_itself(make, instance):
    """Restarted by its policy while the official agent ran: another start than the one saved. Its end is told."""
    bed, agent = make()
    running = agent.launch(official.task(official.container(
        "m", startedAt="2020-01-01T00:00:00Z", restartPolicy={"enabled": True, "restartAttemptPeriod": 60})))
    agent.write()
    bed.start()
    bed.cp.settle()
    docker_id = running["Containers"][0]["RuntimeID"]
    bed.agent.wait_log("watching and stopping only")
    assert instance.inspect(docker_id)["State"]["Running"] and reports(bed) == []
    instance.docker("kill", docker_id)
    bed.cp.wait_task_status(running["Arn"], "STOPPED")
    assert bed.cp.wait_container_status(running["Arn"], "m", "STOPPED")["exitCode"] == 137


def test_the_official_agents_own_tasks_are_left_alone(make, instance):
    bed, agent = make()
    relay = agent.launch(official.task(official.container("relay"), IsInternal=True))
    agent.write()
    bed.start()
    bed.agent.wait_log("are left alone")
    assert stop_candidates(bed) == [] and len(instance.containers(relay["Arn"], running=True)) == 1


# --- once, and never by half


def test_once(make, instance):
    """The second start has a state of its own; the official agent's is not looked at again, whatever is in it."""
    bed, agent = make()
    running = agent.launch(official.task(official.container("m")))
    agent.write()
    bed.start()
    assert bed.agent.terminate() == 0
    shutil.copy(os.path.join(DATA, "register-imds.db"), agent.path)
    mark = bed.cp.recording.mark()
    bed.start()
    assert len(taken_over(bed)) == 1 and registrations(bed)[1]["containerInstanceArn"] == agent.arn
    assert stop_candidates(bed) == [running["Arn"]]
    instance.docker("kill", running["Containers"][0]["RuntimeID"])
    bed.cp.wait_task_status(running["Arn"], "STOPPED", since=mark)


@pytest.mark.skipif(not CRASH_BUILD, reason="ECSD_CRASH_BUILD names no programs with crash points")
@pytest.mark.parametrize("point", ["takeover.read", "takeover.half", "takeover.written", "takeover.saved",
                                   "recovery.loaded", "register.saved"])
def test_killed_on_the_way(make, instance, point):
    """Nothing is taken, or all of it: after the next start, the same instance and the same tasks."""
    bed, agent = make(clock_scale=5)
    running = agent.launch(official.task(official.container("m")))
    untold = agent.add(official.task(official.container("m", "STOPPED", "RUNNING", KnownExitCode=3),
                                     known="STOPPED", sent="RUNNING", desired="STOPPED"))
    agent.write()
    bed.agent.program = os.path.join(CRASH_BUILD, "ecsd")
    assert bed.agent.start(ECSD_CRASH_AT=f"{point}:1").wait() == -9
    del bed.agent.environment["ECSD_CRASH_AT"]
    bed.start()
    assert {body["containerInstanceArn"] for body in registrations(bed)} == {agent.arn}
    assert stop_candidates(bed, running["Arn"]) == []
    bed.cp.wait_task_status(untold["Arn"], "STOPPED")
    assert bed.cp.statuses(running["Arn"]) == []
    bed.agent.kill()
    bed.start()
    assert stop_candidates(bed) == [running["Arn"]] and len(taken_over(bed)) <= 2
    instance.docker("kill", running["Containers"][0]["RuntimeID"])
    bed.cp.wait_task_status(running["Arn"], "STOPPED")


@pytest.mark.parametrize("name, instance_arn, stopped", [
    ("smoke.db", "0f39ce3b278d44bb8d2be04ed25fc8f9", "1"),
    ("register-imds.db", "8e5c49e6479f4298b8df7c1c94f2fe20", "31")])
def test_files_of_the_official_agent(make, name, instance_arn, stopped):
    """Written by v1.105.1: its instance goes on; all its tasks had ended, and ECS knew."""
    bed, agent = make()
    shutil.copy(os.path.join(DATA, name), agent.path)
    bed.start()
    assert registrations(bed)[0]["containerInstanceArn"].endswith(instance_arn)
    assert taken_over(bed) == [("1.105.1", "0", stopped, "0")]
    assert stop_candidates(bed) == [] and reports(bed) == []
    assert digest(agent.path) == digest(os.path.join(DATA, name))


def test_a_lost_database(make, instance):
    """Labels do not tell of the official agent's containers, its file does: they are watched again, and nothing is run anew."""
    bed, agent = make()
    plain, watched, ended = agent.launch(official.task(official.container("m"))), agent.launch(
        awsvpc_task(official.container("m"))), agent.launch(official.task(official.container("m")))
    waiting = agent.add(official.task(official.container("m", "NONE", desired="RUNNING", Command=["true"]), known="NONE"))
    agent.write()
    bed.start()
    bed.cp.wait_task_status(waiting["Arn"], "STOPPED")
    own = bed.run_task(tasks.task())
    instance.docker("rm", "--force", ended["Containers"][0]["RuntimeID"])
    bed.cp.send_payload(tasks.stopped(tasks.task(tasks.container("m"), arn=ended["Arn"])))
    bed.cp.wait_task_status(ended["Arn"], "STOPPED")
    assert bed.agent.terminate() == 0
    with open(f"{bed.agent.data}/ecsd.db", "r+b") as file:
        file.write(b"x" * 8192)
    creates = len(bed.proxy.requests("POST /containers/create"))
    mark = bed.cp.recording.mark()
    bed.start()
    bed.agent.wait_log(f"task found again in the official agent's state.* task={plain['Arn']}")
    wait_until(lambda: sorted(stop_candidates(bed)) == sorted([plain["Arn"], watched["Arn"], own]), 10, "all tasks again")
    bed.cp.wait_task_status(ended["Arn"], "STOPPED", since=mark)    # told once more: its container is gone
    for arn in (plain["Arn"], watched["Arn"]):
        bed.cp.send_payload(tasks.stopped(awsvpc_payload(arn)))
        bed.cp.wait_task_status(arn, "STOPPED", since=mark)
        assert instance.containers(arn, running=True) == []
    assert len(bed.proxy.requests("POST /containers/create")) == creates


# --- what is not taken over


def cut(agent):
    with open(agent.path, "r+b") as file:
        file.truncate(4096 * 3)


def overwritten(agent):
    with open(agent.path, "r+b") as file:
        file.write(b"no bolt file" * 1000)


def newer_format(agent):
    agent.write(version=3)


def newer_agent(agent):
    agent.metadata["agent-version"] = "2.0.0"
    agent.write()


def odd_status(agent):
    agent.tasks[0]["KnownStatus"] = "FLYING"
    agent.write()


@pytest.mark.parametrize("damage, text", [
    (cut, r"agent\.db: damaged: page \d+ lies beyond the end"), (overwritten, r"agent\.db: no bbolt file"),
    (newer_format, r"agent\.db: bbolt file of format version 3, only 2 is known"),
    (newer_agent, r"agent\.db was written by agent version 2\.0\.0"),
    (odd_status, r"agent\.db: tasks/[0-9a-f]+: .*KnownStatus is .*FLYING")])
def test_a_file_that_cannot_be_read(make, instance, damage, text):
    """One line says why, the file stays, and the instance is a new one. The containers go on."""
    bed, agent = make()
    running = agent.launch(official.task(official.container("m")))
    agent.write()
    damage(agent)
    before = digest(agent.path)
    bed.start()
    assert "containerInstanceArn" not in registrations(bed)[0] and taken_over(bed) == []
    lines = [line for line in bed.agent.log().splitlines() if "cannot be taken over" in line]
    assert lines and all(re.search(text, line) for line in lines) and len(set(lines)) == 1
    assert digest(agent.path) == before and len(instance.containers(running["Arn"], running=True)) == 1
    bed.run_task(tasks.task())


def test_an_older_kind_of_state_is_named(make):
    bed, _ = make()
    with open(f"{bed.agent.data}/ecs_agent_data.json", "w") as file:
        file.write('{"Version": 31}')
    bed.start()
    assert re.search(r"ecs_agent_data\.json is not read", bed.agent.log())
    assert "containerInstanceArn" not in registrations(bed)[0]


def test_the_official_agent_still_runs(make):
    """It has its file locked: ecsd does not start, and does once the file is free."""
    bed, agent = make()
    agent.write()
    with open(agent.path, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert bed.agent.start().wait() == 1
    assert "the official agent is still running" in bed.agent.log()
    assert bed.cp.operations() == []
    bed.start()
    assert registrations(bed)[0]["containerInstanceArn"] == agent.arn


def test_state_of_another_instance(make):
    """An image made of a used instance."""
    bed, agent = make(state={"instance_id": "i-0fedcba9876543210"})
    agent.add(official.task(official.container("m", "STOPPED", "RUNNING"), known="STOPPED", sent="RUNNING"))
    agent.write()
    bed.start()
    assert "containerInstanceArn" not in registrations(bed)[0]
    assert re.search(r"another EC2 instance's and is not used.*i-0fedcba9876543210", bed.agent.log())
    bed.cp.settle()
    assert reports(bed) == []


def test_another_cluster_ends_the_start(make):
    """With the reference's text; with the right cluster, all is taken over."""
    bed, agent = make(state={"cluster": "another"})
    running = agent.launch(official.task(official.container("m")))
    agent.write()
    assert bed.agent.start().wait() == 5
    assert "saved cluster 'another' does not match configured cluster 'lab'" in bed.agent.log()
    assert bed.cp.operations() == []
    agent.metadata["cluster-name"] = "lab"
    agent.write()
    bed.start()
    assert registrations(bed)[0]["containerInstanceArn"] == agent.arn and stop_candidates(bed) == [running["Arn"]]


def test_without_checkpoints(make):
    bed, agent = make(ECS_CHECKPOINT="false")
    agent.write()
    bed.start()
    assert "containerInstanceArn" not in registrations(bed)[0] and taken_over(bed) == []


def test_a_state_of_its_own_comes_first(make):
    """ecsd ran here before: the official agent's file is not looked at."""
    bed, agent = make()
    bed.start()
    own = bed.cp.instance_arn
    assert bed.agent.terminate() == 0
    agent.write()
    bed.start()
    assert bed.cp.instance_arn == own and taken_over(bed) == []


# --- the way back


def handback(bed):
    """Exit code and output of the check, which leaves nothing behind."""
    before = set(os.listdir("/tmp"))
    done = subprocess.run(bed.instance.command(bed.agent.program, "-handback-check"), env=bed.agent.environment,
                          stdout=subprocess.PIPE, text=True, timeout=30)
    assert not [name for name in set(os.listdir("/tmp")) - before if name.startswith("ecsd-handback")]
    return done.returncode, done.stdout


def test_handback_check(make, instance):
    """Safe before the first start; not while a task runs or something is untold, whether ecsd runs or not; then again."""
    bed, agent = make()
    assert handback(bed) == (0, f"safe: ecsd has no state in {bed.agent.data}\n")
    running = agent.launch(official.task(official.container("m")))
    agent.write()
    bed.start()
    arn = running["Arn"]
    for _ in range(2):
        code, text = handback(bed)
        assert code == 1 and f"task {arn} has not ended: it is RUNNING, and is to be RUNNING\n" in text
        assert "not safe: 1 not ended, 0 with something to report" in text
        if bed.agent.running:
            bed.agent.kill()
    bed.start()
    bed.cp.fault("SubmitTaskStateChange", times=1000, status=500, type="ServerException")
    instance.docker("kill", running["Containers"][0]["RuntimeID"])
    bed.agent.wait_log(f"task={arn} known=STOPPED")
    wait_until(lambda: "has not ended" not in handback(bed)[1], 10, "the end on disk")
    code, text = handback(bed)
    assert code == 1 and f"task {arn} has state changes that ECS has not accepted\n" in text
    bed.cp.faults.clear()
    wait_until(lambda: handback(bed)[0] == 0, 20, "the end is told")
    assert handback(bed)[1].endswith("safe: no task runs, and ECS has been told everything\n")
    assert bed.agent.terminate() == 0
    assert handback(bed)[0] == 0 and bed.cp.statuses(arn)[-1] == "STOPPED"


def test_handback_check_of_a_busy_agent(make):
    """The database changes all the time: each answer is one that was true."""
    bed, agent = make()
    agent.write()
    bed.start()
    for _ in range(15):
        bed.cp.send_payload(*[tasks.task(tasks.container("m", ["true"])) for _ in range(4)])
        code, text = handback(bed)
        assert (code == 0) == ("safe: no task runs" in text), text
    wait_until(lambda: handback(bed)[0] == 0, 60, "all has ended and is told", 0.5)


def test_handback_check_of_damaged_state(make):
    """It cannot be told, and so it is not safe."""
    bed, agent = make()
    agent.write()
    bed.start()
    assert bed.agent.terminate() == 0
    with open(f"{bed.agent.data}/ecsd.db", "r+b") as file:
        file.seek(100)
        file.write(b"x" * 4000)
    before = sorted(os.listdir(bed.agent.data))
    assert handback(bed) == (1, "")
    assert sorted(os.listdir(bed.agent.data)) == before
