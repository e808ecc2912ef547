"""Deliveries of events to channels: each event goes to each channel once, with a few retries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nfresume.domain.executions import Event
from nfresume.store.database import Tx
from nfresume.store.schema import deliveries, events, executions


def due(
    tx: Tx, channel: str, names: Sequence[str], stale: timedelta, account: str | None
) -> list[tuple[int, Event, str]]:
    """Events to deliver to a channel now, oldest first, as event id, event and execution id.

    Only events with one of `names`, not older than `stale`, of `account` (None = all).
    """
    mine = (deliveries.c.event_id == events.c.id) & (deliveries.c.channel == channel)
    query = (
        sa.select(events)
        .outerjoin(deliveries, mine)
        .where(
            events.c.name.in_(names), events.c.at > tx.now - stale,
            deliveries.c.event_id.is_(None) | (deliveries.c.next_try_at <= tx.now),
        )
        .order_by(events.c.id)
    )
    if account is not None:
        query = query.join(executions, executions.c.id == events.c.execution_id).where(
            executions.c.account == account)
    return [(row.id, Event(row.at, row.name, row.actor, row.attempt, row.detail), row.execution_id)
            for row in tx.conn.execute(query)]


def claim(tx: Tx, event_id: int, channel: str, waits: Sequence[timedelta]) -> bool:
    """Claim one delivery; False when another process has it. It is due again after the next of `waits`."""
    mine = (deliveries.c.event_id == event_id) & (deliveries.c.channel == channel)
    tries = tx.conn.execute(sa.select(deliveries.c.tries).where(mine)).scalar()
    if tries is None:
        try:
            with tx.conn.begin_nested():
                tx.conn.execute(deliveries.insert().values(
                    event_id=event_id, channel=channel, tries=1, next_try_at=tx.now + waits[0]))
        except IntegrityError:
            return False
        return True
    again = tx.now + waits[tries] if tries < len(waits) else None
    result = tx.conn.execute(
        deliveries.update()
        .where(mine, deliveries.c.tries == tries, deliveries.c.next_try_at <= tx.now)
        .values(tries=tries + 1, next_try_at=again)
    )
    return result.rowcount == 1


def delivered(tx: Tx, event_id: int, channel: str) -> None:
    """Record a delivery that succeeded."""
    _update(tx, event_id, channel, delivered_at=tx.now, next_try_at=None, error=None)


def failed(tx: Tx, event_id: int, channel: str, error: str) -> None:
    """Record a delivery that failed; `claim` has already set when to try again, if at all."""
    _update(tx, event_id, channel, error=error)


def _update(tx: Tx, event_id: int, channel: str, **values: object) -> None:
    tx.conn.execute(
        deliveries.update()
        .where(deliveries.c.event_id == event_id, deliveries.c.channel == channel)
        .values(**values)
    )


def summary(tx: Tx, channel: str) -> tuple[int, int, str | None]:
    """For a channel: how many notices were delivered, how many failed, and the newest error."""
    mine = deliveries.c.channel == channel
    count = sa.select(sa.func.count()).select_from(deliveries).where(mine)
    delivered_ = tx.conn.execute(count.where(deliveries.c.delivered_at.is_not(None))).scalar_one()
    failed_ = tx.conn.execute(count.where(deliveries.c.error.is_not(None))).scalar_one()
    newest = tx.conn.execute(
        sa.select(deliveries.c.error).where(mine, deliveries.c.error.is_not(None))
        .order_by(deliveries.c.event_id.desc()).limit(1)
    ).scalar()
    return delivered_, failed_, newest
