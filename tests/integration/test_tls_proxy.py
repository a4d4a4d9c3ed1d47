"""TLS and proxies, for API calls and for the WebSocket: whose certificates are trusted, and what goes through a proxy."""

import base64
import os
import re

import pytest

import differences
import transcript
from ecsbed import tasks
from ecsbed.connectproxy import ConnectProxy
from ecsbed.pki import Pki

OUTSIDE = "10.99.0.1"   # an address that is no loopback address: only those are asked of a proxy
CERTIFICATE_LOG = "(?i)certificate"


# In the words of the TLS library: what is wrong, not only that something is.
WHAT_IS_WRONG = {"expired": "certificate has expired", "wrong-host": "no alternative certificate subject name matches",
                 "wrong-ca": "unable to get local issuer certificate", "self-signed": "self.signed certificate"}


@pytest.fixture(scope="module")
def bad_certificates(pki, tmp_path_factory):
    """By what is wrong with them: TLS contexts of servers."""
    return {"expired": pki.context("expired", days=-1), "wrong-host": pki.context("host", "DNS:ecs.example"),
            "wrong-ca": Pki(str(tmp_path_factory.mktemp("other-ca"))).server_context, "self-signed": pki.self_signed()}


def registered(bed):
    return "RegisterContainerInstance" in bed.cp.operations()


def upgraded(bed):
    return bed.cp.recording.select(lambda e: e["kind"] == "ws.upgrade" and e["op"] == "acs")


# --- conformance

@pytest.mark.parametrize("name, port, options, arguments", [
    ("tls-ca-port443", 443, {}, []), ("tls-ca-port8443", 8443, {}, []),
    ("tls-k", 8443, {"SSL_CERT_FILE": None}, ["-k"]), ("tls-untrusted", 8443, {"SSL_CERT_FILE": None}, [])])
def test_tls_as_recorded(make_bed, name, port, options, arguments):
    """Whether the reference registered, and whether it came as far as an ACS session."""
    recorded = transcript.load(name)
    expected = {"registered": any(e["kind"] == "http.response" and e["status"] == 200 for e in recorded),
                "acs": any(e["kind"] == "ws.open" and e["op"] == "acs" for e in recorded)}
    expected.update(differences.TLS.get(name, ({}, ""))[0])
    bed = make_bed(port=port, arguments=arguments, **options)
    bed.agent.start()
    if expected["acs"]:
        bed.cp.wait_acs()
    else:
        bed.agent.wait_log(CERTIFICATE_LOG)
    assert {"registered": registered(bed), "acs": bool(upgraded(bed))} == expected
    operations = [operation for operation, *_ in transcript.operations(recorded)]
    assert bed.cp.operations() == operations


# --- certificates

@pytest.mark.parametrize("what", WHAT_IS_WRONG)
def test_bad_certificate_of_the_api(make_bed, pki, bad_certificates, what):
    """Nothing is sent; -k sends all the same."""
    bed = make_bed(pki=pki.having(bad_certificates[what]))
    bed.agent.start()
    assert bed.agent.wait() == 1
    assert re.search("cannot start.*RegisterContainerInstance: connect to 127.0.0.1:8443: .*" + WHAT_IS_WRONG[what],
                     bed.agent.log())
    assert bed.cp.operations() == []
    bed.agent.arguments = ["-k"]
    bed.start()


@pytest.mark.parametrize("what", WHAT_IS_WRONG)
def test_bad_certificate_of_acs(make_bed, bad_certificates, what):
    """The agent registers, and no handshake is sent; -k sends it all the same."""
    bed = make_bed()
    bed.cp.listen_for_acs(bad_certificates[what])
    bed.agent.start()
    bed.agent.wait_log("not connected to ACS.*connect to 127.0.0.1:8444: .*" + WHAT_IS_WRONG[what])
    assert registered(bed) and not upgraded(bed)
    assert bed.agent.terminate() == 0
    bed.agent.arguments = ["-k"]
    bed.start()


@pytest.mark.parametrize("file", [None, os.devnull, "/etc/ssl/certs/ca-certificates.crt"])
def test_authorities_from_a_directory(make_bed, pki, file):
    """SSL_CERT_DIR for API and WebSocket, whatever SSL_CERT_FILE says."""
    bed = make_bed(SSL_CERT_FILE=file, SSL_CERT_DIR=pki.ca_directory())
    if file == os.devnull:      # what cannot be read is no reason to trust anybody, and said clearly
        bed.agent.start()
        bed.agent.wait_log(CERTIFICATE_LOG)
        assert bed.cp.operations() == []
    else:
        bed.start()


# --- proxies

@pytest.fixture
def proxy(instance):
    if OUTSIDE not in instance.run("ip", "address", "show", "dev", "lo"):
        instance.run("ip", "address", "add", OUTSIDE + "/32", "dev", "lo")
    made = ConnectProxy(instance)
    yield made
    made.stop()


@pytest.mark.parametrize("settings", [
    {"HTTPS_PROXY": "http://{}"}, {"https_proxy": "{}"}, {"HTTP_PROXY": "http://{}"},
    {"HTTPS_PROXY": "http://{}", "HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "169.254.169.254,10.98.0.0/15:443"}])
def test_api_and_acs_through_a_proxy(make_bed, proxy, settings):
    """Both, and nothing else: neither Docker's socket nor the metadata service; HTTP_PROXY stands in for HTTPS_PROXY."""
    bed = make_bed(address=OUTSIDE, **{name: value.format(proxy.address) for name, value in settings.items()})
    bed.start()
    bed.run_task(tasks.task())
    assert {method for method, _ in proxy.requests} == {"CONNECT"}
    assert {target for _, target in proxy.requests} == {f"{OUTSIDE}:8443"}
    assert len(proxy.requests) >= 2      # a WebSocket shares its connection with nobody
    assert "/latest/dynamic/instance-identity/document" in bed.imds.paths()
    mark = bed.cp.recording.mark()
    bed.cp.acs.socket.eof()
    bed.cp.wait_acs(since=mark)


@pytest.mark.parametrize("no_proxy", ["*", OUTSIDE, "10.99.0.0/16", f"other.example, {OUTSIDE}:8443"])
def test_no_proxy(make_bed, proxy, no_proxy):
    bed = make_bed(address=OUTSIDE, HTTPS_PROXY=f"http://{proxy.address}", NO_PROXY=no_proxy).start()
    bed.run_task(tasks.task())
    assert proxy.requests == []


def test_loopback_is_never_asked_of_a_proxy(make_bed, proxy):
    make_bed(HTTPS_PROXY=f"http://{proxy.address}").start()
    assert proxy.requests == []


def test_a_proxy_that_refuses(make_bed, proxy):
    """The log says so, and the agent goes on trying; what the proxy wants to know of us is in its address."""
    proxy.status = 407
    bed = make_bed(address=OUTSIDE, HTTPS_PROXY=f"http://user:word@{proxy.address}")
    bed.cp.lossy = True
    bed.agent.start()
    bed.agent.wait_log("the proxy answered with status 407")
    assert bed.cp.operations() == []
    proxy.status = 200
    bed.cp.wait_acs()
    assert set(proxy.authorizations) == {"Basic " + base64.b64encode(b"user:word").decode()}
    assert not re.search("user:word|dXNlcjp3b3Jk", bed.agent.log())
