"""Builds tasks as ECS sends them in a payload. Everything is a plain dict that a test may change."""

import json
import time
import uuid

from . import image

ACCOUNT, REGION, CLUSTER = "123456789012", "us-west-2", "lab"
# Runs until it is told to stop, and then ends at once with 0.
UNTIL_STOPPED = ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done"]


def task_arn():
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{CLUSTER}/{uuid.uuid4().hex}"


def container(name, command=None, *, essential=True, config=None, host_config=None, **members):
    """A container; config and host_config are Docker's, and travel as JSON texts."""
    return {
        "name": name, "image": image.NAME, "command": command or UNTIL_STOPPED, "cpu": 10, "memory": 64,
        "essential": essential, "portMappings": [], "environment": {}, "mountPoints": [], "volumesFrom": [],
        "overrides": "{}",
        "containerArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:container/{CLUSTER}/{uuid.uuid4()}",
        "dockerConfig": {"version": "1.21", "config": json.dumps(config or {}),
                         "hostConfig": json.dumps({"CapAdd": [], "CapDrop": [], **(host_config or {})})},
        **members}


def task(*containers, arn=None, family="lab", **members):
    """A task that should run."""
    return {"arn": arn or task_arn(), "family": family, "version": "1", "desiredStatus": "RUNNING",
            "containers": list(containers) or [container("m")], "launchType": "EC2",
            "taskDefinitionAccountId": ACCOUNT, **members}


def stopped(of):
    """The same task, to be stopped."""
    return {**of, "desiredStatus": "STOPPED"}


def credentials(key="ASIATESTTASKKEY", secret=None, identifier=None):
    """Role credentials with a secret and a session token that occur nowhere else."""
    expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))
    return {"credentialsId": identifier or str(uuid.uuid4()), "accessKeyId": key,
            "secretAccessKey": secret or "secret+" + uuid.uuid4().hex,
            "sessionToken": "token/" + uuid.uuid4().hex + "==", "expiration": expiration,
            "roleArn": f"arn:aws:iam::{ACCOUNT}:role/testRole"}
