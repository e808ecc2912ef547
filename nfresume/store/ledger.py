"""Size samples and prices over time. Rows are only added, so the cost of a past period never changes.

A row is never earlier than the one before it, also when the clock goes back: or what was removed after that
would be stored, and cost, for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from nfresume.domain.costs import Price, Sample
from nfresume.store import queries
from nfresume.store.database import Tx
from nfresume.store.schema import cache_samples, events, executions, prices, roots, size_samples, work_dirs

#: Name for the bytes of task dirs that no trace and no log names.
UNKNOWN = "(unknown)"
#: Two rows of one time would have no order.
_TICK = timedelta(microseconds=1)


def sample(tx: Tx, execution_id: str, metered: int, processes: Mapping[str, int] | None = None) -> None:
    """Record that the work dir has `metered` bytes from now on; `processes` maps process names to their part.

    A sample holds until the next one, so an unchanged size is not written again.
    """
    new = (metered, dict(processes or {}))
    at, *known = _newest(tx, execution_id) or (None,)
    if tuple(known) != new:
        tx.conn.execute(size_samples.insert().values(
            execution_id=execution_id, at=_following(tx, at), metered_bytes=new[0], processes=new[1]))


def sample_rest(tx: Tx, execution_id: str, metered: int) -> None:
    """Record that only `metered` bytes of the newest sample are left, each process with its old share."""
    newest = _newest(tx, execution_id)
    if newest is not None and newest[1]:
        processes = {name: size * metered // newest[1] for name, size in newest[2].items()}
        sample(tx, execution_id, metered, processes)


def sample_cache(tx: Tx, root_id: str, account: str, metered: int, kind: str = "tasks") -> None:
    """Record that a cache of an account in a root has `metered` bytes from now on.

    `kind` is `tasks` or `environments`.
    """
    c = cache_samples.c
    newest = tx.conn.execute(
        sa.select(c.at, c.metered_bytes).where(c.root_id == root_id, c.account == account, c.kind == kind)
        .order_by(c.at.desc(), c.id.desc()).limit(1)).first()
    at, known = newest or (None, 0)
    if known != metered:
        tx.conn.execute(cache_samples.insert().values(
            root_id=root_id, account=account, at=_following(tx, at), metered_bytes=metered, kind=kind))


def samples_of_caches(
    tx: Tx, account: str | None, until: datetime
) -> dict[tuple[str, str, str], list[Sample]]:
    """Samples of caches taken before `until`, by root, account and kind, oldest first."""
    c = cache_samples.c
    query = sa.select(c.root_id, c.account, c.kind, c.at, c.metered_bytes).where(
        c.at < until).order_by(c.at, c.id)
    if account is not None:
        query = query.where(c.account == account)
    found: dict[tuple[str, str, str], list[Sample]] = {}
    for root_id, whose, kind, at, metered in tx.conn.execute(query):
        found.setdefault((root_id, whose, kind), []).append(Sample(at, metered))
    return found


def _newest(tx: Tx, execution_id: str) -> tuple[datetime, int, dict[str, int]] | None:
    row = tx.conn.execute(
        sa.select(size_samples.c.at, size_samples.c.metered_bytes, size_samples.c.processes)
        .where(size_samples.c.execution_id == execution_id)
        .order_by(size_samples.c.at.desc(), size_samples.c.id.desc()).limit(1)
    ).first()
    return (row[0], row[1], row[2] or {}) if row else None


def _following(tx: Tx, newest: datetime | None) -> datetime:
    """The time of a row that follows the newest one."""
    return tx.now if newest is None else max(tx.now, newest + _TICK)


def samples(
    tx: Tx, account: str | None, since: datetime | None, until: datetime
) -> dict[str, list[Sample]]:
    """Samples taken before `until`, by execution, oldest first; of one account (None = all).

    `since`: only of work dirs that were not deleted before.
    """
    found: dict[str, list[Sample]] = {}
    columns = (size_samples.c.execution_id, size_samples.c.at, size_samples.c.metered_bytes)
    for execution_id, at, metered in tx.conn.execute(_samples(columns, account, since, until)):
        found.setdefault(execution_id, []).append(Sample(at, metered))
    return found


def samples_of(tx: Tx, execution_id: str) -> list[tuple[datetime, int, dict[str, int]]]:
    """The samples of one execution, oldest first: time, metered bytes, and those of each process."""
    query = (sa.select(size_samples.c.at, size_samples.c.metered_bytes, size_samples.c.processes)
             .where(size_samples.c.execution_id == execution_id)
             .order_by(size_samples.c.at, size_samples.c.id))
    return [(at, metered, processes or {}) for at, metered, processes in tx.conn.execute(query)]


def most(tx: Tx, execution_ids: Iterable[str]) -> dict[str, int]:
    """The largest metered bytes that each execution ever had."""
    query = (sa.select(size_samples.c.execution_id, sa.func.max(size_samples.c.metered_bytes))
             .where(size_samples.c.execution_id.in_(list(execution_ids))).group_by(size_samples.c.execution_id))
    return {execution_id: metered for execution_id, metered in tx.conn.execute(query)}  # noqa: C416


def process_samples(
    tx: Tx, account: str | None, since: datetime | None, until: datetime
) -> Iterator[tuple[str, list[tuple[datetime, dict[str, int]]]]]:
    """By execution, its samples before `until` as time and metered bytes by process, oldest first.

    `account` and `since` are as for `samples`. Bytes that belong to no known process are under UNKNOWN.
    """
    columns = (size_samples.c.execution_id, size_samples.c.at, size_samples.c.metered_bytes,
               size_samples.c.processes)
    rows = tx.conn.execute(_samples(columns, account, since, until))
    for execution_id, mine in groupby(rows, key=lambda row: str(row[0])):
        yield execution_id, [(at, _with_unknown(metered, processes)) for _, at, metered, processes in mine]


def _with_unknown(metered: int, processes: dict[str, int] | None) -> dict[str, int]:
    sizes = processes or {}
    if (rest := metered - sum(sizes.values())) > 0:
        return {**sizes, UNKNOWN: sizes.get(UNKNOWN, 0) + rest}
    return sizes


def _samples(
    columns: Iterable[sa.Column[Any]], account: str | None, since: datetime | None, until: datetime
) -> sa.Select[Any]:
    query = (
        sa.select(*columns)
        .where(size_samples.c.at < until)
        .order_by(size_samples.c.execution_id, size_samples.c.at, size_samples.c.id)
    )
    if account is not None:
        whose = executions.c.account if since is None else queries.plain(executions.c.account)
        query = query.join(executions, executions.c.id == size_samples.c.execution_id).where(whose == account)
    if since is not None:
        query = query.join(work_dirs, work_dirs.c.execution_id == size_samples.c.execution_id).where(
            queries.not_gone_before(since))
    return query


def version(tx: Tx) -> tuple[int, ...]:
    """The newest rows of all that costs are made from. It changes with each event, size and price."""
    newest = [sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0)).scalar_subquery()
              for table in (events, size_samples, cache_samples, prices)]
    return tuple(tx.conn.execute(sa.select(*newest)).one())


def set_price(tx: Tx, root_id: str, price: Price) -> None:
    """Record the price of a root from now on; does nothing when it has not changed."""
    newest = newest_price(tx, root_id)
    if newest is None or not newest.same_as(price):
        tx.conn.execute(prices.insert().values(
            root_id=root_id, since=_following(tx, newest.since if newest else None),
            per_gb_month=str(price.per_gb_month), currency=price.currency, source=price.source))


def newest_price(tx: Tx, root_id: str) -> Price | None:
    """The price that a root has now, or None."""
    mine = (prices.c.root_id == root_id) | prices.c.root_id.is_(None)
    row = tx.conn.execute(
        prices.select().where(mine).order_by(prices.c.since.desc(), prices.c.id.desc()).limit(1)
    ).first()
    return _price(row) if row else None


def price_history(tx: Tx) -> dict[str, list[Price]]:
    """By root id, all its prices, oldest first. The first one also holds for the time before it."""
    rows = tx.conn.execute(prices.select().order_by(prices.c.since, prices.c.id)).all()
    found: dict[str, list[Price]] = {}
    for root_id in tx.conn.execute(sa.select(roots.c.id)).scalars():
        if mine := [_price(row) for row in rows if row.root_id in (None, root_id)]:
            found[root_id] = mine
    return found


def _price(row: Any) -> Price:
    return Price(row.since, Decimal(row.per_gb_month), row.currency, row.source)
