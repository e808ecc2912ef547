"""Executions and attempts: names, states and the table of allowed transitions. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from nfresume.domain.errors import UsageError
from nfresume.domain.workdirs import OnSuccess, Retain, WorkDir

ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
#: Characters of the random part of an id. No vowels, so that it never spells a word; no look-alikes.
ID_ALPHABET = "23456789bcdfghjkmnpqrstvwxz"
ID_RANDOM_LENGTH = 6


class ExecutionState(StrEnum):
    """The state of an execution and of its current attempt."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def live(self) -> bool:
        """True while an attempt is queued or running. The work dir is ACTIVE exactly while this is True."""
        return self in LIVE


LIVE = frozenset({ExecutionState.QUEUED, ExecutionState.RUNNING, ExecutionState.CANCELLING})


@dataclass(frozen=True)
class Transition:
    """A named change of an execution's state; each is one guarded UPDATE and one event."""

    name: str
    sources: frozenset[ExecutionState]
    target: ExecutionState


def _transition(name: str, sources: set[ExecutionState], target: ExecutionState) -> Transition:
    return Transition(name, frozenset(sources), target)


S = ExecutionState
CLAIM = _transition("claim", {S.QUEUED}, S.RUNNING)
CANCEL_QUEUED = _transition("cancel_queued", {S.QUEUED}, S.CANCELLED)
CANCEL = _transition("cancel", {S.RUNNING}, S.CANCELLING)
SUCCEED = _transition("succeed", {S.RUNNING, S.CANCELLING}, S.SUCCEEDED)
FAIL = _transition("fail", {S.RUNNING}, S.FAILED)
END_CANCELLED = _transition("end_cancelled", {S.CANCELLING}, S.CANCELLED)
RELAUNCH = _transition("relaunch", {S.FAILED, S.CANCELLED, S.SUCCEEDED}, S.QUEUED)
TRANSITIONS = (CLAIM, CANCEL_QUEUED, CANCEL, SUCCEED, FAIL, END_CANCELLED, RELAUNCH)


@dataclass(frozen=True)
class TaskCounts:
    """How many tasks of one attempt had each outcome, according to Nextflow's log."""

    submitted: int = 0
    cached: int = 0
    succeeded: int = 0
    failed: int = 0
    ignored: int = 0
    retried: int = 0

    @property
    def failed_for_good(self) -> int:
        """Tasks that failed, and were neither tried again nor ignored."""
        return max(0, self.failed - self.retried - self.ignored)


@dataclass(frozen=True)
class Attempt:
    """One `nextflow run` of an execution."""

    execution_id: str
    number: int
    run_name: str
    state: ExecutionState
    options: tuple[str, ...]
    pipeline: str
    nextflow: str | None
    nextflow_version: str | None
    tasks: TaskCounts
    resume: bool = False
    exit_code: int | None = None
    error: str | None = None
    clean_end: bool = True
    launcher: str = "local"
    host: str | None = None
    boot_id: str | None = None
    token: int = 0
    lease_until: datetime | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def engine(self) -> str:
        """What ran the attempt: `Nextflow 24.10.5`, or `Python 3.11.7`."""
        kind = "Nextflow" if python_workflow(self.pipeline) is None else "Python"
        return f"{kind} {self.nextflow_version}" if self.nextflow_version else kind


@dataclass(frozen=True)
class Execution:
    """What a user launched, with its work dir. Times are aware and UTC."""

    id: str
    account: str
    pipeline: str
    launch_dir: str
    root_id: str
    session_id: str
    state: ExecutionState
    attempt: int
    storage_expiration_hours: float
    storage_expiration_source: str
    created_at: datetime
    updated_at: datetime
    work_dir: WorkDir
    retain: Retain = Retain.FULL
    on_success: OnSuccess = OnSuccess.DELETE
    tags: Mapping[str, str] | None = None
    launched_by: str | None = None


@dataclass(frozen=True)
class Event:
    """One entry of an execution's history. It is never changed and never removed."""

    at: datetime
    name: str
    actor: str
    attempt: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lease:
    """Ownership of one attempt. The database refuses an owner whose token is older (fencing)."""

    execution_id: str
    number: int
    token: int


def deletion(events: Sequence[Event]) -> Event | None:
    """The event that ordered the deletion of the work dir: its name is the rule. None: not deleted."""
    for event in reversed(events):
        if event.name in ("hold", "relaunch"):
            return None
        if event.name in ("expire", "evict", "delete") or event.detail.get("work_dir") == "deleting":
            return event
    return None


_PYTHON = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


def python_workflow(pipeline: str) -> tuple[str, str] | None:
    """File and function of a Python workflow; None for a Nextflow pipeline.

    >>> python_workflow("wf/assembly.py:assemble")
    ('wf/assembly.py', 'assemble')
    """
    found = _PYTHON.fullmatch(pipeline)
    return (found["file"], found["name"]) if found else None


def id_stem(text: str) -> str:
    """The readable part of an id, made from the name of a pipeline or of a user.

    >>> id_stem("nf-core/RNAseq")
    'rnaseq'
    >>> id_stem("wf/__init__.py:infer_phylogeny")
    'infer-phylogeny'
    """
    base = text.rstrip("/").rsplit("/", 1)[-1].lower()
    base = base.removeprefix("__init__.py:")
    base = re.sub(r"\.(nf|git|py)(?=$|:)", "", base)
    stem = re.sub(r"[^a-z0-9]+", "-", base).strip("-")
    stem = re.sub(r"^[^a-z]+", "", stem)[:40].rstrip("-")
    return stem or "run"


def run_name(execution_id: str, number: int) -> str:
    """Nextflow's run name of attempt `number`, which counts from 1."""
    return f"{execution_id}-{number}"


def check_account(name: str) -> str:
    """Return `name` if it is a valid account name, else raise UsageError. Accounts become folder names."""
    if not ACCOUNT.fullmatch(name):
        raise UsageError(
            f"{name!r} is not an account name",
            "letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 63 characters",
        )
    return name
