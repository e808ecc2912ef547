"""Delete a work dir: the one way from DELETING to DELETED, for whatever reason it goes.

Its results are secured, then it is renamed into the trash, then removed. Before the rename it may be held
instead; after it there is no way back. Whoever goes this way holds a claim, which a thread renews. After a
crash the next sweep takes the claim over and continues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nfresume.domain.errors import NfresumeError, StaleClaim
from nfresume.domain.executions import Execution
from nfresume.domain.retention import Hold
from nfresume.domain.workdirs import Claim, RemovalProgress
from nfresume.nextflow import processes as nextflow_processes
from nfresume.retained import places, securing
from nfresume.storage.removal import Removed, empty_trash
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.trash import to_trash
from nfresume.storage.workers import Pace
from nfresume.store import Store, guarded, queries, removals
from nfresume.store.transitions import Claimant
from nfresume.system import crashpoints, processes
from nfresume.system.renewal import Renewal

#: How long a claim lasts without renewal; then another process may take over.
CLAIM_SECONDS = 60.0
#: How often a claim is renewed, and progress stored.
RENEWAL_SECONDS = 2.0


@dataclass(frozen=True)
class Deleted:
    """How far a deletion came: `held` says why the work dir is kept after all; else what was removed."""

    removed: Removed
    held: Hold | None = None


def claimant() -> Claimant:
    """This process, as the database is told who deletes a work dir."""
    return Claimant(processes.signature(), CLAIM_SECONDS)


def take(store: Store, execution: Execution) -> Claim | None:
    """Take over a deletion whose process has died or gave it up; None when another one is at it."""
    other = execution.work_dir.claimed_by
    dead = other if other is not None and processes.is_dead(other) else None
    with store.begin() as tx:
        return removals.take(tx, execution.id, claimant(), dead)


def delete(
    store: Store, claim: Claim, actor: str, pace: Pace, *,
    progress: Callable[[RemovalProgress], None] = lambda _: None, lose_results: bool = False,
) -> Deleted:
    """Carry out a deletion that was claimed. When `pace.stop` is set the removal pauses.

    What cannot be removed stays DELETING, with the reason; what must not be deleted is held. `lose_results`:
    a person said that it may be deleted with results that cannot be secured. Raises StaleClaim when another
    process has taken over.
    """
    return _Deletion(store, claim, actor, pace, progress).run(lose_results=lose_results)


def describe_blocked(removed: Removed) -> str:
    """How many entries could not be removed, and the first of them, in one line."""
    count = removed.blocked_count
    return f"{count} thing{'s' if count > 1 else ''} cannot be removed: {removed.blocked[0]}"


class _Deletion:
    def __init__(
        self, store: Store, claim: Claim, actor: str, pace: Pace,
        progress: Callable[[RemovalProgress], None],
    ) -> None:
        self._store = store
        self._claim = claim
        self._actor = actor
        self._pace = pace
        self._progress = progress
        with store.begin(write=False) as tx:
            self._execution = queries.get(tx, claim.execution_id)
        self._before = self._execution.work_dir.removal or RemovalProgress()
        self._so_far: RemovalProgress | None = None

    def run(self, *, lose_results: bool) -> Deleted:
        crashpoints.reach("deleting")
        with Renewal(self._renew, RENEWAL_SECONDS) as renewal:
            if self._execution.work_dir.secured_at is None:
                hold = self._secure(renewal)
                if hold is not None and (hold.in_use or not lose_results):
                    with self._store.begin() as tx:
                        removals.hold(tx, self._claim, hold, self._actor)
                    return Deleted(Removed(), hold)
                with self._store.begin() as tx:
                    removals.no_way_back(tx, self._claim)
            crashpoints.reach("secured")
            removed = self._remove(renewal)
        self._finish(removed)
        return Deleted(removed)

    def _renew(self) -> None:
        with self._store.begin() as tx:
            removals.renew(tx, self._claim, CLAIM_SECONDS, self._so_far)

    # -- before the point of no return ----------------------------------------------------------

    def _secure(self, renewal: Renewal) -> Hold | None:
        """Why the work dir must not be deleted; None once its results are safe."""
        try:
            folder = places.folder_of(self._store, self._execution)
            if (hold := obstacle(self._execution, folder)) is not None:
                return hold
            secured = securing.secure(folder, self._execution, self._pace, heartbeat=renewal.check,
                                      succeeded=False, deleting=True)
        except StaleClaim:
            raise
        except NfresumeError as e:
            return Hold(e.message)
        except OSError as e:
            return Hold(f"its results cannot be looked at: {e}")
        renewal.check()
        if secured.note:
            with self._store.begin() as tx:
                guarded.note(tx, self._execution.id, "results_secured", self._actor, secured.note)
        return secured.hold

    # -- and after it ---------------------------------------------------------------------------

    def _remove(self, renewal: Renewal) -> Removed:
        e = self._execution
        try:
            root = places.root_of(self._store, e)
            to_trash(root, e.account, e.id)
            crashpoints.reach("trashed")

            def report(removed: Removed) -> None:
                renewal.check()
                self._so_far = self._total(removed)
                self._progress(self._so_far)

            return empty_trash(root, e.id, report, self._pace)
        except OSError as error:
            return Removed(blocked_count=1, blocked=[f"{e.work_dir.path}: {error.strerror or error}"])
        except StaleClaim:
            raise
        except NfresumeError as error:
            return Removed(blocked_count=1, blocked=[f"{e.work_dir.path}: {error.message}"])

    def _finish(self, removed: Removed) -> None:
        crashpoints.reach("emptied")
        total = self._total(removed)
        with self._store.begin() as tx:
            if removed.blocked:
                removals.blocked(tx, self._claim, describe_blocked(removed), self._actor, total)
            elif removed.stopped:
                removals.paused(tx, self._claim, total, self._actor)
            else:
                removals.removed(tx, self._claim, self._actor, total)

    def _total(self, removed: Removed) -> RemovalProgress:
        before = self._before
        return RemovalProgress(
            before.files + removed.files, before.directories + removed.directories,
            before.bytes + removed.bytes, round(before.seconds + removed.seconds, 3), removed.blocked_count,
        )


def obstacle(execution: Execution, folder: ExecutionFolder) -> Hold | None:
    """Why nothing may be done yet: something of it still runs here, or it is not what the database knows."""
    attempts = folder.attempt(execution.attempt).parent
    if (unknown := folder.unknown_attempt(execution.attempt)) is not None:
        return Hold(unknown, passing=False)
    if nextflow_processes.of_another_user(attempts, execution.attempt):
        return Hold("processes of it may still run on this host, as another user", in_use=True)
    if alive := nextflow_processes.of_execution(execution.id, attempts, execution.attempt):
        return Hold(f"{len(alive)} of its processes still run on this host", in_use=True)
    return None
