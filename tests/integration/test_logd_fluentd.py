"""The fluentd destination against real servers: npm's @fluent-org/logger, and one of ours that misbehaves; and beside Docker's
own fluentd driver. Rows are those of logging.md's test matrix (§9)."""

import time

import pytest

from ecsbed import image, netns
from ecsbed.fluentd import Shipper, ForwardServer, NodeServer
from ecsbed.instance import BRIDGE_ADDRESS, Instance, wait_until

CONTAINER = "0123456789abcdef" * 4
TIME = 1700000000123456789


@pytest.fixture
def programs():
    """What is put in here is killed in the end."""
    started = []
    yield started
    for program in started:
        program.kill()


@pytest.fixture
def node(programs):
    def make(**options):
        programs.append(NodeServer(**options))
        return programs[-1]
    return make


@pytest.fixture
def ship(programs, tmp_path):
    def make(port=None, **options):
        if port:
            options.setdefault("fluentd_address", f"tcp://127.0.0.1:{port}")
        programs.append(Shipper(tmp_path / "spool", **options))
        return programs[-1]
    return make


# --- records (row 1), as an independent server reads them

@pytest.mark.row(1)
def test_records(node, ship):
    server = node()
    program = ship(server.port, tag="app.web", attributes={"com.example.team": "a b", "STAGE": ""})
    program.send(line="first", time=TIME)
    first = server.events(1)[0]
    program.send(line="", time=TIME, source="stderr")
    program.send(line="ä€😀\t\"\\", time=TIME)
    program.finish()
    common = {"container_id": CONTAINER, "container_name": "/ship", "com.example.team": "a b", "STAGE": ""}
    assert first == {"tag": "app.web", "time": 1700000000, "record": {**common, "source": "stdout", "log": "first"}}
    assert [event["record"] for event in server.events(3)] == [
        {**common, "source": "stdout", "log": "first"}, {**common, "source": "stderr", "log": ""},
        {**common, "source": "stdout", "log": "ä€😀\t\"\\"}]


@pytest.mark.row(1)
@pytest.mark.parametrize("mode", ["forward", "packed", "gzip"])
def test_sub_second_and_modes(node, ship, mode):
    """As single messages and as batches; all modes say the same."""
    server = node()
    program = ship(server.port, fluentd_sub_second_precision="true", environment={"ECS_LOGD_FLUENTD_MODE": mode})
    program.send(line="alone", time=TIME)
    server.events(1)
    program.send(numbered=500, size=50)
    program.finish()
    events = server.events(501)
    assert events[0]["time"] == {"seconds": 1700000000, "nanoseconds": 123456789}
    assert [int(event["record"]["log"].split()[0]) for event in events[1:]] == list(range(500))
    assert all(event["tag"] == CONTAINER for event in events)


@pytest.mark.row(20)
def test_attributes_win(node, ship):
    server = node()
    program = ship(server.port, attributes={"source": "mine", "log": "mine too", "partial_id": "still mine"})
    program.send(line="x")
    program.send(line="y", partial="abc", ordinal=3, last=True)
    program.finish()
    plain, piece = [event["record"] for event in server.events(2)]
    assert plain == {"container_id": CONTAINER, "container_name": "/ship", "source": "mine", "log": "mine too",
                     "partial_id": "still mine"}
    assert piece == {**plain, "partial_message": "true", "partial_id": "abc", "partial_ordinal": "3", "partial_last": "true"}


@pytest.mark.row(14)
def test_binary_data(ship):
    """Row 14: all byte values arrive unchanged."""
    server = ForwardServer()
    program = ship(server.port)
    data = bytes(range(256)) * 3 + b"\xc3(\xed\xa0\x80\xf0\x82\x82\xac\x1b[31m\r"
    program.send(hex=data.hex())
    program.finish()
    server.wait_for(1)
    assert server.logs() == [data]
    server.stop()


@pytest.mark.row(12)
@pytest.mark.parametrize("length", [0, 1, 31, 32, 255, 256, 16383, 16384, 16385, 65536, 1 << 19])
def test_line_lengths(ship, length):
    """Row 12: pieces are sent as they come."""
    server = ForwardServer()
    program = ship(server.port, fluentd_request_ack="true")
    program.send(line="x" * length)
    program.finish()
    assert server.logs() == [b"x" * length]
    server.stop()


# --- Docker's own driver beside it (rows 1 and 12)

@pytest.fixture(scope="module")
def engine():
    instance = Instance().up()
    yield instance
    instance.down()


def docker_wire(engine, options, command):
    """What Docker's fluentd driver sends for a container, byte for byte, and the container's id."""
    sock = netns.listen(engine.netns, BRIDGE_ADDRESS, 0)
    server = ForwardServer(sock=sock)
    arguments = [f"--log-opt={key}={value}" for key, value in
                 {"fluentd-address": f"tcp://{BRIDGE_ADDRESS}:{sock.getsockname()[1]}", **options}.items()]
    container = engine.docker("run", "-d", "--name", "wire", "--log-driver", "fluentd", *arguments, "-l", "team=a",
                              "-e", "STAGE=b", image.NAME, "sh", "-c", command).strip()
    engine.docker("wait", "wire")
    engine.docker("rm", "wire")
    wait_until(lambda: server.events, 10, "the driver's messages")
    server.stop()
    return server.connections[0], container


@pytest.mark.row(1, 12)
@pytest.mark.parametrize("options", [{}, {"fluentd-sub-second-precision": "true"}, {"fluentd-request-ack": "true"}],
                         ids=["plain", "sub-second", "ack"])
def test_as_dockers_driver_sends_it(engine, ship, options):
    docker, container = docker_wire(engine, {"tag": "t.{{.Name}}", "labels": "team", "env": "STAGE", **options},
                                    "printf 'one line\\n'; sleep 0.3; head -c 20000 /dev/zero | tr '\\0' x; echo")
    server = ForwardServer()
    program = ship(server.port, tag="t.wire", attributes={"team": "a", "STAGE": "b"},
                   **{key.replace("-", "_"): value for key, value in options.items()})
    for tag, when, record in [(message[0], message[1], message[2]) for message in docker.objects]:
        extra = {}
        if b"partial_id" in record:
            extra = {"partial": record[b"partial_id"].decode(), "ordinal": int(record[b"partial_ordinal"]),
                     "last": record[b"partial_last"] == b"true"}
        nanoseconds = when * 10**9 if isinstance(when, int) else \
            int.from_bytes(when.data[:4], "big") * 10**9 + int.from_bytes(when.data[4:], "big")
        seen = len(server.events)
        program.send(hex=record[b"log"].hex(), time=nanoseconds, source=record[b"source"].decode(), **extra)
        server.wait_for(seen + 1)    # each alone, as Docker's driver does
    program.finish()
    ours = server.connections[0]
    assert len(docker.objects) == 3 and len(ours.objects) == 3
    for theirs, own in zip(docker.objects, ours.objects):
        assert own[:2] == theirs[:2]
        record = {**theirs[2], b"container_id": CONTAINER.encode(), b"container_name": b"/ship"}
        assert theirs[2][b"container_id"] == container.encode() and theirs[2][b"container_name"] == b"/wire"
        assert own[2] == record
        assert own[3].keys() == theirs[3].keys() and all(len(own[3][key]) == len(theirs[3][key]) for key in own[3])
    # The same types and lengths: names of the container apart, both wires have the same number of bytes.
    assert len(ours.raw) == len(docker.raw)
    # And the fields are all texts.
    start = ours.raw.index(b"\xa3log")
    assert docker.raw[docker.raw.index(b"\xa3log"):][:12] == ours.raw[start:start + 12]
    server.stop()


# --- acknowledgements (row 7)

def ack_late(connection, chunk):
    time.sleep(0.3)
    connection.send({"ack": chunk.decode()})


def ack_wrong_first(connection, chunk):
    connection.send({"ack": "AAAAAAAAAAAAAAAAAAAAAA=="})
    connection.send({"ack": chunk.decode()})


class AckNotAtFirst:
    """A chunk is acknowledged when it comes for the second time."""

    def __init__(self):
        self.seen = set()

    def __call__(self, connection, chunk):
        if chunk in self.seen:
            connection.send({"ack": chunk.decode()})
        self.seen.add(chunk)


def expect_all(server, count):
    """0 to count - 1, each for the first time in order; how many came again is returned.

    Without acknowledgements a server may still be reading when all counts as delivered."""
    wait_until(lambda: len(server.numbers()) >= count and server.numbers()[-1] == count - 1, 20, "the last line", 0.1)
    following, repeated = 0, 0
    for number in server.numbers():
        if number == following:
            following += 1
        else:
            assert number < following, f"{following} to {number - 1} are missing"
            repeated += 1
    assert following == count
    return repeated


@pytest.mark.row(7)
@pytest.mark.parametrize("on_chunk", [ack_late, ack_wrong_first])
def test_acks_late_and_wrong(ship, on_chunk):
    server = ForwardServer()
    server.on_chunk = on_chunk
    program = ship(server.port, fluentd_request_ack="true")
    program.send(numbered=2000, size=100)
    status = program.finish()
    assert expect_all(server, 2000) == 0
    assert status["DeliveredLines"] == 2000
    assert status["UnknownAcks"] == (len(server.chunks) if on_chunk is ack_wrong_first else 0)
    server.stop()


@pytest.mark.row(7)
def test_acks_lost(ship):
    """They are waited for a minute; then the same chunks come again, under the same ids."""
    server = ForwardServer()
    server.on_chunk = AckNotAtFirst()
    program = ship(server.port, fluentd_request_ack="true", scale=30)
    program.send(numbered=500, size=100)
    status = program.finish()
    assert expect_all(server, 500) == 500 == status["RepeatedLines"]
    assert len(server.chunks) == 2 * len(set(server.chunks))
    server.stop()


@pytest.mark.row(7)
def test_server_that_never_acknowledges(ship):
    """Nothing is lost, nothing hangs, nothing counts as delivered; and it goes on when the server does."""
    server = ForwardServer()
    acknowledge, server.on_chunk = server.on_chunk, lambda connection, chunk: None
    program = ship(server.port, fluentd_request_ack="true", scale=60)
    program.send(numbered=500, size=100)
    wait_until(lambda: len(server.connections) >= 3, 20, "the third try")
    status = program.status()
    assert status["Head"] == 0 and status["DeliveredLines"] == 0 and "not acknowledged" in status["Trouble"]
    server.on_chunk = acknowledge
    program.finish()
    expect_all(server, 500)
    server.stop()


@pytest.mark.row(7)
def test_acks_by_the_operators_setting(ship):
    server = ForwardServer()
    program = ship(server.port, environment={"ECS_LOGD_FLUENTD_ACK": "true"})
    program.send(numbered=10, size=100)
    program.finish()
    assert server.chunks
    server.stop()


# --- login (row 43)

@pytest.mark.row(43)
def test_shared_key(node, ship):
    server = node(sharedKey="the key")
    program = ship(server.port, environment={"ECS_LOGD_FLUENTD_SHARED_KEY": "the key"})
    program.send(numbered=100, size=50)
    program.finish()
    assert len(server.events(100)) == 100


@pytest.mark.row(43)
def test_user_and_password(node, ship, tmp_path):
    server = node(sharedKey="the key", users={"me": "the password"})
    (tmp_path / "password").write_text("the password\n")
    (tmp_path / "key").write_text("the key\n")
    program = ship(server.port, fluentd_request_ack="true", environment={
        "ECS_LOGD_FLUENTD_SHARED_KEY_FILE": str(tmp_path / "key"), "ECS_LOGD_FLUENTD_USERNAME": "me",
        "ECS_LOGD_FLUENTD_PASSWORD_FILE": str(tmp_path / "password")})
    program.send(numbered=100, size=50)
    program.finish()
    assert len(server.events(100)) == 100


@pytest.mark.row(43)
@pytest.mark.parametrize("environment, trouble", [
    ({"ECS_LOGD_FLUENTD_SHARED_KEY": "wr0ng key", "ECS_LOGD_FLUENTD_USERNAME": "me",
      "ECS_LOGD_FLUENTD_PASSWORD": "the password"}, "refuses the login"),
    ({"ECS_LOGD_FLUENTD_SHARED_KEY": "the key"}, "user name"),
    ({"ECS_LOGD_FLUENTD_SHARED_KEY": "the key", "ECS_LOGD_FLUENTD_USERNAME": "me",
      "ECS_LOGD_FLUENTD_PASSWORD": "wr0ng password"}, "refuses the login"),
    ({}, "wants a shared key and none is set")])
def test_wrong_login(node, ship, environment, trouble):
    server = node(sharedKey="the key", users={"me": "the password"})
    program = ship(server.port, environment=environment)
    program.send(line="never")
    wait_until(lambda: trouble in (program.status().get("Trouble") or ""), 10, trouble, 0.1)
    assert program.status()["Head"] == 0 and len(server.read) == 1
    assert not any("wr0ng" in line for line in program.errors)


@pytest.mark.row(43)
@pytest.mark.parametrize("ack", ["false", "true"])
def test_keepalive_false(ship, ack):
    """The server closes after each message; nothing is sent that it does not read."""
    server = ForwardServer(shared_key="the key", users={"me": "the password"}, keepalive=False)
    program = ship(server.port, fluentd_request_ack=ack, environment={
        "ECS_LOGD_FLUENTD_SHARED_KEY": "the key", "ECS_LOGD_FLUENTD_USERNAME": "me",
        "ECS_LOGD_FLUENTD_PASSWORD": "the password"})
    program.send(numbered=3000, size=100)
    status = program.finish()
    assert expect_all(server, 3000) == 0 and status["Retries"] == 0
    assert all(len(connection.objects) <= 1 for connection in server.connections)
    server.stop()


@pytest.mark.row(43)
def test_server_without_a_key(node, ship):
    server = node()
    program = ship(server.port, environment={"ECS_LOGD_FLUENTD_SHARED_KEY": "the key"}, scale=5)
    program.send(line="never")
    wait_until(lambda: "has not sent HELO" in (program.status().get("Trouble") or ""), 10, "the complaint", 0.1)


# --- TLS (row 42) and Unix sockets

def tls_files(pki, **more):
    return {"tls": {"cert": pki.server_cert, "key": pki.server_key, **more}}


@pytest.mark.row(42)
def test_tls(node, ship, pki):
    server = node(sharedKey="the key", **tls_files(pki))
    program = ship(fluentd_address=f"tls://127.0.0.1:{server.port}", fluentd_request_ack="true", environment={
        "ECS_LOGD_FLUENTD_SHARED_KEY": "the key", "ECS_LOGD_FLUENTD_CA": pki.ca})
    program.send(numbered=5000, size=200)
    program.finish()
    assert len(server.events(5000)) == 5000


@pytest.mark.row(42)
def test_tls_with_a_client_certificate(node, ship, pki):
    cert, key = pki.client_certificate()
    server = node(**tls_files(pki, ca=pki.ca))
    program = ship(fluentd_address=f"tls://localhost:{server.port}", environment={
        "ECS_LOGD_FLUENTD_CA": pki.ca, "ECS_LOGD_FLUENTD_CERT": cert, "ECS_LOGD_FLUENTD_KEY": key})
    program.send(line="in")
    program.finish()
    assert server.events(1)[0]["record"]["log"] == "in"


@pytest.mark.row(42)
def test_tls_of_an_unknown_authority(node, ship, pki):
    server = node(**tls_files(pki))
    program = ship(fluentd_address=f"tls://127.0.0.1:{server.port}")
    program.send(line="never")
    wait_until(lambda: "certificate" in (program.status().get("Trouble") or ""), 10, "the complaint", 0.1)
    assert len(server.read) == 1


@pytest.mark.row(41)
def test_unix_socket(node, ship, tmp_path):
    """As FireLens has it: no login, whatever is set for other servers."""
    server = node(path=str(tmp_path / "node.sock"))
    program = ship(fluentd_address=f"unix://{tmp_path}/node.sock", fluentd_sub_second_precision="true",
                   environment={"ECS_LOGD_FLUENTD_SHARED_KEY": "for other servers"})
    program.send(numbered=100, size=200)
    program.finish()
    assert len(server.events(100)) == 100


@pytest.mark.row(41)
def test_unix_socket_under_load(ship, tmp_path):
    server = ForwardServer(path=str(tmp_path / "ours.sock"))
    program = ship(fluentd_address=f"unix://{tmp_path}/ours.sock")
    program.send(numbered=5000, size=200)
    program.finish()
    assert expect_all(server, 5000) == 0
    server.stop()


# --- outages (rows 2, 3, 4, 5)

@pytest.mark.row(2, 3)
@pytest.mark.parametrize("ack", ["false", "true"])
def test_server_that_comes_later(ship, ack):
    server = ForwardServer()
    server.stop()
    program = ship(server.port, fluentd_request_ack=ack, scale=20)
    program.send(numbered=5000, size=100)
    wait_until(lambda: program.status()["Retries"] >= 3, 10, "some tries", 0.1)
    server.start()
    program.finish()
    assert expect_all(server, 5000) == 0
    server.stop()


@pytest.mark.row(3, 4)
@pytest.mark.parametrize("ack", ["false", "true"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_server_restarts_under_load(ship, ack, reset):
    server = ForwardServer()
    program = ship(server.port, fluentd_request_ack=ack, scale=5)
    for round_ in range(1, 6):
        program.send(numbered=2000, size=200)
        wait_until(lambda: len(server.events) > 2000 * (round_ - 1) + 100, 10, "some lines")
        server.stop(reset)
        program.send(numbered=10, size=200)
        server.start()
    status = program.finish()
    repeated = expect_all(server, 5 * 2010)
    assert status["DeliveredLines"] == 5 * 2010 and status["RepeatedLines"] >= repeated
    server.stop()


@pytest.mark.row(4, 5)
@pytest.mark.parametrize("ack", ["false", "true"])
def test_server_that_stalls(ship, ack):
    """It accepts and reads nothing; after 30 s another connection is tried."""
    server = ForwardServer()
    server.stalled.set()
    program = ship(server.port, fluentd_request_ack=ack, scale=30)
    program.send(numbered=30000, size=400)
    wait_until(lambda: len(server.connections) >= 2, 20, "another connection")
    assert program.status()["Trouble"]
    server.stalled.clear()
    program.finish(60)
    expect_all(server, 30000)
    server.stop()


@pytest.mark.row(24)
@pytest.mark.parametrize("ack", ["false", "true"])
def test_killed_under_load(ship, ack):
    """SIGKILL of the sender: what was not confirmed comes again, nothing is missing (row 24)."""
    server = ForwardServer()
    for round_ in range(5):
        program = ship(server.port, fluentd_request_ack=ack)
        program.send(numbered=3000, size=200)
        wait_until(lambda: program.status()["Tail"] >= 3000 * (round_ + 1), 10, "all in the spool")
        program.kill()
    program = ship(server.port, fluentd_request_ack=ack)
    program.finish()
    expect_all(server, 15000)
    server.stop()


@pytest.mark.row(3)
def test_new_connections_by_option(ship):
    server = ForwardServer()
    program = ship(server.port, fluentd_async="true", fluentd_async_reconnect_interval="200ms")
    for count in range(1, 31):
        program.send(numbered=1, size=20)
        server.wait_for(count)
    status = program.finish()
    assert len(server.connections) >= 2 and status["Retries"] == 0
    assert expect_all(server, 30) == 0
    server.stop()
