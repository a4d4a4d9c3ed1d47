"""What the campaign does itself, where it can go wrong."""

import glob
import os

import campaign


def test_a_cgroup_that_goes_away_has_no_processes(tmp_path, monkeypatch):
    """ecsd removes it between two looks."""
    monkeypatch.setattr(glob, "glob", lambda *args, **options: [str(tmp_path / "cgroup.procs")])
    assert campaign.processes(str(tmp_path)) == []


def test_processes_of_a_cgroup(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "cgroup.procs").write_text("")
    (tmp_path / "inner" / "cgroup.procs").write_text(f"{os.getpid()}\n{2**22 + 1}\n")
    mine, gone = campaign.processes(str(tmp_path))
    assert mine.startswith(f"{os.getpid()} ") and "python" in mine
    assert gone == f"{2**22 + 1} (gone)"
