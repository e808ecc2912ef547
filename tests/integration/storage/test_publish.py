"""Published results made real: atomic, idempotent, bit for bit (design rule 2)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfresume.storage import publish, replacing
from nfresume.storage.publish import make_real
from tests.conftest import privileged


@pytest.fixture
def work(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    (place / "ab/task/folder/deep").mkdir(parents=True)
    (place / "ab/task/a.txt").write_text("a")
    (place / "ab/task/folder/b.txt").write_text("b")
    (place / "ab/task/folder/deep/c.txt").write_text("c")
    (place / "ab/task/folder/deep/up.txt").symlink_to("../b.txt")
    (tmp_path / "out").mkdir()
    return place


def settle(targets: list[Path], work: Path) -> publish.MadeReal:
    """make_real, then the work dir goes, as in life."""
    result = make_real(targets, work)
    if not result.refused:
        shutil.rmtree(work)
    return result


def test_a_link_becomes_the_file(work: Path):
    """Absolute and relative links into the work dir; mode and time stay."""
    out = work.parent / "out"
    source = work / "ab/task/a.txt"
    source.chmod(0o640)
    os.utime(source, (1_000_000_000, 1_000_000_000))
    (out / "abs").symlink_to(source)
    (out / "rel").symlink_to(os.path.relpath(source, out))
    assert settle([out / "abs", out / "rel"], work).count("linked") == 2
    for name in ("abs", "rel"):
        assert (out / name).read_text() == "a"
        assert not (out / name).is_symlink()
        assert (out / name).stat().st_mode & 0o777 == 0o640
        assert (out / name).stat().st_mtime == 1_000_000_000
    assert make_real([out / "abs"], work).done == {}


def test_a_folder_link_becomes_the_folder(work: Path):
    """Everything below it, with links that stay inside it kept as links."""
    out = work.parent / "out"
    (out / "folder").symlink_to(work / "ab/task/folder")
    settle([out / "folder"], work)
    assert (out / "folder/deep/c.txt").read_text() == "c"
    assert (out / "folder/deep/up.txt").read_text() == "b"
    assert os.readlink(out / "folder/deep/up.txt") == "../b.txt"
    assert not [p for p in out.iterdir() if p.name.startswith(".")]


def test_chains_and_links_that_only_pass_through(work: Path):
    """A chain inside work ends in its last file; one that leads out again is pointed straight there."""
    out = work.parent / "out"
    outside = work.parent / "input.txt"
    outside.write_text("input")
    (work / "cd").mkdir()
    (work / "cd/one").symlink_to(work / "ab/task/a.txt")
    (work / "cd/two").symlink_to("one")
    (work / "cd/input").symlink_to(outside)
    (out / "chain").symlink_to(work / "cd/two")
    (out / "input").symlink_to(work / "cd/input")
    result = settle([out / "chain", out / "input"], work)
    assert (result.count("linked"), result.count("redirected")) == (1, 1)
    assert (out / "chain").read_text() == "a"
    assert os.readlink(out / "input") == str(outside)


def test_links_inside_a_copied_folder(work: Path):
    """copyNoFollow leaves links inside a real folder; those into work become real too."""
    folder = work.parent / "out/real"
    folder.mkdir()
    (folder / "link").symlink_to(work / "ab/task/a.txt")
    (folder / "own").symlink_to("link")
    settle([folder], work)
    assert (folder / "link").read_text() == "a"
    assert (folder / "own").read_text() == "a"


def test_across_file_systems(work: Path):
    """No hard link between two file systems: copied, verified, and equal."""
    out = Path("/dev/shm") / f"nfresume-{os.getpid()}-publish"
    if os.stat("/dev/shm").st_dev == work.stat().st_dev:
        pytest.skip("/dev/shm is on the same file system")
    out.mkdir()
    try:
        (out / "a").symlink_to(work / "ab/task/a.txt")
        (out / "folder").symlink_to(work / "ab/task/folder")
        result = settle([out / "a", out / "folder"], work)
        assert result.count("copied") == 2
        assert (out / "a").read_text() == "a"
        assert (out / "folder/deep/up.txt").read_text() == "b"
    finally:
        shutil.rmtree(out)


def test_what_cannot_be_made_real_is_refused(work: Path):
    """A source that is gone, a target inside the work dir, a loop: named, and nothing else stops."""
    out = work.parent / "out"
    (out / "gone").symlink_to(work / "ab/task/absent")
    (out / "fine").symlink_to(work / "ab/task/a.txt")
    (work / "ab/task/folder/loop").symlink_to(work / "ab/task")
    (out / "loop").symlink_to(work / "ab/task/folder")
    result = make_real([out / "gone", out / "fine", work / "ab/task/a.txt", out / "loop"], work)
    assert len(result.refused) == 3
    assert sorted(line.split(":")[0] for line in result.refused) == sorted(
        [str(out / "gone"), str(work / "ab/task/a.txt"), str(out / "loop")])
    assert (out / "fine").read_text() == "a"
    assert work.exists()


def test_what_the_user_changed_is_left(work: Path):
    """A result that was removed, or replaced by something of the user's own, is none of our business."""
    out = work.parent / "out"
    (out / "own").write_text("mine")
    (out / "elsewhere").symlink_to("/etc/hostname")
    result = make_real([out / "own", out / "elsewhere", out / "removed"], work)
    assert (result.done, result.refused) == ({}, [])
    assert (out / "own").read_text() == "mine"
    assert os.readlink(out / "elsewhere") == "/etc/hostname"


def test_a_work_dir_that_moved(work: Path):
    """Links by the path that it had, in results and between its own task dirs, lead to what moved with it."""
    out, moved = work.parent / "out", work.parent / "elsewhere/work"
    (work / "cd/task").mkdir(parents=True)
    (work / "cd/task/staged.txt").symlink_to(work / "ab/task/a.txt")
    (out / "file").symlink_to(work / "ab/task/a.txt")
    (out / "chain").symlink_to(work / "cd/task/staged.txt")
    (out / "folder").symlink_to(work / "cd/task")
    (out / "deep").mkdir()
    (out / "deep/folder").symlink_to(work / "ab/task/folder")
    (out / "other").symlink_to(f"{work}-2/ab/task/a.txt")
    moved.parent.mkdir()
    work.rename(moved)
    targets = [out / name for name in ("file", "chain", "folder", "deep/folder/b.txt", "other")]
    assert make_real(targets, moved).done == {}
    result = make_real(targets, moved, formerly=[str(work)])
    assert (len(result.done), result.refused) == (4, [])
    shutil.rmtree(moved)
    for name in ("file", "chain", "folder/staged.txt"):
        assert (out / name).read_text() == "a"
    assert (out / "deep/folder/deep/up.txt").read_text() == "b"
    assert os.readlink(out / "other") == f"{work}-2/ab/task/a.txt"


def test_the_longest_name(work: Path):
    """A result with a 255-byte name has room for its temporary too."""
    out = work.parent / "out" / ("n" * 255)
    out.symlink_to(work / "ab/task/a.txt")
    settle([out], work)
    assert out.read_text() == "a"


_MAKE_REAL = """
import sys
from pathlib import Path
from nfresume.storage.publish import make_real
result = make_real(sys.argv[2:], Path(sys.argv[1]))
print("\\n".join(result.refused))
"""


def make_real_in_a_process(work: Path, *targets: Path, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", _MAKE_REAL, str(work), *map(str, targets)], text=True,
                          capture_output=True, env={**os.environ, **env})


@pytest.mark.parametrize("point", ["file-partial", "results-half-real", "folder-partial", "folder-ready",
                                   "folder-swapped", "results-real"])
def test_a_kill_between_any_two_steps(work: Path, point: str):
    """kill -9 at each step: the result can be read, the next pass finishes it, and nothing stays behind."""
    out = work.parent / "out"
    (out / "file").symlink_to(work / "ab/task/a.txt")
    (out / "folder").symlink_to(work / "ab/task/folder")
    killed = make_real_in_a_process(work, out / "file", out / "folder", NFRESUME_CRASH_AT=point)
    assert killed.returncode == -9, killed.stderr
    assert (out / "file").read_text() == "a"
    assert make_real_in_a_process(work, out / "file", out / "folder").stdout.strip() == ""
    shutil.rmtree(work)
    assert (out / "file").read_text() == "a"
    assert (out / "folder/deep/c.txt").read_text() == "c"
    assert sorted(p.name for p in out.iterdir()) == ["file", "folder"]


def test_a_folder_of_the_longest_name(work: Path):
    """A published folder whose name leaves no room for a suffix."""
    out = work.parent / "out" / ("n" * 255)
    out.symlink_to(work / "ab/task/folder")
    settle([out], work)
    assert (out / "deep/c.txt").read_text() == "c"


def test_a_reader_sees_the_link_or_the_file(work: Path):
    """While results are made real, every read gets the whole content."""
    out = work.parent / "out"
    links = []
    for number in range(300):
        (work / f"f{number}").write_text("content")
        links.append(out / str(number))
        links[-1].symlink_to(work / f"f{number}")
    bad: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            for path in links[::7]:
                try:
                    bad.extend([str(path)] if path.read_text() != "content" else [])
                except OSError as e:
                    bad.append(f"{path}: {e}")

    reader = threading.Thread(target=read)
    reader.start()
    assert make_real(links, work).count("linked") == 300
    done.set()
    reader.join()
    assert bad == []


def test_a_reader_of_a_folder_never_sees_nothing(work: Path):
    """Where the file system can exchange two names, a folder link turns into the folder at one stroke."""
    out = work.parent / "out"
    probe = work.parent / "probe"
    probe.touch()
    if not replacing._exchange(str(probe), str(work)):
        pytest.skip("this file system cannot exchange two names")
    replacing._exchange(str(probe), str(work))
    links = []
    for number in range(50):
        shutil.copytree(work / "ab/task/folder", work / f"d{number}")
        links.append(out / str(number))
        links[-1].symlink_to(work / f"d{number}")
    bad: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            for link in links:
                try:
                    (link / "b.txt").read_text()
                except OSError as e:
                    bad.append(f"{link}: {e}")

    reader = threading.Thread(target=read)
    reader.start()
    result = make_real(links, work)
    done.set()
    reader.join()
    assert bad == []
    assert (len(result.done), result.refused) == (50, [])


def test_a_target_that_is_replaced_meanwhile_is_left(work: Path):
    """What the user puts in the link's place while its data is made ready is the user's, and stays."""
    link = work.parent / "out/a"
    link.symlink_to(work / "ab/task/a.txt")

    def meanwhile(temporary: str) -> None:
        os.link(work / "ab/task/a.txt", temporary)
        link.unlink()
        link.write_text("mine")

    with pytest.raises(replacing._Replaced):
        replacing._swap(str(link), str(work / "ab/task/a.txt"), meanwhile)
    assert link.read_text() == "mine"
    assert make_real([link], work).done == {}
    assert [p.name for p in link.parent.iterdir()] == ["a"]


_AS_NOBODY = """
import os, sys
from pathlib import Path
from nfresume.storage.publish import make_real
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
base = Path(sys.argv[1])
result = make_real([base / "theirs/a", base / "ours/a"], base / "work")
print(result.done, result.refused)
"""


@pytest.mark.skipif(not privileged(), reason="needs root, to be another user")
def test_links_in_another_users_folder():
    """Where we may not write, the link cannot be made real: refused, named, and left as it was; a source
    that may be read but not linked (another user's file) is copied."""
    base = Path("/dev/shm") / f"nfresume-{os.getpid()}-theirs"
    for name in ("work", "theirs", "ours"):
        (base / name).mkdir(parents=True)
    (base / "work/a").write_text("a")  # of root, 0644
    (base / "theirs/a").symlink_to(base / "work/a")
    (base / "ours/a").symlink_to(base / "work/a")
    shutil.chown(base / "ours", 65534, 65534)
    try:
        done = subprocess.run([sys.executable, "-c", _AS_NOBODY, str(base)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"{base}/theirs/a: Permission denied" in done.stdout
        assert (base / "theirs/a").is_symlink()
        assert not (base / "ours/a").is_symlink()
        assert (base / "ours/a").read_text() == "a"
    finally:
        shutil.rmtree(base)


def test_the_report_names_what_was_done(work: Path):
    """Path and how, one per line; a second pass adds to it and forgets what was refused before."""
    out = work.parent / "out"
    (out / "a").symlink_to(work / "ab/task/a.txt")
    (out / "gone").symlink_to(work / "absent")
    report = work.parent / publish.RESULTS
    make_real([out / "a"], work).write(report)
    lines = report.read_text().splitlines()
    assert lines[:2] == ["path\thow\t", f"{out}/a\tlinked\t"]
    assert lines[2].startswith(f"{out}/gone: ")
    (out / "gone").unlink()
    (out / "b").symlink_to(work / "ab/task/a.txt")
    make_real([out / "a"], work).write(report)
    assert report.read_text().splitlines()[1:] == [f"{out}/a\tlinked\t", f"{out}/b\tlinked\t"]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder on tmpfs, where making 100,000 files takes seconds; the usual one where there is none."""
    if not os.path.isdir("/dev/shm"):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="nfresume-", dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.scale
@pytest.mark.long
def test_a_hundred_thousand_links(memory: Path):
    """100,000 published links, absolute and relative, in 100 folders: each becomes its file."""
    work, out = memory / "work", memory / "out"
    links = []
    for folder in range(100):
        task, results = work / f"{folder:02x}/task", out / str(folder)
        task.mkdir(parents=True)
        results.mkdir(parents=True)
        for number in range(1000):
            source, link = f"{task}/{number}", f"{results}/{number}"
            with open(source, "w") as file:
                file.write(f"{folder}-{number}")
            os.symlink(source if number % 2 else os.path.relpath(source, results), link)
            links.append(link)
    result = make_real(links, work)
    assert (result.count("linked"), result.refused) == (100_000, [])
    shutil.rmtree(work)
    for link in links[::97]:
        assert not os.path.islink(link)
        folder, number = link.split("/")[-2:]
        assert Path(link).read_text() == f"{folder}-{number}"
    assert sum(len(os.listdir(out / name)) for name in os.listdir(out)) == 100_000


def test_a_folder_on_the_way_that_is_a_link(work: Path):
    """What was published below a link into the work dir: the link itself becomes the folder."""
    out = work.parent / "out"
    (out / "sample").symlink_to(work / "ab/task/folder")
    result = settle([out / "sample/b.txt", out / "sample/deep/c.txt"], work)
    assert list(result.done) == [str(out / "sample")]
    assert not (out / "sample").is_symlink()
    assert (out / "sample/deep/c.txt").read_text() == "c"
