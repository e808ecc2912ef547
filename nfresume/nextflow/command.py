"""The argument vector and environment of one `nextflow run`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nfresume.nextflow.options import RunOptions

PUBLISH_TRACE = "nextflow.processor.PublishDir"
#: Environment variable of every process of an attempt, local tasks included: orphans are found by it.
MARK = "NFRESUME_RUN"

#: Our own configuration; it is added to the user's.
CONFIG = Path(__file__).with_name("nfresume.config")

LOG = "nextflow.log"
TRACE = "trace.tsv"
STDOUT = "stdout.log"
STDERR = "stderr.log"
HEAD = "head.json"
EXIT_STATUS = "exit_status.json"
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


def argv(launcher: Sequence[str], run: Run, options: RunOptions) -> list[str]:
    """The words of `launcher`, then global options, `run`, our options, and the user's options.

    We add no `-with-trace`: it would replace the trace file that the pipeline configures, and Nextflow's
    metrics make tasks fail in containers without `ps`. `trace.write` writes a trace from the log instead.
    """
    trace = options.value("-trace")
    before = [w for o in options.before if o.name != "-trace" for w in o.words]
    words = [*launcher, *before, "-log", str(run.attempt_dir / LOG)]
    words += ["-trace", f"{trace},{PUBLISH_TRACE}" if trace else PUBLISH_TRACE]
    assert options.pipeline is not None
    words += ["run", options.pipeline, "-ansi-log", "false", "-name", run.run_name]
    words += ["-work-dir", str(run.work_dir)]
    if run.resume:
        words += ["-resume", run.session_id]
    words += [w for o in options.after for w in o.words]
    if options.value("-C") is None:  # with -C the user's configuration must stay the only one
        words += ["-c", str(CONFIG)]
    return [*words, *options.extra]


def nxf_home() -> Path:
    """Nextflow's own folder in the user's home."""
    return Path(os.environ.get("NXF_HOME") or Path.home() / ".nextflow")


def assets(pipeline: str) -> Path:
    """The folder in which Nextflow keeps its copy of `owner/repo` or of a URL."""
    base = Path(os.environ.get("NXF_ASSETS") or nxf_home() / "assets")
    return base.joinpath(*pipeline.removesuffix(".git").replace(":", "/").rstrip("/").split("/")[-2:])


#: Settings that may contain secrets; they are removed from the environment of tasks.
SECRETS = ("NFRESUME_DATABASE_URL", "NFRESUME_NOTIFY", "NFRESUME_OIDC_CLIENT_SECRET")


def environment(base: Mapping[str, str], run: Run) -> dict[str, str]:
    """The environment of a run: the user's, with our cache dir, session id and mark, without SECRETS."""
    env = dict(base)
    for name in ("NXF_WORK", "NXF_CLOUDCACHE_PATH", *SECRETS):
        env.pop(name, None)
    env.update(
        NXF_CACHE_DIR=str(run.cache_dir),
        NXF_UUID=run.session_id,
        NXF_ANSI_LOG="false",
        NXF_DISABLE_CHECK_LATEST="true",
    )
    if env.get("HOME"):  # as Nextflow's own launcher does; the JVM would ask the password database instead
        env.setdefault("NXF_HOME", str(Path(env["HOME"]) / ".nextflow"))
    env[MARK] = run.run_name
    return env
