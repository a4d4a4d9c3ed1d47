"""`make bench`: one table of what the agent costs, each figure beside its goal and the official agent's.

  ROWS=launch,burst,...   only these: launch burst start memory idle credentials endurance size
  AGENT=/path/to/agent    measures that program, too, in turns with ours; it gets the same ECS_* environment
  ROUNDS= BURST= BURSTS=  launches (200), tasks of a burst (50), bursts (3)
  OUT=file                appends the table to a file

How each row is measured is told on top of its module, what it means in docs/PERFORMANCE.md."""

import os
import sys
import time

import burst
import credentials
import endurance
import idle
import launch
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
LEAST_LEAK_KIB = 32 / 1024    # the smallest block of the heap, once for each task: less than that is no leak


class Table:
    """Rows as they are measured; each has a text for each agent, and whether ours has reached the goal."""

    def __init__(self, subjects):
        self.subjects, self.rows, self.notes = subjects, [], []

    def row(self, measure, goal, texts, reached, reference):
        texts = [*texts, *["–"] * (len(self.subjects) - len(texts))]
        self.rows.append([measure, goal, texts[0], {None: "", True: "yes", False: "NO"}[reached], *texts[1:], reference])
        print(f"  {measure}: {', '.join(texts)}", file=sys.stderr, flush=True)

    def text(self):
        names = [subject.name for subject in self.subjects]
        rows = [["measure", "goal", names[0], "reached", *names[1:], "official agent v1.105.1, measured before"], *self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)])


def bench_launch(table):
    times = launch.measure(table.subjects, ROUNDS)
    for part, what, goal, reference in ((0, "a launch", 15, "about 110 ms"), (1, "a stop", 5, "about 24 ms")):
        table.row(f"added to {what}, median of {ROUNDS}", f"≤ {goal} ms", [f"{each[part]:.1f} ms" for each in times],
                  times[0][part] <= goal, reference)


def bench_burst(table):
    results, note = burst.measure(table.subjects, BURST, BURSTS)
    table.row(f"burst of {BURST} tasks over direct launches", "≤ 1.05 ×", [f"{ratio:.2f} ×" for ratio, _ in results],
              round(results[0][0], 2) <= 1.05, "1.02–1.2 ×")
    table.row("median task's place in the burst", "≤ 0.6", [f"{place:.2f}" for _, place in results],
              round(results[0][1], 2) <= 0.6, "0.7–0.8")
    table.notes.append(note)


def bench_start(table):
    times = start.measure(table.subjects, 10)
    table.row("process start to ACS connected, median of 10", "≤ 60 ms", [f"{each:.0f} ms" for each in times],
              times[0] <= 60, "390–440 ms")


def bench_memory(table):
    results = memory.measure(table.subjects, CONTAINERS)
    table.row("memory connected and idle: private dirty (resident)", "≤ 4 MiB",
              [f"{dirty / 1024:.1f} MiB ({resident / 1024:.0f} MiB)" for (dirty, resident), _ in results],
              results[0][0][0] <= 4096, "10.2 MiB anonymous (44 MiB)")
    table.row(f"each of {CONTAINERS} running containers more: the same", "≤ 24 KiB",
              [f"{dirty:.1f} KiB ({resident:.1f} KiB)" for _, (dirty, resident) in results],
              results[0][1][0] <= 24, "about 140 KiB resident")


def bench_idle(table):
    results = idle.measure(table.subjects, IDLE)
    table.row("idle CPU", "≤ 0.02 s/min", [f"{cpu:.3f} s/min" for cpu, _ in results], results[0][0] <= 0.02, "0.03 s/min")
    table.row("idle wake-ups", "≤ 1 /s", [f"{wakes:.2f} /s" for _, wakes in results], results[0][1] <= 1, "–")


def bench_credentials(table):
    results, responders = credentials.measure(table.subjects, 4, 3)
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


def bench_endurance(table):
    for measure, what in ((endurance.measure_tasks, "tasks"), (endurance.measure_reconnects, "reconnects")):
        before, after = measure(table.subjects[0], ENDURANCE)
        names = ("descriptors", "KiB private dirty", "rows")
        table.row(f"after {ENDURANCE:,} {what}", "none more",
                  [", ".join(f"{b - a:+d} {name}" for name, a, b in zip(names, before, after))],
                  after[0] <= before[0] and after[1] - before[1] < ENDURANCE * LEAST_LEAK_KIB and after[2] <= before[2],
                  "–")
        table.notes.append(f"{what}: " + ", ".join(f"{name} {a} before, {b} after"
                                                   for name, a, b in zip(names, before, after)))


def bench_size(table):
    table.row("size of the stripped programs", "printed", [f"{kib:,} KiB" for kib in size.measure(table.subjects)], None,
              "80 MB")


BENCHES = {"launch": bench_launch, "burst": bench_burst, "start": bench_start, "memory": bench_memory,
           "idle": bench_idle, "credentials": bench_credentials, "endurance": bench_endurance, "size": bench_size}


def main():
    chosen = [name for name in os.environ.get("ROWS", "").replace(",", " ").split()] or list(BENCHES)
    unknown = set(chosen) - set(BENCHES)
    if unknown:
        raise SystemExit(f"no such rows: {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    remove_stale()
    subjects = []
    try:
        subjects.append(Subject("ecsd", os.path.join(agent.BUILD, "ecsd")))
        if os.environ.get("AGENT"):
            subjects.append(Subject("other agent", os.environ["AGENT"]))
        table = Table(subjects)
        begin = time.monotonic()
        for name in chosen:
            BENCHES[name](table)
        load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
        table.notes.append(f"{os.cpu_count()} CPUs, Docker {subjects[0].instance.docker_version()}, "
                           f"{time.monotonic() - begin:.0f} s in all, load average in the end {load}")
        print(table.text())
        if os.environ.get("OUT"):
            with open(os.environ["OUT"], "a") as file:
                file.write(table.text() + "\n")
    finally:
        for subject in subjects:
            subject.close()


if __name__ == "__main__":
    main()
