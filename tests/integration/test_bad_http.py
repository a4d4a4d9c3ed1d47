"""What a container may send to the endpoints of 51678 and 51679: every bad form is refused with its reason or closed, memory
stays bounded, and others are served meanwhile."""

import resource
import socket
import time

import pytest

from ecsbed import netns, tasks
from ecsbed.agent import memory_kib
from ecsbed.bed import Bed

CREDENTIALS, INTROSPECTION = 51679, 51678
TIMEOUT_S = 5           # to send a request and to take an answer, http_server.h
MEMORY_KIB = 16 << 10   # what clients may make ecs-endpoint take more, at most


@pytest.fixture(scope="module", autouse=True)
def descriptors():
    """Room for ten thousand connections of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def bed(instance, pki):
    """One agent for the module, with a task whose role is asked for."""
    made = Bed(instance, pki, ECS_TASK_METADATA_RPS_LIMIT="100000,100000")
    made.role = tasks.credentials()
    try:
        made.start()
        made.run_task(tasks.task(roleCredentials=made.role))
        made.endpoint = made.agent.endpoint_pid()
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def undisturbed(bed):
    """After each test: the same endpoint serves, at once, with little memory; ecsd is none the wiser."""
    before = resident_kib(bed)
    yield
    served(bed)
    assert bed.agent.endpoint_pid() == bed.endpoint and bed.agent.running
    assert resident_kib(bed) - before < MEMORY_KIB
    bed.cp.settle()
    assert bed.cp.violations == []


def resident_kib(bed):
    return memory_kib(bed.endpoint)


def served(bed, source=None):
    """Somebody who behaves gets credentials, and soon."""
    begin = time.monotonic()
    answer = bed.credentials("/v2/credentials/" + bed.role["credentialsId"], source=source)
    assert answer.status == 200 and bed.role["secretAccessKey"] in answer.text
    assert time.monotonic() - begin < 2


def connect(bed, count=1, port=CREDENTIALS, sources=("127.0.0.1",)):
    """Connections from inside the instance, as if from as many containers as there are sources."""
    return netns.run_in(bed.instance.netns, lambda: [
        socket.create_connection(("127.0.0.1", port), 10, (sources[n % len(sources)], 0)) for n in range(count)])


def everything(sock, timeout=10):
    """All that comes until the end (b"" for a reset)."""
    sock.settimeout(timeout)
    data = b""
    try:
        while part := sock.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def ask(bed, data, port=CREDENTIALS, finish=False):
    """Sends bytes; returns what comes until the connection is closed."""
    sock, = connect(bed, port=port)
    with sock:
        try:
            sock.sendall(data)
            if finish:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return everything(sock)


def get(target, *lines, method="GET", host="Host: x"):
    head = [f"{method} {target} HTTP/1.1", *([host] if host else []), "Connection: close", *lines]
    return "\r\n".join([*head, "", ""]).encode("latin-1")


def is_closed(sock):
    """Whether the other side has ended it."""
    sock.settimeout(0)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


# --- requests that are none

BAD = b"HTTP/1.1 400 Bad Request\r\n"
LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
GET = b"GET /v2/credentials/x HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = b"GET /v2/credentials/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
REQUESTS = {
    "no request": (b"hello\r\n\r\n", BAD),
    "TLS": (b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03\r\n", BAD),
    "HTTP/0.9": (b"GET /v2/credentials/x\r\n\r\n", BAD),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 505 HTTP Version Not Supported\r\n"),
    "HTTP/1.12": (b"GET / HTTP/1.12\r\nHost: x\r\n\r\n", BAD),
    "URL of 100 KiB": (get("/" + "u" * (100 << 10)), LARGE),
    "header of 100 KiB": (get("/", "X: " + "h" * (100 << 10)), LARGE),
    "headers of 100 KiB": (get("/", *(f"X-{n}: {'h' * 100}" for n in range(1000))), LARGE),
    "no host": (get("/", host=None), BAD),
    "two hosts": (get("/", "Host: y"), BAD),
    "length and chunks": (GET + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, BAD),
    "chunks and length": (GET + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n" + SMUGGLED, BAD),
    "two lengths": (GET + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + SMUGGLED, BAD),
    "length with a sign": (GET + b"Content-Length: +5\r\n\r\n" + SMUGGLED, BAD),
    "negative length": (GET + b"Content-Length: -1\r\n\r\n" + SMUGGLED, BAD),
    "length in hex": (GET + b"Content-Length: 0x5\r\n\r\n" + SMUGGLED, BAD),
    "list of lengths": (GET + b"Content-Length: 0, 5\r\n\r\n" + SMUGGLED, BAD),
    "length beyond 64 bits": (GET + b"Content-Length: 99999999999999999999\r\n\r\n", BAD),
    "length of 1 GiB": (GET + b"Content-Length: 1073741824\r\n\r\n", b"HTTP/1.1 413 Request Entity Too Large\r\n"),
    "two encodings": (GET + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + SMUGGLED, BAD),
    "unknown encoding": (GET + b"Transfer-Encoding: xchunked\r\n\r\n" + SMUGGLED, b"HTTP/1.1 501 Not Implemented\r\n"),
    "chunked not last": (GET + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + SMUGGLED,
                         b"HTTP/1.1 501 Not Implemented\r\n"),
    "bad chunk size": (GET + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + SMUGGLED, BAD),
    "negative chunk": (GET + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + SMUGGLED, BAD),
    "chunk too short": (GET + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n" + SMUGGLED, BAD),
    "chunk of 4 GiB": (GET + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", b"HTTP/1.1 413 "),
    "chunk extension of 1 KiB": (GET + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"e" * 1024 + b"\r\n", BAD),
    "space before colon": (GET + b"Content-Length : 5\r\n\r\n" + SMUGGLED, BAD),
    "folded header": (GET + b"X: a\r\n b\r\n\r\n", BAD),
    "header without a colon": (GET + b"X\r\n\r\n", BAD),
    "header without a name": (GET + b": x\r\n\r\n", BAD),
    "NUL in a header": (GET + b"X: a\0b\r\n\r\n", BAD),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "CR in a header": (GET + b"X: a\rb\r\n\r\n", BAD),
    "tab in the request line": (b"GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "bad escape": (get("/v2/credentials/%zz"), BAD),
    "authority form": (get("x:80", method="CONNECT"), BAD),
    "not a path": (get("v2/credentials/x"), BAD),
    "an unknown expectation": (get("/", "Expect: miracles"), b"HTTP/1.1 417 Expectation Failed\r\n"),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_bad_requests(bed, what):
    """One answer with the reason, the connection closed; nothing behind it is taken for a request."""
    data, expected = REQUESTS[what]
    for port in (CREDENTIALS, INTROSPECTION):
        answer = ask(bed, data, port)
        assert answer.startswith(expected) and b"\r\nConnection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1 ") == 1


NOT_FOUND, INVALID = (404, b"404 page not found\n"), (400, b'"code":"InvalidIdInRequest"')
TARGETS = {
    "/v2/credentials/../../etc/passwd": (301, b""), "/v2/credentials/%2e%2e/x": (301, b""), "//v2//credentials//x": (301, b""),
    "/v2/credentials/x/.": (301, b""), "/v2/credentials/a%00b": INVALID, "/v2/credentials/" + "i" * 8000: INVALID,
    "/v2/credentials/%0d%0aSet-Cookie:%20x": NOT_FOUND, "/v2%2fcredentials%2fx": INVALID,
    "http://169.254.170.2/v2/credentials/x": INVALID, "http://x@y:99/nope": NOT_FOUND, "/%ff%fe": NOT_FOUND,
    "/v2/credentials/x?id=y#z": INVALID, "/v1/credentials?id=%00": INVALID,
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[:40])
def test_odd_targets(bed, target):
    status, words = TARGETS[target]
    head, _, body = ask(bed, get(target)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status) and words in body
    assert b"Set-Cookie" not in head.replace(b"%0D%0ASet-Cookie", b"")


def test_odd_but_good(bed):
    """Bare line feeds, upgrades nobody wants, a body nobody reads, HEAD, a half-closed connection."""
    good = "/v2/credentials/" + bed.role["credentialsId"]
    secret = bed.role["secretAccessKey"].encode()
    for data in (f"GET {good} HTTP/1.1\nHost: x\nConnection: close\n\n".encode(),
                 get(good, "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"),
                 get(good, "Content-Length: 3") + b"abc", get(good, "Expect: 100-continue", "Content-Length: 3"),
                 get(good, method="PROPFIND"), b"\r\n" + get(good)):
        answer = ask(bed, data)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.count(secret) == 1
    assert ask(bed, get(good, method="HEAD")).endswith(b"\r\n\r\n")
    assert secret in ask(bed, f"GET {good} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), finish=True)
    assert ask(bed, b"GET / HT", finish=True) == b""


def test_pipelining(bed):
    """A thousand requests in one go: as many answers, in order."""
    requests = b"".join(b"GET /v2/credentials/%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(999))
    answer = ask(bed, requests + get("/nope"))
    assert answer.count(b"HTTP/1.1 400 Bad Request") == 999
    assert answer.index(b"404 page not found") > answer.rindex(b"InvalidIdInRequest")


# --- clients that take their time

def test_ten_thousand_idle_connections(bed):
    """From one container and from many: the oldest are closed, and whoever asks is served, also on a connection of his own
    that he keeps."""
    for sources in (("127.0.0.1",), tuple(f"127.0.1.{n}" for n in range(1, 51))):
        before = resident_kib(bed)
        kept = connect(bed, 10000, sources=sources)
        served(bed, "127.0.0.9")
        served(bed, sources[0])
        assert resident_kib(bed) - before < MEMORY_KIB
        closed = [is_closed(sock) for sock in kept]
        assert all(closed[:8000]) and not any(closed[-100:])
        kept[-1].sendall(get("/v2/credentials/" + bed.role["credentialsId"]))
        assert b" 200 OK" in everything(kept[-1])
        for sock in kept:
            sock.close()


def test_slow_loris(bed):
    """Requests that never end, a byte now and then: closed in time, and nobody waits for them."""
    slow = connect(bed, 500) + connect(bed, 100, INTROSPECTION)
    begin, left = time.monotonic(), list(slow)
    for sock in left:
        sock.sendall(b"GET / HTTP/1.1\r\nX: ")
    while left and time.monotonic() - begin < 3 * TIMEOUT_S:
        served(bed)
        for sock in left:
            try:
                sock.sendall(b"x")
            except OSError:
                pass
        left = [sock for sock in left if not is_closed(sock)]
        time.sleep(0.5)
    assert not left and time.monotonic() - begin > 0.9 * TIMEOUT_S
    for sock in slow:
        sock.close()


def stuck(bed, count, port, sources):
    """Connections that have asked for more than the kernel takes for them, and read nothing."""
    made = connect(bed, count, port, sources)
    for sock in made:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(0)
        sock.send(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    return made


@pytest.mark.parametrize("port, count", [(CREDENTIALS, 1024), (INTROSPECTION, 256)])
def test_answers_that_are_not_read(bed, port, count):
    """As many as there may be, from more than one address: none of them keeps a newcomer out, and memory is bounded."""
    held = stuck(bed, count, port, ("127.0.2.1", "127.0.2.2", "127.0.2.3"))
    assert resident_kib(bed) < 64 << 10
    begin = time.monotonic()
    served(bed, "127.0.0.9")
    for _ in range(3):
        assert bed.instance.http("GET", f"http://127.0.0.1:{INTROSPECTION}/v1/metadata", source="127.0.0.9").status == 200
    assert time.monotonic() - begin < 0.8 * TIMEOUT_S
    for sock in held:
        sock.close()
