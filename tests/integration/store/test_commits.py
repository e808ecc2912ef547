"""Case 47: killed before and after each commit: a transaction is done completely, or not at all."""

from __future__ import annotations

import os
import signal
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest

from nfresume.domain.executions import Lease, TaskCounts
from nfresume.domain.retention import Hold
from nfresume.domain.workdirs import Claim, RemovalProgress
from nfresume.store import Store, Tx, guarded, keeping, queries, removals, schema, transitions
from nfresume.store.transitions import Claimant, NewAttempt, NewExecution, Owner
from tests.integration.store.test_store import invariants
from tests.outcomes import CLAIMANT, kept

OWNER = Owner("host", "boot")
LIVES = 2
Step = Callable[[Tx, str], object]


def lease(tx: Tx, execution: str) -> Lease:
    newest = schema.attempts.select().where(schema.attempts.c.execution_id == execution)
    row = tx.conn.execute(newest.order_by(schema.attempts.c.number.desc())).first()
    assert row is not None
    return Lease(execution, row.number, row.token)


def claim(tx: Tx, execution: str) -> Claim:
    return transitions.current_claim(tx, execution)


def launch(tx: Tx, execution: str) -> None:
    transitions.launch(tx, NewExecution(execution, "team", "root", f"/w/{execution}", "main.nf", "/here",
                                        str(uuid.uuid4()), 1.0, "test", False), attempt(), "me")


def attempt() -> NewAttempt:
    return NewAttempt("main.nf", (), True, "/nf", "24.10.5")


def fail(tx: Tx, execution: str) -> None:
    outcome = kept(tx.now + timedelta(hours=1))
    transitions.settle(tx, lease(tx, execution), outcome, TaskCounts(), "s", CLAIMANT)
    guarded.note(tx, execution, "slimmed", "s", {"files": 1})


#: The life of an execution in steps; each is one transaction.
STEPS: tuple[Step, ...] = (
    launch,
    lambda tx, e: transitions.claim(tx, e, OWNER, -1.0),
    lambda tx, e: transitions.take_over(tx, e, OWNER, 30.0),
    lambda tx, e: transitions.renew(tx, lease(tx, e), 30.0, TaskCounts(succeeded=3)),
    fail,
    lambda tx, e: removals.measured(tx, e, {"WORK": 4096}, bytes=1, disk_bytes=4096, metered_bytes=4096,
                                    files=1, directories=1, partial=False),
    lambda tx, e: keeping.extend(tx, e, tx.now + timedelta(hours=9), "me", None),
    lambda tx, e: keeping.pin(tx, e, "me"),
    lambda tx, e: keeping.unpin(tx, e, tx.now, "me", None),
    lambda tx, e: transitions.relaunch(tx, e, 2, attempt(), "me", f"/w/{e}"),
    lambda tx, e: transitions.claim(tx, e, OWNER, 30.0),
    fail,
    lambda tx, e: removals.delete(tx, e, 2, "the user", "me", CLAIMANT),
    lambda tx, e: removals.renew(tx, claim(tx, e), 60.0, RemovalProgress()),
    lambda tx, e: removals.hold(tx, claim(tx, e), Hold("not mounted"), "me"),
    lambda tx, e: removals.delete(tx, e, 2, "the user", "me", Claimant("gone", -1.0)),
    lambda tx, e: removals.take(tx, e, CLAIMANT),
    lambda tx, e: removals.no_way_back(tx, claim(tx, e)),
    lambda tx, e: removals.blocked(tx, claim(tx, e), "busy", "me"),
    lambda tx, e: removals.take(tx, e, CLAIMANT),
    lambda tx, e: removals.removed(tx, claim(tx, e), "me", RemovalProgress()),
)


def run(url: str, execution: str, number: int, *, committed: bool) -> int:
    """Do one step in a process that is killed just before or just after its commit; returns its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            store = Store.open(url)
            with store.begin() as tx:
                STEPS[number](tx, execution)
                if not committed:
                    os.kill(os.getpid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """Open the database, and close it before the next fork."""
    store = Store.open(url)
    yield store
    store.close()


def seen(url: str) -> list[list[tuple[object, ...]]]:
    """Every row of every table."""
    with opened(url) as store, store.begin(write=False) as tx:
        return [[tuple(row) for row in tx.conn.execute(table.select())]
                for table in schema.metadata.sorted_tables]


@pytest.mark.long
@pytest.mark.slow
def test_killed_at_every_commit(url: str):
    """84 kills: committed changes are there, uncommitted ones left no trace, and the next step works."""
    with opened(url) as store, store.begin() as tx:
        transitions.register_root(tx, "root", "/root", 1)
    kills = 0
    for n in range(LIVES):
        execution = f"run-{n}"
        for number in range(len(STEPS)):
            before = seen(url)
            assert run(url, execution, number, committed=False) == -signal.SIGKILL
            assert seen(url) == before
            assert run(url, execution, number, committed=True) == -signal.SIGKILL
            assert seen(url) != before
            kills += 2
        with opened(url) as store, store.begin(write=False) as tx:
            e = queries.get(tx, execution)
        assert (e.state, e.work_dir.state, e.attempt) == ("FAILED", "DELETED", 2)
    with opened(url) as store:
        invariants(store)
    assert kills == 2 * LIVES * len(STEPS)
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
