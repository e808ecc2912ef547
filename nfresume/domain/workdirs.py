"""Work dirs: states and the table of allowed transitions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class WorkDirState(StrEnum):
    """Who needs a work dir's bytes."""

    ACTIVE = "ACTIVE"  # an attempt is using it
    RETAINED = "RETAINED"  # kept for a relaunch until expires_at, or for a stated reason
    DELETING = "DELETING"  # no way back
    DELETED = "DELETED"  # a tombstone


@dataclass(frozen=True)
class WorkDirTransition:
    """A named change of a work dir's state."""

    name: str
    sources: frozenset[WorkDirState]
    target: WorkDirState


def _transition(name: str, source: WorkDirState, target: WorkDirState) -> WorkDirTransition:
    return WorkDirTransition(name, frozenset({source}), target)


class Retain(StrEnum):
    """What is kept of a work dir after a failure."""

    FULL = "full"  # all of it
    SLIM = "slim"  # without what `-resume` does not need: task dirs of failed and aborted attempts


class OnSuccess(StrEnum):
    """What becomes of a work dir after a success."""

    DELETE = "delete"
    KEEP = "keep"  # for storage_expiration_hours, as after a failure


W = WorkDirState
RETAIN = _transition("retain", W.ACTIVE, W.RETAINED)
DISCARD = _transition("discard", W.ACTIVE, W.DELETING)
REUSE = _transition("reuse", W.RETAINED, W.ACTIVE)
EXTEND = _transition("extend", W.RETAINED, W.RETAINED)
EXPIRE = _transition("expire", W.RETAINED, W.DELETING)
DELETE = _transition("delete", W.RETAINED, W.DELETING)
REMOVED = _transition("removed", W.DELETING, W.DELETED)
TRANSITIONS = (RETAIN, DISCARD, REUSE, EXTEND, EXPIRE, DELETE, REMOVED)


@dataclass(frozen=True)
class RemovalProgress:
    """How much of a work dir is gone, over all passes of its removal; `blocked` entries cannot go."""

    files: int = 0
    directories: int = 0
    bytes: int = 0  # on disk
    seconds: float = 0.0
    blocked: int = 0

    @property
    def files_per_second(self) -> float:
        """The rate over all passes."""
        return self.files / self.seconds if self.seconds else 0.0

    def remaining_files(self, files: int | None) -> int | None:
        """How many of a measured number of files are left; None when it was never measured."""
        return None if files is None else max(0, files - self.files)

    def remaining_seconds(self, files: int | None) -> float | None:
        """How long the rest takes at this rate; None when that cannot be told."""
        left = self.remaining_files(files)
        return left / self.files_per_second if left is not None and self.files else None


@dataclass(frozen=True)
class WorkDir:
    """The scratch space of one execution: task dirs and the cache that `-resume` needs.

    `path` is Nextflow's `-work-dir`. `bytes` (apparent), `disk_bytes`, `metered_bytes` (EFS's rule),
    `files` and `directories` are the last measurement (None = not measured); `partial` = it saw less
    than everything. `expires_at` is None while in use, pinned, or held. `removal` is set once a removal
    has begun.
    `notice_at` is when somebody is to be told that it expires soon (None = told, or not to be told).
    `reason` says why the work dir is in its state when the state alone does not.
    """

    path: str
    state: WorkDirState
    pinned: bool = False
    expires_at: datetime | None = None
    reason: str | None = None
    bytes: int | None = None
    files: int | None = None
    directories: int | None = None
    disk_bytes: int | None = None
    metered_bytes: int | None = None
    partial: bool = False
    measured_at: datetime | None = None
    deleted_at: datetime | None = None
    removal: RemovalProgress | None = None
    notice_at: datetime | None = None
