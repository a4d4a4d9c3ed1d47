"""What goes into the packages beside the programs: versions that agree, pages, completion, the stand-in for ecs-init. The
packages themselves: make test-package."""

import glob
import os
import re
import subprocess

import pytest

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("ECSD_BUILD") or os.path.join(ROOT, "build")


def read(*path):
    with open(os.path.join(ROOT, *path)) as file:
        return file.read()


def test_versions_agree():
    version = re.search(r"^VERSION +:= (.*)$", read("Makefile"), re.M)[1]
    changelog, spec = read("dist", "debian", "changelog"), read("dist", "rpm", "ecsd.spec")
    assert re.match(r"ecsd \((.*?)\)", changelog)[1] == version
    assert re.search(r"^Version: +(.*)$", spec, re.M)[1] == version
    assert re.search(rf"^\* \w+ (\w+) (\d+) (\d+) .* - {re.escape(version)}-1$", spec, re.M)
    month, day, year = re.search(r"^\* \w+ (\w+) (\d+) (\d+) ", spec, re.M).groups()
    assert f"{day} {month} {year} 12:00:00 +0000" in changelog    # rpm takes noon for the time of a date


def test_build_dependencies_agree():
    """Both packages are built with the libraries of the Makefile."""
    libraries = set(re.search(r"^PKGS +:= (.*)$", read("Makefile"), re.M)[1].split())
    spec = set(re.findall(r"pkgconfig\((.*)\)", read("dist", "rpm", "ecsd.spec")))
    names = {"libevent_core": "libevent", "libevent_extra": "libevent", "$(MSGPACK)": "msgpack"}
    assert {names.get(name, name) for name in libraries} == spec
    deb = re.search(r"^Build-Depends:(.*?)^\S", read("dist", "debian", "control"), re.M | re.S)[1]
    installed = read("dist", "deps.sh")
    for package in re.findall(r"lib[a-z0-9-]+-dev", deb):
        assert package in installed, package


def test_pages():
    programs = {"ecsd", "amazon-ecs-init"} | set(re.findall(r"ecs-[a-z]+(?= |$|\))", re.search(
        r"^SATELLITES := (.*)$", read("dist", "install.mk"), re.M)[1]))
    assert {os.path.basename(page)[:-2] for page in glob.glob(f"{ROOT}/dist/man/*.8")} == programs
    for page in glob.glob(f"{ROOT}/dist/man/*.8"):
        name = os.path.basename(page)[:-2]
        assert f".Dt {name.upper()} 8\n" in read(page) and f".Nm {name}\n" in read(page)


def test_every_flag_has_a_word_in_the_page():
    usage = subprocess.run([os.path.join(BUILD, "ecsd"), "-help"], check=True, capture_output=True, text=True).stdout
    page = read("dist", "man", "ecsd.8")
    flags = re.findall(r"^  -([a-z0-9-]+) ", usage, re.M)
    assert len(flags) > 10
    for flag in flags:
        if flag != "windows-service":
            assert f".It Fl {flag}" in page, flag


def complete(*words):
    script = f'. {ROOT}/dist/completion/ecsd; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ecsd "$1"; echo "${{COMPREPLY[@]}}"'
    return subprocess.run(["bash", "-c", script, "bash", os.path.join(BUILD, "ecsd"), *words], check=True,
                          capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("words, expected", [
    (["-loglevel"], ["-loglevel", "-loglevel-driver", "-loglevel-on-instance"]),
    (["-blackhole-ec2-metadata", "-vers"], ["-version"]),
    (["-loglevel", "wa"], ["warn"]),
    (["-loglevel", "=", "d"], ["debug"]),
    (["-help-config", "="], ["tsv"]),
    (["-nosuch"], []),
])
def test_completion(words, expected):
    assert complete(*words) == expected


@pytest.fixture
def systemctl(tmp_path):
    """A systemctl that notes how it is called; answers(...) decides on what `start` and `show` say."""
    def answers(start, status):
        program = tmp_path / "systemctl"
        program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/called\n'
                           f'case $1 in start) exit {start} ;; show) echo {status} ;; esac\n')
        program.chmod(0o755)
    answers(0, 0)
    answers.called = lambda: (tmp_path / "called").read_text().splitlines() if (tmp_path / "called").exists() else []
    answers.path = str(tmp_path)
    return answers


@pytest.mark.parametrize("command, start, status, code, called", [
    ("start", 0, 0, 0, "start --wait ecsd.service"),
    ("start", 1, 5, 5, "start --wait ecsd.service"),
    ("start", 1, 1, 1, "start --wait ecsd.service"),
    ("stop", 0, 0, 0, "stop ecsd.service"),
    ("pre-stop", 0, 0, 0, "stop ecsd.service"),
    ("pre-start", 0, 0, 0, None),
    ("post-stop", 0, 0, 0, None),
    ("reload-cache", 0, 0, 0, None),
    ("update", 0, 0, 1, None),
])
def test_stand_in_for_ecs_init(systemctl, command, start, status, code, called):
    systemctl(start, status)
    done = subprocess.run([f"{ROOT}/dist/amazon-ecs-init", command], capture_output=True, text=True,
                          env={"PATH": f"{systemctl.path}:/usr/bin:/bin"})
    assert done.returncode == code
    assert (systemctl.called()[:1] or [None])[0] == called
    assert called or done.stderr
