"""Sizes and prices over time. Rows are added, never changed: what a closed period cost stays what it was."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from nfresume.costs import Price, Sample
from nfresume.store.database import Tx
from nfresume.store.schema import executions, prices, size_samples

#: Bytes of task dirs that no trace and no log names.
UNKNOWN = "(unknown)"


def sample(tx: Tx, execution_id: str, metered: int, processes: Mapping[str, int] | None = None) -> None:
    """From now on the work dir has so many metered bytes; `processes` says which have how many of them."""
    tx.conn.execute(size_samples.insert().values(
        execution_id=execution_id, at=tx.now, metered_bytes=metered, processes=dict(processes or {})))


def samples(tx: Tx, account: str | None, until: datetime) -> dict[str, list[Sample]]:
    """Samples taken before `until`, by execution, oldest first; of one account (None = all)."""
    found: dict[str, list[Sample]] = {}
    for row in tx.conn.execute(_samples(account, until)):
        found.setdefault(row.execution_id, []).append(Sample(row.at, row.metered_bytes))
    return found


def process_samples(tx: Tx, account: str | None, until: datetime) -> dict[tuple[str, str], list[Sample]]:
    """The same by execution and process; bytes that no process was found for are `UNKNOWN`'s."""
    found: dict[tuple[str, str], list[Sample]] = {}
    last: dict[str, dict[str, int]] = {}
    for row in tx.conn.execute(_samples(account, until)):
        sizes: dict[str, int] = dict(row.processes or {})
        if row.metered_bytes > sum(sizes.values()):
            sizes[UNKNOWN] = sizes.get(UNKNOWN, 0) + row.metered_bytes - sum(sizes.values())
        before = last.setdefault(row.execution_id, {})
        for process in before.keys() | sizes.keys():
            size = sizes.get(process, 0)
            if before.get(process) != size:  # a sample holds until the next: the same again says nothing
                before[process] = size
                found.setdefault((row.execution_id, process), []).append(Sample(row.at, size))
    return found


def _samples(account: str | None, until: datetime) -> sa.Select[Any]:
    query = (
        sa.select(size_samples)
        .where(size_samples.c.at < until)
        .order_by(size_samples.c.execution_id, size_samples.c.at, size_samples.c.id)
    )
    if account is not None:
        query = query.join(executions, executions.c.id == size_samples.c.execution_id).where(
            executions.c.account == account)
    return query


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
