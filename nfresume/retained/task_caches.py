"""The task caches of a root: what is in them, what goes, what they hold over time."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nfresume.retained import disposal
from nfresume.settings import Settings
from nfresume.storage import Root, removal, trash
from nfresume.store import Store, ledger
from nfresume.tasks.cache import FOLDER, NEW, Cache, Entry

#: What was begun so long ago and is not whole will not be; seconds.
_ABANDONED = 86_400.0
#: In the folder of a cache: when all of it was last looked at; and how often a server does so, in seconds.
_TIDIED, _TIDY_SECONDS = ".tidied", 3600.0


@dataclass(frozen=True)
class Pruned:
    """An entry that goes, and why."""

    entry: Entry
    reason: str


def accounts(root: Root) -> Iterator[Cache]:
    """The cache of each account that has one in a root."""
    for place in sorted(root.path.glob(f"*/{FOLDER}")):
        if place.is_dir() and not place.is_symlink():
            yield Cache(place.parent, place.parent.name)


def to_prune(cached: Iterable[Entry], conf: Settings, now: float) -> list[Pruned]:
    """Entries that were not used for task_cache_hours; then, over the limit, those not used for longest."""
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
    """Take entries away, each by one rename, so that nobody finds a part of one. Returns how many went."""
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


def tidy(store: Store, conf: Settings, root: Root, stop: threading.Event, *, thorough: bool) -> None:
    """What a sweep does in a root: prune each cache, note what each holds. Raises OSError, RootUnusable.

    Every entry is read for that: unless `thorough`, a cache that was looked at lately is passed over.
    """
    for cache in accounts(root):
        if stop.is_set():
            return
        tidied = cache.path / _TIDIED
        if not thorough and tidied.exists() and time.time() - tidied.stat().st_mtime < _TIDY_SECONDS:
            continue
        entries = list(cache.entries())
        gone = {p.entry.path: p.entry for p in to_prune(entries, conf, time.time())}
        remove(root, cache, gone.values(), conf)
        _drop_abandoned(cache)
        note(store, root, cache, (entry for entry in entries if entry.path not in gone))
        tidied.touch()


def note(store: Store, root: Root, cache: Cache, entries: Iterable[Entry]) -> None:
    """From now on the cache holds these entries."""
    metered = sum(entry.metered for entry in entries)
    with store.begin() as tx:
        ledger.sample_cache(tx, root.id, cache.account, metered)


def _drop_abandoned(cache: Cache) -> None:
    """Entries that a crash left half written; they were never in their place."""
    for place in (cache.path / NEW).glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - os.lstat(place).st_mtime > _ABANDONED and not place.is_symlink():
                shutil.rmtree(place)
