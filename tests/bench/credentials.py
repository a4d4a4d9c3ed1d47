"""Requests for credentials: wrk with 16 connections on the same two cores, against the agent's endpoint with its rate
limit raised, and against two bare libevent responders with an answer of the same size, in turns."""

import re
import statistics
import subprocess

from subject import TOOLS, tasks
from ecsbed.instance import wait_until

PORTS = {"evhttp": 51701, "event": 51702}
UNITS = {"us": 1e-3, "ms": 1, "s": 1e3}


def wrk(instance, url, seconds):
    """Requests a second and the 99th percentile in milliseconds."""
    text = instance.run("wrk", "-t1", "-c16", f"-d{seconds}s", "--latency", url)
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{url}: {text}")
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]), float(number) * UNITS[unit]


def responders(run, size):
    started = [subprocess.Popen(run.instance.command(f"{TOOLS}/responder", form, str(port), str(size)))
               for form, port in PORTS.items()]

    def answers(port):
        try:
            return run.instance.http("GET", f"http://127.0.0.1:{port}/").status == 200
        except OSError:
            return False
    for port in PORTS.values():
        wait_until(lambda port=port: answers(port), 5, "responder")
    return started


def measure(subjects, seconds, rounds):
    """Returns (requests a second, p99 in ms) for each, the responders' requests a second, and their p99."""
    runs, started = [], []
    try:
        urls = []
        for subject in subjects:
            run = subject.started()
            runs.append(run)
            role = tasks.credentials()
            run.bed.run_task(tasks.task(roleCredentials=role))
            path = "/v2/credentials/" + role["credentialsId"]
            urls.append((run, f"http://127.0.0.1:51679{path}"))
        size = len(runs[0].bed.credentials(path := urls[0][1].partition(":51679")[2]).body)
        started = responders(runs[0], size)
        urls += [(runs[0], f"http://127.0.0.1:{port}{path}") for port in PORTS.values()]
        results = [[wrk(run.instance, url, seconds) for run, url in urls] for _ in range(rounds)]
    finally:
        for process in started:
            process.kill()
            process.wait()
        for run in runs:
            run.close()
    medians = [tuple(statistics.median(each[i][part] for each in results) for part in (0, 1))
               for i in range(len(urls))]
    return medians[:len(subjects)], dict(zip(PORTS, medians[len(subjects):]))
