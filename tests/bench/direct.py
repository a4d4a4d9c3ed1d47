"""Launches by Docker's API alone, as the shortest client would do them: what a burst of tasks is compared with."""

import concurrent.futures
import http.client
import json
import socket
import time

from subject import SLEEP, tasks

VERSION = "v1.41"


class Connection(http.client.HTTPConnection):
    """To Docker, or to the relay in front of it."""

    def __init__(self, path):
        super().__init__("docker")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def call(self, method, path, body=None):
        data = json.dumps(body) if body is not None else None
        self.request(method, f"/{VERSION}{path}", data, {"Content-Type": "application/json"} if data else {})
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text) if text else None


def launch(connection):
    """Create and start; the same command and limits as the task's."""
    body = {"Image": tasks.container("x")["image"], "Cmd": SLEEP,
            "HostConfig": {"Memory": 64 << 20, "CpuShares": 10}}
    identifier = connection.call("POST", "/containers/create", body)["Id"]
    connection.call("POST", f"/containers/{identifier}/start")
    return identifier


def burst(path, count, concurrency):
    """Seconds for so many launches, and the containers' ids."""
    connections = [Connection(path) for _ in range(concurrency)]
    free = list(connections)

    def one(_):
        connection = free.pop()
        try:
            return launch(connection)
        finally:
            free.append(connection)
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
        identifiers = list(pool.map(one, range(count)))
    took = time.monotonic() - begin
    for connection in connections:
        connection.close()
    return took, identifiers
