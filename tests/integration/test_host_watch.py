"""ecs-host beside others that take away what it has put in place."""

import os
import re

import pytest

from ecsbed.host import CREDENTIALS, Host
from ecsbed.instance import wait_until
from test_host import LOCALNET, RULES, fake_iptables, network

POLL_S = 30     # of iptables-legacy, sysctls and the route, on an unscaled clock
SCALE = 30      # makes that one second


@pytest.fixture
def make_host(request):
    made = []

    def make(iptables):
        made.append(Host().up(iptables))
        return made[-1]
    yield make
    for host in made:
        if getattr(request.node, "failed_in_call", False):
            print("--- ecs-host's log ---\n" + host.log())
        host.down()


def back(host, timeout):
    wait_until(lambda: sorted(host.rules()) == RULES, timeout, "all rules")


def put_back(host):
    """The log lines about what was put back."""
    return [line for line in host.log().splitlines() if 'msg="put back what was missing"' in line]


def put_back_once(host):
    """The only such line; it is written when all is back."""
    wait_until(lambda: put_back(host), 10, "a line of log")
    line, = put_back(host)
    return line


@pytest.mark.parametrize("flush", [
    ["nft", "flush", "ruleset"],
    ["iptables", "-F"],
    ["iptables", "-t", "nat", "-F", "OUTPUT"],
    ["ip6tables", "-F"],
    ["iptables", "-D", "INPUT", "1"],
    ["nft", "delete", "table", "ip", "nat"],
], ids=" ".join)
def test_flushed(make_host, flush):
    """The kernel tells of it: all is back before the next poll would have looked (users.md 24: five seconds)."""
    host = make_host("nft")
    host.peer("container")
    host.serve("credentials", "127.0.0.1", 51679)
    host.start()
    assert "by=notifications" in host.log()
    host.run(*flush)
    back(host, POLL_S / 2)
    assert host.peer("container").reach(CREDENTIALS, 80) == "credentials"
    line = put_back_once(host)
    if flush == ["ip6tables", "-F"]:
        assert line.count("tables -t ") == 2 and line.count("ip6tables -t ") == 2
    assert host.terminate() == 0
    assert host.rules() == []


def test_restored(make_host):
    """A reload that replaces everything at once, as iptables-restore does."""
    host = make_host("nft")
    host.start()
    host.run("iptables-restore", stdin=b"*filter\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n*nat\nCOMMIT\n")
    wait_until(lambda: set(RULES) < set(host.rules()), POLL_S / 2, "all rules")
    assert len(host.rules()) == len(RULES) + 1


def test_others_changes(make_host):
    """Rules that others add and delete are looked at, and nothing is put back."""
    host = make_host("nft")
    host.start(ECS_LOGLEVEL="debug")
    for _ in range(20):
        host.run("iptables", "-A", "FORWARD", "-p", "tcp", "-j", "DROP")
        host.run("iptables", "-D", "FORWARD", "-p", "tcp", "-j", "DROP")
    host.run("iptables", "-D", "INPUT", "1")     # a mark: what came before it has been seen
    back(host, POLL_S / 2)
    put_back_once(host)
    assert sorted(host.rules()) == RULES


def test_flushed_legacy(make_host):
    """Nobody tells of changes there; the poll finds them."""
    host = make_host("legacy")
    host.start(ECSD_CLOCK_SCALE=SCALE)
    assert "by=polling" in host.log()
    host.run("iptables-legacy", "-F")
    host.run("iptables-legacy", "-t", "nat", "-F")
    back(host, POLL_S)
    wait_until(lambda: put_back(host), 10, "a line of log")
    assert len(put_back(host)) <= 2     # it may have looked between the two
    assert host.terminate() == 0
    assert host.rules() == []


@pytest.mark.parametrize("iptables", ["nft", "legacy"])
def test_sysctl_and_route(make_host, iptables):
    host = make_host(iptables)
    before = host.state()
    host.start(ECSD_CLOCK_SCALE=SCALE)
    host.run("sysctl", "-qw", f"{LOCALNET}=0")
    wait_until(lambda: host.sysctl(LOCALNET) == 1, POLL_S, "route_localnet")
    host.run("ip", "route", "flush", "table", "main")
    wait_until(lambda: [r.strip() for r in host.routes()] == ["169.254.170.2 dev lo scope link"], POLL_S, "the route")
    assert host.terminate() == 0
    assert host.state() == before


def test_a_bridge_that_comes_later(make_host):
    """Docker makes its bridge when it starts."""
    host = make_host("nft")
    host.start(ECSD_CLOCK_SCALE=SCALE)
    host.run("ip", "link", "add", "docker0", "type", "bridge")
    host.run("sysctl", "-qw", "net.ipv6.conf.docker0.accept_ra=1")
    wait_until(lambda: host.sysctl("net.ipv6.conf.docker0.accept_ra") == 0, POLL_S, "accept_ra")


def test_configuration_that_comes_later(make_host):
    """cloud-init writes it while ecs-host runs."""
    host = make_host("nft")
    host.start(ECSD_CLOCK_SCALE=SCALE)
    host.write("/etc/ecs/ecs.config", "ECS_CLUSTER=x\nECS_ALLOW_OFFHOST_INTROSPECTION_ACCESS=true\n")
    wait_until(lambda: sorted(host.rules()) == sorted(r for r in RULES if "51678" not in r), POLL_S, "fewer rules")
    host.write("/etc/ecs/ecs.config", "ECS_CLUSTER=x\n")
    back(host, POLL_S)
    assert not put_back(host)   # nobody took it away


@pytest.mark.parametrize("iptables", ["nft", "legacy"])
def test_no_endless_fight(make_host, iptables):
    """Something deletes a rule whenever it sees it: the looks get further apart, and that is said once. When it leaves off, the
    rule comes back."""
    host = make_host(iptables)
    host.start(ECSD_CLOCK_SCALE=SCALE)
    rule = ("OUTPUT", "-p", "tcp", "-d", CREDENTIALS, "--dport", "80", "-j", "REDIRECT", "--to-ports", "51679")

    def fought():
        host.run(f"iptables-{iptables}", "-t", "nat", "-D", *rule, check=False)
        return any("next_look_s=64" in line for line in put_back(host))
    wait_until(fought, 60, "looks further apart")
    seconds = [int(re.search(r"next_look_s=(\d+)", line).group(1)) for line in put_back(host)]
    assert seconds == [1 << i for i in range(7)]
    assert host.log().count("takes the set-up away again and again") == 1
    back(host, 60)
    assert host.terminate() == 0
    assert host.rules() == []


def test_order_that_cannot_be_had(make_host):
    """What is deleted to come above a rule that then cannot be added is heard of as a change; that is no reason to try again
    at once."""
    host = make_host("nft")
    host.write("/run/count", "")
    fake_iptables(host, 'echo "$*" >>/run/count\n'
                        'case "$*" in *"-I INPUT -p tcp --dport 51678 !"*) [ -e /run/broken ] && exit 2;; esac; exec $real "$@"')
    polls = host.docker([network("docker0")])   # asked with each
    host.start(ECSD_CLOCK_SCALE=SCALE)
    host.write("/run/broken", "")
    host.run("iptables-nft", "-D", "INPUT", "2")

    def attempts():
        with open(host.path_inside("/run/count")) as file:
            return sum("-I INPUT -p tcp --dport 51678 !" in line for line in file)
    first = attempts()
    wait_until(lambda: attempts() >= first + 5, POLL_S, "further attempts")
    assert attempts() - first <= len(polls)
    os.unlink(host.path_inside("/run/broken"))
    back(host, POLL_S)


def test_iptables_fails_for_a_while(make_host):
    """An error is said once, not with each look; ecs-host goes on, and mends when it can."""
    host = make_host("nft")
    host.start(ECSD_CLOCK_SCALE=SCALE)
    for program in ("iptables", "ip6tables"):
        host.alternative(program, "does-not-exist")
    host.run("iptables-nft", "-t", "nat", "-F")
    wait_until(lambda: "the host is not set up as it should be" in host.log(), POLL_S, "an error")
    assert "/usr/sbin/iptables" in host.log()
    for program in ("iptables", "ip6tables"):
        host.alternative(program, f"{program}-nft")
    back(host, POLL_S)
    wait_until(lambda: "the host is set up again" in host.log(), POLL_S, "the end of the error")
    assert host.log().count("the host is not set up as it should be") == 1
    assert host.terminate() == 0
    assert host.rules() == []
