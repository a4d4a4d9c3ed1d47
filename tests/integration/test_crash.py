"""A short form of the crash campaign (tests/crash): the same seeds each time, with each Docker."""

import os
import subprocess
import sys

import pytest

CAMPAIGN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "crash", "campaign.py")


@pytest.mark.parametrize("docker, kills", [("real", 30), ("simulated", 300)])
def test_short_campaign(docker, kills, tmp_path):
    """No violation; with programs that have crash points (ECSD_CRASH_BUILD), at those too."""
    environment = {**os.environ, "ECSD_BUILD": os.environ.get("ECSD_CRASH_BUILD") or os.environ.get("ECSD_BUILD", "")}
    done = subprocess.run(
        [sys.executable, CAMPAIGN, "--docker", docker, "--kills", str(kills), "--seed", "1", "--each", str(kills // 2),
         "--keep", str(tmp_path)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-5000:]
