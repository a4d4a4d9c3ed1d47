"""Milliseconds from the start of the process to the open ACS connection, with a fresh data directory. Entering the
instance's namespaces is included; the control plane was called before, so that it has loaded what it needs."""

import statistics
import time

from subject import CONTROL_PLANE


def one_start(subject):
    with subject.started(start=False) as run:
        begin = time.monotonic_ns() / 1e6
        run.bed.start()
        opened = [stamp for stamp in run.stamps()
                  if stamp.link == CONTROL_PLANE and stamp.data.startswith(b"HTTP/1.1 101")]
        return opened[0].ms - begin


def measure(subjects, rounds):
    for subject in subjects:
        one_start(subject)
    times = [[one_start(subject) for subject in subjects] for _ in range(rounds)]
    return [statistics.median(each[i] for each in times) for i in range(len(subjects))]
