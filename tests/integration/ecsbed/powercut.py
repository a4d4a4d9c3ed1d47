"""A disk whose power can be cut: what was not synced is gone.

It is an ext4 file system on a loop device, on another loop device, on a file:

    ext4 ── loop A ── page cache of loop B ── loop B ── file

Nothing of what ext4 gives to loop A reaches loop B and the file before it is written back from the cache in between: that is the volatile
cache of a disk. A flush (fdatasync, a commit of the journal) writes it back, as a disk does. So the file holds what was
synced, and what the kernel has written back of its own accord, which it also does with a real disk, after 30 seconds
(vm.dirty_expire_centisecs); by itself ext4 would commit its journal every 5 seconds, it is told to let 300 pass, so that nothing
is durable that was not asked for. cut() takes a copy of the file, and puts it in the disk's place: the journal is replayed at
the next mount, as after a real power cut."""

import os
import shutil
import subprocess

SIZE = 256 << 20


def _call(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


class Disk:
    """Mounted in an instance at `mountpoint`. After cut(), mount() again; close() when nobody uses it."""

    def __init__(self, instance, mountpoint):
        self.instance, self.mountpoint = instance, mountpoint
        self.file = f"{instance.dir}/disk-{os.path.basename(mountpoint)}"
        self.loops, self.mounted = [], False
        with open(self.file, "wb") as file:
            file.truncate(SIZE)
        _call("mkfs.ext4", "-q", "-F", self.file)
        os.makedirs(mountpoint, exist_ok=True)

    def mount(self):
        below = self.file
        for _ in range(2):
            below = _call("losetup", "--show", "--find", below)
            self.loops.append(below)
        self.instance.run("mount", "-t", "ext4", "-o", "noatime,commit=300", below, self.mountpoint)
        self.mounted = True
        return self

    def cut(self, look=lambda: None):
        """The power goes; nobody may use the disk any more, nor have it open. look() still sees what was written, synced or
        not, and its result is returned."""
        after = self.file + ".cut"
        shutil.copyfile(self.file, after)
        seen = look()
        self.unmount()
        os.replace(after, self.file)
        return seen

    def unmount(self):
        if self.mounted:
            self.instance.run("umount", self.mountpoint)
            self.mounted = False
        while self.loops:
            _call("losetup", "--detach", self.loops.pop())

    def close(self):
        self.unmount()
        os.unlink(self.file)
