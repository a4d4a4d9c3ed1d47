#!/usr/bin/python3
"""The crash campaign: random kills while tasks are launched and stopped, and an oracle that compares.

It runs in episodes, each with a fresh bed, so that nothing grows and each can be run again alone:

    make crash SEED=7 N=200                     real Docker
    make crash SEED=7 N=10000 DOCKER=simulated
    ECSD_BUILD=build/crash tests/crash/campaign.py --docker real --seed 7 --episode 3

Everything is drawn from seed and episode; what is left to chance is when processes are scheduled."""

import argparse
import collections
import glob
import json
import os
import re
import sqlite3
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "integration")]

from ecsbed.instance import BedError, kill_and_wait, remove_stale, wait_until  # noqa: E402

import engines  # noqa: E402
import kills  # noqa: E402
import oracle  # noqa: E402
import workload  # noqa: E402

POINTS_PER_EPISODE = 15
JOBS = {"real": 2, "simulated": 4}      # simulated ones mostly wait
KILLS_PER_EPISODE = {"real": 50, "simulated": 150}
ENOUGH_FOR_ALL_POINTS = {"real": 10**9, "simulated": 5000}      # kills from which on each crash point must have been hit


class Episode:
    """One bed, so many kills, and what the oracle says of it."""

    def __init__(self, options, number, count):
        self.options, self.number, self.count = options, number, count
        self.rng = kills.rng_of(options.docker, options.seed, number)
        self.result = {"episode": number, "violations": [], "kills": {}, "tasks": 0, "containers": 0, "reports": 0,
                       "points": {}}

    def run(self):
        begun = time.monotonic()
        # Without live restore containers die with dockerd, with it they live on: every other episode.
        make = engines.Simulated if self.options.docker == "simulated" else engines.Real
        self.docker = make(live_restore=self.number % 2 == 1)
        self.instance = self.docker.instance
        try:
            self._in_instance()
        finally:
            self.docker.down()
        self.result["seconds"] = round(time.monotonic() - begun, 1)
        return self.result

    def _in_instance(self):
        self.shapes = workload.Shapes(self.rng, getattr(self.docker, "images", ()), self.docker.simulated)
        self.bed = self.docker.bed(ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=self.docker.cleanup,
                                   ECS_TASK_METADATA_RPS_LIMIT="1000,1000")
        points = kills.Points(self.rng, self._points()) if self.options.points else None
        self.killer = kills.Killer(self.bed, self.docker, self.rng, points)
        protocol = []
        try:
            self.bed.start()
            self.ecs = workload.Ecs(self.bed, self.docker.repeat)
            self.bed.agent.wait_log("ecs-endpoint holds everything")
            self.descriptors = self._endpoint_descriptors()
            while self.killer.kills < self.count:
                self._step()
            left_over = self._finish()
        except (AssertionError, BedError) as error:
            left_over = [f"the episode could not be finished: {error}"]
        finally:
            self.ecs.stop()
            self.docker.stop()
            protocol = self.killer.unexpected + self.bed.close()
        self._judge(left_over, protocol, points)

    def _points(self):
        """The crash points of this episode: the next ones of all, in an order that the seed makes."""
        order = sorted(self.options.points)
        kills.rng_of(self.options.seed, "points").shuffle(order)
        first = self.number * POINTS_PER_EPISODE
        return [order[(first + i) % len(order)] for i in range(min(POINTS_PER_EPISODE, len(order)))]

    # --- a step: some work, some time, one thing that goes wrong

    def _step(self):
        alive = self.ecs.alive()
        for _ in range(self.rng.choice(self.docker.launches)):
            if len(alive) < self.docker.crowd:
                self.ecs.launch(self.shapes.draw())
        for arn in alive:
            draw = self.rng.random()
            if draw < self.docker.stops:
                self.ecs.end(arn)
            elif draw < self.docker.stops + 0.04:
                self.ecs.repeat(arn)
        # The moment is a number of things that were seen to happen, so that a slow machine has its agents killed at the
        # same places; and one that dies by itself has time to get there.
        events = int(self.rng.choice((15, 60, 150)) * self.rng.random())
        if self.killer.pause(3 * self.docker.pace, 10**9 if self.killer.waits() else events):
            self.killer.start(arm=self.rng.random() < 0.5)
            return
        self.rng.choice((self.killer.ecsd,) * 9 + (self.killer.ecsd_in_recovery,) * 2 + (self.killer.endpoint,) * 2 +
                        (self.killer.both,) * 2 + (self.killer.dockerd,) * 2 + (self.killer.cut_acs,) * 2 +
                        (self.killer.api_fault,) * 3 + (self.killer.cut_docker,) * 3)()

    # --- the end: everything stops, and nothing may be left

    def _settled(self, condition, timeout, what):
        """Waits until condition() holds; a crash point that is still armed may be reached meanwhile."""
        def look():
            if self.killer.died():
                self.killer.start()
            return condition()
        wait_until(look, timeout, what, 0.05)

    def _finish(self):
        self.bed.cp.faults.clear()
        if self.killer.waits():
            self.bed.agent.kill()
            self.killer.count("kill ecsd")
            self.killer.start()
        left_over = self._credentials_are_served()
        for arn in self.ecs.alive():
            self.ecs.end(arn)
        self._settled(self.ecs.settled, 90, "the end of all tasks")
        arns = {arn.rpartition("/")[2]: arn for arn in self.ecs.wishes}
        try:
            wait_until(lambda: self._is_clean(arns), 60, "clean-up", 0.2)
        except BedError:
            left_over += [f"container {identifier}" for identifier in self.instance.containers()]
            left_over += [f"cgroup {path} with {processes(path)}" for path in self._cgroups(arns)]
        left_over += self._endpoint_holds()
        if self.bed.agent.terminate() != 0:
            left_over.append("ecsd did not end well on SIGTERM")
        return left_over + self._rows() + self.docker.left_over("kill dockerd" in self.killer.counts)

    def _is_clean(self, ids):
        """A dockerd that is killed in the middle of a start forgets the container's process. It stays in the container's
        cgroup, which ecsd cannot remove meanwhile: whoever runs the host ends it, and the summary counts it."""
        if self.instance.containers():
            return False
        if "kill dockerd" in self.killer.counts:
            lost = {int(line.split()[0]) for path in self._cgroups(ids) for line in processes(path)}
            for _ in lost:
                self.killer.count("process that a killed dockerd forgot")
            kill_and_wait(sorted(lost))
        return not self._cgroups(ids) and self._introspected() == []

    def _endpoint_descriptors(self):
        pid = self.bed.agent.endpoint_pid()
        try:
            return len(os.listdir(f"/proc/{pid}/fd")) if pid else None
        except OSError:
            return None

    def _credentials_are_served(self):
        """Tasks that run have their roles' credentials, whatever was killed before."""
        self.bed.cp.wait_acs(timeout=60, since=0)
        wanted = [wish for wish in self.ecs.wishes.values() if "roleCredentials" in wish.payload and
                  wish.ever_acknowledged and not wish.over and "RUNNING" in self.bed.cp.statuses(wish.arn)]

        def missing():
            return [wish.arn for wish in wanted if not wish.over and not wish.stop_sent and
                    self._get(wish.payload["roleCredentials"]["credentialsId"]) != 200]
        try:
            self._settled(lambda: not missing(), 20, "credentials")
        except BedError:
            return [f"no credentials for a running task {arn}" for arn in missing()]
        return []

    def _get(self, identifier):
        try:
            return self.bed.credentials("/v2/credentials/" + identifier).status
        except OSError:
            return 0

    def _endpoint_holds(self):
        found = []
        for wish in self.ecs.wishes.values():
            for member in ("roleCredentials", "executionRoleCredentials"):
                if member in wish.payload and self._get(wish.payload[member]["credentialsId"]) in (200, 503):
                    found.append(f"{member} of {wish.arn} are still served")
        known = self._introspected()
        found += ["introspection does not answer"] if known is None else \
            [f"introspection knows {task['Arn']}" for task in known]
        try:
            wait_until(lambda: (self._endpoint_descriptors() or 10**6) <= self.descriptors, 5, "descriptors")
        except BedError:
            found.append(f"ecs-endpoint {self.bed.agent.endpoint_pid()} has {self._endpoint_descriptors()} descriptors, "
                         f"not {self.descriptors}")
        return found

    def _introspected(self):
        """The tasks that the introspection endpoint knows; None if it does not answer."""
        try:
            return json.loads(self.bed.introspect("/v1/tasks").text)["Tasks"]
        except (OSError, ValueError):
            return None

    def _cgroups(self, ids):
        return [path for path in glob.glob("/sys/fs/cgroup/*/ecs/*") if os.path.basename(path) in ids]

    def _rows(self):
        database = sqlite3.connect(f"{self.bed.agent.data}/ecsd.db")
        try:
            return [f"table {table}: {row}" for table in ("task", "container", "transition")
                    for row in database.execute(f"SELECT * FROM {table}")]
        finally:
            database.close()

    # --- the verdict

    def _judge(self, left_over, protocol, points):
        events = self.bed.cp.recording.select()
        answers = {e["request"]: e["status"] for e in events if e["kind"] == "http.response"}
        reports = [oracle.Report(e["t"], e["body"], answers.get(e["seq"]) == 200) for e in events
                   if e["kind"] == "http.request" and e["op"] == "SubmitTaskStateChange"]
        tasks = [oracle.Task(wish.payload, wish.ever_acknowledged, wish.stop_sent)
                 for wish in self.ecs.wishes.values()]
        containers = self.docker.containers()
        history = oracle.History(tasks, reports, containers, left_over, protocol)
        found = oracle.check(history)
        self.result.update(violations=[str(v) for v in found], kills=self.killer.counts, tasks=len(tasks),
                           containers=len(containers), reports=len(reports), points=points.hits if points else {})
        if found:
            self._explain(history, {violation.task for violation in found if violation.task})

    def _explain(self, history, arns):
        """Keeps what belongs to the violations: reports, containers, and the agent's log."""
        name = f"{self.options.docker}-{self.options.seed}-{self.number}"
        directory = os.path.join(self.options.keep, name)
        os.makedirs(directory, exist_ok=True)
        self.bed.cp.recording.dump(f"{directory}/control-plane.jsonl")
        self.bed.proxy.recording.dump(f"{directory}/docker.jsonl")     # empty if simulated
        with open(f"{directory}/ecsd.log", "w") as file:
            file.write(self.bed.agent.log())
        lines = [f"violations of episode {name}:"] + self.result["violations"]
        for arn in sorted(arns):
            lines.append(f"--- {arn}")
            lines += [f"  task {t}" for t in history.tasks if t.payload["arn"] == arn]
            lines += [f"  {c}" for c in history.containers if c.task == arn]
            lines += [f"  report {r.time:.3f} accepted={r.accepted} {json.dumps(r.body)}"
                      for r in history.reports if r.body["task"] == arn]
        with open(f"{directory}/violations.txt", "w") as file:
            file.write("\n".join(lines) + "\n")
        self.result["kept"] = directory


def processes(cgroup):
    """Who is in a cgroup, or below it."""
    found = []
    for file in glob.glob(f"{cgroup}/**/cgroup.procs", recursive=True):
        for pid in _read(file, "").split():
            found.append(f"{pid} {_read(f'/proc/{pid}/cmdline', '(gone)').replace(chr(0), ' ').strip()[:100]}")
    return found


def _read(path, otherwise):
    """What a file of the kernel says; otherwise: what is read of one that is gone, which may be at any time."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return otherwise


# --- the campaign: episodes in processes of their own

def child(options):
    """Runs one episode and prints its result as JSON, on the last line."""
    result = Episode(options, options.episode, options.kills).run()
    print(json.dumps(result), flush=True)
    return result


def plan(options):
    """Kills of each episode."""
    each = options.each or KILLS_PER_EPISODE[options.docker]
    return [min(each, options.kills - done) for done in range(0, options.kills, each)]


def run_all(options):
    todo = collections.deque(enumerate(plan(options)))
    running, results = {}, []
    while todo or running:
        while todo and len(running) < options.jobs:
            number, count = todo.popleft()
            command = [sys.executable, os.path.join(HERE, "campaign.py"), "--docker", options.docker,
                       "--seed", str(options.seed), "--episode", str(number), "--kills", str(count),
                       "--keep", options.keep, "--child"]
            running[number] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for number, process in list(running.items()):
            try:
                output, _ = process.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue
            del running[number]
            results.append(_result(output, number, process.returncode))
            show(results[-1])
    return results


def _result(output, number, code):
    try:
        return json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return {"episode": number, "violations": [f"the episode ended with code {code}"], "kills": {}, "tasks": 0,
                "containers": 0, "reports": 0, "points": {}, "seconds": 0}


def show(result):
    total = sum(count for kind, count in result["kills"].items() if kind.startswith("kill "))
    print(f"episode {result['episode']}: {total} kills, {result['tasks']} tasks, {result['containers']} containers, "
          f"{result['reports']} reports, {len(result['violations'])} violations, {result['seconds']} s", flush=True)
    for violation in result["violations"][:20]:
        print("  " + violation)
    if "kept" in result:
        print(f"  see {result['kept']}")


def summary(options, results, seconds):
    total, points = collections.Counter(), collections.Counter()
    for result in results:
        total.update(result["kills"])
        points.update(result["points"])
    violations = [f"episode {r['episode']}: {v}" for r in results for v in r["violations"]]
    count = sum(number for kind, number in total.items() if kind.startswith("kill "))
    print(f"\nseed {options.seed}, Docker {options.docker}: {count} kills in {len(results)} episodes, {seconds:.0f} s")
    for kind, number in sorted(total.items()):
        print(f"  {number:6} {kind}")
    for what in ("tasks", "containers", "reports"):
        print(f"  {sum(r[what] for r in results):6} {what}")
    if options.points:
        missed = [name for name in options.points if not points[name]]
        print(f"crash points: {len(options.points) - len(missed)} of {len(options.points)} hit")
        print("  " + ", ".join(f"{name} {points[name]}" for name in options.points))
        if missed and count >= ENOUGH_FOR_ALL_POINTS[options.docker]:
            violations.append(f"crash points never hit: {', '.join(missed)}")
    print(f"violations: {len(violations)}")
    for violation in violations:
        print("  " + violation)
    if violations:
        print(f"again: ECSD_BUILD=build/crash tests/crash/campaign.py --docker {options.docker} --seed {options.seed} "
              f"--episode NUMBER --kills {max(plan(options))}")
    return 1 if violations else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--docker", choices=("real", "simulated"), default="real")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--each", type=int, help="kills in an episode")
    parser.add_argument("--episode", type=int, help="this one alone")
    parser.add_argument("--jobs", type=int, help="episodes at a time")
    parser.add_argument("--keep", default="build/crash-kept", help="where histories with violations go")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.points = kills.point_names() if kills.has_points() else []
    if options.kills is None:
        options.kills = KILLS_PER_EPISODE[options.docker] if options.episode is not None else 200
    options.jobs = options.jobs or JOBS[options.docker]
    if not options.child:
        remove_stale()      # not while others are making theirs
    if options.episode is not None:
        return 1 if child(options)["violations"] else 0
    begun = time.monotonic()
    return summary(options, run_all(options), time.monotonic() - begun)


if __name__ == "__main__":
    sys.exit(main())
