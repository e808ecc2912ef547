"""The period of a report, from what the user asked for. Pure; everything is UTC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nfresume.domain.errors import UsageError

#: Nothing was stored before.
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True)
class Period:
    """[start, end), aware and UTC."""

    start: datetime
    end: datetime


def period(now: datetime, *, since: str | None, start: str | None, end: str | None, month: str | None
           ) -> Period:
    """The period that the user asked for, cut at `now`. The default is the last 30 days.

    `since` is such as `36h`, `7d` or `2w`; `start` and `end` are ISO 8601; `month` is such as `2026-10`.
    Raises UsageError for texts that are no period, and for two ways at once.
    """
    if sum(given is not None for given in (since, start or end, month)) > 1:
        raise UsageError("--since, --from/--to and --month exclude each other", "give one of them")
    try:
        if month is not None:
            first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
            return _checked(Period(first, (first + timedelta(days=32)).replace(day=1)), now)
        if start or end:
            begin = _moment(start) if start else _BEGINNING
            return _checked(Period(begin, _moment(end) if end else now), now)
        text = "30d" if since is None else since
        return _checked(Period(now - float(text[:-1]) * _UNITS[text[-1]], now), now)
    except (ValueError, KeyError, OverflowError, IndexError):
        raise UsageError(f"no such period: {since or month or f'{start} to {end}'}",
                         "for example --since 30d, --month 2026-10, or --from 2026-10-01 --to 2026-10-15"
                         ) from None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _checked(chosen: Period, now: datetime) -> Period:
    if chosen.start >= chosen.end:
        raise UsageError(f"the period ends ({chosen.end:%Y-%m-%d}) before it begins", "swap --from and --to")
    if chosen.start >= now:
        raise UsageError(f"the period begins ({chosen.start:%Y-%m-%d}) in the future",
                         "every report shows what the future costs: ask for a period of the past")
    if chosen.end <= _BEGINNING:
        raise ValueError
    return Period(max(chosen.start, _BEGINNING), min(chosen.end, now))


def days(span: Period) -> Iterator[Period]:
    """The calendar days of a period. The first and the last are cut at its ends."""
    start = span.start
    while start < span.end:
        following = midnight(start) + timedelta(days=1)
        yield Period(start, min(following, span.end))
        start = following


def midnight(moment: datetime) -> datetime:
    """The first moment of the day."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
