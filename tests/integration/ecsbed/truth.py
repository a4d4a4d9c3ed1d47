"""What the control plane was told, held against what the simulated Docker really did."""


def reports(cp, since=0):
    """(time, task, container, change) of each container, and (time, task, None, body) of each task, as reported."""
    for event in cp.recording.select(
            lambda e: e["kind"] == "http.request" and e["op"] == "SubmitTaskStateChange", since):
        body = event["body"]
        for change in body.get("containers", []):
            yield event["mono"], body["task"], change["containerName"], change
        yield event["mono"], body["task"], None, body


def _at(history, time):
    return [entry for entry in history if entry.mono <= time]


def _container_problem(told, history, time):
    """What is wrong with one change of a container, given all that happened to it."""
    before = _at(history, time)
    ran = [entry for entry in before if entry.what in ("start", "exit")]
    if told["status"] == "RUNNING" and not any(entry.what == "start" for entry in before):
        return "RUNNING, and it was never started"
    if told["status"] != "STOPPED":
        return None
    if ran and ran[-1].what == "start" and not any(entry.what == "exit" for entry in before):
        return "STOPPED while it runs"
    if not ran and any(entry.what == "start" for entry in history):
        return "STOPPED, and it was started later"
    exits = [entry.code for entry in ran if entry.what == "exit"]
    if "exitCode" in told and exits and told["exitCode"] not in exits:
        return f"exit code {told['exitCode']}, and it was {exits}"
    return None


def contradictions(sim, cp, since=0):
    """Everything that was reported and is not true, as texts. A container is known by its task and name."""
    found, stopped = [], set()
    for time, task, container, told in reports(cp, since):
        if container is None:
            if task in stopped:
                found.append(f"{task}: {told['status']} after STOPPED")
            if told["status"] == "STOPPED":
                stopped.add(task)
                running = {e.container for e in _at(sim.happened(task=task), time) if e.what == "start"} - \
                    {e.container for e in _at(sim.happened(task=task), time) if e.what == "exit"}
                if running:
                    found.append(f"{task}: STOPPED while {sorted(running)} runs")
            continue
        problem = _container_problem(told, sim.happened(task=task, container=container), time)
        if problem:
            found.append(f"{task} {container}: {problem}")
    for task in {entry.task for entry in sim.journal if entry.task}:
        starts = [entry.container for entry in sim.happened("start", task)]
        if len(starts) != len(set(starts)):
            found.append(f"{task}: started more than once: {starts}")
    return found
