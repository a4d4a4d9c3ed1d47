"""What the running processes may do, as the kernel sees it. Each attempt to do more is in tests/unit/test_confine.c and
test_endpoint_sandbox.c; that nothing which ecsd does is refused is checked at the end of every integration test."""

import os

import pytest

from ecsbed import tasks
from ecsbed.agent import with_sanitizer
from ecsbed.instance import wait_until

NOBODY = 65534
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
DAC_OVERRIDE = 1 << 1


def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def capabilities(pid):
    fields = status(pid)
    return {name: int(fields[name], 16) for name in SETS}


def test_ecsd(bed):
    """One capability, a filter, no more rights by executing anything; and it listens nowhere."""
    pid = bed.agent.process.pid
    assert capabilities(pid) == {"CapInh": 0, "CapPrm": DAC_OVERRIDE, "CapEff": DAC_OVERRIDE,
                                 "CapBnd": DAC_OVERRIDE, "CapAmb": 0}
    fields = status(pid)
    assert (fields["NoNewPrivs"], fields["Uid"].split()) == ("1", ["0"] * 4)
    if not with_sanitizer():
        assert fields["Seccomp"] == "2"
    ours = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    with open(f"/proc/{pid}/net/tcp") as file:
        sockets = [line.split() for line in list(file)[1:]]
    listening = [s for s in sockets if s[3] == "0A"]
    assert listening and not [s for s in listening if f"socket:[{s[9]}]" in ours]


def test_ecs_endpoint(bed):
    pid = bed.agent.endpoint_pid()
    assert capabilities(pid) == dict.fromkeys(SETS, 0)
    fields = status(pid)
    assert fields["NoNewPrivs"] == "1" and fields["Threads"] == "1"
    if not with_sanitizer():
        assert fields["Seccomp"] == "2"
    uid, gid = set(fields["Uid"].split()), set(fields["Gid"].split())
    assert len(uid) == len(gid) == 1 and "0" not in uid | gid and set(fields["Groups"].split()) == gid
    assert os.stat(f"/proc/{pid}/fd").st_uid == 0, "its own user can look inside"
    assert os.readlink(f"/proc/{pid}/root").endswith(" (deleted)")
    assert os.listdir(f"/proc/{pid}/root") == []


def test_files_of_others(make_bed):
    """Data, logs and Docker's socket may belong to somebody else, as they may for any other program of root's."""
    bed = make_bed()
    agent = bed.agent
    for path in (agent.directory, agent.data, agent.run_directory):
        os.chown(path, NOBODY, NOBODY)
        os.chmod(path, 0o700)
    os.chown(bed.proxy.path, NOBODY, NOBODY)
    os.chmod(bed.proxy.path, 0o600)
    bed.start()
    role = tasks.credentials()
    task = tasks.task(roleCredentials=role)
    bed.run_task(task)
    assert bed.credentials("/v2/credentials/" + role["credentialsId"]).status == 200
    bed.cp.send_payload(tasks.stopped(task))
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    assert agent.terminate() == 0
    bed.start()


@pytest.mark.skipif(with_sanitizer(), reason="no filter in builds with sanitizers")
def test_filter_off(make_bed):
    """For diagnosis: tools that need more than ecsd does. The capabilities are gone all the same."""
    bed = make_bed(ECSD_SYSCALL_FILTER="false").start()
    bed.agent.wait_log(r'level=warn .*msg="system calls are not filtered" .*reason=ECSD_SYSCALL_FILTER')
    fields = status(bed.agent.process.pid)
    assert (fields["Seccomp"], fields["NoNewPrivs"]) == ("0", "1")
    assert int(fields["CapEff"], 16) == DAC_OVERRIDE


@pytest.mark.skipif(with_sanitizer(), reason="no filter in builds with sanitizers")
def test_endpoint_killed_by_its_filter(make_bed):
    """A violation is an error in the log, and a new ecs-endpoint has everything again."""
    bed = make_bed().start()
    role = tasks.credentials()
    bed.run_task(tasks.task(roleCredentials=role))
    old = bed.agent.endpoint_pid()
    os.kill(old, 31)   # SIGSYS, as the kernel would send it
    wait_until(lambda: bed.agent.endpoint_pid() not in (None, old), 15, "a new ecs-endpoint")
    wait_until(lambda: bed.credentials("/v2/credentials/" + role["credentialsId"]).status == 200, 15, "credentials")
    line = bed.agent.wait_log(r'.*msg="ecs-endpoint was killed" .*signal="Bad system call".*')
    assert bed.agent.refused() == [line.group()]
    bed.agent.terminate()
    os.truncate(bed.agent.stderr_file, 0)   # or the bed would have this test fail, as any other
