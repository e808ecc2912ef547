"""What launch, relaunch, cancel and wait say: the announcement, the progress, and how an execution ended."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from signal import SIGINT
from typing import TYPE_CHECKING, Any

from nfresume.cli.output import count, end_progress, hours, print_json, say, work_dir_line
from nfresume.domain.errors import NfresumeError
from nfresume.domain.wording import duration, size

if TYPE_CHECKING:
    from nfresume.cli.ending import Signals
    from nfresume.domain.executions import Execution
    from nfresume.runs.relaunching import RelaunchRequest
    from nfresume.service.verbs import Service


def announce(service: Service, e: Execution) -> None:
    """Say what was launched, and what will become of its work dir."""
    end_progress()
    attempt = service.details(e).attempts[-1]
    say(f"execution {e.id}, account {e.account}, {attempt.engine} ({attempt.nextflow})")
    source = e.storage_expiration_source
    if e.work_dir.pinned:
        say("work dir: kept until it is unpinned (--pin)")
    elif source.startswith("to be read"):
        otherwise = f"{hours(e.storage_expiration_hours)} ({source.rpartition('otherwise ')[2]})"
        say(f"work dir: deleted on success; after a failure kept for the hours {source.partition(',')[0]} "
            f"once it is pulled, otherwise {otherwise}")
    elif e.storage_expiration_hours:
        kept = hours(e.storage_expiration_hours)
        success = f"kept {kept} after a success, " if e.on_success == "keep" else "deleted on success, "
        how = "" if e.retain == "full" else f", {e.retain}"
        say(f"work dir: {success}kept {kept} after a failure{how} ({source})")
        if e.retain == "lean" and (reason := service.lean_refusal(e)):
            say(f"lean: as it seems here, nothing will be emptied, slim is used: {reason}")
    else:
        say(f"work dir: deleted on success and after a failure: storage_expiration_hours is 0 ({source})")


def announce_relaunch(e: Execution) -> None:
    """Say which attempt starts."""
    end_progress()
    say(f"execution {e.id}, attempt {e.attempt}, session {e.session_id}")


def forecast(service: Service, execution: Execution, request: RelaunchRequest, *, as_json: bool) -> int:
    """Print what a relaunch would do. Returns 0."""
    from nfresume.service import forecasting

    planned = forecasting.plan(service, execution, request)
    if as_json:
        print_json(forecasting.document(execution, planned))
    else:
        print("\n".join(forecasting.lines(planned)))
    return 0


def follow(
    service: Service, execution: Execution, signals: Signals, *, detach: bool, as_json: bool,
    live: bool = True,
) -> int:
    """Follow an execution to its end; with `detach` print its id only. Returns the exit status.

    The first signal cancels the run, whose end is then waited for; after the second one it is not. Without
    `live` a terminal gets lines, and no table that changes.
    """
    from nfresume.cli.progress import show

    ending = _Ending(service, execution, signals)
    if detach:
        if ending.arrived():
            return signals.exit_code
        if as_json:
            _print_details(service, execution)
        else:
            print(execution.id)
        return 0
    execution = show(service, execution, quiet=as_json, live=live, wake=signals.wake,
                     signals=ending.arrived)
    signals.release()
    if execution.state.live:
        say(f"{execution.id} is being cancelled; not waiting for its end")
        return signals.exit_code
    code = report(service, _settled(service, execution), as_json)
    return signals.exit_code if signals.count and code == NfresumeError.exit_code else code


class _Ending:
    """Cancels an execution at the first signal."""

    def __init__(self, service: Service, execution: Execution, signals: Signals) -> None:
        self._service = service
        self._execution = execution
        self._signals = signals
        self._told = self._cancelled = False

    def arrived(self) -> int:
        """How many signals have arrived. Once there was one the execution is cancelled, or has ended."""
        from nfresume.domain.errors import Conflict, StoreUnavailable

        if self._signals.count and not self._cancelled:
            if not self._told:
                self._tell()
            try:
                with contextlib.suppress(Conflict):  # it has ended by itself
                    self._service.cancel(self._execution)
                self._cancelled = True
            except StoreUnavailable:  # the next look tries again
                if self._signals.count > 1:
                    raise
        return self._signals.count

    def _tell(self) -> None:
        why = (" (Ctrl-C again: do not wait for its end)" if self._signals.last == SIGINT
               else ": this command was told to end")
        say(f"cancelling {self._execution.id}{why}")
        self._told = True


def _settled(service: Service, execution: Execution) -> Execution:
    """Wait up to 2 s for the settlement, and up to 2 s for the size. For a large tree both may come later."""
    from nfresume.domain.errors import Conflict

    try:
        execution = service.wait(execution, timeout=2.0)
        if execution.work_dir.bytes is None and execution.work_dir.state == "RETAINED":
            execution = service.wait_until_measured(execution, timeout=2.0)
    except Conflict:
        pass
    return execution


def report(service: Service, execution: Execution, as_json: bool) -> int:
    """Say how the last attempt ended, and what is kept. Returns the exit status."""
    details = service.details(execution)
    execution, attempt = details.execution, details.attempts[-1]
    code = attempt.exit_code
    if as_json:
        _print_details(service, execution)
    else:
        if attempt.number > 1:
            _report_reuse(service, execution)
        ended = f" with exit status {code}" if code else ""
        error = f": {attempt.error}" if attempt.error else ""
        say(f"{execution.id} {execution.state}{ended}{error}")
        for event in details.events:
            if event.attempt == attempt.number and (told := _TOLD.get(event.name)):
                told(event.detail)
        say(work_dir_line(execution, service.price(execution)))
        if execution.work_dir.state == "RETAINED" and execution.state != "SUCCEEDED":
            if service.can_resume(execution):
                say(f"relaunch from the failed task: nfresume relaunch {execution.id}")
            else:
                say("nothing had run yet: launch it again when it is fixed")
        elif execution.state == "FAILED" and execution.storage_expiration_hours == 0:
            say("to be able to relaunch from the failed task, launch with --storage-expiration-hours 48")
    if code is None or (code == 0 and execution.state == "FAILED"):
        return NfresumeError.exit_code
    return code if code >= 0 else 128 - code


def _tell_slimmed(detail: Mapping[str, Any]) -> None:
    if reason := detail.get("left_alone"):
        say(f"slim: nothing was removed: {reason}")
        return
    freed, stuck = detail.get("files", 0), detail.get("blocked", 0)
    say(f"slim: {count(freed, 'file')}, {size(detail.get('bytes', 0))} of failed task "
        "attempts removed" + (f"; {stuck} could not be" if stuck else ""))


def _tell_emptied(detail: Mapping[str, Any]) -> None:
    if reason := detail.get("left_alone"):
        say(f"lean: no file was emptied, only failed task attempts were: {reason}")
        return
    say(f"lean: {count(detail['files'], 'intermediate file')} of {count(detail['tasks'], 'task')}, "
        f"{size(detail['bytes'])}, keep no content: no coming task is known to read them")


def _tell_results(detail: Mapping[str, Any]) -> None:
    if left := detail.get("left"):
        say(f"{count(left, 'published link')} on another file system still need the work dir: before it is "
            "deleted they are copied; until then leave them where they are")
    if refused := detail.get("refused"):
        say(f"{count(refused, 'result')} cannot be made independent of the work dir: {detail.get('because')}")
    if links := detail.get("links_to_task_dirs"):
        some = ", ".join(detail.get("such_links", [])[:3])
        say(f"{count(links, 'link')} to whole task dirs, which end with the work dir: {some}")
    if naming := detail.get("files_that_name_the_work_dir"):
        some = ", ".join(detail.get("such_as", [])[:3])
        say(f"{count(naming, 'text file')} with paths of files in the work dir, which end with it: {some}")
    if (looked := detail.get("looked_at")) is not None:
        say(f"links into the work dir were looked for among {looked:,} files, but not further")


def _tell_lost(detail: Mapping[str, Any]) -> None:
    why = f" ({reason})" if (reason := detail.get("reason")) else ""
    say(f"WARN: Nextflow's cache has lost {detail['tasks']} of {count(detail['of'], 'finished task')}{why}: "
        "a relaunch runs them again")


#: What the end of an attempt tells of its events.
_TOLD = {"slimmed": _tell_slimmed, "emptied": _tell_emptied, "results_secured": _tell_results,
         "cache_lost": _tell_lost}


def _report_reuse(service: Service, execution: Execution) -> None:
    from nfresume.domain.errors import NotFound
    from nfresume.domain.executions import python_workflow
    from nfresume.service import explaining
    from nfresume.service.following import compare

    reused = compare(service.folder(execution), execution.attempt)
    saved = f" ({duration(reused.saved)} of task time)" if reused.saved.total_seconds() >= 1 else ""
    say(f"{count(reused.cached, 'task')} reused{saved}, {reused.rerun} rerun, {reused.new} new")
    if python_workflow(execution.pipeline) is not None:
        return  # its head has said it already
    with contextlib.suppress(NotFound):
        for line in explaining.lines(service.explain_attempt(execution)):
            say(line)


def _print_details(service: Service, execution: Execution) -> None:
    from nfresume.domain import views

    d: Any = service.details(execution)
    print_json(views.details(d.execution, d.attempts, d.events))
