"""Transitions of a work dir's deletion: start, claim, point of no return, hold, progress, tombstone.

One way leads from kept to gone. Whoever starts or takes over a deletion holds a claim with a token, and
every change below takes that claim: the database refuses an older one (StaleClaim).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from nfresume.domain import retention
from nfresume.domain import workdirs as wd
from nfresume.domain.errors import Conflict, StaleClaim
from nfresume.domain.retention import Hold
from nfresume.domain.workdirs import Claim, KeepKind, RemovalProgress, WorkDir, WorkDirState
from nfresume.store import keeping, ledger, queries, transitions
from nfresume.store.database import Tx
from nfresume.store.guarded import lock, record
from nfresume.store.schema import clean, executions, work_dirs
from nfresume.store.transitions import Claimant


def expire(tx: Tx, execution_id: str, attempt: int, actor: str, claimant: Claimant) -> Claim:
    """RETAINED -> DELETING, only if the work dir is due at this moment. Raises Conflict otherwise."""
    lock(tx, execution_id)
    found = queries.get(tx, execution_id).work_dir
    if not retention.is_due(found, tx.now):
        raise Conflict(f"{execution_id} is not due", f"`nfresume show {execution_id}` tells more")
    reason = found.keep.why if found.keep is not None and found.held else "expired"
    return _start(tx, execution_id, attempt, "expire", reason, actor, claimant)


def delete(tx: Tx, execution_id: str, attempt: int, reason: str, actor: str, claimant: Claimant) -> Claim:
    """RETAINED -> DELETING on request. Raises Conflict if the work dir is pinned or was relaunched."""
    return _start(tx, execution_id, attempt, "delete", reason, actor, claimant)


def evict(tx: Tx, execution_id: str, attempt: int, reason: str, actor: str, claimant: Claimant) -> Claim:
    """RETAINED -> DELETING because a budget is used up. Raises Conflict if it is pinned or held."""
    return _start(tx, execution_id, attempt, "evict", reason, actor, claimant,
                  also=work_dirs.c.keep_kind != KeepKind.HELD)


def _start(
    tx: Tx, execution_id: str, attempt: int, event: str, reason: str, actor: str, claimant: Claimant,
    also: Any = None,
) -> Claim:
    """`attempt` must still be the last one: what a later one published was not planned for."""
    lock(tx, execution_id)
    same = sa.exists().where(executions.c.id == execution_id, executions.c.attempt == attempt)
    free = sa.func.coalesce(work_dirs.c.keep_kind, "") != KeepKind.PINNED
    guard = same & free if also is None else same & free & also
    claim = transitions.start_deletion(tx, execution_id, wd.DELETE, claimant, guard, reason=reason)
    record(tx, execution_id, event, actor, None, {"reason": reason})
    return claim


def take(tx: Tx, execution_id: str, claimant: Claimant, dead: str | None = None) -> Claim | None:
    """Take over a DELETING work dir whose claim has run out, was given up, or is held by `dead`.

    `dead` names a claimant that is known to live no more. None: another process has the claim.
    """
    lock(tx, execution_id)
    until = work_dirs.c.claimed_until
    free = until.is_(None) | (until < tx.now)
    if dead is not None:
        free |= work_dirs.c.claimed_by == dead
    result = tx.conn.execute(
        work_dirs.update()
        .where(work_dirs.c.execution_id == execution_id, work_dirs.c.state == WorkDirState.DELETING, free)
        .values(claimed_by=claimant.name, claimed_until=tx.now + timedelta(seconds=claimant.seconds),
                claim_token=work_dirs.c.claim_token + 1)
    )
    return transitions.current_claim(tx, execution_id) if result.rowcount else None


def renew(tx: Tx, claim: Claim, seconds: float, so_far: RemovalProgress | None = None) -> None:
    """Prolong a claim, and tell others how far the removal is. Raises StaleClaim."""
    _update(tx, claim, claimed_until=tx.now + timedelta(seconds=seconds), **_progress(so_far))


def no_way_back(tx: Tx, claim: Claim) -> None:
    """The results are secured: from here on the work dir can only go. Raises StaleClaim."""
    _update(tx, claim, secured_at=tx.now)


def hold(tx: Tx, claim: Claim, hold: Hold, actor: str) -> None:
    """DELETING -> RETAINED: deleting it would lose something. Raises StaleClaim, also past the way back."""
    lock(tx, claim.execution_id)
    found: WorkDir = queries.get(tx, claim.execution_id).work_dir
    decision = retention.given_up(hold, found, tx.now)
    assert decision.keep is not None
    _update(
        tx, claim, work_dirs.c.secured_at.is_(None), state=wd.HOLD.target, reason=decision.reason,
        look_again_at=decision.look_again_at, looks=found.looks + 1, claimed_until=None,
        **keeping.kept(decision.keep),
    )
    if not _told_before(found, decision.reason):
        record(tx, claim.execution_id, "hold", actor, None, {"reason": decision.reason})


def _told_before(work_dir: WorkDir, reason: str) -> bool:
    """True when the same hold was found by the last look: the history need not say it every day."""
    return work_dir.held and work_dir.keep is not None and work_dir.keep.why == clean(reason)


def _progress(so_far: RemovalProgress | None) -> dict[str, Any]:
    return {} if so_far is None else {"removal": asdict(so_far)}


def give_up(tx: Tx, claim: Claim) -> None:
    """Stay DELETING without a claim: the next sweep does it."""
    _update(tx, claim, claimed_until=None)


def paused(tx: Tx, claim: Claim, so_far: RemovalProgress, actor: str) -> None:
    """Stay DELETING and give up the claim, so that the next sweep continues at once."""
    _update(tx, claim, claimed_until=None, **_progress(so_far))
    _sample_rest(tx, claim.execution_id, so_far)
    record(tx, claim.execution_id, "removal_paused", actor, None, asdict(so_far))


def _sample_rest(tx: Tx, execution_id: str, so_far: RemovalProgress) -> None:
    """Sample the bytes that are left, estimated by the share of files that are left: they still cost."""
    row = tx.conn.execute(sa.select(work_dirs.c.metered_bytes, work_dirs.c.files)
                          .where(work_dirs.c.execution_id == execution_id)).one()
    if row.metered_bytes and row.files:
        left = so_far.remaining_files(row.files) or 0
        ledger.sample_rest(tx, execution_id, row.metered_bytes * left // row.files)


def blocked(
    tx: Tx, claim: Claim, reason: str, actor: str, so_far: RemovalProgress | None = None
) -> None:
    """Stay DELETING, record why it cannot be removed, and give up the claim.

    It is tried again after a time that doubles with each try in vain.
    """
    lock(tx, claim.execution_id)
    found = queries.get(tx, claim.execution_id).work_dir
    met = replace(so_far or found.removal or RemovalProgress(), obstacle=clean(reason))
    _update(tx, claim, claimed_until=None, looks=found.looks + 1,
            look_again_at=tx.now + retention.patience(found.looks), **_progress(met))
    if found.removal is None or found.removal.obstacle != met.obstacle:
        record(tx, claim.execution_id, "removal_blocked", actor, None, {"reason": reason})
    if so_far is not None:
        _sample_rest(tx, claim.execution_id, so_far)


def removed(tx: Tx, claim: Claim, actor: str, freed: RemovalProgress) -> None:
    """DELETING -> DELETED; the row stays as a tombstone: when, by whom and how much was deleted."""
    _update(tx, claim, state=wd.REMOVED.target, deleted_at=tx.now, claimed_until=None, look_again_at=None,
            notice_at=None,
            **keeping.kept(None), **_progress(freed))
    ledger.sample(tx, claim.execution_id, 0)
    record(tx, claim.execution_id, "removed", actor, None, asdict(freed))


def _update(tx: Tx, claim: Claim, also: Any = None, **values: Any) -> None:
    """One guarded change by the holder of the newest claim. Raises StaleClaim for all others."""
    lock(tx, claim.execution_id)
    mine = (
        (work_dirs.c.execution_id == claim.execution_id) & (work_dirs.c.claim_token == claim.token)
        & (work_dirs.c.state == WorkDirState.DELETING)
    )
    guard = mine if also is None else mine & also
    if tx.conn.execute(work_dirs.update().where(guard).values(**values)).rowcount != 1:
        raise StaleClaim(f"another process deletes the work dir of {claim.execution_id}, or has done so")


def measured(
    tx: Tx, execution_id: str, processes: Mapping[str, int] | None = None, **sizes: int
) -> None:
    """Record a work dir's size: bytes, disk_bytes, metered_bytes, files, directories and partial.

    `processes` maps process names to metered bytes, for the sample. Does nothing for a DELETED work dir.
    """
    lock(tx, execution_id)
    result = tx.conn.execute(
        work_dirs.update()
        .where(work_dirs.c.execution_id == execution_id, work_dirs.c.state != WorkDirState.DELETED)
        .values(measured_at=tx.now, **sizes)
    )
    if result.rowcount:
        ledger.sample(tx, execution_id, sizes["metered_bytes"], processes)
