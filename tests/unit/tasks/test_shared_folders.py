"""In /tmp anyone may have put something under the names that tasks use there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from nfresume.tasks import scratch, sharing, views


def test_a_link_in_place_of_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is not followed: nothing is made or opened to all where it leads."""
    (tmp_path / "lock").symlink_to(tmp_path / "made")
    monkeypatch.setattr(sharing, "LOCK", tmp_path / "lock")
    with pytest.raises(OSError, match="symbolic links"):
        sharing._locked()
    assert not (tmp_path / "made").exists()


def test_a_link_in_place_of_a_scratch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Changes of a task do not go to a folder that somebody else has chosen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    name = f"nfresume-{os.geteuid()}"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    task_dir = tmp_path / "work/ab/cdef"
    assert all(tmp_path not in path.parents for path in scratch.of(task_dir))
    (tmp_path / name).unlink()
    assert any(path.parent == tmp_path / name for path in scratch.of(task_dir))
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder to somebody else")
def test_a_scratch_folder_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / f"nfresume-{os.geteuid()}"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    assert all(folder not in path.parents for path in scratch.of(tmp_path / "work/ab/cdef"))


def test_places_for_output(tmp_path: Path):
    """What is in a folder that tasks share needs no place of its own, and nothing is made there."""
    inside, outside = tmp_path / "launch/new", tmp_path / "other"
    assert views.output_place(inside, tmp_path / "launch", is_folder=True) == tmp_path / "launch"
    assert views.output_place(outside / "new", tmp_path / "launch", is_folder=False) == outside
    assert not inside.exists()
    assert not outside.exists()
