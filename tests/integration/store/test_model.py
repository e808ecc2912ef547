"""The life cycle as a state machine: the invariants hold after each step, for any steps in any order.

The model has the tables of allowed transitions; the store is real, SQLite and PostgreSQL.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from nfresume.domain import retention
from nfresume.domain.errors import Conflict, Expired, NfresumeError, StaleClaim, StaleLease
from nfresume.domain.executions import LIVE, ExecutionState, Lease, TaskCounts
from nfresume.domain.retention import Hold
from nfresume.domain.workdirs import Claim, Keep, KeepKind, RemovalProgress, WorkDir, WorkDirState
from nfresume.store import Store, Tx, keeping, queries, removals, schema, transitions
from nfresume.store.transitions import NewAttempt, NewExecution, Outcome, Owner
from tests.outcomes import CLAIMANT, deleted

LEASE = 30.0
START = datetime(2026, 1, 1, tzinfo=UTC)
S, W = ExecutionState, WorkDirState


@dataclass
class Known:
    """What the model knows of one execution."""

    id: str
    hours: float
    state: ExecutionState = S.QUEUED
    work_dir: WorkDirState = W.ACTIVE
    keep: Keep | None = None
    claim: Claim | None = None
    claimed_until: datetime | None = None
    secured: bool = False
    look_again_at: datetime | None = None
    looks: int = 0
    attempt: int = 1
    lease: Lease | None = None
    lease_until: datetime | None = None

    @property
    def pinned(self) -> bool:
        return self.keep is not None and self.keep.kind is KeepKind.PINNED

    def as_work_dir(self) -> WorkDir:
        return WorkDir("/w", self.work_dir, self.keep, look_again_at=self.look_again_at, looks=self.looks)


def machine(url: str) -> type[RuleBasedStateMachine]:
    """A machine over the database at `url`; every run has an account of its own."""

    class Life(RuleBasedStateMachine):
        executions = Bundle("executions")

        @initialize()
        def open(self) -> None:
            self.store = Store.open(url)
            self.now = START
            self.account = f"m{uuid.uuid4().hex[:12]}"
            self.known: dict[str, Known] = {}
            self.stale: list[tuple[str, Lease]] = []
            self.late: list[Claim] = []
            self.root = f"root-{self.account}"
            with self.begin() as tx:
                transitions.register_root(tx, self.root, f"/{self.account}", 1)

        def teardown(self) -> None:
            if hasattr(self, "store"):
                self.store.close()

        @contextmanager
        def begin(self) -> Iterator[Tx]:
            """A transaction at the model's time."""
            with self.store.begin() as tx:
                yield replace(tx, now=self.now)

        def attempted(self, allowed: bool, act: Callable[[Tx], Any], *refusals: type[NfresumeError]) -> Any:
            """Run `act`: it must succeed when the model allows it, and otherwise raise an expected error."""
            try:
                with self.begin() as tx:
                    result = act(tx)
            except (Conflict, Expired, StaleLease, StaleClaim, *refusals):
                assert not allowed
                return None
            assert allowed
            return result

        # -- what may happen ----------------------------------------------------------------------

        @rule(target=executions, hours=st.sampled_from([0, 1, 48]), pinned=st.booleans())
        def launch(self, hours: float, pinned: bool) -> str:
            made = Known(f"x-{uuid.uuid4().hex[:12]}", hours,
                         keep=Keep(KeepKind.PINNED, "pinned by test", None, "test") if pinned else None)
            with self.begin() as tx:
                transitions.launch(tx, NewExecution(
                    id=made.id, account=self.account, root_id=self.root, work_dir=f"/w/{made.id}",
                    pipeline="main.nf", launch_dir="/l", session_id=str(uuid.uuid4()),
                    storage_expiration_hours=hours, storage_expiration_source="test", pinned=pinned,
                ), NewAttempt("main.nf", (), False, "/nf", "24.10.5", "local"), "test")
            self.known[made.id] = made
            return made.id

        @rule(one=executions)
        def claim(self, one: str) -> None:
            k = self.known[one]
            lease = self.attempted(k.state is S.QUEUED,
                                   lambda tx: transitions.claim(tx, one, Owner("h", "b"), LEASE))
            if lease is not None:
                k.state, k.lease, k.lease_until = S.RUNNING, lease, self.now + timedelta(seconds=LEASE)

        @rule(one=executions)
        def take_over(self, one: str) -> None:
            """Another supervisor takes over; possible once the lease has run out."""
            k = self.known[one]
            free = k.state in (S.RUNNING, S.CANCELLING) and (
                k.lease_until is None or k.lease_until <= self.now)
            lease = self.attempted(free, lambda tx: transitions.take_over(tx, one, Owner("h2", "b"), LEASE))
            if lease is not None:
                assert k.lease is not None
                self.stale.append((one, k.lease))
                k.lease, k.lease_until = lease, self.now + timedelta(seconds=LEASE)

        @rule(one=executions)
        def renew(self, one: str) -> None:
            k = self.known[one]
            if k.lease is None:
                return
            held = k.state in (S.RUNNING, S.CANCELLING)
            state = self.attempted(held, lambda tx: transitions.renew(tx, k.lease, LEASE, TaskCounts()))
            if state is not None:
                assert state is k.state
                k.lease_until = self.now + timedelta(seconds=LEASE)

        @rule(one=executions)
        def a_stale_supervisor_wakes(self, one: str) -> None:
            """A supervisor with an old token can change nothing."""
            for execution, lease in self.stale:
                if execution == one:
                    self.attempted(False, lambda tx, lease=lease: transitions.renew(
                        tx, lease, LEASE, TaskCounts()))
                    self.attempted(False, lambda tx, lease=lease: transitions.settle(
                        tx, lease, deleted(), TaskCounts(), "stale", CLAIMANT))

        @rule()
        def a_stale_remover_wakes(self) -> None:
            """A process whose claim was taken over can change nothing."""
            for late in self.late[-3:]:
                for act in (lambda tx, c: removals.no_way_back(tx, c),
                            lambda tx, c: removals.hold(tx, c, Hold("x"), "late"),
                            lambda tx, c: removals.removed(tx, c, "late", RemovalProgress())):
                    self.attempted(False, lambda tx, act=act, late=late: act(tx, late))

        def left(self, k: Known, decision: retention.Decision, claim: Claim | None, secured: bool) -> None:
            """What a decision does to the model's work dir."""
            assert (claim is None) == (decision.keep is not None)
            k.looks = 0 if decision.keep else k.looks
            if decision.keep is not None:
                k.work_dir, k.keep, k.look_again_at = W.RETAINED, decision.keep, decision.look_again_at
            else:
                self.claimed(k, claim, secured=secured)

        def claimed(self, k: Known, claim: Claim | None, *, secured: bool = False) -> None:
            k.work_dir, k.claim, k.secured, k.look_again_at = W.DELETING, claim, secured, None
            k.claimed_until = self.now + timedelta(seconds=CLAIMANT.seconds)

        @rule(one=executions, code=st.sampled_from([0, 1, None]), doubt=st.booleans(), unsafe=st.booleans(),
              passing=st.booleans())
        def settle(self, one: str, code: int | None, doubt: bool, unsafe: bool, passing: bool) -> None:
            k = self.known[one]
            if k.lease is None:
                return
            succeeded = code == 0 and not doubt
            hold = Hold("in doubt", passing=passing)
            outcome = S.SUCCEEDED if succeeded else S.CANCELLED if k.state is S.CANCELLING else S.FAILED
            decision = retention.after_attempt(
                outcome, k.hours, keep=k.keep, doubt=hold if doubt else None, unsafe=hold if unsafe else None,
                now=self.now)
            verdict = S.SUCCEEDED if succeeded else S.FAILED
            done = self.attempted(k.state in (S.RUNNING, S.CANCELLING), lambda tx: transitions.settle(
                tx, k.lease, Outcome(verdict, code, None if succeeded else "it failed", code is not None,
                                     decision, secured=not unsafe), TaskCounts(), "supervisor", CLAIMANT))
            if done is not None:
                assert done[0] is outcome
                k.state = outcome
                self.left(k, decision, done[1], not unsafe)

        @rule(one=executions)
        def cancel(self, one: str) -> None:
            k = self.known[one]
            if k.state is S.QUEUED:
                decision = retention.after_attempt(S.CANCELLED, k.hours, keep=k.keep, doubt=None, unsafe=None,
                                                   now=self.now)
                outcome = Outcome(S.CANCELLED, None, "cancelled", True, decision)
                with self.begin() as tx:
                    claim = transitions.cancel_queued(tx, one, outcome, "user", CLAIMANT)
                k.state = S.CANCELLED
                self.left(k, decision, claim, secured=False)
            elif self.attempted(k.state is S.RUNNING,
                                lambda tx: transitions.cancel(tx, one, "user") or True):
                k.state = S.CANCELLING

        @rule(one=executions)
        def relaunch(self, one: str) -> None:
            k = self.known[one]
            allowed = k.work_dir is W.RETAINED
            again = NewAttempt("main.nf", (), True, "/nf", "24.10.5", "local")
            done = self.attempted(allowed, lambda tx: transitions.relaunch(
                tx, one, k.attempt + 1, again, "user", f"/w/{one}") or True)
            if done:
                k.attempt, k.state, k.work_dir = k.attempt + 1, S.QUEUED, W.ACTIVE
                k.lease = k.lease_until = None
                if k.keep is not None and k.keep.kind is KeepKind.RULE:
                    k.keep = None

        @rule(one=executions, hours=st.sampled_from([1, 100]))
        def extend(self, one: str, hours: int) -> None:
            k, until = self.known[one], self.now + timedelta(hours=hours)
            allowed = k.work_dir is W.RETAINED and not k.pinned
            if self.attempted(allowed, lambda tx: keeping.extend(tx, one, until, "user", None) or True):
                k.keep = Keep(KeepKind.EXTENDED, "user asked to keep it", until, "user")
                k.look_again_at = None

        @rule(one=executions)
        def pin(self, one: str) -> None:
            k = self.known[one]
            allowed = k.work_dir in (W.ACTIVE, W.RETAINED)
            if self.attempted(allowed, lambda tx: keeping.pin(tx, one, "user") or True):
                k.keep, k.look_again_at = Keep(KeepKind.PINNED, "pinned by user", None, "user"), None

        @rule(one=executions)
        def unpin(self, one: str) -> None:
            k = self.known[one]
            until = self.now + timedelta(hours=1) if k.work_dir is W.RETAINED else None
            allowed = k.pinned and k.work_dir in (W.ACTIVE, W.RETAINED)
            if self.attempted(allowed, lambda tx: keeping.unpin(tx, one, until, "user") or True):
                k.keep = Keep(KeepKind.RULE, "it was unpinned", until) if until else None

        @rule(one=executions)
        def expire(self, one: str) -> None:
            """A sweep tries to expire the work dir; the database decides whether it is due."""
            k = self.known[one]
            claim = self.attempted(self.due(k), lambda tx: removals.expire(
                tx, one, k.attempt, "sweeper", CLAIMANT))
            if claim is not None:
                self.claimed(k, claim)

        def due(self, k: Known) -> bool:
            return k.work_dir is W.RETAINED and retention.is_due(k.as_work_dir(), self.now)

        @rule(one=executions)
        def delete(self, one: str) -> None:
            k = self.known[one]
            allowed = k.work_dir is W.DELETING or (k.work_dir is W.RETAINED and not k.pinned)
            if k.work_dir is W.DELETING:
                return
            claim = self.attempted(allowed, lambda tx: removals.delete(
                tx, one, k.attempt, "the user", "user", CLAIMANT))
            if claim is not None:
                self.claimed(k, claim)

        @rule(one=executions, dead=st.booleans())
        def take_over_the_deletion(self, one: str, dead: bool) -> None:
            """Another process continues; possible once the claim has run out, or its holder is dead."""
            k = self.known[one]
            with self.begin() as tx:
                claim = removals.take(tx, one, CLAIMANT, CLAIMANT.name if dead else None)
            run_out = k.claimed_until is None or k.claimed_until < self.now
            assert (claim is not None) == (k.work_dir is W.DELETING and (dead or run_out))
            if claim is not None:
                assert k.claim is not None
                self.late.append(k.claim)
                k.claim, k.claimed_until = claim, self.now + timedelta(seconds=CLAIMANT.seconds)

        @rule(one=executions)
        def secure(self, one: str) -> None:
            """Its results are safe: the point of no return."""
            k = self.known[one]
            if k.work_dir is W.DELETING:
                with self.begin() as tx:
                    removals.no_way_back(tx, k.claim)
                k.secured = True

        @rule(one=executions, passing=st.booleans())
        def give_the_deletion_up(self, one: str, passing: bool) -> None:
            """It is held, unless the point of no return is behind it."""
            k = self.known[one]
            if k.work_dir is not W.DELETING:
                return
            hold = Hold("not mounted", passing=passing)
            if self.attempted(not k.secured, lambda tx: removals.hold(tx, k.claim, hold, "s") or True):
                decision = retention.given_up(hold, k.as_work_dir(), self.now)
                k.work_dir, k.keep = W.RETAINED, decision.keep
                k.look_again_at, k.looks = decision.look_again_at, k.looks + 1
                self.late.append(k.claim)

        @rule(one=executions)
        def block(self, one: str) -> None:
            """Something cannot be removed."""
            k = self.known[one]
            if k.work_dir is W.DELETING:
                with self.begin() as tx:
                    removals.blocked(tx, k.claim, "busy", "s")
                k.claimed_until = None
                k.look_again_at, k.looks = self.now + retention.patience(k.looks), k.looks + 1

        @rule(one=executions)
        def remove(self, one: str) -> None:
            """The bytes were removed; only what is secured may go."""
            k = self.known[one]
            if k.work_dir is W.DELETING and k.secured:
                with self.begin() as tx:
                    removals.removed(tx, k.claim, "sweeper", RemovalProgress())
                k.work_dir, k.keep = W.DELETED, None
                self.late.append(k.claim)

        @rule(hours=st.sampled_from([0.01, 1.0, 47.0, 200.0]))
        def time_goes_on(self, hours: float) -> None:
            self.now += timedelta(hours=hours)

        @rule(hours=st.sampled_from([0.5, 24.0]))
        def the_clock_goes_back(self, hours: float) -> None:
            self.now = max(START, self.now - timedelta(hours=hours))

        # -- what must hold -------------------------------------------------------------------------

        @invariant()
        def the_store_agrees(self) -> None:
            for k in getattr(self, "known", {}).values():
                with self.begin() as tx:
                    e = queries.get(tx, k.id)
                    attempts = queries.attempts_of(tx, k.id)
                    events = queries.events_of(tx, k.id)
                assert (e.state, e.work_dir.state, e.work_dir.pinned) == (k.state, k.work_dir, k.pinned)
                assert e.attempt == k.attempt == len(attempts)
                assert (e.state in LIVE) == (e.work_dir.state is W.ACTIVE)
                assert (e.work_dir.keep, e.work_dir.looks) == (k.keep, k.looks)
                assert e.work_dir.look_again_at == k.look_again_at or e.work_dir.state is W.DELETED
                assert (e.work_dir.secured_at is not None) == (
                    k.secured and e.work_dir.state in (W.DELETING, W.DELETED))
                gone = [event.name for event in events if event.name in ("expire", "delete", "removed")]
                assert (e.work_dir.state is W.DELETED) == ("removed" in gone)
                assert events[0].name == "launch"

        @invariant()
        def a_sweep_takes_nothing_that_is_needed(self) -> None:
            if not hasattr(self, "known"):
                return
            with self.begin() as tx:
                found = [e for e in queries.to_sweep(tx) if e.id in self.known]
                planned = retention.plan(found, self.now)
            for line in planned:
                k = self.known[line.execution.id]
                if line.action == "delete":
                    assert self.due(k)
                    assert not k.pinned
                if line.action == "continue":
                    assert k.work_dir is W.DELETING

    return Life


def test_the_life_cycle(url: str):
    """Launch, fail, succeed, relaunch, cancel, extend, pin, expire, take over, clock jumps, in any order."""
    run_state_machine_as_test(machine(url), settings=settings(
        max_examples=30 if url.startswith("sqlite") else 10, stateful_step_count=40, deadline=None,
        suppress_health_check=list(HealthCheck)))
    store = Store.open(url)
    with store.begin(write=False) as tx:
        live = tx.conn.execute(sa.select(sa.func.count()).select_from(schema.executions)).scalar()
    store.close()
    assert live
