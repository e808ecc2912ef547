"""cache: list, explain, prune and clear the task cache of an account."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nfresume.cli import options as common
from nfresume.cli.output import count, print_json, say
from nfresume.domain.wording import printable, size

if TYPE_CHECKING:
    from nfresume.tasks.cache import Entry

cache = typer.Typer(no_args_is_help=True, help="Cached results of Python tasks.")
TaskName = Annotated[
    str | None, typer.Argument(metavar="[TASK]", help="The task's full name (assembly.trim); default: all.")
]


@cache.command("list")
def list_entries(task: TaskName = None, account: common.Account = None, root: common.Root = None,
                 as_json: common.Json = False) -> None:
    """List what is cached for the account, newest first.

    Example: nfresume cache list assembly.trim
    """
    with common.service(account, root) as service:
        entries = service.cache_entries(task)
    if as_json:
        print_json([_document(entry) for entry in entries])
        return
    if not entries:
        print("nothing is cached; results of tasks with cache=True are, once they have run")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("task", "inputs", "size", "cached", "used", "by"):
        table.add_column(heading, no_wrap=heading != "inputs")
    for entry in entries:
        shown = ", ".join(f"{name}={value or '...'}" for name, value in entry.key.shown.items())
        table.add_row(Text(entry.key.task), Text(printable(shown)), size(entry.metered),
                      _ago(entry.created_at), _ago(entry.used_at), Text(entry.execution))
    console = Console()
    console.width = console.width if console.is_terminal else 200
    console.print(table)
    say(f"{count(len(entries), 'entry', 'entries')}, {size(sum(e.metered for e in entries))}")


@cache.command("explain", context_settings={"ignore_unknown_options": True})
def explain(
    task: Annotated[str, typer.Argument(metavar="FILE.py:TASK", help="A task in its file.")],
    words: Annotated[list[str] | None, typer.Argument(metavar="[--INPUT VALUE]...",
                                                      help="The call's inputs.")] = None,
    account: common.Account = None,
    root: common.Root = None,
    as_json: common.Json = False,
) -> None:
    """Show the key of a call and whether a cached result would be reused; if not, what differs.

    The call is compared with the entry that differs from it the least.

    Example: nfresume cache explain assembly.py:trim --reads sample.fastq
    """
    with common.service(account, root) as service:
        found = service.explain(task, tuple(words or ()), common.here())
    if as_json:
        print_json(found)
        return
    print(printable(f"{found['task']}{found['signature']}"))
    print(f"  version    {found['version']}" + (" (digest of its code)" if found["code"] else ""))
    for name, digest in found["inputs"].items():
        print(printable(f"  input      {name} = {found['shown'].get(name, '')} ({digest[:12]})"))
    print(f"  key        {found['key']}")
    if found["hit"]:
        print(f"would be reused: cached by {found['execution']}")
    else:
        print(printable(f"would run: {found['reason']}"))
        for line in found["differences"]:
            print(printable(f"  {line}"))


@cache.command("prune")
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only print what would go away.")] = False,
    account: common.Account = None, root: common.Root = None, as_json: common.Json = False,
) -> None:
    """Remove cached results as the settings task_cache_hours and task_cache_limit say.

    `nfresume sweep` does this too, and `nfresume serve` once an hour.

    Example: nfresume cache prune --dry-run
    """
    with common.service(account, root) as service:
        gone = service.prune_cache(dry_run=dry_run)
    if as_json:
        print_json([{**_document(p.entry), "reason": p.reason} for p in gone])
        return
    for p in gone:
        print(printable(f"{p.entry.key.task} {p.entry.digest[:12]}  {size(p.entry.metered)}  ({p.reason})"))
    say(f"{count(len(gone), 'entry', 'entries')}, {size(sum(p.entry.metered for p in gone))} "
        + ("would be removed (dry run: nothing was)" if dry_run else "removed"))


@cache.command("clear")
def clear(
    task: TaskName = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    account: common.Account = None, root: common.Root = None,
) -> None:
    """Remove all of the account's cached results, or those of one task. Results in work dirs stay.

    Example: nfresume cache clear assembly.trim --yes
    """
    from nfresume.domain.errors import UsageError

    with common.service(account, root) as service:
        entries = service.cache_entries(task)
        if entries and not yes:
            if not sys.stdin.isatty():
                raise UsageError(f"removing {count(len(entries), 'cached result')} must be confirmed",
                                 "add --yes")
            typer.confirm(f"Remove {count(len(entries), 'cached result')} "
                          f"({size(sum(e.metered for e in entries))})?", abort=True)
        removed = service.clear_cache(task)
    say(f"{count(removed, 'entry', 'entries')} removed")


def _document(entry: Entry) -> dict[str, Any]:
    return {"task": entry.key.task, "key": entry.digest, "signature": entry.key.signature,
            "version": entry.key.version, "inputs": dict(entry.key.shown), "metered_bytes": entry.metered,
            "created_at": entry.created_at, "used_at": entry.used_at, "seconds": entry.seconds,
            "execution": entry.execution}


def _ago(at: float) -> str:
    from datetime import timedelta

    from nfresume.domain.wording import duration

    return f"{duration(timedelta(seconds=max(0.0, time.time() - at)))} ago"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(cache, name="cache")
