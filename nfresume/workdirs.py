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
class WorkDir:
    """The scratch space of one execution: task dirs and the cache that `-resume` needs.

    `path` is Nextflow's `-work-dir`. `bytes`, `files` and `metered_bytes` are the last
    measurement (None = not measured). `expires_at` is None while in use, pinned, or held.
    `reason` says why the work dir is in its state when the state alone does not.
    """

    path: str
    state: WorkDirState
    pinned: bool = False
    expires_at: datetime | None = None
    reason: str | None = None
    bytes: int | None = None
    files: int | None = None
    metered_bytes: int | None = None
    measured_at: datetime | None = None
    deleted_at: datetime | None = None
