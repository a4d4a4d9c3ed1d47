"""A short form of `make loss`: four cells of the matrix in docs/LOGGING.md, all drivers, with ecs-logd. And that what counts
there counts right."""

import os

import pytest

from ecsbed.loss import LINE_BYTES, Cell, Outcome, by_writer, out_of_order, verdict
from ecsbed.powercut import Disk

LIVE_RESTORE = True


@pytest.mark.parametrize("scenario", ["down", "killed", "docker-kill", "power"])
def test_cell(instance, scenario):
    outcomes = Cell(scenario, rate=200, brief=True, instance=instance).run()
    for driver, outcome in outcomes.items():
        assert outcome.arrived > 100, driver
        assert verdict(scenario, outcome) == [], driver


def test_disk(instance):
    """The power cut takes what was not synced, and nothing else."""
    disk = Disk(instance, f"{instance.dir}/disk").mount()
    inside = instance.path_inside(disk.mountpoint)
    try:
        for name in ("synced", "appended", "not"):
            with open(f"{inside}/{name}", "wb") as file:
                file.write(b"before " * 1000)
                if name != "not":
                    os.fsync(file.fileno())
        directory = os.open(inside, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        with open(f"{inside}/appended", "ab") as file:
            file.write(b"after" * 1000)
        with open(f"{inside}/late", "wb") as file:
            file.write(b"late")
        assert disk.cut(lambda: len(os.listdir(inside))) == 5
        disk.mount()
        with open(f"{inside}/synced", "rb") as one, open(f"{inside}/appended", "rb") as other:
            assert one.read() == other.read() == b"before " * 1000
        assert not os.path.exists(f"{inside}/late")
    finally:
        disk.close()


def line(name, number):
    return f"header: {name} {number} ".encode().ljust(LINE_BYTES - 1 + len("header: "), b"x")


def test_count():
    assert by_writer([line("syslog.0", 0), line("fluentd-ack.1", 7), line("syslog.0", 1), line("syslog.0", 2)[:-1], b"xx"]) \
        == ({"syslog.0": [0, 1], "fluentd-ack.1": [7]}, 2)
    assert [out_of_order(numbers) for numbers in ([0, 1, 2], [0, 2, 3], [0, 1, 0, 1, 2], [0, 2, 1], [3, 0, 1, 2])] == \
        [0, 0, 0, 1, 3]


@pytest.mark.parametrize("scenario, accepted, numbers, counts, wrong", [
    ("down", 5, [0, 1, 2, 3, 4], (0, 0, 0, 0), False),
    ("down", 5, [0, 1, 0, 1, 2, 3, 4], (0, 0, 2, 0), False),
    ("slow", 5, [0, 0, 1, 2, 3, 4], (0, 0, 1, 0), True),
    ("down", 5, [0, 1, 3, 4], (0, 1, 0, 0), True),
    ("down", 4, [0, 1, 3, 4], (1, 0, 0, 0), True),
    ("docker-kill", 4, [0, 1, 3, 4], (1, 0, 0, 0), False),
    ("docker-kill", 5, [0, 1, 3, 4], (0, 1, 0, 0), True),
    ("ecsd", 5, [0, 2, 1, 3, 4], (0, 0, 0, 1), True),
    ("killed", None, [0, 1, 2, 3], (0, 1, 0, 0), True),
    ("power", 4, [0, 1, 2], (1, 1, 0, 0), False),
    ("power", 5, [0, 1, 3, 4], (0, 1, 0, 0), True)])
def test_verdict(scenario, accepted, numbers, counts, wrong):
    outcome = Outcome()
    outcome.add("syslog.0", 5, accepted, numbers, scenario == "power")
    outcome.close(0)
    assert (outcome.before, outcome.missing, outcome.duplicates, outcome.disorder) == counts
    assert bool(verdict(scenario, outcome)) == wrong
