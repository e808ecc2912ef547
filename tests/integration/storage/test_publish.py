"""Materialising published results: atomic, idempotent, byte for byte (ARCHITECTURE.md, rule 3)."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nfresume.storage import publish, replacing
from nfresume.storage.publish import Target
from nfresume.storage.replacing import LinkReplacer
from nfresume.storage.scratch import Scratch
from nfresume.storage.workers import Pace
from nfresume.system import trees
from nfresume.system.filesystems import folder_id
from tests.conftest import BOUND, privileged


class Result(publish.Materialised):
    """What was done, with the paths."""

    done: dict[str, str]


def scratch(work: Path, *former_paths: str, execution_id: str = "run-a1") -> Scratch:
    return Scratch(execution_id, os.path.realpath(work), os.path.realpath(work.parent / "root"), former_paths)


def materialise(targets: Sequence[Path | str], work: Path, *former_paths: str, **how: Any) -> Result:
    done: dict[str, str] = {}
    folders = {}
    for target in targets:
        with contextlib.suppress(OSError):
            folders[target] = folder_id(os.path.dirname(target))
    found = publish.materialise(
        [Target(str(target), folders.get(target)) for target in targets], scratch(work, *former_paths),
        done=lambda path, how: done.__setitem__(path, how), **how)
    result = Result(**vars(found))
    result.done = done
    return result


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


def settle(targets: list[Path], work: Path) -> publish.Materialised:
    """Materialise, then delete the work dir, as a settlement does."""
    result = materialise(targets, work)
    if not result.refused:
        shutil.rmtree(work)
    return result


def test_a_link_becomes_the_file(work: Path):
    """Absolute and relative links into the work dir are replaced; mode and mtime are kept."""
    out = work.parent / "out"
    source = work / "ab/task/a.txt"
    source.chmod(0o640)
    os.utime(source, (1_000_000_000, 1_000_000_000))
    (out / "abs").symlink_to(source)
    (out / "rel").symlink_to(os.path.relpath(source, out))
    assert settle([out / "abs", out / "rel"], work).linked == 2
    for name in ("abs", "rel"):
        assert (out / name).read_text() == "a"
        assert not (out / name).is_symlink()
        assert (out / name).stat().st_mode & 0o777 == 0o640
        assert (out / name).stat().st_mtime == 1_000_000_000
    assert materialise([out / "abs"], work).done == {}


def test_a_folder_link_becomes_the_folder(work: Path):
    """A link to a folder becomes that folder; links inside it that lead to its own files stay links."""
    out = work.parent / "out"
    (out / "folder").symlink_to(work / "ab/task/folder")
    settle([out / "folder"], work)
    assert (out / "folder/deep/c.txt").read_text() == "c"
    assert (out / "folder/deep/up.txt").read_text() == "b"
    assert os.readlink(out / "folder/deep/up.txt") == "../b.txt"
    assert not [p for p in out.iterdir() if p.name.startswith(".")]


def test_chains_and_links_that_only_pass_through(work: Path):
    """A chain of links becomes the last file; a link that leaves the work dir again gets its final target."""
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
    assert (result.linked, result.redirected) == (1, 1)
    assert (out / "chain").read_text() == "a"
    assert os.readlink(out / "input") == str(outside)


def test_links_inside_a_copied_folder(work: Path):
    """copyNoFollow publishes a real folder with links in it: those into the work dir are materialised too."""
    folder = work.parent / "out/real"
    folder.mkdir()
    (folder / "link").symlink_to(work / "ab/task/a.txt")
    (folder / "own").symlink_to("link")
    settle([folder], work)
    assert (folder / "link").read_text() == "a"
    assert (folder / "own").read_text() == "a"


@pytest.fixture
def elsewhere(work: Path) -> Iterator[Path]:
    """A folder on another file system than the work dir, with links to a file and a folder in it."""
    if os.stat("/dev/shm").st_dev == work.stat().st_dev:
        pytest.skip("/dev/shm is on the same file system")
    with tempfile.TemporaryDirectory(prefix="nfresume-", dir="/dev/shm") as folder:
        out = Path(folder)
        (out / "a").symlink_to(work / "ab/task/a.txt")
        (out / "folder").symlink_to(work / "ab/task/folder")
        yield out


def test_across_file_systems(work: Path, elsewhere: Path):
    """Between two file systems there is no hard link: the file is copied and verified."""
    result = settle([elsewhere / "a", elsewhere / "folder"], work)
    assert result.copied == 2
    assert (elsewhere / "a").read_text() == "a"
    assert (elsewhere / "folder/deep/up.txt").read_text() == "b"


@pytest.mark.parametrize("leads", [".", "..", "{task}/folder", "{task}", "../../up/folder/deep", "{other}"])
def test_a_folder_with_a_loop(work: Path, leads: str):
    """A link that leads back to where it came from stays a loop in the copy; nothing else is lost."""
    other = work / "cd/other"
    other.mkdir(parents=True)
    (other / "back").symlink_to(work / "ab/task/folder")
    (other / "self").symlink_to(".")
    (other / "d.txt").write_text("d")
    (work / "ab/task/up").symlink_to(".")
    (work / "ab/task/folder/X11").symlink_to(".")
    (work / "ab/task/folder/deep/loop").symlink_to(leads.format(task=work / "ab/task", other=other))
    before = sorted(os.listdir(work / "ab/task/folder/deep/loop/"))
    link = work.parent / "out/folder"
    link.symlink_to(work / "ab/task/folder")
    assert settle([link], work).refused == []
    assert not work.exists()
    assert sorted(os.listdir(link / "deep/loop/")) == before
    assert (link / "deep/c.txt").read_text() == "c"
    assert [path for path in link.rglob("*") if not path.exists()] == []


def deepen(folder: Path, levels: int) -> None:
    """Make a folder so deep that its last levels have no path for the kernel. Some mounts take none."""
    inside = os.open(folder, os.O_DIRECTORY)
    for _ in range(levels):
        try:
            os.mkdir("d", dir_fd=inside)
        except OSError as e:
            if e.errno != errno.ENAMETOOLONG:
                raise
            pytest.skip("this file system takes no such folder")
        inside, above = os.open("d", os.O_DIRECTORY, dir_fd=inside), inside
        os.close(above)
    os.close(inside)


def test_a_folder_that_is_too_deep_for_a_path(work: Path):
    """It is refused, so that the work dir stays; nothing is left beside its link."""
    deepen(work / "ab/task/folder", 2_500)
    link = work.parent / "out/folder"
    link.symlink_to(work / "ab/task/folder")
    refused = settle([link], work).refused
    assert [line.startswith(str(link)) and "too long" in line for line in refused] == [True]
    assert link.is_symlink()
    assert os.listdir(link.parent) == ["folder"]
    trees.remove(str(work))  # pytest cannot


def test_what_a_crash_left_of_a_deep_folder(work: Path):
    """It is removed, however deep it is."""
    left = work.parent / "out" / f"{replacing.PREFIX}run-a1+12345678+0"
    left.mkdir()
    deepen(left, 2_500)
    (left / "link").symlink_to(work)
    (left / "closed").mkdir(mode=0o000)
    replacing.clean_up(str(left.parent), "run-a1")
    assert os.listdir(left.parent) == []
    assert (work / "ab/task/a.txt").read_text() == "a"


def test_files_of_a_published_folder_are_looked_at_once(work: Path, monkeypatch: pytest.MonkeyPatch):
    """Not each folder above each file: on a shared file system every look takes its time."""
    deep = work / "ab/task/folder" / "/".join("abcdefghij")
    deep.mkdir(parents=True)
    for number in range(100):
        (deep / str(number)).touch()
    link = work.parent / "out/folder"
    link.symlink_to(work / "ab/task/folder")
    looks, lstat = itertools.count(), os.lstat
    monkeypatch.setattr(os, "lstat", lambda *a, **k: (next(looks), lstat(*a, **k))[1])
    assert settle([link], work).refused == []
    assert next(looks) < 300


def test_links_inside_a_folder_lead_to_one_copy(work: Path, elsewhere: Path):
    """A link by its whole path to a part of the same folder does not make that part twice."""
    (work / "ab/task/folder/again").symlink_to(work / "ab/task/folder/deep")
    (work / "ab/task/folder/c.txt").symlink_to(work / "ab/task/folder/deep/c.txt")
    settle([elsewhere / "folder"], work)
    assert os.readlink(elsewhere / "folder/again") == "deep"
    assert os.readlink(elsewhere / "folder/c.txt") == "deep/c.txt"
    assert (elsewhere / "folder/again/c.txt").read_text() == "c"


def test_no_regular_files_across_file_systems(
    work: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
):
    """A FIFO and a socket are made anew: nobody waits for a writer, and they do not keep a work dir."""
    os.mkfifo(work / "ab/task/folder/fifo", 0o640)
    monkeypatch.chdir(work / "ab/task/folder")  # the name of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as left:
        left.bind("socket")
    (elsewhere / "fifo").symlink_to(work / "ab/task/folder/fifo")
    assert settle([elsewhere / "folder", elsewhere / "fifo"], work).refused == []
    for path in (elsewhere / "fifo", elsewhere / "folder/fifo"):
        assert stat.filemode(path.lstat().st_mode) == "prw-r-----"
    assert (elsewhere / "folder/socket").is_socket()


@pytest.mark.parametrize("pieces", [(), (0,), (5 << 20,), (0, 5 << 20, 64 << 20)])
def test_a_sparse_file_across_file_systems(work: Path, elsewhere: Path, pieces: tuple[int, ...]):
    """The holes of a file stay holes: its copy takes no more room. NFSv4.1 does not tell where they are."""
    source, copy = work / "ab/task/sparse", elsewhere / "sparse"
    with source.open("wb") as file:
        for at in pieces:
            file.seek(at)
            file.write(b"data" * 1024)
        file.truncate(max(pieces, default=0) + (8 << 20))
    copy.symlink_to(source)
    expected, size = source.read_bytes(), source.stat().st_size
    with source.open("rb") as file:
        tells = os.lseek(file.fileno(), 0, os.SEEK_HOLE) < size
    assert settle([copy], work).refused == []
    assert (copy.stat().st_size, copy.read_bytes()) == (size, expected)
    assert not tells or copy.stat().st_blocks * 512 < 1 << 20


def test_a_reason_is_always_given(work: Path, monkeypatch: pytest.MonkeyPatch):
    """Some errors of Python have no number and no text of the system: then their own text is the reason."""
    link = work.parent / "out/a"
    link.symlink_to(work / "ab/task/a.txt")

    def refused(*_: object, **__: object) -> None:
        raise shutil.SpecialFileError("is a special file")

    monkeypatch.setattr(replacing.os, "link", refused)
    assert materialise([link], work).refused == [f"{link}: is a special file"]


def test_what_cannot_be_materialised_is_refused(work: Path):
    """A missing source and a target inside the work dir are refused by name; all others are done."""
    out = work.parent / "out"
    (out / "gone").symlink_to(work / "ab/task/absent")
    (out / "fine").symlink_to(work / "ab/task/a.txt")
    result = materialise([out / "gone", out / "fine", work / "ab/task/a.txt"], work)
    assert len(result.refused) == 2
    assert sorted(line.split(":")[0] for line in result.refused) == sorted(
        [str(out / "gone"), str(work / "ab/task/a.txt")])
    assert (out / "fine").read_text() == "a"
    assert work.exists()


@pytest.mark.parametrize("name", ["cache", "attempts/1"])
def test_published_into_what_goes_with_the_work_dir(work: Path, name: str):
    """Nextflow's cache and the records lie beside the work dir and end with it: results there are refused."""
    target = work.parent / name / "genome/a.txt"
    target.parent.mkdir(parents=True)
    target.write_text("a")
    [line] = materialise([target], work).refused
    assert line.startswith(f"{target}: published inside the work dir itself, or beside it")


def test_what_the_user_changed_is_left(work: Path):
    """A result that the user removed or replaced by something else is left alone."""
    out = work.parent / "out"
    (out / "own").write_text("mine")
    (out / "elsewhere").symlink_to("/etc/hostname")
    result = materialise([out / "own", out / "elsewhere", out / "removed"], work)
    assert (result.done, result.refused) == ({}, [])
    assert (out / "own").read_text() == "mine"
    assert os.readlink(out / "elsewhere") == "/etc/hostname"


def test_a_work_dir_that_moved(work: Path):
    """Links by the former path of a moved work dir, in results and between task dirs, lead to its files."""
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
    assert materialise(targets, moved).done == {}
    result = materialise(targets, moved, str(work))
    assert (len(result.done), result.refused) == (4, [])
    shutil.rmtree(moved)
    for name in ("file", "chain", "folder/staged.txt"):
        assert (out / name).read_text() == "a"
    assert (out / "deep/folder/deep/up.txt").read_text() == "b"
    assert os.readlink(out / "other") == f"{work}-2/ab/task/a.txt"


def test_the_longest_name(work: Path):
    """A result with a 255-byte name can be replaced, although its name leaves no room for a suffix."""
    out = work.parent / "out" / ("n" * 255)
    out.symlink_to(work / "ab/task/a.txt")
    settle([out], work)
    assert out.read_text() == "a"


_MATERIALISE = """
import sys
from nfresume.storage.publish import Target, materialise
from nfresume.storage.scratch import Scratch
work, *targets = sys.argv[1:]
result = materialise([Target(target) for target in targets], Scratch("run-a1", work, "/nowhere"))
print("\\n".join(result.refused))
"""


def materialise_in_a_process(work: Path, *targets: Path, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run([*BOUND, sys.executable, "-c", _MATERIALISE, str(work), *map(str, targets)],
                          text=True, capture_output=True, env={**os.environ, **env})


@pytest.mark.parametrize("point", ["file-partial", "results-half-materialised", "folder-partial",
                                   "folder-ready", "folder-swapped"])
def test_a_kill_between_any_two_steps(work: Path, point: str):
    """After kill -9 at any step the result is readable, the next pass finishes, no temporary file is left."""
    out = work.parent / "out"
    (out / "file").symlink_to(work / "ab/task/a.txt")
    (out / "folder").symlink_to(work / "ab/task/folder")
    killed = materialise_in_a_process(work, out / "file", out / "folder", NFRESUME_CRASH_AT=point)
    assert killed.returncode == -9, killed.stderr
    assert (out / "file").read_text() == "a"
    assert materialise_in_a_process(work, out / "file", out / "folder").stdout.strip() == ""
    shutil.rmtree(work)
    assert (out / "file").read_text() == "a"
    assert (out / "folder/deep/c.txt").read_text() == "c"
    assert sorted(p.name for p in out.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("point", ["", "folder-partial", "folder-ready", "folder-swapped"])
def test_a_folder_without_write_permission(work: Path, point: str):
    """A published folder that nobody may write to, as a tool's cache, is replaced, and can be removed."""
    out, source = work.parent / "out", work / "ab/task/folder"
    (out / "folder").symlink_to(source)
    for folder in (source / "deep", source):
        folder.chmod(0o555)
    if point:
        assert materialise_in_a_process(work, out / "folder", NFRESUME_CRASH_AT=point).returncode == -9
    assert materialise_in_a_process(work, out / "folder").stdout.strip() == ""
    assert (out / "folder/deep/c.txt").read_text() == "c"
    assert os.listdir(out) == ["folder"]
    assert {stat.S_IMODE((out / name).lstat().st_mode) for name in ("folder", "folder/deep")} == {0o755}
    assert subprocess.run([*BOUND, "rm", "-r", out / "folder"], check=False).returncode == 0


def test_a_folder_of_the_longest_name(work: Path):
    """A published folder with a 255-byte name can be replaced too."""
    out = work.parent / "out" / ("n" * 255)
    out.symlink_to(work / "ab/task/folder")
    settle([out], work)
    assert (out / "deep/c.txt").read_text() == "c"


def test_a_reader_sees_the_link_or_the_file(work: Path):
    """While results are materialised, every read returns the whole content."""
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
    assert materialise(links, work).linked == 300
    done.set()
    reader.join()
    assert bad == []


def test_a_reader_of_a_folder_never_sees_nothing(work: Path):
    """Where the file system can exchange two names, a link becomes its folder atomically."""
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
    result = materialise(links, work)
    done.set()
    reader.join()
    assert bad == []
    assert (len(result.done), result.refused) == (50, [])


def test_a_target_that_is_replaced_meanwhile_is_left(work: Path):
    """A file that the user puts in the link's place while its data is prepared is not overwritten."""
    link = work.parent / "out/a"
    link.symlink_to(work / "ab/task/a.txt")

    def meanwhile(temporary: str) -> None:
        os.link(work / "ab/task/a.txt", temporary)
        link.unlink()
        link.write_text("mine")

    with pytest.raises(replacing._LinkChanged):
        LinkReplacer(scratch(work))._swap(str(link), str(work / "ab/task/a.txt"), meanwhile)
    assert link.read_text() == "mine"
    assert materialise([link], work).done == {}
    assert [p.name for p in link.parent.iterdir()] == ["a"]


_AS_NOBODY = """
import os, sys
from pathlib import Path
from nfresume.storage.publish import Target, materialise
from nfresume.storage.scratch import Scratch
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
base = Path(sys.argv[1])
targets = [Target(f"{base}/theirs/a"), Target(f"{base}/ours/a")]
print(materialise(targets, Scratch("run-a1", f"{base}/work", "/nowhere")).refused)
"""


@pytest.mark.skipif(not privileged(), reason="needs root, to be another user")
def test_links_in_another_users_folder():
    """In a folder that we may not write, the link is refused by name and left as it is. A source that we may
    read but not hard-link (another user's file) is copied."""
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


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder on tmpfs, where 100,000 files are created in seconds; tmp_path where there is no tmpfs."""
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
    result = materialise(links, work)
    assert (result.linked, result.refused) == (100_000, [])
    shutil.rmtree(work)
    for link in links[::97]:
        assert not os.path.islink(link)
        folder, number = link.split("/")[-2:]
        assert Path(link).read_text() == f"{folder}-{number}"
    assert sum(len(os.listdir(out / name)) for name in os.listdir(out)) == 100_000


def test_a_folder_on_the_way_that_is_a_link(work: Path):
    """When a parent of a published path is a link into the work dir, that link becomes the folder."""
    out = work.parent / "out"
    (out / "sample").symlink_to(work / "ab/task/folder")
    result = settle([out / "sample/b.txt", out / "sample/deep/c.txt"], work)
    assert list(result.done) == [str(out / "sample")]
    assert not (out / "sample").is_symlink()
    assert (out / "sample/deep/c.txt").read_text() == "c"


def test_many_passes_in_one_folder(work: Path):
    """Other runs that finish in the same folder meanwhile take nothing of what a run is still making."""
    out = work.parent / "out"
    (work / "ab/task/big").mkdir()
    for number in range(3000):
        (work / f"ab/task/big/{number}").write_text(str(number))
    (out / "big").symlink_to(work / "ab/task/big")
    others = work.parent / "others"
    (others / "ab/task").mkdir(parents=True)
    over = threading.Event()

    def other() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            (others / f"ab/task/{turn}").write_text("x")
            (out / f"other{turn}").symlink_to(others / f"ab/task/{turn}")
            found = publish.materialise([Target(f"{out}/other{turn}")],
                                        scratch(others, execution_id="run-b2"))
            assert found.complete

    beside = threading.Thread(target=other)
    beside.start()
    result = materialise([out / "big"], work)
    over.set()
    beside.join()
    assert result.complete
    assert sorted(os.listdir(out / "big"), key=int) == [str(number) for number in range(3000)]
    assert not [name for name in os.listdir(out) if name.startswith(".")]


def test_two_passes_of_one_execution(work: Path):
    """A pass that slept past its claim, and the one that took over: nothing is lost, whoever is faster."""
    out = work.parent / "out"
    for turn in range(20):
        (work / f"ab/task/d{turn}").mkdir()
        for number in range(50):
            (work / f"ab/task/d{turn}/{number}").write_text(str(number))
        (out / f"d{turn}").symlink_to(work / f"ab/task/d{turn}")
        (out / f"f{turn}").symlink_to(work / f"ab/task/d{turn}/7")
    targets = [out / name for name in os.listdir(out)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: materialise(targets, work), range(2)))
    assert materialise(targets, work).complete
    shutil.rmtree(work)
    for turn in range(20):
        assert len(os.listdir(out / f"d{turn}")) == 50
        assert (out / f"f{turn}").read_text() == "7"
    assert not [name for name in os.listdir(out) if name.startswith(".")]


def test_folders_that_are_published_into_a_published_one(work: Path):
    """Where two workers come by a folder at once, neither takes what the other is still making there."""
    inner = work.parent / "out/folder/inner"
    inner.mkdir(parents=True)
    (work / "ab/task/big").mkdir()
    for number in range(50):
        (work / f"ab/task/big/{number}").write_text(str(number))
        (inner / str(number)).symlink_to(work / "ab/task/big")
    result = materialise([inner.parent, *inner.iterdir()], work, pace=Pace(workers=2))
    assert (result.refused, result.linked) == ([], 50)
    shutil.rmtree(work)
    assert {len(os.listdir(folder)) for folder in inner.iterdir()} == {50}


def test_leftovers_of_others_stay(work: Path):
    """Only what this execution left behind is cleaned up; ids that begin alike are strangers."""
    out = work.parent / "out"
    mine, others = f"{replacing.PREFIX}run-a1+0+0", f"{replacing.PREFIX}run-a1-b2+0+0"
    for name in (mine, others):
        (out / name).mkdir()
    (out / "a").symlink_to(work / "ab/task/a.txt")
    assert materialise([out / "a"], work).complete
    assert sorted(os.listdir(out)) == [others, "a"]


def test_what_is_not_there(work: Path):
    """A missing path: the user's wish in the folder of its publication; else it is not gone but not seen."""
    out, target = work.parent / "out", work.parent / "out/sub/a"
    (out / "sub").mkdir()
    where = folder_id(out / "sub")

    def settle(**kw: Any) -> publish.Materialised:
        return publish.materialise([Target(str(target), where)], scratch(work), **kw)

    assert (settle().missing, settle().refused) == (1, [])
    vanished = settle(must_exist=True)
    assert (vanished.refused, vanished.vanished) == ([f"{target}: was published, and is not there"], True)
    (out / "sub").rename(out / "renamed")
    (out / "renamed/a").symlink_to(work / "ab/task/a.txt")
    assert settle().linked == 1  # a neighbour is the folder that it was
    assert (out / "renamed/a").read_text() == "a"
    (out / "deep").mkdir()
    (out / "renamed").rename(out / "deep/renamed")
    assert "is not there" in settle().refused[0]
    (out / "sub").mkdir()
    assert "is another folder than at publication" in settle().refused[0]
    (out / "sub").rmdir()
    (out / "sub").touch()
    assert "is not there" in settle().refused[0]
    never = publish.materialise([Target(f"{out}/never/a")], scratch(work))
    assert (never.missing, never.refused) == (0, [])  # nobody ever saw its folder: nothing was published
    assert publish.materialise([Target(f"{out}/never/a")], scratch(work), must_exist=True).vanished


def test_a_copy_only_where_it_is_asked_for(work: Path, elsewhere: Path):
    """At a failure that is kept, links on other file systems stay; before a deletion they are copied."""
    targets = [elsewhere / "a", elsewhere / "folder"]
    first = materialise(targets, work, copy=False)
    assert (first.left, first.refused, first.complete) == (2, [], False)
    assert (elsewhere / "a").is_symlink()
    assert sorted(os.listdir(elsewhere)) == ["a", "folder"]
    assert (materialise(targets, work).copied, (elsewhere / "a").read_text()) == (2, "a")


def test_links_into_another_work_dir(work: Path):
    """A result that passes through this work dir into another one of the root becomes the data."""
    out, root = work.parent / "out", work.parent / "root"
    other = root / "team/run-b2/work/cd/task"
    (other / "folder").mkdir(parents=True)
    (other / "b.txt").write_text("b")
    (other / "folder/c.txt").write_text("c")
    (work / "ab/task/staged").symlink_to(other / "b.txt")
    (work / "ab/task/stagedf").symlink_to(other / "folder")
    (work / "ab/task/folder/in.txt").symlink_to(other / "b.txt")
    for name in ("staged", "stagedf", "folder"):
        (out / name).symlink_to(work / f"ab/task/{name}")
    assert materialise([out / name for name in ("staged", "stagedf", "folder")], work).linked == 3
    shutil.rmtree(work)
    shutil.rmtree(root)
    assert (out / "staged").read_text() == "b"
    assert (out / "stagedf/c.txt").read_text() == "c"
    assert (out / "folder/in.txt").read_text() == "b"


def test_a_replacement_at_the_last_moment(work: Path, monkeypatch: pytest.MonkeyPatch):
    """What the user puts in the link's place between the last look and the exchange goes back there."""
    link = work.parent / "out/a"
    link.symlink_to(work / "ab/task/a.txt")
    probe = work.parent / "probe"
    probe.touch()
    if not replacing._exchange(str(probe), str(work)):
        pytest.skip("this file system cannot exchange two names")
    replacing._exchange(str(probe), str(work))
    unchanged = replacing._check_unchanged

    def late(path: str, text: str) -> None:
        unchanged(path, text)
        link.unlink()
        link.write_text("mine")

    monkeypatch.setattr(replacing, "_check_unchanged", late)
    with pytest.raises(replacing._LinkChanged):
        LinkReplacer(scratch(work))._replace(str(link))
    assert link.read_text() == "mine"
    assert os.listdir(link.parent) == ["a"]


def test_a_source_that_cannot_be_seen(work: Path):
    """A link that leads nowhere, and that nobody published, is none of our business."""
    out = work.parent / "out"
    (out / "loop").symlink_to("loop")
    (out / "a").symlink_to(work / "ab/task/a.txt")
    assert materialise([out / "a"], work).refused == []
    assert os.readlink(out / "loop") == "loop"
