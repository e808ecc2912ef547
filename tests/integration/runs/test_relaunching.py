"""Checks before a relaunch after an unclean death."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from nfresume.domain.errors import Conflict
from nfresume.domain.executions import Attempt, Execution, ExecutionState, TaskCounts
from nfresume.domain.workdirs import WorkDir, WorkDirState
from nfresume.nextflow import command
from nfresume.runs.relaunching import RelaunchRequest, check_leftovers
from nfresume.storage import Root
from nfresume.storage.root import ExecutionFolder
from nfresume.system import processes
from tests import logs

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> ExecutionFolder:
    made = Root.mark(tmp_path / "root").execution("team", "run-a1")
    made.provision(1)
    (made.attempt(1) / command.LOG).write_text("\n".join([
        logs.stamped("nextflow.executor.Executor", "DEBUG", "[warm up] executor > slurm"),
        logs.stamped("n.e.GridTaskHandler", "DEBUG", "[SLURM] submitted process B > jobId: 72; workDir: "
                     f"{made.work}/{logs.task_dir(1)}"),
        logs.submitted(1, "B"),
    ]) + "\n")
    return made


def execution(folder: ExecutionFolder) -> Execution:
    work_dir = WorkDir(str(folder.work), WorkDirState.RETAINED)
    return Execution("run-a1", "team", "main.nf", "/", folder.root.id, "s", ExecutionState.FAILED, 1, 1.0,
                     "t", NOW, NOW, work_dir)


def attempt(*, clean: bool, host: str | None = None) -> Attempt:
    return Attempt("run-a1", 1, "run-a1-1", ExecutionState.FAILED, (), "main.nf", None, None, TaskCounts(),
                   clean_end=clean, host=host or processes.host())


def test_grid_jobs_that_may_still_run(folder: ExecutionFolder):
    """Grid jobs that may still run are named; the relaunch is refused until the user says they are gone."""
    with pytest.raises(Conflict, match=r"1 tasks on slurm \(jobs 72\)") as caught:
        check_leftovers(execution(folder), attempt(clean=False), folder, RelaunchRequest())
    assert "--jobs-are-gone" in caught.value.hint
    check_leftovers(execution(folder), attempt(clean=False), folder, RelaunchRequest(jobs_are_gone=True))
    check_leftovers(execution(folder), attempt(clean=True), folder, RelaunchRequest())


def test_tasks_of_another_host(folder: ExecutionFolder):
    """After an unclean death on another host the relaunch is refused here."""
    with pytest.raises(Conflict, match="died on elsewhere"):
        check_leftovers(execution(folder), attempt(clean=False, host="elsewhere"), folder,
                     RelaunchRequest(jobs_are_gone=True))
