"""The program that is the head of an attempt: Nextflow, or `nfresume.tasks.head` for a Python workflow.

Both are started by the same shim and leave the same records. Only this module tells them apart.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable

from nfresume.domain.executions import Attempt, Execution, python_workflow
from nfresume.nextflow import command, engine
from nfresume.nextflow.engine import Engine
from nfresume.nextflow.options import RunOptions
from nfresume.settings import Settings


def find(conf: Settings, pipeline: str, notify: Callable[[str], None] = lambda _: None) -> Engine:
    """The engine for a pipeline; `notify` gets the progress of an installation. Raises EngineUnavailable."""
    if python_workflow(pipeline) is None:
        return engine.find(conf, notify)
    words = (sys.executable, "-P", "-m", "nfresume.tasks.head")
    return Engine(words, platform.python_version(), "Python", sys.executable)


def argv(
    conf: Settings, chosen: Engine, run: command.Run, execution: Execution, attempt: Attempt,
    options: RunOptions,
) -> list[str]:
    """The argument vector of the head of one attempt."""
    if python_workflow(attempt.pipeline) is None:
        return command.argv(chosen.launcher, run, options)
    slurm = conf.launcher == "slurm"
    order = {
        "pipeline": attempt.pipeline, "run_name": run.run_name,
        "session_id": run.session_id, "resume": run.resume, "account": execution.account,
        "execution": execution.id, "account_folder": str(run.work_dir.parent.parent),
        "work": str(run.work_dir), "cache": str(run.cache_dir), "attempt": str(run.attempt_dir),
        "executor": "slurm" if slurm else "local",
        "executor_options": list(conf.slurm_options) if slurm else [],
    }
    return [*chosen.launcher, json.dumps(order), *attempt.options]
