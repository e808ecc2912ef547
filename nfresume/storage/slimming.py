"""Slim retention: remove at once what `-resume` does not need, and keep the logs of the tasks.

A resume never reuses a task that failed or was aborted. Its task dir keeps only `.command.*` and `.exitcode`.
A task whose command ended with exit status 0 but failed for another reason, such as a missing output, keeps
everything: its files may be good and only the output declaration wrong.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator

from nfresume.storage import trash
from nfresume.storage.aside import ASIDE
from nfresume.storage.removal import Removed, empty_trash
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.workers import Pace
from nfresume.system import descriptors, durable


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
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        with descriptors.below(base_fd, path.split("/")) as fd:
            return os.listdir(fd)
    return []


def _empty(root_fd: int, work_fd: int, path: str, execution_id: str) -> None:
    with contextlib.ExitStack() as stack:
        try:
            fd = stack.enter_context(descriptors.below(work_fd, path.split("/")))
        except (FileNotFoundError, NotADirectoryError):
            return
        if _exit_status(fd) == b"0":
            return
        names = [n for n in os.listdir(fd) if n != ".exitcode" and not n.startswith(".command.")]
        if names:
            trash.put(root_fd, execution_id, fd, names)
            durable.fsync_names(fd)


def _exit_status(task_fd: int) -> bytes | None:
    try:
        fd = os.open(".exitcode", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=task_fd)
    except OSError:
        return None
    try:
        return os.read(fd, 16).strip()
    finally:
        os.close(fd)
