"""A disk that fails as a test says: calls are made to fail by diskfault.c, preloaded into the program under test."""

import mmap
import os
import struct
import subprocess

from .agent import BUILD

WRITE, SYNC, TRUNCATE, OPEN, RENAME, UNLINK, ALLOCATE = (1 << i for i in range(7))
CHANGES = WRITE | SYNC | TRUNCATE | RENAME | UNLINK | ALLOCATE
EVER = 0xffffffff


class Disk:
    """The other side of diskfault.c's struct control."""

    def __init__(self, path):
        with open(path, "wb") as file:
            file.write(bytes(24))
        self.path = path
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 24)

    def fail(self, operations, error, skip=0, times=EVER):
        self.memory[0:4] = bytes(4)
        self.memory[4:24] = struct.pack("=5I", skip, times, error, 0, 0)
        self.memory[0:4] = struct.pack("=I", operations)

    def heal(self):
        self.memory[0:4] = bytes(4)

    @property
    def failed(self):
        return struct.unpack("=I", self.memory[20:24])[0]

    def environment(self, shim, under):
        """Has a program's calls fail below this directory."""
        return {"LD_PRELOAD": shim, "DISKFAULT_UNDER": under, "DISKFAULT_CONTROL": self.path}


def with_sanitizer():
    """AddressSanitizer has to be the first library; the preloaded one would be."""
    with open(os.path.join(BUILD, "ecsd"), "rb") as file:
        return b"__asan_init" in file.read()


def build_shim(directory):
    library = f"{directory}/diskfault.so"
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "diskfault.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", library, source], check=True)
    return library
