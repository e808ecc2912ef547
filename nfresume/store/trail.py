"""The audit trail: who did what, from where and when. It only grows; triggers refuse changes.

What users do with executions is in the event log, with its actor; reading joins both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nfresume.domain.people import Actor, AuditEntry
from nfresume.store.database import Tx
from nfresume.store.schema import audit, events, executions

#: Events of executions that belong to the trail.
EVENTS = ("launch", "relaunch", "cancel", "cancel_queued", "host_is_gone", "extend", "pin", "unpin",
          "delete", "expire", "evict")
#: The actor of what was done from the web: `people.web_actor`.
_FROM_WEB = re.compile(r"(?P<name>.+)@web\((?P<address>.*)\)")


def record(tx: Tx, name: str, actor: Actor, account: str | None = None, **detail: Any) -> None:
    """Add an entry."""
    tx.conn.execute(audit.insert().values(at=tx.now, name=name, actor=actor.name, address=actor.address,
                                          account=account, detail=detail))


def newest(
    tx: Tx, account: str | None = None, since: datetime | None = None, limit: int = 100
) -> list[AuditEntry]:
    """The newest entries, newest first, of one account (None: of all, and of none)."""
    own = sa.select(audit)
    done = sa.select(events.c.at, events.c.name, events.c.actor, events.c.detail, executions.c.account,
                     executions.c.id).join(executions, executions.c.id == events.c.execution_id).where(
                         events.c.name.in_(EVENTS))
    if account is not None:
        own, done = own.where(audit.c.account == account), done.where(executions.c.account == account)
    if since is not None:
        own, done = own.where(audit.c.at >= since), done.where(events.c.at >= since)
    rows = [AuditEntry(r.at, r.name, r.actor, r.address, r.account, r.detail)
            for r in tx.conn.execute(own.order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit))]
    rows += [_of_event(r.at, r.name, r.actor, r.account, r.detail, r.id)
             for r in tx.conn.execute(done.order_by(events.c.at.desc(), events.c.id.desc()).limit(limit))]
    return sorted(rows, key=lambda entry: entry.at, reverse=True)[:limit]


def _of_event(
    at: datetime, name: str, actor: str, account: str, detail: Mapping[str, Any], execution: str
) -> AuditEntry:
    found = _FROM_WEB.fullmatch(actor)
    who, address = (found["name"], found["address"]) if found else (actor, None)
    return AuditEntry(at, name, who, address, account, detail, execution)
