"""CPU and wake-ups of an agent that is connected and has nothing to do, with the control plane's heartbeats once a
minute (counted: they are part of being connected)."""

import time

from subject import settle


def measure(subjects, seconds):
    """Returns (CPU seconds a minute, wake-ups a second) for each."""
    results = []
    for subject in subjects:
        with subject.started() as run:
            settle(run, 5)
            before, begin = run.activity(), time.monotonic()
            time.sleep(seconds)
            after, took = run.activity(), time.monotonic() - begin
        results.append(((after[0] - before[0]) / took * 60, (after[1] - before[1]) / took))
    return results
