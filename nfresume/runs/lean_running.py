"""Lean retention while an attempt runs: empty what nobody will read any more, so that less is stored at once.

Which processes read which outputs is not known before a run ends. So an earlier execution of the same
pipeline that succeeded has to show it: an output is emptied when each process that read one of its kind there
has read this one here. What that execution did not show stays, and so does what it published. If a task needs
an emptied file after all, the guard ends it, and the file is made again, as after a failure.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict

from nfresume.domain.errors import Conflict, StoreUnavailable
from nfresume.domain.executions import Attempt, Execution, ExecutionState, python_workflow
from nfresume.domain.workdirs import Retain
from nfresume.nextflow import guard, options, sources, task_dirs
from nfresume.nextflow.mentions import Named
from nfresume.retained import places
from nfresume.runs import lean, lean_choice
from nfresume.runs.lean_choice import Kind, Readers, Unsure, kind
from nfresume.runs.lean_needs import FINISHED
from nfresume.settings import Settings
from nfresume.storage import emptying
from nfresume.storage.emptying import Emptied
from nfresume.storage.root import ExecutionFolder
from nfresume.store import Store, guarded, queries

#: A look takes at most this part of the time.
_SHARE = 0.05
_SECONDS = 300.0
#: So many successes are looked at for one with the same code.
_LOOKED_AT = 20


def readers_of(store: Store, execution: Execution, attempt: Attempt, folder: ExecutionFolder) -> Readers:
    """What an earlier success of the same pipeline shows; nothing if there is none with the same code."""
    code = sources.kept(folder.attempt(attempt.number))
    revision = options.stored(attempt.pipeline, attempt.options).value("-r")
    with store.begin(write=False) as tx:
        found = queries.newest(tx, execution.account, states=[ExecutionState.SUCCEEDED],
                               pipeline=attempt.pipeline, limit=_LOOKED_AT)
        ends = [(each, queries.attempt(tx, each.id, each.attempt)) for each in found]
    for each, last in ends:
        place = places.folder_of(store, each)
        if (options.stored(last.pipeline, last.options).value("-r"),
                sources.kept(place.attempt(last.number))) == (revision, code):
            return _shown(place, last.number)
    return {}


def _shown(folder: ExecutionFolder, attempts: int) -> Readers:
    """The processes that read each kind of output, but for kinds of which one was published, or read twice by
    a process. Nothing where the records leave a doubt."""
    try:
        seen = lean_choice.read(folder, attempts)
    except Unsure:
        return {}
    work = str(folder.work)
    published = Named(source[len(work) + 1:] for sources_of in seen.published.values()
                      for source in sources_of if source.startswith(f"{work}/"))
    reads = Counter((path[len(work) + 1:], task.process) for task in seen.last.values()
                    if task.status in FINISHED for path, _, _ in seen.inputs.get(task.dir, ())
                    if task_dirs.of_path(path, work))
    found: dict[Kind, set[str]] = {}
    for path, process in reads:
        found.setdefault(kind(seen.tasks, path), set()).add(process)
    unsure = {kind(seen.tasks, path) for (path, _), count in reads.items() if count > 1 or path in published}
    return {each: processes for each, processes in found.items() if each not in unsure}


class Freeing:
    """Empties files of an attempt while it runs, if that is wished and an earlier execution shows which."""

    def __init__(
        self, store: Store, conf: Settings, execution: Execution, attempt: Attempt, folder: ExecutionFolder,
        actor: str,
    ) -> None:
        self._store = store
        self._minimum = conf.lean_min_size
        self._every = min(_SECONDS, conf.sample_seconds)
        self._execution = execution
        self._attempt = attempt
        self._folder = folder
        self._actor = actor
        self._next = time.monotonic() + self._every
        self._readers: Readers | None = None
        self._wished = (conf.free_while_running and execution.retain is Retain.LEAN
                        and python_workflow(attempt.pipeline) is None)

    def guard(self, prepared: str) -> str:
        """The guard of an attempt that is to start: what is prepared, or one that names no file yet.

        Without one no file is emptied before the attempt has ended. Raises OSError.
        """
        if prepared or not self._wished or not self._shown() or emptying.refusal(self._folder.cache):
            return prepared
        place = self._folder.attempt(self._attempt.number)
        guard.arm(place, ())
        return guard.script(place)

    def _shown(self) -> Readers:
        if self._readers is None:
            self._readers = readers_of(self._store, self._execution, self._attempt, self._folder)
        return self._readers

    def poll(self, heartbeat: Callable[[], None]) -> bool:
        """Empty what is free by now, every five minutes or less often; True when that was something.

        What cannot be done now is tried again at the next look.
        """
        began = time.monotonic()
        if not self._wished or began < self._next:
            return False
        emptied: list[Emptied] = []
        with contextlib.suppress(StoreUnavailable, Conflict, OSError):
            if (self._folder.attempt(self._attempt.number) / guard.LIST).exists() and self._shown():
                emptied = lean.empty_running(self._folder, self._attempt.number, self._choose, heartbeat)
        now = time.monotonic()
        self._next = now + max(self._every, (now - began) / _SHARE)
        if emptied:
            with contextlib.suppress(StoreUnavailable), self._store.begin() as tx:
                guarded.note(tx, self._execution.id, "freed", self._actor, asdict(emptying.total(emptied)))
        return bool(emptied)

    def _choose(self, heartbeat: Callable[[], None]) -> Iterable[lean_choice.Candidate]:
        return lean_choice.choose_running(self._folder, self._attempt.pipeline, self._attempt.number,
                                          self._minimum, self._readers or {}, heartbeat).candidates
