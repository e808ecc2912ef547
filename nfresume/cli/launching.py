"""launch, relaunch, cancel, wait: the commands that start, follow and stop executions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nfresume.cli import options as common
from nfresume.cli import outcome
from nfresume.cli.output import progress_line, say
from nfresume.cli.words import PassThrough

if TYPE_CHECKING:
    from nfresume.domain.executions import Execution
    from nfresume.nextflow.options import RunOptions
    from nfresume.runs.relaunching import RelaunchRequest
    from nfresume.service.verbs import Service

#: Options of Nextflow that are often written with a dash too many.
_TWO_DASHES = frozenset({"--resume", "--profile", "--params-file", "--work-dir", "--with-report"})
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

    Ctrl-C, SIGTERM and a closed terminal cancel, as they end `nextflow run`; with --detach the execution
    goes on. With -bg this command goes on in the background. The exit code is Nextflow's.

    Examples:

      nfresume launch main.nf -profile test --outdir results

      nfresume launch --storage-expiration-hours 48 nf-core/rnaseq -r 3.14.0 -params-file params.json

      nfresume launch --detach main.nf && nfresume logs -f ID

      nfresume launch --jobs 8 assembly.py:assemble --reads reads.fastq
    """
    from nfresume.cli.ending import Signals
    from nfresume.nextflow import options

    given = (*(words or ()), *_of_environment(words or ()), *_jobs(jobs))
    policy = _policy(retain, on_success)
    parsed = options.parse(given)
    _note_work_dir(parsed.work_dir)
    _note_two_dashes(parsed)
    if _left_to_background(parsed, detach=detach):
        return 0
    signals = Signals(detached=detach)
    script, stdin = _standard_input(parsed.pipeline, detach=detach)
    here = common.here()
    with common.service(account, root, nextflow, launching=True, stdin=stdin) as service:
        from nfresume.service.verbs import LaunchRequest

        resumed = _to_resume(service, parsed, here)
        if resumed is not None:
            request = _resuming(service, resumed, parsed, given, script, pinned=pin,
                                storage_expiration_hours=storage_expiration_hours, **policy)
            execution = service.relaunch(resumed, request, progress_line, say, signals.hold)
            outcome.announce_relaunch(execution)
        else:
            new = LaunchRequest(given, here, storage_expiration_hours, _absolute(metadata), pin,
                                script=script, **policy)
            execution = service.launch(new, progress_line, signals.hold)
            outcome.announce(service, execution)
        return outcome.follow(service, execution, signals, detach=detach, as_json=as_json,
                              live=not parsed.background)


def relaunch(
    words: Annotated[list[str], typer.Argument(metavar="ID [NEXTFLOW OPTIONS]...",
                                               help="The execution, and options to change.")],
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="Run this pipeline instead, for example a fixed copy.")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Run every task again, in the same work dir.")
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be reused and what would run again.")
    ] = False,
    account: common.Account = None,
    nextflow: common.Nextflow = None,
    as_json: common.Json = False,
) -> int:
    """Relaunch from the failed task: same pipeline, parameters, session and work dir.

    Tasks that finished are reused (`-resume`); the failed one and what depends on it run. Any option
    given replaces that of the last attempt.

    Examples:

      nfresume relaunch rnaseq-4k9x2m

      nfresume relaunch --dry-run rnaseq-4k9x2m

      nfresume relaunch rnaseq -r 3.14.1 --max_memory 64.GB

      nfresume relaunch rnaseq --pipeline ./fixed/main.nf
    """
    from nfresume.cli.ending import Signals
    from nfresume.nextflow import options

    policy = _policy(retain, on_success)
    if not dry_run and _left_to_background(options.parse(words[1:]), detach=detach):
        return 0
    signals = Signals(detached=detach)
    _, stdin = _standard_input(None, detach=detach)
    with common.service(account, None, nextflow, launching=True, stdin=stdin) as service:
        from nfresume.runs.relaunching import RelaunchRequest

        found = service.find(words[0])
        given = options.absolute((*words[1:], *_jobs(jobs)), common.here(), Path(found.launch_dir))
        parsed = options.parse(given)
        _note_work_dir(parsed.work_dir)
        _note_two_dashes(parsed, found.pipeline)
        if pipeline is not None and (Path(pipeline).exists() or Path(
                pipeline.partition(".py:")[0] + ".py").exists()):  # `file.py:function`
            pipeline = str(Path(pipeline).absolute())
        request = RelaunchRequest(given, pipeline, from_scratch, jobs_are_gone,
                                  storage_expiration_hours, pin, **policy)
        if dry_run:
            return outcome.forecast(service, found, request, as_json=as_json)
        execution = service.relaunch(found, request, progress_line, say, signals.hold)
        outcome.announce_relaunch(execution)
        return outcome.follow(service, execution, signals, detach=detach, as_json=as_json,
                              live=not parsed.background)


def rehydrate(
    execution_id: common.ExecutionId, detach: Detach = False, account: common.Account = None,
    nextflow: common.Nextflow = None, as_json: common.Json = False,
) -> int:
    """Make all files again that lean retention has emptied, by a relaunch of the tasks that made them.

    What follows from those tasks runs again. From then on it is kept slim, and after a success too.

    Example: nfresume rehydrate rnaseq-4k9x2m
    """
    from nfresume.cli.ending import Signals

    signals = Signals(detached=detach)
    with common.service(account, None, nextflow, launching=True) as service:
        execution = service.rehydrate(service.find(execution_id), progress_line, say, signals.hold)
        outcome.announce_relaunch(execution)
        return outcome.follow(service, execution, signals, detach=detach, as_json=as_json)


def cancel(execution_id: common.ExecutionId, account: common.Account = None,
           as_json: common.Json = False) -> None:
    """Stop a running execution, as Ctrl-C would. Returns when it has ended.

    Example: nfresume cancel rnaseq-4k9x2m
    """
    with common.service(account) as service:
        execution = service.wait(service.cancel(service.find(execution_id)), say=say)
        outcome.report(service, execution, as_json)


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
        execution = service.wait(service.find(execution_id), timeout, say)
        return outcome.report(service, execution, as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("launch", cls=PassThrough)(launch)
    app.command("relaunch", cls=PassThrough)(relaunch)
    app.command("rehydrate")(rehydrate)
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


def _of_environment(words: Sequence[str]) -> tuple[str, ...]:
    """The words that Nextflow's launcher and `nextflow run` take from the environment."""
    import os

    params = os.environ.get("NXF_PARAMS_FILE")
    more = os.environ.get("NXF_CLI_OPTS", "").split()
    if params and "-params-file" not in (*words, *more):
        more += ["-params-file", params]
    log = os.environ.get("NXF_LOG_FILE")
    if log and "-log" not in (*words, *more):
        more += ["-log", log]
    return tuple(more)


def _note_work_dir(given: str | None) -> None:
    """Say that -work-dir has no effect. Raises UsageError for one on object storage: the tasks need it."""
    import os

    from nfresume.domain.errors import UsageError

    given, name = (given, "-work-dir") if given else (os.environ.get("NXF_WORK"), "NXF_WORK")
    if given and "://" in given:
        raise UsageError(f"{name} {given}: the work dir lies below nfresume's root, on a file system",
                         "choose the root with --root; -bucket-dir is passed on")
    if given:
        say(f"note: {name} {given} is not used: the work dir lies below nfresume's root (--root chooses it)")


def _note_two_dashes(parsed: RunOptions, pipeline: str | None = None) -> None:
    """Say that `--resume` and its like are parameters (nf-core/chipseq#131): Nextflow says nothing."""
    from nfresume.domain.executions import python_workflow

    pipeline = parsed.pipeline or pipeline
    if pipeline is None or python_workflow(pipeline) is not None:
        return
    for name in dict.fromkeys(o.name for o in parsed.after if o.name in _TWO_DASHES):
        say(f"note: {name} is a parameter of the pipeline; Nextflow's own option is {name[1:]}")


def _note_resume_in(config: Path) -> None:
    """Say that `resume = true` of a configuration resumes nothing here: each execution has its own cache."""
    import contextlib
    import re

    with contextlib.suppress(OSError):
        if re.search(r"^resume\s*=\s*true\b", config.read_text(errors="replace"), re.MULTILINE):
            say(f"note: `resume = true` of {config.name} is not followed: give -resume, or use "
                "`nfresume relaunch ID`")


def _left_to_background(parsed: RunOptions, *, detach: bool) -> bool:
    """With -bg go on in a new process, as Nextflow's own launcher does; True in the one that is to end.

    The new one has the same standard output and error, and no standard input. No signal of the terminal
    reaches it. SIGTERM to the process id in `.nextflow.pid` ends the run.
    """
    import contextlib
    import os

    if detach or not parsed.background:
        return False
    if pid := os.fork():
        with contextlib.suppress(OSError):
            Path(os.environ.get("NXF_PID_FILE") or ".nextflow.pid").write_text(f"{pid}\n")
        return True
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return False


def _standard_input(pipeline: str | None, *, detach: bool) -> tuple[bytes | None, int | None]:
    """The script of the pipeline `-`, and the descriptor that the head reads.

    A terminal is not passed to a head that goes on without this command: it would read what is typed next.
    """
    import fcntl
    import os

    from nfresume.nextflow.options import STDIN

    try:
        if pipeline == STDIN:
            with open(0, "rb", closefd=False) as given:
                return given.read(), None
        if detach and os.isatty(0):
            return None, None
        return None, fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:  # standard input is closed
        return None, None


def _to_resume(service: Service, parsed: RunOptions, here: Path) -> Execution | None:
    """The execution that -resume means; None without -resume, and when there is nothing to resume."""
    from nfresume.domain.errors import NotFound, UsageError
    from nfresume.service import resuming

    if parsed.pipeline is None:
        return None
    if parsed.resume is None:
        _note_resume_in(here / "nextflow.config")
        return None
    if not parsed.resume and parsed.extra:
        try:
            meant = service.find(parsed.extra[0]).id
        except NotFound:
            pass
        else:
            raise UsageError(f"-resume takes no execution: {parsed.extra[0]} would go to the script",
                             f"`nfresume relaunch {meant}`")
    found, nothing = resuming.to_resume(service, here, parsed.resume, parsed.pipeline,
                                        parsed.value("-main-script"))
    if found is None:
        say(f"WARN: -resume is ignored: {nothing}")
    return found


def _resuming(
    service: Service, found: Execution, parsed: RunOptions, given: Sequence[str], script: bytes | None,
    **policy: Any,
) -> RelaunchRequest:
    """The relaunch that `launch ... -resume` asks for: with the words given and no others, as in Nextflow."""
    from nfresume.runs.relaunching import RelaunchRequest
    from nfresume.service import resuming

    say(f"-resume: relaunching {found.id}, launched from this folder on "
        f"{found.created_at:%Y-%m-%d %H:%M} UTC")
    last = resuming.last_words(service, found)
    if (last.after or last.before) and not (parsed.after or parsed.before or parsed.extra):
        words = " ".join(shlex.quote(word) for o in (*last.before, *last.after) for word in o.words)
        say(f"-resume: without the options of its last attempt ({words}); "
            f"`nfresume relaunch {found.id}` would take them again")
    return RelaunchRequest(words=tuple(given), replaces=True, script=script, **policy)
