"""`make bench`: one table of what the agent costs, each figure beside its goal and the official agent's.

  ROWS=launch,burst,...   only these: launch burst start memory idle credentials endurance size logs
  AGENT=/path/to/agent    measures that program, too, in turns with ours; it gets the same ECS_* environment
  ROUNDS= BURST= BURSTS=  launches (200), tasks of a burst (50), bursts (3)
  LOG_ROUNDS= LOG_LINES=  of logs: rounds of each measurement (3), lines of which the CPU is counted (1,000,000),
  OUTAGE=                 seconds of the outage (60), which ecs-logd takes for ten minutes
  OUT=file                appends the table to a file

How each row is measured is told on top of its module, what it means in docs/PERFORMANCE.md."""

import os
import subprocess
import sys
import time

import burst
import credentials
import endurance
import idle
import launch
import logs
import memory
import size
import start
from subject import Subject, agent
from ecsbed.instance import remove_stale

ROUNDS = int(os.environ.get("ROUNDS", "200"))
BURST = int(os.environ.get("BURST", "50"))
BURSTS = int(os.environ.get("BURSTS", "3"))
CONTAINERS = int(os.environ.get("CONTAINERS", "100"))
IDLE = int(os.environ.get("IDLE", "60"))
ENDURANCE = int(os.environ.get("ENDURANCE", "1000"))
LOG_ROUNDS = int(os.environ.get("LOG_ROUNDS", "3"))
LOG_LINES = int(os.environ.get("LOG_LINES", "1000000"))
LOG_STREAMS = int(os.environ.get("LOG_STREAMS", "500"))
OUTAGE = int(os.environ.get("OUTAGE", "60"))
OUTAGE_RATE = 5000            # lines a second
LEAST_LEAK_KIB = 32 / 1024    # the smallest block of the heap, once for each task: less than that is no leak


class Table:
    """Rows as they are measured; each has a text for each agent, and whether ours has reached the goal."""

    def __init__(self, names, reference):
        self.names, self.reference, self.rows, self.notes = names, reference, [], []

    def row(self, measure, goal, texts, reached, reference):
        texts = [*texts, *["–"] * (len(self.names) - len(texts))]
        self.rows.append([measure, goal, texts[0], {None: "", True: "yes", False: "NO"}[reached], *texts[1:], reference])
        print(f"  {measure}: {', '.join(texts)}", file=sys.stderr, flush=True)

    def text(self):
        rows = [["measure", "goal", self.names[0], "reached", *self.names[1:], self.reference], *self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)])


def bench_launch(table, subjects):
    times = launch.measure(subjects, ROUNDS)
    for part, what, goal, reference in ((0, "a launch", 15, "about 110 ms"), (1, "a stop", 5, "about 24 ms")):
        table.row(f"added to {what}, median of {ROUNDS}", f"≤ {goal} ms", [f"{each[part]:.1f} ms" for each in times],
                  times[0][part] <= goal, reference)


def bench_burst(table, subjects):
    results, note = burst.measure(subjects, BURST, BURSTS)
    table.row(f"burst of {BURST} tasks over direct launches", "≤ 1.05 ×", [f"{ratio:.2f} ×" for ratio, _ in results],
              round(results[0][0], 2) <= 1.05, "1.02–1.2 ×")
    table.row("median task's place in the burst", "≤ 0.6", [f"{place:.2f}" for _, place in results],
              round(results[0][1], 2) <= 0.6, "0.7–0.8")
    table.notes.append(note)


def bench_start(table, subjects):
    times = start.measure(subjects, 10)
    table.row("process start to ACS connected, median of 10", "≤ 60 ms", [f"{each:.0f} ms" for each in times],
              times[0] <= 60, "390–440 ms")


def bench_memory(table, subjects):
    results = memory.measure(subjects, CONTAINERS)
    table.row("memory connected and idle: private dirty (resident)", "≤ 4 MiB",
              [f"{dirty / 1024:.1f} MiB ({resident / 1024:.0f} MiB)" for (dirty, resident), _ in results],
              results[0][0][0] <= 4096, "10.2 MiB anonymous (44 MiB)")
    table.row(f"each of {CONTAINERS} running containers more: the same", "≤ 24 KiB",
              [f"{dirty:.1f} KiB ({resident:.1f} KiB)" for _, (dirty, resident) in results],
              results[0][1][0] <= 24, "about 140 KiB resident")


def bench_idle(table, subjects):
    results = idle.measure(subjects, IDLE)
    table.row("idle CPU", "≤ 0.02 s/min", [f"{cpu:.3f} s/min" for cpu, _ in results], results[0][0] <= 0.02, "0.03 s/min")
    table.row("idle wake-ups", "≤ 1 /s", [f"{wakes:.2f} /s" for _, wakes in results], results[0][1] <= 1, "–")


def bench_credentials(table, subjects):
    results, responders = credentials.measure(subjects, 4, 3)
    texts = [f"{rate:,.0f} /s" for rate, _ in results]
    table.row("credentials, 16 connections", "≥ 20,000 /s", texts, results[0][0] >= 20000, "7,300–9,200 /s")
    for form, what, goal in (("evhttp", "libevent's HTTP server", 0.8), ("event", "a callback that parses nothing", None)):
        ratios = [rate / responders[form][0] for rate, _ in results]
        table.row(f"the same over {what}", f"≥ {goal} ×" if goal else "printed", [f"{ratio:.2f} ×" for ratio in ratios],
                  goal and ratios[0] >= goal, "–")
    table.row("the same, 99th percentile", "< 5 ms", [f"{late:.2f} ms" for _, late in results], results[0][1] < 5,
              "18–30 ms")
    table.notes.append("credentials: " + ", ".join(
        f"{form} {rate:,.0f} /s, p99 {late:.2f} ms" for form, (rate, late) in responders.items()))


def bench_endurance(table, subjects):
    for measure, what in ((endurance.measure_tasks, "tasks"), (endurance.measure_reconnects, "reconnects")):
        before, after = measure(subjects[0], ENDURANCE)
        names = ("descriptors", "KiB private dirty", "rows")
        table.row(f"after {ENDURANCE:,} {what}", "none more",
                  [", ".join(f"{b - a:+d} {name}" for name, a, b in zip(names, before, after))],
                  after[0] <= before[0] and after[1] - before[1] < ENDURANCE * LEAST_LEAK_KIB and after[2] <= before[2],
                  "–")
        table.notes.append(f"{what}: " + ", ".join(f"{name} {a} before, {b} after"
                                                   for name, a, b in zip(names, before, after)))


def bench_size(table, subjects):
    table.row("size of the stripped programs", "printed", [f"{kib:,} KiB" for kib in size.measure(subjects)], None,
              "80 MB")


def bench_logs(table):
    for size, discard, discard_cpu, ours, ours_cpu, ratio in logs.measure_spool(2 * LOG_ROUNDS):
        table.row(f"FIFO to spool, lines of {size:,.0f} bytes", "≥ 0.7 × discarding",
                  [f"{ratio:.2f} × ({ours:,.0f} /s)"], ratio >= 0.7, f"discarding {discard:,.0f} /s")
        table.notes.append(f"CPU of FIFO to spool, {size:,.0f} bytes: {ours_cpu:.2f} s for a million lines, "
                           f"discarding {discard_cpu:.2f} s")
    bench_log_rates(table)
    for driver, (ours, dockers) in logs.measure_cpu(LOG_ROUNDS, LOG_LINES).items():
        table.row(f"{driver}: CPU for a million lines, with dockerd", "≤ Docker's driver", [f"{ours:.1f} s"],
                  ours <= dockers, f"{dockers:.1f} s")
    before, after = logs.measure_memory(LOG_STREAMS)
    table.row(f"private dirty memory, {LOG_STREAMS} idle streams", "≤ 8 MiB + 64 KiB each", [f"{after / 1024:.1f} MiB"],
              after <= 8192 + 64 * LOG_STREAMS, f"without streams {before / 1024:.1f} MiB")
    for driver, (waited, took, arrived, gaps, repeated) in logs.measure_outage(OUTAGE, OUTAGE_RATE).items():
        speed = arrived / took / OUTAGE_RATE
        table.row(f"{driver}: drains after an outage, in order", "≥ 5 × what comes in", [f"{speed:.0f} ×"],
                  speed >= 5 and gaps == 0, "–")
        table.notes.append(f"outage, {driver}: {waited:,} lines waited, {arrived:,} arrived in {took:.1f} s, {gaps} gaps, "
                           f"{repeated:,} repeated")


def bench_log_rates(table):
    rates = logs.measure_rates(LOG_ROUNDS, 5)
    for cache, name in (("", "without Docker's cache"), (" cache", "with Docker's cache")):
        discard, spool, shipped = (rates[way + cache] for way in ("discard", "spool", "logd"))
        table.row(f"through dockerd to the spool, {name}", "≥ 0.95 × discarding",
                  [f"{spool / discard:.2f} × ({spool:,.0f} /s)"], round(spool / discard, 2) >= 0.95,
                  f"discarding {discard:,.0f} /s")
        table.row("the same, and shipped by syslog over TCP", "printed",
                  [f"{shipped / discard:.2f} × ({shipped:,.0f} /s)"], None, "–")
    ratio = rates["spool"] / rates["json-file"]
    table.row("through dockerd over following the json-file log", "≥ 2 ×", [f"{ratio:.1f} ×"], ratio >= 2,
              f"following {rates['json-file']:,.0f} /s")


BENCHES = {"launch": bench_launch, "burst": bench_burst, "start": bench_start, "memory": bench_memory,
           "idle": bench_idle, "credentials": bench_credentials, "endurance": bench_endurance, "size": bench_size}


def docker_version():
    return subprocess.check_output(["dockerd", "--version"], text=True).split()[2].rstrip(",")


def measure_agents(chosen):
    """The table of ecsd, and of another agent beside it."""
    subjects = []
    try:
        subjects.append(Subject("ecsd", os.path.join(agent.BUILD, "ecsd")))
        if os.environ.get("AGENT"):
            subjects.append(Subject("other agent", os.environ["AGENT"]))
        table = Table([subject.name for subject in subjects], "official agent v1.105.1, measured before")
        for name in chosen:
            BENCHES[name](table, subjects)
        return table
    finally:
        for subject in subjects:
            subject.close()


def measure_logs():
    table = Table(["ecs-logd"], "beside it, in the same run")
    bench_logs(table)
    return table


def main():
    chosen = [name for name in os.environ.get("ROWS", "").replace(",", " ").split()] or [*BENCHES, "logs"]
    unknown = set(chosen) - set(BENCHES) - {"logs"}
    if unknown:
        raise SystemExit(f"no such rows: {', '.join(unknown)}; there are {', '.join(BENCHES)}, logs")
    remove_stale()
    begin, tables = time.monotonic(), []
    of_agents = [name for name in chosen if name in BENCHES]
    if of_agents:
        tables.append(measure_agents(of_agents))
    if "logs" in chosen:
        tables.append(measure_logs())
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    tables[-1].notes.append(f"{os.cpu_count()} CPUs, Docker {docker_version()}, {time.monotonic() - begin:.0f} s in all, "
                            f"load average in the end {load}")
    text = "\n\n".join(table.text() for table in tables)
    print(text)
    if os.environ.get("OUT"):
        with open(os.environ["OUT"], "a") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
