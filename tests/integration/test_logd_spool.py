"""ecs-logd's spool on a disk that is full, read-only or broken, and after damage: nothing is lost that need not be, what is lost
is told, and it goes on by itself."""

import errno
import glob
import json
import os
import re

import pytest

from ecsbed.disk import OPEN, RENAME, SYNC, TRUNCATE, UNLINK, WRITE, Disk
from ecsbed.instance import wait_until
from ecsbed.logfifo import Refused, new_id, short_records, syslog

DOCKER = False
SCALE = 20


def dropped_lines(sink):
    """What is told as dropped, in all."""
    return sum(int(re.search(rb"ecs-logd: (\d+) lines? dropped", line).group(1)) for line in sink.texts()
               if re.search(rb"ecs-logd: \d+ lines? dropped", line))


class TestFaults:
    """Calls that fail, by diskfault.c: below the spool, or below the notes of which FIFOs are read as well."""

    @pytest.fixture
    def faulty(self, make_logd, shim):
        logd = make_logd(ECSD_CLOCK_SCALE=SCALE)
        logd.disk = Disk(f"{logd.directory}/diskfault")
        logd.environment.update(logd.disk.environment(shim, logd.directory))
        yield logd.start()
        logd.disk.heal()

    SWEEP = [(operation, error, skip) for operation, error in (
        (WRITE, errno.ENOSPC), (WRITE, errno.EDQUOT), (WRITE, errno.EIO), (WRITE | OPEN | RENAME | UNLINK | TRUNCATE,
                                                                            errno.EROFS), (OPEN, errno.ENOSPC))
             for skip in (0, 1, 2, 3, 5)] + [(SYNC, errno.EIO, 0), (SYNC, errno.EIO, 2), (WRITE | SYNC, errno.EIO, 1),
                                             (RENAME, errno.EIO, 0), (UNLINK, errno.EIO, 0)]

    @pytest.mark.row(33)
    def test_each_write_blocking(self, faulty, sink):
        """From some call on nothing works; then it works again, or ecs-logd is killed first. No line is lost or damaged."""
        met = 0
        for turn, (operations, error, skip) in enumerate(self.SWEEP):
            log = syslog(faulty).start()
            log.lines(f"t{turn}", 20)
            faulty.disk.fail(operations, error, skip)
            for start in range(20, 400, 20):
                log.lines(f"t{turn}", 20, start)
                if faulty.disk.failed:
                    break
            wait_until(lambda: faulty.disk.failed or log.figures["WaitingLines"] == 0, 20, "a fault or the end")
            met += faulty.disk.failed > 0
            if turn % 3 == 0:
                faulty.kill()
            faulty.disk.heal()
            if turn % 3 == 0:
                faulty.start()
            log.lines(f"t{turn}", 20, start + 20)
            log.wait_read()
            log.stop()
            faulty.all_shipped()
            sink.assert_complete(f"t{turn}", start + 40)
        assert met > len(self.SWEEP) // 2
        assert dropped_lines(sink) == 0

    @pytest.mark.row(33, 45)
    def test_stop_while_it_fails(self, faulty, sink):
        """The container's end is not held up; what had no place is told when it works again."""
        log = syslog(faulty).start()
        log.lines("before", 100)
        sink.wait(100)
        faulty.disk.fail(WRITE | OPEN, errno.ENOSPC)
        log.lines("during", 5000)
        log.stop()
        assert log.figures["DroppedLines"] > 0
        faulty.disk.heal()
        wait_until(lambda: dropped_lines(sink) > 0, 20, "the loss told")
        faulty.all_shipped()
        sink.assert_complete("before", 100)
        wait_until(lambda: len(sink.numbered().of.get("during", [])) + dropped_lines(sink) == 5000, 20, "all told")

    @pytest.mark.row(33)
    def test_non_blocking(self, faulty, sink):
        log = syslog(faulty, mode="non-blocking").start()
        faulty.disk.fail(WRITE | OPEN, errno.EIO)
        log.lines("away", 30000)    # more than the FIFO holds: nobody is held up
        wait_until(lambda: log.figures["DroppedLines"] > 0, 20, "lines dropped")
        faulty.disk.heal()
        log.wait_read()
        wait_until(lambda: dropped_lines(sink) > 0, 20, "the loss told")    # it works again
        log.lines("back", 1000)
        log.stop()
        faulty.all_shipped()
        sink.assert_complete("back", 1000)
        of = sink.numbered().of
        assert len(of.get("away", [])) + len(of.get("back", [])) + dropped_lines(sink) == 31000

    @pytest.mark.row(33)
    def test_start_while_it_fails(self, faulty, sink):
        """A full disk for the settings is no reason to refuse a start; one on which the FIFO cannot be noted is."""
        faulty.disk.fail(WRITE, errno.ENOSPC, times=1)    # the note, or what comes first
        log = syslog(faulty)
        try:
            log.start()
        except Refused as error:
            assert "No space left on device" in str(error)
            log.start()
        log.lines("noted", 100)
        log.stop()
        faulty.all_shipped()
        sink.assert_complete("noted", 100)

    @pytest.mark.row(33)
    def test_said_once(self, faulty, sink):
        log = syslog(faulty).start()
        faulty.disk.fail(WRITE, errno.EIO)
        log.lines("x", 1000)
        wait_until(lambda: faulty.disk.failed > 20, 20, "many attempts")
        assert len(re.findall('level=error .*error="Input/output error"', faulty.log())) <= 2
        faulty.disk.heal()
        log.stop()


class TestFileSystem:
    """Real ones: small, without room, without inodes, read-only."""

    @pytest.fixture
    def on(self, make_logd, instance):
        mounted = []

        def make(options, **settings):
            logd = make_logd(**{"ECSD_CLOCK_SCALE": SCALE, "ECS_LOGD_FREE_PERCENT": 0, **settings})
            os.makedirs(logd.spool)
            instance.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", logd.spool)
            mounted.append(logd.spool)
            logd.inside = instance.path_inside(logd.spool)
            return logd.start()
        yield make
        for path in mounted:
            instance.run("umount", "--lazy", path)

    @pytest.mark.row(33)
    def test_full_blocking(self, on, sink):
        logd = on("size=1m")
        sink.down()
        log = syslog(logd).start()
        lines = [b"full %d" % i for i in range(60000)]
        records = short_records(lines)
        left = records[log.write_some(records):]
        wait_until(lambda: log.figures["Stalls"], 20, "no room")
        sink.up()
        log.write(left)
        log.wait_read()
        log.stop()
        logd.all_shipped()
        sink.assert_complete("full", 60000)
        assert dropped_lines(sink) == 0

    @pytest.mark.row(33)
    def test_full_non_blocking(self, on, sink):
        logd = on("size=1m")
        sink.down()
        log = syslog(logd, mode="non-blocking").start()
        log.lines("full", 100000)
        wait_until(lambda: log.figures["Lines"] == 100000, 20, "all lines")
        sink.up()
        log.stop()
        logd.all_shipped()
        wait_until(lambda: len(sink.numbered().of["full"]) + dropped_lines(sink) == 100000, 20, "what is not there told")
        kept = sink.numbered().of["full"]
        assert kept == sorted(kept) and kept[-1] == 99999

    @pytest.mark.row(33)
    def test_filled_by_others(self, on, sink):
        logd = on("size=1m")
        log = syslog(logd).start()
        log.lines("some", 100)
        sink.wait(100)
        with open(f"{logd.inside}/filler", "wb", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass
        log.lines("some", 10000, 100)
        wait_until(lambda: log.figures["Stalls"], 20, "no room")
        os.unlink(f"{logd.inside}/filler")
        log.wait_read()
        log.stop()
        logd.all_shipped()
        sink.assert_complete("some", 10100)

    @pytest.mark.row(33)
    def test_no_inodes(self, on, sink):
        """More containers than the file system has places for: each is read, and waits."""
        logd = on("size=4m,nr_inodes=12")
        logs = [syslog(logd).start() for _ in range(8)]
        for number, log in enumerate(logs):
            log.lines(f"n{number}", 100)
        wait_until(lambda: any(log.figures["Stalls"] for log in logs), 20, "no inode")
        logd.instance.run("mount", "-o", "remount,nr_inodes=1000", logd.spool)
        for log in logs:
            log.wait_read()
            log.stop()
        logd.all_shipped()
        for number in range(8):
            sink.assert_complete(f"n{number}", 100)

    @pytest.mark.row(33)
    def test_read_only(self, on, sink):
        logd = on("size=4m")
        log = syslog(logd).start()
        log.lines("ro", 1000)
        logd.all_shipped()

        def remounted():    # refused as long as a file is open to be written
            logd.instance.run("mount", "-o", "remount,ro", logd.spool, check=False)
            with open("/proc/%d/mounts" % logd.instance.holder.pid) as mounts:
                return any(line.split()[1] == logd.spool and line.split()[3].startswith("ro") for line in mounts)
        wait_until(remounted, 20, "the remount")
        log.lines("ro", 1000, 1000)
        wait_until(lambda: log.figures["Stalls"], 20, "no room")
        logd.instance.run("mount", "-o", "remount,rw", logd.spool)
        log.wait_read()
        log.stop()
        logd.all_shipped()
        sink.assert_complete("ro", 2000)

    @pytest.mark.row(33)
    def test_floor(self, on, sink):
        """What is to stay free stays free."""
        logd = on("size=8m", ECS_LOGD_FREE_PERCENT=50)
        sink.down()
        log = syslog(logd, mode="non-blocking").start()
        for _ in range(60):
            log.write(short_records([b"x" * 100] * 1000))
        wait_until(lambda: log.figures["Lines"] == 60000, 20, "all lines")
        free = os.statvfs(logd.inside)
        # Looked at once a second or 4 MiB; SPOOL_SYNC_BYTES more can be there.
        assert log.figures["DroppedLines"] > 0 and free.f_bavail > 0
        sink.up()
        log.stop()
        logd.all_shipped()


def segments(logd, log):
    """Paths, oldest first."""
    return sorted(glob.glob(f"{logd.spool}/{log.container}/*.log"), key=lambda path: int(path.rpartition("/")[2].split("-")[0], 16))


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes((byte ^ 0x10,)))


def cut(path, by):
    os.truncate(path, os.path.getsize(path) - by)


def append(path, data):
    with open(path, "ab") as file:
        file.write(data)


@pytest.mark.row(34)
class TestDamage:
    """While ecs-logd is away the disk loses or changes something. The rest is shipped, what is missing is told in its place with
    how many lines it was, and the log goes on."""
    COUNT = 14000

    @pytest.fixture
    def stopped(self, make_logd, sink):
        """An ecs-logd that was killed with a backlog of several segments of a container that runs on."""
        logd = make_logd(ECS_LOGD_CONTAINER_MAX="2m", ECSD_CLOCK_SCALE=SCALE).start()
        sink.down()
        logd.log_fifo = log = syslog(logd).start()
        for start in range(0, self.COUNT, 1000):    # or all would be few batches
            log.write(short_records(b"x" * 30 + b"]: line %d" % i for i in range(start, start + 1000)))
            log.wait_read()
        wait_until(lambda: log.figures["Lines"] == self.COUNT, 20, "all lines")
        logd.kill()
        assert len(segments(logd, log)) > 3
        return logd

    def go_on(self, logd, sink):
        """What arrives of the backlog, as numbers."""
        logd.start()
        sink.up()
        logd.log_fifo.lines("after", 1000)
        logd.log_fifo.stop()
        logd.all_shipped()
        sink.assert_complete("after", 1000)
        got = sink.numbered().of.get("line", [])
        assert got == sorted(set(got))
        return got

    def missing(self, got):
        return sorted(set(range(self.COUNT)) - set(got))

    @pytest.mark.parametrize("what, act", [
        ("flipped payload", lambda paths: flip(paths[1], 3000)),
        ("flipped header", lambda paths: flip(paths[1], 8)),
        ("several", lambda paths: [flip(path, at) for path in paths[:3] for at in (100, os.path.getsize(path) // 2, -50)]),
        ("zeros in the middle", lambda paths: os.pwrite(os.open(paths[1], os.O_WRONLY), bytes(8192), 40000)),
        ("middle segment missing", lambda paths: os.unlink(paths[1])),
        ("first segment missing", lambda paths: os.unlink(paths[0])),
        ("middle segment cut", lambda paths: cut(paths[1], 10000)),
        ("middle segment empty", lambda paths: os.truncate(paths[1], 0)),
        ("middle segment a directory", lambda paths: (os.unlink(paths[1]), os.mkdir(paths[1]))),
        ("middle segment a link", lambda paths: (os.unlink(paths[1]), os.symlink("/etc/passwd", paths[1]))),
        ("two segments exchanged", lambda paths: (os.rename(paths[0], paths[0] + "x"), os.rename(paths[1], paths[0]),
                                                  os.rename(paths[0] + "x", paths[1]))),
    ], ids=lambda value: value if isinstance(value, str) else "")
    def test_segments(self, stopped, sink, what, act):
        act(segments(stopped, stopped.log_fifo))
        missing = self.missing(self.go_on(stopped, sink))
        assert 0 < len(missing) < self.COUNT
        assert dropped_lines(sink) == len(missing)

    @pytest.mark.parametrize("what, act", [
        ("torn", lambda paths: cut(paths[-1], 10)),
        ("torn inside a header", lambda paths: cut(paths[-1], os.path.getsize(paths[-1]) - 20)),
        ("newest segment missing", lambda paths: os.unlink(paths[-1])),
        ("newest segment empty", lambda paths: os.truncate(paths[-1], 0)),
    ], ids=lambda value: value if isinstance(value, str) else "")
    def test_torn_tail(self, stopped, sink, what, act):
        """As after a loss of power: what is missing is the end, of which nobody knows any more."""
        act(segments(stopped, stopped.log_fifo))
        got = self.go_on(stopped, sink)
        assert got == list(range(len(got))) and 0 < len(got) < self.COUNT
        assert dropped_lines(sink) == 0

    @pytest.mark.parametrize("garbage", [b"\0" * 100000, os.urandom(5000), b"x", b"\n\x06stdout\x10" * 1000], ids=range(4))
    def test_garbage_behind_the_end(self, stopped, sink, garbage):
        append(segments(stopped, stopped.log_fifo)[-1], garbage)
        assert self.missing(self.go_on(stopped, sink)) == []
        assert dropped_lines(sink) == 0

    @pytest.mark.parametrize("what, act", [
        ("missing", os.unlink), ("empty", lambda path: os.truncate(path, 0)), ("flipped", lambda path: flip(path, 16)),
        ("garbage", lambda path: (os.truncate(path, 0), append(path, os.urandom(1024)))),
    ], ids=lambda value: value if isinstance(value, str) else "")
    def test_cursor(self, stopped, sink, what, act):
        """Then some may come again, and none is missing."""
        act(f"{stopped.spool}/{stopped.log_fifo.container}/cursor")
        assert self.missing(self.go_on(stopped, sink)) == []
        assert dropped_lines(sink) == 0

    @pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"Driver": 5}', '{"Driver": "nobody"}', "\0" * 100],
                             ids=range(8))
    def test_settings(self, stopped, sink, text):
        """The FIFO's note has them too."""
        directory = f"{stopped.spool}/{stopped.log_fifo.container}"
        for path in glob.glob(f"{directory}/settings*"):
            os.unlink(path)
        if text is not None:
            with open(f"{directory}/settings.json", "w") as file:
                file.write(text)
        assert self.missing(self.go_on(stopped, sink)) == []

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"File": 5, "Container": 6}', "\0" * 100, "x" * (2 << 20)],
                             ids=range(7))
    def test_note(self, stopped, sink, text):
        """The backlog is shipped all the same; the FIFO is nobody's, and the next start of its log is as any other."""
        note, = glob.glob(f"{stopped.run_directory}/*")
        with open(note, "w") as file:
            file.write(text)
        stopped.start()
        sink.up()
        stopped.all_shipped()
        assert self.missing(sink.numbered().of["line"]) == []
        assert not os.path.exists(note)
        stopped.log_fifo.start()
        stopped.log_fifo.lines("after", 10)
        stopped.log_fifo.stop()
        stopped.all_shipped()
        sink.assert_complete("after", 10)

    def test_note_and_settings(self, stopped, sink):
        """Nobody knows where to ship it: it stays, is told, and a new start of the container's log ships it."""
        os.unlink(glob.glob(f"{stopped.run_directory}/*")[0])
        for path in glob.glob(f"{stopped.spool}/{stopped.log_fifo.container}/settings*"):
            os.unlink(path)
        stopped.start()
        stopped.wait_log('msg="a log from before cannot be shipped"')
        sink.up()
        other = syslog(stopped).start()
        other.lines("other", 10)
        other.stop()
        sink.wait(10)
        again = syslog(stopped, container=stopped.log_fifo.container).start()
        again.stop()
        stopped.all_shipped()
        assert self.missing(sink.numbered().of["line"]) == []

    def test_what_does_not_belong_there(self, stopped, sink):
        """Files of others, and of versions that are none, are left alone and stop nothing."""
        directory = f"{stopped.spool}/{stopped.log_fifo.container}"
        os.mkdir(f"{stopped.spool}/lost+found")
        os.mkdir(f"{stopped.spool}/{new_id()}")
        os.mkdir(f"{stopped.spool}/{'x' * 200}")
        os.mkfifo(f"{directory}/{2:016x}-{5:08x}.log")
        for path in (f"{stopped.spool}/file", f"{directory}/0000.log", f"{directory}/segment.v2", f"{directory}/-.log",
                     f"{directory}/{(1 << 64) - 1:016x}-{5:08x}.log"):
            append(path, b"not ours\n")
        append(f"{stopped.run_directory}/.hidden", b"x")
        assert self.missing(self.go_on(stopped, sink)) == []

    def test_everything_gone(self, stopped, sink):
        """A new disk: the log that is read goes on by its note."""
        for path, _, files in os.walk(stopped.spool, topdown=False):
            for name in files:
                os.unlink(f"{path}/{name}")
            os.rmdir(path)
        assert self.go_on(stopped, sink) == []

    def test_made_anew_while_it_runs(self, make_logd, sink):
        """Somebody removes the container's directory under it."""
        logd = make_logd(ECSD_CLOCK_SCALE=SCALE).start()
        log = syslog(logd).start()
        log.lines("first", 100)
        sink.wait(100)
        logd.all_shipped()
        sink.down()
        log.lines("lost", 100)
        wait_until(lambda: log.figures["WaitingLines"] >= 100, 20, "lines")
        directory = f"{logd.spool}/{log.container}"
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
        sink.up()
        log.lines("lost", 100, 100)    # perhaps into a file that nobody will find
        numbers = iter(range(1000))

        def goes_on():
            log.lines("then", 1, next(numbers))
            return sink.numbered().of.get("then")
        wait_until(goes_on, 20, "lines that arrive again", 0.1)
        log.stop()
        wait_until(lambda: dropped_lines(sink) > 0, 20, "the loss told")

    def test_settings_hold_no_environment(self, make_logd, sink):
        """R-1.11."""
        logd = make_logd().start()
        log = syslog(logd, env=["SECRET=sesame", "SEEN=yes"]).start()
        log.lines("x", 10)
        sink.wait(10)
        for directory in (logd.spool, logd.run_directory):
            for path, _, files in os.walk(directory):
                for name in files:
                    assert os.stat(f"{path}/{name}").st_mode & 0o077 == 0
                    with open(f"{path}/{name}", "rb") as file:
                        assert b"sesame" not in file.read()
        settings, = glob.glob(f"{logd.spool}/{log.container}/settings*")
        with open(settings) as file:
            assert json.load(file)
        log.stop()
