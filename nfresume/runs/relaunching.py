"""What must hold before a relaunch; each refusal is exact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nfresume.domain.errors import Conflict, Expired, NotFound
from nfresume.domain.executions import Attempt, Execution, python_workflow
from nfresume.domain.workdirs import OnSuccess, Retain, WorkDirState
from nfresume.launchers import slurm
from nfresume.nextflow import command, history, options
from nfresume.nextflow import log as nextflow_log
from nfresume.storage.root import ExecutionFolder
from nfresume.system import processes


@dataclass(frozen=True)
class RelaunchRequest:
    """Changes for a relaunch; everything not named stays as it was."""

    words: tuple[str, ...] = ()
    pipeline: str | None = None
    from_scratch: bool = False
    accept_version_change: bool = False
    jobs_are_gone: bool = False
    storage_expiration_hours: object = None
    pinned: bool = False
    retain: Retain | None = None
    on_success: OnSuccess | None = None


def check_state(execution: Execution) -> None:
    """Ended, its work dir still there, its launch folder too. Raises Conflict, Expired or NotFound."""
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


def check_version(
    execution: Execution, last: Attempt, version: str, request: RelaunchRequest
) -> None:
    """Another Nextflow may not understand the cache: refused until accepted. Raises Conflict."""
    before = last.nextflow_version
    if python_workflow(last.pipeline) is not None:
        return  # its results are read by any supported Python
    if before and before != version and not (request.accept_version_change or request.from_scratch):
        raise Conflict(
            f"{execution.id} ran on Nextflow {before}, and {version} would run now: its cache may "
            "not be understood, and every task would run again",
            f"use {before} again ({last.nextflow}), or add --accept-version-change",
        )


def check_cache(execution: Execution, folder: ExecutionFolder, request: RelaunchRequest) -> None:
    """What `-resume` needs is there, at the path where it was: tasks are found by it. Raises Conflict."""
    if request.from_scratch:
        return
    if (before := execution.work_dir.path) != str(folder.work):
        raise Conflict(
            f"{execution.id} cannot be resumed: its work dir was {before} and is {folder.work} now, and "
            "finished tasks are found by their paths",
            "mount the root where it was (`nfresume doctor --mark-root`); or a full rerun: --from-scratch")
    if gone := history.resumable(folder.cache, execution.session_id):
        raise Conflict(f"{execution.id} cannot be resumed: {gone}",
                       "a full rerun of every task: add --from-scratch")


def check_leftovers(
    execution: Execution, last: Attempt, folder: ExecutionFolder, request: RelaunchRequest
) -> None:
    """Refuse what may still run where it cannot be known. Raises Conflict.

    What runs on this host is stopped by the new attempt's supervisor, which owns the work dir by then:
    a relaunch that loses the race for it must not touch the winner's processes.
    """
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
        seen = nextflow_log.read(folder.attempt(last.number) / command.LOG)
        grid = seen.executors - {"local"}
        if grid == {"slurm"} and slurm.job(last.run_name) is not slurm.Job.UNKNOWN:
            return  # Slurm answers: the new attempt's supervisor cancels what is left, and waits for it
        if grid and seen.unfinished and not request.jobs_are_gone:
            jobs = ", ".join(list(seen.jobs)[-20:]) or "see `nfresume logs`"
            raise Conflict(
                f"attempt {last.number} of {execution.id} died and left {len(seen.unfinished)} tasks "
                f"on {', '.join(sorted(grid))} (jobs {jobs})",
                "cancel them, then add --jobs-are-gone",
            )


def move_reports_aside(parsed: options.RunOptions, launch_dir: Path, run_name: str) -> None:
    """Nextflow refuses to overwrite a report: the last attempt's moves aside, to NAME.<run name>."""
    for option in parsed.after:
        if option.name in options.REPORTS and option.value:
            report = launch_dir / option.value
            if report.is_file():
                report.rename(report.with_name(f"{report.name}.{run_name}"))
