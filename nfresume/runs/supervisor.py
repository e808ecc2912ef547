"""The supervisor owns one attempt until it is settled: `python -m nfresume.runs.supervisor`.

It reads its order, one line of JSON, from standard input; without one it ends. It claims a queued attempt and
starts the head, or takes over a running attempt whose supervisor was lost. Then it follows the log, renews
the lease, stops the head on a cancel, and settles the attempt.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import sh

from nfresume import settings
from nfresume.domain.errors import Conflict, NfresumeError, StaleLease, StoreUnavailable
from nfresume.domain.executions import Attempt, Execution, ExecutionState, Lease
from nfresume.launchers import slurm
from nfresume.nextflow import command, options, trace
from nfresume.nextflow import log as nextflow_log
from nfresume.nextflow import processes as nextflow_processes
from nfresume.retained import disposal, places
from nfresume.retained.sampling import Sampler
from nfresume.runs import delivery, programs, settlement
from nfresume.storage.aside import set_aside
from nfresume.storage.root import ExecutionFolder, copy_if_exists
from nfresume.store import Store, queries, transitions
from nfresume.system import crashpoints, logs, pausing, processes

_log = logging.getLogger("nfresume.supervisor")
#: How often the log is read.
TICK_SECONDS = 0.25
#: How often the database is asked for a cancel.
STATE_SECONDS = 1.0
#: How long the head may take to end its tasks after SIGTERM.
STOP_SECONDS = 30.0
#: How long a supervisor that is done waits for the delivery of its notices.
NOTIFY_SECONDS = 30.0
_SHIM = Path(command.__file__).with_name("shim.py")


def main() -> None:
    """Supervise the execution named in the order on standard input."""
    line = sys.stdin.readline()
    if not line:
        return  # no order: the launch was refused, or the process that started us has died
    order = json.loads(line)
    with contextlib.suppress(OSError):  # full disk: our messages are lost, the outcome is in the database
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
    with logs.about(execution=order["execution"]):
        try:
            _run(order)
        except Exception:
            _log.exception("a fault of nfresume ended this supervisor; the next sweep sees to the attempt")
            with contextlib.suppress(OSError):  # beside the log, where `nfresume show` finds it
                Path(order["log"]).with_name(command.FAULT).write_text(traceback.format_exc())
            raise


def _run(order: dict[str, Any]) -> None:
    conf = settings.load(**order["settings"])
    logs.setup(conf.log_level, conf.log_format)
    store = Store.open(conf.database_url)
    notices = delivery.Sender(store, conf)
    try:
        supervise(store, conf, order["execution"], settled=notices.start)
    except (Conflict, StaleLease) as e:
        _log.info("nothing to do: %s", e)
    finally:
        for trouble in notices.join(NOTIFY_SECONDS):
            _log.warning("%s", trouble)
        store.close()


def supervise(
    store: Store, conf: settings.Settings, execution_id: str, stop: threading.Event | None = None,
    settled: Callable[[], None] = lambda: None,
) -> ExecutionState:
    """Own the current attempt until it is settled and its work dir removed or measured.

    `stop` pauses that removal or measurement. Without `stop` SIGTERM does so; a sweep passes its own `stop`,
    because it may run in a thread, which cannot handle signals. `settled` is called when the outcome is
    stored, before the removal or measurement.

    Raises Conflict when another supervisor owns the attempt, StaleLease when one took over meanwhile.
    """
    owner = transitions.Owner(processes.host(), processes.boot_id())
    with store.begin() as tx:
        queued = queries.get(tx, execution_id).state is ExecutionState.QUEUED
        own = transitions.claim if queued else transitions.take_over
        lease = own(tx, execution_id, owner, conf.lease_seconds)
        execution = queries.get(tx, execution_id)
        attempt = queries.attempt(tx, execution_id, lease.number)
    logs.bind(account=execution.account, attempt=lease.number)
    _log.info("%s with token %d", "claimed" if queued else "taken over", lease.token)
    crashpoints.reach("claimed")
    return _Supervisor(store, conf, execution, attempt, lease, stop, settled).run(start=queued)


class _Supervisor:
    def __init__(
        self, store: Store, conf: settings.Settings, execution: Execution, attempt: Attempt, lease: Lease,
        stop: threading.Event | None, settled: Callable[[], None],
    ) -> None:
        self._stop = stop
        self._settled = settled
        self._store = store
        self._conf = conf
        self._execution = execution
        self._attempt = attempt
        self._lease = lease
        self._actor = f"supervisor@{processes.host()}"
        self._folder: ExecutionFolder = places.folder_of(store, execution)
        self._attempt_dir = self._folder.attempt(attempt.number)
        self._log = nextflow_log.LogReader(self._attempt_dir / command.LOG)
        self._shim: int | None = None  # a pidfd, which becomes readable when the shim has ended
        self._stopping: float | None = None
        self._hung = False
        self._renewed = self._asked = 0.0
        self._sampler = Sampler(store, conf)
        self._sampled = time.monotonic()

    def run(self, *, start: bool) -> ExecutionState:
        lost_because = "Nextflow and its supervisor were lost (killed, or the host restarted)"
        try:
            if start:
                self._start()
            crashpoints.reach("spawned")
            self._follow()
        except StaleLease:
            raise  # another supervisor owns the attempt: stop nothing
        except NfresumeError as e:
            lost_because = e.message
        except (OSError, sh.ForkException) as e:
            lost_because = f"Nextflow could not be started: {' '.join(str(e).split())}"
        crashpoints.reach("followed")
        survivors = processes.stop(self._processes, heartbeat=self._tick)
        crashpoints.reach("head-ended")
        self._log.close()
        return self._settle(len(survivors), lost_because)

    # -- start ----------------------------------------------------------------------------------

    def _start(self) -> None:
        chosen = programs.find(self._conf, self._attempt.pipeline)
        with self._store.begin() as tx:  # raises StaleLease before anything is created
            transitions.engine_chosen(tx, self._lease, chosen.name, chosen.version)
        self._folder.provision(self._attempt.number)
        self._clear_predecessor()
        parsed = options.parse([self._attempt.pipeline, *self._attempt.options])
        run = command.Run(
            run_name=self._attempt.run_name, session_id=self._execution.session_id,
            resume=self._attempt.resume, work_dir=self._folder.work,
            cache_dir=self._folder.cache, attempt_dir=self._attempt_dir,
        )
        launch_dir = Path(self._execution.launch_dir)
        words = programs.argv(self._conf, chosen, run, self._execution, self._attempt, parsed)
        environment = programs.environment(self._conf, chosen, run, launch_dir, os.environ)
        stdout, stderr = self._attempt_dir / command.STDOUT, self._attempt_dir / command.STDERR
        crashpoints.reach("spawning")
        with stdout.open("ab") as out, stderr.open("ab") as err:
            shim = sh.Command(sys.executable)(
                "-I", "-S", str(_SHIM), str(self._attempt_dir), *words, _bg=True, _bg_exc=False,
                _new_session=True, _in=os.devnull, _out=out, _err=err, _cwd=str(launch_dir),
                _env=environment, _ok_code=list(range(256)),
            )
        self._shim = os.pidfd_open(shim.pid)

    def _clear_predecessor(self) -> None:
        """Stop what is left of the last attempt. If it died uncleanly, set its unfinished task dirs aside."""
        if self._attempt.number == 1:
            return
        with self._store.begin(write=False) as tx:
            before = queries.attempt(tx, self._execution.id, self._attempt.number - 1)
        if survivors := processes.stop(self._processes, heartbeat=self._tick):
            raise Conflict(f"{len(survivors)} processes of {before.run_name} could not be stopped")
        if before.clean_end:
            return
        seen = nextflow_log.read(self._folder.attempt(before.number) / command.LOG)
        if "slurm" in seen.executors and slurm.available():
            slurm.end_jobs(seen.jobs)
        moved = set_aside(self._folder.work, [t.hash for t in seen.unfinished], before.run_name)
        if moved:
            with self._store.begin() as tx:
                transitions.note(tx, self._execution.id, "set_aside", self._actor, {"task_dirs": moved})

    # -- follow ---------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Follow the head until the shim has written its exit status, or both are gone."""
        while settlement.exit_code(self._attempt_dir) is None:
            if self._shim_ended(TICK_SECONDS) or not self._head_lives():
                with contextlib.suppress(OSError):  # on a full disk no shim can start either
                    nextflow_processes.forbid_start(self._attempt_dir)
                if not self._head_lives():
                    return
            self._log.poll()
            self._tick()
            self._sample()
            self._end_if_hung()
            if self._stopping is not None and time.monotonic() - self._stopping > STOP_SECONDS:
                processes.stop(self._processes, grace=0.0, heartbeat=self._tick)

    def _end_if_hung(self) -> None:
        """Terminate a head that hangs: an error in the log, no running task, no new line for hang_seconds.

        Nextflow hangs so when the file system of its cache is full (`Unexpected thread exception`).
        """
        run = self._log.run
        if self._stopping is not None or not run.error or run.unfinished:
            return
        with contextlib.suppress(OSError):
            silent = time.time() - (self._attempt_dir / command.LOG).stat().st_mtime
            if silent > self._conf.hang_seconds:
                self._hung, self._stopping = True, time.monotonic()
                if found := nextflow_processes.read(self._attempt_dir):
                    found.terminate()

    def _sample(self) -> None:
        """Measure the work dir every sample_seconds; follow the log meanwhile. Stops when the head ends."""
        if time.monotonic() - self._sampled < self._conf.sample_seconds:
            return
        self._sampled = time.monotonic()
        ended = threading.Event()

        def watch() -> None:
            self._log.poll()
            self._tick()
            if self._stopping is not None or settlement.exit_code(self._attempt_dir) is not None:
                ended.set()

        with contextlib.suppress(StoreUnavailable):
            with self._store.begin(write=False) as tx:
                execution = queries.get(tx, self._execution.id)
            self._sampler.measure(execution, ended, watch)

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

    def _tick(self) -> None:
        """Renew the lease when it is time, and check for a cancel. A database that is down stops nothing."""
        now = time.monotonic()
        with contextlib.suppress(StoreUnavailable):
            if now - self._renewed > min(5.0, self._conf.lease_seconds / 4):
                self._renewed = self._asked = now
                with self._store.begin() as tx:
                    counts = self._log.run.counts
                    state = transitions.renew(tx, self._lease, self._conf.lease_seconds, counts)
            elif now - self._asked > STATE_SECONDS:
                self._asked = now
                with self._store.begin(write=False) as tx:
                    state = queries.get(tx, self._execution.id).state
            else:
                return
            if state is ExecutionState.CANCELLING and self._stopping is None:
                self._stopping = now
                if found := nextflow_processes.read(self._attempt_dir):
                    found.terminate()

    # -- settle ---------------------------------------------------------------------------------

    def _settle(self, survivors: int, lost_because: str) -> ExecutionState:
        self._tick()  # raises StaleLease if another supervisor took over while this one was suspended
        self._deliver_reports()
        evidence = settlement.gather(
            self._attempt, self._folder, self._log.run, survivors, lost_because, hung=self._hung,
        )
        state = self._persist(evidence)
        self._settled()
        with self._store.begin(write=False) as tx:
            execution = queries.get(tx, self._execution.id)
        with contextlib.ExitStack() as stack:
            stop = self._stop or stack.enter_context(pausing.pausable()).event
            if execution.work_dir.state == "DELETING":
                disposal.remove(self._store, self._conf, execution, self._actor, stop=stop)
            elif execution.work_dir.state == "RETAINED":
                disposal.record_size(self._store, self._conf, execution, stop)
        return state

    def _persist(self, evidence: settlement.Evidence) -> ExecutionState:
        """Settle the attempt; while the database is down, try again. The exit status is safe on disk."""
        wait = 0.2
        while True:
            try:
                return settlement.conclude(self._store, self._conf, self._lease, evidence, self._actor,
                                           self._folder, self._tick)
            except StoreUnavailable as e:
                _log.warning("%s; trying again in %.1f s", e, wait)
                time.sleep(wait)
                wait = min(wait * 2, 30.0)

    def _deliver_reports(self) -> None:
        """Write the trace, and copy the log to the path of the user's -log option."""
        parsed = options.parse([self._attempt.pipeline, *self._attempt.options])
        with contextlib.suppress(OSError):  # a full disk must not prevent the settlement
            trace.write(self._attempt_dir / command.TRACE, self._log.run)
            if parsed.log is not None:
                copy_if_exists(self._attempt_dir / command.LOG, Path(self._execution.launch_dir) / parsed.log)


if __name__ == "__main__":
    main()
