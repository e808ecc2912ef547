"""Sizes and prices over time. Rows are added, never changed: what a closed period cost stays what it was."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa

from nfresume.costs import Price, Sample
from nfresume.store.database import Tx
from nfresume.store.schema import executions, prices, size_samples


def sample(tx: Tx, execution_id: str, metered: int) -> None:
    """From now on the work dir has so many metered bytes."""
    tx.conn.execute(size_samples.insert().values(execution_id=execution_id, at=tx.now, metered_bytes=metered))


def samples(
    tx: Tx, account: str | None, until: datetime, ids: Iterable[str] | None = None
) -> dict[str, list[Sample]]:
    """Samples taken before `until`, by execution, oldest first; of one account (None = all)."""
    query = (
        sa.select(size_samples.c.execution_id, size_samples.c.at, size_samples.c.metered_bytes)
        .where(size_samples.c.at < until)
        .order_by(size_samples.c.execution_id, size_samples.c.at, size_samples.c.id)
    )
    if account is not None:
        query = query.join(executions, executions.c.id == size_samples.c.execution_id).where(
            executions.c.account == account)
    if ids is not None:
        query = query.where(size_samples.c.execution_id.in_(list(ids)))
    found: dict[str, list[Sample]] = {}
    for execution_id, at, metered in tx.conn.execute(query):
        found.setdefault(execution_id, []).append(Sample(at, metered))
    return found


def set_price(tx: Tx, per_gb_month: Decimal, source: str) -> None:
    """The price that holds from now on; nothing happens when it already does."""
    newest = tx.conn.execute(
        sa.select(prices.c.per_gb_month).order_by(prices.c.since.desc(), prices.c.id.desc()).limit(1)
    ).scalar()
    if newest is None or Decimal(newest) != per_gb_month:
        tx.conn.execute(prices.insert().values(since=tx.now, per_gb_month=str(per_gb_month), source=source))


def price_history(tx: Tx) -> list[Price]:
    """Every price that held, oldest first; the first one holds for what was before it, too."""
    query = sa.select(prices.c.since, prices.c.per_gb_month).order_by(prices.c.since, prices.c.id)
    return [Price(since, Decimal(price)) for since, price in tx.conn.execute(query)]
