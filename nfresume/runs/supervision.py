"""Supervise one attempt: own it from its claim until it is settled and its work dir is dealt with.

Claims a queued attempt and starts the head, or takes over a running attempt whose supervisor was lost. Then
it follows the log, stops the head on a cancel, and settles the attempt. A thread renews the lease meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import sh

from nfresume import settings
from nfresume.domain.errors import NfresumeError, StaleLease, StoreUnavailable
from nfresume.domain.executions import Attempt, Execution, ExecutionState, Lease
from nfresume.domain.workdirs import Claim, WorkDirState
from nfresume.nextflow import command, summary
from nfresume.nextflow import processes as nextflow_processes
from nfresume.retained import deletion, disposal, places
from nfresume.retained.sampling import Sampler
from nfresume.runs import (
    expiration,
    lean_running,
    lean_watch,
    log_copies,
    relaunching,
    settlement,
    starting,
    verdict,
)
from nfresume.runs.lean_needs import Needs
from nfresume.runs.recorder import Recorder
from nfresume.storage.root import ExecutionFolder
from nfresume.store import Store, guarded, queries, transitions
from nfresume.system import crashpoints, logs, pausing, processes
from nfresume.system.renewal import Renewal

_log = logging.getLogger("nfresume.supervisor")
#: How often the log is read.
TICK_SECONDS = 0.25
#: How often the database is asked for a cancel.
STATE_SECONDS = 1.0
#: So long a head is followed although its files cannot be read.
AWAY_SECONDS = 600.0
#: How long the head may take to end its tasks after SIGTERM.
STOP_SECONDS = 30.0


def supervise(
    store: Store, conf: settings.Settings, execution_id: str, stop: threading.Event | None = None,
    settled: Callable[[], None] = lambda: None,
    lost_because: str = "Nextflow and its supervisor were lost (killed, or the host restarted)",
    stdin: int | str | None = None, *, once: bool = False,
) -> ExecutionState:
    """Own the current attempt until it is settled and its work dir removed or measured.

    If it needed files that lean retention has emptied, this goes on with a new attempt that makes them again.
    With `once` that attempt stays QUEUED, for a supervisor of its own.
    `stop` pauses that removal or measurement; in the main thread SIGTERM sets it. `settled` is called when
    the outcome is stored, before the removal or measurement. `stdin` is what the head reads: a descriptor, or
    the path of a file (default: nothing).

    Raises Conflict when another supervisor owns the attempt, StaleLease when one took over meanwhile.
    """
    while True:
        supervisor, queued = _own(store, conf, execution_id, stop, settled, lost_because, stdin)
        done = supervisor.run(start=queued)
        if not done.goes_on:
            return done.state
        if once:
            return ExecutionState.QUEUED


def _own(
    store: Store, conf: settings.Settings, execution_id: str, stop: threading.Event | None,
    settled: Callable[[], None], lost_because: str, stdin: int | str | None,
) -> tuple[_Supervisor, bool]:
    """Claim the current attempt, or take it over. True: it is to be started."""
    owner = transitions.Owner(conf.host, processes.boot_id())
    with store.begin() as tx:
        queued = queries.get(tx, execution_id).state is ExecutionState.QUEUED
        own = transitions.claim if queued else transitions.take_over
        lease = own(tx, execution_id, owner, conf.lease_seconds)
        execution = queries.get(tx, execution_id)
        attempt = queries.attempt(tx, execution_id, lease.number)
    logs.bind(account=execution.account, attempt=lease.number)
    _log.info("%s with token %d", "claimed" if queued else "taken over", lease.token)
    crashpoints.reach("claimed")
    return _Supervisor(store, conf, execution, attempt, lease, stop, settled, lost_because, stdin), queued


class _Supervisor:
    def __init__(
        self, store: Store, conf: settings.Settings, execution: Execution, attempt: Attempt, lease: Lease,
        stop: threading.Event | None, settled: Callable[[], None], lost_because: str,
        stdin: int | str | None,
    ) -> None:
        self._lost_because = lost_because
        self._stdin = stdin
        self._stop = stop
        self._settled = settled
        self._store = store
        self._conf = conf
        self._execution = execution
        self._attempt = attempt
        self._lease = lease
        self._actor = f"supervisor@{conf.host}"
        self._folder: ExecutionFolder = places.folder_of(store, execution)
        self._attempt_dir = self._folder.attempt(attempt.number)
        self._recorder = Recorder(self._folder, attempt.number, lease.token, conf.keep_task_logs)
        self._shim: int | None = None  # a pidfd, which becomes readable when the shim has ended
        self._stopping: float | None = None
        self._hung = False
        self._watch = lean_watch.Watch(self._folder, attempt.number, attempt.pipeline)
        self._freeing = lean_running.Freeing(store, conf, execution, attempt, self._folder, self._actor)
        self._asked = 0.0
        self._renewal: Renewal
        self._sampler = Sampler(store, conf)
        self._sampled = time.monotonic()

    def run(self, *, start: bool) -> settlement.Concluded:
        with Renewal(self._renew, min(5.0, self._conf.lease_seconds / 4)) as self._renewal:
            try:
                lost_because = self._until_the_end(start=start)
                survivors = self._stop_processes()
                crashpoints.reach("head-ended")
                log = self._recorder.finish(self._renewal.check)
            except BaseException:
                self._recorder.abandon()
                raise
            done = self._settle(log, len(survivors), lost_because)
        self._copy_log()
        if done.goes_on:
            relaunching.go_on(self._folder, self._execution, self._attempt)
            crashpoints.reach("goes-on")
            return done
        self._settled()
        self._see_to_the_work_dir(done.claim)
        return done

    def _until_the_end(self, *, start: bool) -> str:
        """Start the head if need be, and follow it. Returns why it was lost if it left no exit status."""
        lost_because = self._lost_because
        try:
            if start:
                self._shim = starting.Start(
                    self._store, self._conf, self._execution, self._attempt, self._lease, self._folder,
                    self._actor, self._stdin, self._stop_processes, self._freeing.guard, self._renewal.check,
                ).run()
            crashpoints.reach("spawned")
            self._follow()
        except StaleLease:
            raise  # another supervisor owns the attempt: nothing of it is ours to stop
        except NfresumeError as e:
            lost_because = e.message
        except (OSError, sh.ForkException) as e:
            lost_because = f"Nextflow could not be started: {' '.join(str(e).split())}"
        crashpoints.reach("followed")
        return lost_because

    # -- follow ---------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Follow the head until the shim has written its exit status, or both are gone.

        A file server that gives errors for a while is no reason to end the head, which may not even notice.
        """
        well = time.monotonic()
        while True:
            try:
                if self._has_ended():
                    return
                well = time.monotonic()
            except OSError as e:
                if time.monotonic() - well > AWAY_SECONDS:
                    raise
                _log.warning("Nextflow's files cannot be read now: %s", e)
                self._tick()
                time.sleep(STATE_SECONDS)

    def _has_ended(self) -> bool:
        """True when the head has ended; else wait a moment, and see to what happens meanwhile."""
        if verdict.exit_code(self._attempt_dir) is not None:
            return True
        if self._shim_ended(TICK_SECONDS) or not self._head_lives():
            with contextlib.suppress(OSError):  # on a full disk no shim can start either
                nextflow_processes.forbid_start(self._attempt_dir)
            if not self._head_lives():
                return True
        self._look()
        self._sample()
        self._free()
        self._end_if_hung()
        self._end_if_emptied_is_needed()
        if self._stopping is not None and time.monotonic() - self._stopping > STOP_SECONDS:
            processes.stop(self._processes, grace=0.0, heartbeat=self._tick)
        return False

    def _look(self) -> None:
        """Record what is new in the log, and see whether to stop."""
        self._recorder.poll()
        self._tick()

    def _end_if_hung(self) -> None:
        """Terminate a head that hangs: an error in the log, no running task, no new line for hang_seconds.

        Nextflow hangs so when the file system of its cache is full (`Unexpected thread exception`).
        """
        seen = self._recorder.summary
        if self._stopping is not None or not seen.engine_failed or seen.unfinished:
            return
        with contextlib.suppress(OSError):
            silent = time.time() - (self._attempt_dir / command.LOG).stat().st_mtime
            if silent > self._conf.hang_seconds:
                self._hung, self._stopping = True, time.monotonic()
                if found := nextflow_processes.read(self._attempt_dir):
                    found.terminate()

    def _end_if_emptied_is_needed(self) -> None:
        """End the head when a task needs an emptied file, or has read one."""
        if self._stopping is None and self._watch.must_end(self._recorder.summary):
            self._stopping = time.monotonic()
            if found := nextflow_processes.read(self._attempt_dir):
                found.terminate()

    def _sample(self) -> None:
        """Measure the work dir every sample_seconds; follow the log meanwhile. Stops when the head ends."""
        if time.monotonic() - self._sampled < self._conf.sample_seconds:
            return
        self._sampled = time.monotonic()
        ended = threading.Event()

        def watch() -> None:
            self._look()
            if self._stopping is not None or verdict.exit_code(self._attempt_dir) is not None:
                ended.set()

        with contextlib.suppress(StoreUnavailable):
            with self._store.begin(write=False) as tx:
                execution = queries.get(tx, self._execution.id)
            self._sampler.measure(execution, ended, watch)

    def _free(self) -> None:
        """Empty what nobody will read any more, if that is wished."""
        if self._freeing.poll(self._look):
            self._watch.look_again()

    def _shim_ended(self, seconds: float) -> bool:
        """Wait up to `seconds`; True when the shim that this process started has ended."""
        if self._shim is None:
            time.sleep(seconds)
            return False
        return bool(select.select([self._shim], [], [], seconds)[0])

    def _head_lives(self) -> bool:
        """True while the head runs, or the shim that is to write its exit status."""
        found = nextflow_processes.read(self._attempt_dir)
        if found is None:
            return bool(self._processes())  # the shim has not written its record yet
        return found.alive or any(p.pid == found.shim for p in self._processes())

    def _processes(self) -> list[psutil.Process]:
        """Every process on this host that this attempt or an earlier one started."""
        attempts = self._attempt_dir.parent
        return nextflow_processes.of_execution(self._execution.id, attempts, self._attempt.number)

    def _stop_processes(self) -> list[psutil.Process]:
        """End them. Returns those that could not be ended."""
        return processes.stop(self._processes, heartbeat=self._tick)

    def _renew(self) -> None:
        with self._store.begin() as tx:
            transitions.renew(tx, self._lease, self._conf.lease_seconds, self._recorder.summary.counts)

    def _tick(self) -> None:
        """Stop when the lease is lost; check for a cancel. A database that is down stops nothing."""
        self._renewal.check()
        now = time.monotonic()
        if now - self._asked < STATE_SECONDS or self._stopping is not None:
            return
        self._asked = now
        with contextlib.suppress(StoreUnavailable):
            with self._store.begin(write=False) as tx:
                state = queries.get(tx, self._execution.id).state
            if state is ExecutionState.CANCELLING:
                self._stopping = now
                if found := nextflow_processes.read(self._attempt_dir):
                    found.terminate()

    # -- settle ---------------------------------------------------------------------------------

    def _settle(
        self, log: summary.Summary, survivors: int, lost_because: str
    ) -> settlement.Concluded:
        with contextlib.suppress(StoreUnavailable):
            self._renew()  # raises StaleLease if another one took over while this process was suspended
        log_copies.to_launch_dir(self._folder, self._execution, self._attempt)
        evidence = verdict.gather(
            self._attempt, self._folder, log, survivors, lost_because,
            Path(self._execution.launch_dir), hung=self._hung,
            here=verdict.ran_here(self._attempt, self._conf),
        )
        needs = self._needs(log)
        wait = 0.2
        while True:  # while the database is down; the exit status is safe on disk
            try:
                hours_unknown = expiration.read_declared(
                    self._store, self._execution, self._attempt, self._folder, self._actor)
                return settlement.conclude(self._store, self._conf, self._lease, evidence, self._actor,
                                           self._folder, self._renewal.check, hours_unknown, needs)
            except StoreUnavailable as e:
                _log.warning("%s; trying again in %.1f s", e, wait)
                time.sleep(wait)
                wait = min(wait * 2, 30.0)

    def _needs(self, log: summary.Summary) -> Needs:
        """What the attempt needed of emptied files. What cannot be told holds the work dir."""
        try:
            return self._watch.conclude(log)
        except (NfresumeError, OSError) as e:
            return Needs(read={f"perhaps an emptied file ({e})"})

    def _see_to_the_work_dir(self, claim: Claim | None) -> None:
        """Delete it, or measure it."""
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(pausing.pausable(self._stop)).event
            if claim is not None:
                deletion.delete(self._store, claim, self._actor, disposal.pace_of(self._conf, stop))
            with self._store.begin(write=False) as tx:
                execution = queries.get(tx, self._execution.id)
            if execution.work_dir.state is WorkDirState.RETAINED:
                disposal.record_size(self._store, self._conf, execution, stop)

    def _copy_log(self) -> None:
        """Copy the log to the pipeline's `log_dir`, and say so in the history."""
        if told := log_copies.copy(self._folder, self._execution, self._attempt):
            with contextlib.suppress(StoreUnavailable), self._store.begin() as tx:
                guarded.note(tx, self._execution.id, "log_copied", self._actor, told)
