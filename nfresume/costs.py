"""What retained storage costs. Pure.

Metered bytes follow AWS EFS ("Metering Amazon EFS file system objects"): every object counts 2 KiB of
metadata, and data is rounded up to 4 KiB; a symlink or special file has 4 KiB of data, a directory what
its entries take, at least 4 KiB. A GB-month is 2**30 bytes for the hours
of the month; a rate per month uses 730 hours, as AWS's own calculators do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

OBJECT_BYTES = 2048
DATA_STEP = 4096
GB = 2**30
HOURS_PER_MONTH = 730
_HOUR = 3_600_000_000  # microseconds

#: USD per GB-month: EFS Standard in us-east-1, list price of 2025-01.
DEFAULT_PRICE = Decimal("0.30")


def metered_bytes(size: int) -> int:
    """Bytes that EFS meters for one object with `size` bytes of data."""
    return OBJECT_BYTES + -(-size // DATA_STEP) * DATA_STEP


def cost_per_month(metered: int, price: Decimal) -> Decimal:
    """Cost of keeping `metered` bytes for one month, in the price's currency (per GB-month)."""
    return Decimal(metered) / GB * price


def cost_until(metered: int, hours: float, price: Decimal) -> Decimal:
    """Cost of keeping `metered` bytes for `hours`."""
    return cost_per_month(metered, price) * Decimal(hours) / HOURS_PER_MONTH


def break_even_hours(
    saved: timedelta, price_per_cpu_hour: Decimal, metered: int, price: Decimal
) -> Decimal | None:
    """After so many hours keeping has cost more than computing again; None when keeping costs nothing.

    `saved` is the task time that a relaunch would reuse, counted as one CPU.
    """
    per_hour = cost_per_month(metered, price) / HOURS_PER_MONTH
    hours = Decimal(saved // timedelta(microseconds=1)) / _HOUR
    return hours * price_per_cpu_hour / per_hour if per_hour else None


# -- the ledger: an integral over time -------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Sample:
    """A work dir's metered bytes, from `at` (aware) until its next sample."""

    at: datetime
    metered: int


@dataclass(frozen=True, order=True)
class Price:
    """What a GB-month costs from `since` (aware) until the next price."""

    since: datetime
    per_gb_month: Decimal


@dataclass(frozen=True)
class Usage:
    """Storage used over a period, exactly: sums of parts are sums of the whole.

    `parts`: byte-microseconds by first moment of the calendar month and price per GB-month.
    """

    parts: Mapping[tuple[datetime, Decimal], int] = field(default_factory=dict)

    def __add__(self, other: Usage) -> Usage:
        parts = dict(self.parts)
        for key, amount in other.parts.items():
            parts[key] = parts.get(key, 0) + amount
        return Usage(parts)

    @property
    def gb_hours(self) -> Decimal:
        """GB for so many hours."""
        return _decimal(Fraction(sum(self.parts.values()), GB * _HOUR))

    @property
    def gb_months(self) -> Decimal:
        """GB for all hours of a calendar month (UTC), as AWS bills EFS."""
        return _decimal(sum((Fraction(n, GB * _length(month)) for (month, _), n in self.parts.items()),
                            Fraction()))

    @property
    def cost(self) -> Decimal:
        """In the currency of the prices."""
        return _decimal(sum((Fraction(n, GB * _length(month)) * Fraction(price)
                             for (month, price), n in self.parts.items()), Fraction()))


def usage(samples: Iterable[Sample], prices: Iterable[Price], start: datetime, end: datetime) -> Usage:
    """The integral of metered bytes over [start, end), by month and by the price of each moment.

    Before its first sample a work dir has no bytes; before the first price that price holds (0 when
    there is none). Check value of AWS: 100 GB for 15 days and 250 GB for 16 days of March are 132,000
    GB-hours, 177 GB-months.
    """
    in_force = sorted(prices)
    cuts = [price.since for price in in_force]
    parts: dict[tuple[datetime, Decimal], int] = {}
    for begin, finish, metered in spans(samples, start, end):
        for a, b in _pieces(begin, finish, cuts):
            key = (_month(a), _price_at(a, in_force))
            parts[key] = parts.get(key, 0) + metered * _microseconds(b - a)
    return Usage(parts)


def spans(
    samples: Iterable[Sample], start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime, int]]:
    """When within [start, end) how many bytes were held, times without any left out."""
    steps = sorted(samples)
    for sample, until in zip(steps, [*(s.at for s in steps[1:]), end], strict=False):
        begin, finish = max(sample.at, start), min(until, end)
        if sample.metered and begin < finish:
            yield begin, finish, sample.metered


def _price_at(moment: datetime, prices: Sequence[Price]) -> Decimal:
    if not prices:
        return Decimal(0)
    return next((p for p in reversed(prices) if p.since <= moment), prices[0]).per_gb_month


def _pieces(
    begin: datetime, finish: datetime, cuts: Iterable[datetime]
) -> Iterator[tuple[datetime, datetime]]:
    """[begin, finish) cut at the starts of months and at `cuts`."""
    edges = {begin, finish, *(cut for cut in cuts if begin < cut < finish)}
    month = _next_month(begin)
    while month < finish:
        edges.add(month)
        month = _next_month(month)
    return pairwise(sorted(edges))


def _month(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(moment: datetime) -> datetime:
    return _month(_month(moment) + timedelta(days=32))


def _length(month: datetime) -> int:
    return _microseconds(_next_month(month) - month)


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)
