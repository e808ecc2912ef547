"""Notices: which events are sent, to which channels, with which text. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from nfresume.domain.executions import ACCOUNT, Event, Execution
from nfresume.domain.workdirs import WorkDirState

#: As a channel's account: the notices of every account.
EVERYBODY = "*"
#: Older events are not sent. So a new channel is not flooded with history.
STALE = timedelta(hours=24)
#: Waits between tries. After the last one nfresume gives the notice up.
RETRIES = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2))

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


class Kind(StrEnum):
    """Kinds of notices."""

    FAILURE = "failure"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    STUCK = "stuck"  # something cannot be removed, or must not be
    BUDGET = "budget"


KINDS = {
    "fail": Kind.FAILURE, "expiry_near": Kind.EXPIRING, "expire": Kind.EXPIRED,
    "removal_blocked": Kind.STUCK, "hold": Kind.STUCK, "budget_near": Kind.BUDGET,
    "budget_full": Kind.BUDGET, "evict": Kind.BUDGET,
}


@dataclass(frozen=True)
class Channel:
    """Where notices go: an Apprise URL, which may hold secrets, and whose notices (None: own account's)."""

    url: str
    account: str | None = None
    kinds: tuple[Kind, ...] = tuple(Kind)

    @property
    def key(self) -> str:
        """The channel's name in the database: a digest of the URL, so that no secret is stored."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        whose = {EVERYBODY: "everybody", None: "own account"}.get(self.account, f"account {self.account}")
        return f"{self.url.partition('://')[0]}://... ({self.key}; {whose}; {', '.join(self.kinds)})"


@dataclass(frozen=True)
class Notice:
    """A title in one line, and a text."""

    title: str
    text: str


def parse(value: object) -> tuple[Channel, ...]:
    """Channels from a list of URLs and tables, from such a list as JSON text, or from one URL.

    Raises ValueError with a message of one line that does not show a URL.
    """
    if isinstance(value, str):
        value = json.loads(value) if value.lstrip().startswith("[") else [value]
    if not isinstance(value, list):
        raise ValueError("must be a list of Apprise URLs, or of tables with url, account and kinds")
    return tuple(_channel(entry) for entry in value)


def _channel(entry: object) -> Channel:
    table = {"url": entry} if isinstance(entry, str) else entry
    if not isinstance(table, dict) or not isinstance(table.get("url"), str):
        raise ValueError("each channel must be an Apprise URL, or a table with one as url")
    if unknown := sorted(set(table) - {"url", "account", "kinds"}):
        raise ValueError(f"a channel has no {unknown[0]!r}, only url, account and kinds")
    if not _URL.fullmatch(table["url"]):
        raise ValueError("a channel's url must be like mailto://user:password@example.org")
    account = table.get("account")
    if account not in (None, EVERYBODY) and not ACCOUNT.fullmatch(str(account)):
        raise ValueError(f"not an account name: {account!r}")
    kinds = table.get("kinds", list(Kind))
    if not isinstance(kinds, list) or not set(kinds) <= set(Kind):
        raise ValueError(f"kinds must be some of {', '.join(Kind)}")
    return Channel(table["url"], account, tuple(Kind(kind) for kind in kinds))


def notice(event: Event, execution: Execution, error: str | None, cost: str | None) -> Notice:
    """The notice of an event. `error` is why the attempt failed; `cost` is what keeping costs a month."""
    e, kind = execution, KINDS[event.name]
    reason = str(event.detail.get("reason", ""))
    title, texts = {
        Kind.FAILURE: (f"{e.id} failed: {error or 'no reason is known'}", _failure(e, event, cost)),
        Kind.EXPIRING: (f"the work dir of {e.id} expires {_when(e.work_dir.expires_at, event.at)}", [
            f"relaunch from the failed task: nfresume relaunch {e.id}",
            f"keep it for longer: nfresume extend {e.id} 48, or nfresume pin {e.id}",
            *([f"keeping it costs {cost} a month"] if cost else []),
        ]),
        Kind.EXPIRED: (f"the work dir of {e.id} has expired and is deleted",
                       [f"launch it anew: nfresume launch {e.pipeline}"]),
        Kind.STUCK: _stuck(e, event, reason),
        Kind.BUDGET: _budget(e, event, reason),
    }[kind]
    return Notice(" ".join(title.split()), "\n".join([f"pipeline {e.pipeline}, account {e.account}", *texts]))


def _failure(e: Execution, event: Event, cost: str | None) -> list[str]:
    if event.detail.get("work_dir") != "kept":
        return [f"the work dir is not kept: {event.detail.get('reason', '')}"]
    until = _when(e.work_dir.expires_at, event.at) if e.work_dir.expires_at else "without an end"
    kept = f"the work dir is kept until {until}" if e.work_dir.expires_at else "the work dir is kept"
    return [f"{kept}, for {cost} a month" if cost else kept,
            f"relaunch from the failed task: nfresume relaunch {e.id}"]


def _stuck(e: Execution, event: Event, reason: str) -> tuple[str, list[str]]:
    if event.name == "hold":
        return f"the work dir of {e.id} is held", [reason, "it is tried again, less and less often",
                                                   f"if nothing of it is needed: nfresume delete {e.id}"]
    return f"the work dir of {e.id} cannot be removed", [reason, "it is tried again, less and less often"]


def _budget(e: Execution, event: Event, reason: str) -> tuple[str, list[str]]:
    if event.name == "evict":
        return f"the work dir of {e.id} is deleted: a budget is used up", [reason]
    used = "used up" if event.name == "budget_full" else "nearly used up"
    return f"the budget of {event.detail.get('budget', '')} is {used}", [reason]


def _when(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "at no set time"
    hours = max(0.0, (moment - now).total_seconds() / 3600)
    left = f"{hours:.0f} h" if hours >= 2 else f"{hours * 60:.0f} min"
    return f"{moment:%Y-%m-%d %H:%M} UTC, in {left}"


def still_true(event: Event, execution: Execution) -> bool:
    """False for outdated news: the expiry was extended, the removal went on, or the run goes on by itself."""
    kind, state = KINDS[event.name], execution.work_dir.state
    if event.detail.get("goes_on"):
        return False
    if kind is Kind.EXPIRING:
        return state is WorkDirState.RETAINED and execution.work_dir.notice_at is None
    if event.name == "hold":
        return state is WorkDirState.RETAINED and execution.work_dir.look_again_at is not None
    if kind is Kind.STUCK:
        return state is WorkDirState.DELETING
    if event.name in ("expire", "evict"):  # it may have been held instead
        return state in (WorkDirState.DELETING, WorkDirState.DELETED)
    return True
