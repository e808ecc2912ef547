"""The argument vector and environment of one `nextflow run`."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nfresume import home
from nfresume.nextflow.options import STDIN, RunOptions
from nfresume.system import durable

PUBLISH_TRACE = "nextflow.processor.PublishDir"
#: Environment variable of every process of an attempt, local tasks included: orphans are found by it.
MARK = "NFRESUME_RUN"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Nextflow's own launcher takes these away, from tasks too (nextflow#1716).
_UNSET = ("JAVA_TOOL_OPTIONS",)

LOG = "nextflow.log"
#: Where Nextflow has its log by default, in the launch dir, and the older ones that it keeps, newest first.
DEFAULT_LOGS = (".nextflow.log", *(f".nextflow.log.{number}" for number in range(1, 10)))
TRACE = "trace.tsv"
STDOUT = "stdout.log"
STDERR = "stderr.log"
HEAD = "head.json"
EXIT_STATUS = "exit_status.json"
CONFIG = "nfresume.config"
TASK_ENVIRONMENT = "task-environment.sh"
#: The traceback of a supervisor that died of a fault of ours.
FAULT = "fault.txt"


def marks(execution_id: str, newest: int) -> Callable[[str], bool]:
    """A predicate: true for the mark of an attempt of this execution with a number up to `newest`."""
    pattern = re.compile(re.escape(execution_id) + r"-(\d+)")
    return lambda value: (found := pattern.fullmatch(value)) is not None and int(found[1]) <= newest


@dataclass(frozen=True)
class Run:
    """What identifies one attempt to Nextflow."""

    run_name: str
    session_id: str
    resume: bool
    work_dir: Path
    cache_dir: Path
    attempt_dir: Path


def argv(
    launcher: Sequence[str], run: Run, options: RunOptions, environ: Mapping[str, str] = os.environ
) -> list[str]:
    """The words of `launcher`, then global options, `run`, our options, and the user's words in their order.

    We add no `-with-trace`: it would replace the trace file that the pipeline configures, and Nextflow's
    metrics make tasks fail in containers without `ps`. `trace.write` writes a trace from the log instead.
    Our configuration is the last one, so that it wins. With `-C` it is a second `-C`: Nextflow then reads no
    other file. What NXF_TRACE names joins our `-trace`, for which Nextflow would pass over it.
    """
    config = str(run.attempt_dir / CONFIG)
    named = options.values("-trace") or re.split("[, ]+", environ.get("NXF_TRACE", ""))
    traced = ",".join([*filter(None, named), PUBLISH_TRACE])
    before = [w for o in options.before if o.name != "-trace" for w in o.words]
    only = options.value("-C") is not None
    words = [*launcher, *before, *(["-C", config] if only else [])]
    words += ["-log", str(run.attempt_dir / LOG), "-trace", traced, "run"]
    words += ["-ansi-log", "false", "-name", run.run_name, "-work-dir", str(run.work_dir)]
    if run.resume:
        words += ["-resume", run.session_id]
    for at, piece in enumerate(options.pieces):  # Nextflow reads `-` as the pipeline only behind `run`
        words += ["-stdin"] if at == 0 and piece.name == STDIN else piece.words
    return words if only else [*words, "-c", config]


def nxf_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Nextflow's own folder, as its launcher chooses it: NXF_HOME, else `.nextflow` in the home folder."""
    return Path(environ.get("NXF_HOME") or home.home(environ) / ".nextflow")


#: Settings that may contain secrets; they are removed from the environment of tasks.
SECRETS = ("NFRESUME_DATABASE_URL", "NFRESUME_NOTIFY", "NFRESUME_OIDC_CLIENT_SECRET")


def environment(base: Mapping[str, str], run: Run) -> dict[str, str]:
    """The environment of a run: the user's, with our cache dir, session id and mark, without SECRETS.

    BASH_ENV takes what is ours away from tasks: see `write_configuration`.
    `NXF_HOME` is set as Nextflow's own launcher sets it: without it Nextflow takes itself for a development
    version, in which no plugin is found.
    """
    env = marked(base, run)
    for name in (*_UNSET, "NXF_WORK", "NXF_CLOUDCACHE_PATH", "NXF_CLI_OPTS"):
        env.pop(name, None)
    env.update(
        NXF_CACHE_DIR=str(run.cache_dir),
        NXF_UUID=run.session_id,
        NXF_ANSI_LOG="false",
        NXF_DISABLE_CHECK_LATEST="true",
        NXF_HOME=str(nxf_home(base)),
        BASH_ENV=str(run.attempt_dir / TASK_ENVIRONMENT),
    )
    return env


def marked(base: Mapping[str, str], run: Run) -> dict[str, str]:
    """The user's environment with our mark, without SECRETS: all that the head of a Python workflow gets."""
    env = {name: value for name, value in base.items() if name not in SECRETS}
    env[MARK] = run.run_name
    return env


def write_configuration(
    run: Run, base: Mapping[str, str], head: Mapping[str, str], *, again: bool, guard: str = ""
) -> None:
    """Write the configuration of one attempt, and the file that gives tasks the user's environment.

    `base` is the user's environment, `head` that of the head. `again` is true for a relaunch: Nextflow then
    overwrites the reports that the configuration names. `guard`: more bash for tasks, see `nextflow.guard`.
    """
    durable.write(run.attempt_dir / TASK_ENVIRONMENT, (_task_environment(run, base, head) + guard).encode())
    config = [
        "// Given last, so that it wins. Nextflow must not delete the work dir: nfresume does, after it has",
        "// materialised the results.",
        "cleanup = false",
        *(f"{report}.overwrite = true" for report in ("trace", "report", "timeline", "dag") if again),
    ]
    durable.write(run.attempt_dir / CONFIG, "\n".join([*config, ""]).encode())


def _task_environment(run: Run, base: Mapping[str, str], head: Mapping[str, str]) -> str:
    """What each bash below the head reads first (BASH_ENV): it restores the user's values of what we changed.

    Tasks of the local executor and of Slurm inherit the head's environment, and so does a program that an
    `exec:` process starts. A `nextflow run` there would use our cache; Nextflow's launcher is a bash script.
    The head's own launcher, if it is one, is known by its run name, and keeps our values.
    """
    lines = []
    if hook := base.get("BASH_ENV"):
        lines += [f"if [ -r {shlex.quote(hook)} ]; then", f"    . {shlex.quote(hook)}", "fi"]
    changed = sorted(name for name in {*base, *head} if base.get(name) != head.get(name)
                     and name not in (MARK, *SECRETS, *_UNSET) and _NAME.fullmatch(name))
    lines += ['case " $* " in', f'*" -name {run.run_name} "*) ;;', "*)",
              *(f"    export {name}={shlex.quote(base[name])}" if name in base else f"    unset {name}"
                for name in changed), "    ;;", "esac"]
    return "\n".join([*lines, ""])
