"""Executions on disk that the database does not know: shown, adopted or released one by one.

They come from a database that was restored from an old backup, or from a root that was mounted elsewhere.
Each attempt left in its folder what it was asked (`request.json`), so that an adopted one can be relaunched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.domain.errors import NotFound
from nfresume.domain.executions import Execution, ExecutionState, TaskCounts
from nfresume.runs.settlement import exit_code
from nfresume.service.verbs import Service
from nfresume.settings import Settings
from nfresume.storage import Root
from nfresume.storage.root import ExecutionFolder
from nfresume.store import Store, queries, transitions
from nfresume.store.transitions import NewAttempt, NewExecution, Outcome, Owner
from nfresume.system import processes

_ADOPTED = "adopted from its folder: the database did not know it"


@dataclass(frozen=True)
class Stray:
    """A folder that the database does not know; `attempts` 0: what it was asked is not readable."""

    account: str
    id: str
    path: Path
    attempts: int
    pipeline: str


def strays(store: Store, root: Root) -> list[Stray]:
    """Every folder of an execution in a root that no row of the database belongs to."""
    with store.begin(write=False) as tx:
        known = queries.ids(tx)
    found = []
    for place in sorted(root.path.glob("[!.]*/[!.]*/attempts")):
        folder = place.parent
        bytes_there = (folder / "work").is_dir() or (folder / "cache").is_dir()
        if folder.name in known or folder.is_symlink() or not bytes_there:
            continue
        requests = _requests(root.execution(folder.parent.name, folder.name))
        found.append(Stray(folder.parent.name, folder.name, folder, len(requests),
                           requests[-1]["pipeline"] if requests else "unknown"))
    return found


def _requests(folder: ExecutionFolder) -> list[dict[str, Any]]:
    """What attempts 1, 2, ... were asked, as far as there is no gap."""
    found: list[dict[str, Any]] = []
    while asked := folder.request(len(found) + 1):
        found.append(asked)
    return found


def adopt(store: Store, root: Root, stray: Stray, actor: str) -> Execution:
    """Make it an execution again: FAILED, its work dir kept without an expiry until somebody decides.

    Raises NotFound when its folder does not tell what it was asked.
    """
    requests = _requests(root.execution(stray.account, stray.id))
    if not requests:
        raise NotFound(f"{stray.path} does not say what it was asked to run",
                       "look at it yourself; nothing was touched")
    first, owner = requests[0], Owner(processes.host(), processes.boot_id())
    with store.begin() as tx:
        here = str(stray.path / "work")
        new = NewExecution(
            id=stray.id, account=stray.account, root_id=root.id, work_dir=first.get("work_dir", here),
            pipeline=first["pipeline"], launch_dir=first["launch_dir"], session_id=first["session_id"],
            storage_expiration_hours=first["hours"], storage_expiration_source=first["hours_source"],
            pinned=False,
        )
        for number, asked in enumerate(requests, 1):
            attempt = NewAttempt(asked["pipeline"], tuple(asked["options"]), asked["resume"],
                                 asked["nextflow"], asked["nextflow_version"], asked["launcher"])
            if number == 1:
                transitions.launch(tx, new, attempt, actor)
            else:
                transitions.relaunch(tx, stray.id, number, attempt, actor, asked.get("work_dir", here))
            lease = transitions.claim(tx, stray.id, owner, 1.0)
            code = exit_code(stray.path / "attempts" / str(number))
            outcome = Outcome(ExecutionState.FAILED, code, _ADOPTED, False, True, _ADOPTED, None)
            transitions.settle(tx, lease, outcome, TaskCounts(), actor)
        transitions.note(tx, stray.id, "adopted", actor, {"attempts": len(requests)})
        return queries.get(tx, stray.id)


def release(store: Store, conf: Settings, root: Root, stray: Stray, actor: str) -> Execution:
    """Delete its work dir, with its published results made real first; a record of it stays.

    Raises ResultsAtRisk, RemovalBlocked, and what adopting raises.
    """
    service = Service(conf.for_account(stray.account), store=store, actor=actor)
    return service.delete(adopt(store, root, stray, actor))
