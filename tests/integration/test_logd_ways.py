"""ecs-logd end to end by every way out that fluentd and syslog have: destinations that are away, come, go, stall, are slow, cannot
be found or trusted; routers of FireLens. Lines come from containers, or from a FIFO that is written as Docker does where the
container is not what matters. Rows are those of the test matrix of logs."""

import os
import shutil
import ssl
import time

import pytest

from ecsbed import logfifo
from ecsbed.dockerapi import DockerApi, Refused
from ecsbed.fluentd import ForwardServer
from ecsbed.instance import wait_until
from ecsbed.logd import DRIVER, Logd
from ecsbed.logfifo import LogFifo
from ecsbed.syslogwire import SyslogWire

SCALE = 10
DAYS = 3    # without a destination


class Fluentd:
    """Beside SyslogWire: the same to use."""
    driver = "fluentd"

    def __init__(self, instance, ack=False, path=None, **server):
        self.instance, self.path = instance, path
        self.server = ForwardServer(path=path, **server) if path else ForwardServer(sock=instance.listen("127.0.0.1", 0), **server)
        if path:
            os.chmod(path, 0o666)
        scheme = "tls" if server.get("tls") else "tcp"
        self.options = {"fluentd-address": f"unix://{path}" if path else f"{scheme}://127.0.0.1:{self.server.port}",
                        "fluentd-request-ack": str(ack).lower(), "tag": "t"}

    def up(self):
        if self.path:
            self.server.start()
            os.chmod(self.path, 0o666)
        else:
            self.server.restart(self.instance.listen("127.0.0.1", self.server.port))

    def down(self):
        self.server.stop()

    def texts(self):
        return self.server.logs()

    def stall(self):
        self.server.stalled.set()

    def go_on(self):
        self.server.stalled.clear()

    @property
    def connections(self):
        return len(self.server.connections)


class Syslog(SyslogWire):
    driver = "syslog"

    @property
    def options(self):
        return {"syslog-address": self.url, "tag": "t"}

    def texts(self):
        return [message.text for message in self.messages()]

    def stall(self):
        self.reading.clear()

    def go_on(self):
        self.reading.set()


@pytest.fixture(scope="module")
def docker(instance):
    return DockerApi(instance)


@pytest.fixture(scope="module")
def shown(pki):
    path = f"/tmp/ecsd-test-ways.{os.getpid()}"
    os.makedirs(f"{path}/firelens", mode=0o755)
    shutil.copy(pki.ca, f"{path}/ca.pem")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make_logd(instance, shown, request):
    made = []

    def make(scale=SCALE, **settings):
        made.append(Logd(instance, instance.new_directory(), ECS_LOGD_SHOWN=shown, ECS_LOGD_FLUSH="100ms",
                         ECSD_CLOCK_SCALE=scale, **settings).start())
        return made[-1]
    yield make
    for logd in made:
        if not logd.running:
            logd.start()
    instance.remove_containers()
    for logd in made:
        if getattr(request.node, "failed_in_call", False):
            print("--- end of ecs-logd's log ---\n" + logd.log_tail(60))
        refused = logd.refused()
        logd.close()
        assert not refused


@pytest.fixture
def receiver(instance, shown, pki):
    """receiver(way): fluentd, ack, fluentd-unix, udp, tcp, tls, unix, unixgram."""
    made = []

    def make(way, **more):
        path = f"{shown}/{way}.{len(made)}.sock"
        if way in ("fluentd", "ack", "fluentd-unix"):
            made.append(Fluentd(instance, way == "ack", path if way.endswith("unix") else None, **more))
        else:
            if way == "tls":
                more.setdefault("tls", pki.server_context)
            made.append(Syslog(instance, way, path if way.startswith("unix") else None, **more))
        return made[-1]
    yield make
    for each in made:
        each.go_on()
        try:
            each.down()
        except OSError:
            pass    # it is


def given(receiver, shown):
    trusted = {"syslog-tls-ca-cert": f"{shown}/ca.pem"} if receiver.driver == "syslog" and receiver.way == "tls" else {}
    return {**receiver.options, **trusted}


def fifo(logd, receiver, shown, **more):
    log = LogFifo(logd, receiver.driver)
    log.config.update({**given(receiver, shown), **more})
    return log


def numbers(receiver, name):
    prefix = name.encode() + b" "
    return [int(text[len(prefix):]) for text in receiver.texts() if text.startswith(prefix)]


def complete(receiver, name, count, repeated=False):
    """Numbered lines: all are there, each for the first time in order."""
    following = again = 0
    for number in numbers(receiver, name):
        assert number <= following, f"{following} to {number - 1} of {name} are missing"
        again += number < following
        following = max(following, number + 1)
    assert repeated or not again, f"{again} lines came again"
    return following == count


def status_of(logd, container):
    return next((each for each in logd.status()["Containers"] if each["Container"] == container), None)


WAYS = ["fluentd", "ack", "fluentd-unix", "tcp", "tls", "unix", "unixgram", "udp"]


@pytest.mark.row(1, 2, 3)
@pytest.mark.parametrize("way", WAYS)
def test_away_at_the_start_and_later(docker, make_logd, receiver, shown, way):
    """The container starts, runs to its end and is gone meanwhile; another log is read on when its destination goes and comes."""
    logd, to = make_logd(), receiver(way)
    options = {**given(to, shown), "x-ecs-driver": to.driver}
    if way in ("unix", "unixgram"):    # has to be there at the start, as with Docker
        first = docker.create(DRIVER, options, ["sh", "-c", "sleep 0.5; i=0; while [ $i -lt 1000 ]; do echo early $i; i=$((i+1)); done"])
        docker.start(first)
        to.down()
    else:
        to.down()
        first = docker.create(DRIVER, options, ["sh", "-c", "i=0; while [ $i -lt 1000 ]; do echo early $i; i=$((i+1)); done"])
        docker.start(first)
    docker.wait(first)
    docker.remove(first)
    logd.wait_log("logs wait on disk")
    to.up()
    wait_until(lambda: complete(to, "early", 1000, way != "ack"), 30, "the early lines")
    second = fifo(logd, to, shown).start()
    second.lines("late", 100)
    wait_until(lambda: any(text.startswith(b"late") for text in to.texts()), 20, "some lines")
    to.down()
    second.lines("late", 500, first=100)
    wait_until(lambda: second.figures["WaitingLines"] > 50, 20, "lines that wait")
    to.up()
    second.stop()
    if way == "udp":    # nobody knows of those that were sent just then
        wait_until(lambda: to.texts() and to.texts()[-1] == b"late 599", 30, "the last line")
        assert len({text for text in to.texts() if text.startswith(b"late")}) > 400
    else:
        wait_until(lambda: complete(to, "late", 600, True), 30, "the late lines")


@pytest.mark.row(12, 13)
@pytest.mark.parametrize("way", ["ack", "tcp"])
def test_long_lines(docker, make_logd, receiver, shown, way):
    """In pieces, as Docker cuts them; together they are what was written. The last has no newline."""
    lengths = [262117, 262118, 262119, 1 << 20, 10 << 20, 300_000]
    logd, to = make_logd(), receiver(way)
    docker.run(DRIVER, {**given(to, shown), "x-ecs-driver": to.driver}, ["sh", "-c", "; ".join(
        f"head -c {length} /dev/zero | tr '\\0' {letter}" + ("; echo" if letter != "f" else "")
        for letter, length in zip("abcdef", lengths))])
    wait_until(lambda: sum(map(len, to.texts())) >= sum(lengths), 30, "all bytes")
    assert b"".join(to.texts()) == b"".join(letter * length for letter, length in zip((b"a", b"b", b"c", b"d", b"e", b"f"), lengths))
    assert all(len(text) == 16384 for text, following in zip(to.texts(), to.texts()[1:]) if following and text[-1:] == following[:1])
    if way == "ack":
        ends = [record[b"partial_last"] for _, _, record in to.server.events]
        assert ends.count(b"true") == 5 and ends[-1] == b"false"


@pytest.mark.row(2)
def test_starts_that_are_refused(docker, make_logd, receiver, shown):
    """A Unix socket that is not there, as with Docker; a server that is away only where the operator wants that."""
    logd, to = make_logd(1, ECS_LOGD_FLUENTD_STRICT_START="true"), receiver("fluentd")
    docker.run(DRIVER, {**to.options, "x-ecs-driver": "fluentd"}, ["echo", "strict 0"])
    wait_until(lambda: complete(to, "strict", 1), 20, "the line")
    logd.all_shipped()
    to.down()
    for driver, options, reason in (("fluentd", to.options, f"127.0.0.1:{to.server.port}"),
                                    ("syslog", {"syslog-address": f"unix://{shown}/none"}, f"{shown}/none")):
        with pytest.raises(Refused, match=reason):
            docker.run(DRIVER, {**options, "x-ecs-driver": driver})
    assert not any(each["OpenStreams"] for each in logd.status()["Containers"])


@pytest.mark.row(3)
def test_days_without_a_destination(make_logd, receiver, shown):
    """Pauses grow to their limit and stay there: no tight loop after ninety minutes, and nothing is lost after days."""
    scale = 36000
    began = time.monotonic()
    logd = make_logd(scale)
    both = [receiver("fluentd"), receiver("tcp")]
    logs = [fifo(logd, to, shown).start() for to in both]
    for to in both:
        to.down()
    for log in logs:
        log.lines("patient", 5000)
        log.stop()
    wait_until(lambda: (time.monotonic() - began) * scale > DAYS * 86400, 60, "days", 0.2)
    figures = [log.figures for log in logs]
    elapsed = (time.monotonic() - began) * scale
    for to, log, limit in zip(both, figures, (60, 30)):
        assert log["Trouble"] and log["WaitingLines"] >= 5000
        assert log["Retries"] <= 20 + elapsed / (limit * 0.75), to.driver
    for to in both:
        to.up()
    # A receiver that does not answer for a millisecond has kept quiet for half a minute: lines of several connections
    # come at the same time, in no order.
    for to in both:
        wait_until(lambda to=to: set(numbers(to, "patient")) == set(range(5000)), 30, "all lines")


@pytest.mark.row(4)
@pytest.mark.parametrize("way", ["fluentd", "ack", "tcp", "tls"])
def test_packets_vanish(instance, make_logd, receiver, shown, way):
    """No answer of any kind: noticed after half a minute, sent again when packets pass."""
    logd, to = make_logd(20), receiver(way)
    log = fifo(logd, to, shown).start()
    log.lines("hole", 100)
    wait_until(lambda: complete(to, "hole", 100), 20, "the first lines")
    port = to.server.port if to.driver == "fluentd" else to.port
    rule = ["INPUT", "-p", "tcp", "--dport", str(port), "-j", "DROP"]
    instance.run("iptables", "-w", "-I", *rule)
    try:
        log.lines("hole", 5000, first=100)
        wait_until(lambda: log.figures.get("Trouble"), 20, "the trouble")
        assert log.figures["WaitingLines"] > 0
    finally:
        instance.run("iptables", "-w", "-D", *rule)
    wait_until(lambda: complete(to, "hole", 5100, True), 60, "all lines")
    log.stop()


@pytest.mark.row(4)
def test_names_that_are_none(make_logd, receiver, shown):
    logd = make_logd()
    to = receiver("tcp")
    for driver, options in (("fluentd", {"fluentd-address": "nowhere.invalid:24224"}), ("syslog", {"syslog-address": "tcp://nowhere.invalid"}),
                            ("syslog", {"syslog-address": "udp://nowhere.invalid"})):
        log = LogFifo(logd, driver)
        log.config.update(options)
        log.start()
        log.lines("lost", 10)
        wait_until(lambda log=log: "nowhere.invalid" in (log.figures.get("Trouble") or ""), 20, "the trouble")
        log.stop()
    log = fifo(logd, to, shown).start()    # nobody else is held up
    log.lines("found", 100)
    wait_until(lambda: complete(to, "found", 100), 20, "lines of another")
    log.stop()


@pytest.mark.row(5)
@pytest.mark.parametrize("way", ["fluentd", "ack", "tcp", "unix", "unixgram"])
def test_slow_ones_hold_up_nobody(docker, make_logd, receiver, shown, way):
    """It takes nothing at all for a while: its lines wait on disk, its container and the other one go on."""
    logd, slow, quick = make_logd(1), receiver(way), receiver("tcp")
    slow.stall()
    log = fifo(logd, slow, shown).start()
    log.lines("slow", 30000)
    other = docker.create(DRIVER, {**quick.options, "x-ecs-driver": "syslog"}, ["sh", "-c", "echo quick 0"])
    docker.start(other)
    assert docker.wait(other) == 0
    wait_until(lambda: complete(quick, "quick", 1), 20, "the other's line")
    log.stop()    # is answered
    figures = log.figures
    assert figures["WaitingLines"] > 0 and figures["Lines"] == 30000 and figures["Stalls"] == 0
    slow.go_on()
    wait_until(lambda: complete(slow, "slow", 30000, True), 40, "all lines")


# --- FireLens: a router on a Unix socket (row 41)

@pytest.fixture
def router(instance, shown):
    directory = f"{shown}/firelens/{os.urandom(4).hex()}/socket"
    os.makedirs(directory)
    made = Fluentd(instance, path=f"{directory}/fluent.sock")
    made.directory = directory
    made.options.update({"fluentd-async": "true", "fluentd-sub-second-precision": "true", "fluentd-buffer-limit": "1048576"})
    yield made
    shutil.rmtree(os.path.dirname(directory), ignore_errors=True)


@pytest.mark.row(41)
def test_router_comes_late_and_again(docker, make_logd, router):
    router.down()
    logd = make_logd()
    container = docker.create(DRIVER, {**router.options, "x-ecs-driver": "fluentd"},
                              ["sh", "-c", "i=0; while [ $i -lt 800 ]; do echo app $i; i=$((i+1)); sleep 0.002; done"])
    docker.start(container)
    wait_until(lambda: status_of(logd, container)["WaitingLines"] > 50, 20, "lines before the router")
    router.up()
    for _ in range(2):
        seen = len(router.texts())
        wait_until(lambda: len(router.texts()) > seen, 20, "lines of the router")
        router.down()
        router.up()
    docker.wait(container)
    docker.remove(container)
    wait_until(lambda: complete(router, "app", 800, True), 20, "all lines")


@pytest.mark.row(41)
def test_router_that_is_stopped_gets_what_there_is(make_logd, router, shown):
    """It is stopped after the application: what that wrote at its very end is there before, without waiting for a batch (R-3.3)."""
    logd = make_logd(1)
    log = fifo(logd, router, shown).start()
    for number in range(20):
        log.line(f"app {number}")
        wait_until(lambda: len(router.texts()) == number + 1, 10, "the line by itself")
    log.line("app 20")
    log.stop()
    wait_until(lambda: complete(router, "app", 21), 10, "the last line")


@pytest.mark.row(41)
def test_router_that_is_gone(docker, make_logd, router, instance):
    """Stopped before the application, which goes on and ends; the rest waits until the task is cleaned up, and is counted."""
    logd = make_logd(600)    # ten minutes between two looks
    container = docker.create(DRIVER, {**router.options, "x-ecs-driver": "fluentd"},
                              ["sh", "-c", "echo app 0; sleep 1; echo app 1; echo app 2"])
    docker.start(container)
    wait_until(lambda: complete(router, "app", 1), 20, "the first line")
    router.down()
    assert docker.wait(container) == 0
    docker.remove(container)
    assert status_of(logd, container)["WaitingLines"] >= 2
    time.sleep(2)    # twenty minutes
    assert status_of(logd, container)["WaitingLines"] >= 2 and "is given up" not in logd.log()
    shutil.rmtree(os.path.dirname(router.directory))
    logd.wait_log("a log is given up: the task of its FireLens router is cleaned up.* container=" + container)
    assert status_of(logd, container) is None and not os.path.exists(f"{logd.spool}/{container}")


# --- trust (rows 42 and 43)

def trouble(log):
    return (log.figures or {}).get("Trouble") or ""


def context(pki, kind):
    if kind == "unknown authority":
        return pki.self_signed()
    if kind == "wrong name":
        return pki.context("elsewhere", "DNS:elsewhere.invalid")
    if kind == "expired":
        return pki.context("expired", days=-1)
    made = pki.context("old")
    made.set_ciphers("ALL:@SECLEVEL=0")
    made.minimum_version, made.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return made


@pytest.mark.row(42)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("kind", ["unknown authority", "wrong name", "expired", "old version"])
@pytest.mark.parametrize("way", ["fluentd", "tls"])
def test_servers_that_are_not_trusted(make_logd, receiver, pki, shown, way, kind):
    logd = make_logd(1, ECS_LOGD_FLUENTD_CA=f"{shown}/ca.pem")
    to = receiver(way, tls=context(pki, kind))
    log = fifo(logd, to, shown).start()
    log.lines("secret", 10)
    wait_until(lambda: trouble(log), 20, "the trouble")
    assert ("certificate" in trouble(log)) == (kind != "old version"), trouble(log)
    assert not to.texts()
    if way == "tls" and kind != "old version":
        unchecked = fifo(logd, to, shown, **{"syslog-tls-skip-verify": "true"}).start()
        unchecked.lines("open", 10)
        wait_until(lambda: complete(to, "open", 10), 20, "lines to whoever it is")
        unchecked.stop()
    log.stop()
    assert not any(text.startswith(b"secret") for text in to.texts())


@pytest.mark.row(43)
@pytest.mark.parametrize("key, password, arrives", [("k3y 0f all", "passw0rd", True), ("wr0ng key", "passw0rd", False),
                                                    ("k3y 0f all", "wr0ng passw0rd", False)])
def test_logins(instance, make_logd, receiver, shown, key, password, arrives):
    directory = instance.new_directory()
    for name, secret in (("key", key), ("password", password)):
        with open(f"{directory}/{name}", "w") as file:
            file.write(secret + "\n")
    logd = make_logd(1, ECS_LOGD_FLUENTD_SHARED_KEY_FILE=f"{directory}/key", ECS_LOGD_FLUENTD_USERNAME="me",
                     ECS_LOGD_FLUENTD_PASSWORD_FILE=f"{directory}/password")
    to = receiver("ack", shared_key="k3y 0f all", users={"me": "passw0rd"})
    log = fifo(logd, to, shown).start()
    log.lines("login", 1000)
    if arrives:
        wait_until(lambda: complete(to, "login", 1000), 20, "all lines")
    else:
        wait_until(lambda: "refuses the login" in trouble(log), 20, "the refusal")
        assert not to.texts()
    log.stop()
    kept = logd.log()
    for where, _, names in os.walk(logd.directory):
        for path in (os.path.join(where, name) for name in names):
            if os.path.isfile(path):
                with open(path, errors="replace") as file:
                    kept += file.read()
    assert key not in kept and password not in kept


# --- addresses and sizes (row 44)

@pytest.mark.row(44)
@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_ipv6(instance, make_logd, receiver, shown, way):
    logd = make_logd()
    to = receiver(way, address="::1")
    log = fifo(logd, to, shown).start()
    log.lines("six", 1000 if way == "tcp" else 100)
    wait_until(lambda: complete(to, "six", 1000 if way == "tcp" else 100), 20, "all lines")
    log.stop()


@pytest.mark.row(44)
def test_datagrams_beyond_what_fits(make_logd, receiver, shown):
    """A line that no datagram holds loses its end, between two characters; those beside it lose nothing."""
    logd = make_logd()
    to = receiver("unixgram")
    log = fifo(logd, to, shown).start()
    line = "€" * 200_000
    log.write(logfifo.record(b"before") + logfifo.record(line.encode()) + logfifo.record(b"after"))
    wait_until(lambda: len(to.texts()) == 3, 20, "three messages")
    before, cut, after = to.texts()
    assert (before, after) == (b"before", b"after")
    assert line.startswith(cut.decode()) and 50_000 < len(cut) < len(line.encode())
    wait_until(lambda: log.figures["CutLines"] == 1, 10, "the count")
    log.stop()
