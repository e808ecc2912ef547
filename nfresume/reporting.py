"""What retained storage costs: now, over a period, and until everything has expired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from nfresume import costs, disposal
from nfresume.costs import Price, Sample, Usage
from nfresume.errors import NfresumeError, UsageError
from nfresume.executions import Execution
from nfresume.nextflow import trace
from nfresume.nextflow.command import TRACE
from nfresume.settings import Settings
from nfresume.store import Store, ledger, queries
from nfresume.workdirs import WorkDirState

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class By(StrEnum):
    """What the lines of a report are."""

    EXECUTION = "execution"
    ACCOUNT = "account"
    PIPELINE = "pipeline"
    PROCESS = "process"
    DAY = "day"


@dataclass(frozen=True)
class Period:
    """[start, end), aware and UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Line:
    """One line: what it is about, what was used in the period, what is held now (metered bytes).

    Of a retained execution also the task time that a relaunch would save, and after how many hours
    keeping its work dir has cost more than that (None without a price per CPU-hour).
    """

    key: str
    usage: Usage
    metered: int
    saves: timedelta | None = None
    break_even_hours: Decimal | None = None


@dataclass(frozen=True)
class Report:
    """`per_month` is the cost of what is held now at this rate; `until_expiry` of keeping each retained
    work dir until it expires, those without an expiry (`endless` many) left out."""

    period: Period
    by: By
    lines: list[Line]
    total: Usage
    metered: int
    work_dirs: int
    per_month: Decimal
    until_expiry: Decimal
    endless: int
    price: Decimal


def period(now: datetime, *, since: str | None, start: str | None, end: str | None, month: str | None
           ) -> Period:
    """The period that was asked for; the last 30 days when nothing was. Raises UsageError."""
    if sum(given is not None for given in (since, start or end, month)) > 1:
        raise UsageError("--since, --from/--to and --month exclude each other", "give one of them")
    try:
        if month is not None:
            first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
            return Period(first, (first + timedelta(days=32)).replace(day=1))
        if start or end:
            begin = _moment(start) if start else datetime.min.replace(tzinfo=UTC)
            return _checked(Period(begin, _moment(end) if end else now))
        text = "30d" if since is None else since
        return _checked(Period(now - float(text[:-1]) * _UNITS[text[-1]], now))
    except (ValueError, KeyError, OverflowError, IndexError):
        raise UsageError(f"no such period: {since or month or f'{start} to {end}'}",
                         "for example --since 30d, --month 2026-10, or --from 2026-10-01 --to 2026-10-15"
                         ) from None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _checked(chosen: Period) -> Period:
    if chosen.start >= chosen.end:
        raise UsageError(f"the period ends ({chosen.end:%Y-%m-%d}) before it begins", "swap --from and --to")
    return chosen


def build(
    store: Store, conf: Settings, account: str | None, by: By, chosen: Callable[[datetime], Period]
) -> Report:
    """The report of an account (None = all). The price is the ledger's, else that of the settings."""
    with store.begin(write=False) as tx:
        now = tx.now
        asked = chosen(now)
        samples = ledger.samples(tx, account, asked.end)
        by_process = ledger.process_samples(tx, account, asked.end) if by is By.PROCESS else {}
        history = ledger.price_history(tx) or [Price(now, conf.price_per_gb_month)]
        executions = {e.id: e for e in queries.newest(tx, account, limit=10**9)}
    held = [e for e in executions.values()
            if e.work_dir.state is not WorkDirState.DELETED and e.work_dir.metered_bytes]
    price = history[-1].per_gb_month
    metered = sum(e.work_dir.metered_bytes or 0 for e in held)
    ending = [(e.work_dir.metered_bytes or 0, e.work_dir.expires_at) for e in held if e.work_dir.expires_at]
    if by is By.PROCESS:
        lines = _by_process(executions, by_process, history, asked)
    else:
        lines = list(_lines(by, executions, samples, history, asked))
    if by is By.EXECUTION:
        lines = [_weighed(store, conf, executions[line.key], line, price) for line in lines]
    total = sum((line.usage for line in lines), Usage())
    return Report(
        period=asked, by=by, lines=lines, total=total, metered=metered, work_dirs=len(held),
        per_month=costs.cost_per_month(metered, price),
        until_expiry=sum((costs.cost_until(size, max(0.0, (at - now).total_seconds() / 3600), price)
                          for size, at in ending), Decimal(0)),
        endless=len(held) - len(ending), price=price,
    )


def _lines(
    by: By, executions: dict[str, Execution], samples: dict[str, list[Sample]], history: list[Price],
    asked: Period,
) -> Iterator[Line]:
    if by is By.DAY:
        yield from _daily(samples, history, asked)
        return
    used_by: dict[str, Usage] = {}
    held_by: dict[str, int] = {}
    for execution_id, execution in executions.items():
        key = {By.EXECUTION: execution_id, By.ACCOUNT: execution.account,
               By.PIPELINE: execution.pipeline}[by]
        used = costs.usage(samples.get(execution_id, []), history, asked.start, asked.end)
        used_by[key] = used_by.get(key, Usage()) + used
        gone = execution.work_dir.state is WorkDirState.DELETED
        held_by[key] = held_by.get(key, 0) + (0 if gone else execution.work_dir.metered_bytes or 0)
    for key in sorted(used_by, key=lambda k: (-used_by[k].cost, -held_by[k], k)):
        if used_by[key].parts or held_by[key]:
            yield Line(key, used_by[key], held_by[key])


def _weighed(store: Store, conf: Settings, execution: Execution, line: Line, price: Decimal) -> Line:
    """What a relaunch of a retained execution would save; unknown when its root is not there."""
    if execution.work_dir.state is not WorkDirState.RETAINED:
        return line
    try:
        folder = disposal.folder_of(store, execution)
    except NfresumeError:
        return line
    traces = [folder.attempt(number) / TRACE for number in range(1, execution.attempt + 1)]
    _, saves = trace.reusable(traces)
    hours = None
    if conf.price_per_cpu_hour is not None:
        hours = costs.break_even_hours(saves, conf.price_per_cpu_hour, line.metered, price)
    return replace(line, saves=saves, break_even_hours=hours)


def _by_process(
    executions: dict[str, Execution], samples: dict[tuple[str, str], list[Sample]], history: list[Price],
    asked: Period,
) -> list[Line]:
    used: dict[str, Usage] = {}
    held: dict[str, int] = {}
    for (execution_id, process), steps in samples.items():
        used[process] = used.get(process, Usage()) + costs.usage(steps, history, asked.start, asked.end)
        gone = executions[execution_id].work_dir.state is WorkDirState.DELETED
        held[process] = held.get(process, 0) + (0 if gone else steps[-1].metered)
    lines = [Line(process, used[process], held[process]) for process in used
             if used[process].parts or held[process]]
    return sorted(lines, key=lambda line: (-line.usage.cost, -line.metered, line.key))


def _daily(samples: dict[str, list[Sample]], history: list[Price], asked: Period) -> Iterator[Line]:
    """A line for each day (UTC) from the first on which anything was held; each span is cut only once."""
    used: dict[datetime, Usage] = {}
    for steps in samples.values():
        for begin, finish, metered in costs.spans(steps, asked.start, asked.end):
            for day in _days(Period(begin, finish)):
                midnight = _midnight(day.start)
                here = costs.usage([Sample(day.start, metered)], history, day.start, day.end)
                used[midnight] = used.get(midnight, Usage()) + here
    if used:
        for day in _days(Period(min(used), asked.end)):
            yield Line(f"{day.start:%Y-%m-%d}", used.get(_midnight(day.start), Usage()), 0)


def _days(span: Period) -> Iterator[Period]:
    start = span.start
    while start < span.end:
        following = _midnight(start) + timedelta(days=1)
        yield Period(start, min(following, span.end))
        start = following


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
