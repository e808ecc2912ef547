"""`nfresume serve`: APScheduler ticks, each tick one sweep. State is in the database, never here."""

from __future__ import annotations

import signal
import sys
import threading
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler

from nfresume import disposal, sweeper
from nfresume.errors import NfresumeError
from nfresume.executions import Execution
from nfresume.settings import Settings
from nfresume.store import Store, queries
from nfresume.workdirs import WorkDirState


def serve(conf: Settings) -> None:
    """Sweep until SIGTERM or SIGINT; a removal that is under way pauses, the next sweep goes on with it."""
    stop = threading.Event()
    store = Store.open(conf.database_url)
    # One interval tick, never one job per work dir: a missed tick is made up by the next, and what is
    # due is asked of the database. APScheduler's default would drop late jobs for good.
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(
        tick, "interval", args=(store, conf, stop), seconds=conf.sweep_seconds, coalesce=True,
        max_instances=1, misfire_grace_time=None, next_run_time=datetime.now(UTC),
    )
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread, so that all of them inherit it
    scheduler.start()
    print(f"nfresume: sweeping every {conf.sweep_seconds:g} s", file=sys.stderr, flush=True)
    signal.sigwait(signals)
    stop.set()
    print("nfresume: stopping; a removal that is under way pauses", file=sys.stderr, flush=True)
    scheduler.shutdown(wait=True)
    store.close()


def tick(store: Store, conf: Settings, stop: threading.Event) -> None:
    """One sweep and one round of measuring; what fails is said, and tried again next time."""
    try:
        for line in sweeper.sweep(store, conf, stop=stop):
            if line.action != "keep" or line.error:
                print(f"nfresume: {line.execution.id}: {line.action} ({line.reason}): "
                      f"{line.error or line.done}", file=sys.stderr, flush=True)
        _measure(store, conf, stop)
    except NfresumeError as e:
        print(f"nfresume: {e}", file=sys.stderr, flush=True)


def _measure(store: Store, conf: Settings, stop: threading.Event) -> None:
    """Measure retained work dirs that no supervisor got to measure, or not all of."""
    with store.begin(write=False) as tx:
        unmeasured = [e for e in queries.to_sweep(tx) if e.work_dir.state is WorkDirState.RETAINED
                      and e.work_dir.measured_at is None]
    for execution in unmeasured:
        if not stop.is_set():
            _measure_one(store, conf, execution, stop)


def _measure_one(store: Store, conf: Settings, execution: Execution, stop: threading.Event) -> None:
    try:
        disposal.record_size(store, conf, execution, stop)
    except (NfresumeError, OSError) as e:
        print(f"nfresume: {execution.id}: not measured: {e}", file=sys.stderr, flush=True)
