"""What an agent has more of after many tasks and many lost connections than before: descriptors, private dirty
memory, rows of the database. Both parts start with some of the same, until more of it brings no more of anything: what
is made once has been made then, and as many connections were kept open as there ever are. "Before" is the most there
was in that time. Something that grows with each task or connection goes on growing and shows afterwards."""

import os
import shutil
import sqlite3
import tempfile
import time

from subject import settle, tasks
from ecsbed.instance import wait_until

BATCH = 50
WARM_UP = 50             # of a part; so many parts without anything more end it, or so many in all
WARM_UP_SAME = 4
WARM_UP_PARTS = 16
TASKS_CLOCK = 20        # times real: a task's minute until its clean-up takes three seconds
# Times real: a session of a minute, after which a clean end costs no wait, takes an eighth of a second.
SESSIONS_CLOCK = 480
SESSION = 62 / SESSIONS_CLOCK


def rows(run):
    """Rows in all tables, read from a copy: the agent holds the database exclusively."""
    data = run.bed.agent.data
    with tempfile.TemporaryDirectory() as scratch:
        for name in os.listdir(data):
            if name.startswith("ecsd.db"):
                shutil.copy(os.path.join(data, name), scratch)
        with sqlite3.connect(os.path.join(scratch, "ecsd.db")) as database:
            tables = database.execute("select name from sqlite_master where type = 'table'").fetchall()
            return sum(database.execute(f"select count(*) from {name}").fetchone()[0] for name, in tables)


def through(run, count):
    """So many tasks with credentials, from the payload to their clean-up. The next ones come after it: how many there are
    at a time decides how much there is of everything, and is the same from the warm-up to the end."""
    for _ in range(0, count, BATCH):
        mark = run.cp.recording.mark()
        batch = [tasks.task(tasks.container("m", ["true"]), roleCredentials=tasks.credentials(), networkMode="host")
                 for _ in range(BATCH)]
        for i in range(0, BATCH, 10):
            run.cp.send_payload(*batch[i:i + 10])
        run.wait_reported(batch, "STOPPED", mark, timeout=120)
        wait_until(lambda: not run.instance.containers(), 60, "clean-up of the tasks", 0.2)


def reconnects(run, count):
    """So many ends of ACS connections: closed in order, ended, and cut, in turns."""
    for number in range(count):
        time.sleep(SESSION)
        socket = run.cp.acs.socket
        mark = run.cp.recording.mark()
        try:
            (socket.close, socket.eof, socket.abort)[number % 3]()
        except OSError:
            pass    # ended by itself meanwhile: a reconnect, too
        run.cp.wait_acs(since=mark)


def state(run):
    settle(run)
    return run.descriptors(), run.memory()[0], rows(run)


def warmed_up(run, part):
    """The most of each there was, once some parts of the warm-up in a row have brought no more of any."""
    most, same = (0, 0, 0), 0
    for _ in range(WARM_UP_PARTS):
        part(run, WARM_UP)
        now = state(run)
        same = 0 if any(new > old for new, old in zip(now, most)) else same + 1
        most = tuple(map(max, most, now))
        if same == WARM_UP_SAME:
            break
    return most


def measure_tasks(subject, count):
    """(Descriptors, private dirty KiB, rows) before and after so many tasks."""
    with subject.started(ECSD_CLOCK_SCALE=TASKS_CLOCK, ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION="1m") as run:
        before = warmed_up(run, through)
        through(run, count)
        return before, state(run)


def measure_reconnects(subject, count):
    """The same before and after so many reconnects."""
    with subject.started(heartbeat=20 / SESSIONS_CLOCK, ECSD_CLOCK_SCALE=SESSIONS_CLOCK) as run:
        before = warmed_up(run, reconnects)
        reconnects(run, count)
        return before, state(run)
