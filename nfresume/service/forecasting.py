"""What a relaunch would reuse and run again, before it is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from nfresume.domain import costs
from nfresume.domain.costs import Price
from nfresume.domain.errors import UsageError
from nfresume.domain.executions import Attempt, Execution, python_workflow
from nfresume.domain.wording import duration, money, printable
from nfresume.nextflow import kept_inputs, options, sources
from nfresume.nextflow.record import Task
from nfresume.retained import disposal, places
from nfresume.runs import forecasting, preflight, programs, relaunching
from nfresume.runs.forecasting import Forecast
from nfresume.runs.relaunching import RelaunchRequest
from nfresume.service.verbs import Service
from nfresume.store import queries

#: So many tasks are named in the text.
_NAMED = 10


@dataclass(frozen=True)
class Money:
    """What a forecast means in money, in `currency`. None: not known.

    `reused` and `again`: the task time of the reused tasks and of those that would run again, at
    `per_cpu_hour` and one CPU for each task; None without that setting. `kept_a_month` and `kept_to_end`:
    what keeping the work dir costs a month, and from now until it expires; None before it was measured.
    """

    currency: str
    per_cpu_hour: Decimal | None
    reused: Decimal | None
    again: Decimal | None
    kept_a_month: Decimal | None
    kept_to_end: Decimal | None


@dataclass(frozen=True)
class Planned:
    """A forecast. `whole`: every task would run, and why."""

    forecast: Forecast
    money: Money
    whole: str = ""


def plan(service: Service, execution: Execution, request: RelaunchRequest) -> Planned:
    """Forecast a relaunch; nothing is started or changed. Raises what `Service.relaunch` raises."""
    execution = service.settle_if_lost(execution)
    relaunching.check_state(execution)
    if python_workflow(execution.pipeline) is not None:
        raise UsageError(f"{execution.id} is a Python workflow: --dry-run is for Nextflow pipelines",
                         "`nfresume explain FILE.py:TASK --INPUT VALUE` tells whether a call would be reused")
    with service.store.begin(write=False) as tx:
        last, moment = queries.attempt(tx, execution.id, execution.attempt), tx.now
    if request.from_scratch:
        return Planned(Forecast(), _money(service, execution, Forecast(), moment), "--from-scratch")
    folder = places.folder_of(service.store, execution)
    parsed, taken = relaunching.options_of(execution, last, request, folder)
    resume = relaunching.check_cache(execution, folder, request)
    relaunching.check_leftovers(execution, last, folder, request)
    if not resume:
        return Planned(Forecast(), _money(service, execution, Forecast(), moment), "no task has run yet")
    launch_dir = Path(execution.launch_dir)
    assert parsed.pipeline is not None
    local = preflight.check_pipeline(parsed.pipeline, launch_dir, parsed.value("-main-script"))
    now = sources.take(local, launch_dir) if local is not None else None
    found = forecasting.forecast(folder, execution.session_id, execution.attempt, now or {},
                                 readers=disposal.pace_of(service.conf).readers(folder.work))
    before = next((kept for number in range(execution.attempt, 0, -1)
                   if (kept := sources.kept(folder.attempt(number))) is not None), None)
    if now is None or before is None:
        found.unless.append("the pipeline has changed since, which is not known")
    elif changed := sources.changed(before, now):
        found.unless.append(f"what has changed concerns them: {', '.join(changed[:5])}"
                            + (f" and {len(changed) - 5} more files" if len(changed) > 5 else ""))
    old = kept_inputs.parameters(folder.attempt(last.number), last.pipeline, last.options)
    new = {**old, **kept_inputs.parameters(Path("/nowhere"), parsed.pipeline, parsed.words)}
    found.unless += [f"parameter {name} ({old.get(name, 'not given')} -> {value}) concerns them"
                     for name, value in new.items() if old.get(name) != value]
    if other := [o.name for o in parsed.pieces if o.name[:1] == "-" and o.name[:2] != "--"
                 and o not in _options_of(last)]:
        found.unless.append(f"another {', '.join(other)} concerns them")
    found.unless += taken.changed
    version = programs.find(service.conf, parsed.pipeline).version
    if relaunching.version_note(last, version, request):
        found.unknown.append(f"whether Nextflow {version} reads a process in another way than "
                             f"{last.nextflow_version}")
    return Planned(found, _money(service, execution, found, moment))


def _money(service: Service, execution: Execution, found: Forecast, now: datetime) -> Money:
    price, rate, w = service.price(execution), service.conf.price_per_cpu_hour, execution.work_dir
    if service.conf.currency != price.currency:
        rate = None

    def of(milliseconds: int) -> Decimal | None:
        return None if rate is None else costs.cpu_cost(timedelta(milliseconds=milliseconds), rate)

    month, to_end = _keeping(w.metered_bytes, None if w.expires_at is None else w.expires_at - now, price)
    return Money(price.currency, rate, of(found.saved), of(found.spent), month, to_end)


def _keeping(
    metered: int | None, left: timedelta | None, price: Price
) -> tuple[Decimal | None, Decimal | None]:
    if metered is None:
        return None, None
    month = costs.cost_per_month(metered, price.per_gb_month)
    if left is None:
        return month, None
    return month, costs.cost_until(metered, max(0.0, left.total_seconds() / 3600), price.per_gb_month)


def _options_of(last: Attempt) -> tuple[options.Option, ...]:
    return options.stored(last.pipeline, last.options).pieces


def lines(planned: Planned) -> list[str]:
    """The forecast in words."""
    found = planned.forecast
    if planned.whole:
        return [f"every task would run: {planned.whole}", *_in_money(planned.money)]
    certain = " for certain" if not found.unless else ""
    told = [f"would be reused{certain}: {_tasks(len(found.reused))}, which took {_time(found.saved)}"]
    told += [f"  unless {printable(each)}" for each in found.unless]
    if found.again:
        told.append(f"would run again: {_tasks(len(found.again))}, which took {_time(found.spent)}")
        own = [each for each in found.again if not each.follows]
        told += _named([f"{each.task.name}: {each.why}" for each in own])
        if rest := [each for each in found.again if each.follows]:
            names = ", ".join(sorted({each.task.process for each in rest}))
            told.append(printable(f"  and {_tasks(len(rest))} that follow ({names})"))
    if found.unfinished:
        told.append(f"would run: {_tasks(len(found.unfinished))} that had not finished")
        told += _named([f"{task.name}: {task.status.lower()}" for task in found.unfinished])
    told += [f"not known: {printable(each)}" for each in found.unknown]
    return told + _in_money(planned.money)


def _in_money(m: Money) -> list[str]:
    told = []
    if m.per_cpu_hour is None:
        told.append("task time has no price here: price_per_cpu_hour is not set")
    elif m.reused or m.again:
        told.append(f"at {money(m.per_cpu_hour, m.currency)} per CPU-hour, one CPU for each task: reused "
                    f"{money(m.reused, m.currency)}, run again {money(m.again, m.currency)}")
    if m.kept_a_month is None:
        told.append("keeping the work dir: its size is not measured yet")
    else:
        end = f", {money(m.kept_to_end, m.currency)} until it expires" if m.kept_to_end is not None else ""
        told.append(f"keeping the work dir costs {money(m.kept_a_month, m.currency)} a month{end}")
    return told


def _named(texts: list[str]) -> list[str]:
    rest = len(texts) - _NAMED
    return [f"  {printable(text)}" for text in texts[:_NAMED]] + ([f"  and {rest} more"] if rest > 0 else [])


def _tasks(number: int) -> str:
    return f"{number:,} {'task' if number == 1 else 'tasks'}"


def _time(milliseconds: int) -> str:
    return duration(timedelta(milliseconds=milliseconds))


def document(execution: Execution, planned: Planned) -> dict[str, Any]:
    """For `--json` and the console. Times are in seconds, money as in `Money`."""
    found = planned.forecast
    return {
        "execution": execution.id, "whole": planned.whole or None, "certain": not found.unless,
        "reused": {"tasks": len(found.reused), "seconds": found.saved / 1000},
        "again": {"tasks": len(found.again), "seconds": found.spent / 1000, "list": [
            {**_task(each.task), "why": each.why, "follows": each.follows} for each in found.again]},
        "unfinished": [{**_task(task), "state": str(task.status)} for task in found.unfinished],
        "unless": found.unless, "unknown": found.unknown, "money": {
            name: amount if amount is None or isinstance(amount, str) else float(amount)
            for name, amount in asdict(planned.money).items()},
    }


def _task(task: Task) -> dict[str, Any]:
    return {"name": task.name, "process": task.process, "task_dir": task.dir or None}

