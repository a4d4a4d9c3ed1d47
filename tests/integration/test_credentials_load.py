"""Requests for credentials without a pause, while ecsd is killed and started again: not one may fail."""

import contextlib
import re
import signal
import subprocess

import pytest

from ecsbed import tasks
from ecsbed.instance import wait_until

RESTARTS = 50
CONNECTIONS = 16
# Every tenth request is on a connection of its own. An answer is good if it is 200 and has a whole set of the
# task's credentials: the role's key id, and the end of the document.
SCRIPT = """
local threads, count = {}, 0
good, bad, first = 0, 0, ""
function setup(thread) table.insert(threads, thread) end
function request()
  count = count + 1
  return wrk.format("GET", nil, {["Connection"] = count %% 10 == 0 and "close" or "keep-alive"})
end
function response(status, headers, body)
  if status == 200 and body:find('"AccessKeyId":"%s","', 1, true) and body:sub(-1) == "}" then
    good = good + 1
  else
    bad = bad + 1
    if bad == 1 then first = status .. " " .. body end
  end
end
function done(summary)
  local e = summary.errors
  print(string.format("good=%%d bad=%%d connect=%%d read=%%d write=%%d timeout=%%d first=%%s", threads[1]:get("good"),
        threads[1]:get("bad"), e.connect, e.read, e.write, e.timeout, threads[1]:get("first")))
end
"""


class Load:
    """wrk inside the instance; result() ends it and returns its counters."""

    def __init__(self, bed, role):
        script = f"{bed.directory}/load.lua"
        with open(script, "w") as file:
            file.write(SCRIPT % role["accessKeyId"])
        self.process = subprocess.Popen(
            bed.instance.command("wrk", "-t1", f"-c{CONNECTIONS}", "-d600s", "--timeout", "10s", "-s", script,
                                 "http://127.0.0.1:51679/v2/credentials/" + role["credentialsId"]),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait_until(lambda: len(bed.agent.audit()) > 10 * CONNECTIONS, 20, "the first answers")

    def result(self):
        self.process.send_signal(signal.SIGINT)
        text, _ = self.process.communicate(timeout=20)
        counters = re.search(r"good=(\d+) bad=(\d+) connect=(\d+) read=(\d+) write=(\d+) timeout=(\d+) first=(.*)", text)
        assert counters, text
        return int(counters[1]), [int(number) for number in counters.groups()[1:6]], counters[7]


@pytest.fixture
def loaded(make_bed):
    """A bed with a task whose credentials are asked for, its role, and the load."""
    bed = make_bed(ECS_TASK_METADATA_RPS_LIMIT="1000000,1000000", ECS_LOGLEVEL="info").start()
    role = tasks.credentials()
    task = tasks.task(roleCredentials=role)
    bed.run_task(task)
    with contextlib.ExitStack() as stack:
        load = Load(bed, role)
        stack.callback(load.process.kill)
        yield bed, task, role, load


def test_no_request_fails_while_ecsd_is_killed(loaded):
    """Fifty times; new credentials arrive after every fifth start, and those are what is served from then on."""
    bed, task, role, load = loaded
    endpoint = bed.agent.endpoint_pid()
    for number in range(RESTARTS):
        bed.agent.kill()
        bed.start()
        if number % 5 == 4:
            role = tasks.credentials(identifier=role["credentialsId"])
            message = bed.cp.send_credentials(task["arn"], role)
            bed.cp.wait_ack(message, type="IAMRoleCredentialsAckRequest")
            assert role["secretAccessKey"] in bed.credentials("/v2/credentials/" + role["credentialsId"]).text
    good, failures, first = load.result()
    assert failures == [0] * 5, f"bad, connect, read, write, timeout: {failures}; first answer: {first}"
    assert good > RESTARTS * CONNECTIONS
    assert bed.agent.endpoint_pid() == endpoint


def test_the_load_notices_a_failure(loaded):
    """The test above can fail: an endpoint that dies is noticed."""
    bed, _, _, load = loaded
    bed.agent.kill_endpoint()
    bed.agent.wait_log("ecs-endpoint was killed")
    bed.cp.settle()
    _, failures, _ = load.result()
    assert any(failures)
