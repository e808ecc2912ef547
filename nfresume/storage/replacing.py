"""Replace one link into a work dir by the file or folder that it points to.

The replacement is atomic: a reader sees either the link or the data.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Sequence

from nfresume.system import crashpoints, durable

#: Errors of link(2) after which the file is copied instead.
_COPY_INSTEAD = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.EINVAL})
#: Suffix of a temporary file or folder beside the link.
_PARTIAL = ".nfresume-partial"
#: A folder beside the link: it holds a complete copy, under its final name, until the copy replaces the link.
_READY = ".nfresume-ready"
#: The kernel follows at most so many links in one path.
_MOST_LINKS = 40
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class _LinkChanged(Exception):
    """The link was replaced by someone else while its data was prepared."""


class LinkReplacer:
    """Replaces links into one work dir.

    `work` is the work dir's path, free of links. `former_paths` are paths that it had before its root moved;
    links by those paths count as links into it.
    """

    def __init__(self, work: str, former_paths: Sequence[str] = ()) -> None:
        self._work = work
        self._former_paths = [before.rstrip("/") + "/" for before in former_paths]
        self._below = work.rstrip("/") + "/"
        self._resolved: dict[str, str] = {}  # cache: folder of a link's target -> its path free of links

    def contains(self, path: str) -> bool:
        """True for the work dir and everything in it; `path` must be free of links."""
        return path == self._work or path.startswith(self._below)

    def ends_inside(self, path: str) -> bool:
        """True when a path, with all links followed, lies in the work dir."""
        return self.contains(self.resolve(path))

    def resolve(self, path: str) -> str:
        """Follow all links of a path. A former path of the work dir is translated to its present one."""
        found = os.path.realpath(path)
        for _ in range(_MOST_LINKS if self._former_paths else 0):
            before = next((b for b in self._former_paths if f"{found}/".startswith(b)), None)
            if before is None:
                break
            found = os.path.realpath(self._below + f"{found}/".removeprefix(before))
        return found

    def replace(self, link: str) -> str | None:
        """Replace a link; returns linked, copied or redirected, or None when it does not touch the work dir.

        Raises OSError when it leads into the work dir and cannot be replaced.
        """
        for _ in range(3):
            with contextlib.suppress(_LinkChanged):
                return self._replace(link)
        raise OSError(errno.EBUSY, "another process keeps replacing it")

    def _replace(self, link: str) -> str | None:
        try:
            text = os.readlink(link)
        except OSError as e:
            if e.errno in (errno.EINVAL, errno.ENOENT):
                return None  # no link any more: the user replaced or removed it
            raise
        source, mode = self._source(link, text)
        if not self.contains(source):
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
        """The final target of a link, free of links, and its st_mode (0: nothing is there)."""
        folder, name = os.path.split(os.path.join(os.path.dirname(link), text))
        if folder not in self._resolved:
            self._resolved[folder] = self.resolve(folder)
        source = os.path.join(self._resolved[folder], name)
        mode = _mode(source)
        if name in ("", ".", "..") or stat.S_ISLNK(mode):  # a link to a link
            source = self.resolve(link)
            mode = _mode(source)
        return source, mode

    def _passes_through(self, link: str) -> bool:
        """True when a link leads out of the work dir again: one of its hops lies in it."""
        hop = link
        for _ in range(_MOST_LINKS):
            if not os.path.islink(hop):
                return False
            hop = os.path.normpath(os.path.join(os.path.dirname(hop), os.readlink(hop)))
            if self.ends_inside(os.path.dirname(hop)):
                return True
        return False

    def _replace_by_folder(self, link: str, text: str, source: str) -> str:
        partial = _partial(link)
        ready = os.path.join(os.path.dirname(link), _READY, os.path.basename(link))
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(partial)
        methods = self._make_folder(source, partial)
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
            else:  # for a moment the result exists only in _READY; after a crash `clean_up` moves it back
                os.unlink(link)
                crashpoints.reach("folder-swapped")
                os.rename(ready, link)
        finally:
            clean_up(os.path.dirname(link))
        return "copied" if "copied" in methods else "linked"

    def _make_folder(self, source: str, target: str) -> set[str]:
        """Rebuild the tree `source` at `target` from links and copies; returns the methods used."""
        methods = set()
        waiting = [(source, target, frozenset({source}))]
        made = []
        while waiting:
            folder, into, above = waiting.pop()
            os.mkdir(into)
            made.append((folder, into))
            with os.scandir(folder) as entries:
                for entry in entries:
                    copy = f"{into}/{entry.name}"
                    real = self.resolve(entry.path)
                    if entry.is_symlink() and _stays_within(entry.path, source):
                        os.symlink(os.readlink(entry.path), copy)
                    elif entry.is_symlink() and not self.contains(real):
                        os.symlink(real, copy)
                    elif os.path.isdir(real):
                        if real in above:
                            raise OSError(errno.ELOOP, f"{entry.path} leads back to itself")
                        waiting.append((real, copy, above | {real}))
                    elif os.path.exists(real):
                        methods.add(_make_file(real, copy))
                    else:
                        os.symlink(os.readlink(entry.path), copy)  # it dangled before, so it may dangle now
        for folder, into in reversed(made):
            shutil.copystat(folder, into)
        return methods


def clean_up(folder: str) -> None:
    """Finish or undo replacements in a folder that a crash interrupted."""
    with os.scandir(folder) as entries:
        left = [e for e in entries if e.name == _READY or (e.name[0] == "." and e.name.endswith(_PARTIAL))]
    for entry in left:
        if entry.name == _READY:
            _clean_up_ready(folder, entry.path)
        elif entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _clean_up_ready(folder: str, ready: str) -> None:
    for name in os.listdir(ready):
        here, there = os.path.join(ready, name), os.path.join(folder, name)
        if os.path.islink(here):
            os.unlink(here)  # the old link: the exchange has put the data in its place
        elif os.path.lexists(there):
            shutil.rmtree(here)  # the link is still there: the copy will be made again
        else:
            os.rename(here, there)
    os.rmdir(ready)


def _stays_within(link: str, folder: str) -> bool:
    """True for a relative link to something in `folder`: a copy of the folder can keep it as it is."""
    text = os.readlink(link)
    lexical = os.path.normpath(os.path.join(os.path.dirname(link), text))
    return not os.path.isabs(text) and lexical.startswith(f"{folder}/") and os.path.lexists(lexical)


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0


def _partial(link: str) -> str:
    """The temporary path for a link. The name has a fixed length: the link's own may have 255 bytes."""
    folder, name = os.path.split(link)
    return os.path.join(folder, f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{_PARTIAL}")


def _swap(link: str, text: str, make: Callable[[str], object]) -> None:
    """Call `make` with a temporary path in the same folder, then rename that over `link`.

    `text` is the link's expected content. Raises _LinkChanged when it has another one by then.
    """
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
    raise _LinkChanged


def _exchange(a: str, b: str) -> bool:
    """Exchange two names atomically, by renameat2(2). Returns False where the file system cannot (NFS)."""
    import ctypes  # imported here: only published folders need it

    libc = ctypes.CDLL(None, use_errno=True)
    try:
        done = libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)
    except AttributeError:  # this libc has no renameat2
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
    """Copy a file, fsync it, read both files back and compare. Raises OSError when they differ."""
    shutil.copy2(source, target)
    with open(target, "rb") as copy, open(source, "rb") as original:
        os.fsync(copy.fileno())
        os.posix_fadvise(copy.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if hashlib.file_digest(copy, "sha256").digest() != hashlib.file_digest(original, "sha256").digest():
            raise OSError(errno.EIO, f"the copy of {source} differs from it")
