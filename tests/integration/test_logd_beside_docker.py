"""ecs-logd beside Docker's own drivers: the same container with the same options, once with each, and what arrives at the same
receiver compared field by field; then which options each of them takes, which tags they make and what their patterns find.
Differences that are meant are in docs/LOGGING.md. Rows are those of the test matrix of logs."""

import concurrent.futures
import os
import re
import shutil
import ssl
import time

import pytest

from ecsbed import logfifo
from ecsbed.cloudwatch import ACCESS_KEY, SECRET_KEY, CloudWatch
from ecsbed.dockerapi import DockerApi, Refused
from ecsbed.fluentd import ForwardServer
from ecsbed.instance import wait_until
from ecsbed.logd import DRIVER, Logd
from ecsbed.syslogwire import SyslogWire

CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
# What Docker's SDK signs; ecs-logd signs as a newer one does.
DOCKER_SIGNS = ("content-length", "content-type", "host", "x-amz-date", "x-amz-target")
SHOWN = "/tmp/ecsd-test-shown"    # Unix sockets and certificates, for dockerd and ecs-logd


@pytest.fixture(scope="module")
def docker(instance):
    return DockerApi(instance)


@pytest.fixture(scope="module")
def shown(pki):
    path = f"{SHOWN}.{os.getpid()}"
    os.makedirs(path, mode=0o755)
    shutil.copy(pki.ca, f"{path}/ca.pem")
    for source, name in zip(pki.client(), ("client.pem", "client.key")):
        shutil.copy(source, f"{path}/{name}")
        os.chmod(f"{path}/{name}", 0o644)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def logd(instance, shown):
    logd = Logd(instance, instance.new_directory(), ECS_LOGD_SHOWN=shown, **CREDENTIALS).start()
    yield logd
    instance.remove_containers()
    refused = logd.refused()
    logd.close()
    assert not refused


def ecs(driver, options):
    """Driver and options for ecs-logd."""
    return DRIVER, {**options, "x-ecs-driver": driver}


# --- what a container may write (rows 1, 12 to 16)

def words(*values):
    return "".join(f"\\{byte:03o}" for value in values for byte in value)


# Every byte but the newline, for printf.
ALL_BYTES = words(bytes(byte for byte in range(256) if byte != 10))
INVALID = words(b"\x80", b" \xc0\xaf", b" \xed\xa0\x80", b" \xf5\x80\x80\x80", b" \xe2\x82", b"\xff\xfe end")
TRICKY = [
    "echo one line",
    "echo", "echo x",
    r"printf 'two  spaces \t and a tab \n'",
    r"printf '\033[31mred\033[0m\r\n'",
    rf"printf '{ALL_BYTES}\n'",
    rf"printf '{INVALID}\n'",
    r"printf 'nothing %%s %%n {{.ID}} <30>1 $x \\ \042 \047\n'",
]
LENGTHS = (16383, 16384, 16385, 32768, 40000)
LONG = [f"head -c {length} /dev/zero | tr '\\0' {letter}; echo" for length, letter in zip(LENGTHS, "abcde")] + [
    # Characters of three bytes, which the cuts go through; and both without a newline at the end.
    r"i=0; while [ $i -lt 200 ]; do printf '\342\202\254%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; i=$((i+1)); done; echo"]
RECORDS = len(TRICKY) + 1 + 2 + 2 + 3 + 3 + 2 + 1    # the last piece may be empty; and the rest
SCRIPT = "; ".join(["s() { " + "; ".join(TRICKY + LONG) + "; printf 'the rest'; }", "s", "s >&2"])


def neutral(data, container):
    """Without what is different between any two containers."""
    return data.replace(container.encode(), b"FULL-ID").replace(container[:12].encode(), b"ID")


def pieces_of(records):
    """Ids of lines in pieces by the order they appear in."""
    numbers = {}
    for record in records:
        if b"partial_id" in record:
            record[b"partial_id"] = numbers.setdefault(record[b"partial_id"], len(numbers))


@pytest.mark.row(1, 12, 13, 14, 15, 16, 20)
@pytest.mark.parametrize("options", [
    {}, {"fluentd-sub-second-precision": "true", "tag": "a.{{.Name}}", "labels": "team,absent,log", "env": "STAGE, SPACED"},
    {"fluentd-request-ack": "true", "labels-regex": "^t", "env-regex": "[AS]"}], ids=["plain", "attributes", "ack"])
def test_fluentd_records(instance, docker, logd, options):
    servers = [ForwardServer(sock=instance.listen("127.0.0.1", 0)) for _ in range(2)]
    seen = []
    # When both streams are busy, Docker's driver takes acknowledgements for others' and repeats messages.
    sources = (b"stdout",) if "fluentd-request-ack" in options else (b"stdout", b"stderr")
    script = SCRIPT.rpartition("; ")[0] if len(sources) == 1 else SCRIPT
    for server, each in zip(servers, ("fluentd", "ecs-logd")):
        given = {"fluentd-address": f"tcp://127.0.0.1:{server.port}", **options}
        container = docker.run(*(("fluentd", given) if each == "fluentd" else ecs("fluentd", given)), ["sh", "-c", script],
                               name="same", labels={"team": "a", "task": "b", "log": "a label", "other": "c"},
                               env=["STAGE=d", " SPACED=e", "EMPTY=", "TWICE=1", "TWICE=2"])
        wait_until(lambda: len(server.events) >= len(sources) * RECORDS, 20, "all records")
        seen.append([])
        for tag, when, record in server.events:
            assert all(isinstance(item, bytes) for pair in record.items() for item in pair)
            if "fluentd-sub-second-precision" in options:
                assert (when.code, len(when.data)) == (0, 8), (each, when)
                when = int.from_bytes(when.data[:4], "big")
            assert abs(when - time.time()) < 60
            seen[-1].append((neutral(tag, container), {key: neutral(value, container) for key, value in record.items()}))
    for source in sources:
        theirs, ours = ([(tag, record) for tag, record in each if record[b"source"] == source] for each in seen)
        for each in (theirs, ours):
            pieces_of(record for _, record in each)
        assert ours == theirs and len(ours) == RECORDS
    for server in servers:
        server.stop()


WAYS = [("udp", ""), ("udp", "rfc5424"), ("tcp", "rfc3164"), ("tcp", "rfc5424micro"), ("tls", ""), ("tls", "rfc5424"),
        ("unix", "rfc5424"), ("unixgram", "")]


@pytest.mark.row(1, 12, 13, 14, 15, 16, 42)
@pytest.mark.parametrize("way, form", WAYS)
def test_syslog_messages(instance, docker, logd, shown, pki, way, form):
    options = {"syslog-format": form, "syslog-facility": "local3", "tag": "{{.Name}}/{{.ID}}", "labels": "a", "env": "B"}
    context = None
    if way == "tls":
        context = pki.context("syslog")
        context.load_verify_locations(pki.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        options.update({"syslog-tls-ca-cert": f"{shown}/ca.pem", "syslog-tls-cert": f"{shown}/client.pem",
                        "syslog-tls-key": f"{shown}/client.key"})
    counted = way == "tls" and form.startswith("rfc5424")
    seen = []
    for number in range(2):
        wire = SyslogWire(instance, way, f"{shown}/{way}{number}" if "unix" in way else None, context)
        given = {"syslog-address": wire.url, **options}
        container = docker.run(*(ecs("syslog", given) if number else ("syslog", given)), ["sh", "-c", SCRIPT], name="same")
        wait_until(lambda: sum(data.endswith(b": the rest\n") or data.endswith(b" - the rest\n")
                               for data in wire.raw(counted)) == 2, 20, "all messages")
        messages = wire.messages(counted)
        assert len({message.process for message in messages}) == 1
        seen.append([message._replace(time=re.sub(rb"\d", b"0", message.time).replace(b" 0", b"00"), process=b"1",
                                      tag=neutral(message.tag, container)) for message in messages])
        wire.down()
    theirs, ours = seen
    assert {message.priority for message in ours} == {b"158", b"155"} and ours[0].tag == b"same/ID"
    for priority in (b"158", b"155"):
        assert [message for message in ours if message.priority == priority] == \
            [message for message in theirs if message.priority == priority]


# --- which options are taken (row 21)

AWS = {"awslogs-group": "g", "awslogs-region": "us-west-2"}
BOOLEANS = ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False", "", "yes", "tRUE", "true ", "2")
OPTIONS = [
    *(("syslog", options) for options in [
        {}, {"tag": "x"}, {"nonsense": "1"}, {"fluentd-address": "x"}, {"awslogs-group": "g"}, {"labels": "a", "env": "B"},
        {"labels-regex": "^a", "env-regex": "^B"}, {"mode": "blocking"}, {"mode": "non-blocking"}, {"mode": ""}, {"mode": "fast"},
        {"max-buffer-size": "1m"}, {"mode": "non-blocking", "max-buffer-size": "1m"},
        {"mode": "non-blocking", "max-buffer-size": "1.5 mib"}, {"mode": "non-blocking", "max-buffer-size": "much"},
        {"mode": "non-blocking", "max-buffer-size": ""}, {"mode": "non-blocking", "max-buffer-size": "-1"},
        {"max-size": "1m"}, {"cache-disabled": "true"}, {"cache-disabled": "maybe"}, {"cache-max-size": "1m"},
        {"syslog-tls-skip-verify": "maybe"}, {"syslog-tls-ca-cert": "/nowhere"}]),
    *(("syslog", {"syslog-facility": value}) for value in (
        "", "kern", "local7", "daemon", "authpriv", "0", "12", "23", "24", "-1", "+1", "01", "1x", "Local0", "ntp", " 3")),
    *(("syslog", {"syslog-format": value}) for value in ("", "rfc3164", "rfc5424", "rfc5424micro", "RFC5424", "json", "rfc5425")),
    *(("syslog", {"syslog-address": value}) for value in (
        "", "udp://127.0.0.1:1", "udp://127.0.0.1", "udp://h", "tcp://h:65535", "tcp://h:65536", "tcp://h:0", "tcp://h:", "tcp://:1",
        "tcp+tls://h:1", "tls://h:1", "http://h", "h", "127.0.0.1:1", "h:1", "udp://", "udp://[::1]:1", "udp://[::1]", "udp://::1",
        "udp://h:x", "udp://h/path", "udp://u:p@h:1", "udp://a b:1", "UDP://h:1", "unix:///nowhere", "unixgram:///nowhere",
        "unix://", "unix:///tmp", "unixgram:///tmp", "//h:1", "udp:h:1", "udp://h:1?x=y", "udp://%zz:1")),
    *(("awslogs", {**AWS, **options}) for options in [
        {}, {"awslogs-group": ""}, {"awslogs-stream": "s", "tag": "t"}, {"labels": "a"}, {"env": "a"}, {"awslogs-stream-prefix": "p"},
        {"awslogs-datetime-format": "%Y"}, {"awslogs-multiline-pattern": "^x"}, {"awslogs-format": "json/emf"},
        {"awslogs-datetime-format": "%Y", "awslogs-multiline-pattern": "^x"},
        {"awslogs-datetime-format": "", "awslogs-multiline-pattern": ""}, {"awslogs-format": "json"}, {"awslogs-format": ""},
        {"awslogs-format": "json/emf", "awslogs-datetime-format": ""},
        {"awslogs-format": "json/emf", "awslogs-multiline-pattern": "x"}, {"mode": "fast", "nonsense": "1"}]),
    ("awslogs", {"awslogs-region": "us-west-2"}),
    *(("awslogs", {**AWS, key: value}) for value in BOOLEANS for key in ("awslogs-create-group", "awslogs-create-stream")),
    *(("awslogs", {**AWS, key: value}) for value in ("1", "0", "-1", "", "+5", "x", "1.5", "99999999999", "99999999999999999999")
      for key in ("awslogs-force-flush-interval-seconds", "awslogs-max-buffered-events")),
    *(("fluentd", options) for options in [
        {}, {"tag": ""}, {"nonsense": ""}, {"labels": "a", "env": "b", "labels-regex": "a", "env-regex": "b"}, {"syslog-address": "x"},
        {"fluentd-async": "true", "fluentd-async-connect": "true"}]),
    *(("fluentd", {key: value}) for value in BOOLEANS for key in (
        "fluentd-async", "fluentd-async-connect", "fluentd-request-ack", "fluentd-sub-second-precision")),
    *(("fluentd", {"fluentd-retry-wait": value}) for value in (
        "", "1s", "100ms", "1m30s", "0", "0.5s", "1", "1d", "x", "-1s", "300us", "1h1h", ".s", "10000000h")),
    *(("fluentd", {"fluentd-max-retries": value}) for value in (
        "", "0", "10", "-1", "+1", "x", "2147483647", "2147483648", "99999999999999999999")),
    *(("fluentd", {"fluentd-buffer-limit": value}) for value in (
        "", "0", "1", "8m", "1.5k", "1kib", "1 gb", "m", "-1", "x", "8mm", "8 m b", "9999p")),
    *(("fluentd", {"fluentd-address": value}) for value in (
        "", "h", "h:1", "127.0.0.1:24224", "127.0.0.1", "tcp://h", "tcp://h:1", "tls://h:1", "udp://h:1", "tcp://h:1/p", "h/p", "h:x",
        "h:65536", "h:65535", "h:0", ":1", "tcp://", "tcp://:1", "[::1]:1", "[::1]", "::1", "tcp://[::1", "unix:///a", "unix://",
        "unix:///", "unix://a/b", "unix:a", "http://h", "a b", "TCP://h:1", "tcp://h:")),
    *(("fluentd", {"fluentd-async-reconnect-interval": value}) for value in (
        "", "0", "100ms", "10s", "99ms", "11s", "-1s", "x", "5")),
    *(("fluentd", {key: value}) for value in ("", "0", "1s", "-1s", "x", "5") for key in (
        "fluentd-write-timeout", "fluentd-read-timeout")),
]

# Refused by us alone: what cannot be, and Docker finds out later or never (docs/LOGGING.md).
OTHERWISE = [("syslog", {"syslog-address": "tcp://h:65536"}), ("fluentd", {"fluentd-retry-wait": "-1s"}),
             ("fluentd", {"fluentd-buffer-limit": "9999p"})]
# Where Docker itself has changed its mind after 20.10 we do as the newer ones do: options that are new, addresses that are looked
# at more closely.
NEW_OPTIONS = {"awslogs-format", "awslogs-create-stream", "fluentd-async-reconnect-interval", "fluentd-write-timeout",
               "fluentd-read-timeout"}
NEW_VALUES = {
    "syslog-address": {"UDP://h:1", "udp:h:1"}, "fluentd-max-retries": {"2147483648"},
    "fluentd-address": {"tls://h:1", "udp://h:1", "tcp://h:1/p", "h/p", "h:65536", "unix://", "unix:///", "a b", "TCP://h:1", "tcp://h:"}}


def newer(options):
    return NEW_OPTIONS & set(options) or any(options.get(name) in values for name, values in NEW_VALUES.items())


def verdict(function, *arguments):
    """Why not; None if there is no reason."""
    try:
        function(*arguments)
    except (Refused, logfifo.Refused) as error:
        return str(error)
    return None


def start_alone(logd, driver, options, **members):
    """As if Docker had started it; it ends at once."""
    log = logfifo.LogFifo(logd, driver, **members)
    log.config.update(options)
    try:
        log.start()
        log.stop()
    finally:
        log.drop()
        log.remove()


def in_parallel(function, cases):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda case: function(*case), cases))


@pytest.mark.row(21)
def test_options(docker, logd):
    def dockers(driver, options):
        return verdict(lambda: docker.remove(docker.create(driver, options)))

    def ours(driver, options):
        # Nothing of it is to go anywhere.
        more = {"awslogs-endpoint": "http://127.0.0.1:1"} if driver == "awslogs" else {}
        return verdict(start_alone, logd, driver, {**options, **more})
    for case, docker_says, we_say in zip(OPTIONS, in_parallel(dockers, OPTIONS), in_parallel(ours, OPTIONS)):
        driver, options = case
        if case in OTHERWISE:
            assert docker_says is None and we_say, case
        elif not newer(options):
            assert (docker_says is None) == (we_say is None), (case, docker_says, we_say)
        # Who has written it finds it in the text.
        assert not we_say or any(name in we_say or value and value in we_say for name, value in options.items()) or \
            not options.get("awslogs-group") and "'awslogs-group'" in we_say, (case, we_say)


# --- tags (row 19), labels and env (row 20), patterns (row 18): what they make is what arrives as tag and record

LABELS = {"team": "a b", "Team": "T", "com.example/x": "slash", "a.b": "dot", "a1": "<&>", "aab": "", "log": "mine", "x y": "space",
          "\u00e4\u20ac": "\u00e9", "_": "'\"", "END": "tab\t"}
ENVIRONMENT = ["STAGE=b", "TWICE=1", "TWICE=2", "EMPTY=", "EQUALS=a=b", "team=env", " LEADING=x", "ab1=", "\u00e4=\u00fc"]
ATTRIBUTES = {"labels": "team,a.b,_", "env": "STAGE,EQUALS"}
# One is made of many: the results are joined by this.
SEPARATOR = " ~ "
TEMPLATES = [
    "{{.ID}}", "{{.FullID}}", "{{.Name}}", "{{.ImageID}}", "{{.ImageFullID}}", "{{.ImageName}}", "{{.DaemonName}}", "{{.Command}}",
    "{{.Hostname}}", "{{.ContainerID}}", "{{.ContainerName}}", "{{.ContainerImageID}}", "{{.ContainerImageName}}",
    "{{.ContainerEntrypoint}}", "{{.ContainerArgs}}", "{{.ContainerEnv}}", "{{.ContainerLabels}}", "{{.LogPath}}", "no action",
    "{{(.ExtraAttributes nil).STAGE}}", "{{(.ExtraAttributes nil).absent}}", "{{.ExtraAttributes nil}}", "{{.ContainerLabels.team}}",
    "{{.ContainerLabels.absent}}", '{{index .ContainerLabels "com.example/x"}}', '{{index .ContainerLabels "absent"}}',
    "{{json .ContainerLabels}}", "{{json .ContainerArgs}}", '{{split .ImageName ":"}}', '{{join (split .ImageName ":") "-"}}',
    '{{title "hello wORLD"}}', "{{lower .Name}}{{upper .Name}}", '[{{pad "x" 2 3}}{{pad "" 2 3}}]', "{{truncate .ImageFullID 9}}",
    '{{printf "%s-%v-%d-%q|%5s|%-5s|%05d" "a" .ContainerArgs 5 "q" "ab" "ab" 42}}', "{{len .Name}} {{len .ContainerLabels}}",
    '{{if eq .Name "same"}}yes{{else}}no{{end}}{{if .LogPath}}a{{else if .Name}}b{{end}}', "{{with .Name}}{{.}}{{end}}",
    "{{range $i, $e := .ContainerArgs}}{{$i}}={{$e}};{{end}}{{range $k, $v := .ContainerLabels}}{{$k}}={{$v}};{{end}}",
    "a {{- /* c */ -}} b {{- .Name -}}   c", '{{$x := "x"}}{{$x}}{{$x = "y"}}{{$x}}',
    '{{and 1 0}} {{or 0 "x"}} {{not true}} {{lt 1 2}} {{ge "a" "b"}} {{ne "a" "b"}}', "{{.Name | upper | lower | len}}",
    '{{slice "abcdef" 1 3}} {{index .ContainerArgs 0 0}}', "{{print 1 2 .Name 3}}", '{{html "<a>&"}} {{js "<\'>"}} {{urlquery "a b/c"}}',
    "{{'a'}} {{0x1F}} {{-3}} {{1_000}}", '{{"\\x41\\u00e9\\t"}}{{`raw \\n`}}', "\u00e4 {{.Name}} \u20ac",
]
BAD_TEMPLATES = [
    "{{", "{{.ID", "{{.ID}", "{{.Absent}}", "{{absent}}", "{{.ID.x}}", '{{.ID "x"}}', "{{if}}{{end}}", "{{if true}}", "{{end}}", "{{else}}",
    '{{"abc}}', "{{$x}}", "{{truncate 3 .ID}}", "{{index .ContainerArgs 99}}", "{{lower 5}}", "{{nil}}",
]
PATTERNS = [
    "^team$", "team", "(?i)^TEAM", "a", "^a+b?$", "a.b", r"a\.b", "^$", "", ".*", "[[:upper:]]", r"^\pL+$", r"\d", r"^\W", r"\bb\b", "[^a-z]",
    "(?P<n>x) y", r"^\Qa.b\E$", "^.{1,2}$", "^(a|b){2,}$", "(?U)a+", r"\x{20ac}", "(?s:.)x", r"\Az|D\z", "x y|_", "^[ES]", "=", r"\s",
    "(a*)*b", "(?:a?){30}a{30}",
]
BAD_PATTERNS = ["(", "[", "*", "a**", r"\1", "(?=a)", "(?<!a)", "a{1001}", "[z-a]", r"\8", "(?P<a", "[[:nonsense:]]", r"\pX", "a{2,1}"]


@pytest.fixture
def receivers(instance):
    """For Docker's driver, and for ecs-logd."""
    made = [ForwardServer(sock=instance.listen("127.0.0.1", 0)) for _ in range(2)]
    yield made
    for server in made:
        server.stop()


def run_both(docker, receivers, options, **members):
    """What becomes of one line, with either: (tag, record), or why it was refused."""
    found = []
    for number, server in enumerate(receivers):
        given = {**options, "fluentd-address": f"tcp://127.0.0.1:{server.port}"}
        try:
            container = docker.run(*(ecs("fluentd", given) if number else ("fluentd", given)), ["echo", "line"], **members)
        except Refused as error:
            found.append(str(error))
            continue

        def arrived():
            return [(tag, record) for tag, _, record in list(server.events) if record[b"container_id"] == container.encode()]
        wait_until(arrived, 20, "the line")
        (tag, record), = arrived()
        found.append((neutral(tag, container),
                      {key: neutral(value, container) for key, value in record.items() if key != b"container_name"}))
    return found


@pytest.mark.row(19)
def test_tags(docker, logd, receivers):
    theirs, ours = run_both(docker, receivers, {"tag": SEPARATOR.join(TEMPLATES), **ATTRIBUTES}, name="same", labels=LABELS,
                            env=ENVIRONMENT, Hostname="other")
    assert isinstance(theirs, tuple) and isinstance(ours, tuple), (theirs, ours)
    split = [tag.decode().split(SEPARATOR) for tag, _ in (theirs, ours)]
    # Docker 20.10 leaves "sha256:" in the short one.
    short = TEMPLATES.index("{{.ImageID}}")
    assert split[1][short] == split[1][TEMPLATES.index("{{.ImageFullID}}")].removeprefix("sha256:")[:12]
    split[0][short] = split[1][short]
    assert list(zip(TEMPLATES, split[1])) == list(zip(TEMPLATES, split[0])) and len(split[1]) == len(TEMPLATES)
    assert ours[1] == theirs[1]


@pytest.mark.row(19)
def test_tags_that_are_refused(docker, logd):
    """By Docker when the container starts, and so by us."""
    options = {"syslog-address": "udp://127.0.0.1:9"}
    for template in BAD_TEMPLATES:
        theirs = verdict(docker.run, "syslog", {**options, "tag": template})
        ours = verdict(start_alone, logd, "syslog", {**options, "tag": template})
        assert theirs and ours, (template, theirs, ours)
        assert "template: " in ours, ours


@pytest.mark.row(18, 20)
def test_labels_and_environment(docker, logd, receivers):
    cases = [{"labels-regex": label, "env-regex": name} for label, name in zip(PATTERNS[::2], PATTERNS[1::2])] + [
        {"labels": "team, a.b,,absent,x y", "env": "STAGE,TWICE,EMPTY,EQUALS, LEADING,absent"},
        {"labels": "team", "env": "team", "labels-regex": "team", "env-regex": "team"}, {"labels": "", "env": ""},
        {"labels": "container_id,log,source", "env": "log"}, {"labels": ",", "labels-regex": "log", "env-regex": "="},
    ]

    def compare(number, case):
        return run_both(docker, receivers, {"tag": str(number), **case}, labels={**LABELS, "source": "label"}, env=ENVIRONMENT)
    for case, (theirs, ours) in zip(cases, in_parallel(compare, list(enumerate(cases)))):
        assert ours == theirs and isinstance(ours, tuple), case


@pytest.mark.row(18)
def test_patterns_that_are_refused(docker, logd):
    for pattern in BAD_PATTERNS:
        for driver, options in (("fluentd", {"fluentd-async": "true", "labels-regex": pattern}),
                                ("awslogs", {**AWS, "awslogs-multiline-pattern": pattern})):
            theirs, ours = verdict(docker.run, driver, options), verdict(start_alone, logd, driver, options)
            # A newer Docker quotes more of it.
            assert theirs and ours and theirs[theirs.index("error parsing"):].rstrip("`") in ours, (pattern, theirs, ours)


@pytest.mark.row(1, 19)
def test_streams_of_awslogs(instance, docker, logd):
    """The tag is the stream's name; what a line holds is the same event. (Batches and calls: test_logd_awslogs.py.) Docker 20.10
    does not send UTF-8 for what is none."""
    valid = [line for line in TRICKY if ALL_BYTES not in line and INVALID not in line]
    instance.docker_environment.update(CREDENTIALS)
    instance.restart_dockerd()    # the driver's credentials are dockerd's
    seen = []
    for number in range(2):
        service = CloudWatch(instance.listen("127.0.0.1", 0), groups=("g",))
        if not number:
            service.signed = DOCKER_SIGNS
        streams = {}
        for options in ({}, {"tag": "{{.Name}}-{{.ID}}/{{.DaemonName}}"}, {"awslogs-stream": "named", "tag": "unused"}):
            options = {**options, **AWS, "awslogs-endpoint": service.endpoint, "awslogs-force-flush-interval-seconds": "1"}
            container = docker.run(*(ecs("awslogs", options) if number else ("awslogs", options)),
                                   ["sh", "-c", "; ".join(valid + ["printf 'the rest'"])], name="same")

            def finished():
                return [(name, events) for (_, name), events in list(service.streams.items())
                        if name not in streams and events and events[-1].message == "the rest"]
            wait_until(finished, 30, "the stream's last line")
            (name, events), = finished()
            streams[name] = container
            seen.append((neutral(name.encode(), container), [event.message for event in events]))
        service.stop()
        assert not service.violations
    assert seen[:3] == seen[3:]
    assert [name for name, _ in seen[:3]] == [b"FULL-ID", b"same-ID/docker", b"named"]
