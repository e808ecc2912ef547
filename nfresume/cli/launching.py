"""launch, relaunch, cancel, wait: the commands that start, follow and stop executions."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from nfresume.cli import options as common
from nfresume.cli.output import count, end_progress, hours, print_json, progress_line, say, work_dir_line
from nfresume.domain.wording import duration, size

if TYPE_CHECKING:
    from nfresume.domain.executions import Execution
    from nfresume.service.verbs import Service

#: nfresume's options that are accepted after the pipeline too. Any other `--name` there is a parameter of the
#: pipeline.
ANYWHERE = frozenset({"--storage-expiration-hours", "--detach", "--pin"})


class PassThrough(TyperCommand):
    """A command that passes the words it does not know to Nextflow, unchanged and in order."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ours, theirs = split(args, self.params, positional=1 if self.name == "relaunch" else 0)
        names = {name for param in self.params for name in param.opts}
        for word in theirs:
            if "--" not in args and word.partition("=")[0] in names:
                say(f"note: {word} goes to the pipeline; options of nfresume must come before it")
        return super().parse_args(ctx, [*ours, "--", *theirs])


def split(
    words: Sequence[str], params: Sequence[Any], positional: int
) -> tuple[list[str], list[str]]:
    """Separate nfresume's options from the words for Nextflow; returns (ours, theirs).

    Before the pipeline every `--option` that is in `params` is ours, after it only those in ANYWHERE, and
    after a bare `--` none. The first `positional` words that are not options (the id of a relaunch) stay in
    front of `theirs`.
    """
    flags = {n: isinstance(p, TyperOption) and p.is_flag for p in params for n in p.opts}
    ours: list[str] = []
    theirs: list[str] = []
    rest = list(words)
    after_pipeline = False
    front: list[str] = []
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        if word == "--":
            theirs += rest
            break
        if name.startswith("--") and name in flags and (name in ANYWHERE or not after_pipeline):
            ours.append(word)
            if not equals and not flags[name] and rest:
                ours.append(rest.pop(0))
        elif word in ("-h", "--help") and not after_pipeline:
            ours.append("--help")
        elif len(front) < positional and not word.startswith("-"):
            front.append(word)
        else:
            theirs.append(word)
            if not word.startswith("-"):
                after_pipeline = after_pipeline or not _is_value(theirs)
            elif word.startswith("--") and positional:
                after_pipeline = True  # `relaunch` takes no pipeline: its first parameter ends our options
    return ours, [*front, *theirs]


def _is_value(words: Sequence[str]) -> bool:
    """True when the last word is the value of the single-dash option before it."""
    from nfresume.nextflow.options import FLAGS, GLOBAL, OPTIONAL_VALUE

    if len(words) < 2 or not words[-2].startswith("-"):
        return False
    option = words[-2]
    flag = option in FLAGS or GLOBAL.get(option) is False or option in ("-bg", "-resume") or "=" in option
    return not flag and not (option in OPTIONAL_VALUE and option != "-ansi-log")


Words = Annotated[
    list[str] | None, typer.Argument(metavar="PIPELINE [NEXTFLOW OPTIONS]...", show_default=False,
                                     help="What `nextflow run` takes.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Print the id and return at once.")]


def launch(
    words: Words = None,
    storage_expiration_hours: Annotated[
        str | None,
        typer.Option("--storage-expiration-hours", metavar="HOURS",
                     help="Hours to keep the work dir after a failure; 0 deletes it. Default: the pipeline's "
                     "metadata, then the site's setting, then 0."),
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Keep the work dir until it is unpinned.")] = False,
    retain: common.Retain = None,
    on_success: common.OnSuccess = None,
    detach: Detach = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="CPUS", min=1,
                                 help="CPUs for the tasks of a Python workflow. Default: all.")
    ] = None,
    metadata: Annotated[
        Path | None, typer.Option("--metadata", help="The latch_metadata to use (folder or file).")
    ] = None,
    account: common.Account = None,
    root: common.Root = None,
    nextflow: common.Nextflow = None,
    as_json: common.Json = False,
) -> int:
    """Run a pipeline: write `nfresume launch` in place of `nextflow run`.

    Options of nfresume go before PIPELINE. Words after it go to Nextflow and the pipeline, except
    --storage-expiration-hours, --pin and --detach, which nfresume accepts there too.

    Ctrl-C cancels. A closed terminal does not stop the execution. The exit code is Nextflow's.

    Examples:

      nfresume launch main.nf -profile test --outdir results

      nfresume launch --storage-expiration-hours 48 nf-core/rnaseq -r 3.14.0 -params-file params.json

      nfresume launch --detach main.nf && nfresume logs -f ID

      nfresume launch --jobs 8 assembly.py:assemble --reads reads.fastq
    """
    from nfresume.nextflow import options

    given = (*(words or ()), *_jobs(jobs))
    policy = _policy(retain, on_success)
    parsed = options.parse(given)
    here = Path.cwd()
    with common.service(account, root, nextflow, launching=True) as service:
        from nfresume.runs.relaunching import RelaunchRequest
        from nfresume.service.verbs import LaunchRequest

        if parsed.resume is not None:
            failed = service.newest_failed_here(here, parsed.resume)
            say(f"-resume: relaunching {failed.id}, launched from this folder on "
                f"{failed.created_at:%Y-%m-%d %H:%M} UTC")
            kept = tuple(w for w in options.without_resume(given) if w != parsed.pipeline)
            request = RelaunchRequest(words=kept, pipeline=parsed.pipeline, pinned=pin,
                                      storage_expiration_hours=storage_expiration_hours, **policy)
            execution = service.relaunch(failed, request, progress_line)
            _announce_relaunch(execution)
        else:
            new = LaunchRequest(given, here, storage_expiration_hours, _absolute(metadata), pin, **policy)
            execution = service.launch(new, progress_line)
            _announce(service, execution)
        return _follow(service, execution, detach=detach or parsed.background, as_json=as_json)


def relaunch(
    words: Annotated[list[str], typer.Argument(metavar="ID [NEXTFLOW OPTIONS]...",
                                               help="The execution, and options to change.")],
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="Run this pipeline instead, for example a fixed copy.")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Run every task again, in the same work dir.")
    ] = False,
    accept_version_change: Annotated[
        bool, typer.Option("--accept-version-change", help="Relaunch although Nextflow's version changed.")
    ] = False,
    jobs_are_gone: Annotated[
        bool, typer.Option("--jobs-are-gone", help="Confirm that no grid job of the execution is running.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="CPUS", min=1,
                                 help="CPUs for the tasks of a Python workflow.")
    ] = None,
    storage_expiration_hours: Annotated[
        str | None,
        typer.Option("--storage-expiration-hours", metavar="HOURS",
                     help="From now on, hours to keep the work dir after a failure."),
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Keep the work dir until it is unpinned.")] = False,
    retain: common.Retain = None,
    on_success: common.OnSuccess = None,
    detach: Detach = False,
    account: common.Account = None,
    nextflow: common.Nextflow = None,
    as_json: common.Json = False,
) -> int:
    """Relaunch from the failed task: same pipeline, parameters, session and work dir.

    Tasks that finished are reused (`-resume`); the failed one and what depends on it run. Any option
    given replaces that of the last attempt.

    Examples:

      nfresume relaunch rnaseq-4k9x2m

      nfresume relaunch rnaseq -r 3.14.1 --max_memory 64.GB

      nfresume relaunch rnaseq --pipeline ./fixed/main.nf
    """
    policy = _policy(retain, on_success)
    with common.service(account, None, nextflow, launching=True) as service:
        from nfresume.nextflow import options
        from nfresume.runs.relaunching import RelaunchRequest

        found = service.find(words[0])
        given = options.absolute((*words[1:], *_jobs(jobs)), Path.cwd(), Path(found.launch_dir))
        if pipeline is not None and Path(pipeline.partition(".py:")[0] + ".py").exists():
            pipeline = str(Path(pipeline).absolute())  # `file.py:function`: the function stays at the end
        elif pipeline is not None and Path(pipeline).exists():
            pipeline = str(Path(pipeline).absolute())
        request = RelaunchRequest(given, pipeline, from_scratch, accept_version_change, jobs_are_gone,
                                  storage_expiration_hours, pin, **policy)
        execution = service.relaunch(found, request, progress_line)
        _announce_relaunch(execution)
        return _follow(service, execution, detach=detach, as_json=as_json)


def cancel(execution_id: common.ExecutionId, account: common.Account = None,
           as_json: common.Json = False) -> None:
    """Stop a running execution, as Ctrl-C would. Returns when it has ended.

    Example: nfresume cancel rnaseq-4k9x2m
    """
    with common.service(account) as service:
        execution = service.wait(service.cancel(service.find(execution_id)))
        _report(service, execution, as_json)


def wait(
    execution_id: common.ExecutionId,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Seconds to wait at most.")] = None,
    account: common.Account = None,
    as_json: common.Json = False,
) -> int:
    """Wait until an execution has ended and its work dir is settled; exit with Nextflow's exit code.

    Example: nfresume wait rnaseq-4k9x2m --timeout 3600
    """
    with common.service(account) as service:
        execution = service.wait(service.find(execution_id), timeout)
        return _report(service, execution, as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("launch", cls=PassThrough)(launch)
    app.command("relaunch", cls=PassThrough)(relaunch)
    app.command("cancel")(cancel)
    app.command("wait")(wait)


def _policy(retain: str | None, on_success: str | None) -> dict[str, Any]:
    from nfresume.domain.workdirs import OnSuccess, Retain

    return {"retain": common.chosen(Retain, retain, "--retain"),
            "on_success": common.chosen(OnSuccess, on_success, "--on-success")}


def _jobs(cpus: int | None) -> tuple[str, ...]:
    return () if cpus is None else ("-jobs", str(cpus))


def _absolute(path: Path | None) -> Path | None:
    return path.absolute() if path is not None else None


def _announce(service: Service, e: Execution) -> None:
    end_progress()
    attempt = service.details(e).attempts[-1]
    say(f"execution {e.id}, account {e.account}, {attempt.engine} ({attempt.nextflow})")
    source = e.storage_expiration_source
    if e.work_dir.pinned:
        say("work dir: kept until it is unpinned (--pin)")
    elif e.storage_expiration_hours:
        kept = hours(e.storage_expiration_hours)
        success = f"kept {kept} after a success, " if e.on_success == "keep" else "deleted on success, "
        slim = ", slim" if e.retain == "slim" else ""
        say(f"work dir: {success}kept {kept} after a failure{slim} ({source})")
    else:
        say(f"work dir: deleted on success and after a failure: storage_expiration_hours is 0 ({source})")


def _announce_relaunch(e: Execution) -> None:
    end_progress()
    say(f"execution {e.id}, attempt {e.attempt}, session {e.session_id}")


def _follow(service: Service, execution: Execution, *, detach: bool, as_json: bool) -> int:
    from nfresume.cli.progress import show

    if detach:
        if as_json:
            _print_details(service, execution)
        else:
            print(execution.id)
        return 0
    # A shell starts `command &` in a script with SIGINT ignored; SIGINT must still cancel.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        execution = show(service, execution, quiet=as_json)
    except KeyboardInterrupt:
        say(f"cancelling {execution.id} (Ctrl-C again: do not wait for its end)")
        service.cancel(execution)
        execution = show(service, execution, quiet=True)
    execution = _settled(service, execution)
    return _report(service, execution, as_json)


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


def _report(service: Service, execution: Execution, as_json: bool) -> int:
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
            if event.name == "slimmed" and event.attempt == attempt.number:
                if reason := event.detail.get("left_alone"):
                    say(f"slim: nothing was removed: {reason}")
                    continue
                freed, stuck = event.detail.get("files", 0), event.detail.get("blocked", 0)
                say(f"slim: {count(freed, 'file')}, {size(event.detail.get('bytes', 0))} of failed task "
                    "attempts removed" + (f"; {stuck} could not be" if stuck else ""))
        say(work_dir_line(execution, service.price(execution)))
        if execution.work_dir.state == "RETAINED" and execution.state != "SUCCEEDED":
            say(f"relaunch from the failed task: nfresume relaunch {execution.id}")
        elif execution.state == "FAILED" and execution.storage_expiration_hours == 0:
            say("to be able to relaunch from the failed task, launch with --storage-expiration-hours 48")
    if code is None:
        return 70
    return code if code >= 0 else 128 - code


def _report_reuse(service: Service, execution: Execution) -> None:
    from nfresume.service.following import compare

    reused = compare(service.folder(execution), execution.attempt)
    saved = f" ({duration(reused.saved)} of task time)" if reused.saved.total_seconds() >= 1 else ""
    say(f"{count(reused.cached, 'task')} reused{saved}, {reused.rerun} rerun, {reused.new} new")


def _print_details(service: Service, execution: Execution) -> None:
    from nfresume.domain import views

    d: Any = service.details(execution)
    print_json(views.details(d.execution, d.attempts, d.events))
