"""Notices: channels, texts, and when an expiry is near."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from nfresume.domain.executions import Event
from nfresume.domain.notices import KINDS, Channel, Kind, notice, parse, still_true
from nfresume.domain.retention import notice_at
from tests.outcomes import until
from tests.unit.domain.test_budgets import NOW, retained


def test_channels():
    """Channels come from URLs and tables, JSON, or one URL. Their secrets are never shown."""
    url = "mailto://user:secret@example.org"
    plain, detailed = parse([url, {"url": "json://h/", "account": "*", "kinds": ["failure"]}])
    assert plain == Channel(url)
    assert (detailed.account, detailed.kinds) == ("*", (Kind.FAILURE,))
    assert parse(url) == parse(json.dumps([url])) == (plain,)
    assert "secret" not in str(plain) + plain.key
    assert str(detailed).startswith("json://...")


@pytest.mark.parametrize("bad", [
    [3], {"url": "x"}, ["no url"], [{"url": "json://h", "kind": "x"}], [{"url": "json://h", "kinds": ["x"]}],
    [{"url": "json://h", "account": "../x"}], [{"account": "a"}], "[broken",
])
def test_what_is_no_channel_is_refused(bad: object):
    """The error is one line without the URL, which may hold a password."""
    with pytest.raises(ValueError) as caught:
        parse(bad)
    assert "\n" not in str(caught.value)


def told(name: str, **detail) -> str:
    execution = retained("rnaseq-1", keep=until(NOW + timedelta(hours=48)))
    said = notice(Event(NOW, name, "me", 1, detail), execution, "Process `X` failed", "3.00 USD")
    return f"{said.title}\n{said.text}"


@pytest.mark.parametrize(("name", "detail", "parts"), [
    ("fail", {"work_dir": "kept"}, ["rnaseq-1 failed: Process `X` failed", "nfresume relaunch rnaseq-1",
                                    "kept until 2026-11-23 00:00 UTC, in 48 h", "3.00 USD a month"]),
    ("fail", {"work_dir": "deleting", "reason": "storage_expiration_hours is 0"}, ["not kept", "is 0"]),
    ("expiry_near", {}, ["expires 2026-11-23 00:00 UTC, in 48 h", "nfresume extend rnaseq-1"]),
    ("expire", {}, ["has expired", "nfresume launch main.nf"]),
    ("removal_blocked", {"reason": "1 thing"}, ["cannot be removed", "1 thing"]),
    ("budget_near", {"budget": "account team", "reason": "85%"}, ["nearly used up", "85%"]),
    ("budget_full", {"budget": "account team", "reason": "105%"}, ["account team is used up"]),
    ("evict", {"reason": "the least"}, ["is deleted: a budget is used up", "the least"]),
])
def test_what_is_said(name: str, detail: dict[str, str], parts: list[str]):
    """The notice of each event says what happened and what to do."""
    text = told(name, **detail)
    assert all(part in text for part in [*parts, "pipeline main.nf, account team"]), text


def test_every_kind_has_an_event():
    """For every kind that a user may ask for there is an event that sends it."""
    assert set(KINDS.values()) == set(Kind)


def test_old_news_is_not_told():
    """No notice is sent of an expiry that was extended, or a removal that went on."""
    near = Event(NOW, "expiry_near", "me")
    assert still_true(near, retained("a"))
    assert not still_true(near, retained("a", notice_at=NOW))  # it was extended in the meantime
    assert not still_true(Event(NOW, "removal_blocked", "me"), retained("a"))


@pytest.mark.parametrize(("hours", "before"), [(100, 20), (10, 2), (5, 1), (2, 1), (0.5, 1)])
def test_when_an_expiry_is_near(hours: float, before: float):
    """The notice is due when 20 % of the hours are left, and at least one hour before the end."""
    until = NOW + timedelta(hours=hours)
    assert notice_at(NOW, until, 0.2) == until - timedelta(hours=before)
    assert notice_at(NOW, None, 0.2) is None
