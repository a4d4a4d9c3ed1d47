"""Tasks that notice when something goes wrong, and what arrived of what they wrote.

A task of two containers: `asker` asks for its credentials, again and again, and writes what came of it; `writer` writes numbered
lines. Both log by awslogs, so by way of ecs-logd."""

import json
import re

from ecsbed import tasks
from ecsbed.instance import BedError, wait_until
from machine import PATIENCE
from vpc import LOGS_PORT, ROUTER

GROUP = "/boot/test"
# It is patient, since a program takes seconds to start where the processor is emulated. Lines are "asker 0 ok", "asker 1 ok" and
# so on, and in the end "asker end N".
ASKER = """trap 'over=1' TERM
url=http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI
echo "credentials $(get $url)"
n=0
while [ -z "$over" ]; do
  answer=$(get -t 60 $url 2>&1)
  case $? in
  0) echo "asker $n ok" ;;
  143) break ;;   # the machine goes down: every process is told to end
  *) echo "asker $n failed: $answer" ;;
  esac
  n=$((n + 1))
  usleep 300000
done
echo "asker end $n"
"""
WRITER = """trap 'over=1' TERM
n=0
while [ -z "$over" ]; do
  echo "writer $n of lines that are about as long as those of a web server, with a time, an address, a request and a result"
  n=$((n + 1))
  [ $((n % 20)) -ne 0 ] || usleep 400000
done
echo "writer end $n"
"""
CPU, MEMORY_MIB = 0.75, 256


class Workload:
    def __init__(self, vpc, machine):
        self.vpc, self.machine = vpc, machine
        self.task = tasks.task(*(tasks.container(name, ["sh", "-c", script], logsAuthStrategy="ExecutionRole", host_config={
            "LogConfig": {"Type": "awslogs", "Config": {
                "awslogs-group": GROUP, "awslogs-region": tasks.REGION, "awslogs-stream-prefix": "boot",
                "awslogs-create-group": "true", "awslogs-endpoint": f"http://{ROUTER}:{LOGS_PORT}",
                "awslogs-force-flush-interval-seconds": "1"}}}) for name, script in (("asker", ASKER), ("writer", WRITER))),
            family="boot", cpu=CPU, memory=MEMORY_MIB, roleCredentials=tasks.credentials("ASIABOOTTASK"),
            executionRoleCredentials=vpc.execution_role)
        self.arn = self.task["arn"]
        self.id = self.arn.rpartition("/")[2]
        self.lost_in_docker = set()     # numbers of the writer's lines that ecs-logd never got
        self.told = 0       # failed requests that were told of already

    def start(self, timeout=PATIENCE):
        self.vpc.cp.send_payload(self.task)
        first = self.vpc.cp.wait_api("SubmitTaskStateChange", timeout, match=lambda body: body["task"] == self.arn)["body"]
        if first["status"] != "RUNNING":
            raise AssertionError(f"the task does not run: {json.dumps(first)}")
        return self

    def stop(self, timeout=PATIENCE):
        self.vpc.cp.send_payload(tasks.stopped(self.task))
        self.vpc.cp.wait_task_status(self.arn, "STOPPED", timeout)

    # --- in the guest

    def docker(self, arguments):
        return self.machine.run("docker " + arguments)

    def containers(self):
        """name -> (id, process id, when it was started) of those that run."""
        listed = self.docker(f"ps -q --no-trunc --filter label=com.amazonaws.ecs.task-arn={self.arn}").split()
        if not listed:
            return {}
        inspected = json.loads(self.docker("inspect " + " ".join(listed)))
        return {each["Config"]["Labels"]["com.amazonaws.ecs.container-name"]:
                (each["Id"], each["State"]["Pid"], each["State"]["StartedAt"]) for each in inspected}

    # --- what arrived

    def lines(self, name):
        return self.vpc.logs.messages(GROUP, f"boot/{name}/{self.id}")

    def numbers(self, name):
        return [int(match.group(1)) for match in (re.match(name + r" (\d+) ", line) for line in self.lines(name)) if match]

    def end(self, name):
        """How many lines it had written when it ended; None: that line has not arrived."""
        return next((int(line.split()[2]) for line in self.lines(name) if line.startswith(name + " end ")), None)

    def credentials(self):
        """What the task's first request was answered."""
        line = next((line for line in self.lines("asker") if line.startswith("credentials ")), None)
        return line and json.loads(line.partition(" ")[2])

    def check(self, more=20, timeout=PATIENCE):
        """Waits until so many more lines of both than there were have arrived. Then every line up to the newest is there, once,
        and each request so far was answered; says how many."""
        marks = {name: max(self.numbers(name), default=-1) for name in ("asker", "writer")}
        for name, mark in marks.items():
            wait_until(lambda n=name, m=mark: max(self.numbers(n), default=-1) >= m + more, timeout, f"more lines of {name}", 0.2)
        return self.examine()

    def examine(self):
        failed = [line for line in self.lines("asker") if " failed: " in line][self.told:]
        self.told += len(failed)
        if failed:
            raise AssertionError(f"{len(failed)} requests for credentials failed, the first: {failed[0]}")
        counts = {}
        for name in ("asker", "writer"):
            numbers, end = self.numbers(name), self.end(name)
            expected = set(range(max(numbers) + 1 if end is None else end))
            missing = sorted(expected - set(numbers) - (self.lost_in_docker if name == "writer" else set()))
            if missing:
                raise AssertionError(f"{len(missing)} lines of {name} of {len(expected)} are missing, the first: {missing[0]}")
            if len(numbers) != len(set(numbers)):
                raise AssertionError(f"{len(numbers) - len(set(numbers))} lines of {name} came twice")
            counts[name] = len(numbers)
        return f"{counts['asker']} requests answered, {counts['writer']} lines, none failed, missing or twice"

    def count_lost_in_docker(self, timeout=PATIENCE):
        """A dockerd that ends loses lines that it has read and not handed on yet. While the writer is held, ecs-logd's own count of
        what it took is compared with what arrived; only what never came to ecs-logd may be missing from now on. How many those are."""
        container = self.containers()["writer"][0]
        self.docker("pause " + container)
        try:
            def shipped():
                status = next(each for each in logd_status(self.machine)["Containers"] if each["Container"] == container)
                return None if status["WaitingLines"] else status["Lines"]
            accepted = wait_until(shipped, timeout, "all lines shipped", 1)
            numbers = self.numbers("writer")
            if len(numbers) != accepted:
                raise AssertionError(f"ecs-logd has taken {accepted} lines of the writer, {len(numbers)} arrived")
            self.lost_in_docker = set(range(max(numbers))) - set(numbers)
        finally:
            self.docker("unpause " + container)
        return len(self.lost_in_docker)

    def examine_whole(self, timeout=PATIENCE):
        """After the end: until the last lines are there."""
        wait_until(lambda: None not in (self.end("asker"), self.end("writer")), timeout, "the last lines", 0.2)
        return self.examine()


def same(before, after):
    """Whether the same containers run; what is different, if not."""
    if before != after or not before:
        raise BedError(f"not the same containers run: {before}, then {after}")


# There is no curl in the image.
STATUS = """import http.client, socket
c = http.client.HTTPConnection("localhost")
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect("/run/docker/plugins/ecslogs.sock")
c.request("GET", "/status")
print(c.getresponse().read().decode())
"""


def logd_status(machine):
    """What ecs-logd counts, since it was started."""
    return json.loads(machine.run("python3 -", stdin=STATUS.encode()))
