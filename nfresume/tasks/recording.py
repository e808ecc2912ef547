"""Write the records of an attempt in the format of Nextflow's own.

The rest of nfresume reads Nextflow's log, history and task dirs. With the same format it needs no special
case for Python workflows. `nextflow.log` lists the lines that are read.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO


class Log:
    """An attempt's log. Each method appends to it."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", buffering=1)
        self._succeeded = self._ignored = 0

    def line(self, text: str, level: str = "DEBUG") -> None:
        """Append a line with a time stamp. The further lines of a longer message have none."""
        now = datetime.now(UTC)
        stamp = f"{now:%b-%d %H:%M:%S}.{now.microsecond // 1000:03d}"
        self._file.write(f"{stamp} [main] {level} nfresume.tasks - {text}\n")

    def executor(self, name: str) -> None:
        """Note which executor runs the tasks: `local` or `slurm`."""
        self.line(f"[warm up] executor > {name}")

    def submitted(self, task_hash: str, name: str) -> None:
        """Note that a task was started."""
        self.line(f"[{task_hash}] Submitted process > {name}", "INFO")

    def cached(self, task_hash: str, name: str) -> None:
        """Note that a task's result is reused."""
        self.line(f"[{task_hash}] Cached process > {name}", "INFO")

    def job(self, name: str, job_id: str, task_dir: Path) -> None:
        """Note that a task was submitted to Slurm."""
        self.line(f"[SLURM] submitted process {name} > jobId: {job_id}; workDir: {task_dir}")

    def completed(self, number: int, name: str, exit_code: int | None, task_dir: Path) -> None:
        """Note that a task ended. `exit_code` None: it has none, because it was killed or its job is gone."""
        code = "-" if exit_code is None else exit_code
        self._succeeded += exit_code == 0
        self.line(f"Task completed > TaskHandler[id: {number}; name: {name}; status: COMPLETED; "
                  f"exit: {code}; error: -; workDir: {task_dir}]")

    def retried(self, task_hash: str, name: str, why: str) -> None:
        """Note that a task failed and is retried."""
        self.line(f"[{task_hash}] NOTE: Process `{name}` {why} -- Execution is retried", "INFO")

    def ignored(self, task_hash: str, why: str) -> None:
        """Note that a task failed, and that the workflow goes on without it."""
        self._ignored += 1
        self.line(f"[{task_hash}] NOTE: {' '.join(why.split())} -- Error is ignored", "INFO")

    def failed(self, message: str) -> None:
        """Note why the workflow fails. Readers take the first such line as the cause."""
        self.line(message, "ERROR")

    def ended(self, failed: int) -> None:
        """Note that the workflow has ended, with `failed` failed tasks."""
        counts = (f"succeededCount={self._succeeded}; failedCount={failed}; "
                  f"ignoredCount={self._ignored};")
        self.line(f"Workflow completed > WorkflowStats[{counts}]")

    def close(self) -> None:
        """Fsync and close the log."""
        os.fsync(self._file.fileno())
        self._file.close()


def history(cache: Path, run_name: str, session: str, status: str, command: str, seconds: float = 0) -> None:
    """Append a run's status (`-`, `OK` or `ERR`) to Nextflow's history file. A run's last line counts."""
    columns = (time.strftime("%Y-%m-%d %H:%M:%S"), f"{seconds:.1f}s" if seconds else "-", run_name, status,
               "-", session, " ".join(command.split()))
    with (cache / "history").open("a") as file:
        file.write("\t".join(columns) + "\n")
        file.flush()
        os.fsync(file.fileno())
