"""Follows a running attempt: passes Nextflow's output on, and shows progress per process on a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from nfresume.cli.output import count, say
from nfresume.cli.streams import Stream
from nfresume.domain.wording import duration
from nfresume.service.following import Follower, Update

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from nfresume.domain.executions import Execution
    from nfresume.nextflow.summary import Summary
    from nfresume.service.verbs import Service

_TASK_LINE = re.compile(rb"^\[[0-9a-f]{2}/[0-9a-f]{6}\] (Submitted|Re-submitted|Cached) process > ")


def show(
    service: Service, execution: Execution, *, quiet: bool, live: bool = True, wake: int = -1,
    signals: Callable[[], int] = lambda: 0,
) -> Execution:
    """Follow until the attempt has ended, or two signals have arrived; returns the execution as it is then.

    `signals` tells how many have arrived. It is asked at each update; one comes when the eventfd `wake`
    becomes readable. With `quiet` nothing is printed. If stdout is not a terminal, and without `live`,
    Nextflow's stdout and stderr are passed on byte for byte.
    """
    follower = Follower(service, execution, wake, say)
    if quiet:
        return _show_nothing(follower, signals)
    if not (live and sys.stdout.isatty()):
        return _pass_through(follower, wake, signals)
    try:
        return _show_live(follower, signals)
    except OSError:  # the terminal is gone
        return _show_nothing(Follower(service, execution, wake, say), signals)


def _tell_why(update: Update) -> None:
    """Say in one line why the attempt had to end, and what the next one makes again."""
    if (d := update.goes_on) is not None:
        more = f" and {d['file_count'] - 1} more" if d["file_count"] > 1 else ""
        say(f"lean: the content of {d['files'][0]}{more} was not kept, and a task needs it: made again "
            f"({count(d['tasks'], 'task')}, which took {duration(timedelta(seconds=d['seconds']))})")


def _show_nothing(follower: Follower, signals: Callable[[], int]) -> Execution:
    for update in follower.updates():
        execution = update.execution
        if signals() > 1:
            break
    return execution


def _pass_through(follower: Follower, wake: int, signals: Callable[[], int]) -> Execution:
    out, err = Stream(1, wake), Stream(2, wake)
    arrived = 0
    for update in follower.updates():
        out.write(update.stdout, patient=not arrived)
        err.write(update.stderr, patient=not arrived)
        _tell_why(update)
        execution = update.execution
        if (arrived := signals()) > 1:
            break
    for stream in (out, err):
        stream.write(b"", patient=not arrived)
    return execution


def _show_live(follower: Follower, signals: Callable[[], int]) -> Execution:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, refresh_per_second=8, transient=False) as live:
        rest = b""
        for update in follower.updates(progress=True, fastest=0.1):
            rest = _print_lines(console, rest + update.stdout)
            _print_lines(console, update.stderr + (b"\n" if update.stderr else b""))
            assert update.progress is not None
            _tell_why(update)
            live.update(processes_table(update.progress))
            execution = update.execution
            if signals() > 1:
                break
        _print_lines(console, rest + b"\n" if rest else b"")
    return execution


def _print_lines(console: Console, data: bytes) -> bytes:
    """Print complete lines above the table, except those about tasks; returns the incomplete last line."""
    from rich.text import Text

    *lines, rest = data.split(b"\n")
    for line in lines:
        if line.strip() and not _TASK_LINE.match(line):
            console.print(Text.from_ansi(line.decode("utf-8", "replace")), highlight=False)
    return rest


def processes_table(total: Summary) -> Table:
    """A table with one row per process: how many tasks are running, cached, done, failed."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("process")
    columns = ("submitted", "running", "cached", "completed", "failed", "ignored", "retried")
    for column in columns:
        table.add_column("done" if column == "completed" else column, justify="right")
    styles = {"running": "cyan", "cached": "blue", "completed": "green", "failed": "red"}
    for row in total.processes.values():
        cells = [f"[{styles.get(c, 'default')}]{found}[/]" if (found := getattr(row, c)) else "[dim]-[/]"
                 for c in columns]
        table.add_row(row.process.replace("[", "\\["), *cells)
    return table
