"""The program that is the head of an attempt: Nextflow, or `nfresume.tasks.head` for a Python workflow.

Both are started by the same shim and leave the same records. Only this module tells them apart.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from nfresume.domain.executions import Attempt, Execution, python_workflow
from nfresume.nextflow import command, engine
from nfresume.nextflow.engine import Engine
from nfresume.nextflow.options import RunOptions
from nfresume.settings import ANY_PIPELINE, Settings


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


def environment(
    conf: Settings, chosen: Engine, run: command.Run, launch_dir: Path, base: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the head of one attempt.

    In the launch dir of a launch from the web Nextflow reads no configuration: only the pipeline's own and
    the site's. NXF_CONFIG_FILE (since 20.09) names the file that is read in place of the launch dir's
    nextflow.config. On a site that allows any pipeline the configuration there may be the pipeline's own.
    """
    env = command.environment({**base, **chosen.environment}, run)
    launches = Path(os.path.realpath(conf.web_launches))
    if launches in Path(os.path.realpath(launch_dir)).parents and ANY_PIPELINE not in conf.web_pipelines:
        site = env.get("NXF_CONFIG_FILE", "")
        env["NXF_CONFIG_FILE"] = site if site.startswith("/") else str(command.CONFIG)
    return env
