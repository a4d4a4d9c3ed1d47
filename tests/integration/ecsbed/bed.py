"""Everything around one agent: instance, metadata service, control plane, Docker proxy, and the agent."""

import contextlib

from . import tasks
from .agent import Agent
from .controlplane import ACCESS_KEY, SECRET_KEY, ControlPlane
from .dockerproxy import DockerProxy
from .imds import Imds
from .tasks import REGION

CLOCK_SCALE = 5    # ecsd's timers and backoffs run that much faster


class Bed:
    """close() takes all down but the instance, and returns what went wrong besides the test itself."""

    proxy_class = DockerProxy

    def __init__(self, instance, pki=None, cluster="lab", v1_only=False, clock_scale=CLOCK_SCALE,
                 address="127.0.0.1", port=8443, heartbeat=2.0, arguments=(), **environment):
        self.instance = instance
        self.directory = instance.new_directory()
        self.cleanup = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self.imds = Imds(instance, v1_only=v1_only)
            stack.callback(self.imds.stop)
            self.cp = ControlPlane(instance, pki, port, cluster or "default", heartbeat, address)
            stack.callback(self.cp.stop)
            self.proxy = self.proxy_class(f"{self.directory}/proxy.sock", instance.docker_socket)
            stack.callback(self.proxy.stop)
            stack.callback(instance.remove_containers)
            settings = {
                "AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "ECS_BACKEND_HOST": self.cp.endpoint,
                "DOCKER_HOST": f"unix://{self.proxy.path}", "ECS_IMAGE_PULL_BEHAVIOR": "prefer-cached",
                "ECS_CONTAINER_STOP_TIMEOUT": "2s", "ECSD_CLOCK_SCALE": str(clock_scale),
                "ECS_ENABLE_TASK_IAM_ROLE": "true", "ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST": "true"}
            if cluster:
                settings["ECS_CLUSTER"] = cluster
            if pki:
                settings["SSL_CERT_FILE"] = pki.ca
            settings.update({name: str(value) for name, value in environment.items() if value is not None})
            for name, value in environment.items():
                if value is None:
                    settings.pop(name, None)
            self.agent = Agent(instance, self.directory, settings)
            self.agent.arguments = list(arguments)
            stack.callback(self.agent.close)
            self.cleanup = stack.pop_all()

    def start(self, **environment):
        """Starts the agent (again) and waits for its ACS connection."""
        mark = self.cp.recording.mark()
        self.agent.start(**environment)
        try:
            self.cp.wait_acs(since=mark)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.agent.log_tail()}") from None
        return self

    def run_task(self, task, status="RUNNING"):
        """Sends a task and waits for its acknowledgement and this status; returns its ARN."""
        mark = self.cp.recording.mark()
        message_id = self.cp.send_payload(task)
        self.cp.wait_ack(message_id, since=mark)
        self.cp.wait_task_status(task["arn"], status, since=mark)
        return task["arn"]

    def credentials(self, target, **options):
        """A request to the credentials endpoint from the host."""
        return self.instance.http("GET", "http://127.0.0.1:51679" + target, **options)

    def introspect(self, target, **options):
        """A request to the introspection endpoint from the host."""
        return self.instance.http("GET", "http://127.0.0.1:51678" + target, **options)

    def close(self):
        self.cleanup.close()
        return self.cp.violations + self.cp.server.errors + self.imds.server.errors + self.agent.refused()


@contextlib.contextmanager
def with_bystander(instance, pki, **settings):
    """A running bed for several tests, with a task that none of them concerns."""
    made = Bed(instance, pki, **settings)
    made.bystander = tasks.task(family="bystander")
    try:
        made.start()
        made.run_task(made.bystander)
        yield made
    finally:
        made.close()
