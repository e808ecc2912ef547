"""Secure the results of an execution: afterwards nothing that was published needs its work dir.

This happens at every settlement, whatever becomes of the work dir, and once more before a deletion. On one
file system it costs nothing, and from then on the user may move, rename or unmount the results. Only the
holder of the attempt's lease, or of the claim on the deletion, does it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from nfresume.domain.errors import Conflict, NfresumeError
from nfresume.domain.executions import Execution
from nfresume.domain.retention import Hold
from nfresume.nextflow import kept_inputs, task_dirs
from nfresume.retained import disposal, published, scripted
from nfresume.storage import emptying
from nfresume.storage.looking import Bounds, Look, Seen
from nfresume.storage.publish import Materialised, Materialiser
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.scratch import Scratch
from nfresume.storage.workers import Pace
from nfresume.system import crashpoints, durable, regular

#: In an attempt's folder: nothing that it published needs the work dir any more.
SECURED = "secured.json"
#: In the last attempt's folder: a TSV file of published paths, with linked, copied, redirected or refused.
RESULTS = "results.tsv"
#: So many folders of results are looked through.
_MOST_FOLDERS = 1_000
#: So many paths are told by name.
_TOLD = 20
#: At a settlement that keeps the work dir, the look for the pipeline's own links is a short one.
_SHORT = Bounds(entries=50_000, files=1_000, seconds=5.0)
#: The clocks of the database and of file systems may differ by so many seconds.
_APART = 600.0


@dataclass(frozen=True)
class Secured:
    """What was done for the results, and what the look through the user's folders found."""

    results: Materialised
    seen: Seen

    @property
    def hold(self) -> Hold | None:
        """Why the work dir must not be deleted; None when nothing needs it."""
        count = self.results.refusals
        if not count:
            return None
        plural = "s" if count > 1 else ""
        return Hold(f"{count} published result{plural} would be lost with the work dir: "
                    f"{self.results.refused[0]}", passing=not self.results.vanished)

    @property
    def note(self) -> dict[str, Any]:
        """For the history; empty when there is nothing to tell."""
        counts = {how: getattr(self.results, how) for how in ("linked", "copied", "redirected", "left")}
        counts |= {"refused": self.results.refusals, "removed_by_user": self.results.missing}
        told: dict[str, Any] = {how: count for how, count in counts.items() if count}
        if self.results.refused:
            told["because"] = self.results.refused[0]
        if self.results.shortcut_count:
            told |= {"links_to_task_dirs": self.results.shortcut_count,
                     "such_links": self.results.shortcuts[:_TOLD]}
        if self.seen.naming_count:
            told |= {"files_that_name_the_work_dir": self.seen.naming_count, "such_as": self.seen.naming}
        if not self.seen.complete:
            told["looked_at"] = self.seen.entries
        return told


def secure(
    folder: ExecutionFolder, execution: Execution, pace: Pace, *, heartbeat: Callable[[], None],
    succeeded: bool, deleting: bool,
) -> Secured:
    """Materialise what all attempts published, and links into the work dir that the pipeline made itself.

    `succeeded`: the last attempt did, so each path that it published must be there. `deleting`: the work dir
    goes next. Only for a success and before a deletion are results copied to other file systems. What lies in
    a failed task's dir always is: a relaunch sets that dir aside, and slim retention empties it.
    `heartbeat` is called several times a second; what it raises ends the work. Nothing is deleted.
    """
    try:
        scratch = _scratch(folder, execution)
    except Conflict as e:  # it is not known which files keep no content
        result = Materialised()
        result.refuse(e.message)
        return Secured(result, Seen())
    place = folder.attempt(execution.attempt)
    with _report(place / RESULTS) as report:
        materialiser = Materialiser(
            scratch, pace, heartbeat=heartbeat, copy=succeeded or deleting,
            goes_early=_InFailedTasks(scratch, folder, execution.attempt),
            done=lambda path, how: _tell(report, path, how))
        readers = pace.readers(folder.work)
        places = _secure_published(
            folder, execution, materialiser,
            lambda number, tasks: scripted.folders(
                folder, number, tasks, execution.launch_dir, readers, heartbeat), succeeded=succeeded)
        bounds = Bounds() if deleting or succeeded else _SHORT
        look = Look(materialiser, scratch.work, scratch.root, _oldest(folder, execution), bounds, readers,
                    heartbeat)
        outputs = [path for place in places for path in place.folders]
        seen = look.through([execution.launch_dir, *outputs], _named(folder, execution))
        look.limit(_SHORT)  # a script may name all that a site has
        look.directly_in(path for place in places for path in place.around)
        look.through([], (path for place in places for path in place.below))
        for line in materialiser.result.refused:
            _tell(report, line, "refused")
    crashpoints.reach("results-materialised")
    return Secured(materialiser.result, seen)


def any_refused(folder: ExecutionFolder, number: int) -> bool:
    """True when something that an attempt made could not be made independent of the work dir, at any time."""
    try:
        with open(folder.attempt(number) / RESULTS, errors="surrogateescape",
                  opener=regular.opener) as report:
            return any(line.endswith("\trefused\n") for line in report)
    except OSError:
        return False


class _InFailedTasks:
    """Tells whether a path lies in the dir of a task that failed or was aborted.

    The records are read when it is asked for the first time.
    """

    def __init__(self, scratch: Scratch, folder: ExecutionFolder, attempts: int) -> None:
        self._work = scratch.work
        self._failed = functools.cache(lambda: disposal.failed_task_dirs(folder, attempts))
        self._lock = threading.Lock()

    def __call__(self, path: str) -> bool:
        with self._lock:
            failed = self._failed()
        return task_dirs.of_path(path, self._work) in failed


@dataclass(frozen=True)
class _Places:
    """Folders in which an attempt may have made something: `folders` have results and other outputs; for the
    others see `scripted.Folders`. `succeeded`: it ended well by its own record."""

    succeeded: bool = False
    folders: Sequence[str] = ()
    below: Sequence[str] = ()
    around: Sequence[str] = ()


def _secure_published(
    folder: ExecutionFolder, execution: Execution, materialiser: Materialiser,
    read_scripts: Callable[[int, Iterable[str]], scripted.Folders], *, succeeded: bool,
) -> list[_Places]:
    """Secure attempt by attempt; returns where they made something."""
    places: list[_Places] = []
    doubts: list[str] = []
    for number in range(1, execution.attempt + 1):
        marker = folder.attempt(number) / SECURED
        fresh: Sequence[str] = ()
        if (done := _read(marker)) is None:
            found, result = published.of_attempt(folder, number), materialiser.result
            before, fresh = (result.refusals, result.left), found.doubts
            for path in found.folders:
                if materialiser.scratch.goes_with_it(os.path.realpath(path)):
                    result.refuse(f"{path}: outputs are stored inside the work dir itself, or beside it in a "
                                  "folder that goes with it")
            folders = topmost([*materialiser.run(
                found.targets, must_exist=succeeded and number == execution.attempt), *found.folders])
            named = read_scripts(number, found.tasks)
            done = _Places(found.succeeded, folders, sorted(named.below), sorted(named.around))
            if (result.refusals, result.left) == before and not found.doubts:
                with contextlib.suppress(OSError):  # a full disk: it is done again before a deletion
                    durable.write(marker, json.dumps(asdict(done)).encode())
        if done.succeeded:
            doubts.clear()  # it has published again whatever earlier attempts had published
        doubts += fresh
        places.append(done)
    for doubt in doubts:
        materialiser.result.refuse(doubt)
    return places


def _oldest(folder: ExecutionFolder, execution: Execution) -> float:
    """The oldest time, in seconds, that a file of this execution can have.

    0 if its records are older than itself: a clock was wrong, or it was adopted.
    """
    begun = execution.created_at.timestamp() - _APART
    for number in range(1, execution.attempt + 1):
        with contextlib.suppress(OSError), os.scandir(folder.attempt(number)) as records:
            if any(record.stat(follow_symlinks=False).st_mtime < begun for record in records):
                return 0.0
    return begun


def _named(folder: ExecutionFolder, execution: Execution) -> set[str]:
    """The folders that parameters name, such as `--outdir`: a pipeline may have made links there itself."""
    found: set[str] = set()
    for number in range(1, execution.attempt + 1):
        asked = folder.request(number) or {}
        with contextlib.suppress(NfresumeError, OSError, ValueError):  # unreadable words name nothing
            values = kept_inputs.requested(folder.attempt(number), asked)
            found |= {os.path.join(execution.launch_dir, value) for value in values.values()}
    return {path for path in found if os.path.isdir(path)}


def _read(marker: Path) -> _Places | None:
    try:
        return _Places(**regular.document(marker))
    except (OSError, ValueError, TypeError):
        return None


def topmost(folders: Iterable[str]) -> list[str]:
    """Folders without those that lie in another of them, at most 1,000."""
    chosen: list[str] = []
    for folder in sorted(set(folders)):
        if not chosen or not f"{folder}/".startswith(f"{chosen[-1]}/"):
            chosen.append(folder)
    return chosen[:_MOST_FOLDERS]


def _scratch(folder: ExecutionFolder, execution: Execution) -> Scratch:
    """The work dir, also under the paths that it had when links were made: its root may have moved."""
    paths = {execution.work_dir.path}
    for number in range(1, execution.attempt + 1):
        paths.add((folder.request(number) or {}).get("work_dir", execution.work_dir.path))
    former = tuple(sorted(paths - {str(folder.work)}))
    emptied = frozenset(entry.inode for entry in emptying.load(folder.cache))
    return Scratch(execution.id, os.path.realpath(folder.work), os.path.realpath(folder.root.path), former,
                   emptied)


@contextmanager
def _report(path: os.PathLike[str]) -> Iterator[TextIO | None]:
    """The report, to be added to; None when it cannot be written: a full disk must not keep results."""
    file: TextIO | None = None
    with contextlib.suppress(OSError):
        file = open(path, "a", errors="surrogateescape", opener=regular.opener)  # noqa: SIM115 (closed below, errors suppressed)
        if file.tell() == 0:
            file.write("path\thow\n")
    yield file
    if file is not None:
        with contextlib.suppress(OSError):
            file.close()


def _tell(report: TextIO | None, path: str, how: str) -> None:
    if report is not None:
        escaped = path.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
        with contextlib.suppress(OSError):
            report.write(f"{escaped}\t{how}\n")
