"""A real rsyslogd on loopback that takes syslog by every way there is and writes what it understood to one file for each."""

import collections
import os
import shutil
import signal
import socket
import subprocess

from .instance import wait_until

WAYS = ("udp", "tcp", "tls", "unix", "unixgram", "local")

_CONFIGURATION = """
global(workDirectory="{directory}" maxMessageSize="128k" defaultNetstreamDriverCAFile="{ca}"
       defaultNetstreamDriverCertFile="{cert}" defaultNetstreamDriverKeyFile="{key}" parser.escapeControlCharactersOnReceive="off")
main_queue(queue.type="LinkedList" queue.size="500000" queue.timeoutShutdown="20000")
module(load="imudp")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
module(load="imptcp")
module(load="imuxsock" sysSock.use="off")
template(name="seen" type="string"
         string="%pri%|%timereported:::date-rfc3339%|%hostname%|%programname%|%syslogtag%|%procid%|%msgid%|%msg%\\n")
{rulesets}
input(type="imudp" address="127.0.0.1" port="{ports[udp]}" ruleset="udp" rcvbufSize="8m")
input(type="imptcp" address="127.0.0.1" port="{ports[tcp]}" ruleset="tcp")
input(type="imtcp" address="127.0.0.1" port="{ports[tls]}" ruleset="tls")
input(type="imptcp" path="{directory}/unix.sock" unlink="on" ruleset="unix")
input(type="imuxsock" socket="{directory}/unixgram.sock" createPath="off" ruleset="unixgram" useSysTimeStamp="off" ignoreTimestamp="off"
      rateLimit.interval="0" useSpecialParser="off" parseHostname="on")
"""
_LOCAL = """input(type="imuxsock" socket="/var/run/syslog" ruleset="local" useSysTimeStamp="off" ignoreTimestamp="off" rateLimit.interval="0"
      parseHostname="off")
"""
_RULESET = """ruleset(name="{way}") {{ action(type="omfile" file="{directory}/{way}.out" template="seen") }}
"""

Seen = collections.namedtuple("Seen", "priority time host program tag process message_id text")


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Rsyslog:
    """One configuration with its files, and the processes that run it one after the other. host: the process id of one whose
    mount namespace it runs in, with /var/run/syslog as the host's own socket."""

    def __init__(self, directory, pki, host=None):
        self.directory, self.host, self.process = directory, host, None
        self.ports = {"udp": free_port(socket.SOCK_DGRAM), "tcp": free_port(socket.SOCK_STREAM),
                      "tls": free_port(socket.SOCK_STREAM)}
        rulesets = "".join(_RULESET.format(way=way, directory=directory) for way in WAYS)
        self.configuration = f"{directory}/rsyslog.conf"
        with open(self.configuration, "w") as file:
            file.write(_CONFIGURATION.format(directory=directory, ca=pki.ca, cert=pki.server_cert, key=pki.server_key,
                                             ports=self.ports, rulesets=rulesets) + (_LOCAL if host else ""))

    def inside(self, *command):
        return ["nsenter", f"--mount=/proc/{self.host}/ns/mnt", *command] if self.host else list(command)

    def address(self, way):
        if way in self.ports:
            return f"{'tcp+tls' if way == 'tls' else way}://localhost:{self.ports[way]}"
        return f"{way}://{self.directory}/{way}.sock"

    def start(self):
        self.process = subprocess.Popen(
            self.inside(shutil.which("rsyslogd") or "/usr/sbin/rsyslogd", "-n", "-f", self.configuration,
                        "-i", f"{self.directory}/pid"), stdout=open(f"{self.directory}/rsyslogd.log", "ab"), stderr=subprocess.STDOUT)
        wait_until(self._listens, 20, "rsyslogd to listen")
        return self

    def _listens(self):
        assert self.process.poll() is None, open(f"{self.directory}/rsyslogd.log").read()
        try:
            for way in ("tcp", "tls"):
                socket.create_connection(("127.0.0.1", self.ports[way]), timeout=5).close()
        except OSError:
            return False
        return all(os.path.exists(f"{self.directory}/{way}.sock") for way in ("unix", "unixgram"))

    def stop(self, with_signal=signal.SIGTERM):
        if self.process:
            self.process.send_signal(with_signal)
            self.process.wait(60)
            self.process = None
            if os.path.exists(f"{self.directory}/pid"):
                os.unlink(f"{self.directory}/pid")
        return self

    def lines(self, way):
        """What was written for this way, whole lines only."""
        path = f"{self.directory}/{way}.out"
        if not os.path.exists(path):
            return []
        with open(path, errors="surrogateescape", newline="\n") as file:
            return file.read().split("\n")[:-1]

    def seen(self, way):
        return [Seen(*line.split("|", 7)) for line in self.lines(way)]
