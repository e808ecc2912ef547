"""Cancel an attempt that is queued or running."""

from __future__ import annotations

from nfresume.domain import retention
from nfresume.domain.errors import Conflict
from nfresume.domain.executions import Execution, ExecutionState
from nfresume.launchers import slurm
from nfresume.retained import deletion, disposal
from nfresume.settings import Settings
from nfresume.store import Store, guarded, queries, transitions


def cancel(store: Store, conf: Settings, execution: Execution, actor: str) -> None:
    """Cancel a queued or running attempt. Returns at once: the supervisor stops it. Raises Conflict."""
    while True:
        try:
            with store.begin() as tx:
                transitions.cancel(tx, execution.id, actor)
            return
        except Conflict:
            with store.begin(write=False) as tx:
                execution = queries.get(tx, execution.id)
            if execution.state is ExecutionState.CANCELLING:
                return
            if not execution.state.live:
                raise
        # It is queued, or was a moment ago: its supervisor may claim it at any time, and then it runs.
        if execution.state is ExecutionState.QUEUED and _cancel_queued(store, conf, execution, actor):
            return


def _cancel_queued(store: Store, conf: Settings, execution: Execution, actor: str) -> bool:
    """Cancel an attempt that has not started; False if it has started or ended meanwhile."""
    with store.begin() as tx:
        guarded.lock(tx, execution.id)
        execution = queries.get(tx, execution.id)
        if execution.state is not ExecutionState.QUEUED:
            return False
        decision = retention.after_attempt(
            ExecutionState.CANCELLED, execution.storage_expiration_hours, keep=execution.work_dir.keep,
            doubt=None, unsafe=None, now=tx.now,
        )
        until = decision.keep.until if decision.keep is not None else None
        outcome = transitions.Outcome(
            ExecutionState.CANCELLED, None, "cancelled before it started", True, decision,
            retention.notice_at(tx.now, until, conf.notify_before_expiry),
        )
        claim = transitions.cancel_queued(tx, execution.id, outcome, actor, deletion.claimant())
        attempt = queries.attempt(tx, execution.id, execution.attempt)
    if attempt.launcher == slurm.SlurmLauncher.name:
        slurm.cancel(attempt.run_name)
    if claim is not None:
        deletion.delete(store, claim, actor, disposal.pace_of(conf))
    return True
