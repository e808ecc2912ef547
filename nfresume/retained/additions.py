"""What users have added to published folders: a relaunch must not lose it.

Nextflow publishes a folder as a link into the work dir, and after a failure a real folder takes the link's
place. A resume that may overwrite results removes that folder with all that is in it, and publishes a link.
With plain Nextflow it finds its own link, and leaves it. So what was added gets a second name in the records
before the relaunch, by hard links, and is put back when the attempt has ended, where it is missing.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from nfresume.nextflow import reading, record
from nfresume.storage import replacing
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.workers import WorkerPool
from nfresume.system import trees

#: In an attempt's folder: for each published folder a link to it, and what was added to it.
_KEPT, _TARGET, _ADDED = "additions", "target", "added"
#: Nextflow replaces what it has published by one of these by another link.
_LINKS = ("SYMLINK", "RELLINK")
#: So many published paths are held in memory at once.
_BATCH = 20_000


def keep(folder: ExecutionFolder, number: int, workers: int, heartbeat: Callable[[], None]) -> None:
    """Keep for attempt `number` what was added to folders that earlier ones have published.

    What cannot be linked, as on another file system, is not kept.
    """
    published: dict[str, str] = {}
    place = folder.attempt(number) / _KEPT

    def look(line: record.Published) -> None:
        if os.path.isdir(line.target) and not os.path.islink(line.target):
            published[line.target] = line.source

    for earlier in range(1, number):  # the last one has made the folder that is there
        lines = (line for line in reading.lines(folder.attempt(earlier), kinds=(record.Published,))
                 if isinstance(line, record.Published) and line.mode in _LINKS)
        while batch := list(islice(lines, _BATCH)):
            WorkerPool(workers, threading.Event(), look).run(batch, heartbeat)
    for at, (target, source) in enumerate(published.items()):
        heartbeat()
        with contextlib.suppress(OSError):
            if os.path.isdir(source):
                try:
                    _keep(target, source, str(place / str(at) / _ADDED))
                finally:
                    if (place / str(at)).is_dir():
                        os.symlink(target, place / str(at) / _TARGET)


def _keep(target: str, source: str, added: str) -> None:
    waiting = [(target, source, added)]
    while waiting:
        here, there, kept = waiting.pop()
        known: set[str] = set()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            known.update(os.listdir(there))
        with os.scandir(here) as entries:
            for entry in entries:
                mine, is_folder = f"{kept}/{entry.name}", entry.is_dir(follow_symlinks=False)
                if entry.name not in known and not entry.name.startswith(replacing.PREFIX):
                    os.makedirs(mine if is_folder else kept, exist_ok=True)
                    if not is_folder:
                        os.link(entry.path, mine, follow_symlinks=False)
                if is_folder:
                    waiting.append((entry.path, f"{there}/{entry.name}", mine))


def put_back(attempt_dir: Path) -> None:
    """Put back what `keep` has kept for an attempt and is not there any more. Safe to repeat.

    Where a published folder is gone, it comes back with what was added: Nextflow may have got no further than
    to remove it. What cannot be put back stays in the records.
    """
    place = attempt_dir / _KEPT
    with contextlib.suppress(FileNotFoundError):
        for each in sorted(place.iterdir()):
            with contextlib.suppress(OSError):
                _put_back(os.readlink(each / _TARGET), str(each / _ADDED))
                trees.remove(str(each))
        with contextlib.suppress(OSError):
            place.rmdir()


def _put_back(target: str, added: str) -> None:
    if not os.path.isdir(target):
        os.mkdir(target)  # not its parents: they may be on a mount that is away
    for above, folders, names in os.walk(added):
        there = target + above.removeprefix(added)
        for name in folders:
            os.makedirs(f"{there}/{name}", exist_ok=True)
        for name in names:
            if not os.path.lexists(f"{there}/{name}"):
                os.link(f"{above}/{name}", f"{there}/{name}", follow_symlinks=False)
