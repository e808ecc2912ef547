"""Replace one link into a work dir by the file or folder that it points to.

The replacement is atomic: a reader sees either the link or the data. It is safe beside other runs, other
hosts, other passes and the user in the same folder: what is being made has a name with the execution's id
and a nonce, only leftovers of the same execution are ever cleaned up, and what somebody else has put in the
link's place stays.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import stat
import uuid
from collections.abc import Callable, Mapping

from nfresume.storage import copying
from nfresume.storage.scratch import MOST_LINKS, Scratch
from nfresume.system import crashpoints, durable, trees

#: Errors of link(2) after which the file is copied instead.
_COPY_INSTEAD = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.EINVAL,
                           errno.ENOSYS})
#: Begins the name of whatever is being made beside a link. `+` is in no execution id.
PREFIX = ".nfresume+"
#: Ends the name of a folder that holds a complete copy, until the copy has taken the link's place.
_READY = "+ready"
#: In such a folder: the link that made room for the copy.
_OLD_LINK = ".nfresume-link"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class _LinkChanged(Exception):
    """The link was replaced by someone else while its data was prepared."""


class _NotLinkable(Exception):
    """A hard link is not possible, and a copy is not asked for."""


class LinkReplacer:
    """Replaces links into the work dir of `scratch`.

    `may_copy` is asked with a link's final target when that cannot be linked, but would have to be copied.
    """

    def __init__(self, scratch: Scratch, may_copy: Callable[[str], bool] = lambda _end: True) -> None:
        self.scratch = scratch
        self._may_copy = may_copy
        self._nonce = uuid.uuid4().hex[:8]
        self._numbers = itertools.count()
        self._resolved: dict[str, str] = {}  # cache: folder -> its path free of links

    def replace(self, link: str, wanted: Callable[[str, str], bool] | None = None) -> str | None:
        """Replace a link; returns linked, copied, redirected or left, or None when it does not touch us.

        `left`: a copy would be needed, and is not asked for. Raises OSError when the link leads into the
        work dir and cannot be replaced, or when that cannot be seen. `wanted` is for links that nobody told
        of: it is asked with the link and its final target. Then what cannot be seen touches us only if the
        link names the work dir.
        """
        for _ in range(3):
            try:
                return self._replace(link, wanted)
            except _LinkChanged:
                pass
        raise OSError(errno.EBUSY, "another process keeps replacing it")

    def _replace(self, link: str, wanted: Callable[[str, str], bool] | None = None) -> str | None:
        try:
            text = os.readlink(link)
        except OSError as e:
            if e.errno in (errno.EINVAL, errno.ENOENT):
                return None  # no link any more: the user replaced or removed it
            raise
        scratch = self.scratch
        try:
            source, mode = self._source(link, text)
        except OSError:
            if wanted is None or os.path.join(os.path.dirname(link), text).startswith(f"{scratch.work}/"):
                raise
            return None
        if wanted is not None and not wanted(link, source):
            return None
        if not scratch.contains(source):
            if not self._passes_through(link):
                return None
            if not scratch.in_root(source):
                self._swap(link, text, lambda temporary: os.symlink(source, temporary))
                return "redirected"
        if not mode:
            raise FileNotFoundError(errno.ENOENT, f"leads to {source}, which is gone")
        try:
            if stat.S_ISDIR(mode):
                return self._replace_by_folder(link, text, source)
            made: list[str] = []
            self._swap(link, text, lambda temporary: made.append(self._make_file(source, temporary, source)))
            return made[0]
        except _NotLinkable:
            return "left"

    def leads_inside(self, link: str) -> bool:
        """True when a link ends in the work dir or passes through it. Raises OSError: it cannot be seen."""
        return self.scratch.contains(self.scratch.resolve(link)) or self._passes_through(link)

    def _source(self, link: str, text: str) -> tuple[str, int]:
        """The final target of a link, free of links, and its st_mode (0: nothing is there)."""
        whole = text if text.startswith("/") else os.path.join(os.path.dirname(link), text)
        folder, name = os.path.split(whole)
        source = os.path.join(self._free_of_links(folder), name)
        mode = _mode(source)
        if name in ("", ".", "..") or stat.S_ISLNK(mode):  # a link to a link
            source = self.scratch.resolve(link)
            mode = _mode(source)
        return source, mode

    def _free_of_links(self, folder: str) -> str:
        """The path of a folder, free of links. In the work dir only what is below a known one is looked at.

        Raises OSError as `Scratch.resolve` does.
        """
        if (found := self._resolved.get(folder)) is not None:
            return found
        above, _, name = folder.rpartition("/")
        if above.startswith(self.scratch.work) and name not in ("", ".", "..") and (
                not self.scratch.former_paths):
            below = f"{self._free_of_links(above)}/{name}"
            if stat.S_ISDIR(_mode(below)):
                self._resolved[folder] = below
                return below
        found = self._resolved[folder] = self.scratch.resolve(folder)
        return found

    def _passes_through(self, link: str) -> bool:
        """True when a link leads out of the work dir again: one of its hops lies in it."""
        hop = link
        for _ in range(MOST_LINKS):
            if not stat.S_ISLNK(_mode(hop)):
                return False
            hop = os.path.normpath(os.path.join(os.path.dirname(hop), os.readlink(hop)))
            if self.scratch.contains(self._free_of_links(os.path.dirname(hop))):
                return True
        return False

    # -- files ----------------------------------------------------------------------------------

    def _swap(self, link: str, text: str, make: Callable[[str], object]) -> None:
        """Call `make` with a temporary path in the same folder, and let the result take the link's place.

        `text` is the link's expected content. Raises _LinkChanged when it has another one by then.
        """
        temporary = self._temporary(link)
        try:
            make(temporary)
            crashpoints.reach("file-partial")
            _check_unchanged(link, text)
            if not _exchange(temporary, link):
                os.rename(temporary, link)
            elif not _is_link_to(temporary, text):  # someone was faster: theirs goes back
                _exchange(temporary, link)
                raise _LinkChanged
            else:
                os.unlink(temporary)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def _make_file(self, source: str, temporary: str, end: str) -> str:
        """Link or copy a file for a link whose final target is `end`: the file, or a folder that has it."""
        if self.scratch.is_emptied(source):
            raise OSError(errno.ENODATA, f"leads to {source}, whose content is not kept: remove it, and "
                          f"`nfresume rehydrate {self.scratch.execution_id}` makes the file again")
        try:
            os.link(source, temporary, follow_symlinks=False)
        except OSError as e:
            if e.errno not in _COPY_INSTEAD:
                raise
            if not self._may_copy(end):
                raise _NotLinkable from None
            copying.copy_verified(source, temporary)
            return "copied"
        return "linked"

    def _temporary(self, link: str) -> str:
        """A new path beside a link. The name has a bounded length: the link's own may have 255 bytes."""
        name = f"{PREFIX}{self.scratch.execution_id}+{self._nonce}+{next(self._numbers)}"
        return os.path.join(os.path.dirname(link), name)

    # -- folders --------------------------------------------------------------------------------

    def _replace_by_folder(self, link: str, text: str, source: str) -> str:
        name, holder = os.path.basename(link), self._temporary(link)
        os.mkdir(holder)
        made = _Tree()
        try:
            self._make_folder(source, os.path.join(holder, name), made)
            made.check(os.path.join(holder, name))
            durable.fsync_folder(os.path.join(holder, name))
        except BaseException:
            with contextlib.suppress(OSError):
                trees.remove(holder)
            raise
        crashpoints.reach("folder-partial")
        ready = holder + _READY
        os.rename(holder, ready)
        crashpoints.reach("folder-ready")
        copy = os.path.join(ready, name)
        try:
            _check_unchanged(link, text)
            if _exchange(copy, link):
                crashpoints.reach("folder-swapped")
                if not _is_link_to(copy, text):
                    _exchange(copy, link)
                    raise _LinkChanged
            else:  # for a moment the result is only in `ready`; after a crash `clean_up` moves it back
                os.rename(link, os.path.join(ready, _OLD_LINK))
                crashpoints.reach("folder-swapped")
                if not _is_link_to(os.path.join(ready, _OLD_LINK), text):
                    os.rename(os.path.join(ready, _OLD_LINK), link)
                    raise _LinkChanged
                os.rename(copy, link)
        finally:
            _finish(os.path.dirname(link), ready)
        return "copied" if "copied" in made.methods else "linked"

    def _make_folder(self, source: str, target: str, made: _Tree) -> None:
        """Rebuild the tree `source`, a path free of links, at `target` from links and copies."""
        waiting = [(source, target, {source: target})]
        folders = []
        while waiting:
            folder, into, above = waiting.pop()
            os.mkdir(into)
            folders.append((folder, into))
            with os.scandir(folder) as entries:
                for entry in entries:
                    copy = f"{into}/{entry.name}"
                    made.entries += 1
                    if (text := self._kept_link(entry, source)) is not None:
                        os.symlink(text, copy)
                        continue
                    real = self.scratch.resolve(entry.path) if entry.is_symlink() else entry.path
                    if (rebuilt := _rebuilt(real, source, above) or copy) != copy:
                        os.symlink(os.path.relpath(rebuilt, into), copy)
                    elif os.path.isdir(real):
                        waiting.append((real, copy, above | {real: copy}))
                    else:
                        made.methods.add(self._make_file(real, copy, source))
                        made.bytes += os.lstat(copy).st_size
        for folder, into in reversed(folders):
            copying.copy_attributes(folder, into)
            mode = os.lstat(into).st_mode
            if not mode & stat.S_IWUSR:  # as the link could be, the folder can be moved, replaced and removed
                os.chmod(into, stat.S_IMODE(mode) | stat.S_IWUSR)

    def _kept_link(self, entry: os.DirEntry[str], source: str) -> str | None:
        """What a link inside a folder says in the copy; None for what is rebuilt there, files among it."""
        if not entry.is_symlink():
            return None
        text = os.readlink(entry.path)
        if _stays_within(entry.path, text, source):
            return text
        real = self.scratch.resolve(entry.path)
        if not _mode(real):
            return text  # it dangled before, so it may dangle now
        return None if self.scratch.in_root(real) or self.scratch.contains(real) else real


class _Tree:
    """What was put into a rebuilt folder: number of entries, bytes of its files, how they were made."""

    def __init__(self) -> None:
        self.entries = 0
        self.bytes = 0
        self.methods: set[str] = set()

    def check(self, folder: str) -> None:
        """Look whether all of it is there. Raises OSError."""
        entries = size = 0
        waiting = [folder]
        while waiting:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif not entry.is_symlink():
                        size += entry.stat(follow_symlinks=False).st_size
        if (entries, size) != (self.entries, self.bytes):
            raise OSError(errno.EIO, f"its copy has {entries} entries and {size} bytes, "
                                     f"not {self.entries} and {self.bytes}")


def clean_up(folder: str, execution_id: str) -> None:
    """Finish or undo replacements for this execution in a folder that a crash interrupted."""
    begin = f"{PREFIX}{execution_id}+"
    with os.scandir(folder) as entries:
        left = [e for e in entries if e.name.startswith(begin)]
    for entry in left:
        if entry.name.endswith(_READY):
            _finish(folder, entry.path)
        elif entry.is_dir(follow_symlinks=False):
            trees.remove(entry.path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)


def _finish(folder: str, ready: str) -> None:
    """Remove a folder of a complete copy; if nothing stands in the link's place, the copy does."""
    try:
        names = os.listdir(ready)
    except FileNotFoundError:
        return
    for name in names:
        here, there = os.path.join(ready, name), os.path.join(folder, name)
        if os.path.islink(here):
            os.unlink(here)  # the old link
        elif os.path.lexists(there):
            trees.remove(here)
        else:
            os.rename(here, there)
    os.rmdir(ready)


def _stays_within(link: str, text: str, folder: str) -> bool:
    """True for a relative link to something in `folder`: a copy of the folder can keep it as it is."""
    lexical = os.path.normpath(os.path.join(os.path.dirname(link), text))
    return not os.path.isabs(text) and lexical.startswith(f"{folder}/") and _mode(lexical) != 0


def _rebuilt(path: str, source: str, above: Mapping[str, str]) -> str | None:
    """Where the copy has `path`: a part of the tree `source`, or a folder whose content is being rebuilt.

    What leads there from anywhere else becomes a link to it: it is made once, and a loop stays one.
    """
    if path in above:
        return above[path]
    return f"{above[source]}{path.removeprefix(source)}" if path.startswith(f"{source}/") else None


def _mode(path: str) -> int:
    """The st_mode of what is at a path, 0 where nothing is. Raises OSError: it cannot be seen."""
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _check_unchanged(link: str, text: str) -> None:
    if not _is_link_to(link, text):
        raise _LinkChanged


def _is_link_to(link: str, text: str) -> bool:
    try:
        return os.readlink(link) == text
    except OSError:
        return False


def _exchange(a: str, b: str) -> bool:
    """Exchange two names atomically, by renameat2(2). Returns False where the file system cannot (NFS).

    Raises _LinkChanged when one of them is gone, else OSError.
    """
    if (renameat2 := _renameat2()) is None:
        return False
    code = renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)
    if code == 0:
        return True
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    if code == errno.ENOENT:
        raise _LinkChanged
    raise OSError(code, os.strerror(code), a)


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    """renameat2(2), which returns 0 or the error's number; None where there is none."""
    try:
        import ctypes  # a launch that publishes nothing does without

        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (ImportError, AttributeError):
        return None
    return lambda *given: 0 if function(*given) == 0 else ctypes.get_errno()
