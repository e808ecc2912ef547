"""How attempts end, and who deletes work dirs, in few words."""

from __future__ import annotations

from datetime import datetime

from nfresume.domain.executions import ExecutionState
from nfresume.domain.retention import Decision
from nfresume.domain.workdirs import Keep, KeepKind
from nfresume.store.transitions import Claimant, Outcome

CLAIMANT = Claimant("tester", 60)


def until(time: datetime | None, why: str = "the run failed") -> Keep:
    """Kept by the rule until a time; held when there is none."""
    return Keep(KeepKind.RULE if time else KeepKind.HELD, why, time, None if time else "nfresume")


def pinned() -> Keep:
    return Keep(KeepKind.PINNED, "pinned by me", None, "me")


def kept(
    expires: datetime | None, state: ExecutionState = ExecutionState.FAILED, error: str | None = "no", *,
    clean: bool = True, reason: str = "the run failed", look_again_at: datetime | None = None,
) -> Outcome:
    """An attempt that ended, and whose work dir is kept."""
    code = 0 if state is ExecutionState.SUCCEEDED else 1
    return Outcome(state, code, error, clean, Decision(reason, until(expires, reason), look_again_at))


def deleted(
    state: ExecutionState = ExecutionState.SUCCEEDED, *, secured: bool = True, clean: bool = True
) -> Outcome:
    """An attempt that ended, and whose work dir goes."""
    code = 0 if state is ExecutionState.SUCCEEDED else 1
    return Outcome(state, code, None, clean, Decision(f"the run {state.lower()}"), secured=secured)
