"""The task caches of a root: list, prune and sample them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nfresume.domain.errors import Conflict
from nfresume.retained import disposal, tidying
from nfresume.settings import Settings
from nfresume.storage import Root, removal, trash
from nfresume.store import Store, clock, ledger
from nfresume.tasks.cache import FOLDER, NEW, Cache, Entry

#: An incomplete entry older than this is taken for abandoned; seconds.
_ABANDONED = 86_400.0


@dataclass(frozen=True)
class Pruned:
    """An entry to remove, and why."""

    entry: Entry
    reason: str


def accounts(root: Root, only: str | None = None) -> Iterator[Cache]:
    """The cache of each account that has one in a root, or of one account."""
    for place in sorted(root.path.glob(f"{only or '*'}/{FOLDER}")):
        if place.is_dir() and not place.is_symlink():
            yield Cache(place.parent, place.parent.name)


def to_prune(cached: Iterable[Entry], conf: Settings, now: float) -> list[Pruned]:
    """Entries unused for task_cache_hours; if the rest exceeds task_cache_limit, also the longest unused.

    `now` is a POSIX timestamp.
    """
    entries = sorted(cached, key=lambda e: e.used_at)
    oldest = now - conf.task_cache_hours * 3600
    found = [Pruned(e, f"not used for {conf.task_cache_hours:g} h") for e in entries if e.used_at < oldest]
    kept = entries[len(found):]
    held = sum(e.metered for e in kept)
    for entry in kept if conf.task_cache_limit is not None else ():
        if held <= (conf.task_cache_limit or 0):
            break
        held -= entry.metered
        found.append(Pruned(entry, "the cache is over its limit, and this was not used for longest"))
    return found


def prunable(store: Store, conf: Settings, cached: Iterable[Entry]) -> list[Pruned]:
    """What is to prune now. Raises Conflict while the clock may be ahead."""
    if (now := clock.believed(store)) is None:
        raise Conflict("the clock went ahead: nothing is pruned for a day, in case it is wrong",
                       "correct it, or remove entries with `nfresume cache clear`")
    return to_prune(cached, conf, now.timestamp())


def remove(root: Root, cache: Cache, entries: Iterable[Entry], conf: Settings) -> int:
    """Remove entries, each by one rename, so that no task sees part of one. Returns how many were removed."""
    count = 0
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            with trash.folder(root, cache.account, FOLDER, entry.path.parent.name) as (root_fd, folder_fd):
                _take_out(root_fd, folder_fd, cache, entry)
                count += 1
        with contextlib.suppress(OSError):
            entry.path.parent.rmdir()
    if count:
        removal.empty_trash(root, trash.TASKS, pace=disposal.pace_of(conf))
    return count


def _take_out(root_fd: int, folder_fd: int, cache: Cache, entry: Entry) -> None:
    try:
        trash.put(root_fd, trash.TASKS, folder_fd, [entry.path.name])
    except OSError as e:
        if e.errno != errno.EXDEV:  # the cache is on a file system of its own, where the trash is not
            raise
        cache.forget(entry.key)


def tidy(
    store: Store, conf: Settings, root: Root, stop: threading.Event, *, thorough: bool,
    only: str | None = None,
) -> None:
    """Prune and sample each task cache of a root, or that of one account. Raises OSError, RootUnusable.

    Nothing is done while the clock may be ahead, nor, unless `thorough`, to a cache tidied within the hour.
    """
    for cache in accounts(root, only):
        if stop.is_set():
            return
        if not tidying.is_due(cache.path, thorough=thorough):
            continue
        if (now := clock.believed(store)) is None:
            return
        entries = list(cache.entries())
        gone = {p.entry.path: p.entry for p in to_prune(entries, conf, now.timestamp())}
        remove(root, cache, gone.values(), conf)
        _drop_abandoned(cache, now.timestamp())
        sample(store, root, cache, (entry for entry in entries if entry.path not in gone))
        tidying.note(cache.path)


def sample(store: Store, root: Root, cache: Cache, entries: Iterable[Entry]) -> None:
    """Sample the cache: from now on it has these entries."""
    metered = sum(entry.metered for entry in entries)
    with store.begin() as tx:
        ledger.sample_cache(tx, root.id, cache.account, metered)


def _drop_abandoned(cache: Cache, now: float) -> None:
    """Remove entries that a crash left incomplete in the folder NEW."""
    for place in (cache.path / NEW).glob("*"):
        with contextlib.suppress(OSError):
            if now - os.lstat(place).st_mtime > _ABANDONED and not place.is_symlink():
                shutil.rmtree(place)
