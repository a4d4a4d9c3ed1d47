#!/usr/bin/env python3
"""The image of `make image`, booted in a virtual machine and looked at from inside and outside: `make test-boot`.

Each check is a line of output, with the seconds it took. A check that fails is told why; the next ones still run, unless the machine
is of no more use. build/boot keeps the console, the journal and the recording of the last run. Exit code 0: all checks passed."""

import glob
import os
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))

from checks import CHECKS, Guest     # noqa: E402
from ecsbed.pki import Pki           # noqa: E402
from machine import Machine          # noqa: E402
from vpc import Vpc, user_data       # noqa: E402

BUILD = os.path.join(ROOT, "build")
DIRECTORY = os.path.join(BUILD, "boot")


def run_checks(guest):
    """How many passed, and how many did not."""
    passed = failed = 0
    for number, check in enumerate(CHECKS, 1):
        what = check.__doc__.split("\n\n")[0].strip().rstrip(".")
        begun = time.monotonic()
        try:
            detail = check(guest)
            passed += 1
            print(f"ok {number} - {what}" + (f" ({detail})" if detail else ""), end="")
        except Exception as error:  # a failed check, or the bed: both are told
            failed += 1
            print(f"not ok {number} - {what}\n# {type(error).__name__}: " + str(error).replace("\n", "\n# "), end="")
        print(f" [{time.monotonic() - begun:.0f} s]", flush=True)
        if guest.machine.process and guest.machine.process.poll() is not None and check is not CHECKS[-1]:
            print("# the machine is off")
            return passed, failed + len(CHECKS) - number
    return passed, failed


def keep_journal(guest):
    """For whoever looks for the reason."""
    try:
        text = guest.machine.run("journalctl --no-pager --boot=all --output=short-monotonic", timeout=120)
        with open(f"{DIRECTORY}/journal.txt", "w") as file:
            file.write(text)
    except Exception as error:  # it was the machine that failed
        print(f"# no journal: {error}")


def main():
    if os.geteuid():
        sys.exit("the boot test makes a network namespace and a disk image: run it as root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that everything is taken away
    begun = time.monotonic()
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    os.makedirs(DIRECTORY)
    image = os.path.join(BUILD, "image", "disk.img")
    with open(os.path.join(BUILD, "image", "docker-version")) as file:
        docker_version = file.read().strip()
    [deb] = glob.glob(f"{BUILD}/packages/ecsd_*.deb")
    pki = Pki(f"{DIRECTORY}/pki")
    vpc = Vpc(DIRECTORY, docker_version)
    machine = Machine(vpc, image, DIRECTORY)
    try:
        with open(pki.ca) as file:
            vpc.up(pki, user_data(file.read()), machine.public_key)
        guest = Guest(vpc, machine, deb)
        passed, failed = run_checks(guest)
        if failed and machine.process and machine.process.poll() is None:
            keep_journal(guest)
            if os.environ.get("KEEP") == "1":
                print("# staying up until Ctrl-C; to log in:\n# " + " ".join(machine.ssh("root@10.99.0.10")))
                subprocess.run(["sleep", "infinity"])
    except KeyboardInterrupt:
        passed, failed = 0, 1
    finally:
        machine.hang_up()
        machine.close()
        if vpc.cp:
            vpc.cp.recording.dump(f"{DIRECTORY}/recording.jsonl")
        wrong = vpc.down()
    for each in wrong:
        print(f"not ok - what ecsd sent: {each}")
    failed += len(wrong)
    print(f"{passed} passed, {failed} failed, in {(time.monotonic() - begun) / 60:.1f} minutes")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
