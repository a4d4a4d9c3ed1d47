"""`make bench`: what ecsd adds to the launch and the stop of a task, beside what Docker itself takes.

Times are taken where they cannot be flattered: at the control plane's socket and at a proxy in front of
Docker's. Every figure of a row comes from one run; the ratios are what counts, the machine decides the rest.

  added to a launch   payload frame sent -> create request seen, plus start answered -> report received
  added to a stop     payload frame sent -> stop request seen, plus stop answered -> report received
  burst               one-container tasks sent at once: until all are running, over as many direct launches
"""

import concurrent.futures
import http.client
import json
import os
import socket
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

from ecsbed import tasks  # noqa: E402
from ecsbed.bed import Bed  # noqa: E402
from ecsbed.instance import Instance, remove_stale  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "50"))
BURST = int(os.environ.get("BURST", "20"))
CONCURRENCY = (2, 4, 8)


class DockerConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("docker")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def docker(connection, method, path, body=None):
    data = json.dumps(body) if body is not None else None
    connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 400:
        raise SystemExit(f"{method} {path}: {answer.status} {text.decode()}")
    return json.loads(text) if text else None


def direct_launch(path, command):
    """Create, start and inspect, as the shortest client would."""
    connection = DockerConnection(path)
    body = {"Image": tasks.container("x")["image"], "Cmd": command, "HostConfig": {"Memory": 64 << 20, "CpuShares": 10}}
    identifier = docker(connection, "POST", "/v1.41/containers/create", body)["Id"]
    docker(connection, "POST", f"/v1.41/containers/{identifier}/start")
    docker(connection, "GET", f"/v1.41/containers/{identifier}/json")
    return identifier


def direct_burst(instance, concurrency):
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
        identifiers = list(pool.map(lambda _: direct_launch(instance.docker_socket, tasks.UNTIL_STOPPED), range(BURST)))
    took = time.monotonic() - begin
    instance.docker("rm", "-f", *identifiers)
    return took


def answer_time(bed, request):
    return bed.proxy.recording.wait(
        lambda event: event["kind"] == "docker.answer" and event["request"] == request["seq"])["mono"]


def report_time(bed, arn, status, since):
    return bed.cp.recording.wait(
        lambda event: event["kind"] == "http.request" and event["op"] == "SubmitTaskStateChange"
        and event["body"]["task"] == arn and event["body"]["status"] == status, since=since)["mono"]


def one_round(bed):
    """Milliseconds that ecsd added to the launch and to the stop of one task."""
    task = tasks.task(tasks.container("m"))
    mark, docker_mark = bed.cp.recording.mark(), bed.proxy.recording.mark()
    sent = time.monotonic()
    bed.cp.send_payload(task)
    reported = report_time(bed, task["arn"], "RUNNING", mark)
    create = bed.proxy.wait_request(r"POST /containers/create", since=docker_mark)
    start = bed.proxy.wait_request(r"POST /containers/[^/]+/start", since=docker_mark)
    launch = (create["mono"] - sent) + (reported - answer_time(bed, start))
    mark, docker_mark = bed.cp.recording.mark(), bed.proxy.recording.mark()
    sent = time.monotonic()
    bed.cp.send_payload(tasks.stopped(task))
    reported = report_time(bed, task["arn"], "STOPPED", mark)
    stop = bed.proxy.wait_request(r"POST /containers/[^/]+/stop", since=docker_mark)
    return launch * 1000, ((stop["mono"] - sent) + (reported - answer_time(bed, stop))) * 1000


def burst(bed):
    """Seconds until all are running, and the median task's place in that time."""
    batch = [tasks.task(tasks.container("m")) for _ in range(BURST)]
    mark = bed.cp.recording.mark()
    begin = time.monotonic()
    bed.cp.send_payload(*batch)
    times = sorted(report_time(bed, task["arn"], "RUNNING", mark) - begin for task in batch)
    bed.cp.send_payload(*[tasks.stopped(task) for task in batch])
    for task in batch:
        bed.cp.wait_task_status(task["arn"], "STOPPED", since=mark)
    return times[-1], statistics.median(times) / times[-1]


def memory(pid):
    """Private dirty and resident KiB of a process."""
    fields = dict(line.split(":") for line in open(f"/proc/{pid}/smaps_rollup").read().splitlines()[1:])
    return int(fields["Private_Dirty"].split()[0]), int(fields["Rss"].split()[0])


def main():
    remove_stale()
    instance = Instance().up()
    try:
        bed = Bed(instance, None, clock_scale=1)
        try:
            bed.start()    # the control plane loads its models on the first call
            bed.agent.terminate()
            begin = time.monotonic()
            bed.start()
            connected = (time.monotonic() - begin) * 1000
            dirty, resident = map(sum, zip(memory(bed.agent.process.pid), memory(bed.agent.endpoint_pid())))
            rounds = [one_round(bed) for _ in range(ROUNDS)]
            took, place = burst(bed)
        finally:
            bed.close()
        direct = {n: direct_burst(instance, n) for n in CONCURRENCY}
        best = min(direct, key=direct.get)
    finally:
        instance.down()
    launches, stops = zip(*rounds)
    print(f"added to a launch, median of {ROUNDS}:    {statistics.median(launches):7.1f} ms")
    print(f"added to a stop, median of {ROUNDS}:      {statistics.median(stops):7.1f} ms")
    print(f"burst of {BURST} over direct launches:    {took / direct[best]:7.2f} x  "
          f"({took:.2f} s; direct {direct[best]:.2f} s, {best} at a time)")
    print(f"median task's place in the burst:   {place:7.2f}")
    print(f"process start to ACS connected:     {connected:7.0f} ms  (namespace entry included)")
    print(f"memory, ecsd and ecs-endpoint:      {dirty:7d} KiB private dirty, {resident} KiB resident")
    for name in ("ecsd", "ecs-endpoint"):
        path = os.path.join(os.environ.get("ECSD_BUILD", "build"), name)
        print(f"size of {name + ':':<27} {os.path.getsize(path) // 1024:7d} KiB, not stripped")


if __name__ == "__main__":
    main()
