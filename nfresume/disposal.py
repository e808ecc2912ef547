"""What happens to a work dir's bytes: results made real, size measured, tree removed.

Every step is idempotent and finds its work in the database and on disk, so that whoever comes next
can go on where a crash left off.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from nfresume import crashpoints
from nfresume.errors import RootUnusable
from nfresume.executions import Execution
from nfresume.nextflow import log as nextflow_log
from nfresume.nextflow.command import LOG
from nfresume.storage import Root
from nfresume.storage.publish import MadeReal, links_beside, make_real
from nfresume.storage.removal import Removed, empty_trash
from nfresume.storage.trash import to_trash
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.scan import Size, measure
from nfresume.store import Store, queries, transitions

#: How long one process may be at removing a tree before another may take over; renewed as it goes.
REMOVER_SECONDS = 300.0
_RENEW_EVERY = 1000  # directories


def root_of(store: Store, execution: Execution) -> Root:
    """The marked root that holds an execution. Raises RootUnusable if it is not there, or another."""
    with store.begin(write=False) as tx:
        record = queries.root(tx, execution.root_id)
    root = Root.open(Path(record.path))
    if root.id != record.id:
        raise RootUnusable(f"{record.path} is another root than the one that was recorded",
                           "nothing was touched; mount the right one")
    return Root(root.path, record.id, record.inode)


def folder_of(store: Store, execution: Execution) -> ExecutionFolder:
    """The folder of an execution in its marked root."""
    return root_of(store, execution).execution(execution.account, execution.id)


def secure_results(folder: ExecutionFolder, attempts: int) -> MadeReal:
    """Make real what any attempt published; nothing is deleted here."""
    targets: dict[str, None] = {}
    unreadable: list[str] = []
    for number in range(1, attempts + 1):
        log = nextflow_log.read(folder.attempt(number) / LOG)
        targets.update((target, None) for target in log.published if "://" not in target)
        unreadable += [f"{name}: its name cannot be read from the log" for name in log.unreadable]
    targets.update(dict.fromkeys(links_beside(targets, folder.work)))
    result = make_real((Path(target) for target in targets), folder.work)
    result.refused += unreadable
    return result


def held_by(results: MadeReal) -> str | None:
    """Why a work dir must be kept although its policy says otherwise; None = it need not."""
    if not results.refused:
        return None
    count = len(results.refused)
    plural = "s" if count > 1 else ""
    return f"{count} published result{plural} would be lost with the work dir: {results.refused[0]}"


def size_of(folder: ExecutionFolder) -> Size:
    """Measure what is retained: `work` and `cache`."""
    return measure([folder.work, folder.cache])


def record_size(store: Store, execution: Execution) -> None:
    """Measure a work dir and store the result."""
    size = size_of(folder_of(store, execution))
    with store.begin() as tx:
        transitions.measured(tx, execution.id, size.bytes, size.files, size.metered)


def remove(
    store: Store, execution: Execution, actor: str, progress: Callable[[Removed], None] = lambda _: None
) -> Removed | None:
    """Remove a DELETING work dir; None when another process is at it.

    DELETED is written only when the last byte is gone; what cannot go is reported in the state.
    """
    remover = f"{socket.gethostname()}:{os.getpid()}"
    root = root_of(store, execution)

    def claimed() -> bool:
        with store.begin() as tx:
            return transitions.claim_removal(tx, execution.id, remover, REMOVER_SECONDS)

    if not claimed():
        return None
    try:
        to_trash(root, execution.account, execution.id)
        crashpoints.reach("trashed")
        removed = empty_trash(root, execution.id, _Renewing(claimed, progress))
    except OSError as e:
        removed = Removed(blocked=[f"{execution.work_dir.path}: {e.strerror or e}"])
    crashpoints.reach("emptied")
    with store.begin() as tx:
        if removed.blocked:
            transitions.removal_blocked(tx, execution.id, blocked_by(removed), actor)
        else:
            freed = {"files": removed.files, "directories": removed.directories, "bytes": removed.bytes}
            transitions.removed(tx, execution.id, actor, freed)
    return removed


def blocked_by(removed: Removed) -> str:
    """What could not be removed, in one line."""
    count = len(removed.blocked)
    return f"{count} thing{'s' if count > 1 else ''} cannot be removed: {removed.blocked[0]}"


class _Renewing:
    """Passes progress on, and prolongs the claim of a removal that takes long."""

    def __init__(self, renew: Callable[[], bool], progress: Callable[[Removed], None]) -> None:
        self._renew = renew
        self._progress = progress

    def __call__(self, removed: Removed) -> None:
        if removed.directories == 1:
            crashpoints.reach("half-removed")
        if removed.directories % _RENEW_EVERY == 0:
            self._renew()
        self._progress(removed)
