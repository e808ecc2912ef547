"""What `launch ... -resume` resumes."""

from __future__ import annotations

from pathlib import Path

from nfresume.domain.errors import Conflict, NotFound
from nfresume.domain.executions import Attempt, Execution, ExecutionState
from nfresume.domain.workdirs import WorkDirState
from nfresume.nextflow import options
from nfresume.runs import preflight
from nfresume.service.verbs import Service
from nfresume.store import queries

#: Among how many executions of a folder `-resume` looks for one of its pipeline.
_RESUMABLE = 500


def to_resume(
    service: Service, launch_dir: Path, session: str, pipeline: str, main_script: str | None = None
) -> tuple[Execution | None, str]:
    """The execution that `-resume [session]` means, or None and why there is nothing to resume.

    Without a session (empty, or `last`) it is the newest one of this pipeline in this folder whose work
    dir is kept and has a cache. Nothing is resumed after a success, as its work dir is deleted. Raises
    NotFound for an unknown session, Conflict for an execution that is live.
    """
    if session in ("", "last"):
        asked = preflight.identity(pipeline, launch_dir, main_script)
        with service.store.begin(write=False) as tx:
            here = queries.newest(tx, service.account, limit=_RESUMABLE, launch_dir=str(launch_dir))
            newest = [(e, queries.attempt(tx, e.id, e.attempt)) for e in here]
        # One that ran no task, such as `--help`, neither has results nor replaces earlier ones.
        found = [e for e, last in newest if _identity(e, last) == asked
                 and (e.state.live or last.tasks.submitted or last.tasks.cached or last.number > 1)]
    else:
        with service.store.begin(write=False) as tx:
            found = queries.newest(tx, service.account, limit=1, session_id=session)
        if not found:
            raise NotFound(f"-resume: no execution has session {session}", "`nfresume list --json`")
    gone = ""
    for e in map(service.settle_if_lost, found):
        if e.state.live:
            raise Conflict(f"-resume: {e.id} is {e.state}",
                           f"`nfresume wait {e.id}`, or `nfresume cancel {e.id}` first")
        kept = e.work_dir.state is WorkDirState.RETAINED
        if kept and service.can_resume(e):
            return e, ""
        gone = gone or (f"nothing of {e.id} had run yet" if kept else
                        f"the work dir of {e.id} is {e.work_dir.state} ({e.work_dir.reason})")
        if e.state is ExecutionState.SUCCEEDED:
            break
    return None, gone or f"account {service.account} has not run {pipeline} in this folder before"


def last_words(service: Service, execution: Execution) -> options.RunOptions:
    """The options of the last attempt of an execution."""
    with service.store.begin(write=False) as tx:
        last = queries.attempt(tx, execution.id, execution.attempt)
    return options.stored(last.pipeline, last.options)


def _identity(execution: Execution, last: Attempt) -> str:
    main_script = options.stored(last.pipeline, last.options).value("-main-script")
    return preflight.identity(last.pipeline, Path(execution.launch_dir), main_script)
