"""An agent under measurement: its own instance (network namespace, Docker Engine), control plane, and a relay
that writes down when bytes passed between the agent, Docker and the control plane."""

import os
import re
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

from ecsbed import agent, tasks  # noqa: E402
from ecsbed.bed import Bed  # noqa: E402
from ecsbed.instance import BedError, Instance, alive, kill_and_wait, wait_until  # noqa: E402

TOOLS = os.path.join(agent.BUILD, "tests/bench")
RELAYED_PORT, CONTROL_PLANE_PORT = 8443, 8444
DOCKER, CONTROL_PLANE = 0, 1          # the relay's links
STAMP = struct.Struct("=QIIBB6x")
# Sleeps without waking up, and ends at once when told to.
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; sleep 36000 & wait"]


class Stamp:
    """A piece of bytes that passed the relay."""

    def __init__(self, nanoseconds, connection, link, from_agent, data):
        self.ms = nanoseconds / 1e6
        self.connection, self.link, self.from_agent, self.data = connection, link, bool(from_agent), data


class Subject:
    """One program. started() gives a fresh bed with it, connected; close() removes the instance."""

    def __init__(self, name, program):
        self.name, self.program = name, os.path.realpath(program)
        self.directory = os.path.dirname(self.program)
        self.instance = Instance().up()

    def close(self):
        self.instance.down()

    def started(self, start=True, heartbeat=60, **environment):
        return Run(self, start, heartbeat, environment)

    def family(self):
        """Processes of the agent: those whose programs lie in its directory."""
        return [pid for pid in self.instance.processes() if self._is_part(pid)]

    def _is_part(self, pid):
        try:
            return os.path.dirname(os.readlink(f"/proc/{pid}/exe")) == self.directory
        except OSError:
            return False


class Run:
    """A bed with the agent, a fresh data directory and a relay; a context manager."""

    def __init__(self, subject, start, heartbeat, environment):
        self.subject, self.instance = subject, subject.instance
        # ECS's heartbeats are about a minute apart.
        self.bed = Bed(self.instance, None, clock_scale=1, port=CONTROL_PLANE_PORT, heartbeat=heartbeat, **{
            "ECS_BACKEND_HOST": f"http://127.0.0.1:{RELAYED_PORT}", "ECS_LOGLEVEL": "info",
            "ECS_TASK_METADATA_RPS_LIMIT": "10000000,10000000", **environment})
        self.cp = self.bed.cp
        self.cp.acs_endpoint = f"http://127.0.0.1:{RELAYED_PORT}"
        self.bed.agent.program = subject.program
        self.docker_socket = f"{self.bed.directory}/relay.sock"
        self.bed.agent.environment["DOCKER_HOST"] = f"unix://{self.docker_socket}"
        self._stamps = f"{self.bed.directory}/stamps"
        self._position = 0
        self.relay = subprocess.Popen(self.instance.command(
            f"{TOOLS}/relay", self._stamps, f"unix:{self.docker_socket}={self.instance.docker_socket}",
            f"tcp:{RELAYED_PORT}={CONTROL_PLANE_PORT}"))
        wait_until(lambda: os.path.exists(self._stamps) and os.path.exists(self.docker_socket), 5, "relay", 0.005)
        if start:
            try:
                self.bed.start()
            except BaseException:
                self.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        wrong = self.close()
        if wrong:
            print(f"{self.subject.name} broke the protocol: {wrong[0]} ({len(wrong)} in all)", file=sys.stderr)

    def close(self):
        wrong = self.bed.close()
        kill_and_wait([pid for pid in self.subject.family() if alive(pid)])
        self.relay.kill()
        self.relay.wait()
        return wrong

    # --- the relay

    def skip_stamps(self):
        self._position = os.path.getsize(self._stamps)

    def stamps(self):
        """What passed since the last call, in order."""
        with open(self._stamps, "rb") as file:
            file.seek(self._position)
            data = file.read()
        at, found = 0, []
        while at + STAMP.size <= len(data):
            nanoseconds, connection, size, link, from_agent = STAMP.unpack_from(data, at)
            if at + STAMP.size + size > len(data):
                break
            at += STAMP.size
            found.append(Stamp(nanoseconds, connection, link, from_agent, data[at:at + size]))
            at += size
        self._position += at
        return found

    # --- the agent

    def launch(self, count, command=None, per_payload=10, **members):
        """Sends so many tasks of one container, ten in a payload as ECS does; returns them."""
        batch = [tasks.task(tasks.container("m", command or SLEEP), **members) for _ in range(count)]
        for i in range(0, count, per_payload):
            self.cp.send_payload(*batch[i:i + per_payload])
        return batch

    def stop(self, batch, per_payload=10):
        for i in range(0, len(batch), per_payload):
            self.cp.send_payload(*[tasks.stopped(task) for task in batch[i:i + per_payload]])

    def wait_reported(self, batch, status, since, timeout=120):
        """Waits until this status of each task was reported; returns the times in seconds (monotonic)."""
        left = {task["arn"] for task in batch}
        times = []

        def last_one(event):
            if event["kind"] == "http.request" and event["op"] == "SubmitTaskStateChange" \
                    and event["body"]["status"] == status and event["body"]["task"] in left:
                left.discard(event["body"]["task"])
                times.append(event["mono"])
            return not left
        self.cp.recording.wait(last_one, timeout, since, f"{status} of {len(left)} tasks")
        return times

    def memory(self):
        """Private dirty and resident KiB of the agent's processes together."""
        dirty = resident = 0
        for pid in self.subject.family():
            with open(f"/proc/{pid}/smaps_rollup") as file:
                text = file.read()
            dirty += int(re.search(r"Private_Dirty:\s+(\d+)", text)[1])
            resident += int(re.search(r"Rss:\s+(\d+)", text)[1])
        return dirty, resident

    def activity(self):
        """Seconds of CPU and voluntary context switches (each ends with a wake-up) so far, of all threads."""
        seconds = switches = 0
        for pid in self.subject.family():
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                    seconds += int(file.read().split()[0]) / 1e9
                with open(f"/proc/{pid}/task/{thread}/status") as file:
                    switches += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", file.read())[1])
        return seconds, switches

    def descriptors(self):
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.subject.family())


def settle(run, seconds=1.0):
    """Gives the agent time to finish what it does after it was last heard of."""
    def settled():
        try:
            run.cp.settle()
        except (OSError, BedError):
            return False    # between two connections: a session has an end of its own
        return True

    wait_until(settled, 60, "an answer to a heartbeat", 0.1)
    time.sleep(seconds)

