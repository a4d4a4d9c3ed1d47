"""What the official agent leaves behind: containers in Docker, and its agent.db, in the member names of v1.105.1."""

import json
import os
import time
import uuid

from . import bolt, image, tasks
from .tasks import ACCOUNT, CLUSTER, REGION

INSTANCE_ID = "i-0123456789abcdef0"     # as imds.py says
ZERO_TIME = "0001-01-01T00:00:00Z"
BUCKETS = ("containers", "eniattachments", "images", "metadata", "resattachments", "tasks")
PAUSE = "~internal~ecs~pause"


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime())


def container(name, known="RUNNING", sent=None, desired=None, **members):
    """The member Container of a record; RuntimeID and taskARN come with the task."""
    return {"Name": name, "RuntimeID": "", "V3EndpointID": str(uuid.uuid4()), "Image": image.NAME, "ImageID": "",
            "ImageDigest": "", "Command": tasks.UNTIL_STOPPED, "Cpu": 10, "GPUIDs": None, "Memory": 64, "Links": None,
            "firelensConfiguration": None, "volumesFrom": None, "mountPoints": None, "portMappings": None,
            "secrets": None, "Essential": True, "EntryPoint": None,
            "environment": {"ECS_AGENT_URI": "http://169.254.170.2/api/x"}, "environmentFiles": None,
            "overrides": {"command": None},
            "dockerConfig": {"config": "{}", "hostConfig": '{"CapAdd": [], "CapDrop": []}', "version": "1.21"},
            "registryAuthentication": None, "LogsAuthStrategy": "", "StartTimeout": 0, "StopTimeout": 0,
            "desiredStatus": desired or "RUNNING", "KnownStatus": known, "TransitionDependencySet": {},
            "RunDependencies": None, "IsInternal": "NORMAL", "ApplyingError": None, "SentStatus": sent or known,
            "metadataFileUpdated": False, "KnownExitCode": None, "KnownPortBindings": None,
            "ContainerArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:container/{CLUSTER}/{uuid.uuid4()}",
            "containerTornDown": False, "startedAt": ZERO_TIME, **members}


def pause(**members):
    return container(PAUSE, "RESOURCES_PROVISIONED", "NONE", "RESOURCES_PROVISIONED", IsInternal="CNI_PAUSE",
                     SteadyStateStatus="RESOURCES_PROVISIONED", **members)


def task(*containers, arn=None, known="RUNNING", sent=None, desired="RUNNING", **members):
    arn = arn or tasks.task_arn()
    for one in containers:
        one["taskARN"] = arn
    return {"Arn": arn, "Family": "lab", "Version": "1", "ServiceName": "", "Group": "", "Containers": list(containers),
            "associations": None, "resources": {}, "volumes": None, "DesiredStatus": desired, "KnownStatus": known,
            "KnownTime": now(), "PullStartedAt": ZERO_TIME, "PullStoppedAt": ZERO_TIME,
            "ExecutionStoppedAt": ZERO_TIME, "SentStatus": sent or known, "executionCredentialsID": "",
            "credentialsID": "", "ENI": None, "AppMesh": None, "PlatformFields": {}, "LaunchType": "EC2",
            "ServiceConnectConfig": {"containerName": "service-connect", "runtimeConfig": {}, "networkConfig": {}},
            "NetworkMode": "bridge", **members}


class Official:
    """The official agent of an instance, which has run before ecsd."""

    def __init__(self, instance, data, cluster=CLUSTER, instance_id=INSTANCE_ID):
        self.instance, self.path = instance, f"{data}/agent.db"
        self.arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:container-instance/{cluster}/{uuid.uuid4().hex}"
        self.metadata = {"agent-version": "1.105.1", "availability-zone": REGION + "a", "cluster-name": cluster,
                         "container-instance-arn": self.arn, "ec2-instance-id": instance_id,
                         "task-manifest-seq-num": "5"}
        self.tasks, self.names, self.images = [], {}, {}

    def launch(self, of, *names, start=True):
        """Makes the containers of these names of a task (all, if none is given) in Docker and notes their ids."""
        self.instance.note_task(of["Arn"])
        for one in of["Containers"]:
            if names and one["Name"] not in names:
                continue
            plain = "".join(c for c in one["Name"] if c.isalnum() or c == "-")
            name = f"ecs-{of['Family']}-{of['Version']}-{plain}-{uuid.uuid4().hex[:20]}"
            labels = {"cluster": CLUSTER, "container-name": one["Name"], "task-arn": of["Arn"],
                      "task-definition-family": of["Family"], "task-definition-version": of["Version"]}
            options = [f"--label=com.amazonaws.ecs.{key}={value}" for key, value in labels.items()]
            if of.get("MemoryCPULimitsEnabled"):
                options.append(f"--cgroup-parent=/ecs/{of['Arn'].rpartition('/')[2]}")
            one["RuntimeID"] = self.instance.docker("create", "--name", name, *options, one["Image"],
                                                    *one["Command"]).strip()
            self.names[one["RuntimeID"]] = name
            if start:
                self.instance.docker("start", one["RuntimeID"])
        return self.add(of)

    def add(self, of):
        if of not in self.tasks:
            self.tasks.append(of)
        return of

    def write(self, version=bolt.VERSION):
        """Writes agent.db; as in the real one, the copy of a container within its task is an older one."""
        buckets = {name: {} for name in BUCKETS}
        buckets["metadata"] = {key: json.dumps(value) for key, value in self.metadata.items()}
        buckets["images"] = {key: json.dumps(value) for key, value in self.images.items()}
        for one in self.tasks:
            task_id = one["Arn"].rpartition("/")[2]
            older = [{**c, "KnownStatus": "NONE", "SentStatus": "NONE"} for c in one["Containers"]]
            buckets["tasks"][task_id] = json.dumps({**one, "Containers": older})
            for c in one["Containers"]:
                buckets["containers"][f"{task_id}-{c['Name']}"] = json.dumps(
                    {"DockerId": c["RuntimeID"], "DockerName": self.names.get(c["RuntimeID"], ""), "Container": c})
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        bolt.write(self.path, {name.encode(): {key.encode(): value.encode() for key, value in entries.items()}
                               for name, entries in buckets.items()}, version)
        return self
