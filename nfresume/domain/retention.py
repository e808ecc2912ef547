"""Retention: how long a work dir is kept, and why. Pure; nothing here removes anything."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from nfresume.domain.executions import Execution, ExecutionState
from nfresume.domain.workdirs import OnSuccess, WorkDirState

#: Ten years. Much more would overflow a date; to keep without limit, pin.
MAX_HOURS = 87_600.0


@dataclass(frozen=True)
class Decision:
    """What becomes of a work dir: `keep` it until `expires_at` (None = until a person decides), or not."""

    keep: bool
    reason: str
    expires_at: datetime | None = None


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
    outcome: ExecutionState, hours: float, *, pinned: bool, held: str | None, now: datetime,
    on_success: OnSuccess = OnSuccess.DELETE, refused: str | None = None,
) -> Decision:
    """What becomes of the work dir when an attempt has ended.

    `held` is a reason why it must not be deleted, whatever the policy says: a result exists only in it, or
    the attempt's end is in doubt. `refused` is the reason why a budget does not allow to keep it. The first
    that applies decides: held, pinned, success without `on_success` keep, 0 hours, refused, `hours`.
    """
    if held:
        return Decision(True, held)
    if pinned:
        return Decision(True, "pinned")
    ended = f"the run {outcome.lower()}"
    if outcome is ExecutionState.SUCCEEDED and (on_success is OnSuccess.DELETE or not hours):
        return Decision(False, ended)
    if hours == 0:
        return Decision(False, f"{ended}, and storage_expiration_hours is 0")
    if refused:
        return Decision(False, f"{ended}, but is not kept: {refused}")
    if outcome is ExecutionState.SUCCEEDED:
        ended += ", and on_success is keep"
    return Decision(True, ended, now + timedelta(hours=hours))


def is_due(execution: Execution, now: datetime) -> bool:
    """True when a retained work dir has reached its expiry and is not pinned."""
    work_dir = execution.work_dir
    return (
        work_dir.state is WorkDirState.RETAINED
        and not work_dir.pinned
        and work_dir.expires_at is not None
        and work_dir.expires_at <= now
    )


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
    action: str  # delete | evict | continue | recheck | keep
    reason: str


def plan(executions: Iterable[Execution], now: datetime) -> list[PlanLine]:
    """What a sweep will do with each work dir. A dry run prints exactly this."""
    return [_plan_line(execution, now) for execution in executions]


def _plan_line(execution: Execution, now: datetime) -> PlanLine:
    work_dir = execution.work_dir
    if work_dir.state is WorkDirState.DELETING:
        return PlanLine(execution, "continue", work_dir.reason or "its deletion has begun")
    if work_dir.state is not WorkDirState.RETAINED:
        return PlanLine(execution, "keep", "an attempt is using it")
    if work_dir.pinned:
        return PlanLine(execution, "keep", "pinned")
    if work_dir.expires_at is None:
        if execution.state is ExecutionState.SUCCEEDED:
            return PlanLine(execution, "recheck", work_dir.reason or "the run succeeded")
        return PlanLine(execution, "keep", work_dir.reason or "held")
    if is_due(execution, now):
        return PlanLine(execution, "delete", f"expired at {work_dir.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    return PlanLine(execution, "keep", f"expires at {work_dir.expires_at:%Y-%m-%d %H:%M:%S} UTC")
