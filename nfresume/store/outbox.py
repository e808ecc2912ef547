"""Which events were told on which channel: each once, tried again a few times."""

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
    """Events that a channel was not told of yet, oldest first: id, event, execution's id."""
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
    """True for the one process that may tell it now; it may be tried again after the next of `waits`."""
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
    """It was told."""
    _update(tx, event_id, channel, delivered_at=tx.now, next_try_at=None, error=None)


def failed(tx: Tx, event_id: int, channel: str, error: str) -> None:
    """It could not be told; `claim` has set when to try again, if at all."""
    _update(tx, event_id, channel, error=error)


def _update(tx: Tx, event_id: int, channel: str, **values: object) -> None:
    tx.conn.execute(
        deliveries.update()
        .where(deliveries.c.event_id == event_id, deliveries.c.channel == channel)
        .values(**values)
    )


def summary(tx: Tx, channel: str) -> tuple[int, int, str | None]:
    """How many notices a channel got, how many it did not, and the newest reason."""
    mine = deliveries.c.channel == channel
    count = sa.select(sa.func.count()).select_from(deliveries).where(mine)
    told = tx.conn.execute(count.where(deliveries.c.delivered_at.is_not(None))).scalar_one()
    failed_ = tx.conn.execute(count.where(deliveries.c.error.is_not(None))).scalar_one()
    newest = tx.conn.execute(
        sa.select(deliveries.c.error).where(mine, deliveries.c.error.is_not(None))
        .order_by(deliveries.c.event_id.desc()).limit(1)
    ).scalar()
    return told, failed_, newest
