"""Configuration seen from outside: exit codes and texts, sources, flags, logs that are rolled over."""

import glob
import json
import os
import subprocess

import pytest

from ecsbed import tasks
from ecsbed.agent import BUILD
from ecsbed.instance import wait_until

ECSD = os.path.realpath(os.path.join(BUILD, "ecsd"))


def run(*arguments, timeout=30, **environment):
    """ecsd in an empty environment; it has to end before it asks the network for anything."""
    return subprocess.run([ECSD, *arguments], env=environment, capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize("text, environment", [
    ("AWS_DEFAULT_REGION has to be set when running on external capacity", {"ECS_EXTERNAL": "true"}),
    ("Invalid format for ECS_INSTANCE_ATTRIBUTES. Expected a json hash: ", {"ECS_INSTANCE_ATTRIBUTES": "{"}),
    ("Invalid format for ECS_CONTAINER_INSTANCE_TAGS. Expected a json hash: ", {"ECS_CONTAINER_INSTANCE_TAGS": "x"}),
    ("Invalid format for ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES, expected a json array of CIDRs: ",
     {"ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES": "[1"}),
    ("Invalid logging drivers: a, b", {"ECS_AVAILABLE_LOGGING_DRIVERS": '["a","b"]'}),
    ("read /tmp: Is a directory", {"ECS_AGENT_CONFIG_FILE_PATH": "/tmp"}),
    ("config: invalid value for docker container stop timeout: 1ms", {"file": {"DockerStopTimeout": 1000000}}),
    ("config: invalid value for docker container start timeout: 1s", {"file": {"ContainerStartTimeout": 1000000000}}),
    ("json: cannot unmarshal string into Go struct field Config.NoIID of type bool", {"file": {"NoIID": "true"}}),
])
def test_configuration_errors(text, environment, tmp_path):
    if "file" in environment:
        path = tmp_path / "ecs.config.json"
        path.write_text(json.dumps(environment["file"]))
        environment = {"ECS_AGENT_CONFIG_FILE_PATH": str(path)}
    done = run(AWS_DEFAULT_REGION="" if "ECS_EXTERNAL" in environment else "us-west-2", **environment)
    assert done.returncode == 1 and f"Error loading config: {text}" in done.stderr.replace("\\\"", '"')


@pytest.mark.parametrize("flag, code, text", [
    ("-version", 0, "Amazon ECS Agent:\n    Version: "), ("--license", 0, "Apache License, Version 2.0"),
    ("-help", 0, "-ecs-attributes"), ("-nonsense", 5, "flag provided but not defined: -nonsense"),
    ("-k=x", 5, 'invalid boolean value "x" for -k: parse error'), ("-windows-service", 1, ""),
    ("-healthcheck", 1, "health check [HEAD] failed"),
    ("-blackhole-ec2-metadata", 1, "Missing required fields: AWSRegion")])
def test_flags(flag, code, text):
    done = run(flag, ECS_AGENT_HEALTHCHECK_HOST="127.254.1.9")
    assert done.returncode == code and text in done.stdout + done.stderr


def test_blackhole():
    done = run("-blackhole-ec2-metadata", AWS_DEFAULT_REGION="us-west-2")
    assert done.returncode == 1
    assert "Unable to detect VPC ID and Subnet: unable to get mac address: blackholed" in done.stderr


def test_user_data_and_region_of_the_instance(make_bed):
    bed = make_bed(ECS_CLUSTER=None, AWS_DEFAULT_REGION=None)
    bed.imds.values["/latest/user-data"] = json.dumps({"ECSAgentConfiguration": {
        "Cluster": "lab", "InstanceAttributes": {"from": "user-data"}}})
    bed.start()
    body = bed.cp.recording.select(lambda e: e["kind"] == "http.request" and
                                   e["op"] == "RegisterContainerInstance")[0]["body"]
    assert body["cluster"] == "lab" and {"name": "from", "value": "user-data"} in body["attributes"]
    paths = [path for path in bed.imds.paths() if path != "/latest/api/token"]
    assert paths[:3] == ["/latest/user-data", "/latest/dynamic/instance-identity/document",
                         "/latest/meta-data/instance-id"]


def test_bad_user_data_ends_the_agent(make_bed):
    bed = make_bed()
    bed.imds.values["/latest/user-data"] = '{"ECSAgentConfiguration": {"AvailableLoggingDrivers": ["zz"]}}'
    assert bed.agent.start().wait() == 1
    assert "Error loading config: Invalid logging drivers: zz" in bed.agent.log()


def test_healthcheck_and_attributes(bed):
    environment = {"DOCKER_HOST": bed.agent.environment["DOCKER_HOST"], "AWS_DEFAULT_REGION": "us-west-2"}
    healthy = subprocess.run(bed.instance.command(ECSD, "-healthcheck"), env={}, timeout=30)
    assert healthy.returncode == 0
    shown = subprocess.run(bed.instance.command(ECSD, "-ecs-attributes"), env=environment, timeout=30,
                           capture_output=True, text=True, check=True).stdout
    names = [line.split("\t")[0] for line in shown.splitlines()]
    assert "ecs.capability.full-sync" in names
    assert "com.amazonaws.ecs.capability.task-iam-role" not in names  # off for the bare agent
    assert all(line.count("\t") == 1 for line in shown.splitlines())


def test_attributes_without_docker():
    done = run("-ecs-attributes", AWS_DEFAULT_REGION="us-west-2", DOCKER_HOST="unix:///no/such/socket")
    assert done.returncode == 1 and done.stdout == ""


def test_logs_are_rolled_over(make_bed):
    """Both of them, by size; ecs-endpoint goes on in the new audit log."""
    bed = make_bed(ECS_LOG_MAX_FILE_SIZE_MB="0.001", ECS_LOG_MAX_ROLL_COUNT=3, ECS_LOGLEVEL="none",
                   ECS_LOGLEVEL_ON_INSTANCE="debug", ECS_LOG_OUTPUT_FORMAT="json").start()
    role = tasks.credentials()
    bed.run_task(tasks.task(roleCredentials=role))

    def rolled(path):
        return {name for name in glob.glob(f"{path}.*") if name.rpartition(".")[2].isdigit()}
    wait_until(lambda: len(rolled(bed.agent.log_file)) == 3, 10, "three rolled logs of ecsd")
    for _ in range(20):
        bed.credentials(f"/v2/credentials/{role['credentialsId']}")
    wait_until(lambda: rolled(bed.agent.audit_file), 20, "a rolled audit log")

    def written_again():
        bed.credentials(f"/v2/credentials/{role['credentialsId']}")
        return bed.agent.audit()
    wait_until(written_again, 10, "a line in the new audit log")
    with open(bed.agent.stderr_file) as file:
        assert not [line for line in file if '"prog":"ecsd"' in line]
