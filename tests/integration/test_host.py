"""ecs-host: what it puts into a host, that it is there once however often it is run, and that nothing is left. On both kinds
of iptables."""

import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from ecsbed.host import CREDENTIALS, Host
from ecsbed.instance import wait_until

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
LOCALNET = "net.ipv4.conf.all.route_localnet"
INPUT = ["-A INPUT -i docker0 -p tcp -m tcp --dport 51678 -j ACCEPT",
         "-A INPUT ! -i lo -p tcp -m tcp --dport 51678 -j DROP",
         "-A INPUT ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"]
PREROUTING = "-A PREROUTING -d 169.254.170.2/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 127.0.0.1:51679"
OUTPUT = "-A OUTPUT -d 169.254.170.2/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 51679"
RULES = sorted([f"iptables filter {rule}" for rule in INPUT] + [f"ip6tables filter {rule}" for rule in INPUT[:2]] +
               [f"iptables nat {PREROUTING}", f"iptables nat {OUTPUT}"])
ROUTE = "169.254.170.2 dev lo scope link"


@pytest.fixture(params=["nft", "legacy"])
def host(request):
    made = Host().up(request.param)
    yield made
    if getattr(request.node, "failed_in_call", False):
        print("--- ecs-host's log ---\n" + made.log())
    made.down()


@pytest.fixture
def nft_host():
    made = Host().up("nft")
    yield made
    made.down()


def in_order(host, program="iptables"):
    """Ours in the chain INPUT, from top to bottom, are as they have to be."""
    ours = [rule for rule in host.rules() if rule.startswith(f"{program} filter -A INPUT") and
            ("51678" in rule or "127.0.0.0/8" in rule)]
    wanted = [f"{program} filter {rule}" for rule in (INPUT if program == "iptables" else INPUT[:2])]
    assert ours == wanted


def test_up_and_down(host):
    before = host.state()
    code, out, log = host.ecs_host("check")
    assert code == 1 and out.count("missing") == 9 and "in place" not in out
    for _ in range(3):
        code, _, log = host.ecs_host("up")
        assert code == 0, log
        assert sorted(host.rules()) == RULES
        in_order(host)
        in_order(host, "ip6tables")
        assert host.sysctl(LOCALNET) == 1 and [r.strip() for r in host.routes()] == [ROUTE]
    assert "changed=nothing" in log
    code, out, log = host.ecs_host("check")
    assert code == 0 and out.count("in place") == 9 and "missing" not in out
    for _ in range(2):
        code, _, log = host.ecs_host("down")
        assert code == 0, log
        assert host.state() == before
    assert host.ecs_host("check")[0] == 1


def test_others_rules_stay(host):
    """Those of others in the same chains, and one that is like ours but not quite."""
    others = [("-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "8080", "-j", "REDIRECT", "--to-ports", "80"),
              ("-A", "INPUT", "-p", "tcp", "--dport", "51678", "-j", "DROP"),
              ("-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT")]
    for rule in others:
        host.run("iptables", *rule)
    host.run("sysctl", "-qw", f"{LOCALNET}=1")
    before = host.state()
    assert host.ecs_host("up")[0] == 0
    assert set(before["rules"]) < set(host.rules())
    assert host.ecs_host("down")[0] == 0
    assert host.state() == before


def test_run(host, tmp_path):
    before = host.state()
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.settimeout(60)
    notify.bind(str(tmp_path / "notify"))
    host.start(NOTIFY_SOCKET=str(tmp_path / "notify"))
    assert notify.recv(1000) == b"READY=1"
    assert sorted(host.rules()) == RULES and host.sysctl(LOCALNET) == 1
    assert host.terminate() == 0
    assert notify.recv(1000) == b"STOPPING=1"
    assert host.state() == before


def test_killed_and_started(host):
    """kill -9 leaves all as it is; the next one adds nothing, and still knows what there was before."""
    before = host.state()
    for _ in range(3):
        host.start()
        host.terminate(signal.SIGKILL)
        assert sorted(host.rules()) == RULES
    host.start()
    assert sorted(host.rules()) == RULES
    assert host.terminate(signal.SIGINT) == 0
    assert host.state() == before


def test_killed_while_it_begins_or_ends(host):
    """kill -9 with some of the rules in place: the next one completes it, and the one after that undoes it all."""
    before = host.state()
    for some in range(1, len(RULES)):
        host.start(ready=False)
        wait_until(lambda: len(host.rules()) >= some, 20, f"{some} rules", 0.001)
        host.terminate(signal.SIGKILL)
        host.start()
        assert sorted(host.rules()) == RULES
        host.process.send_signal(signal.SIGTERM)
        wait_until(lambda: len(host.rules()) <= len(RULES) - some, 20, f"{some} rules fewer", 0.001)
        host.terminate(signal.SIGKILL)
        assert host.ecs_host("down")[0] == 0
        assert host.state() == before


def test_ended_while_it_begins(host):
    """A signal at any time: what is begun is finished, and then undone."""
    before = host.state()
    for _ in range(5):
        host.start(ready=False)
        wait_until(host.rules, 20, "a first rule")
        assert host.terminate() == 0
        assert host.state() == before


def test_after_ecs_init(host):
    """ecs-init's copies are the same rules: none is added to them, and in the end all are gone, however many there were. It
    left route_localnet on; that goes back to the default, as ecs-init would have done it."""
    before = host.state()
    host.run("sysctl", "-qw", f"{LOCALNET}=1")
    for _ in range(2):      # pre-start twice: everything is there twice
        rule = ("-p", "tcp", "-d", CREDENTIALS, "--dport", "80", "-j")
        host.run("iptables", "-t", "nat", "-A", "PREROUTING", *rule, "DNAT", "--to-destination", "127.0.0.1:51679")
        host.run("iptables", "-t", "filter", "-I", "INPUT", "--dst", "127.0.0.0/8", "!", "--src", "127.0.0.0/8",
                 "-m", "conntrack", "!", "--ctstate", "RELATED,ESTABLISHED,DNAT", "-j", "DROP")
        for program in ("iptables", "ip6tables"):
            host.run(program, "-t", "filter", "-I", "INPUT", "-p", "tcp", "--dport", "51678", "!", "-i", "lo",
                     "-j", "DROP")
            host.run(program, "-t", "filter", "-I", "INPUT", "-p", "tcp", "--dport", "51678", "-i", "docker0",
                     "-j", "ACCEPT")
        host.run("iptables", "-t", "nat", "-A", "OUTPUT", *rule, "REDIRECT", "--to-ports", "51679")
    assert sorted(host.rules()) == sorted(RULES * 2)
    code, _, log = host.ecs_host("up")
    assert code == 0 and sorted(host.rules()) == sorted(RULES * 2), log
    assert host.ecs_host("down")[0] == 0
    assert host.state() == before


def test_order_is_restored(host):
    """A rule that has to be below others is put back below them."""
    assert host.ecs_host("up")[0] == 0
    for rule in INPUT:
        host.run("iptables", "-D", *rule.split()[1:])
        assert len([r for r in host.rules() if "51678" in r or "127.0.0.0/8" in r]) == 4
        assert host.ecs_host("up")[0] == 0
        in_order(host)
    assert sorted(host.rules()) == RULES


def test_settings(host):
    """What is configured away is not added, and removed if it is there."""
    assert host.ecs_host("up", ECSD_BRIDGE_BLOCK_IMDS="true")[0] == 0
    imds = ["iptables mangle -A FORWARD -d 169.254.169.254/32 -j DROP",
            "ip6tables mangle -A FORWARD -d fd00:ec2::254/128 -j DROP"]
    assert sorted(host.rules()) == sorted(RULES + imds)
    host.write("/etc/ecs/ecs.config", "ECS_SKIP_LOCALHOST_TRAFFIC_FILTER=true\n")
    host.write("/var/lib/ecs/ecs.config", "ECS_SKIP_LOCALHOST_TRAFFIC_FILTER=false\n"
                                          "ECS_ALLOW_OFFHOST_INTROSPECTION_ACCESS=true\n")
    code, out, _ = host.ecs_host("check")
    assert code == 1 and out.count("unwanted") == 7
    assert host.ecs_host("up")[0] == 0
    assert sorted(host.rules()) == sorted(r for r in RULES if " nat " in r)
    code, out, _ = host.ecs_host("check")
    assert code == 0 and "unwanted" not in out
    # The environment is the strongest.
    assert host.ecs_host("up", ECS_SKIP_LOCALHOST_TRAFFIC_FILTER="0",
                         ECS_ALLOW_OFFHOST_INTROSPECTION_ACCESS="F")[0] == 0
    assert sorted(host.rules()) == RULES


def test_default_route(host):
    """A host that has a way to 169.254.170.2 gets no route. One that was there before stays."""
    host.default_route()
    before = host.state()
    assert host.ecs_host("up")[0] == 0
    assert host.routes() == before["routes"]
    assert host.ecs_host("down")[0] == 0
    host.run("ip", "route", "del", "default")
    host.run("ip", "route", "add", "169.254.170.2/32", "dev", "lo", "scope", "link")
    before = host.state()
    assert host.ecs_host("up")[0] == 0
    assert host.ecs_host("down")[0] == 0
    assert host.state() == before


def network(name, default="true"):
    return {"Name": "bridge", "Driver": "bridge", "Options": {
        "com.docker.network.bridge.name": name, "com.docker.network.bridge.default_bridge": default}}


def test_docker_names_the_bridge(host):
    requests = host.docker([network("br-1", "false"), network("br0")])
    assert host.ecs_host("up")[0] == 0
    assert len(requests) == 1 and requests[0].startswith("GET /networks?")
    assert sorted(host.rules()) == sorted(r.replace("docker0", "br0") for r in RULES)
    in_input = [r for r in host.rules() if "tables filter" in r and "51678" in r]
    assert ["ACCEPT" in r for r in in_input] == [True, False] * 2
    os.unlink(host.path_inside("/run/docker.sock"))     # Docker is away: what it said is still known
    assert host.ecs_host("up")[0] == 0
    assert sorted(host.rules()) == sorted(r.replace("docker0", "br0") for r in RULES)
    assert host.ecs_host("down")[0] == 0
    assert host.rules() == []


def test_docker_comes_later(host):
    """Nothing waits for Docker. When it answers, the rule and the sysctl are those of its bridge; when it has no bridge
    after all, there is no such rule."""
    networks = [network("br7")]
    host.run("ip", "link", "add", "br7", "type", "bridge")
    host.run("sysctl", "-qw", "net.ipv6.conf.br7.accept_ra=1")
    host.start(ECSD_CLOCK_SCALE=60)
    assert sorted(host.rules()) == RULES
    host.docker(lambda: networks)
    wait_until(lambda: sorted(host.rules()) == sorted(r.replace("docker0", "br7") for r in RULES), 30, "the bridge's rule")
    wait_until(lambda: host.sysctl("net.ipv6.conf.br7.accept_ra") == 0, 30, "accept_ra")
    networks.clear()
    wait_until(lambda: sorted(host.rules()) == sorted(r for r in RULES if "docker0" not in r), 30, "no such rule")
    assert host.terminate() == 0
    assert host.rules() == []


def test_docker_that_does_not_answer(host):
    """Neither one that hangs, nor one that is not on a Unix socket."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(host.path_inside("/run/docker.sock"))
    listening.listen(16)
    assert host.ecs_host("up")[0] == 0
    assert sorted(host.rules()) == RULES
    assert host.ecs_host("check", DOCKER_HOST="tcp://127.0.0.1:1")[0] == 0
    listening.close()


def test_no_ip6tables(host):
    host.alternative("ip6tables", None)
    code, _, log = host.ecs_host("up")
    assert code == 0 and log.count("there is no ip6tables") == 1
    assert sorted(host.rules()) == [r for r in RULES if r.startswith("iptables")]
    assert host.ecs_host("down")[0] == 0
    assert host.rules() == []


def test_no_iptables(host):
    before = host.state()
    host.alternative("iptables", None)
    for command in ("up", "down", "check", "run"):
        code, _, log = host.ecs_host(command)
        assert code == 1 and "there is no iptables in PATH, /usr/sbin or /sbin" in log
    assert host.sysctl(LOCALNET) == before["route_localnet"] and host.routes() == before["routes"]


def fake_iptables(host, script):
    """In place of iptables; it may call "$real"."""
    host.write("/run/fake", f"#!/bin/sh\nreal=/usr/sbin/iptables-{host.iptables}\n{script}\n")
    os.chmod(host.path_inside("/run/fake"), 0o755)
    link = host.path_inside("/etc/alternatives/iptables")
    os.unlink(link)
    os.symlink("/run/fake", link)


def test_iptables_fails(host):
    """What can be done is done, what cannot is said, and 127.0.0.0/8 is not opened without the rule that guards it."""
    fake_iptables(host, 'case "$*" in *"-I INPUT --dst"*) echo "no such match" >&2; exit 2;; esac; exec $real "$@"')
    code, _, log = host.ecs_host("up")
    assert code == 1
    assert 'cannot add the rule \\"iptables -t filter -I INPUT --dst 127.0.0.0/8' in log
    assert "exit code 2: no such match" in log
    host.alternative("iptables", f"iptables-{host.iptables}")
    assert sorted(host.rules()) == sorted(r for r in RULES if "127.0.0.0/8" not in r)
    assert host.sysctl(LOCALNET) == 0
    assert host.ecs_host("up")[0] == 0
    assert sorted(host.rules()) == RULES and host.sysctl(LOCALNET) == 1
    in_order(host)


def test_rights(host):
    """Two capabilities are left; the programs it runs have no more, and nothing of its environment."""
    fake_iptables(host, 'env >>/run/env; grep Cap /proc/self/status >>/run/caps; exec $real "$@"')
    host.start(AWS_SECRET_ACCESS_KEY="not-for-iptables")
    net_admin, net_raw, sys_module = 1 << 12, 1 << 13, 1 << 16
    with open(f"/proc/{host.process.pid}/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff")} == {net_admin | net_raw}
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0 and status["NoNewPrivs"] == "1"
    assert len(os.listdir(f"/proc/{host.process.pid}/fd")) < 16
    with open(host.path_inside("/run/caps")) as file:
        effective = {int(line.split()[1], 16) for line in file if line.startswith("CapEff")}
    assert effective == {net_admin | net_raw | sys_module}      # modules may have to be loaded, once
    with open(host.path_inside("/run/env")) as file:
        assert {line.partition("=")[0] for line in file} <= {"PATH", "LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"}
    os.unlink(host.path_inside("/run/caps"))
    assert host.terminate() == 0
    with open(host.path_inside("/run/caps")) as file:
        effective = {int(line.split()[1], 16) for line in file if line.startswith("CapEff")}
    assert effective == {net_admin | net_raw}


def test_two_at_once(host):
    """Several at the same time add nothing twice."""
    commands = [subprocess.Popen(host.command(host.program, "up"), env=host.environment({}),
                                 stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(4)]
    assert [(c.communicate(timeout=60), c.returncode)[1] for c in commands] == [0] * 4
    assert sorted(host.rules()) == RULES


def test_started_by_one_who_ignores_children(nft_host):
    """SIGCHLD ignored is inherited, and then nobody's exit code is to be had."""
    subprocess.run(nft_host.command(nft_host.program, "up"), check=True, stdin=subprocess.DEVNULL,
                   env=nft_host.environment({}), preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert sorted(nft_host.rules()) == RULES


def test_usage(nft_host):
    for command, code in (("--help", 0), ("--version", 0), ("", 2), ("upp", 2)):
        assert nft_host.ecs_host(command)[0] == code
    assert re.match(r"ecs-host \d+\.\d+\.\d+ \([0-9a-f]{8}\)\n$", nft_host.ecs_host("--version")[1])
    assert nft_host.rules() == []


@pytest.mark.skipif(not shutil.which("systemd-sysusers") or not shutil.which("systemd-tmpfiles"), reason="no systemd")
def test_users_and_directories(tmp_path):
    """What dist/ has for systemd-sysusers and systemd-tmpfiles, in an empty root; twice."""
    os.mkdir(tmp_path / "etc")
    for _ in range(2):
        for program, file in (("systemd-sysusers", "sysusers.d"), ("systemd-tmpfiles", "tmpfiles.d")):
            subprocess.run([program, f"--root={tmp_path}", *(["--create"] if "tmpfiles" in file else []),
                            f"{ROOT}/dist/{file}/ecsd.conf"], check=True)
    with open(tmp_path / "etc/passwd") as file:
        users = {line.split(":")[0]: line.rstrip("\n").split(":") for line in file}
    assert {"ecs-endpoint", "ecs-logd"} <= set(users)
    for name in ("ecs-endpoint", "ecs-logd"):
        assert users[name][5] == "/" and users[name][6].endswith("/nologin")
    logd = int(users["ecs-logd"][2])
    for path, mode, owner in (("etc/ecs", 0o755, 0), ("run/ecs", 0o755, 0), ("run/ecsd", 0o755, 0),
                              ("run/ecs-logd", 0o700, logd), ("var/lib/ecs", 0o755, 0), ("var/lib/ecs/data", 0o755, 0),
                              ("var/lib/ecs-logd", 0o700, logd), ("var/log/ecs", 0o755, 0)):
        found = os.stat(tmp_path / path)
        assert (found.st_mode & 0o7777, found.st_uid) == (mode, owner), path
