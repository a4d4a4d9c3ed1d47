"""How ACS sessions and handshakes end, and when the agent connects again.

What is asserted is what the agent decided, in its own clock, as its log says it ("in_ms"), and that it did it:
never how fast this machine is."""

import re
import time

import pytest

import transcript
from ecsbed import tasks

FIRST_MS, FACTOR, JITTER = 250, 1.5, 1.2     # control-plane.md §10.4
SESSION_S = 60      # a session that lived so long may be followed by the next at once
CLOSES = ["1000", "1001", "1002", "1008", "1011", "1013", "4000", "abort"]


def upgrades(bed, since=0):
    return bed.cp.recording.select(lambda e: e["kind"] == "ws.upgrade" and e["op"] == "acs", since)


def decisions(bed):
    """After each end, in order: milliseconds to the next attempt."""
    with open(bed.agent.log_file) as file:
        found = re.findall(r"ACS session ended, reconnecting|not connected to ACS, trying again.* in_ms=(\d+)|"
                           r"trying again in an (hour)", file.read())
    return [3600000 if hour else int(ms or 0) for ms, hour in found]


def is_step(pause, step):
    """Whether a pause in milliseconds is that of the so-many-th failure in a row."""
    least = FIRST_MS * FACTOR ** step
    return int(least) <= pause <= least * JITTER + 1


def end(bed, how, reason="test"):
    """Ends the session; returns once there is the next one."""
    mark, socket = bed.cp.recording.mark(), bed.cp.acs.socket
    if how in ("abort", "eof"):
        socket.eof()        # what the recording calls abort was a FIN without a close frame
    elif how == "reset":
        socket.abort()
    else:
        socket.close(how, reason)
    opened = bed.cp.wait_acs(since=mark)
    bed.cp.settle()
    return opened


def test_as_recorded(make_bed):
    """The recorded ends in their order, after sessions of a minute where the reference is at once back again."""
    scale = 20
    bed = make_bed(clock_scale=scale, heartbeat=0.5).start()
    recordings = sorted((transcript.load("close-acs-" + name) for name in CLOSES), key=lambda r: r[0]["mono"])
    step = backoffs = 0
    for recorded in recordings:
        times = {event["kind"]: event["mono"] for event in recorded}
        pause = (times["ws.upgrade"] - times["ws.closed"]) * 1000
        close = next((e for e in recorded if e["kind"] == "ws.frame"), None)
        at_once = pause < 100
        if at_once:
            time.sleep(1.1 * SESSION_S / scale)
            step = 0
        opened = end(bed, close["code"] if close else "abort", close["text"] if close else "")
        assert opened["query"]["sendCredentials"] == recorded[-1]["query"]["sendCredentials"]
        closed = bed.cp.recording.select(lambda e: e["kind"] == "ws.closed" and e["op"] == "acs")[-1]
        assert closed["code"] == (close["code"] if close else 1006)     # a close frame is echoed
        if at_once:
            assert decisions(bed)[-1] == 0
        else:
            assert is_step(decisions(bed)[-1], step), decisions(bed)
            assert is_step(pause, step) or is_step(pause - 20, step)    # the recording's has the dialling in it
            step += 1
            backoffs += 1
    assert backoffs == 4 and len(decisions(bed)) == len(CLOSES)
    assert bed.cp.operations().count("DiscoverPollEndpoint") == 1   # its answer is kept


def test_a_short_session_is_not_followed_at_once(bed):
    """Ours: also after the codes that invite to come back at once, so that there is no tight loop."""
    for step, how in enumerate([1000, 1001, 1011, "eof"]):
        end(bed, how)
        assert is_step(decisions(bed)[-1], step), decisions(bed)


def test_other_ends_back_off(bed):
    """An empty close frame (1005), a reset, and whatever code: pauses that grow by half."""
    for step, how in enumerate([None, "reset", 1002, 1003, 1008, 1012, 1013, 4000]):
        end(bed, how, "")
        assert is_step(decisions(bed)[-1], step), decisions(bed)


REFUSALS = [
    (500, "", "HTTP 500: "), (500, "no", "HTTP 500: no"), (403, "<html>", "HTTP 403: <html>"),
    (400, '{"AccessDeniedException":"not you"}', "AccessDeniedException: not you"),
    (400, '{"type":"InvalidClusterException","message":{"message":"which?"}}', "InvalidClusterException: which?"),
    (400, '{"InvalidInstanceException":"who?"}', "InvalidInstanceException: who?"),
    (500, '{"ServerException":"oops"}', "ServerException: oops"),
    (200, "hello", "HTTP 200: hello")]


def test_refused_handshakes_back_off(make_bed):
    """The refusal's own words are in the log; credentials are asked for until a session was there."""
    bed = make_bed()
    for status, body, _ in REFUSALS:
        bed.cp.refuse_upgrade("acs", status, body)
    bed.start()
    pauses = decisions(bed)
    assert len(pauses) == len(REFUSALS)
    assert all(is_step(pause, step) for step, pause in enumerate(pauses)), pauses
    log = bed.agent.log().replace('\\"', '"')
    position = 0
    for _, _, words in REFUSALS:
        position = log.index(words, position) + 1
    assert all("sendCredentials=true" in event["path"] for event in upgrades(bed))
    assert bed.agent.running


def test_inactive_instance(make_bed):
    """As recorded: no other attempt, here for longer than the recording lasts. The wait does not hinder the end."""
    recorded = transcript.load("acs-inactive-instance")
    refusal = recorded[-1]
    bed = make_bed()
    bed.cp.refuse_upgrade("acs", refusal["status"], '{"InactiveInstanceException":"Container instance is not active."}')
    bed.agent.start()
    bed.agent.wait_log("trying again in an hour.*InactiveInstanceException: Container instance is not active")
    bed.cp.recording.never(lambda e: e["kind"] == "ws.upgrade" and e["op"] == "acs", 3, bed.cp.recording.mark())
    assert decisions(bed) == [3600000] and len(upgrades(bed)) == 1
    assert transcript.operations(bed.cp.recording.select()) == transcript.operations(recorded)
    assert bed.agent.terminate() == 0


def test_exceptions_on_an_open_session_end_nothing(bed):
    for name in ("InactiveInstanceException", "AccessDeniedException", "InvalidClusterException"):
        bed.cp.send(name, {"message": "so they say"})
        bed.cp.send_text('{"%s":"so they say"}' % name)
    bed.cp.send("ErrorMessage", {"message": "an error"})
    bed.cp.send("CloseMessage", {"message": "soon"})
    bed.cp.settle()
    assert len(upgrades(bed)) == 1 and decisions(bed) == []


def test_reports_go_as_soon_as_ecs_can_be_reached_again(make_bed):
    """Ours: after an outage a report may wait for minutes; a new session ends that."""
    bed = make_bed(clock_scale=20).start()
    lost = bed.cp.fault("SubmitTaskStateChange", "drop", times=1000)
    task = tasks.task()
    bed.cp.wait_ack(bed.cp.send_payload(task))
    bed.agent.wait_log("state change not accepted, trying again.* attempt=11 ", 40)
    lost.release()
    end(bed, 1008)
    bed.agent.wait_log("ECS can be reached again, state changes are sent now")
    bed.agent.wait_log("state change accepted.* attempt=12")
