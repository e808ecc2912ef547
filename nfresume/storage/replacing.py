"""One link into a work dir replaced by what it leads to: a reader sees the link or the data."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Sequence

from nfresume.system import crashpoints, durable

#: No hard link between these two: copy instead.
_COPY_INSTEAD = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.EINVAL})
#: Ends the name of what is still being made, in the folder of its link.
_PARTIAL = ".nfresume-partial"
#: A folder in which finished copies of folders wait, under their own names, to take their link's place.
_READY = ".nfresume-ready"
#: On one path: the kernel's own limit.
_MOST_LINKS = 40
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class _Replaced(Exception):
    """Somebody put something else in the link's place while its data was made ready."""


class Into:
    """Links that lead into one work dir (a path without links), also by paths that it had before."""

    def __init__(self, work: str, formerly: Sequence[str] = ()) -> None:
        self._work = work
        self._formerly = [before.rstrip("/") + "/" for before in formerly]
        self._below = work.rstrip("/") + "/"
        self._real: dict[str, str] = {}  # folders that links name, without links on the way

    def holds(self, path: str) -> bool:
        """True for the work dir and everything in it; `path` is free of links."""
        return path == self._work or path.startswith(self._below)

    def leads(self, path: str) -> bool:
        """True when a path ends in the work dir, whatever links are on the way."""
        return self.holds(self.real(path))

    def real(self, path: str) -> str:
        """Where a path ends; one into a place where the work dir was ends in the work dir."""
        found = os.path.realpath(path)
        for _ in range(_MOST_LINKS if self._formerly else 0):
            before = next((b for b in self._formerly if f"{found}/".startswith(b)), None)
            if before is None:
                break
            found = os.path.realpath(self._below + f"{found}/".removeprefix(before))
        return found

    def replace(self, link: str) -> str | None:
        """Replace a link; returns linked, copied or redirected, or None when it has nothing to do with us.

        Raises OSError when it leads into the work dir and cannot be replaced.
        """
        for _ in range(3):
            with contextlib.suppress(_Replaced):
                return self._replace(link)
        raise OSError(errno.EBUSY, "is replaced by somebody again and again")

    def _replace(self, link: str) -> str | None:
        try:
            text = os.readlink(link)
        except OSError as e:
            if e.errno in (errno.EINVAL, errno.ENOENT):
                return None  # meanwhile it is something of the user's own, or gone
            raise
        source, mode = self._source(link, text)
        if not self.holds(source):
            if not self._passes_through(link):
                return None
            _swap(link, text, lambda temporary: os.symlink(source, temporary))
            return "redirected"
        if stat.S_ISDIR(mode):
            return self._replace_by_folder(link, text, source)
        if not mode:
            raise FileNotFoundError(errno.ENOENT, f"leads to {source}, which is gone")
        made: list[str] = []
        _swap(link, text, lambda temporary: made.append(_make_file(source, temporary)))
        return made[0]

    def _source(self, link: str, text: str) -> tuple[str, int]:
        """Where a link leads in the end, and what is there (0: nothing)."""
        folder, name = os.path.split(os.path.join(os.path.dirname(link), text))
        if folder not in self._real:
            self._real[folder] = self.real(folder)
        source = os.path.join(self._real[folder], name)
        mode = _mode(source)
        if name in ("", ".", "..") or stat.S_ISLNK(mode):  # a chain
            source = self.real(link)
            mode = _mode(source)
        return source, mode

    def _passes_through(self, link: str) -> bool:
        """True when a link's next hop, or a later one, lies in the work dir."""
        hop = link
        for _ in range(_MOST_LINKS):
            if not os.path.islink(hop):
                return False
            hop = os.path.normpath(os.path.join(os.path.dirname(hop), os.readlink(hop)))
            if self.leads(os.path.dirname(hop)):
                return True
        return False

    def _replace_by_folder(self, link: str, text: str, source: str) -> str:
        partial = _partial(link)
        ready = os.path.join(os.path.dirname(link), _READY, os.path.basename(link))
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(partial)
        hows = self._make_folder(source, partial)
        durable.fsync_folder(partial)
        crashpoints.reach("folder-partial")
        os.makedirs(os.path.dirname(ready), exist_ok=True)
        os.rename(partial, ready)
        crashpoints.reach("folder-ready")
        try:
            _check_unchanged(link, text)
            if _exchange(ready, link):
                crashpoints.reach("folder-swapped")
                os.unlink(ready)
            else:  # a file system that cannot: until the rename, the result is under its `ready` name
                os.unlink(link)
                crashpoints.reach("folder-swapped")
                os.rename(ready, link)
        finally:
            finish(os.path.dirname(link))
        return "copied" if "copied" in hows else "linked"

    def _make_folder(self, source: str, target: str) -> set[str]:
        hows = set()
        waiting = [(source, target, frozenset({source}))]
        made = []
        while waiting:
            folder, into, above = waiting.pop()
            os.mkdir(into)
            made.append((folder, into))
            with os.scandir(folder) as entries:
                for entry in entries:
                    copy = f"{into}/{entry.name}"
                    real = self.real(entry.path)
                    if entry.is_symlink() and _stays_within(entry.path, source):
                        os.symlink(os.readlink(entry.path), copy)
                    elif entry.is_symlink() and not self.holds(real):
                        os.symlink(real, copy)
                    elif os.path.isdir(real):
                        if real in above:
                            raise OSError(errno.ELOOP, f"{entry.path} leads back to itself")
                        waiting.append((real, copy, above | {real}))
                    elif os.path.exists(real):
                        hows.add(_make_file(real, copy))
                    else:
                        os.symlink(os.readlink(entry.path), copy)  # dangled before, dangles after
        for folder, into in reversed(made):
            shutil.copystat(folder, into)
        return hows


def finish(folder: str) -> None:
    """Clean up what a crash between two steps of a replacement left in a folder."""
    with os.scandir(folder) as entries:
        left = [e for e in entries if e.name == _READY or (e.name[0] == "." and e.name.endswith(_PARTIAL))]
    for entry in left:
        if entry.name == _READY:
            _finish_ready(folder, entry.path)
        elif entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _finish_ready(folder: str, ready: str) -> None:
    for name in os.listdir(ready):
        here, there = os.path.join(ready, name), os.path.join(folder, name)
        if os.path.islink(here):
            os.unlink(here)  # the link that its data has replaced
        elif os.path.lexists(there):
            shutil.rmtree(here)  # its link is still there: it is made again
        else:
            os.rename(here, there)
    os.rmdir(ready)


def _stays_within(link: str, folder: str) -> bool:
    """True for a relative link that leads to something in `folder`: it means the same in a copy."""
    text = os.readlink(link)
    lexical = os.path.normpath(os.path.join(os.path.dirname(link), text))
    return not os.path.isabs(text) and lexical.startswith(f"{folder}/") and os.path.lexists(lexical)


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0


def _partial(link: str) -> str:
    """A name of fixed length, so that a result with a 255-byte name has a temporary one too."""
    folder, name = os.path.split(link)
    return os.path.join(folder, f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{_PARTIAL}")


def _swap(link: str, text: str, make: Callable[[str], object]) -> None:
    """Replace `link` by what `make` puts at a temporary name in the same folder."""
    temporary = _partial(link)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        make(temporary)
        crashpoints.reach("file-partial")
        _check_unchanged(link, text)
        os.rename(temporary, link)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _check_unchanged(link: str, text: str) -> None:
    try:
        if os.readlink(link) == text:
            return
    except OSError:
        pass
    raise _Replaced


def _exchange(a: str, b: str) -> bool:
    """Let two names change places, atomically. False where the file system cannot (NFS)."""
    import ctypes  # a launch that publishes no folder does without

    libc = ctypes.CDLL(None, use_errno=True)
    try:
        done = libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)
    except AttributeError:  # a libc without it
        return False
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), a)


def _make_file(source: str, temporary: str) -> str:
    try:
        os.link(source, temporary, follow_symlinks=False)
    except OSError as e:
        if e.errno not in _COPY_INSTEAD:
            raise
        _copy_verified(source, temporary)
        return "copied"
    return "linked"


def _copy_verified(source: str, target: str) -> None:
    """Copy, fsync, read both sides back from the disk and compare. Raises OSError when they differ."""
    shutil.copy2(source, target)
    with open(target, "rb") as copy, open(source, "rb") as original:
        os.fsync(copy.fileno())
        os.posix_fadvise(copy.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if hashlib.file_digest(copy, "sha256").digest() != hashlib.file_digest(original, "sha256").digest():
            raise OSError(errno.EIO, f"the copy of {source} differs from it")
