"""Work dirs: states and the table of allowed transitions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class WorkDirState(StrEnum):
    """The state of a work dir."""

    ACTIVE = "ACTIVE"  # an attempt is using it
    RETAINED = "RETAINED"  # kept, as its Keep says
    DELETING = "DELETING"  # claimed: its results are secured, then it is removed
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
    LEAN = "lean"  # slim, and intermediate files that no coming task reads keep their metadata only

    @property
    def slims(self) -> bool:
        """True when task dirs of failed and aborted tasks are emptied."""
        return self is not Retain.FULL


class OnSuccess(StrEnum):
    """What becomes of a work dir after a success."""

    DELETE = "delete"
    KEEP = "keep"  # for storage_expiration_hours, as after a failure


class KeepKind(StrEnum):
    """Why a work dir is kept, and whose word that is."""

    RULE = "rule"  # storage_expiration_hours, counted from the end of the attempt
    EXTENDED = "extended"  # a person asked for this time
    PINNED = "pinned"  # a person asked: until it is unpinned
    HELD = "held"  # nfresume: deleting it would lose something


@dataclass(frozen=True)
class Keep:
    """How long a work dir is kept: `until` a time, or until somebody decides (None); by whom, and why.

    EXTENDED, PINNED and HELD outlive a relaunch.
    """

    kind: KeepKind
    why: str
    until: datetime | None = None
    by: str | None = None


@dataclass(frozen=True)
class Claim:
    """Who may secure and remove a DELETING work dir. The database refuses an older token (fencing)."""

    execution_id: str
    token: int


W = WorkDirState
RETAIN = _transition("retain", W.ACTIVE, W.RETAINED)
DISCARD = _transition("discard", W.ACTIVE, W.DELETING)
REUSE = _transition("reuse", W.RETAINED, W.ACTIVE)
KEEP = _transition("keep", W.RETAINED, W.RETAINED)  # extend, pin, unpin
DELETE = _transition("delete", W.RETAINED, W.DELETING)
HOLD = _transition("hold", W.DELETING, W.RETAINED)  # before the point of no return only
REMOVED = _transition("removed", W.DELETING, W.DELETED)
TRANSITIONS = (RETAIN, DISCARD, REUSE, KEEP, DELETE, HOLD, REMOVED)


@dataclass(frozen=True)
class RemovalProgress:
    """How much of a work dir was removed, over all passes of its removal."""

    files: int = 0
    directories: int = 0
    bytes: int = 0  # on disk
    seconds: float = 0.0
    blocked: int = 0  # entries that cannot be removed
    obstacle: str | None = None  # the first of them, and why, until the next pass

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

    `path` is Nextflow's `-work-dir`. `keep` says how long it is kept: always set while RETAINED, and a
    person's wish or a hold while ACTIVE. No deletion is tried before `look_again_at`; `looks` counts those
    that were given up or blocked. A held work dir without `look_again_at` waits for a person.
    `bytes` (apparent), `disk_bytes`, `metered_bytes` (EFS's rule),
    `files` and `directories` are the last measurement (None = not measured). `partial` means that the
    measurement did not see everything. `removal` is set once a removal has begun. `notice_at` is when to
    send the notice that it expires soon (None = sent, or not to be sent). `reason` says why the work dir is
    in its state, where that is needed. `claimed_by` and `claimed_until` name the process that deletes it;
    since `secured_at` its results are safe and there is no way back.
    """

    path: str
    state: WorkDirState
    keep: Keep | None = None
    look_again_at: datetime | None = None
    looks: int = 0
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
    claimed_by: str | None = None
    claimed_until: datetime | None = None
    secured_at: datetime | None = None

    @property
    def blocked(self) -> bool:
        """True when the last pass of its removal met something that cannot be removed."""
        return (self.state is WorkDirState.DELETING and self.removal is not None
                and self.removal.obstacle is not None)

    @property
    def pinned(self) -> bool:
        """True when a person asked to keep it until it is unpinned."""
        return self.keep is not None and self.keep.kind is KeepKind.PINNED

    @property
    def held(self) -> bool:
        """True when deleting it would lose something."""
        return self.keep is not None and self.keep.kind is KeepKind.HELD

    @property
    def expires_at(self) -> datetime | None:
        """Until when it is kept; None while it is in use, pinned, held or gone."""
        retained = self.state in (WorkDirState.RETAINED, WorkDirState.DELETING)
        return self.keep.until if self.keep is not None and retained else None
