"""Materialise published results, so that they survive their work dir (ARCHITECTURE.md, rule 3).

By default Nextflow publishes a symlink into the work dir. Each such link in the folders of the results is
replaced atomically by the real file. On one file system that is a hard link: the work dir stays complete
until it is removed, so a crash or a lost race costs nothing. Across file systems it is a verified, fsynced
copy. A link that passes through the work dir and ends outside the root is replaced by a link to its final
target.

What cannot be seen is not gone: a published path that is missing counts as removed by the user only when its
folder is the very one into which it was published.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from nfresume.storage import replacing
from nfresume.storage.replacing import LinkReplacer
from nfresume.storage.scratch import Scratch
from nfresume.storage.workers import Pace, WorkerPool
from nfresume.system import crashpoints, durable
from nfresume.system.filesystems import FolderId, folder_id

Unit = TypeVar("Unit")

#: So many published paths are held in memory at once.
_BATCH = 20_000
#: So many reasons are kept; the others are counted.
_REASONS = 100
_PERHAPS = "(moved, removed, not mounted, or of another host)"
#: A moved folder is looked for among so many neighbours.
_NEIGHBOURS = 10_000


@dataclass(frozen=True)
class Target:
    """A published path, with its folder's identity at publication (None: it was never seen)."""

    path: str
    folder: FolderId | None = None


@dataclass
class Materialised:
    """What happened to the published paths.

    `linked`, `copied`, `redirected` and `left` count them; `left` are links that only a copy could replace,
    and none was asked for. `missing` counts paths that the user removed. `refused` are lines "path: reason"
    (at most 100 of `refusals`) of those that could not be materialised or seen: the work dir must be kept.
    `vanished`: some of them must be there and are not, which no later look will change.
    `shortcuts` are links to whole task dirs, at most 100 of `shortcut_count`: they are no results, and stay.
    """

    linked: int = 0
    copied: int = 0
    redirected: int = 0
    left: int = 0
    missing: int = 0
    refusals: int = 0
    refused: list[str] = field(default_factory=list)
    vanished: bool = False
    left_ends: set[str] = field(default_factory=set)
    shortcut_count: int = 0
    shortcuts: list[str] = field(default_factory=list)

    def refuse(self, line: str) -> None:
        """Add a reason why the work dir must be kept."""
        self.refusals += 1
        if len(self.refused) < _REASONS:
            self.refused.append(line)

    @property
    def complete(self) -> bool:
        """True when no published path needs the work dir any more."""
        return not self.refusals and not self.left


def materialise(
    targets: Iterable[Target], scratch: Scratch, pace: Pace | None = None, *,
    heartbeat: Callable[[], None] = lambda: None, copy: bool = True, must_exist: bool = False,
    done: Callable[[str, str], None] = lambda _path, _how: None,
) -> Materialised:
    """Make published paths independent of the work dir of `scratch`. Safe to repeat after a crash.

    `copy` allows copies across file systems. `must_exist`: a missing path is refused, whoever removed it.
    `heartbeat` is called several times a second; what it raises ends the work. `done` is told each path that
    changed, and how (linked, copied, redirected).
    """
    materialiser = Materialiser(scratch, pace or Pace(), heartbeat=heartbeat, copy=copy, done=done)
    materialiser.run(targets, must_exist=must_exist)
    return materialiser.result


class Materialiser:
    """Materialises links into one work dir; see `materialise`."""

    def __init__(
        self, scratch: Scratch, pace: Pace, *, heartbeat: Callable[[], None] = lambda: None,
        copy: bool = True, goes_early: Callable[[str], bool] = lambda _source: False,
        done: Callable[[str, str], None] = lambda _path, _how: None,
    ) -> None:
        self.scratch = scratch
        self._copy, self._goes_early = copy, goes_early
        self._replacer = LinkReplacer(scratch, self._may_copy)
        self._workers = pace.removers(Path(scratch.work))
        self._heartbeat = heartbeat
        self._done = done
        self._lock = threading.Lock()
        self._busy: dict[str, threading.RLock] = {}  # by folder, free of links
        self.result = Materialised()
        self._visited: set[str] = set()
        self._moved: dict[str, str] = {}  # folder as published -> where it is now
        self._foreign: set[str] = set()  # folders that are others than at publication
        self._must_exist = False

    def run(self, targets: Iterable[Target], *, must_exist: bool = False) -> set[str]:
        """Materialise published paths, and every other link into the work dir in their folders.

        Returns these folders, as published.
        """
        self._must_exist = must_exist
        all_folders: set[str] = set()
        waiting = iter(targets)
        while batch := list(islice(waiting, _BATCH)):
            folders: dict[str, list[Target]] = {}
            for target in batch:
                folders.setdefault(os.path.dirname(target.path), []).append(target)
            all_folders.update(folders)
            # The ways to them first: after that no folder on the way is a link into the work dir.
            reachable = [(at, found) for at, found in folders.items() if self._reach(at, found)]
            self._each(lambda unit: self._folder(*unit), reachable)
        return all_folders

    def links(self, folder: str, links: list[str]) -> None:
        """Materialise those of a folder's links that lead into the work dir; nobody told of them."""
        if not {f"{folder}/", f"{folder}//"} & self._visited:
            self._replace_all(folder, sorted(links), told=False)

    def _each(self, work: Callable[[Unit], None], units: list[Unit]) -> None:
        never = threading.Event()  # never set: this does not pause, a half-materialised folder has no use
        WorkerPool(self._workers, never, work).run(units, self._heartbeat)

    # -- the way to a folder --------------------------------------------------------------------

    def _reach(self, folder: str, targets: list[Target]) -> bool:
        """Materialise each parent that is a link into the work dir; False when the folder cannot be used."""
        try:
            for parent in [*reversed(Path(folder).parents), Path(folder)]:
                link = str(parent)
                if link not in self._visited and os.path.islink(link) and self._replacer.leads_inside(link):
                    self._replace_all(os.path.dirname(link), [link], told=True, named=True)
                self._visited.add(link)
            if self.scratch.goes_with_it(self.scratch.resolve(folder)):
                self._refuse(targets[0].path, "published inside the work dir itself, or beside it in a "
                             "folder that goes with it")
                return False
            return self._is_there(folder, targets)
        except OSError as e:
            self._refuse(folder, e)
            return False

    def _is_there(self, folder: str, targets: list[Target]) -> bool:
        """True when the folder can be looked into; it may have moved, or be another than at publication."""
        known = next((t.folder for t in targets if t.folder is not None), None)
        try:
            there = folder_id(folder)
        except (FileNotFoundError, NotADirectoryError):
            there = None
        if there is not None and (known is None or there.matches(known)):
            return True
        if known is None and not self._must_exist:
            return False  # it was never there: nothing was published into it
        if known is not None and (moved := _neighbour(folder, known)):
            self._moved[folder] = moved
            return True
        if there is None:
            self.result.vanished |= known is None
            self._refuse(folder, f"is not there {_PERHAPS}")
            return False
        self._foreign.add(folder)
        return True

    # -- in a folder ----------------------------------------------------------------------------

    @contextmanager
    def _alone(self, folder: str) -> Iterator[None]:
        """One worker at a time in a folder: another would clean up what the first is making there."""
        real = os.path.realpath(folder)
        with self._lock:
            busy = self._busy.setdefault(real, threading.RLock())
        with busy:
            yield

    def _folder(self, folder: str, targets: list[Target]) -> None:
        here = self._moved.get(folder, folder)
        with self._alone(here):
            self._published_in(folder, here, targets)

    def _published_in(self, folder: str, here: str, targets: list[Target]) -> None:
        names = {os.path.basename(target.path) for target in targets}
        changed = False
        for name in names:
            path = os.path.join(here, name)
            try:
                mode = os.lstat(path).st_mode
                if folder in self._foreign and not self._is_ours(path, mode):
                    raise FileNotFoundError
            except FileNotFoundError:
                if folder in self._foreign:
                    self._refuse(folder, f"is another folder than at publication {_PERHAPS}")
                    break
                self._missing(path)
            except OSError as e:
                self._refuse(path, e)
            else:
                changed |= self._published(path, mode)
        if changed:
            self._sync(here)
        with self._lock:
            first = f"{here}/" not in self._visited
            self._visited.add(f"{here}/")
        if first:  # links that the log did not tell of
            self._links_alone(here, told=False, but=names)

    def _is_ours(self, path: str, mode: int) -> bool:
        """True for a link into the work dir: whatever the folder is now, this is what was published."""
        return stat.S_ISLNK(mode) and self._replacer.leads_inside(path)

    def _published(self, path: str, mode: int) -> bool:
        """Materialise a link, or the links in a folder; True when the folder around it has to be synced."""
        if stat.S_ISLNK(mode):
            return self._replace(path, told=True, named=True)
        if stat.S_ISDIR(mode):
            waiting = [path]
            while waiting:
                folder = waiting.pop()
                with self._lock:
                    if (seen := f"{folder}//") in self._visited:
                        continue
                    self._visited.add(seen)
                waiting += self._links_in(folder, told=True)
        return False

    def _missing(self, path: str) -> None:
        if self._must_exist:
            self.result.vanished = True
            self._refuse(path, "was published, and is not there")
        else:
            with self._lock:
                self.result.missing += 1

    def _links_in(self, folder: str, *, told: bool, but: Collection[str] = ()) -> list[str]:
        """Materialise every link directly in a folder, `but` some by name; returns its subfolders.

        `told`: the folder, or what is in it, was published, so that what cannot be seen is refused.
        """
        with self._alone(folder):
            return self._links_alone(folder, told=told, but=but)

    def _links_alone(self, folder: str, *, told: bool, but: Collection[str]) -> list[str]:
        try:
            links, below, unfinished = _list(folder)
            if unfinished:
                replacing.clean_up(folder, self.scratch.execution_id)
                links, below, _ = _list(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as e:
            self._refuse(folder, e)
            return []
        chosen = sorted(link for link in links if os.path.basename(link) not in but)
        self._replace_all(folder, chosen, told=told)
        return below

    def _replace_all(self, folder: str, links: list[str], *, told: bool, named: bool = False) -> None:
        """Replace links of one folder and fsync it; only then may the work dir be deleted."""
        if not told:
            links = _without_planted(folder, links)
        if sum(self._replace(link, told=told, named=named) for link in links):
            self._sync(folder)

    def _sync(self, folder: str) -> None:
        try:
            durable.fsync_folder(folder)
        except OSError as e:
            self._refuse(folder, e)

    def _replace(self, link: str, *, told: bool, named: bool) -> bool:
        """Replace a link; True when the folder around it changed. `named`: it was published itself."""
        try:
            how = self._replacer.replace(link, None if told else self._concerns_us)
        except FileNotFoundError as e:
            if named:
                self._refuse(link, e)
            return False  # it leads nowhere, and did so before: nothing can be lost
        except OSError as e:
            self._refuse(link, e)
            return False
        if how is None:
            return False
        crashpoints.reach("results-half-materialised")
        with self._lock:
            setattr(self.result, how, getattr(self.result, how) + 1)
            if how != "left":
                self._done(link, how)
        return how != "left"

    def _concerns_us(self, link: str, end: str) -> bool:
        """Of a link to `end` that nobody told us of: False for a link to a whole task dir, which is counted.

        Somebody else's link into what we may not see is none of our business.
        """
        if not self.scratch.is_task_dir(end):
            return True
        with self._lock:
            self.result.shortcut_count += 1
            if self.result.shortcut_count <= _REASONS:
                self.result.shortcuts.append(link)
        return False

    def _may_copy(self, end: str) -> bool:
        """Whether the final target of a link may be copied. Otherwise the link stays, and needs it."""
        if self._copy or self._goes_early(end):
            return True
        with self._lock:
            self.result.left_ends.add(end)
        return False

    def _refuse(self, path: str, reason: str | OSError) -> None:
        if isinstance(reason, OSError):
            reason = reason.strerror or str(reason)
        with self._lock:
            self.result.refuse(f"{path}: {reason}")


def _without_planted(folder: str, links: list[str]) -> list[str]:
    """Where all may write, as in /tmp, no link of somebody else counts, unless what it leads to is his.

    The kernel trusts there as little (fs.protected_symlinks).
    """
    all_may_write = stat.S_ISVTX | stat.S_IWOTH
    try:
        found = os.stat(folder)
    except OSError:
        return links
    if found.st_mode & all_may_write != all_may_write:
        return links
    ours = (os.geteuid(), found.st_uid)
    return [link for link in links
            if (owner := _owner(link, os.lstat)) in ours or owner == _owner(link, os.stat)]


def _owner(path: str, look: Callable[[str], os.stat_result]) -> int | None:
    try:
        return look(path).st_uid
    except OSError:
        return None


def _list(folder: str) -> tuple[list[str], list[str], bool]:
    """The links and the subfolders of a folder, and whether unfinished replacements lie there."""
    links, below, unfinished = [], [], False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(replacing.PREFIX):
                unfinished = True
            elif entry.is_symlink():
                links.append(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
    return links, below, unfinished


def _neighbour(folder: str, known: FolderId) -> str | None:
    """Where a folder is that was renamed within its parent: `mv results archive`."""
    parent = os.path.dirname(folder)
    try:
        with os.scandir(parent) as entries:
            for entry in islice(entries, _NEIGHBOURS):
                if entry.inode() == known.inode and entry.is_dir(follow_symlinks=False) and folder_id(
                        entry.path).matches(known):
                    return entry.path
    except OSError:
        return None
    return None
