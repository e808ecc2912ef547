"""Empty a file and keep its metadata: same size, same modification time, no blocks, mode 000.

Nextflow decides by path, size and modification time whether a finished task is reused. So a file that no
coming task reads needs no content (`docs/lean.md`). The manifest, `cache/nfresume-emptied.jsonl`, lists a
file before it is emptied. After a crash `finish` empties what is listed, or undoes its listing.

The access time of an emptied file is 0. The first read of it sets another one, whoever reads.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from nfresume.domain.costs import metered_bytes
from nfresume.domain.errors import Conflict
from nfresume.system import crashpoints, descriptors, durable, regular, trees

MANIFEST = "nfresume-emptied.jsonl"
#: A file with fewer blocks of 512 bytes is not emptied: afterwards it could not be told from a whole one.
_LEAST_BLOCKS = 32
#: An emptied file may keep some blocks for attributes, but less than one in so many.
_LEFT = 2
_PROBE_BYTES = 1 << 20
_READABLE, _WRITABLE = 0o400, 0o200
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Emptied:
    """One emptied file, as it was. `path` is below the work dir, `producer` is the task dir that made it.

    Times are nanoseconds since 1970; `took` is how long its task ran, in milliseconds; `digest` is the BLAKE3
    digest of its content, in hex. `blocks` are those of 512 bytes that it had.
    """

    path: str
    size: int
    mtime: int
    atime: int
    mode: int
    inode: int
    blocks: int
    digest: str
    producer: str
    process: str
    took: int


@dataclass(frozen=True)
class Total:
    """Emptied files in numbers: `bytes` of content that is not kept, `metered` bytes that EFS does not bill.

    `tasks` have made them, which took `seconds` of task time.
    """

    files: int
    bytes: int
    metered: int
    tasks: int
    seconds: float


def total(entries: Iterable[Emptied]) -> Total:
    """The sum of emptied files."""
    entries = list(entries)
    took = {entry.producer: entry.took for entry in entries}
    return Total(len(entries), sum(entry.size for entry in entries),
                 sum(metered_bytes(entry.size) - metered_bytes(0) for entry in entries), len(took),
                 round(sum(took.values()) / 1000, 1))


_FIELDS = frozenset(f.name for f in fields(Emptied))


# -- the manifest ---------------------------------------------------------------------------------


def load(cache: Path) -> list[Emptied]:
    """What is listed as emptied; nothing when there is no manifest. Raises Conflict for a damaged one."""
    path = cache / MANIFEST
    try:
        lines = regular.content(path).splitlines()
    except FileNotFoundError:
        return []
    except OSError as e:
        raise _damaged(path, str(e.strerror)) from None
    try:
        *entries, end = map(regular.parsed, lines)
        if end != {"end": len(entries)}:
            raise ValueError("its last line is missing")
        return [Emptied(**{name: entry[name] for name in _FIELDS}) for entry in entries]
    except (ValueError, KeyError, TypeError) as e:
        raise _damaged(path, str(e)) from None


def _damaged(path: Path, why: str) -> Conflict:
    return Conflict(f"the list of emptied files {path} cannot be read: {why}",
                    "without it nothing can be reused safely: delete the work dir, and launch anew")


def save(cache: Path, entries: Iterable[Emptied]) -> None:
    """Replace the manifest, durably. Raises OSError."""
    lines = [json.dumps(asdict(entry), separators=(",", ":")) for entry in entries]
    durable.write(cache / MANIFEST, "\n".join([*lines, json.dumps({"end": len(lines)}), ""]).encode())


# -- emptying -------------------------------------------------------------------------------------


def describe(
    work_fd: int, path: str, digest: Callable[[int, Callable[[], None]], str], heartbeat: Callable[[], None],
    producer: str, process: str, took: int,
) -> Emptied | None:
    """What the manifest says of a file that may be emptied; None when it is no such file.

    It is a regular file of this user with one name. `digest` digests the content of a descriptor.
    """
    *folders, name = path.split("/")
    try:
        with descriptors.below(work_fd, folders) as folder:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        before = os.fstat(fd)
        if not _may_be_emptied(before) or before.st_blocks < _LEAST_BLOCKS:
            return None
        found = digest(fd, heartbeat)
        after = os.fstat(fd)
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            return None
    except OSError:
        return None
    finally:
        os.close(fd)
    return Emptied(path, before.st_size, before.st_mtime_ns, before.st_atime_ns,
                   stat.S_IMODE(before.st_mode), before.st_ino, before.st_blocks, found, producer, process,
                   took)


def _may_be_emptied(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()


def finish(
    work: Path, entries: Sequence[Emptied], heartbeat: Callable[[], None] = lambda: None, *,
    whole: bool = True,
) -> list[Emptied]:
    """Empty every listed file that is not empty yet; safe to repeat. Returns those that stay listed.

    Without `whole` a file that is still whole stays so: its listing is undone. A file that is gone, or is
    another one by now, or that somebody has open, is left alone. Only these are not returned: in doubt a file
    is taken for empty.
    """
    empty: list[Emptied] = []
    if not entries:
        return empty
    with descriptors.of(work) as work_fd:
        for entry in entries:
            heartbeat()
            *folders, name = entry.path.split("/")
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                with descriptors.below(work_fd, folders) as folder:
                    if (found := _finish(folder, name, entry, heartbeat, whole=whole)) is not None:
                        empty.append(found)
            crashpoints.reach("half-emptied")
    return empty


def _finish(
    folder_fd: int, name: str, entry: Emptied, heartbeat: Callable[[], None], *, whole: bool
) -> Emptied | None:
    """The entry as it is now; None when the file is not to be listed."""
    path_fd = os.open(name, _PATH, dir_fd=folder_fd)
    try:
        status = os.fstat(path_fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        path = f"/proc/self/fd/{path_fd}"
        copied = status.st_ino != entry.inode
        if copied:
            if not _is_copy(path, status, entry, heartbeat):
                return None
            entry = replace(entry, inode=status.st_ino)
        if not copied and is_empty(status, entry):
            return entry
        if status.st_size not in (0, entry.size):  # somebody has written another file into it
            return None
        content = not copied and _has_content(status, entry)
        if content:
            as_it_was = (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime)
            if not as_it_was or not whole or not _may_be_emptied(status):
                if status.st_mode & 0o777 in (0, _WRITABLE):  # a crash came right after the first step
                    os.chmod(path, entry.mode)
                return None
        os.chmod(path, _WRITABLE)
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    finally:
        os.close(path_fd)
    try:
        if content and _is_open_elsewhere(fd):
            os.fchmod(fd, entry.mode)
            return None
        _empty(fd, entry.size, entry.mtime)
    finally:
        os.close(fd)
    return entry


def _is_copy(path: str, status: os.stat_result, entry: Emptied, heartbeat: Callable[[], None]) -> bool:
    """True for a copy of the emptied file, as of a work dir that was moved or restored: it is all zeros."""
    if status.st_size != entry.size or not _may_be_emptied(status):
        return False
    os.chmod(path, _READABLE)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                heartbeat()
                if chunk.count(0) != len(chunk):
                    return False
    finally:
        os.chmod(path, stat.S_IMODE(status.st_mode))
    return True


def _has_content(status: os.stat_result, entry: Emptied) -> bool:
    return status.st_blocks * _LEFT > entry.blocks


def _is_open_elsewhere(fd: int) -> bool:
    """True when another descriptor of a file is open on this host, or it is mapped into memory.

    The kernel gives a write lease only if there is none. Where there are no leases, it cannot be told.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # is ignored; at an open SIGIO would end this process
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as e:
        return e.errno == errno.EAGAIN
    return False


def _empty(fd: int, size: int, mtime: int) -> None:
    """Nobody can open it from the first step on, so that a crash leaves nothing that can be read as data."""
    os.fchmod(fd, 0)
    crashpoints.reach("mode-set")
    os.ftruncate(fd, 0)
    crashpoints.reach("truncated")
    os.ftruncate(fd, size)
    os.utime(fd, ns=(0, mtime))


def is_empty(status: os.stat_result, entry: Emptied) -> bool:
    """True when this is the emptied file: its metadata are what they were, and it has no content."""
    return ((status.st_ino, status.st_size, status.st_mtime_ns) == (entry.inode, entry.size, entry.mtime)
            and stat.S_IMODE(status.st_mode) == 0 and not _has_content(status, entry))


# -- what a read leaves ---------------------------------------------------------------------------


def arm(work: Path, entries: Iterable[Emptied]) -> None:
    """Set the access times to 0 before an attempt: a backup may have read the files. Raises OSError."""
    for entry in entries:
        path = work / entry.path
        status = path.lstat()
        if status.st_ino == entry.inode and status.st_atime_ns != 0:
            os.utime(path, ns=(0, entry.mtime), follow_symlinks=False)


def were_read(work: Path, entries: Iterable[Emptied], *, fresh: bool = False) -> list[Emptied]:
    """The emptied files that somebody has read, or written to, since `arm`.

    `fresh`: ask the file server and not the cache of an NFS client: a change of the mode makes it answer.
    A file that is gone was not read.
    """
    found = []
    for entry in entries:
        path = work / entry.path
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if status.st_ino != entry.inode:
                continue
            if fresh:
                with contextlib.suppress(PermissionError):  # of another user
                    os.chmod(path, 0)
                status = path.lstat()
            if (status.st_atime_ns, status.st_mtime_ns, status.st_size) != (
                    0, entry.mtime, entry.size):
                found.append(entry)
    return found


def gone(work: Path, entries: Iterable[Emptied]) -> list[Emptied]:
    """The emptied files that somebody has moved or deleted, or has given another name (a hard link)."""
    found = []
    for entry in entries:
        try:
            status = (work / entry.path).lstat()
            there = (status.st_ino, status.st_nlink) == (entry.inode, 1)
        except (FileNotFoundError, NotADirectoryError):
            there = False
        if not there:
            found.append(entry)
    return found


def withdraw(target: str, work: str, entries: Iterable[Emptied]) -> None:
    """Remove what was published of emptied files: a link into the work dir, or another name of such a file.

    `target` is a published file or folder, `work` the real path of the work dir. Raises OSError.
    """
    if os.path.islink(target):
        if os.path.realpath(target).startswith(f"{work}/"):
            os.unlink(target)
        return
    device = os.stat(work).st_dev
    inodes = {entry.inode for entry in entries}
    places = [(os.path.dirname(target), [os.path.basename(target)])] if os.path.isfile(target) else [
        (above, names) for above, _, names in trees.walk(target)]
    for above, names in places:
        for name in names:
            path = os.path.join(above, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_dev == device and status.st_ino in inodes:
                os.unlink(path)


# -- what the file system can do --------------------------------------------------------------------


def refusal(folder: Path) -> str | None:
    """Why files below a folder must not be emptied; None when every net holds there. Raises OSError.

    A file of its own is written, emptied and read. It shows whether the file system has sparse files, keeps
    modification times, sets access times at a read, and whether modes bind this user.
    """
    path = folder / f".nfresume-probe-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        return _probe(path)
    finally:
        path.unlink(missing_ok=True)


def _probe(path: Path) -> str | None:
    with path.open("xb") as file:
        file.write(os.urandom(_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
        before = os.fstat(file.fileno())
        _empty(file.fileno(), before.st_size, before.st_mtime_ns - 10**9)
        os.fsync(file.fileno())
    found = path.lstat()
    if found.st_blocks * _LEFT > before.st_blocks:
        return "the file system has no sparse files"
    if (found.st_size, found.st_mtime_ns) != (before.st_size, before.st_mtime_ns - 10**9):
        return "the file system does not keep modification times"
    if found.st_atime_ns != 0:
        return "the file system does not keep access times"
    if stat.S_IMODE(found.st_mode) != 0 or found.st_uid != os.geteuid():
        return "the file system does not keep modes and owners"
    if _opens(path):
        return ("modes do not bind this user (root: run nfresume without CAP_DAC_OVERRIDE and "
                "CAP_DAC_READ_SEARCH)")
    path.chmod(0o400)
    regular.content(path)
    path.chmod(0)
    return None if path.lstat().st_atime_ns != 0 else "a read leaves no access time (noatime)"


def _opens(path: Path) -> bool:
    for how in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.close(os.open(path, how | os.O_CLOEXEC))
        except PermissionError:
            continue
        return True
    return False
