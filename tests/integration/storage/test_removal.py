"""Removal on a real file system: all of the work dir and nothing else (reliability.md, cases 18 to 32)."""

from __future__ import annotations

import ctypes
import glob
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfresume.domain.errors import RootUnusable
from nfresume.storage import Root, removal
from nfresume.storage.removal import empty_trash
from nfresume.storage.root import MARKER
from nfresume.storage.trash import entries as trash_entries
from nfresume.storage.trash import to_trash
from nfresume.storage.workers import Pace
from tests.conftest import privileged

EXAMPLES = int(os.environ.get("NFRESUME_TEST_EXAMPLES", "60"))
needs_root = pytest.mark.skipif(not privileged(), reason="needs root, for mounts and file attributes")


def make(tmp_path: Path) -> tuple[Root, Path]:
    root = Root.mark(tmp_path / "root")
    folder = root.execution("team", "run-a1")
    folder.provision(1)
    return root, folder.work


def remove(root: Root):
    to_trash(root, "team", "run-a1")
    return empty_trash(root, "run-a1")


def test_everything_goes_but_the_attempts(tmp_path: Path):
    """`work` and `cache` are removed; attempts, marker and other executions stay."""
    root, work = make(tmp_path)
    (work / "ab/cdef").mkdir(parents=True)
    (work / "ab/cdef/.command.sh").write_text("x" * 5000)
    other = root.execution("team", "run-a10")
    other.provision(1)
    (other.work / "keep").write_text("keep")
    removed = remove(root)
    assert removed.blocked == []
    assert removed.files == 1
    assert sorted(os.listdir(root.path / "team/run-a1")) == ["attempts"]
    assert (other.work / "keep").read_text() == "keep"
    assert os.listdir(root.path / ".trash") == []
    assert remove(root).files == 0  # once more changes nothing


def test_users_of_one_root_share_its_trash(tmp_path: Path):
    """The trash has the root's mode, so that every user who may launch can also remove."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o1777)
    root = Root.mark(tmp_path / "root")
    assert (root.path / ".trash").stat().st_mode & 0o7777 == 0o1777


def test_links_are_unlinked_never_followed(tmp_path: Path):
    """Case 20: links to files and folders outside and loops are unlinked; their targets stay."""
    root, work = make(tmp_path)
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "data").write_text("data")
    (work / "file").symlink_to(outside / "data")
    (work / "folder").symlink_to(outside)
    (work / "loop").symlink_to(work)
    (work / "up").symlink_to("../../..")
    os.link(outside / "data", work / "hard")
    assert remove(root).blocked == []
    assert (outside / "data").read_text() == "data"


@needs_root
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_a_mount_inside_stops_it(tmp_path: Path, kind: str):
    """Case 21: a mount inside is reported and not touched; after umount the next pass removes the rest."""
    root, work = make(tmp_path)
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "data").write_text("data")
    point = work / "ab" / "mnt"
    point.mkdir(parents=True)
    (work / "ab" / "file").touch()
    mount = ["mount", "--bind", str(outside), str(point)] if kind == "bind" else [
        "mount", "-t", "tmpfs", "none", str(point)]
    subprocess.run(mount, check=True)
    if kind == "tmpfs":
        (point / "data").write_text("data")
    try:
        to_trash(root, "team", "run-a1")
        removed = empty_trash(root, "run-a1")
        assert len(removed.blocked) == 1
        assert "mount point" in removed.blocked[0]
        assert removed.files == 1
        moved = next((root.path / ".trash").glob("*/ab/mnt"))
        assert (moved / "data").read_text() == "data"
    finally:
        subprocess.run(["umount", str(next((root.path / ".trash").glob("*/ab/mnt")))], check=True)
    assert empty_trash(root, "run-a1").blocked == []
    assert trash_entries(root) == set()
    if kind == "bind":
        assert (outside / "data").read_text() == "data"


def test_a_swapped_parent_is_refused(tmp_path: Path):
    """Case 22: an account or execution folder that was replaced by a link is refused."""
    root, _ = make(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "run-a1" / "work").mkdir(parents=True)
    (elsewhere / "run-a1" / "work" / "data").write_text("data")
    for name in ("team", "team/run-a1"):
        place = root.path / name
        place.rename(tmp_path / "aside")
        place.symlink_to(elsewhere if name == "team" else elsewhere / "run-a1")
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
            to_trash(root, "team", "run-a1")
        place.unlink()
        (tmp_path / "aside").rename(place)
    assert (elsewhere / "run-a1" / "work" / "data").read_text() == "data"


def test_a_work_dir_that_is_a_link_is_left(tmp_path: Path):
    """Case 23: when `work` itself was replaced by a link, its target is not touched, and it is not gone."""
    root, work = make(tmp_path)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").touch()
    work.rmdir()
    work.symlink_to(precious)
    with pytest.raises(OSError, match="work is a link, or no folder: remove it, and what it leads to"):
        remove(root)
    assert (precious / "data").exists()
    work.unlink()
    assert remove(root).blocked == []


def test_another_root_is_refused(tmp_path: Path):
    """Cases 24 and 32: another folder or an empty mount point at the root's path is refused."""
    root, work = make(tmp_path)
    (work / "data").touch()
    root.path.rename(tmp_path / "real")
    root.path.mkdir()
    with pytest.raises(RootUnusable):
        to_trash(root, "team", "run-a1")
    (root.path / MARKER).write_bytes((tmp_path / "real" / MARKER).read_bytes())  # same id, other inode
    (root.path / "team/run-a1/work").mkdir(parents=True)
    with pytest.raises(RootUnusable, match="not the recorded root"):
        to_trash(root, "team", "run-a1")
    assert (tmp_path / "real/team/run-a1/work/data").exists()


def test_depth_and_names(tmp_path: Path):
    """Cases 27 and 28: 3,000 levels, paths over PATH_MAX, 255-byte and non-UTF-8 names; few descriptors."""
    root, work = make(tmp_path)
    here = os.open(work, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d" * 40, dir_fd=here)
        deeper = os.open("d" * 40, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open(b"n" * 255, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(os.open(b"\xff\x1b[2J\n", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    to_trash(root, "team", "run-a1")
    with most_descriptors() as most:
        removed = empty_trash(root, "run-a1")
    assert removed.blocked == []
    assert removed.files == 2
    assert removed.directories >= 3000
    assert max(most) < removal.MAX_OPEN + 100
    assert trash_entries(root) == set()


@contextmanager
def most_descriptors() -> Iterator[list[int]]:
    """Collect the number of open descriptors of this process, in a loop, while the block runs."""
    seen, done = [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(len(os.listdir("/proc/self/fd")))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


@pytest.mark.scale
def test_width(tmp_path: Path):
    """A folder with 20,000 files and 2,000 subfolders, removed by 64 workers with few descriptors."""
    root, work = make(tmp_path)
    for number in range(20_000):
        os.close(os.open(work / str(number), os.O_CREAT | os.O_WRONLY))
    for number in range(2_000):
        (work / f"d{number}").mkdir()
    to_trash(root, "team", "run-a1")
    with most_descriptors() as most:
        removed = empty_trash(root, "run-a1", pace=Pace(workers=64))
    assert (removed.files, removed.blocked) == (20_000, [])
    assert max(most) < removal.MAX_OPEN + 200


def grow(work: Path, tasks: int = 40, files: int = 12) -> int:
    """Create task dirs as Nextflow does; returns the number of files."""
    for number in range(tasks):
        task = work / f"{number % 7:02x}" / f"{number:030x}"
        (task / "out").mkdir(parents=True)
        for name in range(files - 1):
            (task / f"f{name}").write_text("x" * number)
        (task / "out/deep").write_text("x")
    return tasks * files


def test_it_pauses_and_goes_on(tmp_path: Path):
    """A stopped removal says so and leaves the rest in the trash; the next pass removes exactly that."""
    root, work = make(tmp_path)
    files = grow(work)
    to_trash(root, "team", "run-a1")
    pace = Pace(workers=4, per_second=1000)
    first = empty_trash(root, "run-a1", lambda _: pace.stop.set(), pace)
    assert first.stopped
    assert first.blocked == []
    assert 0 < first.files < files
    assert trash_entries(root) == {"run-a1"}
    second = empty_trash(root, "run-a1")
    assert (first.files + second.files, second.stopped) == (files, False)
    assert trash_entries(root) == set()


def test_the_rate_limit_holds(tmp_path: Path):
    """500 operations at 1,000 per second take at least half a second, with any number of workers."""
    root, work = make(tmp_path)
    grow(work)
    to_trash(root, "team", "run-a1")
    removed = empty_trash(root, "run-a1", pace=Pace(workers=16, per_second=1000))
    assert removed.files == 480
    assert removed.seconds > 0.48


def test_two_at_once(tmp_path: Path):
    """Two processes remove one tree at once: everything is removed, and neither reports a blocked entry."""
    root, work = make(tmp_path)
    files = grow(work, 100)
    to_trash(root, "team", "run-a1")
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: empty_trash(root, "run-a1", pace=Pace(workers=8)), range(2)))
    assert [removed.blocked for removed in both] == [[], []]
    assert sum(removed.files for removed in both) >= files
    assert trash_entries(root) == set()


def test_what_goes_wrong_in_a_worker_is_raised(tmp_path: Path):
    """An error that is no OSError stops the workers and is raised to the caller; no descriptor stays open."""
    root, work = make(tmp_path)
    grow(work)
    to_trash(root, "team", "run-a1")
    before = len(os.listdir("/proc/self/fd"))

    def fail(_removed: object) -> None:
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        empty_trash(root, "run-a1", fail)
    assert len(os.listdir("/proc/self/fd")) == before
    assert empty_trash(root, "run-a1").blocked == []


def test_odd_kinds(tmp_path: Path):
    """FIFOs, sockets and sparse files are removed like other files."""
    import socket

    root, work = make(tmp_path)
    os.mkfifo(work / "fifo")
    with socket.socket(socket.AF_UNIX) as s:
        folder = os.open(work, os.O_RDONLY)
        s.bind(f"/proc/self/fd/{folder}/sock")
        os.close(folder)
    with (work / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    on_disk = (work / "sparse").stat().st_blocks * 512  # MooseFS reports it as full, others as empty
    removed = remove(root)
    assert (removed.files, removed.blocked) == (3, [])
    assert on_disk <= removed.bytes < on_disk + (1 << 20)


_AS_NOBODY = """
import os, sys
from pathlib import Path
from nfresume.storage import Root
from nfresume.storage.removal import empty_trash
from nfresume.storage.trash import to_trash
if sys.argv[2] == "drop":
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
base = Path(sys.argv[1])
root = Root.mark(base / "root")
folder = root.execution("team", "run-a1")
folder.provision(1)
for mode in (0o000, 0o555, 0o311):
    place = folder.work / oct(mode)
    (place / "in").mkdir(parents=True)
    (place / "in" / "file").write_text("x")
    (place / "file").write_text("x")
    (place / "file").chmod(0)
    (place / "in").chmod(mode)
    place.chmod(mode)
to_trash(root, "team", "run-a1")
removed = empty_trash(root, "run-a1")
assert not removed.blocked, removed.blocked
assert removed.files == 6, removed
assert os.listdir(root.path / ".trash") == []
"""


def test_modes_without_rights(tmp_path: Path):
    """Case 25: folders of mode 000 and 0555 are removed, also by a user who is not root."""
    base = Path("/dev/shm") / f"nfresume-{os.getpid()}-modes"  # every user can reach it
    base.mkdir(mode=0o777)
    base.chmod(0o777)
    try:
        words = [sys.executable, "-c", _AS_NOBODY, str(base), "drop" if privileged() else "stay"]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", str(base)], check=False)
        subprocess.run(["rm", "-rf", str(base)], check=True)


def set_immutable(path: Path, on: bool) -> bool:
    """Set or clear the immutable flag by FS_IOC_SETFLAGS. False where the file system has no such flag."""
    import fcntl

    fd = os.open(path, os.O_RDONLY)
    try:
        value = ctypes.c_int()
        fcntl.ioctl(fd, 0x80086601, value)
        value.value = (value.value | 0x10) if on else (value.value & ~0x10)
        fcntl.ioctl(fd, 0x40086602, value)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


@needs_root
def test_immutable_entries_are_reported(tmp_path: Path):
    """Case 26: an entry that cannot be removed is named, the rest is removed; a later pass removes all."""
    root, work = make(tmp_path)
    (work / "a").mkdir()
    (work / "a/stuck").write_text("x")
    (work / "a/loose").write_text("x")
    if not set_immutable(work / "a/stuck", True):
        pytest.skip("this file system has no immutable flag")
    to_trash(root, "team", "run-a1")
    stuck = next((root.path / ".trash").glob("*/a/stuck"))
    try:
        removed = empty_trash(root, "run-a1")
        assert removed.files == 1
        assert len(removed.blocked) == 1
        assert "a/stuck: Operation not permitted" in removed.blocked[0]
    finally:
        set_immutable(stuck, False)
    assert empty_trash(root, "run-a1").blocked == []


@needs_root
def test_many_stuck_entries_are_counted(tmp_path: Path):
    """All of 120 entries that cannot be removed are counted, the first 100 are named, the rest is removed."""
    root, work = make(tmp_path)
    for number in range(120):
        (work / f"d{number % 3}").mkdir(exist_ok=True)
        (work / f"d{number % 3}" / f"stuck{number}").touch()
        (work / f"d{number % 3}" / f"loose{number}").touch()
    stuck = list(work.rglob("stuck*"))
    if not all(set_immutable(path, True) for path in stuck):
        pytest.skip("this file system has no immutable flag")
    to_trash(root, "team", "run-a1")
    try:
        removed = empty_trash(root, "run-a1")
        assert (removed.files, removed.blocked_count, len(removed.blocked)) == (120, 120, removal.MAX_NAMED)
    finally:
        for path in (root.path / ".trash").rglob("stuck*"):
            set_immutable(path, False)
    assert empty_trash(root, "run-a1").files == 120


def test_an_orphan_that_writes_meanwhile(tmp_path: Path):
    """Case 18: a tree is not reported as removed while a process still creates files in it."""
    root, work = make(tmp_path)
    (work / "busy").mkdir()
    here = os.open(work / "busy", os.O_RDONLY)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            try:
                os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY, dir_fd=here))
            except FileNotFoundError:
                return
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.05)
    to_trash(root, "team", "run-a1")
    removed = empty_trash(root, "run-a1")
    gone = trash_entries(root) == set()
    assert gone == (removed.blocked == [])
    stop.set()
    writer.join()
    os.close(here)
    assert empty_trash(root, "run-a1").blocked == []
    assert trash_entries(root) == set()


KINDS = ["out-file", "out-dir", "loop", "dangling", "hard", "fifo"]
names = st.binary(min_size=1, max_size=40).filter(lambda b: b"/" not in b and b"\0" not in b
                                                  and b not in (b".", b".."))
trees = st.recursive(
    st.one_of(st.binary(max_size=100), st.sampled_from(KINDS)),
    lambda inner: st.dictionaries(names, inner, max_size=5), max_leaves=30,
)


def build(place: bytes, tree: object, outside: bytes) -> None:
    if isinstance(tree, dict):
        os.mkdir(place)
        for name, inner in tree.items():
            build(os.path.join(place, name), inner, outside)
    elif isinstance(tree, bytes):
        with open(place, "wb") as file:
            file.write(tree)
    elif tree == "hard":
        os.link(os.path.join(outside, b"f"), place)
    elif tree == "fifo":
        os.mkfifo(place)
    else:
        target = {"out-file": os.path.join(outside, b"f"), "out-dir": outside, "loop": b".", "dangling": b"?"}
        os.symlink(target[str(tree)], place)


def plant(base: Path, tree: dict) -> tuple[Root, Path, Path]:
    """A root, a work dir that contains `tree`, and the folder outside that its links lead to."""
    root, work = make(base)
    outside = base / "outside"
    (outside / "d").mkdir(parents=True)
    (outside / "f").write_bytes(b"precious")
    work.rmdir()
    build(os.fsencode(work), tree, os.fsencode(outside))
    return root, work, outside


def fingerprint(folder: Path) -> list[tuple[str, int, int, bytes]]:
    return sorted(
        (str(p), p.lstat().st_mode, p.lstat().st_mtime_ns, p.read_bytes() if p.is_file() else b"")
        for p in folder.rglob("*")
    )


LIMITS = st.sampled_from([
    {}, {"MAX_OPEN": 2, "MAX_WAITING": 1, "MAX_LISTED": 3}, {"MAX_OPEN": 5, "MAX_LISTED": 1},
])


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(names, trees, max_size=6), mode=st.sampled_from([0o700, 0o500, 0o755]),
       workers=st.sampled_from([1, 2, 16]), limits=LIMITS,
       modes=st.lists(st.sampled_from([0o000, 0o311, 0o500, 0o555, 0o755]), max_size=8))
def test_random_trees(tmp_path_factory: pytest.TempPathFactory, tree: dict, mode: int, workers: int,
                      limits: dict[str, int], modes: list[int]):
    """Any tree is removed completely, and nothing outside changes by a byte; also when the limits on
    descriptors, names and entries are so low that each of them is reached."""
    root, work, outside = plant(tmp_path_factory.mktemp("tree"), tree)
    for folder, its_mode in zip([f for f, _, _ in os.walk(work, topdown=False)], modes, strict=False):
        os.chmod(folder, its_mode)
    work.chmod(mode)
    before = fingerprint(outside)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in limits.items():
            patch.setattr(removal, name, value)
        to_trash(root, "team", "run-a1")
        removed = empty_trash(root, "run-a1", pace=Pace(workers=workers))
    assert removed.blocked == []
    assert trash_entries(root) == set()
    assert not work.exists()
    assert fingerprint(outside) == before
    assert stat.S_ISDIR((root.path / "team/run-a1/attempts").stat().st_mode)


@needs_root
@settings(max_examples=EXAMPLES // 4, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(names, trees, min_size=1, max_size=4), tmpfs=st.booleans(),
       depth=st.integers(0, 3))
def test_random_trees_with_a_mount(tmp_path_factory: pytest.TempPathFactory, tree: dict, tmpfs: bool,
                                   depth: int):
    """A mount anywhere in a random tree stops the removal there: it is named, and its files do not change."""
    root, work, outside = plant(tmp_path_factory.mktemp("tree"), tree)
    point = work.joinpath(*["m"] * depth, "mount point")
    if any(p.is_symlink() or p.is_file() for p in [*point.parents, point] if p.is_relative_to(work)):
        return
    point.mkdir(parents=True, exist_ok=True)
    what = ["-t", "tmpfs", "none"] if tmpfs else ["--bind", str(outside)]
    subprocess.run(["mount", *what, str(point)], check=True)
    if tmpfs:
        (point / "f").write_bytes(b"precious")
    before = fingerprint(point)
    to_trash(root, "team", "run-a1")
    moved = next((root.path / ".trash").glob(f"*/{glob.escape(str(point.relative_to(work)))}"))
    try:
        removed = empty_trash(root, "run-a1", pace=Pace(workers=4))
        assert len(removed.blocked) == 1
        assert "mount point" in removed.blocked[0]
        assert [(mode, data) for _, mode, _, data in fingerprint(moved)] == [
            (mode, data) for _, mode, _, data in before]
    finally:
        subprocess.run(["umount", str(moved)], check=True)
    assert empty_trash(root, "run-a1").blocked == []
    assert trash_entries(root) == set()


def test_a_folder_that_somebody_removed(tmp_path: Path):
    """An execution's folder that was removed is gone; that of its account may be not mounted. A root that has
    lost its trash says so."""
    root, work = make(tmp_path)
    root.execution("team", "run-b2").provision(1)
    shutil.rmtree(work.parent)
    assert remove(root).blocked == []
    (root.path / "team").rename(root.path / "away")
    with pytest.raises(FileNotFoundError):
        to_trash(root, "team", "run-b2")
    (root.path / "away").rename(root.path / "team")
    (root.path / ".trash").rmdir()
    with pytest.raises(RootUnusable, match=r"has no \.trash folder any more: `nfresume doctor --mark-root`"):
        to_trash(root, "team", "run-b2")
    assert (root.path / "team/run-b2/work").is_dir()
    Root.mark(root.path)
    to_trash(root, "team", "run-b2")
    assert empty_trash(root, "run-b2").blocked == []
    assert os.listdir(root.path / "team/run-b2") == ["attempts"]


def test_an_account_whose_work_dirs_could_not_be_deleted(tmp_path: Path):
    """Where the folder of an account, or the trash, is a link, nothing could be moved into the trash."""
    root, _ = make(tmp_path)
    root.check_space("team")
    root.check_space("new")
    for name in ("team", ".trash"):
        (root.path / name).rename(tmp_path / name)
        (root.path / name).symlink_to(tmp_path / name)
        with pytest.raises(RootUnusable, match="is a link, or another file system is mounted there"):
            root.check_space("team")
        (root.path / name).unlink()
        (tmp_path / name).rename(root.path / name)


@needs_root
def test_an_account_on_a_mount_of_its_own(tmp_path: Path):
    """Nothing is launched where the folder of the account is on another mount, even of one file system."""
    root, _ = make(tmp_path)
    subprocess.run(["mount", "--bind", str(root.path / "team"), str(root.path / "team")], check=True)
    try:
        with pytest.raises(RootUnusable, match="another file system is mounted there"):
            root.check_space("team")
    finally:
        subprocess.run(["umount", str(root.path / "team")], check=True)
