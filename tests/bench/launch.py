"""Milliseconds that an agent adds to the launch and to the stop of one task, beside what Docker itself takes.

  launch   frame of the payload -> create request, plus start answered -> report RUNNING
  stop     frame of the payload -> stop request, plus stop answered -> report STOPPED

All four as they pass the relay. Docker's answers to other requests in these two spans (inspects) are the agent's
choice, so they count."""

import re
import statistics

from subject import CONTROL_PLANE, DOCKER


def added(stamps, task, status, first, last):
    """first, last: patterns of the Docker requests between which the time is Docker's."""
    identifier = task["arn"].rpartition("/")[2].encode()

    def find(since, link, from_agent, *patterns, connection=None):
        for index in range(since, len(stamps)):
            stamp = stamps[index]
            if (stamp.link, stamp.from_agent) == (link, from_agent) and connection in (None, stamp.connection) \
                    and all(re.search(pattern, stamp.data) for pattern in patterns):
                return index, stamp
        raise LookupError(f"{patterns} did not pass the relay")
    began, frame = find(0, CONTROL_PLANE, False, identifier)
    _, before = find(began, DOCKER, True, first)
    asked, request = find(began, DOCKER, True, last)
    _, answer = find(asked, DOCKER, False, connection=request.connection)
    _, report = find(began, CONTROL_PLANE, True, identifier, b'"%s"' % status)
    # An exit can be seen, and reported, before Docker answers the stop: then nothing was added, not less.
    return (before.ms - frame.ms) + max(report.ms - answer.ms, 0)


def one_round(run):
    run.skip_stamps()
    mark = run.cp.recording.mark()
    task, = batch = run.launch(1)
    run.wait_reported(batch, "RUNNING", mark)
    launch = added(run.stamps(), task, b"RUNNING", rb"POST /[^ ]*containers/create", rb"POST /[^ ]*/start")
    run.stop(batch)
    run.wait_reported(batch, "STOPPED", mark)
    stop = added(run.stamps(), task, b"STOPPED", *[rb"POST /[^ ]*/stop"] * 2)
    return launch, stop


def measure(subjects, rounds):
    """The agents take turns. Returns (launch, stop) in milliseconds for each, medians."""
    runs = [subject.started() for subject in subjects]
    try:
        times = [[one_round(run) for run in runs] for _ in range(rounds)]
    finally:
        for run in runs:
            run.close()
    return [tuple(statistics.median(one[i][part] for one in times) for part in (0, 1)) for i in range(len(runs))]
