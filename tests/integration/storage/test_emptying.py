"""Files lose their content and keep their metadata, whatever crashes; a read of one is seen."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import blake3
import pytest

from nfresume.domain.errors import Conflict
from nfresume.storage import emptying
from nfresume.storage.emptying import Emptied
from nfresume.storage.scan import measure
from nfresume.system import descriptors
from tests.conftest import ORDINARY_USER, PROJECT

TASK = f"ab/{'1' * 30}"
SIZE = 3_000_000


def digest(fd: int, _heartbeat) -> str:
    return blake3.blake3(os.pread(fd, 2 * SIZE, 0)).hexdigest()


def listed(work: Path, *names: str) -> list[Emptied]:
    """Files of a task dir, made and described."""
    (work / TASK).mkdir(parents=True, exist_ok=True)
    (work.parent / "cache").mkdir(exist_ok=True)
    found = []
    with descriptors.of(work) as fd:
        for name in names:
            (work / TASK / name).write_bytes(os.urandom(SIZE))
            os.chmod(work / TASK / name, 0o444)
            entry = emptying.describe(fd, f"{TASK}/{name}", digest, lambda: None, TASK, "A", 5)
            assert entry is not None
            found.append(entry)
    return found


def test_only_the_content_goes(tmp_path: Path):
    """Size and modification time stay, blocks and all rights go; a repeat changes nothing."""
    work = tmp_path / "work"
    (entry,) = listed(work, "a.bam")
    path = work / entry.path
    before = path.stat()
    assert entry.digest == blake3.blake3(path.read_bytes()).hexdigest()
    assert emptying.finish(work, [entry]) == [entry] == emptying.finish(work, [entry])
    after = path.lstat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size, before.st_mtime_ns, before.st_ino)
    assert (after.st_mode & 0o7777, after.st_blocks, after.st_atime_ns) == (0, 0, 0)
    assert emptying.is_empty(after, entry)
    total = measure(work).total
    assert total.bytes < SIZE
    assert total.metered < 100_000


def test_a_manifest_that_is_damaged_is_no_empty_one(tmp_path: Path):
    """A manifest reads back as it was written; a part of one is refused; none lists nothing."""
    work, cache = tmp_path / "work", tmp_path / "cache"
    assert emptying.load(cache) == []
    entries = listed(work, "a", "b")
    emptying.save(cache, entries)
    assert emptying.load(cache) == entries
    data = (cache / emptying.MANIFEST).read_bytes()
    for cut in (1, 20, len(data) // 2, len(data) - 1):
        (cache / emptying.MANIFEST).write_bytes(data[:-cut])
        if cut == 1:  # only the line end
            assert emptying.load(cache) == entries
            continue
        with pytest.raises(Conflict, match="cannot be read"):
            emptying.load(cache)


@pytest.mark.parametrize("other", ["hard link", "symlink", "folder", "written to", "another file", "gone"])
def test_what_is_not_the_listed_file_is_left_alone(tmp_path: Path, other: str):
    """A file with a second name, a replaced one and one that was written to keep what they have."""
    work = tmp_path / "work"
    (entry,) = listed(work, "a")
    path = work / entry.path
    if other == "hard link":
        os.link(path, tmp_path / "published")
    elif other in ("symlink", "folder", "another file", "gone"):
        path.rename(tmp_path / "kept")
        if other == "symlink":
            path.symlink_to(tmp_path / "kept")
        elif other == "folder":
            path.mkdir()
        elif other == "another file":
            path.write_bytes(b"new")
    else:
        os.chmod(path, 0o600)
        path.write_bytes(b"new")
    assert emptying.finish(work, [entry]) == []
    for kept in (tmp_path / "kept", tmp_path / "published"):
        if kept.exists():
            assert blake3.blake3(kept.read_bytes()).hexdigest() == entry.digest
    if other in ("written to", "another file"):
        assert path.read_bytes() == b"new"


CRASH = """
import sys
from pathlib import Path
from nfresume.storage import emptying
cache = Path(sys.argv[1]) / "cache"
emptying.finish(cache.parent / "work", emptying.load(cache))
"""


@pytest.mark.parametrize("how", ["sparse", "zeros", "readable"])
def test_a_copied_work_dir(tmp_path: Path, how: str):
    """A work dir that was moved to another disk has other inodes: what was empty is still taken for empty."""
    work = tmp_path / "work"
    entries = listed(work, "a", "b")
    assert emptying.finish(work, entries[:1]) == entries[:1]
    before = (work / entries[0].path).stat()
    work.rename(tmp_path / "old")
    (work / TASK).mkdir(parents=True)
    for entry in entries:
        old, new = tmp_path / "old" / entry.path, work / entry.path
        mode = old.stat().st_mode & 0o777
        old.chmod(0o600)
        new.write_bytes(old.read_bytes())
        if how == "sparse" and entry is entries[0]:
            os.truncate(new, 0)
            os.truncate(new, entry.size)
        new.chmod(0o644 if how == "readable" else mode)
        os.utime(new, ns=(before.st_mtime_ns, entry.mtime))
    (found,) = emptying.finish(work, entries, whole=False)
    assert (found.path, found.inode) == (entries[0].path, (work / found.path).stat().st_ino)
    assert emptying.is_empty((work / found.path).lstat(), found)
    assert emptying.were_read(work, [found]) == emptying.gone(work, [found]) == []
    assert blake3.blake3((work / entries[1].path).read_bytes()).hexdigest() == entries[1].digest


@pytest.mark.parametrize("how", ["open", "mapped"])
def test_a_file_that_a_process_has_open_stays(tmp_path: Path, how: str):
    """A program that maps a file would see zeros, and no access time would tell."""
    work = tmp_path / "work"
    (entry,) = listed(work, "a")
    path = work / entry.path
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        if how == "mapped":
            file.close()
        else:
            mapped.close()
        assert emptying.finish(work, [entry]) == []
    assert path.stat().st_mode & 0o777 == 0o444
    assert blake3.blake3(path.read_bytes()).hexdigest() == entry.digest
    mapped.close()
    assert emptying.finish(work, [entry]) == [entry]


@pytest.mark.parametrize("point", ["mode-set", "truncated", "half-emptied"])
def test_a_crash_while_a_file_is_emptied(tmp_path: Path, point: str):
    """The next pass empties the rest, or undoes the listing of what is whole; nothing is in between."""
    entries = listed(tmp_path / "work", "a", "b")
    contents = {e.path: (tmp_path / "work" / e.path).read_bytes() for e in entries}
    emptying.save(tmp_path / "cache", entries)
    died = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path)], cwd=PROJECT,
                          env={**os.environ, "NFRESUME_CRASH_AT": point})
    assert died.returncode == -signal.SIGKILL
    undone = emptying.finish(tmp_path / "work", entries, whole=False)
    for entry in entries:
        path = tmp_path / "work" / entry.path
        if entry in undone:
            assert emptying.is_empty(path.lstat(), entry)
        else:
            assert path.read_bytes() == contents[entry.path]
            assert path.stat().st_mode & 0o777 == entry.mode
    assert emptying.finish(tmp_path / "work", entries) == entries


def test_a_read_is_seen(tmp_path: Path):
    """Whoever reads an emptied file leaves an access time; a look at it, or `arm`, does not."""
    work = tmp_path / "work"
    entries = emptying.finish(work, listed(work, "a", "b"))
    assert emptying.were_read(work, entries, fresh=True) == []
    path = work / entries[1].path
    os.chmod(path, 0o400)
    assert not any(path.read_bytes())
    assert emptying.were_read(work, entries) == [entries[1]]
    emptying.arm(work, entries)
    assert emptying.were_read(work, entries) == []


PROBE = ("import sys; from pathlib import Path; from nfresume.storage import emptying; "
         "print(emptying.refusal(Path(sys.argv[1])))")


@pytest.mark.parametrize(("options", "told"), [
    ("relatime", "None"), ("noatime", "a read leaves no access time (noatime)")])
def test_the_probe_sees_how_it_is_mounted(tmp_path: Path, options: str, told: str):
    """Where a read leaves no trace, one net is missing."""
    words = (f'mount -t tmpfs -o {options} tmpfs "$1" && exec setpriv '
             '--bounding-set=-dac_override,-dac_read_search -- "$2" -c "$3" "$1"')
    space = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    done = subprocess.run([*space, "sh", "-c", words, "sh", str(tmp_path), sys.executable, PROBE],
                          cwd=PROJECT,
                          text=True, capture_output=True)
    if "unshare failed" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert done.stdout.strip() == told, done.stderr


def test_the_probe_tells_who_is_bound_by_modes(tmp_path: Path):
    """An ordinary user may have files emptied; root may not; nothing is left of the probe."""
    for user in ([], ORDINARY_USER):
        told = subprocess.run([*user, sys.executable, "-c", PROBE, str(tmp_path)], cwd=PROJECT, text=True,
                              capture_output=True, check=True).stdout.strip()
        if os.geteuid() == 0 and not user:
            assert "modes do not bind this user" in told
        else:
            assert told == "None"
    assert os.listdir(tmp_path) == []
