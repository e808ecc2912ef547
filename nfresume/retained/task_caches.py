"""The task caches of a root: list, prune and sample them."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nfresume.retained import disposal, tidying
from nfresume.settings import Settings
from nfresume.storage import Root, removal, trash
from nfresume.store import Store, ledger
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


def remove(root: Root, cache: Cache, entries: Iterable[Entry], conf: Settings) -> int:
    """Remove entries, each by one rename, so that no task sees part of one. Returns how many were removed."""
    count = 0
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            with trash.folder(root, cache.account, FOLDER, entry.path.parent.name) as (root_fd, folder_fd):
                trash.put(root_fd, trash.TASKS, folder_fd, [entry.path.name])
                count += 1
        with contextlib.suppress(OSError):
            entry.path.parent.rmdir()
    if count:
        removal.empty_trash(root, trash.TASKS, pace=disposal.pace_of(conf))
    return count


def tidy(
    store: Store, conf: Settings, root: Root, stop: threading.Event, *, thorough: bool,
    only: str | None = None,
) -> None:
    """Prune and sample each task cache of a root, or that of one account. Raises OSError, RootUnusable.

    Unless `thorough`, a cache that was tidied within the hour is skipped.
    """
    for cache in accounts(root, only):
        if stop.is_set():
            return
        if not tidying.is_due(cache.path, thorough=thorough):
            continue
        entries = list(cache.entries())
        gone = {p.entry.path: p.entry for p in to_prune(entries, conf, time.time())}
        remove(root, cache, gone.values(), conf)
        _drop_abandoned(cache)
        sample(store, root, cache, (entry for entry in entries if entry.path not in gone))
        tidying.note(cache.path)


def sample(store: Store, root: Root, cache: Cache, entries: Iterable[Entry]) -> None:
    """Sample the cache: from now on it has these entries."""
    metered = sum(entry.metered for entry in entries)
    with store.begin() as tx:
        ledger.sample_cache(tx, root.id, cache.account, metered)


def _drop_abandoned(cache: Cache) -> None:
    """Remove entries that a crash left incomplete in the folder NEW."""
    for place in (cache.path / NEW).glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - os.lstat(place).st_mtime > _ABANDONED and not place.is_symlink():
                shutil.rmtree(place)
