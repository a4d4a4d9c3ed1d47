"""The queue for CPU, memory and ports of the host: first in, first out."""

import os
import time

from ecsbed import tasks

MEMORY = next(int(line.split()[1]) // 1024 for line in open("/proc/meminfo") if line.startswith("MemTotal:"))


def of_memory(share, **members):
    return tasks.task(tasks.container("m", memory=int(MEMORY * share)), **members)


def on_port(port):
    return tasks.task(tasks.container("m", portMappings=[
        {"containerPort": 80, "hostPort": port, "protocol": "tcp"}]))


def send(bed, *work):
    bed.cp.wait_ack(bed.cp.send_payload(*work))


def stop(bed, task):
    send(bed, tasks.stopped(task))
    bed.cp.wait_task_status(task["arn"], "STOPPED")


def waits(bed, task):
    """Nothing is done for it, though there was time."""
    bed.cp.settle()
    time.sleep(0.3)
    assert bed.instance.containers(task["arn"]) == []
    assert bed.cp.statuses(task["arn"]) == []


def test_memory(bed):
    """The second waits until the first has stopped, and the small third behind it does not overtake."""
    first, second, third = of_memory(0.6), of_memory(0.6), of_memory(0.01)
    bed.run_task(first)
    send(bed, second, third)
    waits(bed, second)
    waits(bed, third)
    stop(bed, first)
    bed.cp.wait_task_status(second["arn"], "RUNNING")
    bed.cp.wait_task_status(third["arn"], "RUNNING")


def test_stopped_while_it_waits(bed):
    first, second, third = of_memory(0.6), of_memory(0.6), of_memory(0.01)
    bed.run_task(first)
    send(bed, second, third)
    waits(bed, third)
    stop(bed, second)
    assert bed.instance.containers(second["arn"]) == []
    bed.cp.wait_task_status(third["arn"], "RUNNING")


def test_cpu_of_the_task_counts(bed):
    cores = len(os.sched_getaffinity(0))
    first, second = tasks.task(cpu=0.6 * cores), tasks.task(cpu=0.6 * cores)
    bed.run_task(first)
    send(bed, second)
    waits(bed, second)
    stop(bed, first)
    bed.cp.wait_task_status(second["arn"], "RUNNING")


def test_the_same_static_port(bed):
    first, second = on_port(18123), on_port(18123)
    bed.run_task(first)
    send(bed, second)
    waits(bed, second)
    stop(bed, first)
    bed.cp.wait_task_status(second["arn"], "RUNNING")


def test_more_than_the_host_has(bed):
    """It is stopped at once, without a reason, and holds nobody up; so is one that wants a reserved port."""
    first, impossible, reserved, last = of_memory(0.6), of_memory(1.2), on_port(51678), of_memory(0.1)
    send(bed, first, impossible, reserved, last)
    for task in (impossible, reserved):
        change = bed.cp.wait_task_status(task["arn"], "STOPPED")
        assert change.get("reason", "") == ""
        assert bed.instance.containers(task["arn"]) == []
    bed.cp.wait_task_status(first["arn"], "RUNNING")
    bed.cp.wait_task_status(last["arn"], "RUNNING")
    bed.agent.wait_log("needs more than this host has")


def test_queue_after_a_restart(bed):
    """What has begun keeps its share, what waited waits again."""
    first, second = of_memory(0.6), of_memory(0.6)
    bed.run_task(first)
    send(bed, second)
    waits(bed, second)
    bed.agent.kill()
    bed.start()
    waits(bed, second)
    stop(bed, first)
    bed.cp.wait_task_status(second["arn"], "RUNNING")


def test_reserved_memory_counts(make_bed):
    bed = make_bed(ECS_RESERVED_MEMORY=min(MEMORY - 100, 65535)).start()
    task = of_memory(1, arn=tasks.task_arn())
    send(bed, task)
    assert bed.cp.wait_task_status(task["arn"], "STOPPED").get("reason", "") == ""
