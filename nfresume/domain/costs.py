"""What retained storage costs. Pure.

Metered bytes follow AWS EFS ("Metering Amazon EFS file system objects"): every object counts 2 KiB of
metadata, and data is rounded up to 4 KiB. A symlink or special file has 4 KiB of data. A directory has the
data of its entries, at least 4 KiB. A GB-month is 2**30 bytes for the hours of the calendar month. A rate
per month uses 730 hours, as AWS's own calculators do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property

OBJECT_BYTES = 2048
DATA_STEP = 4096
GB = 2**30
HOURS_PER_MONTH = 730
_HOUR = 3_600_000_000  # microseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)

#: ISO 4217 code.
DEFAULT_CURRENCY = "USD"


def metered_bytes(size: int) -> int:
    """Bytes that EFS meters for one object with `size` bytes of data."""
    return OBJECT_BYTES + -(-size // DATA_STEP) * DATA_STEP


def cost_per_month(metered: int, price: Decimal) -> Decimal:
    """Cost of keeping `metered` bytes for one month; `price` is per GB-month, the cost in its currency."""
    return Decimal(metered) / GB * price


def cost_until(metered: int, hours: float, price: Decimal) -> Decimal:
    """Cost of keeping `metered` bytes for `hours`; `price` is per GB-month."""
    return cost_per_month(metered, price) * Decimal(hours) / HOURS_PER_MONTH


def cpu_cost(time: timedelta, price_per_cpu_hour: Decimal) -> Decimal:
    """Cost of this much task time on one CPU."""
    return Decimal(_microseconds(time)) / _HOUR * price_per_cpu_hour


def break_even_hours(
    saved: timedelta, price_per_cpu_hour: Decimal, metered: int, price: Decimal
) -> Decimal | None:
    """The number of hours after which keeping has cost more than computing again. None: keeping is free.

    `saved` is the task time that a relaunch would reuse, `metered` the kept bytes, `price` per GB-month.
    """
    per_hour = cost_per_month(metered, price) / HOURS_PER_MONTH
    return cpu_cost(saved, price_per_cpu_hour) / per_hour if per_hour else None


# -- usage: bytes integrated over time -------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Sample:
    """A work dir's metered bytes, valid from `at` (aware) until its next sample."""

    at: datetime
    metered: int


@dataclass(frozen=True, order=True)
class Price:
    """The price of a GB-month, valid from `since` (aware) until the next price. ISO 4217 currency."""

    since: datetime
    per_gb_month: Decimal
    currency: str = DEFAULT_CURRENCY
    source: str = field(default="", compare=False)

    def same_as(self, other: Price) -> bool:
        """True when both cost the same, whatever they are known from and since when."""
        return (self.per_gb_month, self.currency) == (other.per_gb_month, other.currency)


@dataclass(frozen=True)
class Usage:
    """Storage used over a period, in exact integers: the usage of parts adds up to that of the whole.

    `parts` are byte-microseconds by (first moment of the calendar month, price per GB-month, currency).
    """

    parts: Mapping[tuple[datetime, Decimal, str], int] = field(default_factory=dict)

    def __add__(self, other: Usage) -> Usage:
        parts = dict(self.parts)
        for key, amount in other.parts.items():
            parts[key] = parts.get(key, 0) + amount
        return Usage(parts)

    @property
    def gb_hours(self) -> Decimal:
        """Usage in GB times hours."""
        return _decimal(Fraction(sum(self.parts.values()), GB * _HOUR))

    @property
    def gb_months(self) -> Decimal:
        """Usage in GB times calendar months (UTC), the unit in which AWS bills EFS."""
        return _decimal(sum((Fraction(n, GB * _length(month)) for (month, _, _), n in self.parts.items()),
                            Fraction()))

    @cached_property
    def costs(self) -> Mapping[str, Decimal]:
        """Cost by currency. Amounts in different currencies are never added."""
        found: dict[str, Fraction] = {}
        for (month, price, currency), n in self.parts.items():
            if price:
                amount = Fraction(n, GB * _length(month)) * Fraction(price)
                found[currency] = found.get(currency, Fraction()) + amount
        return {currency: _decimal(amount) for currency, amount in found.items()}

    def cost(self, currency: str = DEFAULT_CURRENCY) -> Decimal:
        """Cost in one currency."""
        return self.costs.get(currency, Decimal(0))


class Meter:
    """Integrates sizes over [start, end).

    The period is cut into intervals at the start of each calendar month, at each new price, and at `cuts`
    (aware). `starts` are the starts of the intervals; `edges` are their borders in microseconds since 1970,
    one more than there are intervals. Amounts are one integer of byte-microseconds per interval. The first
    price also holds before its time; without any price it is 0.
    """

    def __init__(
        self, prices: Iterable[Price], start: datetime, end: datetime, cuts: Iterable[datetime] = ()
    ) -> None:
        in_force = sorted(prices)
        end = max(start, end)
        months = _months(start, end)
        inner = {*months, *(price.since for price in in_force), *cuts}
        moments = sorted({start, end, *(m for m in inner if start < m < end)})
        self.starts = moments[:-1]
        self.edges = [_since_epoch(moment) for moment in moments]
        self._keys = [_key(moment, in_force) for moment in self.starts]

    def zeros(self) -> list[int]:
        """Amounts by interval, all 0, to add to."""
        return [0] * len(self._keys)

    def split(self, begin: datetime, finish: datetime) -> Iterator[tuple[int, int]]:
        """Split [begin, finish) by interval: pairs of an interval's index and the microseconds in it."""
        at, until = max(_since_epoch(begin), self.edges[0]), min(_since_epoch(finish), self.edges[-1])
        if at >= until:
            return
        number = bisect_right(self.edges, at) - 1
        while at < until:
            edge = min(until, self.edges[number + 1])
            yield number, edge - at
            at, number = edge, number + 1

    def add(self, samples: Iterable[Sample], amounts: list[int]) -> None:
        """Add the integral of one work dir's metered bytes to `amounts`. Before its first sample it has 0."""
        steps = sorted(samples)
        last = [_END_OF_TIME] if steps else []
        for sample, until in zip(steps, [*(s.at for s in steps[1:]), *last], strict=True):
            if sample.metered:
                for number, length in self.split(sample.at, until):
                    amounts[number] += sample.metered * length

    def usage(self, amounts: Sequence[int]) -> Usage:
        """Amounts by interval, added up by month and price."""
        parts: dict[tuple[datetime, Decimal, str], int] = {}
        for key, amount in zip(self._keys, amounts, strict=True):
            if amount:
                parts[key] = parts.get(key, 0) + amount
        return Usage(parts)


def usage(samples: Iterable[Sample], prices: Iterable[Price], start: datetime, end: datetime) -> Usage:
    """The integral of one work dir's metered bytes over [start, end).

    Check value, from AWS's EFS pricing page: 100 GB for 15 days and 250 GB for 16 days of March are
    132,000 GB-hours, 177 GB-months.
    """
    meter = Meter(prices, start, end)
    amounts = meter.zeros()
    meter.add(samples, amounts)
    return meter.usage(amounts)


def _key(moment: datetime, prices: Sequence[Price]) -> tuple[datetime, Decimal, str]:
    if not prices:
        return _month(moment), Decimal(0), DEFAULT_CURRENCY
    price = next((p for p in reversed(prices) if p.since <= moment), prices[0])
    return _month(moment), price.per_gb_month, price.currency


def _months(start: datetime, end: datetime) -> Iterator[datetime]:
    """Starts of the months (UTC) within (start, end)."""
    month = _next_month(start)
    while month < end:
        yield month
        month = _next_month(month)


def _month(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(moment: datetime) -> datetime:
    return _month(_month(moment) + timedelta(days=32))


def _length(month: datetime) -> int:
    return _microseconds(_next_month(month) - month)


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _since_epoch(moment: datetime) -> int:
    span = moment - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)
