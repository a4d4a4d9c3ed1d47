"""awslogs, from the FIFO to CloudWatch Logs of the bed: what becomes of lines of all kinds, and what is done about the
service's answers. FIFOs are written as dockerd writes them, without a Docker. Rows are those of the test matrix of logs."""

import random
import time

import pytest

from ecsbed.cloudwatch import ACCESS_KEY, DAY, SECRET_KEY, CloudWatch
from ecsbed.instance import wait_until
from ecsbed.logd import Logd
from ecsbed.logfifo import PIECE, LogFifo, Refused, record, records_of_line
from ecsbed.tasks import REGION

DOCKER = False
SCALE = 30
GROUP = "group"
MAX_EVENT = 262_118     # effective bytes (logging.md §4.6)
HOUR = 3_600_000


@pytest.fixture
def make_service(instance):
    made = []

    def make(**options):
        made.append(CloudWatch(listener=instance.listen("127.0.0.1", 0), **options))
        return made[-1]
    yield make
    for service in made:
        service.stop()
        assert service.server.errors == []
        assert service.violations == []


@pytest.fixture
def service(make_service):
    return make_service()


@pytest.fixture
def logd(instance, make_service, request):
    """Its timers run SCALE times as fast; services outlive it."""
    logd = Logd(instance, instance.new_directory(), AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY,
                AWS_REGION=REGION, ECSD_CLOCK_SCALE=SCALE).start()
    yield logd
    if getattr(request.node, "failed_in_call", False):
        print("--- end of ecs-logd's log ---\n" + logd.log_tail(80))
    refused = logd.refused()
    logd.close()
    assert not refused


@pytest.fixture
def fifo(logd, service):
    """Starts logs; their stream is "s"."""
    made = []

    def start(**options):
        made.append(LogFifo(logd, "awslogs", **{
            "awslogs_group": GROUP, "awslogs_endpoint": service.endpoint, "awslogs_stream": "s", **options}))
        return made[-1].start()
    yield start
    for log in made:
        log.drop()
        log.remove()


def wait_messages(service, count, stream="s", timeout=30):
    service.wait_events(GROUP, stream, count, timeout)
    return service.messages(GROUP, stream)


def arrived(logd, service, log, stream="s"):
    """Ends the log; all messages of its stream."""
    log.stop()
    logd.all_shipped()
    return service.messages(GROUP, stream)


# --- what becomes of a line

def text_of(data):
    """As it is stored: each byte that is no part of a valid character is U+FFFD."""
    return data.decode(errors="replaced")


def expected(line):
    """The messages of a line, by §4.6: the longest parts within the limit, cut between characters."""
    text, parts, start, size = text_of(line), [], 0, 0
    for at, character in enumerate(text):
        length = len(character.encode())
        if size + length > MAX_EVENT:
            parts.append(text[start:at])
            start, size = at, 0
        size += length
    return [*parts, text[start:]] if text else []


def short(messages):
    return [(len(message), message[:20], message[-20:]) for message in messages]


LENGTHS = [0, 1, 16_383, 16_384, 16_385, 32_768, 262_117, 262_118, 262_119, 1 << 20, 10 << 20]


@pytest.mark.row(12)
def test_line_lengths(logd, service, fifo):
    log = fifo()
    begin = time.time_ns()
    lines = [bytes([ord("a") + index]) * length for index, length in enumerate(LENGTHS)]
    for index, line in enumerate(lines):
        log.line(line, time_ns=begin + index * 1_000_000)
    messages = arrived(logd, service, log)
    assert short(messages) == short([part for line in lines for part in expected(line)])
    # All parts of a line have its time.
    times = {event.message[0]: event.timestamp for event in reversed(service.events(GROUP, "s"))}
    last = {event.message[0]: event.timestamp for event in service.events(GROUP, "s")}
    assert times == last == {chr(ord("a") + index): begin // 1_000_000 + index for index in range(1, len(LENGTHS))}


BYTES = {
    "all": bytes(range(256)).replace(b"\n", b""),
    "lone continuation": b"a\x80b\xbf",
    "overlong": b"\xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf",
    "surrogates": b"\xed\xa0\x80 \xed\xbf\xbf",
    "too large": b"\xf4\x90\x80\x80 \xf5\x80\x80\x80 \xf8\x88\x80\x80\x80",
    "cut short": b"\xe2\x82 \xf0\x9f\x98 \xc3",
    "control": b"\0\x01\x1b[31mred\x1b[0m\x7f\r",
    "json": b"\"\\/\b\f\t</script>\xe2\x80\xa8\xe2\x80\xa9",
    "high": "\u00e4\u20ac\U0001f600\U0010ffff\ufffe".encode(),
}


@pytest.mark.row(14, 15)
def test_bytes(logd, service, fifo):
    """No trimming, no damage but U+FFFD, which stands for each invalid byte."""
    log = fifo()
    for number, data in enumerate(BYTES.values()):
        log.line(data, time_ns=time.time_ns() + number * 1_000_000)
    assert arrived(logd, service, log) == [text_of(data) for data in BYTES.values()]


@pytest.mark.row(15)
@pytest.mark.parametrize("character", ["\u00e4".encode(), "\u20ac".encode(), "\U0001f600".encode(), b"\xff", b"\xe2\x82"],
                         ids=["two", "three", "four", "invalid", "short"])
def test_characters_at_cuts(logd, service, fifo, character):
    """At Docker's cut, which is none any more, and at the limit of an event, which is between characters."""
    log = fifo()
    lines = [b"x" * (PIECE - before) + character * 3 + b"y" for before in range(1, len(character) + 1)]
    lines += [b"x" * (MAX_EVENT - before) + character * 3 + b"y" for before in range(0, len(character) * 3 + 1)]
    lines.append(character * (300_000 // len(character)))
    for number, line in enumerate(lines):
        log.line(line, time_ns=time.time_ns() + number * 1_000_000)
    messages = arrived(logd, service, log)
    wanted = [part for line in lines for part in expected(line)]
    assert short(messages) == short(wanted)
    assert messages == wanted


@pytest.mark.row(13)
@pytest.mark.parametrize("length", [1, 5, 16_383, 16_384, 16_385, 300_000])
@pytest.mark.parametrize("end", ["stop", "killed"])
def test_unterminated_last_line(logd, service, fifo, length, end):
    """It arrives, whether the engine stops the log or is killed."""
    log = fifo()
    log.line("whole")
    log.line(b"z" * length, ended=False)
    if end == "stop":
        messages = arrived(logd, service, log)
    else:
        wait_until(lambda: log.figures["Lines"] >= 2, 10, "records")
        log.drop()
        messages = wait_messages(service, 1 + len(expected(b"z" * length)))
    assert short(messages) == short(["whole", *expected(b"z" * length)])


@pytest.mark.row(16)
def test_interleaved_pieces(logd, service, fifo):
    """Lines of stdout and stderr in pieces between each other; each is put together by itself."""
    log, random_ = fifo(), random.Random(7)
    queues = {source: [] for source in ("stdout", "stderr")}
    wanted = {"stdout": [], "stderr": []}
    for source, queue in queues.items():
        for number in range(40):
            line = f"{source} {number} ".encode() + b"." * random_.choice([0, 10, 20_000, 40_000, PIECE - 9])
            queue += records_of_line(line, source)
            wanted[source].append(line.decode())
    while any(queues.values()):
        queue = random_.choice([queue for queue in queues.values() if queue])
        log.write(queue.pop(0))
    messages = arrived(logd, service, log)
    for source, lines in wanted.items():
        # Times of stdout and stderr are mixed, and so is their order; within each it is that of writing.
        assert sorted(message for message in messages if message.startswith(source)) == sorted(lines)
    assert len(messages) == 80


@pytest.mark.row(13)
def test_an_end_is_not_waited_for(logd, service, fifo):
    """What is left when a log ends goes out at once, as with Docker's own driver, whatever the interval."""
    log = fifo(awslogs_force_flush_interval_seconds=1_000_000)
    log.line("last")
    log.stop()
    assert wait_messages(service, 1) == ["last"]


@pytest.mark.row(12)
def test_missing_pieces(logd, service, fifo):
    """What Docker dropped in front of us: what is there arrives, and pieces of two lines are never joined."""
    log = fifo()
    first, second, third = (records_of_line(letter * 40_000) for letter in "abc")
    log.write(first[0] + first[2])     # the middle is gone
    log.write(second[0])               # the rest is gone
    log.write(third[1] + third[2])     # the beginning is gone
    log.line("whole")
    messages = arrived(logd, service, log)
    notices = [message for message in messages if message.startswith("ecs-logd: ")]
    assert notices and all("Docker dropped them before they were logged" in notice for notice in notices)
    lines = [message for message in messages if message not in notices]
    assert "".join(lines) == "a" * (40_000 - PIECE) + "b" * PIECE + "c" * (40_000 - PIECE) + "whole"
    assert all(len(set(line)) == 1 for line in lines[:-1]) and lines[-1] == "whole"


# --- several lines that are one event (§4.7)

# What begins an event, and what is almost the same and does not.
STRFTIME = [("%a", "Tue", "Xue"), ("%A", "Wednesday", "Wedn"), ("%w", "6", "7"), ("%d", "31", "00"), ("%b", "Sep", "sep"),
            ("%B", "February", "Feb"), ("%m", "12", "13"), ("%Y", "2026", "202"), ("%y", "26", "a6"), ("%H", "23", "24"),
            ("%I", "12", "13"), ("%p", "PM", "pM"), ("%M", "59", "60"), ("%S", "00", "6"), ("%f", "123456", "12345"),
            ("%z", "+0100", "0100"), ("%Z", "CEST", "CES"), ("%j", "366", "367"), ("%S%L", "59.123", "59,123"),
            ("%Q%m", "07", "7"), ("%%%d", "%01", "%x1")]


@pytest.mark.row(17)
def test_every_strftime_element(logd, service, fifo):
    logs = []
    for index, (element, begins, not_) in enumerate(STRFTIME):
        log = fifo(awslogs_stream=f"s{index}", awslogs_datetime_format=f"<{element}>" if "%%" not in element else element)
        marks = [f"<{text}>" if "%%" not in element else text for text in (begins, not_)]
        for line in (f"{marks[0]} one", f"{marks[1]} two", f"{marks[0]} three"):
            log.line(line)
        logs.append((log, index, marks))
    found, wanted = {}, {}
    for log, index, marks in logs:
        found[index] = arrived(logd, service, log, f"s{index}")
        wanted[index] = [f"{marks[0]} one\n{marks[1]} two\n", f"{marks[0]} three\n"]
    assert found == wanted


@pytest.mark.row(17)
@pytest.mark.parametrize("pattern, wanted", [
    ("^never", ["a\n" * 100]),
    ("", ["a"] * 100),
    (".", ["a\n"] * 100),
], ids=["never", "empty", "always"])
def test_patterns(logd, service, fifo, pattern, wanted):
    log = fifo(awslogs_multiline_pattern=pattern, awslogs_force_flush_interval_seconds=1000)
    for _ in range(100):
        log.line("a")
    assert arrived(logd, service, log) == wanted


@pytest.mark.row(17)
def test_an_event_that_is_too_long(logd, service, fifo):
    """It ends before the line that does not fit."""
    log = fifo(awslogs_multiline_pattern="^begin", awslogs_force_flush_interval_seconds=1000)
    lines = ["begin"] + ["x" * 1000] * 600 + ["y" * 300_000, "z"]
    for line in lines:
        log.line(line)
    messages = arrived(logd, service, log)
    assert "".join(messages).replace("\n", "") == "".join(lines)
    assert all(len(message) <= MAX_EVENT for message in messages)
    fit = (MAX_EVENT - len("begin\n")) // 1001
    assert short(messages[:1]) == short(["begin\n" + ("x" * 1000 + "\n") * fit])


@pytest.mark.row(17)
def test_an_event_ends_with_time(logd, service, fifo):
    """After one to two intervals without a line; what follows has its own time, not the old event's."""
    log = fifo(awslogs_multiline_pattern="^begin", awslogs_force_flush_interval_seconds=30)
    log.line("begin 1", time_ns=1_000_000 * (begin := int(time.time() * 1000)))
    log.line("more")
    assert wait_messages(service, 1) == ["begin 1\nmore\n"]
    log.line("late", time_ns=1_000_000 * (begin + 5000))
    assert wait_messages(service, 2)[1:] == ["late\n"]
    assert [event.timestamp for event in service.events(GROUP, "s")] == [begin, begin + 5000]
    log.stop()


@pytest.mark.row(17, 35)
@pytest.mark.parametrize("back, texts", [(500, ["begin 1\nmore\nmore\n", "begin 2\nmore\n"]),
                                         (5000, ["begin 1\nmore\n", "more\n", "begin 2\nmore\n"])], ids=["some", "far"])
def test_an_event_while_the_clock_goes_back(logd, service, fifo, back, texts):
    """Less than an interval: it does not matter; more than that ends the event."""
    log = fifo(awslogs_multiline_pattern="^begin", awslogs_force_flush_interval_seconds=1000)
    now = int(time.time())
    for text, when in [("begin 1", 0), ("more", 10), ("more", -back), ("begin 2", 1 - back), ("more", 2 - back)]:
        log.line(text, time_ns=(now + when) * 1_000_000_000)
    assert sorted(arrived(logd, service, log)) == sorted(texts)


@pytest.mark.row(17, 24)
def test_killed_in_the_middle_of_an_event(logd, service, fifo):
    """Neither a line in pieces nor an event that is collected is cut by a restart (R-4.9)."""
    log = fifo(awslogs_multiline_pattern="^begin", awslogs_force_flush_interval_seconds=1000)
    pieces = records_of_line("x" * 100_000)
    log.line("begin 1")
    for piece in pieces:
        log.write(piece)
        wait_until(lambda: log.figures["SpoolBytes"] > 0, 10, "it in the spool")
        logd.kill()
        logd.start()
    log.line("begin 2")
    assert short(arrived(logd, service, log)) == short(["begin 1\n" + "x" * 100_000 + "\n", "begin 2\n"])


# --- batches (§4.4): the service refuses what is not valid, which is a violation besides

@pytest.mark.row(11)
def test_ten_thousand_of_one_byte(logd, service, fifo):
    log = fifo()
    begin = time.time_ns()
    log.write(b"".join(record(b"%d" % (index % 10), time_ns=begin) for index in range(25_000)))
    assert arrived(logd, service, log) == [str(index % 10) for index in range(25_000)]
    sizes = [call[3] for call in service.operations("PutLogEvents")]
    assert sum(sizes) == 25_000 and max(sizes) <= 10_000


@pytest.mark.row(11)
@pytest.mark.parametrize("over", [0, 1])
def test_a_full_batch_of_bytes(logd, service, fifo, over):
    """1,048,576 bytes with 26 for each event, exactly; and one more."""
    log = fifo(awslogs_force_flush_interval_seconds=1000)
    sizes = [262_118] * 4 + [1] * over
    begin = time.time_ns()
    for number, size in enumerate(sizes):
        log.line("x" * size, time_ns=begin + number)
    assert [len(message) for message in arrived(logd, service, log)] == sizes
    assert [call[3] for call in service.operations("PutLogEvents")] == [4] + [1] * over


@pytest.mark.row(11, 35)
def test_times_of_all_kinds(logd, service, fifo):
    """Unsorted, equal, over more than a day, ahead and long past."""
    log, random_ = fifo(), random.Random(3)
    now = int(time.time() * 1000)
    lines = [(now - random_.randrange(13 * DAY), f"past {number}") for number in range(300)]
    lines += [(now, f"equal {number}") for number in range(100)]
    lines += [(now + HOUR, "in an hour"), (now + 3 * HOUR, "in three"), (now + 20 * DAY, "in twenty days"),
              (now - 20 * DAY, "twenty days ago"), (now - 14 * DAY - HOUR, "two weeks ago")]
    log.write(b"".join(record(text.encode(), time_ns=when * 1_000_000) for when, text in lines))
    wait_until(lambda: log.figures["WaitingLines"] == 0, 30, "the lines taken")
    assert log.figures["RefusedLines"] == 2
    log.stop()
    events = service.events(GROUP, "s")
    kept = [line for line in lines if "ago" not in line[1] and line[1] not in ("in three", "in twenty days")]
    assert sorted(event for event in events if "three" not in event.message and "twenty" not in event.message) == sorted(kept)
    assert [event.message for event in events if event.message.startswith("equal")] == [f"equal {i}" for i in range(100)]
    # From a clock that has been set back since: such lines have the time at which they are sent.
    for text in ("in three", "in twenty days"):
        when, = (event.timestamp for event in events if event.message == text)
        assert now <= when <= time.time() * 1000 + 1
    assert "ago" not in "".join(event.message for event in events)


# --- answers that are no errors, and do not take all (§4.10)

@pytest.mark.row(9)
def test_rejected_events(logd, service, fifo):
    """What is past the group's retention is counted; what is too new for the service is kept until it takes it."""
    service.add_group(GROUP, retention_days=1)
    service.ahead = -240    # less than a signature has to be right by
    now = int(time.time() * 1000)
    log = fifo()
    lines = [(now - DAY * 3 // 2 + number, f"expired {number}") for number in range(5)]
    lines += [(now - HOUR + number, f"good {number}") for number in range(5)]
    lines += [(now + 2 * HOUR - 120_000 + number, f"new {number}") for number in range(5)]
    log.write(b"".join(record(text.encode(), time_ns=when * 1_000_000) for when, text in lines))
    assert wait_messages(service, 5) == [f"good {i}" for i in range(5)]
    service.ahead = 0
    assert wait_messages(service, 10) == [f"good {i}" for i in range(5)] + [f"new {i}" for i in range(5)]
    wait_until(lambda: log.figures["WaitingLines"] == 0, 30, "the answer")
    assert log.figures["RefusedLines"] == 5
    log.stop()
    assert len(service.messages(GROUP, "s")) == 10


@pytest.mark.row(9)
def test_events_that_are_too_old_for_the_service(logd, service, fifo):
    """By its clock, which is ahead of ours."""
    service.ahead = 240
    now = int(time.time() * 1000)
    log = fifo()
    lines = [(now - 14 * DAY + 120_000 + number, f"old {number}") for number in range(5)] + [(now, "good")]
    log.write(b"".join(record(text.encode(), time_ns=when * 1_000_000) for when, text in lines))
    wait_until(lambda: log.figures["WaitingLines"] == 0, 30, "the answer")
    assert log.figures["RefusedLines"] == 5
    log.stop()
    assert service.messages(GROUP, "s") == ["good"]


# --- errors (§4.9)

RETRIED = [(400, code) for code in (
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "TooManyRequestsException",
    "ProvisionedThroughputExceededException", "TransactionInProgressException", "RequestLimitExceeded",
    "BandwidthLimitExceeded", "LimitExceededException", "RequestThrottled", "SlowDown", "PriorRequestNotComplete",
    "EC2ThrottledException", "RequestTimeout")]
RETRIED += [(status, "Whatever") for status in (500, 502, 503, 504, 429)] + [(503, "ServiceUnavailableException")]
HELD = [(400, "AccessDeniedException"), (403, "AccessDeniedException"), (400, "UnrecognizedClientException"),
        (400, "ExpiredTokenException"), (403, "InvalidSignatureException"), (403, "SignatureDoesNotMatch"),
        (400, "SomethingNobodyKnows"), (400, "ResourceNotFoundException")]


@pytest.mark.row(8)
@pytest.mark.parametrize("errors", [RETRIED, HELD], ids=["retried", "held"])
def test_errors(logd, make_service, fifo, errors):
    """After whatever the service says, twice, it gets the same lines again: in order, none twice."""
    services = [make_service() for _ in errors]
    for (status, code), service in zip(errors, services):
        service.fault("PutLogEvents", times=2, status=status, type=code)
    logs = [fifo(awslogs_endpoint=service.endpoint, awslogs_force_flush_interval_seconds=1) for service in services]
    for log in logs:
        log.lines("n", 3)
        log.stop()
    for service, (_, code) in zip(services, errors):
        assert wait_messages(service, 3) == [f"n {i}" for i in range(3)], code
        service.wait(lambda: len(service.operations("PutLogEvents")) >= 3)
        assert [call[2] for call in service.operations("PutLogEvents")] == [code, code, None]


@pytest.mark.row(8)
@pytest.mark.parametrize("fault", [dict(action="error", status=400, type="InvalidParameterException"),
                                   dict(action="html", status=413)], ids=["invalid", "413"])
def test_a_batch_that_is_refused_is_halved(logd, service, fifo, fault):
    service.fault("PutLogEvents", times=3, **fault)
    log = fifo(awslogs_force_flush_interval_seconds=10)
    log.lines("n", 1000)
    assert arrived(logd, service, log) == [f"n {i}" for i in range(1000)]
    assert [call[3] for call in service.operations("PutLogEvents")[:4]] == [0, 0, 0, 125]


@pytest.mark.row(8)
def test_already_accepted(logd, service, fifo):
    """An answer of old: the batch is there, and is not sent again."""
    service.fault("PutLogEvents", status=400, type="DataAlreadyAcceptedException")
    log = fifo()
    log.lines("first", 5)
    wait_until(lambda: service.operations("PutLogEvents"), 20, "a call")
    logd.all_shipped()
    log.lines("second", 5)
    assert arrived(logd, service, log) == [f"second {i}" for i in range(5)]


# --- the group and the stream

@pytest.mark.row(10)
@pytest.mark.parametrize("create", ["true", "false"])
def test_the_group_is_deleted(logd, service, fifo, create):
    """It is made again, if it may be; else lines wait for it."""
    log = fifo(awslogs_create_group=create, awslogs_force_flush_interval_seconds=1)
    log.lines("before", 5)
    wait_messages(service, 5)
    logd.all_shipped()
    service.delete_group(GROUP)
    log.lines("after", 5)
    if create == "false":
        service.wait(lambda: [call[2] for call in service.calls].count("ResourceNotFoundException") >= 3)
        assert GROUP not in service.groups
        service.add_group(GROUP)
    assert wait_messages(service, 5) == [f"after {i}" for i in range(5)]
    log.stop()


@pytest.mark.row(10)
def test_a_stream_that_is_not_made(logd, service, fifo):
    """create-stream=false: lines wait until somebody makes it, and the group is not made either."""
    service.delete_group(GROUP)
    log = fifo(awslogs_create_stream="false", awslogs_create_group="true")
    log.lines("n", 5)
    service.wait(lambda: len(service.operations("PutLogEvents")) >= 2)
    service.add_group(GROUP)
    with service.changed:
        service.streams[GROUP, "s"] = []
    assert arrived(logd, service, log) == [f"n {i}" for i in range(5)]
    assert {call[0] for call in service.calls} == {"PutLogEvents"}


@pytest.mark.row(1)
def test_a_stream_that_is_there(logd, service, fifo):
    """And one that the restart of a container finds (R-4.5: it is not asked for again)."""
    with service.changed:
        service.streams[GROUP, "s"] = []
    for number in range(3):
        log = fifo(awslogs_force_flush_interval_seconds=1)
        log.lines("n", 5, first=number * 5)
        assert arrived(logd, service, log) == [f"n {i}" for i in range(number * 5 + 5)]
    assert [call[0] for call in service.operations()].count("CreateLogStream") == 1


@pytest.mark.row(1)
def test_embedded_metrics(logd, service, fifo):
    """The header is in every call, and signed; the message is as it is."""
    log = fifo(awslogs_format="json/emf", awslogs_create_group="true", awslogs_group="new")
    log.line('{"_aws": {"Timestamp": 1}}')
    log.stop()
    logd.all_shipped()
    assert service.messages("new", "s") == ['{"_aws": {"Timestamp": 1}}']
    assert [(call[0], headers.get("x-amzn-logs-format")) for call, headers in zip(service.calls, service.headers)] == [
        (name, "json/emf") for name in ("CreateLogStream", "CreateLogGroup", "CreateLogStream", "PutLogEvents")]


@pytest.mark.row(2)
@pytest.mark.parametrize("fault, mode, refused", [
    (dict(status=400, type="ResourceNotFoundException"), "blocking", True),
    (dict(status=400, type="ResourceNotFoundException"), "non-blocking", False),
    (dict(status=400, type="AccessDeniedException"), "blocking", True),
    (dict(status=400, type="InvalidParameterException"), "blocking", True),
    (dict(status=400, type="OperationAbortedException"), "blocking", False),
    (dict(status=400, type="ThrottlingException"), "blocking", False),
    (dict(status=500, type="InternalFailure"), "blocking", False),
    (dict(action="reset"), "blocking", False),
    (dict(action="garble"), "blocking", False),
    (dict(action="hold"), "blocking", False),
], ids=["missing", "missing-non-blocking", "denied", "invalid", "aborted", "throttled", "500", "reset", "garbled", "stalls"])
def test_starts(logd, service, fifo, fault, mode, refused):
    """What is certainly wrong refuses a start, and leaves nothing behind; all else lets it go on (R-4.3)."""
    fault = service.fault("CreateLogStream", times=1000, **fault)
    if refused:
        with pytest.raises(Refused, match="failed to create Cloudwatch log stream: .*" + fault.type):
            fifo()
        assert not any(each["OpenStreams"] or each["WaitingLines"] for each in logd.status()["Containers"])
        return
    log = fifo(mode=mode)
    log.lines("n", 5)
    log.stop()
    assert service.streams == {}
    fault.release()
    assert wait_messages(service, 5, timeout=60) == [f"n {i}" for i in range(5)]


@pytest.mark.row(2, 4)
def test_a_name_that_is_not_known(logd, service, fifo):
    """No such host may be so for the moment only."""
    log = fifo(awslogs_endpoint="http://logs.test.invalid:1")
    log.lines("n", 5)
    log.stop()
    logd.wait_log("logs wait on disk.*logs.test.invalid")
    assert log.figures["WaitingLines"] >= 5


# --- a service that is away or slow

@pytest.mark.row(3, 4)
@pytest.mark.parametrize("how", ["black hole", "refused", "stalls"])
def test_outages(instance, logd, service, fifo, how):
    log = fifo(awslogs_force_flush_interval_seconds=1)
    log.lines("n", 1000)
    wait_messages(service, 1000)
    port = service.endpoint.rpartition(":")[2]
    rule = ["INPUT", "-p", "tcp", "--dport", port, "-j", *(["DROP"] if how == "black hole" else
                                                         ["REJECT", "--reject-with", "tcp-reset"])]
    held = None
    if how == "stalls":
        held = service.fault("PutLogEvents", "hold", times=1)
    else:
        instance.run("iptables", "-w", "-A", *rule)
    try:
        log.lines("n", 1000, first=1000)
        logd.wait_log("logs wait on disk")
        log.lines("n", 1000, first=2000)
    finally:
        if held:
            held.release()
        else:
            instance.run("iptables", "-w", "-D", *rule)
    wait_until(lambda: log.figures["WaitingLines"] == 0, 60, "all lines")
    found = [int(message.split()[1]) for message in service.messages(GROUP, "s")]
    assert sorted(set(found)) == list(range(3000))
    # What had no answer may have arrived all the same.
    assert len(found) - 3000 <= log.figures["RepeatedLines"]
    log.stop()


@pytest.mark.row(5)
def test_a_slow_service_holds_up_nobody_else(logd, service, make_service, fifo):
    """10 s for a request at one, nothing at the other."""
    other = make_service()
    service.delay = 10
    slow, fast = fifo(), fifo(awslogs_endpoint=other.endpoint)
    began = time.monotonic()
    for number in range(20):
        slow.lines("n", 1000, first=number * 1000)
        fast.lines("n", 1000, first=number * 1000)
    fast.stop()
    wait_messages(other, 20_000)
    assert time.monotonic() - began < 10 or not service.calls
    service.delay = 0
    assert arrived(logd, service, slow) == [f"n {i}" for i in range(20_000)]


@pytest.mark.row(6)
def test_nothing_but_throttling(logd, service, fifo):
    logs = [fifo(awslogs_stream=f"s{number}", awslogs_force_flush_interval_seconds=1) for number in range(10)]
    service.throttle = 1.0
    for log in logs:
        log.lines("n", 100)
    service.wait(lambda: len(service.operations("PutLogEvents")) >= 15, timeout=60)
    service.throttle = 0.0
    for number, log in enumerate(logs):
        log.stop()
        assert wait_messages(service, 100, f"s{number}") == [f"n {i}" for i in range(100)]
    logd.all_shipped()
