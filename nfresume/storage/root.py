"""A marked root on the shared file system, and the folders of an execution inside it.

    <root>/.nfresume                              marks the root
    <root>/<account>/<execution>/work/            Nextflow's -work-dir
    <root>/<account>/<execution>/cache/           NXF_CACHE_DIR: history and cache database
    <root>/<account>/<execution>/attempts/<n>/    logs, trace, exit status; kept after the work dir
    <root>/.trash/<execution>-<nonce>/            renamed here first, then removed
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.domain.errors import RootUnusable
from nfresume.system import acting, descriptors, durable, regular

MARKER = ".nfresume"
TRASH = ".trash"
LAYOUT_VERSION = 1
#: In an attempt's folder: the request behind the attempt, so that a database that lost it can be repaired.
REQUEST = "request.json"
#: Errors of a write when the disk or a quota is full.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
#: With fewer free bytes a launch is refused, because Nextflow could not even write its cache.
MINIMUM_FREE = 16 * 2**20

_MARK_HINT = "if this is the right place, and mounted, mark it: `nfresume doctor --mark-root`"
_READABLE_HINT = "let its owner run `nfresume doctor --mark-root`: then all who may read the folder can"
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Root:
    """A marked root: its path, the id from its marker, and the inode of its folder."""

    path: Path
    id: str
    inode: int

    @classmethod
    def open(cls, path: Path) -> Root:
        """Read the marker. Raises RootUnusable when it is missing: not mounted, or never marked."""
        try:
            data = regular.document(path / MARKER)
            root_id, version = str(data["id"]), int(data["layout"])
        except FileNotFoundError:
            what = "is not marked as a root" if path.exists() else "does not exist"
            raise RootUnusable(f"{path} {what}: it has no {MARKER} file", _MARK_HINT) from None
        except PermissionError as e:
            raise RootUnusable(f"{path / MARKER} cannot be read: {e.strerror}", _READABLE_HINT) from None
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise RootUnusable(f"{path / MARKER} cannot be read: {e}", _MARK_HINT) from None
        if version != LAYOUT_VERSION:
            raise RootUnusable(f"{path} has layout {version}; this nfresume knows {LAYOUT_VERSION}",
                               "use the nfresume that made it")
        return cls(path, root_id, path.stat().st_ino)

    @classmethod
    def mark(cls, path: Path, root_id: str | None = None) -> Root:
        """Create `path` if needed and mark it; an existing marker is kept. Raises RootUnusable."""
        mark = {"id": root_id or str(uuid.uuid4()), "layout": LAYOUT_VERSION}
        try:
            if path.exists():
                _mark(path, mark)
            else:  # create it under a temporary name, so that no other launch sees it without its marker
                path.parent.mkdir(parents=True, exist_ok=True)
                made = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
                made.mkdir(mode=0o755)
                try:
                    _mark(made, mark)
                except OSError:
                    shutil.rmtree(made)
                    raise
                _rename_unless_exists(made, path)
        except OSError as e:
            raise RootUnusable(f"cannot make {path} a root: {e.strerror}", "choose another: NFRESUME_ROOT"
                               ) from None
        return cls.open(path)

    @contextmanager
    def descriptor(self) -> Iterator[int]:
        """Yield an open descriptor of the root. Raises RootUnusable when its id or inode has changed."""
        fd = os.open(self.path, _DIR & ~os.O_NOFOLLOW)
        try:
            self._check(fd)
            yield fd
        finally:
            os.close(fd)

    def _check(self, fd: int) -> None:
        try:
            marker = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        except FileNotFoundError:
            raise RootUnusable(f"{self.path} has lost its {MARKER} file",
                               "nothing was touched; is it mounted?") from None
        with os.fdopen(marker, "rb") as file:
            found = json.loads(file.read())["id"]
        if found != self.id or os.fstat(fd).st_ino != self.inode:
            raise RootUnusable(f"{self.path} is not the recorded root (another folder or file system)",
                               "nothing was touched; mount the right one")

    def execution(self, account: str, execution_id: str) -> ExecutionFolder:
        """The folder of one execution; it need not exist yet."""
        acting.require(account)
        return ExecutionFolder(self, account, execution_id)

    def check_space(self, account: str = "") -> None:
        """Raise RootUnusable when nothing can be written here, in the account's folder if there is one.

        Also when nothing could be moved into the trash, without which no work dir is ever deleted.
        """
        for name in filter(None, (account, TRASH)):
            self._check_is_inside(name)
        own = self.path / account
        if not os.access(own if account and own.exists() else self.path, os.W_OK | os.X_OK):
            raise RootUnusable(f"{self.path} is not writable", "choose another root, or ask its owner")
        if problem := out_of_space(self.path):
            raise RootUnusable(problem, "free some space: `nfresume list` shows what is retained")

    def _check_is_inside(self, name: str) -> None:
        """Raise RootUnusable when a folder of the root is a link, or on another mount."""
        with descriptors.of(self.path) as root_fd:
            try:
                with descriptors.below(root_fd, [name]) as fd:
                    inside = descriptors.mount_id(fd) == descriptors.mount_id(root_fd)
            except FileNotFoundError:
                return
            except NotADirectoryError:  # so does the kernel call a link that must not be followed
                inside = False
        if not inside:
            raise RootUnusable(f"{self.path / name} is a link, or another file system is mounted there: "
                               "no work dir could be deleted", "choose a root there: NFRESUME_ROOT")


def _mark(folder: Path, mark: dict[str, Any]) -> None:
    mode = folder.stat().st_mode & 0o7777
    durable.create(folder / MARKER, json.dumps(mark).encode() + b"\n")
    with contextlib.suppress(PermissionError):  # somebody else has made it
        (folder / MARKER).chmod(mode & 0o444 | 0o200)  # whoever may read the folder may read its marker
    if not (folder / TRASH).exists():
        (folder / TRASH).mkdir(exist_ok=True)
        with contextlib.suppress(PermissionError):  # the file system has no modes
            (folder / TRASH).chmod(mode)  # every user who may launch may also remove


def _rename_unless_exists(made: Path, path: Path) -> None:
    """Rename `made` to `path`; if another launch created `path` first, remove `made`."""
    try:
        made.rename(path)
    except OSError as e:
        shutil.rmtree(made)
        if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    durable.fsync_folder(path.parent)


@dataclass(frozen=True)
class ExecutionFolder:
    """`<root>/<account>/<execution>`. The caller has validated the names, so the path is inside the root."""

    root: Root
    account: str
    execution_id: str

    @property
    def path(self) -> Path:
        return self.root.path / self.account / self.execution_id

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    def attempt(self, number: int) -> Path:
        """The folder with the logs, trace and exit status of attempt `number`."""
        return self.path / "attempts" / str(number)

    def unknown_attempt(self, known: int) -> str | None:
        """What is wrong when an attempt was made after the last one of `known`; None when there is none.

        An attempt's request is written first, so nothing was begun in an empty folder.
        """
        try:
            if not any(self.attempt(known + 1).iterdir()):
                return None
        except FileNotFoundError:
            return None
        return ("its folder has an attempt that the database does not know (is the database an old backup?): "
                f"`nfresume doctor --adopt {self.execution_id}` stores it")

    def request(self, number: int) -> dict[str, Any] | None:
        """The request behind attempt `number`; None when there is no readable record of it."""
        try:
            found = regular.document(self.attempt(number) / REQUEST)
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def provision(self, number: int) -> None:
        """Create the folders that an attempt needs; safe to repeat. Raises RootUnusable."""
        self._make(self.work, self.cache, self.attempt(number))

    def begin_records(self, number: int, asked: dict[str, Any]) -> None:
        """Create the attempt's folder and store the request in it. Raises RootUnusable.

        The supervisor creates the other folders.
        """
        self._make(self.attempt(number))
        try:
            durable.write(self.attempt(number) / REQUEST, json.dumps(asked).encode())
        except OSError as e:
            raise self._write_error(e) from None

    def writing(self, write: Callable[[], None]) -> None:
        """Call `write`, which writes in this folder. Raises RootUnusable where it raises OSError."""
        try:
            write()
        except OSError as e:
            raise self._write_error(e) from None

    def _make(self, *folders: Path) -> None:
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise self._write_error(e) from None

    def _write_error(self, e: OSError) -> RootUnusable:
        hint = "free some space" if e.errno in NO_SPACE else "check the permissions of the root"
        return RootUnusable(f"cannot write in {self.path}: {e.strerror}",
                            out_of_space(self.root.path) or hint)


def out_of_space(path: Path) -> str | None:
    """One line that says what the file system of `path` lacks, space or inodes; None if it has both."""
    try:
        vfs = os.statvfs(path)
    except OSError as e:
        return f"{path} cannot be read: {e.strerror}"
    if vfs.f_blocks and vfs.f_bavail * vfs.f_frsize < MINIMUM_FREE:
        return f"no space left: {vfs.f_bavail * vfs.f_frsize} bytes free on the file system of {path}"
    if vfs.f_files and vfs.f_favail == 0:
        return f"no inodes left on the file system of {path}"
    return None


def copy_if_exists(source: Path, target: Path) -> None:
    """Copy a report file to the path that the user asked for; a missing source is no error."""
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
