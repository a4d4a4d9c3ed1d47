"""A Docker that stalls, refuses, cuts connections or answers rubbish (simulated): nothing false is ever reported, what
hangs holds up nobody else, and soon after Docker is itself again all is as it should be.

Many faults are tried at once, each on a task of its own."""

import time

import pytest

from ecsbed import tasks, truth
from ecsbed.instance import wait_until
from ecsbed.simfaults import GARBLES, Drop, Garble, Rewrite, Stall, Status

SIMULATED = True
DOCKER_SCALE = 10       # as the clock of its beds
PID_SHARE = 0.5
RECOVERY = 10 / DOCKER_SCALE + 3    # seconds: ten of the agent's clock, and room for a busy machine

STAGES = ("before", "after")
FAULTS = [(name, stage) for stage in STAGES for name in ("stall", "500", "drop", *GARBLES)]


def action(name):
    if name == "stall":
        return Stall()
    if name == "500":
        return Status()
    return Drop() if name == "drop" else Garble(name)


@pytest.fixture
def sim(instance):
    yield instance.sim
    assert instance.sim.errors == []


@pytest.fixture
def honest(sim, make_bed):
    """Makes beds; what was reported is held against what happened, in the end."""
    beds = []

    def make(**options):
        beds.append(make_bed(**{"clock_scale": DOCKER_SCALE, "ECS_CONTAINER_STOP_TIMEOUT": "30s",
                                "ECS_ENABLE_TASK_CPU_MEM_LIMIT": "false",
                                "DOCKER_HOST": f"unix://{sim.path}", **options}))     # no proxy between
        return beds[-1].start()
    yield make
    for bed in beds:
        assert truth.contradictions(sim, bed.cp) == []


def name_of(fault):
    return f"{fault[0]}-{fault[1]}"


def concerns(request, name):
    """Whether a request is about the container of this name."""
    if request.verb == "create":
        return f"-{name}-" in request.query.get("name", "")
    if request.verb in ("image_inspect", "distribution"):
        return f"/{name}:" in request.argument
    if request.verb == "pull":
        return request.query.get("fromImage", "").endswith("/" + name)
    return request.container is not None and request.container.container_name == name


def set_faults(sim, verb, times):
    """Each fault for the container that has its name."""
    return [sim.fault(verb, action(fault[0]), fault[1], times,
                      lambda request, name=name_of(fault): concerns(request, name)) for fault in FAULTS]


def task_of(fault, **members):
    return tasks.task(tasks.container(name_of(fault), ["on-term", "3", "term-after", "5"], **members))


def all_reached(faults):
    for fault in faults:
        fault.wait_reached()


def recover(sim, faults):
    for fault in faults:
        fault.release()
        sim.unhook(fault)
    return time.monotonic()


def runs(sim, task):
    return any(c.running for c in sim.containers.values() if c.task == task["arn"])


def settled(sim, bed, task):
    """ECS knows what is true of a task that is to run: it runs, or it has failed for good."""
    told = bed.cp.statuses(task["arn"])
    return told and told[-1] == ("RUNNING" if runs(sim, task) else "STOPPED")


@pytest.mark.parametrize("verb", ["create", "start", "inspect"])
def test_launch(honest, sim, verb):
    """Each fault of each call of a launch, twice for each task; a stall lasts until all is well again."""
    bed = honest()
    faults = set_faults(sim, verb, 2)
    launched = {fault: task_of(fault) for fault in FAULTS}
    for task in launched.values():
        bed.cp.send_payload(task)
    all_reached(faults)
    other = tasks.task(tasks.container("other"))
    bed.run_task(other)
    recover(sim, faults)
    for fault, task in launched.items():
        wait_until(lambda task=task: settled(sim, bed, task), RECOVERY, f"truth about {verb} {fault}")
        if fault[0] != "500":
            assert runs(sim, task), fault
    for task in launched.values():
        bed.cp.send_payload(tasks.stopped(task))
    for fault, task in launched.items():
        told = bed.cp.wait_task_status(task["arn"], "STOPPED")
        if fault[0] != "500":
            assert told["containers"][0]["exitCode"] == 3


def test_stop(honest, sim):
    bed = honest()
    launched = {fault: task_of(fault) for fault in FAULTS}
    for task in launched.values():
        bed.cp.send_payload(task)
    for task in launched.values():
        bed.cp.wait_task_status(task["arn"], "RUNNING")
    faults = set_faults(sim, "stop", 2)
    for task in launched.values():
        bed.cp.send_payload(tasks.stopped(task))
    all_reached(faults)
    other = tasks.task(tasks.container("other"))
    bed.run_task(other)
    bed.cp.send_payload(tasks.stopped(other))
    bed.cp.wait_task_status(other["arn"], "STOPPED")
    since = recover(sim, faults)
    for fault, task in launched.items():
        told = bed.cp.wait_task_status(task["arn"], "STOPPED", max(since + RECOVERY - time.monotonic(), 0.1))
        assert told["containers"][0]["exitCode"] == 3, fault


SLOTS = {"create": 4, "start": 4, "inspect": 16, "stop": 16, "remove": 16}    # agent/engine/schedule.c; no bound on the rest


@pytest.mark.parametrize("verb", SLOTS)
def test_stuck_calls_hold_up_nobody(honest, sim, verb):
    """As many calls hang as there are slots: another task is launched, stops and goes all the same."""
    bed = honest(ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION="5s")
    stuck = [tasks.task(tasks.container("stuck")) for _ in range(SLOTS[verb])]
    fault = sim.fault(verb, Stall(), times=10**6, match=lambda request: concerns(request, "stuck"))
    for task in stuck:
        bed.cp.send_payload(task)
    if verb in ("stop", "remove"):
        for task in stuck:
            bed.cp.wait_task_status(task["arn"], "RUNNING")
            bed.cp.send_payload(tasks.stopped(task))
    fault.wait_reached(SLOTS[verb])
    other = tasks.task(tasks.container("other"))
    bed.cp.send_payload(other)
    bed.cp.wait_task_status(other["arn"], "RUNNING", RECOVERY)
    bed.cp.send_payload(tasks.stopped(other))
    bed.cp.wait_task_status(other["arn"], "STOPPED", RECOVERY)
    sim.wait(lambda: sim.happened("remove", other["arn"]), RECOVERY, "clean-up of the other task")
    assert fault.action.held >= SLOTS[verb], "they hang no more: the test shows nothing"
    recover(sim, [fault])
    for task in stuck:
        bed.cp.wait_task_status(task["arn"], "STOPPED" if verb in ("stop", "remove") else "RUNNING", RECOVERY)


def test_clean_up(honest, sim):
    """Faults of removals: each container is gone in the end, and the task is forgotten."""
    bed = honest(ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION="5s")
    faults = set_faults(sim, "remove", 1)
    launched = [task_of(fault) for fault in FAULTS]
    for task in launched:
        bed.cp.send_payload(task)
    for task in launched:
        bed.cp.wait_task_status(task["arn"], "RUNNING")
        bed.cp.send_payload(tasks.stopped(task))
    all_reached(faults)
    recover(sim, faults)
    # An error of the daemon: left alone, and logged. And a removal that Docker says has happened is believed.
    kept = {"500-before", "broken-json-before", "wrong-types-before", "too-short-before"}
    wait_until(lambda: {c.container_name for c in sim.containers.values()} <= kept, RECOVERY,
               "containers removed")
    for task in launched:
        bed.agent.wait_log(f"task cleaned up.*{task['arn']}", RECOVERY)


@pytest.mark.parametrize("verb", ["image_inspect", "distribution", "pull"])
def test_fetch(honest, sim, verb):
    bed = honest(ECS_IMAGE_PULL_BEHAVIOR="default")
    launched = {fault: task_of(fault, image=f"sim/{name_of(fault)}:1") for fault in FAULTS}
    for fault in FAULTS:
        sim.publish(f"sim/{name_of(fault)}:1")
    sim.publish("sim/other:1")
    faults = set_faults(sim, verb, 1)
    for task in launched.values():
        bed.cp.send_payload(task)
    all_reached(faults)
    bed.run_task(tasks.task(tasks.container("other", image="sim/other:1")))
    recover(sim, faults)
    for fault, task in launched.items():
        wait_until(lambda task=task: settled(sim, bed, task), RECOVERY, f"truth about {verb} {fault}")
        if (verb, *fault) != ("pull", "wrong-types", "before"):     # a pull that Docker says has ended well
            assert runs(sim, task), fault


WATCHING = [("stall", "before"), ("500", "before"), ("drop", "before"), *((name, "after") for name in ("stall", *GARBLES))]


@pytest.mark.parametrize("verb", ["events", "list"])
def test_watch(honest, sim, verb):
    """What happens while there are no events is found, whatever becomes of the calls that find it."""
    bed = honest(clock_scale=30)
    sim.pid_share = 0       # there is nothing else to see it by
    watched = [tasks.task() for _ in WATCHING]
    for task in watched:
        bed.cp.send_payload(task)
    for task in watched:
        bed.cp.wait_task_status(task["arn"], "RUNNING")
    for (name, stage), task in zip(WATCHING, watched):
        fault = sim.fault(verb, action(name), stage)
        gap = sim.fault("events", Drop()) if verb == "list" else fault
        sim.cut_events()
        gap.wait_reached()
        sim.end(sim.find(task["arn"], "m")[0], 5)
        sim.history.clear()
        if verb == "list":
            fault.wait_reached()
        recover(sim, [gap, fault])
        change = bed.cp.wait_container_status(task["arn"], "m", "STOPPED", RECOVERY)
        assert change["exitCode"] == 5, (name, stage)
    sim.pid_share = PID_SHARE


def test_start_up(honest, sim):
    """Nothing that Docker answers to the first calls keeps the agent from its work in the end."""
    for verb in ("version", "info", "events"):
        for name in ("500", "drop", *GARBLES):
            sim.fault(verb, action(name), "after")
    bed = honest(clock_scale=60)
    bed.run_task(tasks.task())
    assert len(sim.seen("version")) > len(GARBLES)


def by_hand(sim, container):
    """What somebody does to a container of this name, and whether it has ended then."""
    verb, _, ended = container.container_name.partition("-")
    with sim.changed:
        if verb == "kill":
            sim.end(container, 137)
        elif verb == "exit":
            sim.end(container, 4)
        elif verb == "remove":
            sim.end(container, 137)
            sim._remove(container)
        elif verb == "pause":
            container.status = "paused"
        elif verb == "rename":
            container.name = "renamed-" + container.name
        elif verb == "restart":
            sim.end(container, 137)
            sim._begin(container, None)
    return ended == "ends"


@pytest.mark.parametrize("processes", [0, 1])
def test_by_hand(honest, sim, processes):
    """Seen within one reconciliation, without any event, and without a process to watch."""
    bed = honest(clock_scale=60)
    sim.pid_share = processes
    names = ["kill-ends", "exit-ends", "remove-ends", "pause", "rename", "none"] + ["restart-ends"] * processes
    touched = {name: tasks.task(tasks.container(name)) for name in names}
    for task in touched.values():
        bed.cp.send_payload(task)
    for task in touched.values():
        bed.cp.wait_task_status(task["arn"], "RUNNING")
    sim.muted = True
    expected = {name: by_hand(sim, sim.find(task["arn"], name)[0]) for name, task in touched.items()}
    lists = len(sim.seen("list"))
    for name, task in touched.items():
        if expected[name]:
            change = bed.cp.wait_container_status(task["arn"], name, "STOPPED", 60 / 60 + 6)
            assert change.get("exitCode") == {"kill-ends": 137, "exit-ends": 4}.get(name), name
    sim.wait(lambda: len(sim.seen("list")) >= lists + 2, 60 / 60 * 2 + 6, "another reconciliation")
    bed.cp.settle()
    for name, task in touched.items():
        assert bed.cp.statuses(task["arn"]) == ["RUNNING"] + ["STOPPED"] * expected[name], name
    if processes:       # ECS has perhaps started another one
        restarted = sim.find(touched["restart-ends"]["arn"], "restart-ends")[0]
        sim.wait(lambda: not restarted.running, 10, "the stray container to be stopped")
        sim.journal = [entry for entry in sim.journal if entry is not sim.happened("start", container="restart-ends")[-1]]
    sim.pid_share = PID_SHARE


@pytest.mark.parametrize("to_stop", [False, True])
def test_start_that_docker_forgets(honest, sim, to_stop):
    """A daemon that is killed may not have written down that a container runs: it is "created" again. That is the end of
    the run that ECS knows of, and no reason to stop it again and again."""
    bed, before = honest(), len(sim.seen("stop"))
    task = tasks.task(tasks.container("m"))
    bed.run_task(task)
    container = sim.find(task["arn"], "m")[0]
    with sim.changed:
        sim.end(container, 0)
        container.status, container.started, container.finished = "created", 0, 0
    if to_stop:
        bed.cp.send_payload(tasks.stopped(task))
    change = bed.cp.wait_container_status(task["arn"], "m", "STOPPED", 60)
    assert "exitCode" not in change
    assert len(sim.seen("stop")) - before <= 5


def test_start_that_comes_late(honest, sim):
    """The agent is killed while its start call is on its way, and back before Docker gets round to the call: it does not
    start a container anew that has run meanwhile."""
    bed = honest(clock_scale=1)     # in real time, the agent gives such a call a second
    task = tasks.task(tasks.container("m", ["exit", "0"]))
    late = sim.fault("start", Stall())
    bed.cp.send_payload(task)
    late.wait_reached()
    bed.agent.kill()
    bed.agent.start()
    opened = len(sim.requests)
    sim.wait(lambda: sim.seen("list", opened), what="the agent to be back")
    time.sleep(0.05)                # what it would do at once, it has done
    assert not sim.happened("start", task["arn"])
    late.release()
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    assert len(sim.happened("start", task["arn"])) == 1


def test_stop_that_does_nothing(honest, sim):
    """Docker says that there is nothing to stop, and that it runs: asked again, but not without a pause."""
    bed, before = honest(), len(sim.seen("stop"))
    task = tasks.task(tasks.container("m"))
    bed.run_task(task)
    lying = sim.fault("stop", Status(304), times=10**6)
    bed.cp.send_payload(tasks.stopped(task))
    lists = len(sim.seen("list"))
    sim.wait(lambda: len(sim.seen("list")) > lists, 60 / DOCKER_SCALE + 6, "a minute of the agent's clock")
    assert 2 <= len(sim.seen("stop")) - before <= 30
    assert bed.cp.statuses(task["arn"]) == ["RUNNING"]
    lying.release()
    bed.cp.wait_task_status(task["arn"], "STOPPED")


@pytest.mark.parametrize("at_once", [False, True])
def test_out_of_memory(honest, sim, at_once):
    """A process inside is killed: no verdict while the container runs, nor when it ends well after all."""
    bed = honest()
    sim.oom_at_once = at_once
    well, ill, killed = (tasks.task(tasks.container(name)) for name in ("well", "ill", "killed"))
    for task in (well, ill, killed):
        bed.run_task(task)
    containers = {name: sim.find(task["arn"], name)[0] for name, task in (("well", well), ("ill", ill), ("killed", killed))}
    for container in containers.values():
        sim.oom(container)
    bed.agent.wait_log("a process of the container was killed for lack of memory")
    mark = len(sim.requests)
    sim.cut_events()        # and the agent looks at them
    sim.wait(lambda: sim.seen("list", mark), 10, "a list")
    bed.cp.settle()
    for task in (well, ill, killed):
        assert bed.cp.statuses(task["arn"]) == ["RUNNING"]
    for name, code in (("well", 0), ("ill", 3), ("killed", 137)):
        sim.end(containers[name], code)
    verdict = "OutOfMemoryError: Container killed due to memory usage"
    for task, name, code, reason in ((well, "well", 0, None), (ill, "ill", 3, verdict), (killed, "killed", 137, verdict)):
        change = bed.cp.wait_container_status(task["arn"], name, "STOPPED")
        assert (change["exitCode"], change.get("reason")) == (code, reason), name


STREAM_RUBBISH = {
    "words": b"this is no JSON\n", "half a line": b'{"status":"die","id":"', "an array": b'[1,2]\n', "nul": b"\0\0\0\n",
    "wrong types": b'{"Type":7,"Action":[],"Actor":"x","timeNano":"now"}\n{"Type":"container","Action":"die"}\n'
                   b'{"Type":"container","Action":"die","Actor":{"ID":5,"Attributes":[]},"timeNano":{}}\n{}\n',
    "ten megabytes": b'{"Type":"container","Action":"' + b"x" * (10 << 20) + b'"}\n',
    "deep": b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"\n",
    "far future": b'{"Type":"container","Action":"exec_die","Actor":{"ID":"x","Attributes":{}},"timeNano":9223372036854775807}\n',
    "negative": b'{"Type":"container","Action":"die","Actor":{"ID":"x","Attributes":{}},"timeNano":-1}\n'}


def test_rubbish_in_the_event_stream(honest, sim):
    """After each kind, what happens next is still seen at once; nothing is made of the rubbish."""
    bed = honest()
    sim.pid_share = 0
    kept, watched = tasks.task(), {kind: tasks.task() for kind in STREAM_RUBBISH}
    for task in (kept, *watched.values()):
        bed.cp.send_payload(task)
    for task in (kept, *watched.values()):
        bed.cp.wait_task_status(task["arn"], "RUNNING")
    for kind, task in watched.items():
        sim.wait(lambda: sim.streams, RECOVERY, f"an event stream before {kind}")
        sim.inject(STREAM_RUBBISH[kind])
        sim.end(sim.find(task["arn"], "m")[0], 6)
        if kind == "half a line":
            sim.cut_events()
        assert bed.cp.wait_container_status(task["arn"], "m", "STOPPED", RECOVERY)["exitCode"] == 6, kind
    bed.cp.settle()
    assert bed.cp.statuses(kept["arn"]) == ["RUNNING"]
    sim.pid_share = PID_SHARE


def test_events_that_did_not_happen(honest, sim):
    """Twice, in the wrong order, about nothing that is known, or not true: each only makes the agent look."""
    bed = honest()
    task, checked = tasks.task(), tasks.task(tasks.container(
        "m", ["healthy", "0.5"], healthCheckType="DOCKER",
        config={"Healthcheck": {"Test": ["CMD", "x"], "Interval": 10**9, "Timeout": 10**9, "Retries": 3}}))
    bed.run_task(task)
    bed.run_task(checked)
    for arn in (task["arn"], checked["arn"]):
        container = sim.find(arn, "m")[0]
        for event, attributes in (("die", {"exitCode": "0"}), ("destroy", {}), ("stop", {}), ("oom", {}), ("start", {}),
                                  ("create", {}), ("die", {"exitCode": "x"}), ("die", {}), ("health_status: purple", {}),
                                  ("health_status:", {}), ("health_status: ", {}), ("health_status: healthyish", {})):
            sim.emit(container, event, **attributes)
            sim.emit(container, event, **attributes)
        stranger = sim.event_text(container, "die", exitCode="1").replace(container.id.encode(), b"f" * 64)
        sim.inject(stranger)
    mark = len(sim.requests)
    sim.cut_events()
    sim.wait(lambda: sim.seen("list", mark), 10, "a list")
    bed.cp.settle()
    for arn in (task["arn"], checked["arn"]):
        assert bed.cp.statuses(arn) == ["RUNNING"]
        bed.cp.send_payload(tasks.stopped(task if arn == task["arn"] else checked))
        assert bed.cp.wait_task_status(arn, "STOPPED")["containers"][0]["exitCode"] == 0


def test_event_stream_ends_at_once(honest, sim):
    """Again and again: opened at a bounded rate, and the agent does its work meanwhile."""
    bed = honest()
    bed.run_task(tasks.task())
    sim.short_streams = True
    mark, since = len(sim.requests), time.monotonic()
    sim.cut_events()
    task = tasks.task(tasks.container("m", ["exit", "9", "after", "5"]))
    bed.run_task(task)
    assert bed.cp.wait_container_status(task["arn"], "m", "STOPPED")["exitCode"] == 9
    wait_until(lambda: time.monotonic() - since > 1.5, 10, "15 seconds of the agent's clock")
    opened = len(sim.seen("events", mark))
    assert 3 < opened <= 4 + (time.monotonic() - since) * DOCKER_SCALE / 0.8


def test_answers_that_are_not_true(honest, sim):
    """Another container's inspect answer, a list without the container, and one full of rubbish: never STOPPED."""
    bed = honest()
    sim.pid_share = 0
    ended, kept = tasks.task(), tasks.task()
    bed.run_task(ended)
    bed.run_task(kept)
    gone, lives = sim.find(ended["arn"], "m")[0], sim.find(kept["arn"], "m")[0]
    sim.end(gone, 2)
    bed.cp.wait_task_status(ended["arn"], "STOPPED")
    rubbish = [None, 5, "x", [], {}, {"Id": None}, {"Id": lives.id, "Names": None, "State": None, "Labels": None},
               {"Id": lives.id, "Names": [None, 7, "/"], "State": 5, "Labels": [], "Unknown": {"x": [1]}}]
    half = lives.inspected() | {"State": {**gone.state(), "Running": None}}
    for verb, false in (("list", []), ("list", rubbish), ("inspect", gone.inspected()), ("inspect", half),
                        ("inspect", lives.inspected() | {"State": gone.state() | {"StartedAt": None}})):
        lie = sim.fault(verb, Rewrite(lambda _, false=false: false), "after",
                        match=lambda request: request.verb == "list" or request.container is lives)
        if verb == "inspect":
            sim.emit(lives, "die", exitCode="0")
        else:
            sim.cut_events()
        lie.wait_reached()
        told = len(sim.seen("inspect"))
        sim.wait(lambda: len(sim.seen("inspect")) > told - (verb == "list"), RECOVERY, "another look")
        bed.cp.settle()
        assert bed.cp.statuses(kept["arn"]) == ["RUNNING"], (verb, false)
    sim.end(lives, 8)
    assert bed.cp.wait_container_status(kept["arn"], "m", "STOPPED", RECOVERY)["exitCode"] == 8
    sim.pid_share = PID_SHARE
