"""File systems that lack something: SMB shares, NTFS, folders of a virtual machine's host, FUSE."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from nfresume.storage import Root, publish
from nfresume.storage.removal import empty_trash
from nfresume.storage.root import out_of_space
from nfresume.storage.scratch import Scratch
from nfresume.storage.trash import to_trash
from nfresume.system import durable
from nfresume.system.filesystems import folder_id
from tests.conftest import privileged

#: System calls of x86-64 that set modes and times, and that make hard links.
MODES_AND_TIMES, HARD_LINKS = (90, 91, 268, 280), (86, 265)
#: Runs Python code in a process to which the kernel refuses some system calls, by a filter like those of
#: systemd's units. Their numbers, the code and its arguments follow it.
REFUSING = """
import ctypes, errno, struct, sys
refused = [int(number) for number in sys.argv[1].split(",")]
words = [(0x20, 0, 0, 0)]  # load the number of the system call
words += [(0x15, len(refused) - at, 0, number) for at, number in enumerate(refused)]  # jump to the refusal
words += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | errno.EPERM)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *word) for word in words))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(words), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program) == 0, ctypes.get_errno()
sys.argv = sys.argv[2:]
exec(sys.argv[0])
"""
x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")


def run(refused: Sequence[int], code: str, *args: object) -> str:
    """Run Python code where the kernel refuses these system calls; returns what it prints."""
    words = [sys.executable, "-c", REFUSING, ",".join(map(str, refused)), code, *map(str, args)]
    done = subprocess.run(words, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_that_cannot_be_synced():
    """Names in a folder on SMB, 9p or VirtualBox cannot be put on disk (EINVAL): no error (borg#1287)."""
    fd = os.open("/proc/self", os.O_RDONLY)
    with pytest.raises(OSError) as refused:
        os.fsync(fd)
    os.close(fd)
    assert refused.value.errno == errno.EINVAL
    durable.fsync_folder("/proc/self")
    with pytest.raises(FileNotFoundError):
        durable.fsync_folder("/proc/self/nowhere")


def test_a_file_system_that_does_not_know_its_space():
    """One that has no blocks does not tell how many are free, as FUSE without statfs: it is not full."""
    assert os.statvfs("/proc").f_blocks == 0
    assert out_of_space(Path("/proc")) is None


@x86_64
def test_results_where_nobody_sets_modes_or_times(tmp_path: Path):
    """Results are copied to a share of another owner (node#31170, copy-file#41), and where a unit of systemd
    refuses set-group-ID bits, which folders in a shared root have."""
    work, out = tmp_path / "work", tmp_path / "out"
    (work / "ab/task/folder").mkdir(parents=True)
    out.mkdir()
    (work / "ab/task/folder/b.txt").write_text("b")
    (work / "ab/task/folder").chmod(0o2755)
    (out / "folder").symlink_to(work / "ab/task/folder")
    code = """
import shutil
from pathlib import Path
from nfresume.storage import copying, publish
from nfresume.storage.scratch import Scratch
from nfresume.storage.trash import to_trash
work, out = sys.argv[1:]
result = publish.materialise([publish.Target(out + "/folder")], Scratch("run-a1", work, work))
assert not result.refused, result.refused
copying.copy_verified(work + "/ab/task/folder/b.txt", out + "/copy")
try:
    Path(out).chmod(0o700)
except PermissionError:
    print("refused")
"""
    assert run(MODES_AND_TIMES, code, work, out) == "refused\n"
    assert (out / "folder/b.txt").read_text() == (out / "copy").read_text() == "b"


@x86_64
def test_a_root_without_hard_links(tmp_path: Path):
    """It is refused, with the reason (gcsfuse#178), and nothing is left there."""
    code = """
from pathlib import Path
from nfresume.domain.errors import RootUnusable
from nfresume.storage import Root
try:
    Root.mark(Path(sys.argv[1]))
except RootUnusable as e:
    print(e.message)
"""
    assert "its file system has no hard links" in run(HARD_LINKS, code, tmp_path / "root")
    assert os.listdir(tmp_path) == []


def mounted(image: Path, at: Path) -> Path:
    """A new ext4 in a file, mounted, with a folder of results in it."""
    with image.open("wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(at)], check=True)
    (at / "results").mkdir()
    return at / "results"


@pytest.mark.skipif(not privileged() or not Path("/dev/loop-control").exists(), reason="needs loop devices")
def test_results_on_a_disk_that_was_swapped(tmp_path: Path):
    """Another disk in the same slot has a folder of the same name and inode: nobody has removed a result."""
    work, disk = tmp_path / "work", tmp_path / "disk"
    (work / "ab/task").mkdir(parents=True)
    (work / "ab/task/a.txt").write_text("a")
    disk.mkdir()
    try:
        results = mounted(tmp_path / "first", disk)
        (results / "a.txt").symlink_to(work / "ab/task/a.txt")
        target = publish.Target(str(results / "a.txt"), folder_id(results))
        subprocess.run(["umount", str(disk)], check=True)
        mounted(tmp_path / "second", disk)
        result = publish.materialise([target], Scratch("run-a1", str(work), str(work)))
        assert result.refused == [f"{results}: is another folder than at publication "
                                  "(moved, removed, not mounted, or of another host)"]
        subprocess.run(["umount", str(disk)], check=True)
        subprocess.run(["mount", "-o", "loop", str(tmp_path / "first"), str(disk)], check=True)
        assert publish.materialise([target], Scratch("run-a1", str(work), str(work))).copied == 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(not privileged(), reason="needs root, to mount a small file system")
def test_a_full_disk_is_emptied(tmp_path: Path):
    """Where nothing can be made any more, not even a folder, a work dir can still go (electric#4595)."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "none", str(tmp_path)], check=True)
    try:
        root = Root.mark(tmp_path / "root")
        folder = root.execution("team", "run-a1")
        folder.provision(1)
        with contextlib.suppress(OSError):
            for number in range(100):
                (folder.work / f"task-{number}").mkdir()
        assert os.statvfs(tmp_path).f_favail == 0
        to_trash(root, "team", "run-a1")
        assert empty_trash(root, "run-a1").blocked == []
        assert os.listdir(folder.path) == ["attempts"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
