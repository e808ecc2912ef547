"""Slim retention: remove at once what `-resume` does not need, and keep the logs of the tasks.

A resume never reuses a task that failed or was aborted. Its task dir keeps only `.command.*` and `.exitcode`.
A task whose command ended with exit status 0 but failed for another reason, such as a missing output, keeps
everything: its files may be good and only the output declaration wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from nfresume.storage import descriptors, trash
from nfresume.storage.aside import ASIDE
from nfresume.storage.removal import Removed, empty_trash
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.workers import Pace


def slim(
    folder: ExecutionFolder, hashes: Iterable[str], pace: Pace,
    progress: Callable[[Removed], None] = lambda _: None,
) -> Removed:
    """Empty the task dirs of these hashes (`ab/cdef01`) and the ones that were set aside. Safe to repeat.

    A hash that matches several task dirs is left alone, because it does not say which of them failed.
    """
    with trash.folder(folder.root, folder.account, folder.execution_id, "work") as (root_fd, work_fd):
        blocked = []
        for path in [*_task_dirs(work_fd, hashes), *_aside(work_fd)]:
            try:
                _empty(root_fd, work_fd, path, folder.execution_id)
            except OSError as e:
                blocked.append(f"{path}: {e.strerror}")
    removed = empty_trash(folder.root, folder.execution_id, progress, pace)
    removed.blocked_count += len(blocked)
    removed.blocked += blocked
    return removed


def _task_dirs(work_fd: int, hashes: Iterable[str]) -> Iterator[str]:
    by_prefix: dict[str, list[str]] = {}
    for task_hash in hashes:
        first, _, rest = task_hash.partition("/")
        if rest:
            by_prefix.setdefault(first, []).append(rest)
    for first, rests in by_prefix.items():
        names = _listed(first, work_fd)
        for rest in rests:
            found = [name for name in names if name.startswith(rest)]
            if len(found) == 1:
                yield f"{first}/{found[0]}"


def _aside(work_fd: int) -> Iterator[str]:
    for run in _listed(ASIDE, work_fd):
        yield from (f"{ASIDE}/{run}/{name}" for name in _listed(f"{ASIDE}/{run}", work_fd))


def _listed(path: str, base_fd: int) -> list[str]:
    fd = _open(path, base_fd)
    if fd is None:
        return []
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def _open(path: str, base_fd: int) -> int | None:
    """Open a folder component by component, following no link; None when it does not exist."""
    fd = os.dup(base_fd)
    for name in path.split("/"):
        try:
            below = os.open(name, descriptors.DIRECTORY, dir_fd=fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        finally:
            os.close(fd)
        fd = below
    return fd


def _empty(root_fd: int, work_fd: int, path: str, execution_id: str) -> None:
    fd = _open(path, work_fd)
    if fd is None:
        return
    try:
        if _exit_status(fd) == b"0":
            return
        names = [n for n in os.listdir(fd) if n != ".exitcode" and not n.startswith(".command.")]
        if names:
            trash.put(root_fd, execution_id, fd, names)
            os.fsync(fd)
    finally:
        os.close(fd)


def _exit_status(task_fd: int) -> bytes | None:
    try:
        fd = os.open(".exitcode", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=task_fd)
    except OSError:
        return None
    try:
        return os.read(fd, 16).strip()
    finally:
        os.close(fd)
