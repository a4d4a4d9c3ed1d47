"""KiB of an agent's programs without their symbols."""

import os
import subprocess
import tempfile


def stripped(path):
    with tempfile.NamedTemporaryFile() as copy:
        subprocess.run(["strip", "-o", copy.name, path], check=True)
        return os.path.getsize(copy.name) // 1024


def measure(subjects):
    programs = [[subject.program, os.path.join(subject.directory, "ecs-endpoint")] for subject in subjects]
    return [sum(stripped(path) for path in paths if os.path.exists(path)) for paths in programs]
