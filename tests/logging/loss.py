#!/usr/bin/python3
"""`make loss`: what is lost, of numbered lines, by ecs-logd and by Docker's own drivers beside it, whatever goes wrong.

  ROWS=down,killed,...    only these: undisturbed down slow black-hole killed docker-term docker-kill ecsd power
  DRIVERS=syslog,...      only these: awslogs fluentd-ack fluentd syslog
  RATE=                   lines a second of each container (250)
  OUT=file                appends the table to a file
  DOCS=1                  writes these rows into docs/LOGGING.md, of a run of all drivers in which all was well

Five containers for each driver write numbered lines; all drivers share an instance, ecs-logd and Docker's own have one each.
What each row does is in tests/integration/ecsbed/loss.py. Exit code 1: ecs-logd lost, repeated or reordered what it must not."""

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

from ecsbed.instance import remove_stale  # noqa: E402
from ecsbed.loss import Cell, ONLY_OURS, RECEIVERS, SCENARIOS, verdict  # noqa: E402

DOCS = os.path.join(ROOT, "docs", "LOGGING.md")
BEGIN, END = "<!-- made by make loss -->", "<!-- end -->"
WHAT = {
    "undisturbed": "nothing",
    "down": "destination down for 10 s",
    "slow": "destination reads 10 KiB/s for 45 s",
    "black-hole": "packets vanish for 45 s",
    "killed": "ecs-logd SIGKILLed 20 times",
    "docker-term": "dockerd restarted (SIGTERM)",
    "docker-kill": "dockerd restarted (SIGKILL)",
    "ecsd": "ecsd restarted 20 times",
    "power": "power cut, destination down",
}
UNSYNCED_S = 2    # SPOOL_SYNC_MS, and what the sync itself takes on a busy machine
HEAD = ["what happens", "driver", "written", "lost in dockerd", "lost", "twice", "out of order", "held up",
        "Docker's own: written", "lost", "twice", "out of order", "held up"]


def seconds(outcome):
    return f"{outcome.held_up_ms / 1000:.1f} s" if outcome.held_up_ms >= 1000 else "–"


def ours(scenario, outcome):
    lost = str(outcome.missing)
    if scenario == "power" and outcome.missing:
        lost += f" (the last {outcome.unsynced_s:.1f} s)"
    return [outcome.written, outcome.before, lost, outcome.duplicates, outcome.disorder, seconds(outcome)]


def theirs(outcome):
    return [outcome.written, outcome.missing, outcome.duplicates, outcome.disorder, seconds(outcome)]


def run(scenario, drivers, native, rate):
    """{driver: Outcome}, or the text of why there is none."""
    begun = time.monotonic()
    try:
        outcomes = Cell(scenario, drivers, native, rate).run()
    except Exception as error:
        outcomes = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    what = outcomes if isinstance(outcomes, str) else {name: vars(each) for name, each in outcomes.items()}
    print(f"  {scenario}, {'Docker' if native else 'ecs-logd'}, {time.monotonic() - begun:.0f} s: {what}",
          file=sys.stderr, flush=True)
    return outcomes


def table(rows):
    rows = [HEAD, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def measure(scenario, drivers, rate):
    """Rows of one scenario, and what is wrong with them."""
    rows, wrong = [], []
    mine = run(scenario, drivers, False, rate)
    docker = {} if scenario in ONLY_OURS else run(scenario, drivers, True, rate)
    for driver in drivers:
        if isinstance(mine, str):
            wrong.append(f"{scenario}: {mine}")
            row = [mine, *[""] * 5]
        else:
            row = ours(scenario, mine[driver])
            wrong += [f"{scenario}, {driver}: {text}" for text in verdict(scenario, mine[driver])]
            if scenario == "power" and mine[driver].unsynced_s > UNSYNCED_S:
                wrong.append(f"power, {driver}: the power cut took lines of {mine[driver].unsynced_s:.1f} s")
        beside = [docker, *[""] * 4] if isinstance(docker, str) else theirs(docker[driver]) if docker else ["–"] * 5
        rows.append([WHAT[scenario] if driver == drivers[0] else "", RECEIVERS[driver].text, *row, *beside])
    return rows, wrong


def write_docs(rows):
    """Those of scenarios that are not in `rows` stay as they are."""
    with open(DOCS) as file:
        before, _, rest = file.read().partition(BEGIN)
    old, _, after = rest.partition(END)
    found, name = {}, None
    there = [[cell.strip() for cell in line[1:-1].split("|")] for line in old.strip().splitlines()[2:]]
    for row in there + rows:
        name = next((key for key, text in WHAT.items() if text == row[0]), name)
        if row[0]:
            found[name] = []
        found[name].append(row)
    text = table([row for name in WHAT for row in found.get(name, [])])
    with open(DOCS, "w") as file:
        file.write(before + BEGIN + "\n" + text + "\n" + END + after)


def main():
    scenarios = [name for name in os.environ.get("ROWS", "").split(",") if name] or list(SCENARIOS)
    drivers = [name for name in os.environ.get("DRIVERS", "").split(",") if name] or list(RECEIVERS)
    remove_stale()
    rows, wrong = [], []
    for scenario in scenarios:
        more, found = measure(scenario, drivers, int(os.environ.get("RATE") or 250))
        rows += more
        wrong += found
    text = table(rows)
    print(text)
    for each in wrong:
        print("WRONG " + each)
    if os.environ.get("OUT"):
        with open(os.environ["OUT"], "a") as file:
            file.write(text + "\n")
    if os.environ.get("DOCS") and not wrong and len(drivers) == len(RECEIVERS):
        write_docs(rows)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
