"""ecs-logd's plugin interface and its FIFOs, without a Docker: the calls and records are made as dockerd makes them, and
as it never would."""

import os

import pytest

from ecsbed.logd import Logd
from ecsbed.logfifo import LogFifo
from ecsbed.logsinks import LineSink

DOCKER = False
PORT = 5514


@pytest.fixture
def sink(instance):
    sink = LineSink(instance, PORT).up()
    yield sink
    sink.down()


@pytest.fixture
def make_logd(instance, request):
    made = []

    def make(**options):
        made.append(Logd(instance, instance.new_directory(), **options))
        return made[-1]
    yield make
    for logd in made:
        if getattr(request.node, "failed_in_call", False):
            print("--- end of ecs-logd's log ---\n" + logd.log_tail(80))
        refused = logd.refused()
        logd.close()
        assert not refused


@pytest.fixture
def logd(make_logd):
    return make_logd().start()


def fifo(logd, **options):
    return LogFifo(logd, **{"syslog_address": f"tcp://127.0.0.1:{PORT}", **options})


class TestLines:
    def test_as_docker(self, logd, sink):
        log = fifo(logd).start()
        log.lines("seen", 1000)
        log.stop()
        sink.wait(1000)
        logd.all_shipped()
        assert (log.figures["Lines"], log.figures["OpenStreams"]) == (1000, 0)
