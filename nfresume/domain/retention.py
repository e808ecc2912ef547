"""Retention: how long a work dir is kept, and why. Pure; nothing here removes anything."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from nfresume.domain.executions import Execution, ExecutionState
from nfresume.domain.workdirs import Keep, KeepKind, OnSuccess, WorkDir, WorkDirState

#: Ten years. Much more would overflow a date; to keep without limit, pin.
MAX_HOURS = 87_600.0


#: A deletion that was given up is tried again after a minute, then after twice as long each time.
FIRST_LOOK = timedelta(minutes=1)
LAST_LOOK = timedelta(hours=24)


@dataclass(frozen=True)
class Hold:
    """Why a work dir must not be deleted now. `passing`: the cause may go by itself, so look again.

    `in_use`: something of it still runs, so that not even a person may have it deleted.
    """

    reason: str
    passing: bool = True
    in_use: bool = False


@dataclass(frozen=True)
class Decision:
    """What becomes of a work dir when an attempt has ended: it is kept, or deleted (`keep` is None).

    `look_again_at`: when the deletion of a held one is tried again; None: only when a person says so.
    """

    reason: str
    keep: Keep | None = None
    look_again_at: datetime | None = None


def check_hours(value: object, name: str = "storage_expiration_hours") -> float:
    """`value` as hours in [0, MAX_HOURS]. Numbers and numeric strings are accepted.

    Raises ValueError with a message that contains `name`.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        hours = float(value)
    except ValueError:
        raise ValueError(f"{name} must be a number of hours >= 0, not {value!r}") from None
    if not math.isfinite(hours) or hours < 0:
        raise ValueError(f"{name} must be a finite number of hours >= 0, not {value!r}")
    if hours > MAX_HOURS:
        raise ValueError(f"{name} must be at most {MAX_HOURS:.0f} hours (10 years), not {value!r}; "
                         "to keep a work dir without limit, pin it")
    return hours


def after_attempt(
    outcome: ExecutionState, hours: float, *, keep: Keep | None, doubt: Hold | None, unsafe: Hold | None,
    now: datetime, on_success: OnSuccess = OnSuccess.DELETE, refused: str | None = None,
) -> Decision:
    """What becomes of the work dir when an attempt has ended. The longest of all wishes wins.

    `keep` is what a person asked for, or a hold, from before the attempt. `doubt`: how the attempt ended is
    in doubt, so a person decides. `unsafe`: results would be lost with the work dir, so it is held if it were
    to be deleted now. `refused` is why a budget does not allow to keep it. A success ends an earlier hold: it
    has published everything again. A held work dir is never looked at before the rule's own time.
    """
    ended = f"the run {outcome.lower()}"
    rule = _by_rule(outcome, hours, now, ended, on_success, refused)
    wished = keep.until if keep is not None else None  # EXTENDED
    by_rule = rule.keep.until if rule.keep is not None else None
    if wished is not None and wished > now and (by_rule is None or by_rule < wished):
        rule = Decision(f"{ended}; {keep.why if keep else ''}", keep)
    if keep is not None and keep.kind is KeepKind.PINNED:
        return Decision(doubt.reason if doubt else "pinned", keep)
    if keep is not None and keep.kind is KeepKind.HELD and outcome is not ExecutionState.SUCCEEDED:
        doubt = doubt or Hold(keep.why)
    hold = doubt or (unsafe if rule.keep is None else None)
    if hold is None:
        return rule
    again = _look_again(hold, 0, now)
    until = rule.keep.until if rule.keep is not None else None
    return Decision(hold.reason, _held(hold), max(again, until) if again and until else again)


def _by_rule(
    outcome: ExecutionState, hours: float, now: datetime, ended: str, on_success: OnSuccess,
    refused: str | None,
) -> Decision:
    if outcome is ExecutionState.SUCCEEDED and (on_success is OnSuccess.DELETE or not hours):
        return Decision(ended)
    if hours == 0:
        return Decision(f"{ended}, and storage_expiration_hours is 0")
    if refused:
        return Decision(f"{ended}, but is not kept: {refused}")
    if outcome is ExecutionState.SUCCEEDED:
        ended += ", and on_success is keep"
    return Decision(ended, Keep(KeepKind.RULE, ended, now + timedelta(hours=hours)))


def given_up(hold: Hold, work_dir: WorkDir, now: datetime) -> Decision:
    """How long a work dir is kept whose deletion was given up: at least as long as before.

    A time that has not come yet stays; else it is held.
    """
    again, before = _look_again(hold, work_dir.looks, now), work_dir.keep
    if before is not None and before.until is not None and before.until > now:
        return Decision(hold.reason, before, again)
    return Decision(hold.reason, _held(hold), again)


def _held(hold: Hold) -> Keep:
    return Keep(KeepKind.HELD, hold.reason, by="nfresume")


def _look_again(hold: Hold, looks: int, now: datetime) -> datetime | None:
    return now + patience(looks) if hold.passing else None


def patience(looks: int) -> timedelta:
    """How long to wait before the next try, after `looks` in vain: a minute, then twice as long each time."""
    return min(LAST_LOOK, FIRST_LOOK * float(2 ** min(looks, 20)))


def is_due(work_dir: WorkDir, now: datetime) -> bool:
    """True when a retained work dir is to be deleted: its time has come, or its hold is looked at again."""
    keep, again = work_dir.keep, work_dir.look_again_at
    if work_dir.state is not WorkDirState.RETAINED or keep is None:
        return False
    if keep.kind is KeepKind.HELD:
        return again is not None and again <= now
    return keep.until is not None and max(keep.until, again or keep.until) <= now


def notice_at(now: datetime, expires_at: datetime | None, share: float) -> datetime | None:
    """When to send the notice that a work dir which is retained from now on expires soon.

    It is sent `share` of the time before the expiry, at least an hour. None: there is no expiry.
    """
    if expires_at is None:
        return None
    return expires_at - max(timedelta(hours=1), (expires_at - now) * share)


@dataclass(frozen=True)
class PlanLine:
    """What a sweep will do with one work dir, and why."""

    execution: Execution
    action: str  # delete | evict | continue | keep
    reason: str


def plan(executions: Iterable[Execution], now: datetime) -> list[PlanLine]:
    """What a sweep will do with each work dir. A dry run prints exactly this."""
    return [_plan_line(execution, now) for execution in executions]


def _plan_line(execution: Execution, now: datetime) -> PlanLine:
    work_dir, keep = execution.work_dir, execution.work_dir.keep
    if work_dir.state is WorkDirState.DELETING:
        waits = work_dir.look_again_at is not None and work_dir.look_again_at > now
        obstacle = work_dir.removal.obstacle if work_dir.removal is not None else None
        return PlanLine(execution, "keep" if waits else "continue",
                        obstacle or work_dir.reason or "its deletion has begun")
    if work_dir.state is not WorkDirState.RETAINED or keep is None:
        return PlanLine(execution, "keep", "an attempt is using it")
    if keep.kind is KeepKind.PINNED:
        return PlanLine(execution, "keep", "pinned")
    if keep.kind is KeepKind.HELD:
        return PlanLine(execution, "delete" if is_due(work_dir, now) else "keep", keep.why)
    assert keep.until is not None
    due = is_due(work_dir, now)
    word = "expired" if keep.until <= now else "expires"
    return PlanLine(execution, "delete" if due else "keep", f"{word} at {keep.until:%Y-%m-%d %H:%M:%S} UTC")
