"""measure: how large a work dir is, and which process fills it."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nfresume.cli import options as common
from nfresume.cli.output import count, emptied_line, end_progress, print_json, progress_line, say
from nfresume.domain.wording import money, printable, size

if TYPE_CHECKING:
    from nfresume.domain.executions import Execution
    from nfresume.service.verbs import Measured, Service
    from nfresume.storage.scan import Size


def measure(
    execution_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The execution (default: all with a work dir).",
                                   autocompletion=common.complete_id)
    ] = None,
    account: common.Account = None,
    as_json: common.Json = False,
) -> None:
    """Measure work dirs now: bytes, files, cost per month, and which process they belong to.

    A finished task dir is scanned only once, so measuring again is quick. Ctrl-C or SIGTERM stops early and
    prints the sizes so far, marked as partial.

    Example: nfresume measure rnaseq-4k9x2m
    """
    from nfresume.system.pausing import pausable

    with common.service(account) as service, pausable() as pause:
        chosen = [service.find(execution_id)] if execution_id else service.with_work_dir()
        documents = []
        for execution in chosen:
            begun = time.monotonic()
            measured = service.measure(execution, pause.event, _progress)
            end_progress()
            documents.append(_as_json(service, execution, measured, time.monotonic() - begun))
            if not as_json:
                _print(service, execution, measured)
            if pause.signal:
                break
        if as_json:
            print_json(documents[0] if execution_id else documents)
        elif not chosen:
            print("no work dirs: nothing to measure")
    if pause.signal:
        raise typer.Exit(pause.exit_code)


def _progress(so_far: Size) -> None:
    progress_line(f"measuring: {so_far.files:,} files, {size(so_far.disk_bytes)}")


def _as_json(service: Service, execution: Execution, measured: Measured, seconds: float) -> dict[str, Any]:
    from nfresume.domain.costs import cost_per_month

    price = service.price(execution)

    def document(each: Size) -> dict[str, Any]:
        cost = cost_per_month(each.metered, price.per_gb_month)
        return {**asdict(each), "cost_per_month": float(cost), "currency": price.currency}

    return {
        "id": execution.id,
        "partial": measured.partial,
        "seconds": round(seconds, 3),
        "task_dirs_scanned": measured.scanned,
        "total": document(measured.total),
        "emptied": asdict(emptied) if (emptied := service.emptied(execution)) is not None else None,
        "processes": [{"process": row.process, "tasks": row.tasks, **document(row.size)}
                      for row in measured.processes],
    }


def _print(service: Service, execution: Execution, measured: Measured) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from nfresume.domain.costs import cost_per_month

    price = service.price(execution)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title=None)
    for heading in ("process", "tasks", "files", "data", "on disk", "metered", "a month"):
        table.add_column(heading, justify="left" if heading == "process" else "right")

    def add(name: str, tasks: str, each: Size, style: str = "") -> None:
        cost = money(cost_per_month(each.metered, price.per_gb_month), price.currency)
        table.add_row(Text(printable(name)), tasks, f"{each.files:,}", size(each.bytes),
                      size(each.disk_bytes), size(each.metered), cost, style=style)

    for row in measured.processes:
        add(row.process, f"{row.tasks:,}" if row.tasks else "-", row.size)
    add("total", f"{sum(row.tasks for row in measured.processes):,}", measured.total, "bold")
    print(f"{execution.id}  {execution.state}")
    Console(width=None if Console().is_terminal else 120).print(table)
    if (emptied := service.emptied(execution)) is not None:
        print(emptied_line(emptied, price))
    if measured.partial:
        say(f"partial: {count(measured.total.unreadable, 'folder')} could not be read"
            if measured.total.unreadable else "partial: stopped before the end; measure again to continue")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("measure")(measure)
