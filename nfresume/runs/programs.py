"""The program that is the head of an attempt: Nextflow, or `nfresume.tasks.head` for a Python workflow.

Both are started by the same shim and leave the same records. Only this module tells them apart.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nfresume.domain.errors import Expired, UsageError
from nfresume.domain.executions import Attempt, Execution, python_workflow
from nfresume.nextflow import command, engine, kept_inputs
from nfresume.nextflow.engine import Engine
from nfresume.nextflow.options import STDIN, RunOptions
from nfresume.retained import environments
from nfresume.runs import inputs
from nfresume.settings import ANY_PIPELINE, Settings
from nfresume.storage.root import ExecutionFolder

#: In the request of the first attempt: environments go to the account's cache. It holds for all attempts, as
#: their paths are in the hashes of tasks.
SHARED = "environments_shared"
#: Commands of Nextflow that change nothing.
READING = ("log", "lineage", "view", "info", "list", "config", "inspect", "lint", "help")


def find(conf: Settings, pipeline: str, notify: Callable[[str], None] = lambda _: None) -> Engine:
    """The engine for a pipeline; `notify` gets the progress of an installation. Raises EngineUnavailable."""
    if python_workflow(pipeline) is None:
        return engine.find(conf, notify)
    words = (sys.executable, "-P", "-m", "nfresume.tasks.head")
    return Engine(words, platform.python_version(), "Python", sys.executable)


def run_nextflow(
    conf: Settings, execution: Execution, last: Attempt, folder: ExecutionFolder, words: Sequence[str]
) -> int:
    """Run a command of Nextflow that only reads, with the cache and history of an execution.

    It runs in the launch dir and has the caller's standard streams. Returns its exit status, 128 + N after
    signal N. Raises UsageError, Expired, EngineUnavailable.
    """
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb not in READING:
        raise UsageError(f"nextflow {verb or ''} is not run on an execution's cache".replace("  ", " "),
                         f"allowed are {', '.join(READING)}; clean and drop would delete what nfresume keeps")
    if python_workflow(last.pipeline) is not None:
        raise UsageError(f"{execution.id} is a Python workflow", f"`nfresume show {execution.id}`")
    if not folder.cache.is_dir():
        raise Expired(f"the cache of {execution.id} is gone: its work dir is {execution.work_dir.state}",
                      f"`nfresume show {execution.id}` shows what is left")
    chosen = engine.find(conf)
    run = command.Run(last.run_name, execution.session_id, False, folder.work, folder.cache,
                      folder.attempt(last.number))
    environment = command.environment({**os.environ, **chosen.environment}, run)
    del environment["BASH_ENV"]  # it would take our cache away from Nextflow's launcher
    done = subprocess.run([*chosen.launcher, *words], cwd=execution.launch_dir, env=environment, check=False)
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def script_on_stdin(attempt: Attempt, attempt_dir: Path) -> Path | None:
    """The kept script of the pipeline `-`; None for any other pipeline."""
    return attempt_dir / kept_inputs.FOLDER / inputs.SCRIPT if attempt.pipeline == STDIN else None


def environment(
    conf: Settings, chosen: Engine, run: command.Run, execution: Execution, pipeline: str,
    base: Mapping[str, str], *, shared: bool, guard: str = "",
) -> dict[str, str]:
    """The environment of the head. For Nextflow this also writes the configuration of the attempt.

    In the launch dir of a launch from the web Nextflow reads no configuration: only the pipeline's own and
    the site's. NXF_CONFIG_FILE (since 20.09) names the file that is read in place of the launch dir's
    nextflow.config. On a site that allows any pipeline the configuration there may be the pipeline's own.
    `shared`: conda environments and images go to the account's cache, unless the user's environment or the
    configuration says where. `guard` is bash that tasks read, see `nextflow.guard`.
    """
    base = {**base, "PWD": _current(base.get("PWD", ""), execution.launch_dir)}
    if python_workflow(pipeline) is not None:
        return command.marked(base, run)
    made = command.environment({**base, **chosen.environment}, run)
    if locale := os.environ.get("LC_CTYPE"):  # Python's own, where there is no locale: see `inherited`
        made.setdefault("LC_CTYPE", locale)  # for names of files that are not ASCII; tasks do not get it
    launches, launch_dir = os.path.realpath(conf.web_launches), Path(os.path.realpath(execution.launch_dir))
    if Path(launches) in launch_dir.parents and ANY_PIPELINE not in conf.web_pipelines:
        site = made.get("NXF_CONFIG_FILE", "")
        made["NXF_CONFIG_FILE"] = site if site.startswith("/") else str(run.attempt_dir / command.CONFIG)
    if shared:
        made |= environments.variables(run.work_dir.parent.parent, base)
    command.write_configuration(run, base, made, again=run.attempt_dir.name != "1",
                                guard=guard)
    return made


def _current(given: str, launch_dir: str) -> str:
    """PWD as a shell has it in the launch dir: pipelines and configurations read it (`"$PWD/data"`).

    The caller's own may be that of another folder, when a server or a program has chosen the launch dir.
    """
    try:
        if given.startswith("/") and os.path.samefile(given, launch_dir):
            return given
    except OSError:
        pass
    return os.path.realpath(launch_dir)


def argv(
    conf: Settings, chosen: Engine, run: command.Run, execution: Execution, attempt: Attempt,
    options: RunOptions,
) -> list[str]:
    """The argument vector of the head of one attempt. Kept inputs take the place of files that are gone."""
    options = inputs.used(options, run.attempt_dir, Path(execution.launch_dir))
    if python_workflow(attempt.pipeline) is None:
        properties = [word for o in options.before if o.name.startswith("-D") for word in o.words]
        return command.argv(chosen.started_with(properties), run, options)
    slurm = conf.launcher == "slurm"
    order = {
        "pipeline": attempt.pipeline, "run_name": run.run_name,
        "session_id": run.session_id, "resume": run.resume, "account": execution.account,
        "execution": execution.id, "account_folder": str(run.work_dir.parent.parent),
        "work": str(run.work_dir), "cache": str(run.cache_dir), "attempt": str(run.attempt_dir),
        "executor": "slurm" if slurm else "local",
        "executor_options": list(conf.slurm_options) if slurm else [],
    }
    return [*chosen.launcher, json.dumps(order), *options.words]
