"""Run a supervisor and its head as a Slurm batch job.

The job's name is the attempt's run name, so that the job can be found without any other record. Slurm must
not requeue it: the user decides about a relaunch, which reuses the finished tasks.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import sys
import time
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from nfresume.domain.errors import Conflict
from nfresume.nextflow.command import MARK
from nfresume.settings import Settings
from nfresume.system import durable

#: How long Slurm may take to answer; its own commands give up after 18 s when the controller is down.
SECONDS = 40.0
#: How long cancelled jobs may take to end: KillWait is 30 s by default.
END_SECONDS = 60.0
ORDER = "order.json"
_WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
_RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})


class Job(StrEnum):
    """The state of a job. UNKNOWN: Slurm did not answer, which never counts as GONE."""

    WAITING = "waiting"
    RUNNING = "running"
    GONE = "gone"
    UNKNOWN = "unknown"


class SlurmLauncher:
    """Submits a batch job that becomes the supervisor by `exec`, so that Slurm's signals reach it."""

    name = "slurm"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stdin: str | None = None

    def prepare(self, stdin: int | None = None) -> None:
        """Note the path of the file that is open as `stdin`: the job opens it when Slurm starts it.

        A pipe or a terminal does not reach a job on another host.
        """
        if stdin is not None and stat.S_ISREG(os.fstat(stdin).st_mode):
            self._stdin = os.readlink(f"/proc/self/fd/{stdin}")

    def start(self, execution_id: str, run_name: str, log: Path) -> None:
        """Submit the job. Raises Conflict with Slurm's own message when Slurm refuses it."""
        order = log.with_name(ORDER)
        durable.write(order, json.dumps({"execution": execution_id, "log": str(log),
                                         "settings": dict(self._settings.given),
                                         "stdin": self._stdin}).encode())
        os.chmod(order, 0o600)  # settings may hold secrets
        supervisor = shlex.join([sys.executable, "-P", "-m", "nfresume.runs.supervisor"])
        script = f"#!/bin/bash\nexec {supervisor} < {shlex.quote(str(order))}\n"
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        try:
            _run("sbatch", "--parsable", "--no-requeue", f"--job-name={run_name}",
                 f"--comment=nfresume:{execution_id}", "--chdir=/", f"--output={log}", "--open-mode=append",
                 *self._settings.slurm_options, _in=script, _env=environment)
        except _Failed as e:
            raise Conflict(f"Slurm did not take the job: {e}",
                           "see slurm_options in `nfresume config`") from None


def job(run_name: str) -> Job:
    """The state of the job with this name."""
    try:
        states = _run("squeue", "--noheader", "--states=all", f"--name={run_name}", "--format=%T").split()
    except _Failed:
        return Job.UNKNOWN
    if _RUNNING.intersection(states):
        return Job.RUNNING
    return Job.WAITING if _WAITING.intersection(states) else Job.GONE


def cancel(run_name: str) -> None:
    """Cancel a queued job. An error is ignored: if the job starts anyway, it finds nothing to claim."""
    try:
        _run("scancel", f"--name={run_name}")
    except _Failed:
        return


def available() -> bool:
    """True when Slurm's commands are on PATH."""
    return shutil.which("squeue") is not None and shutil.which("scancel") is not None


def end_jobs(job_ids: Iterable[str]) -> None:
    """Cancel jobs of tasks and wait until all have ended. Raises Conflict if they do not, or Slurm fails."""
    wanted = [job_id for job_id in job_ids if job_id.isdecimal()]
    try:
        if not (left := _active(wanted)):
            return
        _run("scancel", *left)
        end = time.monotonic() + END_SECONDS
        while left := _active(left):
            if time.monotonic() > end:
                raise Conflict(f"Slurm jobs {', '.join(left[:20])} of a dead attempt do not end",
                               "cancel them, then relaunch")
            time.sleep(0.5)
    except _Failed as e:
        raise Conflict(f"Slurm did not answer about the jobs of a dead attempt: {e}",
                       "relaunch when it answers") from None


def ended(job_ids: Iterable[str]) -> set[str]:
    """Those jobs that neither wait nor run; none when Slurm does not answer."""
    wanted = {job_id for job_id in job_ids if job_id.isdecimal()}
    try:
        return wanted - set(_active(wanted))
    except _Failed:
        return set()


def _active(job_ids: Iterable[str]) -> list[str]:
    """The jobs among `job_ids` that wait or run. squeue refuses unknown ids, so all jobs are listed."""
    wanted = set(job_ids)
    lines = _run("squeue", "--noheader", "--states=all", "--format=%A %T").splitlines() if wanted else []
    found = (line.split() for line in lines if line.strip())
    return [job_id for job_id, state in found if job_id in wanted and state in _WAITING | _RUNNING]


class _Failed(Exception):
    """A Slurm command that is missing, failed, or did not answer."""


def _run(name: str, *words: str, **more: Any) -> str:
    import sh  # imported here: sh loads asyncio, which slows a launch

    try:
        return str(sh.Command(name)(*words, _timeout=SECONDS, _tty_out=False, **more))
    except sh.CommandNotFound:
        raise _Failed(f"there is no {name} here") from None
    except sh.TimeoutException:
        raise _Failed(f"{name} did not answer within {SECONDS:g} s") from None
    except sh.ErrorReturnCode as e:
        raise _Failed(" ".join(e.stderr.decode(errors="replace").split())[:300]) from None
