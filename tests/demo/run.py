#!/usr/bin/env python3
"""ecsd at work, on this machine and without AWS: `make run` starts this after the build.

It makes an EC2-like instance (a network namespace with its own Docker engine and no way out), starts a small
ECS control plane and ecsd in it, and sends a task of two containers:

  web      a web server with a health check; it logs by awslogs
  client   waits until web is healthy, then fetches its IAM credentials and the page of web; it logs by syslog

ecs-logd runs beside ecsd and ships both logs: to a small CloudWatch Logs, signed with the task's execution role, and to
a receiver of syslog over TCP.

It shows each state change as ECS receives it, what arrived of the logs, and what the agent's introspection
says; then it takes everything away. With KEEP=1 it stays up until Ctrl-C. Exit code 0: all went well."""

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

NEEDED = {"dockerd": "docker.io", "docker": "docker.io", "ip": "iproute2", "iptables": "iptables",
          "nsenter": "util-linux", "openssl": "openssl", "gcc": "gcc", "/bin/busybox": "busybox-static"}
PAGE = "Hello from the container web."
GROUP, STREAM_PREFIX = "/example/web", "demo"
SYSLOG_PORT = 5514
BOLD, DIM, GREEN, PLAIN = ("\033[1m", "\033[2m", "\033[32m", "\033[0m") if sys.stdout.isatty() else ("",) * 4
START = time.monotonic()


def say(what, detail=""):
    print(f"{DIM}{time.monotonic() - START:6.2f} s{PLAIN}  {what:<13}{detail}", flush=True)


def title(text):
    print(f"\n{BOLD}{text}{PLAIN}", flush=True)


def check_requirements():
    missing = [f"{program} (package {package})" for program, package in NEEDED.items() if not shutil.which(program)]
    try:
        import botocore  # noqa: F401
    except ImportError:
        missing.append("botocore (package python3-botocore, for /usr/bin/python3)")
    if missing:
        sys.exit("The demonstration needs: " + ", ".join(missing))
    if os.geteuid():
        sys.exit("The demonstration makes network namespaces: run it as root.")
    from ecsbed.agent import BUILD
    for program in ("ecsd", "ecs-endpoint", "ecs-logd"):
        if not os.access(os.path.join(BUILD, program), os.X_OK):
            sys.exit(f"There is no {os.path.join(BUILD, program)}: run `make` first.")


def masked(text):
    """Credentials with the better part of each secret left out."""
    return re.sub(r'("(?:SecretAccessKey|Token)":")([^"]{6})[^"]*', r"\1\2********", text)


class Logs:
    """ecs-logd, and where it ships to."""

    def __init__(self, bed):
        from ecsbed import tasks
        from ecsbed.cloudwatch import CloudWatch
        from ecsbed.logd import Logd
        from ecsbed.logsinks import LineSink
        self.role = tasks.credentials("ASIAEXAMPLEEXECUTION")
        self.cloudwatch = CloudWatch(
            listener=bed.instance.listen("127.0.0.1", 0), groups=(),
            keys={self.role["accessKeyId"]: (self.role["secretAccessKey"], self.role["sessionToken"])})
        self.syslog = LineSink(bed.instance, SYSLOG_PORT).up()
        self.logd = Logd(bed.instance, bed.instance.new_directory(),
                         control=bed.agent.environment["ECSD_LOGD_SOCKET"]).start()

    def messages(self, task):
        return self.cloudwatch.messages(GROUP, f"{STREAM_PREFIX}/web/" + task["arn"].rpartition("/")[2])

    def syslog_lines(self):
        return [line.decode() for line in self.syslog.texts()]

    def wait(self, task):
        """Until all has arrived: what the containers printed is known."""
        from ecsbed.instance import wait_until
        self.logd.all_shipped()
        wait_until(lambda: any("response:200" in line for line in self.messages(task)), 20, "the log of web")
        wait_until(lambda: PAGE in "".join(self.syslog_lines()), 20, "the log of client")

    def close(self):
        """What went wrong."""
        self.logd.close()
        self.syslog.down()
        self.cloudwatch.stop()
        return self.cloudwatch.violations + self.cloudwatch.server.errors


def example_task(logs):
    from ecsbed import tasks
    web = tasks.container(
        "web", ["sh", "-c", f"echo '{PAGE}' >/www/index.html; echo serving on port 80; trap 'kill $!; exit 0' TERM; "
                "httpd -f -v -p 80 -h /www & wait"],
        host_config={"LogConfig": {"Type": "awslogs", "Config": {
            "awslogs-group": GROUP, "awslogs-region": tasks.REGION, "awslogs-stream-prefix": STREAM_PREFIX,
            "awslogs-create-group": "true", "awslogs-endpoint": logs.cloudwatch.endpoint,
            "awslogs-force-flush-interval-seconds": "1"}}},
        logsAuthStrategy="ExecutionRole",
        config={"Healthcheck": {"Test": ["CMD-SHELL", "get http://127.0.0.1/"], "Interval": 500_000_000,
                                "Timeout": 2_000_000_000, "Retries": 5}},
        healthCheckType="docker",
        portMappings=[{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}])
    client = tasks.container(
        "client", ["sh", "-c", 'get "http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" || exit 1; '
                   "get http://web/"],
        host_config={"LogConfig": {"Type": "syslog", "Config": {
            "syslog-address": f"tcp://127.0.0.1:{SYSLOG_PORT}", "syslog-format": "rfc5424", "tag": "client"}}},
        links=["web:web"], dependsOn=[{"containerName": "web", "condition": "HEALTHY"}])
    return tasks.task(web, client, family="example", roleCredentials=tasks.credentials("ASIAEXAMPLETASK"),
                      executionRoleCredentials=logs.role)


def show(event):
    """One line for each thing that the control plane sees and that matters."""
    if event["kind"] == "http.request":
        body = event["body"] or {}
        if event["op"] == "SubmitTaskStateChange":
            say(GREEN + "state change" + PLAIN + " ", f"task {body['status']}  {body.get('reason', '')}")
            for change in body.get("containers", []):
                detail = f"container {change['containerName']} {change['status']}"
                if "exitCode" in change:
                    detail += f", exit code {change['exitCode']}"
                for binding in change.get("networkBindings", []):
                    detail += f", host port {binding['hostPort']} -> {binding['containerPort']}"
                if "reason" in change:
                    detail += f", {change['reason']}"
                say("", "  " + detail)
        else:
            say("API call", event["op"])
    elif event["kind"] == "ws.open":
        say("connected", {"acs": "agent communication service", "tcs": "telemetry service"}[event["op"]])
    elif event["kind"] == "ws.frame" and event["op"] == "acs" and "Heartbeat" not in (event.get("type") or ""):
        say("from ECS" if event["dir"] == "out" else "to ECS", event.get("type") or event["opcode"])
    elif event["kind"] == "violation":
        say("PROTOCOL", f"{event['where']}: {event['what']}")


def demonstrate(bed, logs):
    from ecsbed import tasks
    bed.cp.recording.listeners.append(show)
    title("ecsd starts, registers and connects")
    bed.start()

    title("ECS sends a task: web, and client which depends on it")
    task = example_task(logs)
    bed.cp.send_payload(task)
    bed.cp.wait_task_status(task["arn"], "RUNNING", 60)
    title("What the agent says of it (127.0.0.1:51678)")
    print(json.dumps(json.loads(bed.introspect("/v1/metadata").text), indent=2))
    print(json.dumps(json.loads(bed.introspect("/v1/tasks").text), indent=2))

    title("The client ends, and the task with it")
    client = bed.cp.wait_container_status(task["arn"], "client", "STOPPED", 60)
    bed.cp.wait_task_status(task["arn"], "STOPPED", 60)

    logs.wait(task)
    output = "\n".join(logs.syslog_lines())
    title("What arrived by syslog: the client's output (credentials from 169.254.170.2, the page from web)")
    print(masked(output))
    title(f"What arrived in CloudWatch Logs: the output of web, in {GROUP}")
    print("\n".join(logs.messages(task)))
    wrong = []
    if client.get("exitCode") != 0:
        wrong.append(f"the client ended with {client.get('exitCode')}")
    if PAGE not in output or task["roleCredentials"]["accessKeyId"] not in output:
        wrong.append("the client did not get its credentials and the page")

    if os.environ.get("KEEP") == "1":
        keep = tasks.task(tasks.container("idle"), family="kept")
        bed.cp.send_payload(keep)
        bed.cp.wait_task_status(keep["arn"], "RUNNING", 60)
        title("Staying up with a task that idles; Ctrl-C ends it")
        print(f"docker -H unix://{bed.instance.docker_socket} ps")
        print(f"nsenter --net={bed.instance.netns} curl http://127.0.0.1:51678/v1/tasks")
        print(f"less {bed.agent.log_file} {logs.logd.log_file}")
        print(f"curl --unix-socket {bed.instance.path_inside(logs.logd.plugin_path)} http://x/status")
        try:
            signal.pause()
        except KeyboardInterrupt:
            print()

    title("ecsd ends (SIGTERM)")
    code = bed.agent.terminate()
    say("exit code", str(code))
    if code:
        wrong.append(f"ecsd ended with {code}")
    return wrong


def main():
    check_requirements()
    from ecsbed.bed import Bed
    from ecsbed.instance import Instance, remove_stale
    from ecsbed.pki import Pki
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that everything is taken away
    remove_stale()
    title("An instance: network namespace, Docker engine, metadata service, control plane")
    instance = Instance()
    bed, logs, wrong = None, None, []
    with tempfile.TemporaryDirectory() as scratch:
        try:
            instance.up()
            bed = Bed(instance, Pki(scratch), clock_scale=1, ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE="true")
            logs = Logs(bed)
            say("ready", f"Docker {instance.docker_version()}, {bed.cp.endpoint}")
            wrong = demonstrate(bed, logs)
        except KeyboardInterrupt:
            wrong = ["interrupted"]
        except Exception as error:
            wrong = [f"{type(error).__name__}: {error}"]
            if bed:
                print(f"\n--- end of ecsd's log ---\n{bed.agent.log_tail()}")
            if logs:
                print(f"\n--- end of ecs-logd's log ---\n{logs.logd.log_tail()}")
        finally:
            if bed:
                wrong = wrong + bed.close()
            if logs:    # after the containers are gone: Docker asks it to the end
                wrong = wrong + logs.close()
            instance.down()
            say("removed", "everything")
    if wrong:
        sys.exit("\nThe demonstration FAILED:\n  " + "\n  ".join(wrong))
    print(f"\n{GREEN}All went well.{PLAIN}")


if __name__ == "__main__":
    main()
