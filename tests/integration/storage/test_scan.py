"""Measuring on a real file system: agrees with du, counts hard links once, rescans no finished task dir."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfresume.domain.costs import metered_bytes
from nfresume.retained.measuring import by_process
from nfresume.storage import sizes
from nfresume.storage.scan import Measurement, Size, measure
from nfresume.storage.workers import Pace
from tests.conftest import privileged

EXAMPLES = int(os.environ.get("NFRESUME_TEST_EXAMPLES", "40"))


def task(work: Path, number: int, *, finished: bool = True, **files: str) -> Path:
    """A task dir with these files."""
    place = work / f"{number % 3:02x}" / f"{number:030x}"
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name).write_text(text)
    (place / ".command.sh").write_text("true")
    if finished:
        (place / ".exitcode").write_text("0")
    return place


def key(place: Path) -> str:
    return f"{place.parent.name}/{place.name}"


def remember(work: Path, cache: Path, measured: Measurement) -> Measurement:
    """Save a measurement and measure again with what was saved."""
    sizes.save(cache, measured.parts)
    return measure(work, known=sizes.load(cache))


def test_it_agrees_with_du(tmp_path: Path):
    """Bytes on disk equal `du -s`; apparent bytes and counts equal `find`."""
    work = tmp_path / "work"
    for number in range(30):
        place = task(work, number, big="x" * (number * 1000), small="")
        (place / "link").symlink_to(place / "big")
        (place / "out/deep").mkdir(parents=True)
        (place / "out/deep/file").write_text("deep")
    os.sync()
    found = measure(work, pace=Pace(workers=8)).total
    du = subprocess.run(["du", "-s", "-B1", str(work)], capture_output=True, text=True, check=True)
    assert found.disk_bytes == int(du.stdout.split()[0])
    listed = subprocess.run(["find", str(work), "-printf", "%y %s\n"], capture_output=True, text=True,
                            check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert found.directories == sum(kind == "d" for kind, _ in rows)
    assert found.files == sum(kind != "d" for kind, _ in rows)
    assert found.bytes == sum(int(size) for kind, size in rows if kind != "d")


def test_metered_bytes(tmp_path: Path):
    """EFS's rule: 2 KiB for each object plus data in steps of 4 KiB; a link or a folder has 4 KiB of data."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "empty").touch()
    (work / "one").write_text("x")
    (work / "two").write_text("x" * 4097)
    (work / "link").symlink_to("one")
    found = measure(work).total
    folder = metered_bytes(max(1, work.stat().st_size))
    assert found.metered == folder + 2048 + (2048 + 4096) + (2048 + 8192) + (2048 + 4096)


def test_links_are_not_followed_and_mounts_not_entered(tmp_path: Path):
    """A link to a folder outside counts as one link; a tmpfs mounted inside does not count."""
    work, outside = tmp_path / "work", tmp_path / "outside"
    work.mkdir()
    outside.mkdir()
    (outside / "big").write_text("x" * 100_000)
    (work / "link").symlink_to(outside)
    assert measure(work).total.files == 1
    if privileged():
        (work / "mnt").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", str(work / "mnt")], check=True)
        try:
            (work / "mnt/big").write_text("x" * 100_000)
            assert measure(work).total.bytes < 10_000
        finally:
            subprocess.run(["umount", str(work / "mnt")], check=True)


def test_hard_links_count_once(tmp_path: Path):
    """A file with names in two tasks, or two names in one, counts once; also when one task is remembered."""
    work, cache = tmp_path / "work", tmp_path / "cache"
    cache.mkdir()
    first = task(work, 0, data="x" * 10_000)
    alone = measure(work)
    second = task(work, 3)
    os.link(first / "data", second / "data")
    os.link(first / "data", second / "again")
    both = measure(work)
    assert both.total.bytes == alone.total.bytes + len("true") + 1
    assert both.sizes[key(second)].bytes == len("true") + 1
    known = remember(work, cache, alone)  # the first was measured before its file had a second name
    assert (known.scanned, known.total) == (1, both.total)
    again = remember(work, cache, known)
    assert (again.scanned, again.total) == (0, both.total)


def test_finished_task_dirs_are_scanned_once(tmp_path: Path):
    """Only task dirs that changed or were not finished are scanned again."""
    work, cache = tmp_path / "work", tmp_path / "cache"
    cache.mkdir()
    places = [task(work, number, data="x" * 5000) for number in range(20)]
    running = task(work, 20, finished=False)
    first = measure(work)
    assert first.scanned == 21
    (running / "data").write_text("x" * 9000)
    os.utime(places[0], ns=(0, places[0].stat().st_mtime_ns - 10**9))  # its mtime changed
    task(work, 21, data="new")
    second = remember(work, cache, first)
    assert second.scanned == 3
    assert second.total == measure(work).total
    (cache / sizes.NAME).write_bytes(b"damaged")
    assert sizes.load(cache) == {}
    assert sizes.load(tmp_path / "absent") == {}


def test_an_exit_status_deep_inside_does_not_finish_a_task(tmp_path: Path):
    """Only the .exitcode at the top of a task dir marks the task as finished."""
    work, cache = tmp_path / "work", tmp_path / "cache"
    cache.mkdir()
    place = task(work, 0, finished=False)
    (place / "nested").mkdir()
    (place / "nested/.exitcode").write_text("0")
    assert remember(work, cache, measure(work)).scanned == 1


def test_a_stopped_scan_is_partial_and_the_next_goes_on(tmp_path: Path):
    """A stopped scan returns a partial result; the next scan reuses what it had finished."""
    work, cache = tmp_path / "work", tmp_path / "cache"
    cache.mkdir()
    for number in range(300):
        task(work, number, data="x" * 100)
    whole = measure(work)
    pace = Pace(workers=1)
    pace.stop.set()
    stopped = measure(work, pace=pace)
    assert stopped.partial
    assert stopped.total.files < whole.total.files
    assert remember(work, cache, stopped).total == whole.total


_UNREADABLE = """
import os, sys
from pathlib import Path
from nfresume.storage.scan import measure
if sys.argv[2] == "drop":
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
work = Path(sys.argv[1]) / "work"
(work / "closed").mkdir(parents=True)
(work / "open").mkdir()
(work / "open/file").write_text("x")
(work / "closed").chmod(0)
found = measure(work)
assert found.partial and found.total.unreadable == 1 and found.total.files == 1, found
(work / "closed").chmod(0o700)
"""


def test_what_cannot_be_read_is_counted():
    """A folder that may not be listed makes the result partial; it raises no error."""
    base = Path("/dev/shm") / f"nfresume-{os.getpid()}-closed"
    base.mkdir(mode=0o777)
    base.chmod(0o777)
    try:
        words = [sys.executable, "-c", _UNREADABLE, str(base), "drop" if privileged() else "stay"]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True)


def test_paths_longer_than_the_kernel_takes(tmp_path: Path):
    """400 levels of 40 characters exceed PATH_MAX and are measured all the same."""
    work = tmp_path / "work"
    work.mkdir()
    here = os.open(work, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d" * 40, dir_fd=here)
        deeper = os.open("d" * 40, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    found = measure(work)
    assert (found.total.directories, found.total.files, found.partial) == (401, 1, False)


def test_by_process():
    """Task dirs are joined with the trace by hash; other parts keep their name; the largest come first."""
    rows = by_process(
        {"ab/cdef0123": Size(metered=10, files=1), "ab/cdef9999": Size(metered=30, files=1),
         "00/000000aa": Size(metered=5), "(conda)": Size(metered=20)},
        {"ab/cdef01": "ALIGN", "ab/cdef99": "ALIGN"},
    )
    assert [(row.process, row.tasks, row.size.metered) for row in rows] == [
        ("ALIGN", 2, 40), ("(conda)", 0, 20), ("(unknown)", 1, 5)]


names = st.text("abc.", min_size=1, max_size=6).filter(lambda n: n not in (".", ".."))
trees = st.recursive(st.integers(0, 20_000), lambda inner: st.dictionaries(names, inner, max_size=4),
                     max_leaves=20)


def build(place: Path, tree: object) -> None:
    if isinstance(tree, dict):
        place.mkdir()
        for name, inner in tree.items():
            build(place / name, inner)
    else:
        place.write_bytes(b"x" * int(str(tree)))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(names, trees, max_size=5), workers=st.sampled_from([1, 8]))
def test_random_trees(tmp_path_factory: pytest.TempPathFactory, tree: dict, workers: int):
    """For any tree and any number of workers, files, folders and bytes equal those of os.walk."""
    work = tmp_path_factory.mktemp("tree") / "work"
    build(work, tree)
    found = measure(work, pace=Pace(workers=workers)).total
    walked = list(os.walk(work))
    files = [Path(place) / name for place, _, names in walked for name in names]
    assert (found.directories, found.files) == (len(walked), len(files))
    assert found.bytes == sum(path.stat().st_size for path in files)
