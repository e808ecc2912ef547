"""The time stamps of Nextflow's log: local time of its Java, without a year (`Nov-26 14:53:39.136`).

The month's name follows the locale: `nov.-26` for a French user. Source: the pattern in `LoggerHelper`,
the same from 22.10 to 26.04.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from nfresume.nextflow.command import HEAD
from nfresume.system import regular

_MINUTE = re.compile(r"(.+)-(\d\d) (\d\d):(\d\d)")
_MONTHS = {name: number for number, name in enumerate(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)}
MONTHS = frozenset(name.encode() for name in _MONTHS)
#: Stands for a month that is not known: the nearest one is taken.
UNKNOWN = b"?"
#: Nextflow writes its first line within this time of its start.
_START = timedelta(minutes=7)
#: Time zones differ by multiples of this.
_QUARTER = 900


def started_at(attempt_dir: Path) -> float | None:
    """When the head of an attempt was started, in POSIX seconds, as the shim recorded it."""
    try:
        return float(regular.document(attempt_dir / HEAD)["started_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Stamps:
    """Turns the stamps of one log into times in UTC.

    `started` is when Nextflow was started, in POSIX seconds. It gives the year, and the time zone: if the
    first line is not of about that time in the zone of this process, Nextflow ran in another one. `about` is
    some time of the log, where `started` is not known.
    """

    def __init__(self, started: float | None, about: float) -> None:
        self._started = started
        self._near = started if started is not None else about
        self._zone: timezone | None = None  # None: the zone of this process, with its daylight saving
        self._zone_known = started is None
        self._months = dict(_MONTHS)
        self._minute = ""
        self._base = 0

    def milliseconds(self, stamp: str) -> int | None:
        """A stamp `Nov-26 14:53:39.136` in milliseconds since 1970; None when there is no such date.

        Of all times that it may mean the one nearest to the newest stamp so far is taken: so the year
        changes, and the hour at the end of daylight saving counts twice.
        """
        if stamp[:-7] != self._minute:
            base = self._minute_of(stamp[:-7])
            if base is None:
                return None
            self._minute, self._base = stamp[:-7], base
        return self._base + int(stamp[-6:-4]) * 1000 + int(stamp[-3:])

    def advance(self, milliseconds: int) -> None:
        """Say that the log has come to this time."""
        self._near = milliseconds / 1000

    def _minute_of(self, text: str) -> int | None:
        found = _MINUTE.fullmatch(text)
        if found is None:
            return None
        day, hour, minute = int(found[2]), int(found[3]), int(found[4])
        month = self._months.get(found[1])
        months = [month] if month else range(1, 13)
        if not self._zone_known:
            self._find_zone([t for m in months for t in self._times(m, day, hour, minute)])
        times = {t: m for m in months for t in self._times(m, day, hour, minute)}
        if not times:
            return None
        nearest = min(times, key=lambda t: (abs(t - self._near), t))
        if found[1] != UNKNOWN.decode():
            self._months[found[1]] = times[nearest]
        return int(nearest) * 1000

    def _times(self, month: int, day: int, hour: int, minute: int) -> list[float]:
        """All times that a date without a year may mean, in POSIX seconds."""
        found = []
        this_year = datetime.fromtimestamp(self._near, UTC).year
        for year in (this_year - 1, this_year, this_year + 1):
            for fold in (0, 1):
                try:
                    local = datetime(year, month, day, hour, minute, fold=fold, tzinfo=self._zone)
                    found.append(local.timestamp())
                except (ValueError, OverflowError):  # the 29th of February, or no date at all
                    continue
        return found

    def _find_zone(self, times: list[float]) -> None:
        """Compare the first stamp with the start: another offset than ours means another zone."""
        if not times:
            return
        self._zone_known = True
        assert self._started is not None
        off = min((t - self._started for t in times), key=abs)
        if abs(off) > _START.total_seconds():
            here = datetime.fromtimestamp(self._started).astimezone().utcoffset() or timedelta()
            shift = timedelta(seconds=round(off / _QUARTER) * _QUARTER)
            if abs(here + shift) < timedelta(hours=24):
                self._zone = timezone(here + shift)
