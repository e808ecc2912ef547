"""Slim retention on a real file system: only the named task dirs are emptied, and only when that is safe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nfresume.storage import Root
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.slimming import slim
from nfresume.storage.trash import entries
from nfresume.storage.workers import Pace


@pytest.fixture
def folder(tmp_path: Path) -> ExecutionFolder:
    made = Root.mark(tmp_path / "root").execution("team", "run-a1")
    made.provision(1)
    return made


def task(folder: ExecutionFolder, name: str, exit_status: str | None) -> Path:
    place = folder.work / name
    (place / "out/deep").mkdir(parents=True)
    for file in (".command.sh", ".command.log", "result", "out/deep/file"):
        (place / file).write_text("x" * 100)
    (place / "input").symlink_to("/etc/hostname")
    if exit_status is not None:
        (place / ".exitcode").write_text(exit_status)
    return place


def test_failed_tasks_keep_their_logs(folder: ExecutionFolder):
    """Failed and aborted tasks keep .command.* and .exitcode; others keep all; a repeat changes nothing."""
    failed = task(folder, f"ab/cdef01{'0' * 24}", "1")
    aborted = task(folder, f"12/345678{'0' * 24}", None)
    good = task(folder, f"ab/cdef02{'0' * 24}", "0")
    removed = slim(folder, ["ab/cdef01", "12/345678", "99/999999"], Pace())
    assert (removed.files, removed.blocked) == (6, [])
    assert sorted(os.listdir(failed)) == [".command.log", ".command.sh", ".exitcode"]
    assert sorted(os.listdir(aborted)) == [".command.log", ".command.sh"]
    assert len(os.listdir(good)) == 6
    assert entries(folder.root) == set()
    assert slim(folder, ["ab/cdef01", "12/345678"], Pace()).files == 0


def test_what_ended_with_zero_or_is_ambiguous_stays(folder: ExecutionFolder):
    """A task with exit status 0, or a hash that matches two task dirs: nothing is touched."""
    good = task(folder, f"ab/cdef01{'0' * 24}", "0\n")
    twins = [task(folder, f"ab/cdef02{digit * 24}", "1") for digit in "12"]
    assert slim(folder, ["ab/cdef01", "ab/cdef02"], Pace()).files == 0
    assert [len(os.listdir(place)) for place in (good, *twins)] == [6, 6, 6]


def test_no_link_is_followed(folder: ExecutionFolder, tmp_path: Path):
    """When a task dir or its prefix folder was replaced by a link, the link's target is not touched."""
    precious = task(ExecutionFolder(folder.root, "team", "other"), f"ab/cdef01{'0' * 24}", "1")
    (folder.work / "ab").mkdir(parents=True)
    (folder.work / "ab" / precious.name).symlink_to(precious)
    (folder.work / "12").symlink_to(precious.parent)
    assert slim(folder, ["ab/cdef01", "12/cdef01"], Pace()).files == 0
    assert len(os.listdir(precious)) == 6


def test_what_was_set_aside_goes_too(folder: ExecutionFolder):
    """Task dirs that were set aside after an unclean death are emptied like those of failed tasks."""
    place = task(folder, f".unfinished/run-a1-1/ab-cdef01{'0' * 24}", None)
    assert slim(folder, [], Pace()).files == 3
    assert sorted(os.listdir(place)) == [".command.log", ".command.sh"]
