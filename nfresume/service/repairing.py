"""Unknown folders: executions on disk that the database does not know. A person adopts or releases each.

They exist after the database was restored from an old backup, or when the root was in use with another
database. Each attempt left its request in its folder (`request.json`), so an adopted execution can be
relaunched. After the disk was restored there may be work dirs again that were deleted; they can only be
released.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.domain.errors import Conflict, NotFound, RemovalBlocked, ResultsAtRisk
from nfresume.domain.executions import Execution, ExecutionState, TaskCounts
from nfresume.domain.retention import Decision
from nfresume.domain.workdirs import Keep, KeepKind, WorkDirState
from nfresume.nextflow import command
from nfresume.nextflow import processes as nextflow_processes
from nfresume.retained import deletion, disposal, securing
from nfresume.runs.verdict import exit_code
from nfresume.service.verbs import Service
from nfresume.settings import Settings
from nfresume.storage import Root
from nfresume.storage.removal import empty_trash
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.trash import to_trash
from nfresume.store import Store, guarded, queries, transitions
from nfresume.store.transitions import NewAttempt, NewExecution, Outcome, Owner
from nfresume.system import processes

#: A Nextflow on another host that has written to its log within so many seconds is taken to run.
_QUIET = 900.0
_ADOPTED = "adopted from its folder: the database did not know it"


@dataclass(frozen=True)
class UnknownFolder:
    """The folder of an execution that the database does not know.

    `attempts` is the number of readable requests; with 0 it cannot be adopted. `known`: so many attempts are
    in the database. `deleted`: it knows that the work dir was deleted.
    """

    account: str
    id: str
    path: Path
    attempts: int
    pipeline: str
    known: int = 0
    deleted: bool = False


def unknown_folders(store: Store, root: Root) -> list[UnknownFolder]:
    """Every execution folder in the root with work, cache or attempts of which the database does not know."""
    with store.begin(write=False) as tx:
        all_known = queries.known(tx)
    found = []
    for attempts in sorted(root.path.glob("[!.]*/[!.]*/attempts")):
        folder = root.execution(attempts.parent.parent.name, attempts.parent.name)
        known, state = all_known.get(folder.execution_id, (0, None))
        deleted = state is WorkDirState.DELETED
        if state is None or deleted:
            unknown = folder.work.is_dir() or folder.cache.is_dir()
        else:
            unknown = folder.unknown_attempt(known) is not None
        if folder.path.is_symlink() or not unknown:
            continue
        requests = _requests(folder)
        found.append(UnknownFolder(folder.account, folder.execution_id, folder.path, len(requests),
                                   requests[-1]["pipeline"] if requests else "unknown", known, deleted))
    return found


def _requests(folder: ExecutionFolder) -> list[dict[str, Any]]:
    """The requests of attempts 1, 2, ... up to the first that cannot be read."""
    found: list[dict[str, Any]] = []
    while request := folder.request(len(found) + 1):
        found.append(request)
    return found


def _still_runs(unknown: UnknownFolder, newest: int) -> str | None:
    """Why an execution seems to run, here or on another host; None when nothing says so."""
    attempts = unknown.path / "attempts"
    if alive := nextflow_processes.of_execution(unknown.id, attempts, newest):
        return f"{len(alive)} of its processes run on this host"
    if nextflow_processes.of_another_user(attempts, newest):
        return "processes of it may run on this host, as another user"
    last = attempts / str(newest)
    head = nextflow_processes.read(last)
    if head is None or head.boot_id == processes.boot_id() or exit_code(last) is not None:
        return None
    try:
        quiet = time.time() - (last / command.LOG).stat().st_mtime
    except OSError:
        return None
    return f"its log was written {quiet:.0f} s ago, by another host" if quiet < _QUIET else None


def adopt(store: Store, root: Root, unknown: UnknownFolder, actor: str) -> Execution:
    """Enter the attempts that the database does not know, as FAILED. The work dir is held until a person
    decides.

    Raises NotFound when the folder has no readable request, Conflict when it seems to run, or was deleted.
    """
    if unknown.deleted:
        raise Conflict(f"the work dir of {unknown.id} was deleted, and is there again: it cannot be adopted",
                       f"`nfresume doctor --release {unknown.id}` deletes it")
    requests = _requests(root.execution(unknown.account, unknown.id))
    if len(requests) <= unknown.known:
        raise NotFound(f"{unknown.path} has no readable request.json of its unknown attempts",
                       "look at it yourself; nothing was touched")
    if (reason := _still_runs(unknown, len(requests))) is not None:
        raise Conflict(f"{unknown.id} cannot be taken over: {reason}",
                       "another database may know it; nothing was touched")
    first, owner = requests[0], Owner(processes.host(), processes.boot_id())
    with store.begin() as tx:
        here = str(unknown.path / "work")
        new = NewExecution(
            id=unknown.id, account=unknown.account, root_id=root.id, work_dir=first.get("work_dir", here),
            pipeline=first["pipeline"], launch_dir=first["launch_dir"], session_id=first["session_id"],
            storage_expiration_hours=first["hours"], storage_expiration_source=first["hours_source"],
            pinned=False,
        )
        for number, request in list(enumerate(requests, 1))[unknown.known:]:
            attempt = NewAttempt(request["pipeline"], tuple(request["options"]), request["resume"],
                                 request["nextflow"], request["nextflow_version"], request["launcher"])
            if number == 1:
                transitions.launch(tx, new, attempt, actor)
            else:
                transitions.relaunch(tx, unknown.id, number, attempt, actor, request.get("work_dir", here))
            lease = transitions.claim(tx, unknown.id, owner, 1.0)
            code = exit_code(unknown.path / "attempts" / str(number))
            held = Decision(_ADOPTED, Keep(KeepKind.HELD, _ADOPTED, by="nfresume"))
            outcome = Outcome(ExecutionState.FAILED, code, _ADOPTED, False, held)
            transitions.settle(tx, lease, outcome, TaskCounts(), actor, deletion.claimant())
        guarded.note(tx, unknown.id, "adopted", actor, {"attempts": len(requests) - unknown.known})
        return queries.get(tx, unknown.id)


def release(store: Store, conf: Settings, root: Root, unknown: UnknownFolder, actor: str) -> Execution:
    """Adopt the folder, materialise its published links, and delete its work dir. Its database row stays.

    Raises NotFound as `adopt` does, ResultsAtRisk, Conflict and RemovalBlocked as `Service.delete` does.
    """
    if unknown.deleted:
        return _delete_again(store, conf, root, unknown, actor)
    service = Service(conf.for_account(unknown.account), store=store, actor=actor)
    return service.delete(adopt(store, root, unknown, actor))


def _delete_again(
    store: Store, conf: Settings, root: Root, unknown: UnknownFolder, actor: str
) -> Execution:
    """Delete a work dir that was deleted, and came back: its state does not change."""
    with store.begin(write=False) as tx:
        execution = queries.get(tx, unknown.id)
    folder, pace = root.execution(unknown.account, unknown.id), disposal.pace_of(conf)
    hold = deletion.obstacle(execution, folder) or securing.secure(
        folder, execution, pace, heartbeat=lambda: None, succeeded=False, deleting=True).hold
    if hold is not None:
        raise ResultsAtRisk(f"{unknown.id}: {hold.reason}", "nothing was deleted")
    to_trash(root, unknown.account, unknown.id)
    removed = empty_trash(root, unknown.id, pace=pace)
    if removed.blocked:
        raise RemovalBlocked(f"{unknown.id}: {deletion.describe_blocked(removed)}",
                             "everything else was removed")
    with store.begin() as tx:
        guarded.note(tx, unknown.id, "deleted_again", actor, {"files": removed.files})
    return execution
