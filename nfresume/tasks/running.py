"""Start and stop the processes of tasks, on this host or as Slurm jobs.

The head has one thread, so that a task can be a fork of it with everything already imported. If the
workflow's imports have started threads, a fork could hang on their locks. If they have seeded random numbers,
a fork would draw others than a new process. Then each task is started as a new Python interpreter.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nfresume.launchers import slurm
from nfresume.system import processes
from nfresume.tasks import loading, worker
from nfresume.tasks.declaring import Task
from nfresume.tasks.sizes import Resources
from nfresume.tasks.worker import Order

#: Seconds from SIGTERM to SIGKILL.
GRACE_SECONDS = 5.0
OUT, ERR, SCRIPT, EXIT = ".command.out", ".command.err", ".command.sh", ".exitcode"


@dataclass
class Process:
    """The process of a task. Its pidfd is readable when it has ended; `deadline` is in monotonic time."""

    pid: int
    pidfd: int
    job_name: str = ""
    job_output: Path | None = None  # where sbatch writes the job's id
    deadline: float | None = None
    killed: bool = False
    job_logged: bool = False

    def wait(self) -> int:
        """Wait for the process and return its exit status, negative for a signal. Call it only once."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        return os.waitstatus_to_exitcode(status)

    def stop(self, *, hard: bool = False) -> None:
        """Send SIGTERM (`hard`: SIGKILL) to its process group, and cancel its Slurm job if it has one."""
        if self.job_name:
            slurm.cancel(self.job_name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL if hard else signal.SIGTERM)


def start_local(task_dir: Path, order: Order, task: Task) -> Process:
    """Start a task on this host, in a process group of its own. Its output goes to its task dir."""
    if len(os.listdir("/proc/self/task")) > 1 or loading.has_seeded():
        return _spawn([sys.executable, "-P", "-m", "nfresume.tasks.worker", str(task_dir)], task_dir)
    processes.flush_streams()
    pid = os.fork()
    if pid == 0:
        _run_in_child(task_dir, lambda: worker.perform(task_dir, order, lambda: task))
    return _process(pid)


def _run_in_child(task_dir: Path, run: Callable[[], int]) -> None:
    """In the forked child: replace the head's signal handlers and streams, run the task, exit."""
    code = 1
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        for name, fd in ((OUT, 1), (ERR, 2)):
            file = os.open(task_dir / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(file, fd)
            os.close(file)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        code = run()
        processes.flush_streams()
    finally:
        os._exit(code & 0xFF if code >= 0 else 1)


def _spawn(words: list[str], task_dir: Path) -> Process:
    with (task_dir / OUT).open("ab") as out, (task_dir / ERR).open("ab") as err:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=task_dir,
                                 process_group=0)
    child.returncode = 0  # so that Popen does not wait for it: Process.wait does
    return _process(child.pid)


def _process(pid: int) -> Process:
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)  # parent and child both do it, so that it is done whichever runs first
    return Process(pid, os.pidfd_open(pid))


def start_slurm(task_dir: Path, needs: Resources, name: str, options: tuple[str, ...]) -> Process:
    """Submit a task as a Slurm job. The returned process is `sbatch --wait`, which ends with the job."""
    words = shlex.join([sys.executable, "-P", "-m", "nfresume.tasks.worker", str(task_dir)])
    script = task_dir / ".command.run"
    script.write_text(f"#!/bin/bash\nexec {words}\n")
    submit = ["sbatch", "--wait", "--parsable", "--no-requeue", f"--job-name={name}", f"--chdir={task_dir}",
              f"--cpus-per-task={max(1, round(needs.cpu))}", f"--output={task_dir / OUT}",
              f"--error={task_dir / ERR}", *options]
    if needs.memory:
        submit.append(f"--mem={round(needs.memory * 1024)}M")
    if needs.gpu:
        submit.append(f"--gres=gpu:{needs.gpu}")
    output = task_dir / ".sbatch"
    with output.open("wb") as out, (task_dir / ".sbatch.err").open("wb") as err:
        child = subprocess.Popen([*submit, str(script)], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                 process_group=0)
    child.returncode = 0
    process = _process(child.pid)
    process.job_name, process.job_output = name, output
    return process


def job_id(process: Process) -> str | None:
    """The id of a task's Slurm job; None until sbatch has printed it."""
    if process.job_output is None:
        return None
    with contextlib.suppress(OSError):
        text = process.job_output.read_text().strip().partition(";")[0]
        return text if text.isdecimal() else None
    return None


def deadline(seconds: float) -> float | None:
    """The monotonic time that is `seconds` from now; None for 0, which means no timeout."""
    return time.monotonic() + seconds if seconds else None
