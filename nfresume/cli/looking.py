"""list, show, logs: the commands that change nothing."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nfresume.cli import options as common
from nfresume.cli.output import emptied_line, print_json, say, when, work_dir_line
from nfresume.domain.wording import duration, printable, size

if TYPE_CHECKING:
    from nfresume.domain.executions import Attempt, Execution
    from nfresume.nextflow.record import Task
    from nfresume.runs.records import Records
    from nfresume.service.following import Tail
    from nfresume.service.patience import Patience
    from nfresume.service.verbs import Service


def list_executions(
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only executions in this state; may be repeated.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most this many, newest first. Default: 50, with "
                                 "--json all.")
    ] = None,
    account: common.Account = None,
    as_json: common.Json = False,
) -> None:
    """List executions, newest first: state, retained size, time to expiry.

    Example: nfresume list --state FAILED
    """
    from nfresume.domain import views
    from nfresume.domain.errors import UsageError
    from nfresume.domain.executions import ExecutionState

    for name in state or ():
        if name.upper() not in list(ExecutionState):
            raise UsageError(f"{name!r} is not a state", f"states: {', '.join(ExecutionState)}")
    states = [ExecutionState(name.upper()) for name in state or ()]
    with common.service(account) as service:
        limit = limit or (sys.maxsize - 1 if as_json else 50)
        found = service.newest(states, limit + 1)
        more = len(found) > limit
        found = found[:limit]
    if as_json:
        print_json([views.execution(e) for e in found])
    elif not found:
        print("no executions yet; `nfresume launch main.nf` starts one")
    else:
        _print_table(found)
    if more:
        say(f"there are more than {limit}: --limit shows them, --json without it all")


def _print_table(found: list[Execution]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("id", "state", "pipeline", "attempt", "launched", "work dir", "size", "expires"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "id")
    colours = {"SUCCEEDED": "green", "FAILED": "red", "RUNNING": "cyan", "CANCELLED": "yellow"}
    for e in found:
        w = e.work_dir
        retained = w.state == "RETAINED"
        if w.pinned:
            expires = "pinned"
        elif w.expires_at:
            expires = when(w.expires_at)
        else:
            expires = "held" if retained else "-"
        table.add_row(
            Text(e.id), Text(str(e.state), style=colours.get(e.state, "")), Text(printable(e.pipeline)),
            str(e.attempt), f"{e.created_at:%Y-%m-%d %H:%M}", str(w.state),
            size(w.bytes) if retained else "-", expires,
        )
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


#: Why a work dir was deleted, by the name of the event that ordered it.
_RULES = {"expire": "its expiry", "evict": "a budget", "delete": "request", "succeed": "its success",
          "fail": "its failure", "cancel": "its cancellation"}


def show(execution_id: common.ExecutionId, account: common.Account = None, as_json: common.Json = False
         ) -> None:
    """Show one execution: attempts, tasks, work dir, and its whole history.

    Example: nfresume show rnaseq-4k9x2m --json
    """
    from nfresume.domain import views
    from nfresume.domain.executions import deletion

    with common.service(account) as service:
        details = service.details(service.find(execution_id))
        e = details.execution
        emptied = service.emptied(e)
        if as_json:
            print_json({**views.details(e, details.attempts, details.events),
                        "emptied": asdict(emptied) if emptied is not None else None})
            return
        print(f"{e.id}  {e.state}")
        print(f"  pipeline   {printable(e.pipeline)}")
        print(f"  launched   {when(e.created_at)} from {printable(e.launch_dir)} for account {e.account}")
        print(f"  expiration {e.storage_expiration_hours:g} h ({e.storage_expiration_source})")
        print(f"  work dir   {printable(e.work_dir.path)}")
        print(f"             {printable(work_dir_line(e, service.price(e)))}")
        if emptied is not None:
            print(f"             {emptied_line(emptied, service.price(e))}")
        if event := deletion(details.events):
            gone = f", gone {e.work_dir.deleted_at:%H:%M:%S}" if e.work_dir.deleted_at else ""
            print(f"             by {_RULES.get(event.name, event.name)}, ordered by "
                  f"{printable(event.actor)} at {event.at:%Y-%m-%d %H:%M:%S} UTC{gone}")
        for attempt in details.attempts:
            _print_attempt(attempt)
            if fault := service.records(e, attempt.number).fault():
                print("  fault      its supervisor died of a fault of nfresume; please report it:")
                print("\n".join(f"    {printable(line)}" for line in fault.splitlines()))
        print("history")
        for event in details.events:
            detail = ", ".join(f"{k} {v}" for k, v in event.detail.items() if v is not None)
            print(f"  {event.at:%Y-%m-%d %H:%M:%S} UTC  {event.name:<16} {event.actor}  {printable(detail)}")


def _print_attempt(a: Attempt) -> None:
    took = f", {duration(a.ended_at - a.started_at)}" if a.ended_at and a.started_at else ""
    code = f", exit status {a.exit_code}" if a.exit_code is not None else ""
    t = a.tasks
    print(f"attempt {a.number}  {a.state}{code}{took}  ({a.run_name}, {a.engine})")
    print(f"  tasks      {t.cached} cached, {t.succeeded} succeeded, {t.failed} failed, {t.ignored} ignored, "
          f"{t.retried} retried")
    if a.error:
        print(f"  error      {printable(a.error)}")


def logs(
    execution_id: common.ExecutionId,
    task: Annotated[
        str | None, typer.Option("--task", help="Show the output of this task, given by hash or name.")
    ] = None,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Default: the last one.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Follow until the attempt ends.")] = False,
    nextflow_log: Annotated[
        bool, typer.Option("--nextflow-log", help="Show Nextflow's log file instead of its output.")
    ] = False,
    account: common.Account = None,
) -> None:
    """Show what Nextflow printed, its log, or the output of one task.

    Examples:

      nfresume logs -f rnaseq-4k9x2m

      nfresume logs rnaseq-4k9x2m --task 'ALIGN (s1)'
    """
    from nfresume.nextflow import command

    with common.service(account) as service:
        execution = service.find(execution_id)
        number = attempt or execution.attempt
        records = service.records(execution, number)
        follow = follow and number == execution.attempt
        if task is not None and not (follow and execution.state.live):
            _task_logs(records, task)
            return
        if task is not None:
            place, names = records.task_dir(records.task(task)), [".command.out", ".command.err"]
        else:
            place = service.folder(execution).attempt(number)
            names = [command.LOG] if nextflow_log else [command.STDOUT, command.STDERR]
        _stream(service, execution, [place / name for name in names], follow)


def _task_logs(records: Records, wanted: str) -> None:
    """Print the output of one task, from its task dir, or what was kept of it. Raises NotFound."""
    from nfresume.domain.errors import NotFound

    task = records.task(wanted)
    refusals = []
    for name in ("stdout", "stderr"):
        try:
            kept = _print_task_file(records, task, name)
        except NotFound as e:
            refusals.append(e)
            continue
        if kept:
            say(f"the task dir of {printable(task.name)} is gone; this is what was kept of its {name}")
    if len(refusals) == 2:
        raise refusals[0]


def _print_task_file(records: Records, task: Task, name: str) -> bool:
    """Print a file of a task. True when its task dir is gone, and this is what was kept. Raises NotFound."""
    part = records.task_part(task, name)
    offset = 0
    while part.data:
        _write(part.data)
        offset += len(part.data)
        part = records.task_part(task, name, offset)
    return part.kept


def nextflow(
    words: Annotated[list[str], typer.Argument(metavar="ID COMMAND...",
                                               help="The execution, and a command of Nextflow.")],
    account: common.Account = None,
) -> int:
    """Run Nextflow's own `log`, `lineage`, `view` and the like with an execution's cache and history.

    A bare `nextflow log` knows nothing of it: each execution has a cache of its own. Commands that delete or
    run something are refused. Options of nfresume go before ID.

    Examples:

      nfresume nextflow rnaseq-4k9x2m log

      nfresume nextflow rnaseq-4k9x2m log last -f name,status,exit
    """
    with common.service(account) as service:
        return service.run_nextflow(service.find(words[0]), words[1:])


def _stream(service: Service, execution: Execution, files: list[Path], follow: bool) -> None:
    """Copy files to stdout as they grow. On a terminal, control characters are printed as escapes."""
    from nfresume.service.following import Tail
    from nfresume.service.patience import Patience

    tails = [Tail(file) for file in files]
    database, disk = Patience(say, execution.id), Patience(say, execution.id)
    live, wait = True, 0.1
    while live:
        with database.waiting():
            execution = service.current(execution)
        live = follow and execution.state.live
        news = False
        for tail in tails:
            while data := _more(tail, disk):
                _write(data)
                news = True
        wait = 0.1 if news else min(1.5, wait * 1.5)
        if live:
            time.sleep(wait)


def _more(tail: Tail, disk: Patience) -> bytes:
    with disk.waiting():
        return tail.read()
    return b""


def _write(data: bytes) -> None:
    if sys.stdout.isatty():
        text = data.decode("utf-8", "replace")
        sys.stdout.write("\n".join(printable(line) for line in text.split("\n")))
    else:
        sys.stdout.buffer.write(data)
    sys.stdout.flush()


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("list")(list_executions)
    app.command("show")(show)
    app.command("logs")(logs)
    as_typed = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command("nextflow", context_settings=as_typed)(nextflow)
