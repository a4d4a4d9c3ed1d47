"""A simulated Docker Engine: the part of its API that ecsd and the tests use, on a Unix socket, in this process.

Containers are facts, not processes (simcontainer.py says what their commands make them do), so thousands of them
cost nothing; every second one has a real process, in a cgroup of its own, for the agent to watch. What really
happened is in `journal`. Each request is named by a verb (VERBS); tests hook into every request, before it is
executed and before it is answered (simfaults.py).

What it says and which events it sends is compared with a real engine by test_dockersim.py."""

import collections
import dataclasses
import hashlib
import heapq
import itertools
import json
import os
import re
import secrets
import select
import socket
import subprocess
import threading
import time
import urllib.parse

from . import image
from .httpd import REASONS, Connection
from .simcontainer import Container, rfc3339
from .simfaults import Cut

SERVER_VERSION, API_VERSION, API_VERSION_MIN = "20.10.24+dfsg1", "1.41", "1.12"
EVENTS_KEPT = 256           # that `since` can ask for; the same in Docker

VERBS = [(verb, method, re.compile(path)) for verb, method, path in (
    ("ping", "GET|HEAD", "/_ping"), ("version", "GET", "/version"), ("info", "GET", "/info"),
    ("events", "GET", "/events"), ("list", "GET", "/containers/json"), ("create", "POST", "/containers/create"),
    ("inspect", "GET", "/containers/([^/]+)/json"), ("start", "POST", "/containers/([^/]+)/start"),
    ("stop", "POST", "/containers/([^/]+)/stop"), ("kill", "POST", "/containers/([^/]+)/kill"),
    ("restart", "POST", "/containers/([^/]+)/restart"), ("pause", "POST", "/containers/([^/]+)/pause"),
    ("unpause", "POST", "/containers/([^/]+)/unpause"), ("rename", "POST", "/containers/([^/]+)/rename"),
    ("remove", "DELETE", "/containers/([^/]+)"), ("image_list", "GET", "/images/json"),
    ("pull", "POST", "/images/create"), ("image_inspect", "GET", "/images/(.+)/json"),
    ("image_tag", "POST", "/images/(.+)/tag"), ("image_remove", "DELETE", "/images/(.+)"),
    ("distribution", "GET", "/distribution/(.+)/json"), ("volume_list", "GET", "/volumes"),
    ("volume_remove", "DELETE", "/volumes/([^/]+)"))]


class ApiError(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status, self.text = status, text


@dataclasses.dataclass
class Entry:
    """A line of the journal: what happened to which container."""
    mono: float
    what: str           # create, start, exit, oom, pause, unpause, rename, remove
    id: str
    name: str           # Docker's
    task: str           # ARN, "" for a container that is of no task
    container: str      # its name in the task
    code: int | None    # of an exit
    oom: bool           # OOMKilled at that moment


class Request:
    """A request as hooks see it: verb ("" for one that is not simulated), method, path without the API version,
    argument (what the path names), the container that this names (None: there is none; of a create call, once it is
    executed), query, body (JSON), and a place in the order of requests."""

    def __init__(self, http, number):
        path, _, query = http.target.partition("?")
        self.number, self.method = number, http.method
        self.path = re.sub(r"^/v1[.][0-9]+(?=/)", "", path)
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.body = json.loads(http.body) if http.body[:1] == b"{" else {}
        self.verb, self.argument, self.container = "", "", None
        for verb, method, pattern in VERBS:
            match = pattern.fullmatch(self.path)
            if match and re.fullmatch(method, http.method):
                self.verb = verb
                self.argument = urllib.parse.unquote(match[1]) if match.groups() else ""
                break

    def __str__(self):
        return f"{self.method} {self.path}" + ("?" + urllib.parse.urlencode(self.query) if self.query else "")


@dataclasses.dataclass
class Image:
    id: str
    tags: list
    digests: list
    env: list
    size: int

    @classmethod
    def named(cls, name, digest=None):
        sha = hashlib.sha256(name.encode()).hexdigest()
        repository = name.partition("@")[0]
        if ":" in repository.rpartition("/")[2]:
            repository = repository.rpartition(":")[0]
        return cls("sha256:" + sha, [] if "@" in name else [name],
                   [f"{repository}@{digest}"] if digest else [],
                   ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], 1 << 20)

    def inspected(self):
        return {"Id": self.id, "RepoTags": self.tags, "RepoDigests": self.digests, "Created": rfc3339(time.time_ns()),
                "Size": self.size, "Config": {"Env": self.env, "Cmd": None, "Labels": None}, "Os": "linux",
                "Architecture": "amd64"}

    def listed(self):
        return {"Id": self.id, "ParentId": "", "RepoTags": self.tags, "RepoDigests": self.digests or None,
                "Created": int(time.time()), "Size": self.size, "SharedSize": -1, "Containers": -1, "Labels": None}


class Stream:
    """One open event stream."""

    def __init__(self, filters):
        self.filters, self.queue, self.closed = filters, collections.deque(), False


class Fault:
    """An action for requests of a verb, as often as asked for."""

    def __init__(self, verb, action, stage, times, match):
        self.verb, self.action, self.stage, self.left, self.match = verb, action, stage, times, match
        self.reached = threading.Semaphore(0)

    def __call__(self, stage, request):
        if stage != self.stage or self.left <= 0 or self.verb not in (request.verb, "any"):
            return None
        if self.match and not self.match(request):
            return None
        self.left -= 1
        self.reached.release()
        return self.action

    def release(self):
        """No more of it, and what it holds goes on."""
        self.left = 0
        self.action.release()

    def wait_reached(self, count=1, timeout=20):
        for _ in range(count):
            if not self.reached.acquire(timeout=timeout):
                raise AssertionError(f"no {self.verb} request came in {timeout} s")


class DockerSim:
    def __init__(self, path, directory, scale=1.0, pid_share=0.5, live_restore=False):
        self.path, self.directory = path, directory
        self.scale, self.pid_share, self.live_restore = scale, pid_share, live_restore
        self.changed = threading.Condition(threading.RLock())
        self.containers = {}            # id -> Container
        self.images, self.registry = [], {}
        self.volumes = set()
        self.journal, self.requests = [], []
        self.history = collections.deque(maxlen=EVENTS_KEPT)
        self.streams, self.hooks, self.connections = [], [], set()
        self.oom_at_once = False
        self.muted = False              # no event reaches anybody
        self.short_streams = False      # event streams end at once
        self.errors = []                # faults of the simulation itself
        self.listener, self.stopping = None, False
        self._numbers, self._addresses, self._host_ports = itertools.count(1), itertools.count(2), itertools.count(49153)
        self._last_ns = 0
        self._timers, self._timer_numbers = [], itertools.count()
        self._children, self._poll, self._wake = {}, select.epoll(), os.eventfd(0, os.EFD_NONBLOCK)
        self._poll.register(self._wake, select.EPOLLIN)
        self._life, self._life_end = os.pipe()     # children end with this process, even if it is killed
        self._clock = threading.Thread(target=self._run_clock, name="dockersim-clock", daemon=True)
        self._clock.start()
        self.add_image(image.NAME)

    # --- what tests script

    def hook(self, function):
        """function(stage, request) -> None or an Action (simfaults.py); stage is "before" execution or "after" it,
        before the answer. For requests from now on; returns the function, for unhook()."""
        with self.changed:
            self.hooks.append(function)
        return function

    def unhook(self, function):
        with self.changed:
            if function in self.hooks:
                self.hooks.remove(function)

    def fault(self, verb, action, stage="before", times=1, match=None):
        """The next requests of this verb ("any": of all) get this action."""
        return self.hook(Fault(verb, action, stage, times, match))

    def add_image(self, name, digest=None):
        with self.changed:
            self.images.append(Image.named(name, digest))

    def publish(self, name, seconds=0.0, digest=None):
        """An image that can be pulled; that takes so long."""
        self.registry[name] = (seconds, digest or "sha256:" + hashlib.sha256(b"digest of " + name.encode()).hexdigest())

    def happened(self, what=None, task=None, container=None):
        """Entries of the journal."""
        with self.changed:
            return [entry for entry in self.journal
                    if (what is None or entry.what == what) and (task is None or entry.task == task) and
                    (container is None or entry.container == container)]

    def find(self, task, container):
        """The containers of this name in a task, oldest first."""
        with self.changed:
            return [c for c in self.containers.values() if c.task == task and c.container_name == container]

    def seen(self, verb, since=0):
        """Requests of a verb."""
        with self.changed:
            return [request for request in self.requests[since:] if request.verb == verb]

    def wait(self, condition, timeout=20, what="a change of the simulated Docker"):
        """Waits until condition() is true, looking whenever something happens here."""
        limit = time.monotonic() + timeout
        with self.changed:
            while not (value := condition()):
                left = limit - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"waited {timeout} s in vain for {what}")
                self.changed.wait(min(left, 1))
            return value

    def end(self, container, code=0, oom=False):
        """The container's process ends by itself, now."""
        with self.changed:
            if container.running:
                container.oom_seen = container.oom_seen or oom
                self._die(container, code)

    def inject(self, raw):
        """Bytes for all who read events."""
        with self.changed:
            for stream in self.streams:
                stream.queue.append(raw)
            self.changed.notify_all()

    def event_text(self, container, action, **attributes):
        """An event as the engine would write it, without sending it."""
        return json.dumps(self._event(container, action, attributes)).encode() + b"\n"

    def emit(self, container, action, **attributes):
        """Sends an event, whether that happened or not."""
        with self.changed:
            self._publish(self._event(container, action, attributes))

    def cut_events(self):
        """Ends the event streams that are open."""
        with self.changed:
            for stream in self.streams:
                stream.closed = True
            self.changed.notify_all()

    # --- the daemon

    def up(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(512)
        threading.Thread(target=self._accept, args=(self.listener,), name="dockersim", daemon=True).start()
        return self

    def away(self, killed=False):
        """The daemon ends. Containers live on with live restore; without, they are stopped in order, or killed
        when a killed daemon comes back."""
        listener, self.listener = self.listener, None
        with self.changed:
            running = [c for c in self.containers.values() if c.running]
        if not self.live_restore and not killed:
            for container in running:
                self._stop(container, 10)
        try:
            listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        listener.close()
        if not killed:
            os.unlink(self.path)
        for connection in list(self.connections):
            connection.close()
        with self.changed:
            self.cut_events()
            self.history.clear()     # the daemon's memory of events is not on disk

    def back(self):
        with self.changed:
            for container in self.containers.values():
                if container.running and not self.live_restore:
                    self._die(container, 137, tell=False)
        self.up()

    def reset(self):
        """As new, but for the journal and the requests seen: no containers, no hooks, nobody waits."""
        with self.changed:
            hooks, self.hooks = self.hooks, []
            self.muted = self.short_streams = self.oom_at_once = False
        for hook in hooks:
            if isinstance(hook, Fault):
                hook.release()
        if not self.listener:
            self.back()
        with self.changed:
            for container in list(self.containers.values()):
                if container.running:
                    self._die(container, 137)
                self._remove(container)
            self.images, self.registry, self.volumes = [], {}, set()
            self.add_image(image.NAME)

    def close(self):
        """Ends everything, children included."""
        self.stopping = True
        self.reset()
        self.live_restore = True
        self.away()
        os.close(self._life_end)
        os.close(self._life)
        os.eventfd_write(self._wake, 1)
        self._clock.join(5)
        self._poll.close()
        os.close(self._wake)

    # --- time and processes

    def _after(self, seconds, function):
        heapq.heappush(self._timers, (time.monotonic() + seconds / self.scale, next(self._timer_numbers), function))
        os.eventfd_write(self._wake, 1)

    def _run_clock(self):
        while not self.stopping:
            with self.changed:
                wait = self._timers[0][0] - time.monotonic() if self._timers else None
            for fd, _ in self._poll.poll(None if wait is None else max(wait, 0)) if wait is None or wait > 0 else ():
                self._woken(fd)
            with self.changed:
                while self._timers and self._timers[0][0] <= time.monotonic():
                    heapq.heappop(self._timers)[2]()

    def _woken(self, fd):
        if fd == self._wake:
            try:
                os.eventfd_read(self._wake)
            except BlockingIOError:
                pass
            return
        with self.changed:
            container = self._children.get(fd)
            if container and container.running:      # somebody killed the process
                status = container.child.wait()
                self._die(container, 128 - status if status < 0 else status)

    def _cgroups(self, identifier):
        """Where a container's cgroup is: any one hierarchy will do."""
        root = "/sys/fs/cgroup/pids" if os.path.isdir("/sys/fs/cgroup/pids") else "/sys/fs/cgroup"
        return f"{root}/docker/{identifier}"

    def _make_child(self, container):
        child = subprocess.Popen(["cat"], stdin=self._life, stdout=subprocess.DEVNULL)
        os.makedirs(f"{self.directory}/containers/{container.id}", exist_ok=True)   # the instance removes its cgroup
        os.makedirs(self._cgroups(container.id), exist_ok=True)
        with open(self._cgroups(container.id) + "/cgroup.procs", "w") as file:
            file.write(str(child.pid))
        return child

    def _end_child(self, container):
        if not container.child:
            return
        fd, container.fd = container.fd, None
        self._poll.unregister(fd)
        del self._children[fd]
        os.close(fd)
        container.child.kill()
        container.child.wait()
        container.child = None
        try:
            os.rmdir(self._cgroups(container.id))
        except OSError:
            pass

    # --- containers; under the lock

    def _note(self, container, what, code=None):
        self.journal.append(Entry(time.monotonic(), what, container.id, container.name, container.task,
                                  container.container_name, code, container.oom_killed))
        self.changed.notify_all()

    def _begin(self, container, child):
        container.run += 1
        container.status, container.exit_code, container.error = "running", 0, ""
        container.oom_killed = container.oom_seen = False
        container.started = time.time_ns()
        if child:
            container.child, container.pid, container.fd = child, child.pid, os.pidfd_open(child.pid)
            self._children[container.fd] = container
            self._poll.register(container.fd, select.EPOLLIN)
        for port, bindings in (container.host_config.get("PortBindings") or {}).items():
            wanted = (bindings or [{}])[0].get("HostPort") or "0"
            container.ports[port] = int(wanted) or next(self._host_ports)
        self._note(container, "start")
        self._tell(container, "start")
        behaviour = container.behaviour
        if container.checked:
            container.health = "starting"
        for seconds, status in behaviour.health:
            self._later(container, seconds, lambda status=status: self._set_health(container, status))
        if behaviour.oom_event is not None:
            self._later(container, behaviour.oom_event, lambda: self.oom(container))
        if behaviour.exits_after is not None:
            self._later(container, behaviour.exits_after, lambda: self._exit_by_itself(container))

    def _later(self, container, seconds, function):
        """For this run of the container only."""
        run = container.run
        self._after(seconds, lambda: container.running and container.run == run and function())

    def _exit_by_itself(self, container):
        if container.status == "paused":
            self._later(container, 0.05, lambda: self._exit_by_itself(container))
            return
        if container.behaviour.oom:
            self.oom(container)
        self._die(container, container.behaviour.code)

    def oom(self, container):
        """The kernel kills a process of the container, which may well go on. Docker 20.10 says so when the container
        has ended, newer ones at once (oom_at_once)."""
        with self.changed:
            container.oom_seen = True
            container.oom_killed = self.oom_at_once
            self._note(container, "oom")
            self._tell(container, "oom")

    def _set_health(self, container, status):
        if container.checked:
            container.health = status
            self._tell(container, f"health_status: {status}")

    def _die(self, container, code, tell=True):
        self._end_child(container)
        container.status, container.exit_code, container.pid = "exited", code, 0
        container.finished, container.ports, container.oom_killed = time.time_ns(), {}, container.oom_seen
        container.health = container.health and "unhealthy"
        self._note(container, "exit", code)
        if tell:
            self._tell(container, "die", exitCode=str(code), execDuration="0")

    def _stop(self, container, seconds):
        with self.changed:
            self._tell(container, "kill", signal="15")
            self._terminate(container)
            limit, run = time.monotonic() + seconds / self.scale, container.run
            while container.running and container.run == run and time.monotonic() < limit:
                self.changed.wait(limit - time.monotonic())
            if container.running and container.run == run:
                self._tell(container, "kill", signal="9")
                self._die(container, 137)
            self._tell(container, "stop")

    def _terminate(self, container):
        behaviour = container.behaviour
        if not behaviour.deaf:
            self._later(container, behaviour.term_after,
                        lambda: container.status == "running" and self._die(container, behaviour.term_code))

    def _remove(self, container):
        del self.containers[container.id]
        self._note(container, "remove")
        self._tell(container, "destroy")

    def _named(self, name, missing=True, hint=""):
        """By id, name, or the beginning of an id; missing: say so if there is none, with this before it."""
        bare = name.removeprefix("/")
        with self.changed:
            found = self.containers.get(name) or next((c for c in self.containers.values() if c.name == bare), None) \
                or next((c for c in self.containers.values() if name and c.id.startswith(name)), None)
        if not found and missing:
            raise ApiError(404, f"{hint.format(name)}No such container: {name}")
        return found

    # --- events

    def _event(self, container, action, attributes):
        with self.changed:
            now = self._last_ns = max(time.time_ns(), self._last_ns + 1)
        name = container.config.get("Image", "")
        return {"status": action, "id": container.id, "from": name, "Type": "container", "Action": action,
                "Actor": {"ID": container.id, "Attributes": {
                    **container.labels, **attributes, "image": name, "name": container.name}},
                "scope": "local", "time": now // 10**9, "timeNano": now}

    def _tell(self, container, action, **attributes):
        self._publish(self._event(container, action, attributes))

    def _publish(self, event):
        if not self.listener:
            return      # nobody is there to tell
        self.history.append(event)
        if not self.muted:
            for stream in self.streams:
                if _wanted(event, stream.filters):
                    stream.queue.append(json.dumps(event).encode() + b"\n")
        self.changed.notify_all()

    # --- connections

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), name="dockersim", daemon=True).start()

    def _serve(self, sock):
        connection = Connection(sock, "unix")
        self.connections.add(connection)
        try:
            while http := connection.read_request():
                self._handle(connection, Request(http, next(self._numbers)))
                if (http.header("Connection") or "").lower() == "close":
                    break
        except (OSError, ValueError, Cut):
            pass
        except Exception as error:      # a fault of the simulation: shown by the fixture
            self.errors.append(f"dockersim: {type(error).__name__}: {error}")
        finally:
            self.connections.discard(connection)
            connection.close()

    def _handle(self, connection, request):
        with self.changed:
            if request.path.startswith("/containers/"):
                request.container = self._named(request.argument, missing=False)
            self.requests.append(request)
            self.changed.notify_all()
        if self._interfere("before", connection, request, None):
            return
        try:
            if not request.verb:
                raise ApiError(404, "page not found")
            status, body = getattr(self, "_do_" + request.verb)(request)
        except ApiError as error:
            status, body = error.status, {"message": error.text}
        if not isinstance(body, (bytes, collections.abc.Iterator)):
            body = b"" if body is None else json.dumps(body).encode() + b"\n"
        shown = None if isinstance(body, collections.abc.Iterator) else body
        if request.verb == "pull" and shown is None and self.hooks:     # executed before anything is told
            body = shown = b"".join(body)
        if self._interfere("after", connection, request, (status, shown)):
            return
        self._answer(connection, request, status, body)

    def _interfere(self, stage, connection, request, answer):
        with self.changed:
            hooks = list(self.hooks)
        for hook in hooks:
            action = hook(stage, request)
            if action and action.perform(connection, request, answer):
                return True
        return False

    @staticmethod
    def _answer(connection, request, status, body):
        head = f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\nApi-Version: {API_VERSION}\r\n" \
               f"Docker-Experimental: false\r\nOstype: linux\r\nServer: Docker/{SERVER_VERSION} (linux)\r\n"
        kind = "text/plain; charset=utf-8" if request.verb == "ping" else "application/json"
        if isinstance(body, collections.abc.Iterator):
            connection.sock.sendall((head + f"Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n").encode())
            for part in body:
                connection.sock.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            connection.sock.sendall(b"0\r\n\r\n")
            return
        if status not in (204, 304):
            head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        connection.sock.sendall((head + "\r\n").encode() + (b"" if request.method == "HEAD" else body))

    # --- the API: each returns (status, body); body is JSON, bytes, None, or an iterator of parts

    def _do_ping(self, request):
        return 200, b"OK"

    def _do_version(self, request):
        return 200, {"Platform": {"Name": ""}, "Components": [], "Version": SERVER_VERSION, "ApiVersion": API_VERSION,
                     "MinAPIVersion": API_VERSION_MIN, "GitCommit": "0", "GoVersion": "go1", "Os": "linux",
                     "Arch": "amd64", "KernelVersion": os.uname().release, "BuildTime": ""}

    def _do_info(self, request):
        unified = not os.path.isdir("/sys/fs/cgroup/memory")
        return 200, {"ID": "simulated", "Containers": len(self.containers), "DockerRootDir": self.directory,
                     "CgroupDriver": "cgroupfs", "CgroupVersion": "2" if unified else "1",
                     "ServerVersion": SERVER_VERSION, "Driver": "overlay2"}

    def _do_events(self, request):
        filters = _filters(request)
        stream = Stream(filters)
        with self.changed:
            if "since" in request.query:
                since = _time_ns(request.query["since"])
                stream.queue.extend(json.dumps(event).encode() + b"\n" for event in self.history
                                    if event["timeNano"] >= since and _wanted(event, filters))
            if "until" not in request.query:
                self.streams.append(stream)
        return 200, self._events(stream, "until" in request.query or self.short_streams)

    def _events(self, stream, once):
        try:
            while True:
                with self.changed:
                    while not stream.queue and not stream.closed and not once:
                        self.changed.wait(10)
                    parts = [stream.queue.popleft() for _ in range(len(stream.queue))]
                    closed = stream.closed
                yield from parts
                if closed:
                    raise Cut
                if once:
                    return
        finally:
            with self.changed:
                if stream in self.streams:
                    self.streams.remove(stream)

    def _do_list(self, request):
        filters = _filters(request)
        everything = request.query.get("all") in ("1", "true")
        with self.changed:
            return 200, [c.listed() for c in reversed(self.containers.values())
                         if (everything or c.running) and _has_labels(c.labels, filters.get("label", ()))]

    def _do_create(self, request):
        name = request.query.get("name") or "sim_" + secrets.token_hex(6)
        with self.changed:
            if taken := next((c for c in self.containers.values() if c.name == name), None):
                raise ApiError(409, f'Conflict. The container name "/{name}" is already in use by container '
                                    f'"{taken.id}". You have to remove (or rename) that container to be able to reuse '
                                    f'that name.')
            found = self._image(request.body.get("Image", ""))
            number = next(self._addresses)
            made = Container(secrets.token_hex(32), name, request.body, found.id,
                             f"172.31.{number // 250 % 250}.{number % 250 + 2}")
            self.volumes |= {mount["Name"] for mount in made.mounts() if mount["Type"] == "volume"}
            self.containers[made.id] = request.container = made
            self._note(made, "create")
            self._tell(made, "create")
            return 201, {"Id": made.id, "Warnings": []}

    def _do_inspect(self, request):
        with self.changed:
            return 200, self._named(request.argument).inspected()

    def _do_start(self, request):
        container = self._named(request.argument)
        with self.changed:
            if container.status == "paused":
                raise ApiError(409, "cannot start a paused container, try unpause instead")
            if container.running:
                return 304, None
        child = None
        if int(request.number * self.pid_share) != int((request.number - 1) * self.pid_share) and \
                not container.behaviour.refused:
            child = self._make_child(container)
        with self.changed:
            if container.running or container.id not in self.containers:     # two starts at once
                if child:
                    child.kill()
                    child.wait()
                return 304, None
            if container.behaviour.refused:
                word = (container.config.get("Entrypoint") or container.config.get("Cmd") or [""])[0]
                container.exit_code = 127
                container.error = (
                    "failed to create shim task: OCI runtime create failed: runc "
                    f'create failed: unable to start container process: exec: "{word}": stat {word}: no such file or '
                    "directory: unknown")
                raise ApiError(400, container.error)
            self._begin(container, child)
        return 204, None

    def _do_stop(self, request):
        container = self._named(request.argument)
        with self.changed:
            if not container.running:
                return 304, None
        self._stop(container, float(request.query.get("t", 10)))
        return 204, None

    def _do_kill(self, request):
        container = self._named(request.argument, hint="Cannot kill container: {0}: ")
        signal = request.query.get("signal", "KILL").removeprefix("SIG")
        with self.changed:
            if not container.running:
                raise ApiError(409, f"Cannot kill container: {request.argument}: Container {container.id} is not running")
            number = {"KILL": "9", "TERM": "15"}.get(signal, signal)
            self._tell(container, "kill", signal=number)
            if number == "9":
                self._die(container, 137)
            elif number == "15":
                self._terminate(container)
        return 204, None

    def _do_restart(self, request):
        container = self._named(request.argument)
        if container.running:
            self._stop(container, float(request.query.get("t", 10)))
        with self.changed:
            self._begin(container, self._make_child(container) if self.pid_share else None)
            self._tell(container, "restart")
        return 204, None

    def _do_pause(self, request):
        with self.changed:
            container = self._named(request.argument)
            if container.status != "running":
                raise ApiError(409, f"Container {container.id} is not running")
            container.status = "paused"
            self._note(container, "pause")
            self._tell(container, "pause")
        return 204, None

    def _do_unpause(self, request):
        with self.changed:
            container = self._named(request.argument)
            if container.status != "paused":
                raise ApiError(409, f"Container {container.id} is not paused")
            container.status = "running"
            self._note(container, "unpause")
            self._tell(container, "unpause")
        return 204, None

    def _do_rename(self, request):
        with self.changed:
            container, name = self._named(request.argument), request.query["name"].removeprefix("/")
            if self._named(name, missing=False):
                raise ApiError(409, f'Error when allocating new name: Conflict. The container name "/{name}" is already '
                                    "in use")
            attributes = {"oldName": "/" + container.name}
            container.name = name
            self._note(container, "rename")
            self._tell(container, "rename", **attributes)
        return 204, None

    def _do_remove(self, request):
        with self.changed:
            container = self._named(request.argument)
            if container.running and request.query.get("force") not in ("1", "true"):
                hint = "Unpause and then stop" if container.status == "paused" else "Stop"
                raise ApiError(409, f"You cannot remove a {container.status} container {container.id}. {hint} the "
                                    "container before attempting removal or force remove")
            if container.running:
                self._tell(container, "kill", signal="9")
                self._die(container, 137)
            self._remove(container)
        return 204, None

    # --- images and volumes

    def _image(self, name, hint=""):
        full = _full_name(name)
        for made in self.images:
            if made.id == name or full in made.tags or full in made.digests:
                return made
        raise ApiError(404, f"{hint.format(name)}No such image: {full}")

    def _do_image_list(self, request):
        with self.changed:
            return 200, [made.listed() for made in self.images]

    def _do_image_inspect(self, request):
        with self.changed:
            return 200, self._image(request.argument, "no such image: {0}: ").inspected()

    def _do_image_tag(self, request):
        with self.changed:
            made = self._image(request.argument)
            made.tags.append(f"{request.query['repo']}:{request.query.get('tag') or 'latest'}")
        return 201, None

    def _do_image_remove(self, request):
        with self.changed:
            made, name = self._image(request.argument), _full_name(request.argument)
            users = [c for c in self.containers.values() if c.image_id == made.id]
            if users and len(made.tags) + len(made.digests) <= 1:
                raise ApiError(409, f"conflict: unable to remove repository reference \"{request.argument}\" (must "
                                    f"force) - container {users[0].id[:12]} is using its referenced image "
                                    f"{made.id[7:19]}")
            made.tags = [tag for tag in made.tags if tag != name]
            answer = [{"Untagged": name}]
            if not made.tags or name == made.id:
                self.images.remove(made)
                answer.append({"Deleted": made.id})
        return 200, answer

    def _published(self, name):
        if name not in self.registry:
            raise ApiError(404, f"pull access denied for {name.rpartition(':')[0]}, repository does not exist or may "
                                "require 'docker login': denied: requested access to the resource is denied")
        return self.registry[name]

    def _do_pull(self, request):
        source, tag = request.query["fromImage"], request.query.get("tag") or "latest"
        name = f"{source}@{tag}" if tag.startswith("sha256:") else f"{source}:{tag}"
        known = next((tag for tag, (_, digest) in self.registry.items()
                      if name == f"{tag.rpartition(':')[0]}@{digest}"), name)
        seconds, digest = self._published(known)
        return 200, self._pull(name, seconds, digest)

    def _pull(self, name, seconds, digest):
        yield json.dumps({"status": f"Pulling from {name}", "id": "latest"}).encode() + b"\r\n"
        limit = time.monotonic() + seconds / self.scale
        while (left := limit - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            yield json.dumps({"status": "Downloading", "id": "layer"}).encode() + b"\r\n"
        with self.changed:
            full = _full_name(name)
            if not any(full in made.tags + made.digests for made in self.images):
                self.images.append(Image.named(full, digest))
        yield json.dumps({"status": f"Status: Downloaded newer image for {name}"}).encode() + b"\r\n"

    def _do_distribution(self, request):
        _, digest = self._published(_full_name(request.argument))
        return 200, {"Descriptor": {"mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                                    "digest": digest, "size": 1}, "Platforms": []}

    def _do_volume_list(self, request):
        return 200, {"Volumes": [{"Name": name, "Driver": "local"} for name in sorted(self.volumes)],
                     "Warnings": None}

    def _do_volume_remove(self, request):
        name = request.argument
        with self.changed:
            if name not in self.volumes:
                raise ApiError(404, f"get {name}: no such volume")
            users = [c.id for c in self.containers.values() if name in [m.get("Name") for m in c.mounts()]]
            if users:
                raise ApiError(409, f"remove {name}: volume is in use - [{', '.join(users)}]")
            self.volumes.discard(name)
        return 204, None


def _full_name(name):
    if "@" in name or name.startswith("sha256:"):
        return name
    return name if ":" in name.rpartition("/")[2] else name + ":latest"


def _filters(request):
    """{name: [values]}; newer clients send {name: {value: true}}."""
    filters = json.loads(request.query.get("filters") or "{}")
    return {name: list(values) for name, values in filters.items()}


def _has_labels(labels, wanted):
    for label in wanted:
        name, equals, value = label.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True


def _wanted(event, filters):
    action = event["Action"]
    return (event["Type"] in filters.get("type", [event["Type"]]) and
            action.partition(":")[0] in filters.get("event", [action.partition(":")[0]]) and
            _has_labels(event["Actor"]["Attributes"], filters.get("label", ())))


def _time_ns(text):
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int((fraction + "000000000")[:9])
