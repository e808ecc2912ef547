"""Enforce budgets: refuse to retain a work dir, plan evictions, note when a budget is nearly used up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from nfresume.billing import pricing, reuse_value
from nfresume.domain import budgets
from nfresume.domain.budgets import Standing, WhenFull
from nfresume.domain.costs import GB
from nfresume.domain.errors import NfresumeError
from nfresume.domain.executions import Execution
from nfresume.domain.retention import PlanLine
from nfresume.domain.workdirs import WorkDirState
from nfresume.retained.places import Folders
from nfresume.settings import Settings
from nfresume.store import Store, Tx, guarded, queries


def standings(tx: Tx, conf: Settings, executions: Iterable[Execution]) -> list[Standing]:
    """How far each configured budget is used by these executions."""
    if not conf.budgets:
        return []
    roots = {root.id: root.path for root in queries.all_roots(tx)}
    prices = {root_id: pricing.of_root(tx, conf, root_id) for root_id in roots}
    return list(budgets.standings(conf.budgets, executions, roots, lambda e: prices[e.root_id]))


def refusal(store: Store, conf: Settings, execution: Execution) -> str | None:
    """Why the execution's work dir must not be retained: it would exceed a budget. None: it may be retained.

    The work dir must have been measured before.
    """
    with store.begin(write=False) as tx:
        fresh = queries.get(tx, execution.id)
        new = replace(fresh, work_dir=replace(fresh.work_dir, state=WorkDirState.RETAINED))
        for standing in standings(tx, conf, [*queries.to_sweep(tx), new]):
            mine = any(member.id == execution.id for member in standing.members)
            if mine and standing.budget.when_full is WhenFull.REFUSE and standing.share > 1:
                return f"it would take {standing}"
    return None


def refuses(conf: Settings) -> bool:
    """True when a budget can refuse to retain a work dir. Then each must be measured at its first failure."""
    return any(budget.when_full is WhenFull.REFUSE for budget in conf.budgets)


def plan(store: Store, conf: Settings, executions: Iterable[Execution]) -> list[PlanLine]:
    """The work dirs to evict for budgets with `when_full = "evict"`, each with its reason."""
    with store.begin(write=False) as tx:
        now = tx.now
        over = [s for s in standings(tx, conf, executions)
                if s.budget.when_full is WhenFull.EVICT and s.share > 1]
    lines: dict[str, PlanLine] = {}
    folders = Folders(store)
    for standing in over:
        rates = {e.id: rate for e in standing.members
                 if not _waits(e, now) and (rate := _seconds_per_gb(folders, conf, e)) is not None}
        for execution in budgets.to_evict(standing, rates):
            lines[execution.id] = PlanLine(
                execution, "evict", f"retained storage is {standing}; computing it again takes "
                f"{rates[execution.id]:,.0f} s of task time per GB, the least")
    return list(lines.values())


def _waits(execution: Execution, now: datetime) -> bool:
    """True when a deletion was given up, and is not to be tried again yet."""
    again = execution.work_dir.look_again_at
    return again is not None and again > now


def _seconds_per_gb(folders: Folders, conf: Settings, execution: Execution) -> float | None:
    if not budgets.may_be_evicted(execution):
        return None
    try:
        saves = reuse_value.saved_by_relaunch(folders, conf, execution)
    except (NfresumeError, OSError):
        return None
    metered = execution.work_dir.metered_bytes or 1
    return None if saves is None else saves.total_seconds() / metered * GB


def warn(store: Store, conf: Settings, actor: str) -> list[str]:
    """Note in the history each budget that is nearly or fully used, once per newly retained work dir.

    Returns what was noted, one line each.
    """
    said: list[str] = []
    if not conf.budgets:
        return said
    with store.begin(write=False) as tx:
        near = [s for s in standings(tx, conf, queries.to_sweep(tx)) if s.share >= s.budget.warn_at]
    for standing in near:
        newest = standing.members[0]
        level = "budget_full" if standing.share > 1 else "budget_near"
        with store.begin() as tx:
            known = [e.detail.get("budget") for e in queries.events_of(tx, newest.id) if e.name == level]
            if standing.name not in known:
                reason = f"retained storage is {standing}"
                guarded.note(tx, newest.id, level, actor, {"budget": standing.name, "reason": reason})
                said.append(reason)
    return said
