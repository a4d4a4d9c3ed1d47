"""Registries in an instance: Docker's own (Debian's docker-registry), and a scripted one for what it cannot do."""

import ctypes
import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import tarfile
import threading

from . import netns
from .httpd import Closed, Server
from .instance import kill_and_wait, wait_until
from .pki import REGISTRY_ADDRESS

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """docker-registry on an address of the instance. pki: TLS with its certificate; users: name -> password."""

    def __init__(self, instance, directory, address="127.0.0.1", port=5000, pki=None, users=None):
        os.makedirs(directory)
        self.name, self.log_file = f"{address}:{port}", f"{directory}/log"
        http = {"addr": self.name, "secret": "test"}
        if pki:
            http["tls"] = {"certificate": pki.server_cert, "key": pki.server_key}
        config = {"version": "0.1", "storage": {"filesystem": {"rootdirectory": f"{directory}/data"}},
                  "http": http, "log": {"accesslog": {"disabled": False}, "level": "error"}}
        if users:
            with open(f"{directory}/htpasswd", "w") as file:
                for user, password in users.items():
                    file.write(f"{user}:{_bcrypt(password)}\n")
            config["auth"] = {"htpasswd": {"realm": "test", "path": f"{directory}/htpasswd"}}
        with open(f"{directory}/config.yml", "w") as file:     # JSON is YAML too
            json.dump(config, file)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                instance.command("docker-registry", "serve", f"{directory}/config.yml"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"OTEL_TRACES_EXPORTER": "none"})

        def listens():
            try:
                netns.connect(instance.netns, address, port).close()
            except OSError:
                return False
            return True
        wait_until(listens, 10, f"docker-registry; see {self.log_file}")

    def requests(self, pattern=""):
        """Requests in its access log that match: "GET /v2/... HTTP/1.1"."""
        with open(self.log_file, errors="replace") as file:
            return [line for line in re.findall(r'"([A-Z]+ /v2/[^"]*)"', file.read())
                    if re.search(pattern, line)]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            kill_and_wait([self.process.pid])
            self.process.wait()


def _bcrypt(password):
    """The only kind of hash that docker-registry takes; the C library's crypt(3) makes it."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    return crypt(password.encode(), b"$2b$04$" + b"abcdefghijklmnopqrstuu").decode()


def prepare(instance, pki):
    """Gives the instance the address of registries whose certificate Docker verifies, and the authority."""
    instance.run("ip", "address", "add", REGISTRY_ADDRESS + "/32", "dev", "lo")
    certs = f"{instance.dir}/etc-docker/certs.d/{REGISTRY_ADDRESS}:5443"
    os.makedirs(certs)
    os.makedirs("/etc/docker", exist_ok=True)       # a place to mount over
    with open(pki.ca) as source, open(f"{certs}/ca.crt", "w") as sink:
        sink.write(source.read())
    instance.run("mount", "--bind", f"{instance.dir}/etc-docker", "/etc/docker")


def _digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class FakeRegistry:
    """Serves one image under the name of each of its ways to fail:

    ok; unauthorized, forbidden, unknown, throttled, broken, down (at the manifest: 401, 403, 404, 429, 500, 503);
    denied (at the layer only); cut (the connection is closed in the middle of the layer); stuck (the layer stops
    in the middle until release())."""

    ERRORS = {"unauthorized": (401, "UNAUTHORIZED", "authentication required"),
              "forbidden": (403, "DENIED", "requested access to the resource is denied"),
              "denied": (403, "DENIED", "User: someone is not authorized to perform: ecr:BatchGetImage on resource: r"),
              "unknown": (404, "MANIFEST_UNKNOWN", "manifest unknown"),
              "throttled": (429, "TOOMANYREQUESTS", "You have reached your pull rate limit"),
              "broken": (500, "UNKNOWN", "unknown error"),
              "down": (503, "UNAVAILABLE", "service unavailable")}

    def __init__(self, instance, port=5001):
        self.name = f"127.0.0.1:{port}"
        self.seen, self.released = [], threading.Event()
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            entry = tarfile.TarInfo("random")
            entry.size = 1 << 20
            tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
        self.layer = gzip.compress(buffer.getvalue(), 1)
        self.config = json.dumps({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(buffer.getvalue())]}}).encode()
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json",
                       "size": len(self.config), "digest": _digest(self.config)},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": len(self.layer), "digest": _digest(self.layer)}]}).encode()
        self.blobs = {_digest(self.layer): self.layer, _digest(self.config): self.config}
        self.server = Server(instance.listen("127.0.0.1", port), self._handle, None, "fake-registry")

    def image(self, way):
        return f"{self.name}/{way}:1"

    @property
    def digest(self):
        return _digest(self.manifest)

    def count(self, pattern):
        return sum(1 for line in self.seen if re.search(pattern, line))

    def stop(self):
        self.released.set()
        self.server.stop()

    def _handle(self, request):
        self.seen.append(f"{request.method} {request.path}")
        match = re.fullmatch(r"/v2/(\w+)/(manifests|blobs)/(.+)", request.path)
        if not match:
            request.connection.respond(200, "{}")
            return
        way, kind, reference = match.groups()
        if kind == "manifests":
            self._manifest(request, way)
        else:
            self._blob(request, way, self.blobs[reference])

    def _manifest(self, request, way):
        if way in self.ERRORS and way != "denied":
            self._refuse(request, way)
            return
        self._answer(request, 200, self.manifest, [("Content-Type", MANIFEST),
                                                   ("Docker-Content-Digest", self.digest)])

    def _refuse(self, request, way):
        status, code, message = self.ERRORS[way]
        answer = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self._answer(request, status, answer, [("Content-Type", "application/json")])

    @staticmethod
    def _answer(request, status, body, headers):
        if request.method != "HEAD":
            request.connection.respond(status, body, headers)
            return
        lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        request.connection.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")

    def _blob(self, request, way, data):
        if way == "denied" and data is self.layer:
            self._refuse(request, way)
            return
        if way in ("cut", "stuck") and data is self.layer:
            start = int(re.sub(r"\D", "", request.header("Range", "0")))     # "bytes=N-": the second try
            lines = ["HTTP/1.1 206 Partial Content" if start else "HTTP/1.1 200 OK", f"Content-Length: {len(data) - start}"]
            if start:
                lines.append(f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}")
            data = data[start:]
            request.connection.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data[:len(data) // 2])
            if way == "cut":
                raise Closed
            self.released.wait()
            request.connection.sock.sendall(data[len(data) // 2:])
            return
        self._answer(request, 200, data, [("Content-Type", "application/octet-stream")])
