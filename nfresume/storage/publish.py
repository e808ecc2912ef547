"""Published results made real, so that they survive their work dir (design rule 2).

Nextflow publishes a symlink into the work dir unless told otherwise. Before a work dir goes, every
published path that leads into it is replaced, atomically, by the data itself: a hard link where both
sides are on one file system (the data is then owned by the result, and the work dir stays whole until
it is removed, so a crash or a lost race costs nothing), else a verified, fsynced copy. A link that
only passes through the work dir on its way out is pointed straight at its real target.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nfresume import crashpoints, durable

#: No rename or hard link between these two: copy instead.
_COPY_INSTEAD = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.EINVAL})


@dataclass
class MadeReal:
    """Numbers of results by how they were made real, and what could not be, with its reason."""

    linked: int = 0
    copied: int = 0
    redirected: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """How many paths were replaced."""
        return self.linked + self.copied + self.redirected


def make_real(targets: Iterable[Path], work: Path) -> MadeReal:
    """Make every published `target` independent of `work`. Idempotent, also after a crash.

    What cannot be made real is reported in `refused`; the work dir must then be kept.
    """
    result = MadeReal()
    work = Path(os.path.realpath(work))
    for target in dict.fromkeys(targets):
        try:
            _Publisher(work, result).settle(Path(os.path.abspath(target)))
        except OSError as e:
            result.refused.append(f"{target}: {e.strerror or e}")
        crashpoints.reach("results-half-real")
    crashpoints.reach("results-real")
    return result


def links_beside(targets: Iterable[str], work: Path) -> list[str]:
    """Symlinks into `work` in the folders where results were published, whatever the log says."""
    found = []
    for folder in {os.path.dirname(target) for target in targets}:
        try:
            with os.scandir(folder) as entries:
                links = [entry.path for entry in entries if entry.is_symlink()]
        except OSError:
            continue
        found += [link for link in links if Path(os.readlink(link)).is_relative_to(work)]
    return found


class _Publisher:
    def __init__(self, work: Path, result: MadeReal) -> None:
        self._work = work
        self._result = result

    def settle(self, target: Path) -> None:
        """Make one published path real, and everything below it if it is a folder."""
        # Where the folder that holds the result is itself a link, the link is what leads into work.
        for parent in reversed(target.parents):
            if parent.is_symlink() and self._inside(Path(os.path.realpath(parent))):
                self._replace(parent)
        if self._inside(Path(os.path.realpath(target.parent))):
            raise OSError(errno.EBUSY, "published inside the work dir itself")
        _finish_swap(target)
        try:
            mode = target.lstat().st_mode
        except FileNotFoundError:
            return  # the pipeline, or somebody else, took it away again
        if stat.S_ISLNK(mode):
            self._replace(target)
        elif stat.S_ISDIR(mode):
            self._settle_folder(target)

    def _settle_folder(self, folder: Path) -> None:
        waiting = [folder]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        self._replace(Path(entry.path))
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))

    def _inside(self, path: Path) -> bool:
        return path.is_relative_to(self._work)

    def _replace(self, link: Path) -> None:
        """Replace a symlink that leads into, or through, the work dir."""
        source = Path(os.path.realpath(link))
        if self._inside(source):
            if not source.exists():
                raise FileNotFoundError(errno.ENOENT, f"leads to {source}, which is gone")
            if source.is_dir():
                self._replace_by_folder(link, source)
            else:
                self._replace_by_file(link, source)
        elif self._passes_through(link):
            _swap_file(link, lambda temporary: os.symlink(source, temporary))
            self._result.redirected += 1

    def _passes_through(self, link: Path) -> bool:
        """True when a link's next hop, or a later one, lies in the work dir."""
        hop = link
        for _ in range(40):  # the kernel's own limit
            if not hop.is_symlink():
                return False
            following = Path(os.path.normpath(hop.parent / os.readlink(hop)))
            if self._inside(Path(os.path.realpath(following.parent))):
                return True
            hop = following
        return False

    def _replace_by_file(self, link: Path, source: Path) -> None:
        def make(temporary: Path) -> None:
            self._make_file(source, temporary)

        _swap_file(link, make)
        durable.fsync_folder(link.parent)

    def _make_file(self, source: Path, temporary: Path) -> None:
        try:
            os.link(source, temporary, follow_symlinks=False)
            self._result.linked += 1
        except OSError as e:
            if e.errno not in _COPY_INSTEAD:
                raise
            _verified_copy(source, temporary)
            self._result.copied += 1

    def _replace_by_folder(self, link: Path, source: Path) -> None:
        partial, ready = _partial(link), _ready(link)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(partial)
        self._make_folder(source, partial)
        durable.fsync_folder(partial)
        partial.rename(ready)
        link.unlink()  # from here until the rename the result is under its `ready` name
        ready.rename(link)
        durable.fsync_folder(link.parent)
        shutil.copystat(source, link)

    def _make_folder(self, source: Path, target: Path) -> None:
        waiting = [(source, target, frozenset({source}))]
        while waiting:
            folder, into, above = waiting.pop()
            into.mkdir()
            with os.scandir(folder) as entries:
                for entry in entries:
                    path, copy = Path(entry.path), into / entry.name
                    real = Path(os.path.realpath(path))
                    if entry.is_symlink() and _stays_within(path, source):
                        os.symlink(os.readlink(path), copy)
                    elif entry.is_symlink() and not self._inside(real):
                        os.symlink(real, copy)
                    elif real.is_dir():
                        if real in above:
                            raise OSError(errno.ELOOP, f"{path} leads back to itself")
                        waiting.append((real, copy, above | {real}))
                    elif real.exists():
                        self._make_file(real, copy)
                    else:
                        os.symlink(os.readlink(path), copy)  # dangled before, dangles after


def _stays_within(link: Path, folder: Path) -> bool:
    """True for a relative link that leads to something in `folder`: it means the same in a copy."""
    text = os.readlink(link)
    lexical = Path(os.path.normpath(link.parent / text))
    return not os.path.isabs(text) and lexical.is_relative_to(folder) and lexical.exists()


def _partial(link: Path) -> Path:
    return link.with_name(f".{_short(link)}.nfresume-partial")


def _ready(link: Path) -> Path:
    return link.with_name(f".{_short(link)}.nfresume-ready")


def _short(link: Path) -> str:
    """A name of fixed length, so that a result with a 255-byte name has a temporary one too."""
    return hashlib.sha256(os.fsencode(link.name)).hexdigest()[:16]


def _finish_swap(target: Path) -> None:
    """A crash between unlink and rename of a folder left its finished copy under another name."""
    ready = _ready(target)
    if ready.is_dir():
        if target.is_symlink():
            target.unlink()
        if not target.exists():
            ready.rename(target)


def _swap_file(link: Path, make: Callable[[Path], None]) -> None:
    """Replace `link` by what `make` puts at a temporary name: a reader sees the old or the new."""
    temporary = _partial(link)
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    make(temporary)
    temporary.replace(link)


def _verified_copy(source: Path, target: Path) -> None:
    """Copy, fsync, read both sides back and compare. Raises OSError when they differ."""
    shutil.copy2(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
        copied = hashlib.file_digest(file, "sha256").digest()
    with source.open("rb") as file:
        original = hashlib.file_digest(file, "sha256").digest()
    if copied != original:
        target.unlink()
        raise OSError(errno.EIO, f"the copy of {source} differs from it")
