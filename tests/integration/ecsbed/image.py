"""The image of the test containers: busybox and a tiny HTTP client, as a tar file for `docker import`.

Imported images have no repository digest, which is what most tests want. busybox's own wget cannot be
used: linked statically, it crashes in the C library's name look-up."""

import functools
import io
import os
import subprocess
import tarfile
import tempfile

NAME = "busybox:test"
_HERE = os.path.dirname(os.path.abspath(__file__))


@functools.lru_cache(maxsize=None)
def tar_bytes():
    """The root file system of the image, built once for each process."""
    with tempfile.TemporaryDirectory() as scratch:
        client = os.path.join(scratch, "get")
        subprocess.run(["gcc", "-static", "-O1", "-Wall", "-Wextra", "-o", client,
                        os.path.join(_HERE, "get.c")], check=True)
        applets = subprocess.check_output(["/bin/busybox", "--list"], text=True).split()
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("www", 0o755)):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, mode
                tar.addfile(entry)
            for source, name in (("/bin/busybox", "bin/busybox"), (client, "bin/get")):
                with open(source, "rb") as file:
                    entry = tarfile.TarInfo(name)
                    entry.size, entry.mode = os.path.getsize(source), 0o755
                    tar.addfile(entry, file)
            for applet in applets:
                if applet != "busybox":
                    entry = tarfile.TarInfo("bin/" + applet)
                    entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                    tar.addfile(entry)
            passwd = b"root:x:0:0:root:/:/bin/sh\n"
            entry = tarfile.TarInfo("etc/passwd")
            entry.size = len(passwd)
            tar.addfile(entry, io.BytesIO(passwd))
        return buffer.getvalue()
