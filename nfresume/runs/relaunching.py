"""What a relaunch is given, and the checks before it. Each raises an error that says what is wrong."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from nfresume.domain.errors import Conflict, Expired, NotFound, UsageError
from nfresume.domain.executions import Attempt, Execution, python_workflow
from nfresume.domain.workdirs import OnSuccess, Retain, WorkDirState
from nfresume.launchers import slurm
from nfresume.nextflow import history, kept_inputs, options, reading, summary
from nfresume.retained import old_records
from nfresume.runs import inputs, preflight, taskdirs
from nfresume.storage.root import ExecutionFolder
from nfresume.system import processes

#: In the request of an attempt: it makes all emptied files again.
REHYDRATE = "rehydrate"


@dataclass(frozen=True)
class RelaunchRequest:
    """What a relaunch changes; None or the default leaves a value as it was.

    `words` are options and parameters for Nextflow, as on the command line. `without` are names of options of
    the last attempt that are left out.
    """

    words: tuple[str, ...] = ()
    pipeline: str | None = None
    from_scratch: bool = False
    jobs_are_gone: bool = False
    storage_expiration_hours: object = None
    pinned: bool = False
    retain: Retain | None = None
    on_success: OnSuccess | None = None
    replaces: bool = False  # `words` are all words, with the pipeline: those of the last attempt do not count
    script: bytes | None = None  # what standard input held, for the pipeline `-`
    attached: old_records.Attached = ()
    rehydrate: bool = False  # all files that lean retention has emptied are made again
    without: tuple[str, ...] = ()


def options_of(
    execution: Execution, last: Attempt, request: RelaunchRequest, folder: ExecutionFolder
) -> tuple[options.RunOptions, inputs.Taken]:
    """The options of a relaunch, and what it is given. Raises UsageError, NotFound."""
    before = options.without(options.stored(last.pipeline, last.options), request.without)
    given = options.parse(request.words)
    if not request.replaces and (given.resume is not None or given.name is not None):
        raise UsageError("-resume and -name have no meaning in a relaunch", "leave them out")
    if given.pipeline and request.pipeline:
        raise UsageError(f"two pipelines given: {request.pipeline} and {given.pipeline}",
                         "--pipeline names the one to run")
    given = replace(given, pipeline=request.pipeline or given.pipeline)
    merged = given if request.replaces else options.merge(before, given)
    launch_dir = Path(execution.launch_dir)
    preflight.check_pipeline(merged.pipeline, launch_dir, merged.value("-main-script"))
    attempt_dir = folder.attempt(last.number)
    kept = [i for i in kept_inputs.read(attempt_dir) if i.kept is None or not request.replaces]
    taken = inputs.again(kept, attempt_dir, merged, given, launch_dir, request.script)
    inputs.check_json(merged, taken)
    preflight.check_workflow(merged, launch_dir, taken)
    return merged, taken


def check_state(execution: Execution) -> None:
    """Require an ended execution with its work dir and launch dir. Raises Conflict, Expired or NotFound."""
    work_dir = execution.work_dir
    if execution.state.live:
        raise Conflict(f"{execution.id} is {execution.state}: attempt {execution.attempt} is not over",
                       f"`nfresume wait {execution.id}`, or `nfresume cancel {execution.id}` first")
    if work_dir.state in (WorkDirState.DELETING, WorkDirState.DELETED):
        when = work_dir.deleted_at or execution.updated_at
        raise Expired(
            f"{execution.id} cannot be relaunched: its work dir is {work_dir.state} "
            f"({work_dir.reason}; {when:%Y-%m-%d %H:%M:%S} UTC)",
            f"launch it anew: `nfresume launch {execution.pipeline}`",
        )
    if not Path(execution.launch_dir).is_dir():
        raise NotFound(
            f"the folder {execution.launch_dir}, from which {execution.id} was launched, is gone",
            "create it again: relative paths and results belong there",
        )


def version_note(last: Attempt, version: str, request: RelaunchRequest) -> list[str]:
    """A sentence about another Nextflow version than the last attempt's; none when it is the same.

    Versions from 24.04 on read each other's caches (measured: 24.10, 25.10 and 26.04 reused all tasks).
    """
    before = last.nextflow_version
    if python_workflow(last.pipeline) is not None or before in (None, version) or request.from_scratch:
        return []
    return [
        f"the last attempt ran on Nextflow {before}, this one runs on {version}: finished tasks are reused, "
        "unless a process is read differently"]


def check_cache(execution: Execution, folder: ExecutionFolder, request: RelaunchRequest) -> bool:
    """Whether to resume: not where no task has ever begun. Raises Conflict when that is needed and cannot be.

    What `-resume` needs must exist, at the same path: Nextflow finds tasks by path. An attempt may end before
    Nextflow has made its cache: a mistake in the configuration, a kill.
    """
    if request.from_scratch:
        return False
    if (before := execution.work_dir.path) != str(folder.work):
        raise Conflict(
            f"{execution.id} cannot be resumed: its work dir moved from {before} to {folder.work}, and "
            "Nextflow finds finished tasks by path",
            "mount the root where it was (`nfresume doctor --mark-root`); or a full rerun: --from-scratch")
    gone = history.resumable(folder.cache, execution.session_id)
    if gone and taskdirs.none_in(folder.work):
        return False
    if gone:
        raise Conflict(f"{execution.id} cannot be resumed: {gone}",
                       "a full rerun of every task: add --from-scratch")
    return True


def check_leftovers(
    execution: Execution, last: Attempt, folder: ExecutionFolder, request: RelaunchRequest
) -> None:
    """Refuse while tasks of the last attempt may still run elsewhere, or a later one exists. Raises Conflict.

    Processes on this host are not checked: the new attempt's supervisor stops them once it owns the work dir.
    A relaunch that loses the race for the work dir must not touch the winner's processes.
    """
    if (unknown := folder.unknown_attempt(last.number)) is not None:
        raise Conflict(f"{execution.id} cannot be relaunched", unknown)
    if not last.clean_end:
        if last.launcher == slurm.SlurmLauncher.name:
            if (job := slurm.job(last.run_name)) is not slurm.Job.GONE:
                raise Conflict(f"the Slurm job of attempt {last.number} of {execution.id} is {job}",
                               "wait until it has ended, or until Slurm can be asked")
        elif last.host not in (None, processes.host()):
            raise Conflict(
                f"attempt {last.number} of {execution.id} died on {last.host}, and its tasks may "
                "still run there", f"relaunch from {last.host}",
            )
        seen = summary.of(reading.lines(folder.attempt(last.number)))
        grid = seen.executors - {"local"}
        if grid == {"slurm"} and slurm.job(last.run_name) is not slurm.Job.UNKNOWN:
            return  # Slurm answers: the new attempt's supervisor cancels the jobs and waits for their end
        if grid and seen.unfinished and not request.jobs_are_gone:
            jobs = ", ".join(list(seen.jobs)[-20:]) or "see `nfresume logs`"
            raise Conflict(
                f"attempt {last.number} of {execution.id} died and left {len(seen.unfinished)} tasks "
                f"on {', '.join(sorted(grid))} (jobs {jobs})",
                "cancel them, then add --jobs-are-gone",
            )


def move_reports_aside(parsed: options.RunOptions, launch_dir: Path, run_name: str) -> None:
    """Rename the last attempt's reports to NAME.<run name>, because Nextflow refuses to overwrite them.

    Those that the configuration names are overwritten: see `command.write_configuration`.
    """
    for option in parsed.after:
        if option.name in options.REPORTS and option.value:
            report = launch_dir / option.value
            if report.is_file():
                report.rename(report.with_name(f"{report.name}.{run_name}"))


def go_on(folder: ExecutionFolder, execution: Execution, attempt: Attempt) -> None:
    """Give the attempt after this one, which goes on with it, what this one was given."""
    asked = folder.request(attempt.number) or {}
    folder.begin_records(attempt.number + 1, {**asked, "resume": True, REHYDRATE: False})
    given = folder.attempt(attempt.number) / kept_inputs.FOLDER
    if given.is_dir():
        shutil.copytree(given, folder.attempt(attempt.number + 1) / kept_inputs.FOLDER, dirs_exist_ok=True)
    parsed = options.stored(attempt.pipeline, attempt.options)
    move_reports_aside(parsed, Path(execution.launch_dir), attempt.run_name)
