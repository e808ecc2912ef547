"""Explain why tasks of a relaunch ran again, from the records of the attempts and their task dirs.

A task is compared with the same task of the newest earlier attempt that had it. Hashes tell for certain
whether anything changed that Nextflow looks at (`nextflow.hashing.follows`). What a settlement found is kept
in `attempts/<n>/explanation.json`, because the task dirs may go right after it.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nfresume.domain.errors import NotFound, StaleLease
from nfresume.domain.executions import python_workflow
from nfresume.nextflow import cache_db, causes, command, evidence, hashing, kept_inputs, sources, wrapper
from nfresume.nextflow.causes import Cause, Known
from nfresume.nextflow.record import Status, Task
from nfresume.runs import taskdirs
from nfresume.runs.history import History
from nfresume.runs.records import TASK_FILES, Records
from nfresume.storage.root import ExecutionFolder
from nfresume.system import durable, regular

KEPT = "explanation.json"
#: So many tasks of an attempt are explained.
MOST = 2_000
_FAILED = (Status.FAILED, Status.ABORTED, Status.RUNNING)
_PYTHON = re.compile(r"^.{19} \[main\] DEBUG nfresume\.tasks - (.+?) runs: (.*)$", re.MULTILINE)
_UNKNOWN = ("something changed that neither its script, inputs, container, modules, environment nor programs "
            "show: perhaps a value, a folder such as launchDir in its script, or a conda environment that "
            "was made anew")


@dataclass(frozen=True)
class Explanation:
    """Why one task ran. `before`: the attempt with which it was compared; None for a new task."""

    name: str
    process: str
    dir: str
    before: int | None
    causes: tuple[Cause, ...]

    @property
    def again(self) -> bool:
        """True for a task that had finished before."""
        return all(cause.kind not in ("new", "failed", "aborted") for cause in self.causes)

    @property
    def root(self) -> bool:
        """True when it has a cause of its own, and does not only follow from other tasks."""
        return any(cause.kind != "upstream" for cause in self.causes)


@dataclass(frozen=True)
class Explained:
    """The tasks of attempt `attempt` that ran. `left_out`: how many were not looked at. `whole`: why all of
    them ran, if one reason holds for all."""

    attempt: int
    tasks: tuple[Explanation, ...] = ()
    left_out: int = 0
    whole: str = ""

    def by_dir(self) -> dict[str, Explanation]:
        return {task.dir: task for task in self.tasks if task.dir}


def of(
    folder: ExecutionFolder, session_id: str, number: int, heartbeat: Callable[[], None] = lambda: None
) -> Explained:
    """Explain attempt `number`: as its settlement did, or now."""
    try:
        return kept(folder.attempt(number))
    except LookupError:
        return _Explainer(folder, session_id, number).explain(heartbeat)


def kept(attempt_dir: Path) -> Explained:
    """What the settlement of an attempt found. Raises LookupError when it did not."""
    try:
        found = regular.document(attempt_dir / KEPT)
        return Explained(found["attempt"], tuple(
            Explanation(t["name"], t["process"], t["dir"], t["before"], tuple(
                Cause(c["kind"], c["text"], tuple(c["detail"]), c["upstream"]) for c in t["causes"]))
            for t in found["tasks"]), found["left_out"], found["whole"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise LookupError(KEPT) from e


def keep(
    folder: ExecutionFolder, session_id: str, number: int, heartbeat: Callable[[], None] = lambda: None
) -> None:
    """Explain an attempt that has just ended, and keep that. A fault of ours is only printed."""
    if number == 1:
        return
    try:
        found = _Explainer(folder, session_id, number).explain(heartbeat)
        durable.write(folder.attempt(number) / KEPT, json.dumps(asdict(found)).encode())
    except StaleLease:
        raise
    except Exception:
        traceback.print_exc(file=sys.stderr)


class _Explainer:
    def __init__(self, folder: ExecutionFolder, session_id: str, number: int) -> None:
        self._folder = folder
        self._number = number
        self._work = str(folder.work)
        self._known = lru_cache(4096)(self._read)
        self._entries = lru_cache(1)(lambda: cache_db.task_dirs(folder.cache, session_id))
        self._requests: dict[int, Mapping[str, Any]] = {}

    def explain(self, heartbeat: Callable[[], None]) -> Explained:
        asked = self._request(self._number)
        if python_workflow(str(asked.get("pipeline", ""))) is not None:
            return Explained(self._number, tuple(self._of_python()))
        if self._number == 1:
            return Explained(1, whole="nothing had run before")
        if not asked.get("resume", True):
            return Explained(self._number, whole="it was relaunched from scratch")
        self._history = History(self._folder, self._number)
        found: list[Explanation] = []
        left_out = 0
        for task in self._history.ran.values():
            heartbeat()
            if task.tries > 1:
                continue
            if len(found) == MOST:
                left_out += 1
                continue
            found.append(self._explain(task))
        return Explained(self._number, tuple(found), left_out)

    def _of_python(self) -> Iterator[Explanation]:
        """The head of a Python workflow writes into its log why each call runs."""
        try:
            text = regular.text(self._folder.attempt(self._number) / command.LOG)
        except FileNotFoundError:
            return
        for name, why in _PYTHON.findall(text):
            kind = "new" if why == "it had not finished before" else "python"
            yield Explanation(name, name.partition(" (")[0], "", None, (Cause(kind, why),))

    # -- one task -------------------------------------------------------------------------------

    def _explain(self, task: Task) -> Explanation:
        before = self._history.before(task) or self._renamed(task)
        if before is None:
            return self._told(task, None, [Cause("new", "it had not run before")])
        attempt, earlier = before
        same = bool(earlier.dir and task.dir) and hashing.follows(earlier.dir, task.dir)
        changed = [] if same else self._differences(attempt, earlier, task)
        if earlier.status in _FAILED:
            return self._told(task, attempt, [_failure(attempt, earlier), *changed])
        if same:
            return self._told(task, attempt, [self._same(earlier, task)])
        if not changed:
            changed = [self._unknown(attempt, earlier, task)]
        return self._told(task, attempt, changed)

    def _renamed(self, task: Task) -> tuple[int, Task] | None:
        """The same task of a process that had another name: with the same script and names of inputs."""
        mine = self._known(self._number, task).script
        for attempt, earlier in self._history.renamed(task):
            if mine is not None and self._known(attempt, earlier).script == mine and (
                    len(earlier.inputs) == len(task.inputs)):
                return attempt, earlier
        return None

    def _told(self, task: Task, before: int | None, found: Iterable[Cause]) -> Explanation:
        return Explanation(task.name, task.process, task.dir, before, tuple(found))

    def _differences(self, attempt: int, earlier: Task, task: Task) -> list[Cause]:
        return causes.differences(self._known(attempt, earlier), self._known(self._number, task),
                                  self._history.ran_in, self._work)

    def _unknown(self, attempt: int, earlier: Task, task: Task) -> Cause:
        if not earlier.dir or not task.dir:
            return Cause("unknown", "unknown: its task dir is not in the record")
        old, new = self._known(attempt, earlier), self._known(self._number, task)
        if old.script is None or new.script is None:
            return Cause("unknown", "unknown: its script was not kept (keep_task_logs)")
        if old.version != new.version:
            return Cause("version", f"perhaps because Nextflow changed ({old.version} -> {new.version}), or "
                         "a value did: nothing else of it did, as far as its files show")
        return Cause("unknown", f"unknown: {_UNKNOWN}")

    def _same(self, earlier: Task, task: Task) -> Cause:
        """Why a task ran again of which nothing has changed."""
        if earlier.dir == task.dir:
            return Cause("dir_gone", "its task dir was gone")
        place = Path(self._work, earlier.dir)
        if not place.is_dir():
            return Cause("unknown", "unknown: nothing of it changed, and its earlier task dir is gone by now")
        patterns = taskdirs.declared(place)
        if not patterns and (found := self._known(self._number, task).wrapper) is not None:
            patterns = found.declared  # the same as it was: nothing of the task changed
        cause = taskdirs.exit_status(place) if earlier.exit is not None else None
        if cause := cause or taskdirs.missing_output(place, patterns):
            return cause
        try:
            if earlier.dir not in self._entries():
                return Cause("cache_lost", "Nextflow's cache had lost it")
        except cache_db.Unreadable as e:
            return Cause("unknown", f"unknown: nothing of it changed, and {e}")
        return Cause("not_cached", "nothing of it changed, and its result is whole: Nextflow does not reuse "
                     "it (`cache false`)")

    # -- what is known --------------------------------------------------------------------------

    def _read(self, attempt: int, task: Task) -> Known:
        text, run = self._file(attempt, task, "script"), self._file(attempt, task, "wrapper")
        parsed = wrapper.parse(run, f"{self._work}/{task.dir}") if run is not None else None
        asked = self._request(attempt)
        return Known(task, attempt, text, parsed, self._parameters(attempt),
                     self._history.programs.get(attempt, {}), str(asked.get("nextflow_version") or ""),
                     sources.kept(self._folder.attempt(attempt)))

    def _file(self, attempt: int, task: Task, name: str) -> str | None:
        """A file of a task: as it was kept, or else from its task dir."""
        data = None
        if task.evidence is not None:
            data = evidence.unpack(self._folder.attempt(task.cached_from or attempt), task.evidence,
                                   TASK_FILES[name])
        if data is None:
            try:
                records = Records(self._folder, attempt, ended=True)
                data = records.task_part(task, name, most=evidence.MOST_BYTES).data
            except NotFound:
                return None
        return data.decode("utf-8", "surrogateescape")

    def _request(self, attempt: int) -> Mapping[str, Any]:
        if attempt not in self._requests:
            self._requests[attempt] = self._folder.request(attempt) or {}
        return self._requests[attempt]

    def _parameters(self, attempt: int) -> dict[str, str]:
        return kept_inputs.requested(self._folder.attempt(attempt), self._request(attempt))


def _failure(attempt: int, task: Task) -> Cause:
    if task.status is not Status.FAILED:
        return Cause("aborted", f"it had not ended in attempt {attempt}")
    code = f" with exit status {task.exit}" if task.exit else ""
    return Cause("failed", f"it had failed in attempt {attempt}{code}")
