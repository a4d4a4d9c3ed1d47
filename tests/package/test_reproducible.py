"""Two builds are the same, byte for byte: of another copy of the source, at another time, for another user's settings, and the
deb in another place. rpm itself writes the directory that it works in into the source package, and that one's checksum into
the others."""

import hashlib
import os
import shutil
import subprocess

import pytest

from conftest import PACKAGES, ROOT


def sums(directory):
    found = {}
    for name in os.listdir(directory):
        if name.endswith((".deb", ".rpm")):
            with open(os.path.join(directory, name), "rb") as file:
                found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


@pytest.fixture
def elsewhere(tmp_path):
    """The source in a directory with a longer name, without a repository and as old as it is not."""
    copy = tmp_path / "some" / "other" / "place"
    copy.mkdir(parents=True)
    for name in subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True,
                               text=True).stdout.splitlines():
        if os.path.lexists(os.path.join(ROOT, name)):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(os.path.join(ROOT, name), copy / name, follow_symlinks=False)
            if not os.path.islink(copy / name):
                shutil.copymode(os.path.join(ROOT, name), copy / name)
    commit = subprocess.run(["git", "rev-parse", "--short=8", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    (copy / ".commit").write_bytes(commit)
    return copy


@pytest.mark.parametrize("script", ["deb", "rpm"])
def test_built_twice(elsewhere, tmp_path, script):
    work = f"{PACKAGES}/rpm" if script == "rpm" else str(tmp_path / "a-longer-name-of-a-work-directory")
    environment = {**os.environ, "WORK": work,
                   "OUT": str(tmp_path / "out"), "TZ": "Asia/Tokyo", "LANG": "C", "GIT_CEILING_DIRECTORIES": str(tmp_path)}
    subprocess.run(["sh", "-c", f"umask 027 && nice sh dist/{script}.sh"], cwd=elsewhere, check=True, env=environment,
                   stdout=subprocess.DEVNULL)
    again = sums(tmp_path / "out")
    assert again and again == {name: value for name, value in sums(PACKAGES).items() if name in again}
