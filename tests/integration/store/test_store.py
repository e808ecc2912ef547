"""The contract of the store, on real SQLite and PostgreSQL."""

from __future__ import annotations

import json
import os
import stat
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from nfresume.domain.errors import (
    Conflict,
    NotFound,
    StaleClaim,
    StaleLease,
    StoreRefused,
    StoreUnavailable,
    UsageError,
)
from nfresume.domain.executions import LIVE, ExecutionState, Lease, TaskCounts
from nfresume.domain.retention import Hold
from nfresume.domain.workdirs import Claim, KeepKind, OnSuccess, RemovalProgress, Retain, WorkDirState
from nfresume.storage import Root
from nfresume.storage.root import MARKER
from nfresume.store import Store, clock, database, guarded, keeping, queries, removals, schema, transitions
from nfresume.store.migrations import upgrade
from nfresume.store.transitions import Claimant, NewAttempt, NewExecution, Owner
from tests.outcomes import CLAIMANT, deleted, kept

OWNER = Owner("host", "boot")
FAILED, SUCCEEDED, QUEUED = ExecutionState.FAILED, ExecutionState.SUCCEEDED, ExecutionState.QUEUED


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    with opened.begin() as tx:
        assert transitions.register_root(tx, "root", "/root", 1)
    yield opened
    invariants(opened)
    opened.close()


def attempt(**kw) -> NewAttempt:
    return NewAttempt("main.nf", ("--x", "1"), kw.get("resume", False), "/nf", "24.10.5")


def launch(store: Store, execution_id: str = "run-a1", account: str = "team", **kw) -> str:
    new = NewExecution(execution_id, account, "root", f"/root/{execution_id}/work", "main.nf", "/here",
                       str(uuid.uuid4()), 1.0, "test", kw.get("pinned", False))
    with store.begin() as tx:
        transitions.launch(tx, new, attempt(), "me")
    return execution_id


def fail(store: Store, execution_id: str, *, hours: float | None = 1.0, **kw) -> None:
    """An attempt fails; kept for so many hours, or held (None)."""
    with store.begin() as tx:
        lease = transitions.claim(tx, execution_id, OWNER, 30)
    with store.begin() as tx:
        expires = None if hours is None else tx.now + timedelta(hours=hours)
        transitions.settle(tx, lease, kept(expires, **kw), TaskCounts(), "sup", CLAIMANT)


def expire(store: Store, execution_id: str = "run-a1", claimant: Claimant = CLAIMANT) -> Claim:
    with store.begin() as tx:
        return removals.expire(tx, execution_id, 1, "sweeper", claimant)


def get(store: Store, execution_id: str = "run-a1"):
    with store.begin(write=False) as tx:
        return queries.get(tx, execution_id)


def invariants(store: Store) -> None:
    """An execution is live exactly while its work dir is ACTIVE; every state has its event."""
    with store.begin(write=False) as tx:
        for e in queries.newest(tx, None, limit=10_000):
            assert (e.state in LIVE) == (e.work_dir.state is WorkDirState.ACTIVE), e
            assert queries.events_of(tx, e.id)[0].name == "launch"
            assert len(queries.attempts_of(tx, e.id)) == e.attempt


def race(actions: list[Callable[[], None]]) -> list[Exception | None]:
    """Run all at once; returns what each raised."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], None]) -> Exception | None:
        barrier.wait()
        try:
            action()
        except Exception as e:
            return e
        return None

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


@pytest.mark.parametrize("inode", [2**63 - 1, 2**63, 2**64 - 1])
def test_an_inode_of_64_bits(store: Store, inode: int):
    """Inodes have all 64 bits on GlusterFS, mergerfs and BeeGFS; a column of a database has 63 and a sign."""
    with store.begin() as tx:
        assert transitions.register_root(tx, "gluster", "/gluster", inode)
        assert queries.root_at(tx, "/gluster") == queries.RootRecord("gluster", "/gluster", inode)
        transitions.move_root(tx, "gluster", "/moved", inode - 1)
        assert queries.root(tx, "gluster").inode == inode - 1


def test_life_with_a_failure_and_a_relaunch(store: Store):
    """Launch, claim, fail, relaunch, succeed, remove: states, attempts and events agree."""
    launch(store)
    fail(store, "run-a1")
    e = get(store)
    assert (e.state, e.work_dir.state) == (FAILED, WorkDirState.RETAINED)
    assert e.work_dir.expires_at > e.created_at
    with store.begin() as tx:
        transitions.relaunch(tx, "run-a1", 2, attempt(resume=True), "me", "/w")
    assert get(store).work_dir.expires_at is None
    with store.begin() as tx:
        lease = transitions.claim(tx, "run-a1", OWNER, 30)
        counts = TaskCounts(1, 2, 3, 4, 5, 6)
        state, claim = transitions.settle(tx, lease, deleted(), counts, "sup", CLAIMANT)
    assert state is SUCCEEDED
    assert claim is not None
    assert get(store).work_dir.state is WorkDirState.DELETING
    with store.begin() as tx:
        removals.removed(tx, claim, "sup", RemovalProgress(files=3))
    with store.begin(write=False) as tx:
        names = [v.name for v in queries.events_of(tx, "run-a1")]
        assert names == ["launch", "claim", "fail", "relaunch", "claim", "succeed", "removed"]
        first, second = queries.attempts_of(tx, "run-a1")
    assert (first.resume, second.resume, second.tasks) == (False, True, counts)
    assert first.run_name == "run-a1-1"


def test_one_claim(store: Store):
    """Case 13: of 8 supervisors that claim an attempt, one gets it."""
    launch(store)

    def claim() -> None:
        with store.begin() as tx:
            transitions.claim(tx, "run-a1", OWNER, 30)

    results = race([claim] * 8)
    assert results.count(None) == 1
    assert all(isinstance(r, Conflict) for r in results if r)


def test_fifty_relaunches_are_one(store: Store):
    """Case 12: 50 relaunches at once make one attempt."""
    launch(store)
    fail(store, "run-a1")

    def relaunch() -> None:
        with store.begin() as tx:
            transitions.relaunch(tx, "run-a1", 2, attempt(resume=True), "me", "/w")

    results = race([relaunch] * 50)
    assert results.count(None) == 1
    assert all(isinstance(r, Conflict) for r in results if r)
    assert get(store).attempt == 2


@pytest.mark.parametrize("round_", range(5))
def test_relaunch_against_expiry(store: Store, round_: int):
    """Case 11: either the relaunch or the expiry wins, and the other gets a Conflict."""
    launch(store)
    fail(store, "run-a1", hours=0)

    def relaunch() -> None:
        with store.begin() as tx:
            transitions.relaunch(tx, "run-a1", 2, attempt(), "me", "/w")

    def expire() -> None:
        with store.begin() as tx:
            removals.expire(tx, "run-a1", 1, "sweeper", CLAIMANT)

    results = race([relaunch, expire])
    assert results.count(None) == 1
    assert isinstance(next(r for r in results if r), Conflict)
    assert get(store).work_dir.state in (WorkDirState.ACTIVE, WorkDirState.DELETING)


def test_a_deletion_is_of_the_attempt_that_was_looked_at(store: Store):
    """Case 11: a deletion that was decided before a relaunch deletes nothing, even if the relaunch failed."""
    launch(store)
    fail(store, "run-a1", hours=0)
    with store.begin() as tx:
        transitions.relaunch(tx, "run-a1", 2, attempt(), "me", "/w")
    fail(store, "run-a1", hours=0)
    for late in (removals.expire, lambda tx, i, n, a, c: removals.delete(tx, i, n, "x", a, c),
                 lambda tx, i, n, a, c: removals.evict(tx, i, n, "x", a, c)):
        with store.begin() as tx, pytest.raises(Conflict):
            late(tx, "run-a1", 1, "sweeper", CLAIMANT)
    with store.begin() as tx:
        removals.expire(tx, "run-a1", 2, "sweeper", CLAIMANT)


def test_a_transaction_that_is_never_ended(postgresql_database: str, monkeypatch: pytest.MonkeyPatch):
    """Case 14: PostgreSQL rolls back a transaction that hangs with a lock, so that others can continue."""
    Store.open(postgresql_database).close()  # its migrations may take longer on a busy machine
    monkeypatch.setattr(database, "TRANSACTION_SECONDS", 2)
    store = Store.open(postgresql_database)
    with store.begin() as tx:
        transitions.register_root(tx, "root", "/root", 1)
    launch(store)

    def sleep() -> None:
        with store.begin() as tx:
            keeping.pin(tx, "run-a1", "asleep")
            with store.begin() as other:  # waits for the row
                keeping.pin(other, "run-a1", "awake")

    with pytest.raises(StoreUnavailable):
        sleep()
    with store.begin(write=False) as tx:
        assert [e.actor for e in queries.events_of(tx, "run-a1") if e.name == "pin"] == ["awake"]
    store.close()


def test_a_pooler_between(postgresql_database: str):
    """Nothing is left in a session after a transaction: a pooler gives the next one another (psycopg#280).

    The limit for a transaction that hangs holds in each session.
    """
    opened = Store.open(postgresql_database)
    for _ in range(10):
        with opened.begin(write=False) as tx:
            queries.all_roots(tx)
            assert tx.conn.execute(sa.text("SHOW idle_in_transaction_session_timeout")).scalar() == "20s"
    with opened._engine.connect() as session:
        assert session.execute(sa.text("SELECT count(*) FROM pg_prepared_statements")).scalar() == 0
        assert session.execute(sa.text("SHOW idle_in_transaction_session_timeout")).scalar() == "0"
    opened.close()


def test_extension_against_expiry(store: Store):
    """Case 19: a work dir extended or pinned in time is not expired; a DELETING one cannot be extended."""
    launch(store)
    fail(store, "run-a1", hours=0)
    with store.begin() as tx:
        keeping.extend(tx, "run-a1", tx.now + timedelta(hours=1), "me")
    with store.begin() as tx, pytest.raises(Conflict):
        removals.expire(tx, "run-a1", 1, "sweeper", CLAIMANT)
    with store.begin() as tx:
        keeping.extend(tx, "run-a1", tx.now, "me")
        keeping.pin(tx, "run-a1", "me")
    with store.begin() as tx, pytest.raises(Conflict):
        removals.expire(tx, "run-a1", 1, "sweeper", CLAIMANT)
    for act in (lambda tx: removals.delete(tx, "run-a1", 1, "x", "me", CLAIMANT),
                lambda tx: keeping.extend(tx, "run-a1", tx.now + timedelta(hours=1), "me")):
        with store.begin() as tx, pytest.raises(Conflict, match="pinned"):
            act(tx)
    with store.begin() as tx:
        keeping.unpin(tx, "run-a1", tx.now, "me")
        removals.expire(tx, "run-a1", 1, "sweeper", CLAIMANT)
    with store.begin() as tx, pytest.raises(Conflict):
        keeping.extend(tx, "run-a1", tx.now + timedelta(hours=1), "me")


def test_stale_token_is_refused(store: Store):
    """Case 14: a supervisor that slept past its lease can change nothing after a take-over."""
    launch(store)
    with store.begin() as tx:
        old = transitions.claim(tx, "run-a1", OWNER, -1)
    with store.begin() as tx:
        new = transitions.take_over(tx, "run-a1", OWNER, 30)
    assert new.token == old.token + 1
    for act in (
        lambda tx: transitions.renew(tx, old, 30, TaskCounts()),
        lambda tx: transitions.settle(tx, old, deleted(), TaskCounts(), "old", CLAIMANT),
    ):
        with store.begin() as tx, pytest.raises(StaleLease):
            act(tx)
    with store.begin() as tx, pytest.raises(Conflict):
        transitions.take_over(tx, "run-a1", OWNER, 30)
    with store.begin() as tx:
        assert transitions.renew(tx, new, 30, TaskCounts(submitted=1)) is ExecutionState.RUNNING


def test_a_failed_transition_changes_nothing(store: Store):
    """An error after the first update of a transaction rolls back all of it, including the event."""
    launch(store)
    with store.begin() as tx:
        lease = transitions.claim(tx, "run-a1", OWNER, 30)

    def half() -> None:
        with store.begin() as tx:
            transitions.settle(tx, lease, kept(tx.now), TaskCounts(), "sup", CLAIMANT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert get(store).state is ExecutionState.RUNNING


def test_cancel_against_the_natural_end(store: Store):
    """Case 15: a cancel during the end gives one final state: SUCCEEDED after exit 0, else CANCELLED."""
    for name, state, expected in (("a", SUCCEEDED, "SUCCEEDED"), ("b", FAILED, "CANCELLED")):
        launch(store, name)
        with store.begin() as tx:
            lease = transitions.claim(tx, name, OWNER, 30)
            transitions.cancel(tx, name, "me")
        with store.begin() as tx:
            end = transitions.settle(tx, lease, kept(tx.now, state), TaskCounts(), "sup", CLAIMANT)
            assert end == (expected, None)
        with store.begin() as tx, pytest.raises(Conflict):
            transitions.cancel(tx, name, "me")


def test_cancelling_what_is_queued(store: Store):
    """A queued attempt is cancelled at once, and cannot be claimed afterwards."""
    launch(store)
    with store.begin() as tx, pytest.raises(Conflict):
        transitions.cancel(tx, "run-a1", "me")
    with store.begin() as tx:
        outcome = kept(tx.now, ExecutionState.CANCELLED)
        assert transitions.cancel_queued(tx, "run-a1", outcome, "me", CLAIMANT) is None
    with store.begin() as tx, pytest.raises(Conflict):
        transitions.claim(tx, "run-a1", OWNER, 30)


def test_find_by_prefix(store: Store):
    """Any unique prefix of an id finds it, within one account; pattern characters have no meaning."""
    for name in ("rna-aa", "rna-ab", "dna_aa"):
        launch(store, name)
    launch(store, "rna-zz", account="other")
    with store.begin(write=False) as tx:
        assert queries.find(tx, "d", "team").id == "dna_aa"
        assert queries.find(tx, "rna-aa", "team").id == "rna-aa"
        with pytest.raises(UsageError, match="ambiguous"):
            queries.find(tx, "rna", "team")
        for missing in ("rna-z", "%", "_", "", "rna-aax"):
            with pytest.raises(NotFound):
                queries.find(tx, missing, "team")


def test_twins_of_an_account_are_strangers(store: Store):
    """Case 67: accounts `team` and `team-b` share nothing."""
    launch(store, "a", account="team")
    launch(store, "b", account="team-b")
    with store.begin(write=False) as tx:
        assert [e.id for e in queries.newest(tx, "team")] == ["a"]


def test_one_remover(store: Store):
    """Case 55: one process has the claim on a deletion until it runs out or the process is known to be dead.

    Whoever had it before can change nothing any more, whatever it was about to do.
    """
    launch(store)
    fail(store, "run-a1", hours=0)
    first = expire(store, claimant=Claimant("one", -1))
    with store.begin() as tx:
        second = removals.take(tx, "run-a1", Claimant("two", 60))
        assert second is not None
        assert removals.take(tx, "run-a1", Claimant("three", 60)) is None
        assert removals.take(tx, "run-a1", Claimant("three", 60), dead="one") is None
        third = removals.take(tx, "run-a1", Claimant("three", 60), dead="two")
        assert third is not None
    assert first.token < second.token < third.token
    gone = RemovalProgress()
    for late in (first, second):
        for act in (
            lambda tx, c: removals.renew(tx, c, 60), lambda tx, c: removals.no_way_back(tx, c),
            lambda tx, c: removals.hold(tx, c, Hold("x"), "s"),
            lambda tx, c: removals.paused(tx, c, gone, "s"),
            lambda tx, c: removals.blocked(tx, c, "x", "s"), lambda tx, c: removals.removed(tx, c, "s", gone),
            lambda tx, c: removals.give_up(tx, c),
        ):
            with store.begin() as tx, pytest.raises(StaleClaim):
                act(tx, late)
    with store.begin() as tx:
        removals.removed(tx, third, "s", gone)
    with store.begin() as tx, pytest.raises(StaleClaim):
        removals.renew(tx, third, 60)


def test_a_deletion_that_is_given_up(store: Store):
    """Before the point of no return a deletion may be held; after it nothing leads back."""
    launch(store)
    fail(store, "run-a1", hours=0)
    claim = expire(store)
    with store.begin() as tx:
        removals.hold(tx, claim, Hold("not mounted"), "s")
    work_dir = get(store).work_dir
    assert (work_dir.state, work_dir.held, work_dir.reason) == (WorkDirState.RETAINED, True, "not mounted")
    assert work_dir.expires_at is None
    with store.begin() as tx, pytest.raises(Conflict):  # it is not looked at again at once
        removals.expire(tx, "run-a1", 1, "s", CLAIMANT)
    with store.begin() as tx:
        assert queries.due(tx) == []
        later = replace(tx, now=tx.now + timedelta(minutes=2))
        assert [e.id for e in queries.due(later)] == ["run-a1"]
        again = removals.expire(later, "run-a1", 1, "s", CLAIMANT)
        removals.hold(later, again, Hold("not mounted"), "s")
        names = [e.name for e in queries.events_of(tx, "run-a1")]
    assert names == ["launch", "claim", "fail", "expire", "hold", "expire"]  # the same hold is told once
    with store.begin() as tx:
        last = removals.delete(tx, "run-a1", 1, "x", "me", CLAIMANT)
        removals.no_way_back(tx, last)
    with store.begin() as tx, pytest.raises(StaleClaim):
        removals.hold(tx, last, Hold("too late"), "s")
    with pytest.raises(Conflict), store.begin() as tx:
        transitions.relaunch(tx, "run-a1", 2, attempt(), "me", "/w")


def test_a_relaunch_wins_back_what_is_held(store: Store):
    """A held work dir may be relaunched; the hold and a person's wish stay, the rule's clock stops."""
    for name, hours in (("held", None), ("rule", 1.0), ("extended", 1.0), ("pinned", 1.0)):
        launch(store, name)
        fail(store, name, hours=hours)
    with store.begin() as tx:
        until = tx.now + timedelta(hours=720)
        keeping.extend(tx, "extended", until, "me")
        keeping.pin(tx, "pinned", "me")
    for name in ("held", "rule", "extended", "pinned"):
        with store.begin() as tx:
            transitions.relaunch(tx, name, 2, attempt(), "me", "/w")
    keeps = {name: get(store, name).work_dir.keep for name in ("held", "rule", "extended", "pinned")}
    assert keeps["rule"] is None
    assert {n: (k.kind, k.until, k.by) for n, k in keeps.items() if k} == {
        "held": (KeepKind.HELD, None, "nfresume"), "extended": (KeepKind.EXTENDED, until, "me"),
        "pinned": (KeepKind.PINNED, None, "me")}
    assert get(store, "extended").work_dir.expires_at is None  # in use


def test_unpin_of_what_is_not_pinned(store: Store):
    """It is refused, and changes nothing: 30 days do not become an hour."""
    launch(store)
    fail(store, "run-a1", hours=720)
    before = get(store).work_dir
    with store.begin() as tx, pytest.raises(Conflict, match="not pinned"):
        keeping.unpin(tx, "run-a1", tx.now + timedelta(hours=1), "me")
    assert get(store).work_dir == before


def test_a_blocked_removal_backs_off(store: Store):
    """What cannot be removed is tried again after a minute, two, four; each reason is told once."""
    launch(store)
    fail(store, "run-a1", hours=0)
    claim = expire(store)
    with store.begin() as tx:
        removals.no_way_back(tx, claim)
        removals.blocked(tx, claim, "1 thing cannot be removed: a", "s", RemovalProgress(files=2))
        assert queries.due(tx) == []
        for minutes in (1.1, 2.1, 4.1):
            tx = replace(tx, now=tx.now + timedelta(minutes=minutes))
            assert [e.id for e in queries.due(tx)] == ["run-a1"]
            again = removals.take(tx, "run-a1", CLAIMANT)
            assert again is not None
            removals.blocked(tx, again, "1 thing cannot be removed: a", "s", RemovalProgress(files=2))
            assert queries.due(tx) == []
        assert [e.name for e in queries.events_of(tx, "run-a1")].count("removal_blocked") == 1


def test_text_that_a_database_cannot_hold(store: Store):
    """NUL and half surrogates, from tasks and file names, are cleaned where they enter the database."""
    launch(store)
    bad = "a\0b\udcff\r\n\u2028 \U0001f9ec"
    fail(store, "run-a1", error=bad, reason=bad)
    with store.begin() as tx:
        guarded.note(tx, "run-a1", "noted", "me", {bad: [bad, {"deep": bad}]})
    with store.begin(write=False) as tx:
        said = queries.attempt(tx, "run-a1", 1).error
        event = queries.events_of(tx, "run-a1")[-1]
    assert said == "a\\0b\\udcff\r\n\u2028 \U0001f9ec"
    assert event.detail == {said: [said, {"deep": said}]}
    assert get(store).work_dir.reason == said


def test_a_fault_of_ours_is_not_tried_again(store: Store):
    """A database that refuses a statement is not a database that is away."""
    with pytest.raises(StoreRefused, match=r"duplicate|UNIQUE"), store.begin() as tx:
        tx.conn.execute(schema.roots.insert().values(id="root", path="/x", inode=1, created_at=tx.now))


def test_settling_against_measuring(store: Store):
    """All transactions lock an execution in one order: none is ended as a deadlock on PostgreSQL."""
    names = [f"run-{n}" for n in range(12)]
    leases = []
    for name in names:
        launch(store, name)
        with store.begin() as tx:
            leases.append(transitions.claim(tx, name, OWNER, 30))

    def measure(name: str) -> None:
        for _ in range(5):
            with store.begin() as tx:
                removals.measured(tx, name, {"A": 1}, bytes=1, disk_bytes=1, metered_bytes=1, files=1,
                                  directories=1, partial=False)

    def pin(name: str) -> None:
        for _ in range(5):
            with store.begin() as tx:
                keeping.pin(tx, name, "me")

    def settle(lease: Lease) -> None:
        with store.begin() as tx:
            transitions.renew(tx, lease, 30, TaskCounts())
        with store.begin() as tx:
            transitions.settle(tx, lease, kept(tx.now), TaskCounts(), "s", CLAIMANT)

    results = race([*(partial(measure, n) for n in names), *(partial(pin, n) for n in names),
                    *(partial(settle, lease) for lease in leases)])
    assert results == [None] * len(results)


def test_lost_ones_are_found(store: Store):
    """An attempt whose lease ran out is lost, and so is a queued one that no supervisor claimed."""
    launch(store, "quiet")
    launch(store, "fine")
    launch(store, "lost")
    with store.begin() as tx:
        transitions.claim(tx, "fine", OWNER, 60)
        transitions.claim(tx, "lost", OWNER, -1)
    with store.begin(write=False) as tx:
        assert {e.id for e in queries.lost(tx, 60)} == {"lost"}
        assert {e.id for e in queries.lost(tx, -1)} == {"lost", "quiet"}


def test_due_first(store: Store):
    """A sweep sees the soonest expiry first."""
    for name, hours in (("late", 5), ("soon", 0.1)):
        launch(store, name)
        fail(store, name, hours=hours)
    launch(store, "active")
    with store.begin(write=False) as tx:
        assert [e.id for e in queries.to_sweep(tx)] == ["soon", "late"]


def test_migrations_make_the_schema(store: Store):
    """The migrations create the tables in schema.py, and HEAD is the newest migration."""
    with store.begin(write=False) as tx:
        sqlite = tx.conn.dialect.name == "sqlite"
        context = MigrationContext.configure(tx.conn, opts={  # see its ddl_if
            "include_object": lambda *given: sqlite or given[1] != "executions_tags"})
        assert compare_metadata(context, schema.metadata) == []
        assert context.get_current_revision() == schema.HEAD


def test_concurrent_first_opens(url: str):
    """Several first launches at once create one schema."""
    def open_() -> None:
        Store.open(url).close()

    assert race([open_] * 6) == [None] * 6


def test_a_newer_database_is_refused(url: str):
    """A database with a newer schema is refused."""
    opened = Store.open(url)
    with opened.begin() as tx:
        tx.conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    opened.close()
    with pytest.raises(StoreUnavailable, match="newer"):
        Store.open(url)


def test_a_root_is_registered_once(store: Store):
    """Of two first launches at once one registers the root, and the other finds it; both continue."""
    with store.begin() as tx:
        assert not transitions.register_root(tx, "root", "/root", 1)
        assert not transitions.register_root(tx, "another", "/root", 2)
        assert transitions.register_root(tx, "another", "/another", 2)
        found = queries.root_at(tx, "/root")
    assert found is not None
    assert (found.id, found.inode) == ("root", 1)


def test_a_root_appears_with_its_mark(tmp_path: Path):
    """Of several first launches at once none sees a root without its marker, and all get the same root."""
    for turn in range(20):
        path, found = tmp_path / f"r{turn}" / "root", []

        def first(path: Path = path, found: list[str] = found) -> None:
            found.append((Root.open(path) if path.exists() else Root.mark(path)).id)

        assert race([first] * 8) == [None] * 8
        assert len(set(found)) == 1
        assert sorted(os.listdir(path)) == [".nfresume", ".trash"]
        assert os.listdir(path.parent) == ["root"]


def test_the_event_log_only_grows(store: Store):
    """The database refuses to change or delete an event."""
    launch(store, "x")
    for forged in (schema.events.update().values(actor="nobody"), schema.events.delete()):
        with pytest.raises(StoreRefused, match="events are never changed"), store.begin() as tx:
            tx.conn.execute(forged)
    with store.begin(write=False) as tx:
        assert [e.actor for e in queries.events_of(tx, "x")] != ["nobody"]


def test_a_clock_that_jumps(store: Store):
    """Case 52: a clock that is ahead of the machine's uptime holds expiry for a day; going back ends it."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)

    def look(hours: float, *, ahead: float = 0, boot: str = "a") -> datetime | None:
        """After so many hours, when the clock is ahead by some."""
        with store.begin() as tx:
            return clock.check(replace(tx, now=begin + timedelta(hours=hours + ahead)),
                               clock.Uptime(boot, 1e6 + hours * 3600))

    assert look(0) is None
    assert look(24 * 400) is None  # nobody swept for a year
    assert look(24 * 400 + 1, ahead=0.1) is None
    held = look(24 * 400 + 2, ahead=1)
    assert held == begin + timedelta(days=401, hours=3)
    assert look(24 * 400 + 3, ahead=1) == held
    assert look(24 * 400 + 3, ahead=48) == begin + timedelta(days=403, hours=2)  # the same hold goes on
    assert look(24 * 400 + 4) is None  # the clock was wrong and was corrected
    assert look(24 * 400 + 4, ahead=-24 * 365) is None
    assert look(24 * 400 + 5) is not None  # from too early to right: that cannot be told from the contrary
    assert look(24 * 401 + 6) is None  # after a day the clock still says so: it is right
    assert look(24 * 401 + 7) is None


def test_a_clock_that_jumps_while_several_machines_sweep(store: Store):
    """Each machine goes by its own uptime; what one has found out, no other finds out again."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)

    def look(hours: float, boot: str, *, ahead: float = 0) -> datetime | None:
        with store.begin() as tx:
            up = clock.Uptime(boot, hours * 3600 + 1e6 * len(boot))
            now = replace(tx, now=begin + timedelta(hours=hours + ahead))
            assert not (clock.is_noted(now, up) and ahead)
            return clock.check(now, up)

    assert [look(0, "a"), look(0.5, "bb"), look(1, "a"), look(1.5, "bb")] == [None] * 4
    held = look(1.9, "bb", ahead=48)
    assert held is not None
    assert look(2, "a", ahead=48) == held
    assert look(20, "ccc", ahead=48) == held
    assert [look(26, "a", ahead=48), look(26, "bb", ahead=48), look(27, "ccc", ahead=48)] == [None] * 3


def test_a_machine_that_is_paused_each_night(store: Store):
    """Its clock seems to jump each morning. What is due waits, but not for ever."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    held = []
    for hour in range(24 * 14):
        if hour % 24 >= 9:
            with store.begin() as tx:
                now = replace(tx, now=begin + timedelta(hours=hour))
                held.append(clock.check(now, clock.Uptime("a", (hour - hour // 24 * 9) * 3600)) is not None)
    assert held.count(False) > 3 * 15


@pytest.mark.parametrize(("gap", "is_held"), [(2, False), (4, True)])
def test_a_clock_that_is_ahead_after_a_reboot(store: Store, gap: float, is_held: bool):
    """The uptime says nothing: three days without a look of any machine are too long."""
    with store.begin() as tx:
        assert clock.check(tx, clock.Uptime("before", 10)) is None
        after = replace(tx, now=tx.now + timedelta(days=gap))
        assert (clock.check(after, clock.Uptime("after", 10)) is not None) is is_held


@pytest.mark.parametrize(
    "bad", ["mysql://x/y", "nonsense", "sqlite:////proc/nope/x.db", "postgresql://u:secret@127.0.0.1:1/x"]
)
def test_a_database_that_cannot_be_opened(bad: str):
    """The error is one line, without the password."""
    with pytest.raises(StoreUnavailable) as caught:
        Store.open(bad)
    assert "secret" not in str(caught.value)


def test_sqlite_integrity_under_many_writers(tmp_path: Path):
    """Case 46: many writers at once wait for each other, and no transition is lost."""
    store = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    with store.begin() as tx:
        transitions.register_root(tx, "root", "/root", 1)

    def life(number: int) -> None:
        launch(store, f"r{number}")
        fail(store, f"r{number}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(life, range(80)))
    invariants(store)
    with store.begin(write=False) as tx:
        assert len(queries.newest(tx, "team", states=[FAILED], limit=1000)) == 80
        assert tx.conn.execute(sa.text("PRAGMA integrity_check")).scalar_one() == "ok"
    store.close()


def test_sqlite_on_a_network_file_system_is_refused(monkeypatch):
    """Case 45: SQLite is refused unless the type of the file system is a local one (here tmpfs is not)."""
    from nfresume.system import filesystems

    local = filesystems._LOCAL - {filesystems.type_of("/dev/shm")}
    monkeypatch.setattr(filesystems, "_LOCAL", local)
    with pytest.raises(StoreUnavailable, match="PostgreSQL"):
        Store.open("sqlite:////dev/shm/nfresume-never.db")
    assert not Path("/dev/shm/nfresume-never.db").exists()


def test_a_database_of_the_first_schema_is_upgraded(url: str):
    """Executions older than the choice keep their work dir in full and delete it on success, as before."""
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg") if "postgres" in url
                              else url)
    now = "2026-01-01 00:00:00+00:00"
    with engine.begin() as conn:
        upgrade(conn, "0001")
        conn.execute(sa.text("INSERT INTO roots VALUES ('root', '/root', 1, :now)"), {"now": now})
        conn.execute(sa.text(
            "INSERT INTO executions VALUES ('run-a1', 'team', 'root', 'main.nf', '/here', 'uuid', 'FAILED', "
            "1, 5.0, 'test', :now, :now)"), {"now": now})
        conn.execute(sa.text(
            "INSERT INTO work_dirs (execution_id, path, state, pinned, bytes, files, metered_bytes) "
            "VALUES ('run-a1', '/root/work', 'RETAINED', :no, 10, 1, 6144)"), {"no": False})
    engine.dispose()
    store = Store.open(url)
    with store.begin(write=False) as tx:
        execution = queries.get(tx, "run-a1")
    store.close()
    assert (execution.retain, execution.on_success) == (Retain.FULL, OnSuccess.DELETE)
    work_dir = execution.work_dir
    unknown = (work_dir.disk_bytes, work_dir.partial, work_dir.removal)
    assert (work_dir.bytes, *unknown) == (10, None, False, None)


@pytest.mark.parametrize("revision", [f"{number:04}" for number in range(1, int(schema.HEAD))])
def test_every_schema_is_upgraded_with_its_data(url: str, revision: str):
    """From each older schema: the rows of all its tables are there after the upgrade, and readable."""
    told = {"id": "x-1", "execution_id": "x-1", "account": "team", "root_id": "root", "state": "FAILED",
            "number": 1, "attempt": 1, "path": "/root/team/x-1/work", "name": "fail", "token": 3,
            "currency": "USD", "per_gb_month": "0.3", "run_name": "x-1-1", "retain": "full",
            "on_success": "delete", "launcher": "local"}
    by_type = {"BOOLEAN": False, "INTEGER": 1, "BIGINT": 5, "JSON": "{}", "FLOAT": 1.0, "REAL": 1.0,
               "DOUBLE PRECISION": 1.0}

    def value(table: str, column: Any) -> Any:
        if table == "roots" and column["name"] == "id":
            return "root"
        if table == "attempts" and column["name"] == "options":
            return "[]"
        if table == "work_dirs" and column["name"] == "state":
            return "RETAINED"
        kind = str(column["type"]).partition("(")[0]
        if column["name"] in told and not (column["name"] == "id" and kind == "INTEGER"):
            return told[column["name"]]
        stamp = "TIME" in kind or column["name"] in ("at", "since") or column["name"].endswith("_at")
        return "2026-01-01 00:00:00+00:00" if stamp else by_type.get(kind, "test")

    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg") if "postgres" in url
                              else url)
    with engine.begin() as conn:
        upgrade(conn, revision)
        tables = ("roots", "executions", "work_dirs", "attempts", "events", "size_samples", "prices")
        there = [table for table in tables if sa.inspect(conn).has_table(table)]
        for table in there:
            row = {c["name"]: value(table, c) for c in sa.inspect(conn).get_columns(table)
                   if not c["nullable"] and not (c["name"] == "id" and "INT" in str(c["type"]))}
            if table == "prices" and "root_id" in {c["name"] for c in sa.inspect(conn).get_columns(table)}:
                row["root_id"] = "root"
            names = ", ".join(row)
            conn.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{n}' for n in row)})"),
                         row)
    engine.dispose()
    store = Store.open(url)
    with store.begin(write=False) as tx:
        e = queries.get(tx, "x-1")
        assert (e.state, e.work_dir.state, e.account) == (FAILED, WorkDirState.RETAINED, "team")
        assert queries.attempt(tx, "x-1", 1).run_name == "x-1-1"
        assert [event.name for event in queries.events_of(tx, "x-1")] == ["fail"]
        for table in there:
            assert tx.conn.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar() == 1
    with store.begin() as tx:
        keeping.extend(tx, "x-1", tx.now + timedelta(hours=1), "me", None)
    store.close()


def test_a_paused_removal_goes_on_at_once(store: Store):
    """A paused removal stays DELETING with its progress, and another process can claim it at once."""
    launch(store)
    fail(store, "run-a1", hours=0)
    with store.begin() as tx:
        claim = removals.expire(tx, "run-a1", 1, "s", Claimant("one", 60))
    with store.begin() as tx:
        assert removals.take(tx, "run-a1", Claimant("two", 60)) is None
        removals.paused(tx, claim, RemovalProgress(files=7, bytes=70, seconds=1.0), "one")
    with store.begin() as tx:
        assert queries.get(tx, "run-a1").work_dir.removal == RemovalProgress(files=7, bytes=70, seconds=1.0)
        assert removals.take(tx, "run-a1", Claimant("two", 60)) is not None
        assert queries.events_of(tx, "run-a1")[-1].name == "removal_paused"


def test_what_is_kept_may_change_between_attempts(store: Store):
    """set_policy changes only what is given; each change is an event."""
    launch(store)
    with store.begin() as tx:
        keeping.set_policy(tx, "run-a1", Retain.SLIM, None, "me")
        keeping.set_policy(tx, "run-a1", None, None, "me")
    with store.begin() as tx:
        execution = queries.get(tx, "run-a1")
        names = [event.name for event in queries.events_of(tx, "run-a1")]
    assert (execution.retain, execution.on_success) == (Retain.SLIM, OnSuccess.DELETE)
    assert names == ["launch", "set_policy"]


@pytest.mark.parametrize("made", [True, False])
def test_all_who_may_read_a_root_may_read_its_marker(tmp_path: Path, *, made: bool):
    """Whatever the umask of the first user, the others can use a root of their group."""
    path = tmp_path / "root"
    path.mkdir()
    path.chmod(0o2770)
    before = os.umask(0o077)
    try:
        if not made:
            (path / MARKER).write_text(json.dumps({"id": "old", "layout": 1}))  # of an earlier version
        Root.mark(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((path / MARKER).stat().st_mode) == 0o640
    assert stat.S_IMODE((path / ".trash").stat().st_mode) == 0o2770


def test_rights_that_a_database_does_not_give(postgresql_database: str):
    """A user who may only read, and a standby, are told as what they are: no fault of nfresume."""
    Store.open(postgresql_database).close()
    made = sa.create_engine(postgresql_database.replace("postgresql:", "postgresql+psycopg:"))
    with made.begin() as conn:
        role = f"reader_{uuid.uuid4().hex[:8]}"
        conn.execute(sa.text(f"CREATE ROLE {role}"))
        conn.execute(sa.text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
    made.dispose()
    store = Store.open(postgresql_database)

    def change(setting: str) -> None:
        with store.begin() as tx:
            tx.conn.execute(sa.text(setting))
            tx.conn.execute(schema.clocks.delete())

    for setting, told, hint in (
            (f"SET LOCAL ROLE {role}", "permission denied for table clocks", "needs the rights"),
            ("SET LOCAL TRANSACTION READ ONLY", "read-only transaction", "takes no changes now")):
        with pytest.raises(StoreUnavailable, match=told) as refused:
            change(setting)
        assert hint in refused.value.hint
    store.close()
