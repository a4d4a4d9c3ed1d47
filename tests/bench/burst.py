"""A burst of one-container tasks: seconds until all are reported RUNNING, over as many direct launches through the
same relay at the concurrency that suits Docker best on this machine.

A round is one burst of each agent and one of direct launches at each concurrency. The best concurrency is the one
with the smallest median; the ratio is the median over the rounds, each with the direct launches of its own round."""

import statistics
import time

import direct

CONCURRENCY = (2, 4, 8)


def of_agent(run, count):
    """Seconds until all are running, and the median task's place in that time."""
    mark = run.cp.recording.mark()
    begin = time.monotonic()
    batch = run.launch(count)
    times = sorted(when - begin for when in run.wait_reported(batch, "RUNNING", mark))
    run.stop(batch)
    run.wait_reported(batch, "STOPPED", mark)
    run.instance.remove_containers()
    return times[-1], statistics.median(times) / times[-1]


def of_docker(run, count, concurrency):
    took, identifiers = direct.burst(run.docker_socket, count, concurrency)
    run.instance.docker("rm", "--force", *identifiers)
    return took


def measure(subjects, count, rounds):
    """Returns (ratio, place) for each agent, and a line that tells the seconds."""
    runs = [subject.started() for subject in subjects]
    agents, plain = [[] for _ in runs], {n: [] for n in CONCURRENCY}
    try:
        for number in range(rounds):
            order = list(CONCURRENCY)[number % len(CONCURRENCY):] + list(CONCURRENCY)[:number % len(CONCURRENCY)]
            for concurrency in order:
                plain[concurrency].append(of_docker(runs[0], count, concurrency))
            for run, results in zip(runs, agents):
                results.append(of_agent(run, count))
    finally:
        for run in runs:
            run.close()
    best = min(CONCURRENCY, key=lambda n: statistics.median(plain[n]))
    results = [(statistics.median(took / base for (took, _), base in zip(each, plain[best])),
                statistics.median(place for _, place in each)) for each in agents]
    told = ", ".join(f"{n} at a time {statistics.median(plain[n]):.2f} s" for n in CONCURRENCY)
    return results, (f"burst: {count} tasks, {rounds} rounds; medians: " + ", ".join(
        f"{subject.name} {statistics.median(took for took, _ in each):.2f} s" for subject, each in zip(subjects, agents))
        + f"; direct: {told}; ratios of the rounds: " + ", ".join(
            f"{took / base:.2f}" for (took, _), base in zip(agents[0], plain[best])))
