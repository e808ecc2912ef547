"""Until when a work dir is kept, and what the end of an attempt will do with it: changes that people ask for.

All functions take the transaction `tx`. They raise Conflict when the state does not allow the change.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nfresume.domain import workdirs as wd
from nfresume.domain.workdirs import Keep, KeepKind, OnSuccess, Retain, WorkDirState
from nfresume.store.database import Tx
from nfresume.store.guarded import ALWAYS, lock, move_work_dir, record, refused
from nfresume.store.schema import executions, work_dirs


def extend(
    tx: Tx, execution_id: str, until: datetime, actor: str, notice_at: datetime | None = None
) -> None:
    """RETAINED -> RETAINED: a person asks for another time. Raises Conflict when it is pinned."""
    lock(tx, execution_id)
    keep = Keep(KeepKind.EXTENDED, f"{actor} asked to keep it", until, actor)
    also = sa.func.coalesce(work_dirs.c.keep_kind, "") != KeepKind.PINNED
    move_work_dir(tx, execution_id, wd.KEEP, also=also, notice_at=notice_at, look_again_at=None,
                  **kept(keep))
    record(tx, execution_id, "extend", actor, None, {"expires_at": until.isoformat()})


def pin(tx: Tx, execution_id: str, actor: str) -> None:
    """Keep a work dir until it is unpinned; it may be pinned while its attempt still runs."""
    _change_pin(tx, execution_id, "pin", keep_kind_is_pinned=False, notice_at=None, look_again_at=None,
                **kept(pinned(actor)))
    record(tx, execution_id, "pin", actor)


def unpin(
    tx: Tx, execution_id: str, until: datetime | None, actor: str, notice_at: datetime | None = None
) -> None:
    """A retained work dir is kept `until`; of an active one (None) the end of its attempt decides.

    Raises Conflict when it is not pinned.
    """
    keep = Keep(KeepKind.RULE, "it was unpinned", until) if until is not None else None
    _change_pin(tx, execution_id, "unpin", keep_kind_is_pinned=True, notice_at=notice_at, **kept(keep))
    record(tx, execution_id, "unpin", actor, None, {"expires_at": until.isoformat() if until else None})


def pinned(actor: str) -> Keep:
    return Keep(KeepKind.PINNED, f"pinned by {actor}", None, actor)


def kept(keep: Keep | None) -> dict[str, Any]:
    """The columns of a Keep."""
    if keep is None:
        return {"keep_kind": None, "expires_at": None, "kept_by": None, "kept_why": None}
    return {"keep_kind": keep.kind, "expires_at": keep.until, "kept_by": keep.by, "kept_why": keep.why}


def _change_pin(tx: Tx, execution_id: str, action: str, *, keep_kind_is_pinned: bool, **values: Any) -> None:
    lock(tx, execution_id)
    keepable = work_dirs.c.state.in_([WorkDirState.ACTIVE, WorkDirState.RETAINED])
    pinned = sa.func.coalesce(work_dirs.c.keep_kind, "") == KeepKind.PINNED
    also = pinned if keep_kind_is_pinned else ALWAYS
    result = tx.conn.execute(
        work_dirs.update().where(work_dirs.c.execution_id == execution_id, keepable, also).values(**values)
    )
    if result.rowcount != 1:
        raise refused(tx, execution_id, action)


def expiry_near(tx: Tx, execution_id: str, expires_at: datetime, actor: str) -> bool:
    """Record once that a retained work dir expires soon; False when it was recorded or has changed."""
    lock(tx, execution_id)
    result = tx.conn.execute(
        work_dirs.update()
        .where(
            work_dirs.c.execution_id == execution_id, work_dirs.c.state == WorkDirState.RETAINED,
            work_dirs.c.expires_at == expires_at,
            work_dirs.c.notice_at <= tx.now,
        )
        .values(notice_at=None)
    )
    if result.rowcount:
        record(tx, execution_id, "expiry_near", actor, None, {"expires_at": expires_at.isoformat()})
    return bool(result.rowcount)


def set_policy(
    tx: Tx, execution_id: str, retain: Retain | None, on_success: OnSuccess | None, actor: str
) -> None:
    """Change what future attempts keep; None leaves a choice as it is."""
    chosen = {k: v for k, v in (("retain", retain), ("on_success", on_success)) if v is not None}
    if chosen:
        tx.conn.execute(executions.update().where(executions.c.id == execution_id).values(**chosen))
        record(tx, execution_id, "set_policy", actor, None, chosen)


def set_expiration(tx: Tx, execution_id: str, hours: float, source: str, actor: str) -> None:
    """Change the storage expiration in hours for future failures; `source` says where it comes from."""
    tx.conn.execute(
        executions.update().where(executions.c.id == execution_id)
        .values(storage_expiration_hours=hours, storage_expiration_source=source)
    )
    record(tx, execution_id, "set_expiration", actor, None, {"hours": hours, "source": source})
