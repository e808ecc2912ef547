"""Work dirs: states and the table of allowed transitions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class WorkDirState(StrEnum):
    """The state of a work dir."""

    ACTIVE = "ACTIVE"  # an attempt is using it
    RETAINED = "RETAINED"  # kept for a relaunch until expires_at, or for a stated reason
    DELETING = "DELETING"  # being deleted
    DELETED = "DELETED"  # gone; the row stays


@dataclass(frozen=True)
class WorkDirTransition:
    """A named change of a work dir's state."""

    name: str
    sources: frozenset[WorkDirState]
    target: WorkDirState


def _transition(name: str, source: WorkDirState, target: WorkDirState) -> WorkDirTransition:
    return WorkDirTransition(name, frozenset({source}), target)


class Retain(StrEnum):
    """How much of a work dir is kept after a failure."""

    FULL = "full"  # everything
    SLIM = "slim"  # only what `-resume` needs: not the task dirs of failed and aborted tasks


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
    """How much of a work dir was removed, over all passes of its removal."""

    files: int = 0
    directories: int = 0
    bytes: int = 0  # on disk
    seconds: float = 0.0
    blocked: int = 0  # entries that cannot be removed

    @property
    def files_per_second(self) -> float:
        """The mean rate over all passes."""
        return self.files / self.seconds if self.seconds else 0.0

    def remaining_files(self, files: int | None) -> int | None:
        """How many of `files`, the measured number, are left. None when it was never measured."""
        return None if files is None else max(0, files - self.files)

    def remaining_seconds(self, files: int | None) -> float | None:
        """How long the rest takes at this rate, for `files` measured files. None when that is unknown."""
        left = self.remaining_files(files)
        return left / self.files_per_second if left is not None and self.files else None


@dataclass(frozen=True)
class WorkDir:
    """The scratch space of one execution: task dirs and the cache that `-resume` needs.

    `path` is Nextflow's `-work-dir`. `bytes` (apparent), `disk_bytes`, `metered_bytes` (EFS's rule),
    `files` and `directories` are the last measurement (None = not measured). `partial` means that the
    measurement did not see everything. `expires_at` is None while the work dir is in use, pinned or held.
    `removal` is set once a removal has begun. `notice_at` is when to send the notice that it expires soon
    (None = sent, or not to be sent). `reason` says why the work dir is in its state, where that is needed.
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
