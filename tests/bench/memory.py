"""Memory of all processes of an agent together: connected and idle, and what each running container adds."""

from subject import settle


def measure(subjects, containers):
    """Returns (idle, per container) for each: both (private dirty, resident) in KiB."""
    results = []
    for subject in subjects:
        with subject.started() as run:
            settle(run, 3)
            idle = run.memory()
            mark = run.cp.recording.mark()
            batch = run.launch(containers)
            run.wait_reported(batch, "RUNNING", mark, timeout=300)
            settle(run, 3)
            loaded = run.memory()
        results.append((idle, tuple((after - before) / containers for after, before in zip(loaded, idle))))
    return results
