"""How tasks are started and awaited: as processes here, or as jobs of Slurm.

A head has one thread, so that a task can be a fork of it, with everything already imported. Where the
workflow's own imports brought threads along, a fork could hang in their locks: then each task is a fresh
interpreter.
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
from nfresume.tasks import worker
from nfresume.tasks.declaring import Task
from nfresume.tasks.sizes import Resources
from nfresume.tasks.worker import Order

#: After SIGTERM, so long until SIGKILL.
GRACE_SECONDS = 5.0
OUT, ERR, SCRIPT, EXIT = ".command.out", ".command.err", ".command.sh", ".exitcode"


@dataclass
class Process:
    """A task that runs: its pidfd becomes readable when it has ended."""

    pid: int
    pidfd: int
    job_name: str = ""
    job_output: Path | None = None  # where sbatch writes the job's id
    deadline: float | None = None
    killed: bool = False
    told: bool = False

    def ended(self) -> int:
        """The exit status, negative for a signal. To be called once, when it has ended."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        return os.waitstatus_to_exitcode(status)

    def end(self, *, hard: bool = False) -> None:
        """Signal it and what it started, or take its job out of Slurm."""
        if self.job_name:
            slurm.cancel(self.job_name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL if hard else signal.SIGTERM)


def start_local(place: Path, order: Order, task: Task) -> Process:
    """Start a task here, in a process group of its own, with its output in its task dir."""
    if len(os.listdir("/proc/self/task")) > 1:
        return _spawn([sys.executable, "-P", "-m", "nfresume.tasks.worker", str(place)], place)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become(place, lambda: worker.perform(place, order, task))
    return _process(pid)


def _become(place: Path, run: Callable[[], int]) -> None:
    """In the child: nothing of the head's is used any more, and it never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        for name, fd in ((OUT, 1), (ERR, 2)):
            file = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(file, fd)
            os.close(file)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        code = run()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF if code >= 0 else 1)


def _spawn(words: list[str], place: Path) -> Process:
    with (place / OUT).open("ab") as out, (place / ERR).open("ab") as err:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=place,
                                 process_group=0)
    child.returncode = 0  # it is awaited by its pidfd
    return _process(child.pid)


def _process(pid: int) -> Process:
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)  # whoever is first: the child or we
    return Process(pid, os.pidfd_open(pid))


def start_slurm(place: Path, needs: Resources, name: str, options: tuple[str, ...]) -> Process:
    """Submit a task as a batch job; the process that stands for it here is the sbatch that waits for it."""
    words = shlex.join([sys.executable, "-P", "-m", "nfresume.tasks.worker", str(place)])
    script = place / ".command.run"
    script.write_text(f"#!/bin/bash\nexec {words}\n")
    submit = ["sbatch", "--wait", "--parsable", "--no-requeue", f"--job-name={name}", f"--chdir={place}",
              f"--cpus-per-task={max(1, round(needs.cpu))}", f"--output={place / OUT}",
              f"--error={place / ERR}", *options]
    if needs.memory:
        submit.append(f"--mem={round(needs.memory * 1024)}M")
    if needs.gpu:
        submit.append(f"--gres=gpu:{needs.gpu}")
    output = place / ".sbatch"
    with output.open("wb") as out, (place / ".sbatch.err").open("wb") as err:
        child = subprocess.Popen([*submit, str(script)], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                 process_group=0)
    child.returncode = 0
    process = _process(child.pid)
    process.job_name, process.job_output = name, output
    return process


def job_id(process: Process) -> str | None:
    """The id of a task's job, once sbatch has told it."""
    if process.job_output is None:
        return None
    with contextlib.suppress(OSError):
        text = process.job_output.read_text().strip().partition(";")[0]
        return text if text.isdecimal() else None
    return None


def deadline(seconds: float) -> float | None:
    """When a task that may take so long has to end; None for no limit."""
    return time.monotonic() + seconds if seconds else None
