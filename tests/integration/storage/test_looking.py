"""Looking for what the pipeline linked itself, in a launch dir that others use too."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest

from nfresume.storage.looking import Bounds, Look, Seen
from nfresume.storage.publish import Materialiser
from nfresume.storage.scratch import Scratch
from nfresume.storage.workers import Pace

TASK_DIR = "ab/0123456789abcdef0123456789abcd"


@pytest.fixture
def launch_dir(tmp_path: Path) -> Path:
    """Beside results, the plain work dir of another run that ended an hour ago."""
    for number in range(20):
        task = tmp_path / f"launch/work/{number:02x}/{number:030x}"
        task.mkdir(parents=True)
        (task / ".command.sh").write_text("true\n")
    (tmp_path / "root/work" / TASK_DIR).mkdir(parents=True)
    (tmp_path / "root/work" / TASK_DIR / "a.txt").write_text("a")
    hour_ago = time.time() - 3600
    for folder, _, names in os.walk(tmp_path, topdown=False):
        for name in [*names, "."]:
            os.utime(Path(folder, name), (hour_ago, hour_ago))
    return tmp_path / "launch"


def a_look(launch_dir: Path, bounds: Bounds | None = None) -> tuple[Look, Materialiser]:
    root = launch_dir.parent / "root"
    scratch = Scratch("run-a1", str(root / "work"), str(root), ())
    materialiser = Materialiser(scratch, Pace())
    since = time.time() - 60
    bounds = bounds or Bounds()
    return Look(materialiser, scratch.work, scratch.root, since, bounds, 2, lambda: None), materialiser


def look(launch_dir: Path, *named: Path) -> Seen:
    return a_look(launch_dir)[0].through([str(launch_dir)], map(str, named))


def link_from(launch_dir: Path, name: str) -> Path:
    link = launch_dir / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(launch_dir.parent / "root/work" / TASK_DIR / "a.txt")
    return link


def test_task_dirs_of_an_earlier_run_are_not_listed(launch_dir: Path) -> None:
    """They are as many as that run's tasks: each listing is a request to a shared file system."""
    assert look(launch_dir).entries == 1 + 20 + 20  # work, its folders, and the task dirs


@pytest.mark.parametrize("name", [
    "work/01/000000000000000000000000000001/mine.txt",  # a task dir of the other run
    "work/ff/0123456789abcdef0123456789abcd/mine.txt",  # that of a run that goes on
    "work/01/notes/mine.txt",
    "results/01/mine.txt",
    "results/01/0123/mine.txt",
])
def test_links_of_the_pipeline_are_found(launch_dir: Path, name: str) -> None:
    link = link_from(launch_dir, name)
    look(launch_dir)
    assert not link.is_symlink()
    assert link.read_text() == "a"


def test_links_to_results_of_another_run_cost_few_looks(
    launch_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a run that failed, too, may be many, and what they lead to may be on a slow file system."""
    for number in range(50):
        task = launch_dir.parent / f"root/other/{number:02x}/{number:030x}"
        task.mkdir(parents=True)
        (task / "a.txt").touch()
        (launch_dir / f"{number}.txt").symlink_to(task / "a.txt")
    depth = len(launch_dir.parts)
    looks, lstat = itertools.count(), os.lstat
    monkeypatch.setattr(os, "lstat", lambda *a, **k: (next(looks), lstat(*a, **k))[1])
    look(launch_dir)
    assert next(looks) < 50 * (depth + 8)


def test_a_named_folder_in_which_nothing_has_changed_is_not_looked_through(launch_dir: Path) -> None:
    """It may hold all the data of a site. A link in one of its subfolders is found: that one has changed."""
    named = launch_dir / "work"
    assert look(launch_dir.parent / "root", named).entries == 0
    link = link_from(launch_dir, "work/01/mine.txt")
    assert look(launch_dir.parent / "root", named).entries == 20 + 2
    assert link.read_text() == "a"
    assert not link.is_symlink()


def test_links_directly_in_a_folder(launch_dir: Path) -> None:
    """Not below, not where nothing has changed, and not those of the kernel to a file that we have open."""
    here, below, old = (link_from(launch_dir, name) for name in ("a/l", "a/b/l", "old/l"))
    foreign = launch_dir / "a/foreign"
    foreign.symlink_to("/etc/hostname")
    hour_ago = time.time() - 3600
    os.utime(launch_dir / "old", (hour_ago, hour_ago))
    with (launch_dir.parent / "root/work" / TASK_DIR / "a.txt").open():
        beside, materialiser = a_look(launch_dir)
        beside.directly_in([*(str(launch_dir / name) for name in ("a", "old", "none")), "/proc/self/fd"])
    assert [link.is_symlink() for link in (here, below, old, foreign)] == [False, True, True, True]
    assert (materialiser.result.linked, materialiser.result.refusals) == (1, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes links of somebody else")
@pytest.mark.parametrize("mode", [0o1777, 0o777])
def test_a_link_of_somebody_else_where_all_may_write(launch_dir: Path, mode: int) -> None:
    """In /tmp a stranger's link would get him a file that he cannot see, or hold its work dir for ever."""
    shared = launch_dir / "shared"
    planted, own, of_the_task = (link_from(launch_dir, f"shared/{name}") for name in ("his", "mine", "ours"))
    shared.chmod(mode)
    os.lchown(planted, 4321, 4321)
    look(launch_dir.parent / "root", shared)
    assert planted.is_symlink() is (mode == 0o1777)
    assert own.read_text() == "a"
    assert not own.is_symlink()
    os.unlink(of_the_task)
    os.chown(os.path.realpath(link_from(launch_dir, "shared/ours")), 4321, 4321)
    os.lchown(of_the_task, 4321, 4321)
    look(launch_dir.parent / "root", shared)
    assert not of_the_task.is_symlink()


def test_named_folders_are_not_even_asked_beyond_the_bounds(launch_dir: Path) -> None:
    """A script may name a thousand of them; that some were not looked at is told."""
    assert a_look(launch_dir)[0].through([], [str(launch_dir / "work")]).complete
    assert not a_look(launch_dir, Bounds(seconds=0.0))[0].through([], [str(launch_dir / "work")]).complete
