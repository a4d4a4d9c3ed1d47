"""What ecs-host's rules do to packets: from the host, from containers on Docker's bridge and on another, from a machine
outside. Each refusal is preceded by the same attempt that succeeds without the rule."""

import pytest

from ecsbed.host import ADDRESSES, CREDENTIALS, METADATA, METADATA6, Host
from ecsbed.instance import wait_until

REFUSED_AFTER = 1       # seconds without an answer: dropped
ANY = {4: "0.0.0.0", 6: "::"}


@pytest.fixture(params=["nft", "legacy"], scope="module")
def host(request):
    made = Host().up(request.param)
    for kind in ADDRESSES:
        made.peer(kind)
    made.serve("credentials", "127.0.0.1", 51679)
    made.serve("introspection", ANY[4], 51678)
    made.serve("introspection", ANY[6], 51678)
    made.serve("local", "127.0.0.1", 7000)
    yield made
    made.down()


@pytest.fixture(autouse=True)
def undone(host):
    yield
    code, _, log = host.ecs_host("down")
    assert code == 0, log


def up(host, **environment):
    code, _, log = host.ecs_host("up", **environment)
    assert code == 0, log


@pytest.mark.parametrize("route", ["default", "none"])
def test_credentials(host, route):
    """Containers, on whatever bridge, and the host itself reach ecs-endpoint; with a default route and without."""
    if route == "default":
        host.default_route()
    for kind in ("container", "other"):
        assert host.peer(kind).reach(CREDENTIALS, 80, REFUSED_AFTER) is None
    up(host)
    for kind in ("container", "other"):
        assert host.peer(kind).reach(CREDENTIALS, 80) == "credentials"
    assert host.reach(CREDENTIALS, 80) == "credentials"
    if route == "default":
        host.run("ip", "route", "del", "default")


@pytest.mark.parametrize("version", [4, 6])
def test_introspection(host, version):
    """From Docker's default bridge and the host itself, nobody else."""
    def reach(kind, timeout=5):
        peer = host.peer(kind)
        return peer.reach(peer.gateway if version == 4 else peer.gateway6, 51678, timeout)
    for kind in ADDRESSES:
        assert reach(kind) == "introspection"
    up(host)
    assert reach("container") == "introspection"
    assert reach("outside", REFUSED_AFTER) is None
    assert reach("other", REFUSED_AFTER) is None
    for address in ("127.0.0.1", ADDRESSES["outside"][1]) if version == 4 else ("::1", ADDRESSES["outside"][3]):
        assert host.reach(address, 51678) == "introspection"
    up(host, ECS_ALLOW_OFFHOST_INTROSPECTION_ACCESS="true")
    for kind in ADDRESSES:
        assert reach(kind) == "introspection"


def test_localhost(host):
    """With route_localnet on, another machine could talk to what listens on 127.0.0.1; the rule keeps it away."""
    outside = host.peer("outside")
    outside.run("ip", "link", "set", "lo", "down")
    outside.run("ip", "route", "flush", "table", "local", "dev", "lo")
    outside.run("ip", "route", "replace", "127.0.0.0/8", "via", outside.gateway, "src", outside.address)
    outside.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1", "net.ipv4.conf.all.rp_filter=0",
                "net.ipv4.conf.eth0.rp_filter=0")
    assert outside.reach("127.0.0.1", 7000, REFUSED_AFTER) is None      # without route_localnet on the host
    up(host, ECS_SKIP_LOCALHOST_TRAFFIC_FILTER="true")
    assert outside.reach("127.0.0.1", 7000) == "local"
    assert outside.reach("127.0.0.1", 51679) == "credentials"
    up(host)
    for port in (7000, 51678, 51679):
        assert outside.reach("127.0.0.1", port, REFUSED_AFTER) is None
    assert host.reach("127.0.0.1", 7000) == "local"
    assert host.peer("container").reach(CREDENTIALS, 80) == "credentials"


def test_imds(host):
    """Only where configured: containers do not reach the metadata service, the host does, and nothing else changes."""
    outside = host.peer("outside")
    for address, width, version in ((METADATA, 32, "-4"), (METADATA6, 128, "-6")):
        outside.run("ip", version, "address", "replace", f"{address}/{width}", "dev", "eth0",
                    *(["nodad"] if version == "-6" else []))
        host.run("ip", version, "route", "replace", f"{address}/{width}", "via",
                 outside.address if version == "-4" else outside.address6)
        host.serve("metadata", address, 80, outside.netns)
    for kind in ("container", "other"):
        peer = host.peer(kind)
        wait_until(lambda: peer.reach(METADATA6, 80) == "metadata", 10, "IPv6 to the metadata service")
        assert peer.reach(METADATA, 80) == "metadata"
    host.serve("web", outside.address, 8000, outside.netns)
    up(host)
    assert host.peer("container").reach(METADATA, 80) == "metadata"
    up(host, ECSD_BRIDGE_BLOCK_IMDS="true")
    for address in (METADATA, METADATA6):
        for kind in ("container", "other"):
            assert host.peer(kind).reach(address, 80, REFUSED_AFTER) is None
        assert host.reach(address, 80) == "metadata"
    assert host.peer("container").reach(outside.address, 8000) == "web"
    assert host.peer("container").reach(CREDENTIALS, 80) == "credentials"
