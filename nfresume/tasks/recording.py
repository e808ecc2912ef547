"""The records of an attempt, in the form in which Nextflow leaves its own.

So whatever follows, lists, measures, bills or resumes an execution knows Nextflow's log, its history and its
task dirs, and needs to know nothing of Python workflows. See `nextflow.log` for the lines that matter.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO


class Log:
    """Appends to an attempt's log, a line at a time."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", buffering=1)
        self._succeeded = 0

    def line(self, text: str, level: str = "DEBUG") -> None:
        """One line; a message of several lines follows its first without a time stamp."""
        now = datetime.now(UTC)
        stamp = f"{now:%b-%d %H:%M:%S}.{now.microsecond // 1000:03d}"
        self._file.write(f"{stamp} [main] {level} nfresume.tasks - {text}\n")

    def executor(self, name: str) -> None:
        """Which executor runs the tasks: `local` or `slurm`."""
        self.line(f"[warm up] executor > {name}")

    def submitted(self, task_hash: str, name: str) -> None:
        """A task was started."""
        self.line(f"[{task_hash}] Submitted process > {name}", "INFO")

    def cached(self, task_hash: str, name: str) -> None:
        """A task's result is used again."""
        self.line(f"[{task_hash}] Cached process > {name}", "INFO")

    def job(self, name: str, job_id: str, place: Path) -> None:
        """A task was handed to Slurm."""
        self.line(f"[SLURM] submitted process {name} > jobId: {job_id}; workDir: {place}")

    def completed(self, number: int, name: str, exit_code: int | None, place: Path) -> None:
        """A task ended; None: it was killed, or its job is gone."""
        code = "-" if exit_code is None else exit_code
        self._succeeded += exit_code == 0
        self.line(f"Task completed > TaskHandler[id: {number}; name: {name}; status: COMPLETED; "
                  f"exit: {code}; error: -; workDir: {place}]")

    def retried(self, task_hash: str, name: str, why: str) -> None:
        """A task failed and is tried again."""
        self.line(f"[{task_hash}] NOTE: Process `{name}` {why} -- Execution is retried", "INFO")

    def failed(self, message: str) -> None:
        """Why the workflow fails; the first one told is the cause."""
        self.line(message, "ERROR")

    def ended(self, failed: int) -> None:
        """The workflow came to its end, well or badly."""
        counts = f"succeededCount={self._succeeded}; failedCount={failed};"
        self.line(f"Workflow completed > WorkflowStats[{counts}]")

    def close(self) -> None:
        """Everything on disk."""
        os.fsync(self._file.fileno())
        self._file.close()


def history(cache: Path, run_name: str, session: str, status: str, command: str, seconds: float = 0) -> None:
    """Append how a run stands (`-`, `OK`, `ERR`) to the history; its last line for a run counts."""
    columns = (time.strftime("%Y-%m-%d %H:%M:%S"), f"{seconds:.1f}s" if seconds else "-", run_name, status,
               "-", session, " ".join(command.split()))
    with (cache / "history").open("a") as file:
        file.write("\t".join(columns) + "\n")
        file.flush()
        os.fsync(file.fileno())
