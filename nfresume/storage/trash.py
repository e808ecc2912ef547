"""Move trees into the root's trash. The rename is the point of no return: nothing is ever moved back.

Every folder of the path is opened without following links, starting from a descriptor of the marked root. If
a parent was replaced by a symlink, the move is refused and nothing is touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from nfresume.domain.errors import RootUnusable
from nfresume.storage.root import TRASH, Root
from nfresume.system import descriptors, durable

#: Owner of the trash entries that come from task caches; no execution has this id.
TASKS = "tasks"


def to_trash(root: Root, account: str, execution_id: str) -> None:
    """Rename `work` and `cache` of an execution into the trash; safe to repeat.

    Raises OSError when they, or a folder of the path, are links, or a name is not a plain folder name. That
    the account's folder is missing is an error, too: it may be on a file system that is not mounted.
    """
    with folder(root, account) as (root_fd, account_fd):
        try:
            os.lstat(_plain(execution_id), dir_fd=account_fd)
        except FileNotFoundError:
            return
        with descriptors.below(account_fd, [execution_id]) as execution_fd:
            for name in ("work", "cache"):
                if _is_there(name, execution_fd):
                    put(root_fd, execution_id, execution_fd, [name])
                    durable.fsync_names(execution_fd)


@contextmanager
def folder(root: Root, *names: str) -> Iterator[tuple[int, int]]:
    """Yield descriptors of the root and of the folder `names` below it; closes both afterwards.

    Raises FileNotFoundError when the folder does not exist, another OSError when it cannot be opened safely.
    """
    with root.descriptor() as root_fd, descriptors.below(root_fd, map(_plain, names)) as fd:
        yield root_fd, fd


def _plain(name: str) -> str:
    if name in ("", ".", "..", TRASH) or "/" in name or "\0" in name:
        raise OSError(errno.EINVAL, f"not the name of a folder inside the root: {name!r}")
    return name


def put(root_fd: int, execution_id: str, folder_fd: int, names: list[str]) -> None:
    """Rename entries of a folder into the trash.

    A folder becomes an entry of its own: on a full disk, which a removal is to empty, no other can be made.
    """
    trash_fd = open_trash(root_fd)
    try:
        others = []
        for name in names:
            if not descriptors.is_directory(name, folder_fd):
                others.append(name)
                continue
            with contextlib.suppress(PermissionError):  # of another user, or the file system has no modes
                descriptors.make_private(name, folder_fd)
            descriptors.rename(name, folder_fd, _entry(execution_id), trash_fd)
        if others:
            _put_together(trash_fd, execution_id, folder_fd, others)
        durable.fsync_names(trash_fd)
    finally:
        os.close(trash_fd)


def _entry(execution_id: str) -> str:
    return f"{execution_id}-{uuid.uuid4().hex[:8]}"


def _put_together(trash_fd: int, execution_id: str, folder_fd: int, names: list[str]) -> None:
    """Rename what is no folder into one new entry."""
    entry = _entry(execution_id)
    os.mkdir(entry, 0o700, dir_fd=trash_fd)
    entry_fd = os.open(entry, descriptors.DIRECTORY, dir_fd=trash_fd)
    try:
        for name in names:
            descriptors.rename(name, folder_fd, name, entry_fd)
        durable.fsync_names(entry_fd)
    except OSError:
        with contextlib.suppress(OSError):  # an empty one would be in the way of other users
            os.rmdir(entry, dir_fd=trash_fd)
        raise
    finally:
        os.close(entry_fd)


def entries(root: Root) -> set[str]:
    """Ids of the executions that have something in the trash."""
    with root.descriptor() as root_fd:
        trash_fd = open_trash(root_fd)
        try:
            return {owner(entry) for entry in os.listdir(trash_fd) if not entry.startswith(".")}
        finally:
            os.close(trash_fd)


def owner(entry: str) -> str:
    """The execution id in the name of a trash entry."""
    return entry.rpartition("-")[0]


def open_trash(root_fd: int) -> int:
    """Open the trash, or this user's own part of it where there is one; raises OSError if it is a link,
    and RootUnusable if it is missing.

    `run_as` gives each user a part, so that no user can touch what another one removes.
    """
    try:
        trash_fd = os.open(TRASH, descriptors.DIRECTORY, dir_fd=root_fd)
    except FileNotFoundError:
        raise RootUnusable(f"the root has no {TRASH} folder any more: `nfresume doctor --mark-root` makes it",
                           "nothing was touched") from None
    try:
        own = os.open(f".{os.geteuid()}", descriptors.DIRECTORY, dir_fd=trash_fd)
    except OSError:
        return trash_fd
    if os.fstat(own).st_uid != os.geteuid():
        os.close(own)
        return trash_fd
    os.close(trash_fd)
    return own


def _is_there(name: str, parent_fd: int) -> bool:
    """False when nothing has this name. Raises OSError for a link: what it leads to would stay, unseen."""
    try:
        if descriptors.is_directory(name, parent_fd):
            return True
    except FileNotFoundError:
        return False
    raise OSError(errno.ENOTDIR, f"{name} is a link, or no folder: remove it, and what it leads to, by hand")
