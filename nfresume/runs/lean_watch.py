"""Watch an attempt for anything that needs a file which lean retention has emptied.

What it needed is kept in its records (`lean_needs`); the next attempt makes that again.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from typing import Any

from nfresume.nextflow import command, evidence, guard, mentions, reading, record, reuse, sources, task_dirs
from nfresume.nextflow.mentions import Named
from nfresume.nextflow.record import Status, Task
from nfresume.nextflow.summary import Summary
from nfresume.runs import lean_doubts, lean_needs
from nfresume.runs.lean import aliases
from nfresume.runs.lean_needs import Needs
from nfresume.storage import emptying
from nfresume.storage.emptying import Emptied
from nfresume.storage.root import ExecutionFolder
from nfresume.system import descriptors, regular

#: Emptied files are looked at when tasks have ended, but at most for this part of the time.
_LOOK_SHARE = 0.05
_LOOK_SECONDS = 1.0
_DENIED = re.compile("[Pp]ermission denied|AccessDenied|EACCES")
#: What a task may say of a file: that, or the path of a task dir.
_TELLING = re.compile(f"{_DENIED.pattern}|[0-9a-f]{{2}}/[0-9a-f]{{30}}".encode())
#: So many files and processes are named in the history.
_TOLD = 20


class Watch:
    """Watches attempt `number` for anything that needs an emptied file."""

    def __init__(self, folder: ExecutionFolder, number: int, pipeline: str = "") -> None:
        self._folder = folder
        self._pipeline = pipeline
        self._number = number
        self._dir = folder.attempt(number)
        self._entries: list[Emptied] | None = None
        self._armed = False
        self._looked = 0.0
        self._ended = -1
        self._took = 0.0

    @property
    def active(self) -> bool:
        """True when the guard was armed for this attempt."""
        if self._entries is None:
            self.look_again()
        return self._armed

    def look_again(self) -> None:
        """Read what is emptied, now that this may have changed. Raises Conflict, OSError."""
        self._armed = (self._dir / guard.LIST).exists()
        listed = emptying.load(self._folder.cache) if self._armed else []
        found = [*(self._entries or ()), *emptying.finish(self._folder.work, listed, whole=False)]
        self._entries = list({entry.path: entry for entry in found}.values())  # also what was moved meanwhile

    def must_end(self, log: Summary) -> bool:
        """True when the attempt must end now. `log` is what is recorded of it so far."""
        if not self.active or not self._entries:
            return False
        if guard.is_needed(self._dir) or log.executors - guard.EXECUTORS:
            return True
        counts = log.counts
        ended = counts.succeeded + counts.failed + counts.ignored + counts.retried
        now = time.monotonic()
        if ended == self._ended or now - self._looked < max(_LOOK_SECONDS, self._took / _LOOK_SHARE):
            return False
        self._ended, self._looked = ended, now
        found = self._were_read()
        self._took = time.monotonic() - now
        return bool(found)

    def _were_read(self, *, fresh: bool = False) -> list[Emptied]:
        return emptying.were_read(self._folder.work, self._entries or (), fresh=fresh)

    def conclude(self, log: Summary) -> Needs:
        """What the attempt needed, now that its head has ended; kept durably. Raises OSError, Conflict."""
        needs = Needs()
        if not self.active:
            return needs
        if not self._entries:
            lean_needs.save(self._dir, needs)
            return needs
        files = {entry.path for entry in self._entries}
        needs.named = guard.needed(self._dir)
        if log.executors - guard.EXECUTORS or self._doubt_of_what_was_pulled():
            needs.named |= files
        failure = log.failure
        texts = [*log.unpublished, *((failure.text, *failure.lines) if failure is not None else ())]
        needs.named |= self._files_in("\n".join([*texts, *self._denials()]), files)
        needs.read = {entry.path for entry in self._were_read(fresh=True)}
        ran: dict[str, Task] = {}
        taken: set[str] = set()  # moved to the results by Nextflow, and withdrawn there
        for line in reading.lines(self._dir):
            if isinstance(line, record.Published):
                found = self._published(line)
                needs.named |= found
                taken |= found if line.mode == "MOVE" else set()
            elif isinstance(line, Task) and line.dir and line.status not in (Status.CACHED, Status.STORED):
                ran[line.dir] = line
        needs.moved = {entry.path for entry in emptying.gone(self._folder.work, self._entries)} - taken
        for task in ran.values():
            self._look_at(task, files, needs)
        if needs.named:
            meant = Named(needs.named)
            needs.named |= {target for alias, target in aliases(self._folder.work, files) if alias in meant}
        if needs.got or needs.readers:  # others may have used what these have made
            needs.readers |= {task.dir for task in ran.values() if task.status is Status.COMPLETED}
        lean_needs.save(self._dir, needs)
        return needs

    def _doubt_of_what_was_pulled(self) -> str:
        """Why no file should have been empty. Code that was here before was looked at before the start."""
        if sources.kept(self._dir) is not None:
            return ""
        return lean_doubts.doubt(self._folder, self._pipeline, self._number)

    def _denials(self) -> Iterator[str]:
        """Lines of Nextflow's log that say that a file could not be read.

        What a handler such as `workflow.onComplete` cannot read changes neither exit status nor state.
        """
        with contextlib.suppress(FileNotFoundError), open(
                self._dir / command.LOG, errors="replace", opener=regular.opener) as log:
            yield from (line for line in log if _DENIED.search(line))

    def _published(self, line: record.Published) -> set[str]:
        """The emptied files that were published. What leads to them is removed: the next attempt publishes.

        A link is published without a read. So the user would get a file without content.
        """
        work, real = str(self._folder.work), os.path.realpath(self._folder.work)
        source = os.path.realpath(line.source)
        if not source.startswith((f"{work}/", f"{real}/")):
            return set()
        named = Named([source[len(real) + 1:]])
        found = [entry for entry in self._entries or () if entry.path in named]
        if found and "://" not in line.target:
            emptying.withdraw(line.target, real, found)
        return {entry.path for entry in found}

    def _look_at(self, task: Task, files: set[str], needs: Needs) -> None:
        """A task that the guard has ended, or that was denied a file, has needed it.

        A task at which the guard did not look may have needed all of them. One that says the name of a file
        which nothing else names has found the path by itself. One that has completed although it was denied
        a file has, too: a file that is made again may have another path.
        """
        denied: set[str] = set()
        said: set[str] = set()
        guarded = True
        with contextlib.suppress(OSError):
            with descriptors.of(self._folder.work) as work, evidence.task_dir(work, task.dir) as place:
                if task.exit == guard.STATUS:
                    texts = [self._text(place, name) for name in (".command.run", ".command.sh")]
                    needs.named |= self._files_in("\n".join(texts), files)
                denied, said = self._denied(place, files)
                mark = self._text(place, guard.MARK).strip()
                guarded = task.exit is None or mark == str(self._dir)
        said = {path for path in said if task_dirs.of_relative(path) != task.dir}
        if said:
            said -= lean_needs.known_to(task, self._folder.work)
        if task.status is not Status.COMPLETED:
            needs.named |= denied | said
        elif denied:
            needs.read |= denied
        elif said or not guarded:
            needs.named |= said if guarded else files
            needs.readers |= {task.dir}

    def _denied(self, place: int, files: set[str]) -> tuple[set[str], set[str]]:
        """The emptied files that a task says it was denied, and all that it names, in whatever words."""
        denied: set[str] = set()
        said: set[str] = set()
        for name in (".command.err", ".command.log"):
            for line in evidence.lines(place, name, _TELLING):
                named = self._files_in(line, files)
                said |= named
                if _DENIED.search(line):
                    denied |= named | {path for path in files if path.rpartition("/")[2] in line}
        return denied, said

    def _text(self, place: int, name: str) -> str:
        kept = evidence.read(place, name)
        return kept.data.decode("utf-8", "replace") if kept is not None else ""

    def _files_in(self, text: str, files: set[str]) -> set[str]:
        """The emptied files that a text names, also by links."""
        work = self._folder.work
        real = os.path.realpath(work)
        found = set()
        for token in mentions.of(text):
            target = os.path.realpath(work / token)[len(real) + 1:]
            found |= {token, target} & files
        return found


def to_make_again(folder: ExecutionFolder, attempts: int, needs: Needs) -> dict[str, Any]:
    """What a new attempt makes again for one that needed emptied files; empty when it would get no further.

    At least one task with emptied files runs again, and its files are not emptied any more. So there are
    never more such attempts than such tasks. `tasks` are all that run again, `seconds` is what they took.
    Raises Conflict for a damaged manifest.
    """
    entries = emptying.load(folder.cache)
    start = lean_needs.producers(needs.named, entries)
    if needs.got or not start:
        return {}
    known = lean_needs.tasks(folder, attempts)
    again = lean_needs.closure(start, entries, known, folder.work)
    files = [entry.path for entry in entries if entry.producer in start]
    processes = sorted({known[task_dir].process for task_dir in again if task_dir in known})
    took = sum(reuse.milliseconds(known[task_dir]) for task_dir in again if task_dir in known)
    return {"files": files[:_TOLD], "file_count": len(files), "tasks": len(again),
            "processes": processes[:_TOLD], "seconds": round(took / 1000, 1)}


def failure_of(needs: Needs) -> str:
    """Why an attempt that needed emptied files has failed, in one line."""
    what = sorted(needs.read or needs.moved or needs.named)
    more = f" and {len(what) - 1} more" if len(what) > 1 else ""
    fate = ("was read although its" if needs.read else "was moved, linked or deleted, and its" if needs.moved
            else "is needed, and its")
    return f"{what[0] if what else 'a file'}{more} {fate} content is not kept"

