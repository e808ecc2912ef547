"""The sweep: one pass that settles lost attempts and deletes what is due.

Any number of sweeps may run at once, on any host. A sweep is many independent lines, several side by side:
an error, or an enormous removal, holds up no other.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nfresume.billing import enforcement, pricing
from nfresume.domain import retention
from nfresume.domain.costs import Price
from nfresume.domain.errors import Conflict, NfresumeError, NotFound, StaleClaim, StaleLease
from nfresume.domain.executions import ACCOUNT, Execution
from nfresume.domain.workdirs import RemovalProgress, WorkDirState
from nfresume.retained import deletion, disposal, places
from nfresume.runs import lost
from nfresume.settings import Settings
from nfresume.storage import Root, removal, trash
from nfresume.storage.workers import Pace
from nfresume.store import Store, clock, keeping, ledger, queries, removals
from nfresume.system import acting, processes

_log = logging.getLogger("nfresume.sweep")
#: So many lines of a sweep are worked on side by side.
SIDE_BY_SIDE = 8
#: How often a server looks for records whose time is over, and when it did so last, by root.
_LOOK_SECONDS = 3600.0
_looked: dict[tuple[str, str | None], float] = {}
#: One sweep of this process at a time tidies.
_tidying = threading.Lock()
#: What was done with a line that another sweep has.
ELSEWHERE = "another process is deleting it"
FASTER = "another process was faster"
#: A supervisor that is done carries out so many lines that are due.
A_LITTLE = 20


@dataclass(frozen=True)
class SweepLine:
    """One line of a sweep's report: what it did, or would do, with an execution, and why."""

    execution: Execution
    action: str
    reason: str
    done: str = ""
    error: str = ""
    removal: RemovalProgress | None = None


Progress = Callable[[Execution, RemovalProgress], None]


def sweep(
    store: Store, conf: Settings, *, dry_run: bool = False, progress: Progress = lambda _e, _r: None,
    stop: threading.Event | None = None, notify: Callable[[str], None] = lambda _: None,
    thorough: bool = True, pace: Pace | None = None,
) -> list[SweepLine]:
    """Settle lost attempts, then delete what is due; a dry run only returns the plan.

    An error with one execution is in its line, and the sweep goes on. When `stop` is set running removals
    pause, and the next sweep does the rest. `notify` gets messages that concern no single execution. Unless
    `thorough`, work dirs that stay kept are not listed, and recently tidied task caches are skipped. Sweeps
    that may overlap share a `pace`, so that the ceiling of the settings holds for all of them.
    """
    stop = stop or threading.Event()
    if not dry_run and (trouble := pricing.refresh(conf)):
        notify(f"the price of {conf.root} is not up to date: {trouble}")
    look = _look(store, conf, thorough=thorough)
    if not dry_run and look.price is not None:
        with store.begin() as tx:
            ledger.set_price(tx, *look.price)
    sweeping = _Sweep(store, conf, progress, stop, pace, dry_run=dry_run)
    lines = sweeping.side_by_side([partial(sweeping.reconcile, e) for e in look.lost])
    if look.lost:
        look = _look(store, conf, thorough=thorough)  # what was settled may be due
    planned = _with_evictions(store, conf, look.planned)
    if held := _clock_jumped(store, planned, noted=look.noted, note=not dry_run):
        notify(held)
        planned = [replace(line, action="keep", reason=held) if line.action in ("delete", "evict") else line
                   for line in planned]
    planned.sort(key=_by_size)
    lines += sweeping.side_by_side([partial(sweeping.carry_out, line) for line in planned])
    if not dry_run and not stop.is_set():
        _tell_what_expires_soon(store, look.near)
        if _tidying.acquire(blocking=False):
            try:
                _tidy(store, conf, look.roots, stop, notify, thorough=thorough)
            finally:
                _tidying.release()
        for trouble in enforcement.warn(store, conf, actor()):
            notify(trouble)
    return lines


def sweep_a_little(store: Store, conf: Settings, stop: threading.Event) -> list[SweepLine]:
    """Delete the first few work dirs of an account that are due: expiry then needs no server.

    `stop` pauses a removal, and what has not begun is left to the next sweep.
    """
    with store.begin(write=False) as tx:
        planned, noted = retention.plan(queries.due(tx), tx.now), clock.is_noted(tx, clock.uptime())
    mine = [line for line in planned
            if line.execution.account == conf.account and line.action in ("delete", "continue")]
    if _clock_jumped(store, mine, noted=noted, note=True):
        return []
    mine.sort(key=_by_size)
    sweeping = _Sweep(store, conf, lambda _e, _r: None, stop, None, dry_run=False)
    return [sweeping.carry_out(line) for line in mine[:A_LITTLE] if not stop.is_set()]


def _by_size(line: retention.PlanLine) -> float:
    """The smallest first, so that the few that are enormous hold up nobody.

    One that was never measured may be enormous.
    """
    files = line.execution.work_dir.files
    return math.inf if files is None else files


def actor() -> str:
    """The actor of a sweep's events."""
    return f"sweeper@{processes.signature()}"


class _Sweep:
    """Carries out the lines of one plan."""

    def __init__(
        self, store: Store, conf: Settings, progress: Progress, stop: threading.Event, pace: Pace | None, *,
        dry_run: bool,
    ) -> None:
        self._store = store
        self._conf = conf
        self._tell = progress
        self._telling = threading.Lock()
        self._stop = stop
        self._dry_run = dry_run
        self._pace = pace or disposal.pace_of(conf, stop)  # one ceiling for all lines

    def side_by_side(self, works: Sequence[Callable[[], SweepLine]]) -> list[SweepLine]:
        """Do all of these, some at a time; what has not begun when `stop` is set is left out."""
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="sweep") as pool:
            done = pool.map(lambda work: None if self._stop.is_set() else work(), works)
        return [line for line in done if line is not None]

    def reconcile(self, execution: Execution) -> SweepLine:
        """Settle a lost attempt, or start a new supervisor for it if its head is alive."""
        line = SweepLine(execution, "keep", "lost")

        def work() -> SweepLine:
            nonlocal line
            action, reason = lost.diagnose(self._store, self._conf, execution)
            line = SweepLine(execution, action, reason)
            if self._dry_run:
                return line
            done = lost.reconcile(self._store, self._conf, execution, action, reason, self._stop)
            return replace(line, done=done)

        return self._isolated(lambda: line, work)

    def carry_out(self, planned: retention.PlanLine) -> SweepLine:
        """Carry out one line of the plan; the next sweep tries again what went wrong."""
        line = SweepLine(planned.execution, planned.action, planned.reason)
        if self._dry_run or planned.action == "keep":
            return line
        return self._isolated(lambda: line, lambda: self._delete(line))

    def _isolated(self, line: Callable[[], SweepLine], work: Callable[[], SweepLine]) -> SweepLine:
        """Whatever goes wrong with one execution stays in its line: also a fault of ours."""
        try:
            with acting.for_account(self._conf, line().execution.account):
                return work()
        except (Conflict, StaleLease, StaleClaim):
            return replace(line(), done=FASTER)
        except (NfresumeError, OSError) as e:
            return replace(line(), error=str(e))
        except Exception as e:
            _log.exception("a fault of nfresume: %s", line().execution.id)
            return replace(line(), error=f"a fault of nfresume: {type(e).__name__}: {e}")

    def _delete(self, line: SweepLine) -> SweepLine:
        e = line.execution
        folder = places.folder_of(self._store, e)  # RootUnusable: the next sweep tries again
        if (reason := places.of_others(folder.path)) is not None:
            return replace(line, action="keep", reason=reason)
        if line.action == "continue":
            claim = deletion.take(self._store, e)
            if claim is None:
                return replace(line, done=ELSEWHERE)
        else:
            claimant = deletion.claimant()
            with self._store.begin() as tx:
                if line.action == "evict":
                    claim = removals.evict(tx, e.id, e.attempt, line.reason, actor(), claimant)
                else:
                    claim = removals.expire(tx, e.id, e.attempt, actor(), claimant)

        def tell(so_far: RemovalProgress) -> None:
            with self._telling:
                self._tell(e, so_far)

        done = deletion.delete(self._store, claim, actor(), self._pace, progress=tell)
        return self._told(line, done)

    def _told(self, line: SweepLine, done: deletion.Deleted) -> SweepLine:
        removed = done.removed
        if done.held is not None:
            return replace(line, done=f"kept: {done.held.reason}")
        if removed.blocked:
            text = f"not everything could be removed: {deletion.describe_blocked(removed)}"
        elif removed.stopped:
            text = f"paused after {removed.files} files; the next sweep goes on"
        else:
            text = f"deleted {removed.files} files, {removed.bytes} bytes on disk"
        with self._store.begin(write=False) as tx:
            so_far = queries.get(tx, line.execution.id).work_dir.removal
        return replace(line, done=text, removal=so_far)


def _tidy(
    store: Store, conf: Settings, roots: Iterable[queries.RootRecord], stop: threading.Event,
    notify: Callable[[str], None], *, thorough: bool,
) -> None:
    """Empty the trash; prune caches and old records account by account, with `run_as` as its user."""
    for root in (Root(Path(r.path), r.id, r.inode) for r in roots):
        if not conf.run_as:
            with contextlib.suppress(NfresumeError, OSError):  # the root is not there
                _drain_trash(store, conf, root, stop)
        for account in _accounts(root):
            try:
                with contextlib.suppress(NfresumeError), acting.for_account(conf, account):
                    if places.of_others(root.path / account) is None:
                        _tidy_account(store, conf, root, stop, notify, account, thorough=thorough)
            except OSError as e:  # the others go on
                notify(f"caches and records of account {account} cannot be tidied: {e}")


def _accounts(root: Root) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(path.name for path in root.path.iterdir()
                      if ACCOUNT.fullmatch(path.name) and path.is_dir())
    return []


def _tidy_account(
    store: Store, conf: Settings, root: Root, stop: threading.Event, notify: Callable[[str], None],
    account: str, *, thorough: bool,
) -> None:
    from nfresume.retained import (  # only here: a launch may settle a lost attempt, and is fast
        environments,
        old_records,
        task_caches,
    )

    if conf.run_as:
        _drain_trash(store, conf, root, stop)
    task_caches.tidy(store, conf, root, stop, thorough=thorough, only=account)
    environments.tidy(store, conf, root, stop, thorough=thorough, only=account)
    key = root.id, account
    if thorough or time.monotonic() - _looked.get(key, -_LOOK_SECONDS) >= _LOOK_SECONDS:
        _looked[key] = time.monotonic()
        old_records.expire(store, conf, root, stop, notify, account)


def _tell_what_expires_soon(store: Store, near: Iterable[Execution]) -> None:
    """Record an event for each work dir of which somebody wants to know that it expires soon."""
    for execution in near:
        assert execution.work_dir.expires_at is not None
        with store.begin() as tx:
            keeping.expiry_near(tx, execution.id, execution.work_dir.expires_at, actor())


@dataclass(frozen=True)
class _Look:
    """What a sweep asks the database, in one transaction: most sweeps find nothing to do.

    `price`: the root's id and its price, if that is to be stored. `noted`: the time was noted lately. `near`:
    work dirs of which somebody wants to know that they expire soon.
    """

    roots: list[queries.RootRecord]
    price: tuple[str, Price] | None
    lost: list[Execution]
    planned: list[retention.PlanLine]
    noted: bool
    near: list[Execution]


def _look(store: Store, conf: Settings, *, thorough: bool) -> _Look:
    with store.begin(write=False) as tx:
        roots = queries.all_roots(tx)
        mine = next((root for root in roots if root.path == str(conf.root)), None)
        price = pricing.unrecorded(tx, conf, mine) if mine is not None else None
        found = queries.to_sweep(tx) if thorough or conf.budgets else queries.due(tx)
        return _Look(roots, (mine.id, price) if mine is not None and price is not None else None,
                     queries.lost(tx, conf.lease_seconds), retention.plan(found, tx.now),
                     clock.is_noted(tx, clock.uptime()), queries.expiring(tx))


def _with_evictions(
    store: Store, conf: Settings, planned: list[retention.PlanLine]
) -> list[retention.PlanLine]:
    """The plan, and what budgets evict of what would stay."""
    if not conf.budgets:
        return planned
    staying = [line.execution for line in planned if line.action == "keep"]
    evicted = {line.execution.id: line for line in enforcement.plan(store, conf, staying)}
    return [evicted.get(line.execution.id, line) for line in planned]


def _clock_jumped(
    store: Store, planned: list[retention.PlanLine], *, noted: bool, note: bool
) -> str | None:
    """Why nothing may be deleted now: the clock may be wrong. None when it is plausible.

    `noted`: the time was noted lately. `note` it now, which a dry run does not.
    """
    due = any(line.action in ("delete", "evict") for line in planned)
    if noted and not due:
        return None
    with store.begin(write=note) as tx:
        held, now = clock.check(tx, clock.uptime(), note=note), tx.now
    if held is None or not due:
        return None
    return (f"the clock went ahead to {now:%Y-%m-%d %H:%M} UTC: until {held:%Y-%m-%d %H:%M} UTC nothing "
            f"expires, in case the clock is wrong; correct it, or delete by hand with `nfresume delete`")


def _drain_trash(store: Store, conf: Settings, root: Root, stop: threading.Event) -> None:
    """Remove trash entries that a crash left behind after their execution was marked DELETED."""
    for execution_id in trash.entries(root):
        if execution_id == trash.TASKS or _is_deleted(store, execution_id):
            removal.empty_trash(root, execution_id, pace=disposal.pace_of(conf, stop))


def _is_deleted(store: Store, execution_id: str) -> bool:
    """True for a deleted work dir. False for an unknown execution: a person decides (`nfresume doctor`)."""
    try:
        with store.begin(write=False) as tx:
            return queries.get(tx, execution_id).work_dir.state is WorkDirState.DELETED
    except NotFound:
        return False
