"""extend, pin, unpin, delete, sweep, settle: the commands about retained storage."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nfresume.cli import options as common
from nfresume.cli.output import count, end_progress, print_json, progress_line, say, work_dir_line
from nfresume.domain.wording import duration, printable, size

if TYPE_CHECKING:
    from nfresume.domain.executions import Execution
    from nfresume.domain.workdirs import RemovalProgress
    from nfresume.service.verbs import Service


def extend(
    execution_id: common.ExecutionId,
    hours: Annotated[str, typer.Argument(help="Hours to keep the work dir, counted from now.")],
    account: common.Account = None,
    as_json: common.Json = False,
) -> None:
    """Give a retained work dir a new expiry, counted from now.

    Example: nfresume extend rnaseq-4k9x2m 48
    """
    with common.service(account) as service:
        _show(service, service.extend(service.find(execution_id), hours), as_json)


def pin(execution_id: common.ExecutionId, account: common.Account = None, as_json: common.Json = False
        ) -> None:
    """Keep a work dir until it is unpinned, even if the run succeeds.

    Example: nfresume pin rnaseq-4k9x2m
    """
    with common.service(account) as service:
        _show(service, service.pin(service.find(execution_id)), as_json)


def unpin(execution_id: common.ExecutionId, account: common.Account = None, as_json: common.Json = False
          ) -> None:
    """Let a pinned work dir expire: its storage expiration hours, at least one, are counted from now.

    Example: nfresume unpin rnaseq-4k9x2m
    """
    with common.service(account) as service:
        _show(service, service.unpin(service.find(execution_id)), as_json)


def delete(
    execution_id: common.ExecutionId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    lose_results: Annotated[
        bool, typer.Option("--lose-results", help="Delete even if that loses results which exist only in the "
                           "work dir.")
    ] = False,
    account: common.Account = None,
    as_json: common.Json = False,
) -> None:
    """Delete a retained work dir now. Published links are replaced by the real files first.

    Ctrl-C or SIGTERM pauses the removal; `nfresume delete` or the next sweep continues it. Files that were
    removed by then do not come back.

    Example: nfresume delete rnaseq-4k9x2m --yes
    """
    from nfresume.domain.errors import UsageError
    from nfresume.system.pausing import pausable

    with common.service(account) as service:
        execution = service.find(execution_id)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError(f"deleting the work dir of {execution.id} must be confirmed", "add --yes")
            w = execution.work_dir
            typer.confirm(f"Delete {printable(w.path)} ({size(w.bytes)})? The execution cannot be relaunched "
                          "afterwards", abort=True)
        with pausable() as pause:
            deleted = service.delete(
                execution, lose_results=lose_results, stop=pause.event,
                progress=lambda so_far: _progress(execution, so_far),
            )
        end_progress()
        _show(service, deleted, as_json)
        if pause.signal:
            raise typer.Exit(pause.exit_code)


def settle(
    execution_id: common.ExecutionId,
    host_is_gone: Annotated[
        bool, typer.Option("--host-is-gone", help="The host on which it ran will never come back: nothing "
                           "of it can still write to the work dir.")
    ] = False,
    account: common.Account = None,
    as_json: common.Json = False,
) -> None:
    """Settle an execution whose host is lost for good: a spot instance, a replaced container.

    Without a word from you nfresume waits for that host, because Nextflow may still run there. Afterwards the
    execution is FAILED, and can be relaunched from here. Jobs on a cluster are still asked for there.

    Example: nfresume settle rnaseq-4k9x2m --host-is-gone
    """
    from nfresume.domain.errors import UsageError

    with common.service(account) as service:
        execution = service.find(execution_id)
        if not host_is_gone:
            raise UsageError(f"only you can say that the host of {execution.id} is gone",
                             "add --host-is-gone")
        _show(service, service.settle(execution), as_json)


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only print the plan and why.")] = False,
    as_json: common.Json = False,
) -> None:
    """Run one sweep over all accounts: settle lost executions and delete expired work dirs.

    Ctrl-C or SIGTERM pauses the current removal; the next sweep continues it.

    Exit code 74 when something could not be done; to hold what must not be deleted is no failure.

    Example: nfresume sweep --dry-run
    """
    from nfresume import settings
    from nfresume.domain import views
    from nfresume.domain.errors import RemovalBlocked
    from nfresume.runs import delivery, sweeper
    from nfresume.store import Store
    from nfresume.system.pausing import pausable

    conf = settings.load()
    store = Store.open(conf.database_url)
    try:
        with pausable() as pause:
            lines = sweeper.sweep(store, conf, dry_run=dry_run, progress=_progress, stop=pause.event,
                                  notify=say)
        if not dry_run:
            for trouble in delivery.deliver(store, conf):
                say(trouble)
    finally:
        store.close()
        end_progress()
    if as_json:
        print_json([_as_json(line, views) for line in lines])
    else:
        for line in lines:
            result = line.error or line.done
            tail = f": {result}" if result else ""
            print(printable(f"{line.execution.id}  {line.action}  ({line.reason}){tail}"))
        acted = [line for line in lines if line.action != "keep"]
        say(f"{count(len(lines), 'work dir')} checked, {len(acted)} to act on"
            + (" (dry run: nothing was changed)" if dry_run else ""))
    if pause.signal:
        raise typer.Exit(pause.exit_code)
    if any(line.error or "cannot" in line.done or "not all" in line.done for line in lines):
        raise typer.Exit(RemovalBlocked.exit_code)


def _as_json(line: Any, views: Any) -> dict[str, Any]:
    return {"execution": views.execution(line.execution), "action": line.action, "reason": line.reason,
            "done": line.done or None, "error": line.error or None,
            "removal": asdict(line.removal) if line.removal else None}


def _progress(execution: Execution, so_far: RemovalProgress) -> None:
    parts = [f"{so_far.files:,} files", size(so_far.bytes), f"{so_far.files_per_second:,.0f} files/s"]
    if (left := so_far.remaining_files(execution.work_dir.files)) is not None:
        parts.append(f"{left:,} left")
    seconds = so_far.remaining_seconds(execution.work_dir.files)
    if seconds is not None:
        parts.append(f"about {duration(timedelta(seconds=seconds))}")
    progress_line(f"deleting {execution.id}: {', '.join(parts)}")


def _show(service: Service, execution: Execution, as_json: bool) -> None:
    from nfresume.domain import views

    if as_json:
        print_json(views.execution(execution))
    else:
        say(f"{execution.id}: {work_dir_line(execution, service.price(execution))}")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("extend")(extend)
    app.command("pin")(pin)
    app.command("unpin")(unpin)
    app.command("delete")(delete)
    app.command("settle")(settle)
    app.command("sweep")(sweep)
