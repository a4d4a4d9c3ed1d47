"""What ecsd asks of Docker for one container: no call more than is needed."""

import re

from ecsbed import tasks


def calls(bed, since):
    """Requests since then, without ids and queries; the minute's list of all containers is left out."""
    return [re.sub(r"/[0-9a-f]{64}|\?.*", "", request) for request in bed.proxy.requests(since=since)
            if not request.startswith("GET /containers/json")]


def test_calls_of_a_task(bed):
    """Of a launch with a cached image, and of a stop. The events that they cause lead to no further call, also
    if they come while the inspect is under way."""
    bed.proxy.wait_request("GET /events")
    task, mark = tasks.task(), bed.proxy.recording.mark()
    held = bed.proxy.rule("GET /containers/[^/]+/json", "hold", "answer")
    bed.cp.send_payload(task)
    held.wait_reached()
    bed.cp.settle()     # the event of the start has come
    held.release()
    bed.cp.wait_task_status(task["arn"], "RUNNING")
    bed.cp.settle()
    assert calls(bed, mark) == ["GET /images/busybox%3Atest/json", "POST /containers/create",
                                 "POST /containers/start", "GET /containers/json"]
    mark = bed.proxy.recording.mark()
    bed.cp.send_payload(tasks.stopped(task))
    bed.cp.wait_task_status(task["arn"], "STOPPED")
    bed.cp.settle()
    assert calls(bed, mark) == ["POST /containers/stop", "GET /containers/json"]
