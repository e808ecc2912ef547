"""Stamps of the log are local times without a year; the record has UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from nfresume.nextflow.stamps import Stamps


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch):
    """Sets the time zone of this process."""
    def choose(name: str) -> ZoneInfo:
        monkeypatch.setenv("TZ", name)
        time.tzset()
        return ZoneInfo(name)

    yield choose
    monkeypatch.undo()
    time.tzset()


def texts(moment: datetime, month: str | None = None) -> str:
    return f"{month or moment.strftime('%b')}-{moment:%d %H:%M:%S}.{moment.microsecond // 1000:03d}"


def follow(stamps: Stamps, text: str) -> datetime:
    at = stamps.milliseconds(text)
    assert at is not None
    stamps.advance(at)
    return datetime.fromtimestamp(at / 1000, UTC)


@pytest.mark.parametrize("name", ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata"])
def test_the_zone_of_the_run(zone, name: str):
    """A stamp in local time becomes UTC, with the year of the run, over new year."""
    here = zone(name)
    start = datetime(2025, 12, 31, 23, 30, tzinfo=here)
    stamps = Stamps(start.timestamp(), time.time())
    for hours in (0, 0.25, 1, 24, 24 * 40):
        moment = start.astimezone(UTC) + timedelta(hours=hours, seconds=1.5)
        assert follow(stamps, texts(moment.astimezone(here))) == moment


@pytest.mark.parametrize("there", ["UTC", "Asia/Tokyo", "Asia/Kolkata", "America/Los_Angeles"])
def test_another_zone_shows_at_the_first_line(zone, there: str):
    """Nextflow ran in another zone than this process: its first line tells how far it is off."""
    zone("Europe/Berlin")
    start = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
    stamps = Stamps(start.timestamp(), time.time())
    for seconds in (4, 3600):
        moment = start + timedelta(seconds=seconds)
        assert follow(stamps, texts(moment.astimezone(ZoneInfo(there)))) == moment


def test_daylight_saving(zone):
    """The hour that comes twice in autumn counts twice, the one that is left out in spring not at all."""
    here = zone("Europe/Berlin")
    for start in (datetime(2025, 10, 26, 0, 0, tzinfo=UTC), datetime(2026, 3, 29, 0, 0, tzinfo=UTC)):
        stamps = Stamps(start.timestamp(), time.time())
        for minutes in range(0, 240, 10):
            moment = start + timedelta(minutes=minutes)
            assert follow(stamps, texts(moment.astimezone(here))) == moment


def test_leap_day_and_no_date(zone):
    """The 29th of February is of a leap year; what is no date is none."""
    zone("UTC")
    stamps = Stamps(datetime(2028, 2, 28, 23, tzinfo=UTC).timestamp(), time.time())
    assert follow(stamps, "Feb-28 23:00:01.000") == datetime(2028, 2, 28, 23, 0, 1, tzinfo=UTC)
    assert follow(stamps, "Feb-29 01:00:00.000") == datetime(2028, 2, 29, 1, tzinfo=UTC)
    for text in ("Feb-30 01:00:00.000", "Feb-29 25:00:00.000", "Feb 28 01:00:00.000"):
        assert stamps.milliseconds(text) is None


@pytest.mark.parametrize("months", [
    ("nov.", "déc.", "janv."), ("11月", "12月", "1月"), ("thg 11", "thg 12", "thg 1")])
def test_months_of_other_locales(zone, months: tuple[str, ...]):
    """Names of months follow the user's locale. They follow each other, from the month of the start."""
    zone("UTC")
    start = datetime(2025, 11, 28, 10, tzinfo=UTC)
    stamps = Stamps(start.timestamp(), time.time())
    for days, month in ((0, months[0]), (2, months[0]), (4, months[1]), (30, months[1]), (40, months[2])):
        moment = start + timedelta(days=days, minutes=1)
        assert follow(stamps, texts(moment, month)) == moment
