"""Docker's API without its command line, which refuses and changes a few things before dockerd sees them."""

import http.client
import json
import socket

from . import image


class _UnixHttp(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("docker", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Refused(Exception):
    """dockerd said no; the text is its reason."""


class DockerApi:
    """May be used by several threads."""

    def __init__(self, instance):
        self.socket = instance.docker_socket

    def call(self, method, path, body=None):
        """The decoded answer, None if it is empty."""
        connection = _UnixHttp(self.socket)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"} if body is not None else {})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise Refused(json.loads(data)["message"])
        return json.loads(data) if data else None

    def create(self, driver, options, command=("true",), name=None, labels=None, env=(), **members):
        """A container with these log options; its id."""
        body = {"Image": image.NAME, "Cmd": list(command), "Labels": labels or {}, "Env": list(env), **members,
                "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": driver, "Config": options}}}
        return self.call("POST", "/containers/create" + (f"?name={name}" if name else ""), body)["Id"]

    def start(self, container):
        self.call("POST", f"/containers/{container}/start")

    def wait(self, container):
        return self.call("POST", f"/containers/{container}/wait")["StatusCode"]

    def remove(self, container):
        self.call("DELETE", f"/containers/{container}?force=1")

    def run(self, *arguments, **named):
        """Create, start, wait and remove; the id. Refused wherever it is."""
        container = self.create(*arguments, **named)
        try:
            self.start(container)
            self.wait(container)
        finally:
            self.remove(container)
        return container
