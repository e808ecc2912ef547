"""Published results made real: atomic, idempotent, bit for bit (design rule 2)."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from nfresume.storage import publish
from nfresume.storage.publish import make_real


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
    assert settle([out / "abs", out / "rel"], work).linked == 2
    for name in ("abs", "rel"):
        assert (out / name).read_text() == "a"
        assert not (out / name).is_symlink()
        assert (out / name).stat().st_mode & 0o777 == 0o640
        assert (out / name).stat().st_mtime == 1_000_000_000
    assert make_real([out / "abs"], work).changed == 0


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
    assert (result.linked, result.redirected) == (1, 1)
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
        assert result.copied == 3
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
    assert [line.split(":")[0] for line in result.refused] == [
        str(out / "gone"), str(work / "ab/task/a.txt"), str(out / "loop")]
    assert (out / "fine").read_text() == "a"
    assert work.exists()


def test_what_the_user_changed_is_left(work: Path):
    """A result that was removed, or replaced by something of the user's own, is none of our business."""
    out = work.parent / "out"
    (out / "own").write_text("mine")
    (out / "elsewhere").symlink_to("/etc/hostname")
    result = make_real([out / "own", out / "elsewhere", out / "removed"], work)
    assert (result.changed, result.refused) == (0, [])
    assert (out / "own").read_text() == "mine"
    assert os.readlink(out / "elsewhere") == "/etc/hostname"


def test_the_longest_name(work: Path):
    """A result with a 255-byte name has room for its temporary too."""
    out = work.parent / "out" / ("n" * 255)
    out.symlink_to(work / "ab/task/a.txt")
    settle([out], work)
    assert out.read_text() == "a"


@pytest.mark.parametrize("crash", ["partial", "ready", "unlinked"])
def test_a_crash_between_any_two_steps_of_a_folder(work: Path, crash: str, monkeypatch):
    """Whatever a crash left of a folder, the next pass finishes it, and nothing stays behind."""
    out = work.parent / "out"
    link = out / "folder"
    link.symlink_to(work / "ab/task/folder")
    publisher = publish._Publisher(work, publish.MadeReal())
    if crash == "partial":
        publish._partial(link).mkdir()
        (publish._partial(link) / "half").touch()
    else:
        publisher._make_folder(work / "ab/task/folder", publish._ready(link))
        if crash == "unlinked":
            link.unlink()
    settle([link], work)
    assert (link / "deep/c.txt").read_text() == "c"
    assert not (link / "half").exists()
    assert [p.name for p in out.iterdir()] == ["folder"]


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
            bad.extend(str(p) for p in links[::7] if p.read_text() != "content")

    reader = threading.Thread(target=read)
    reader.start()
    assert make_real(links, work).linked == 300
    done.set()
    reader.join()
    assert bad == []
