"""`nfresume serve`: APScheduler ticks, each tick one sweep. State is in the database, never here."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler

from nfresume import notifying, sweeper
from nfresume.errors import NfresumeError
from nfresume.sampling import Sampler
from nfresume.settings import Settings
from nfresume.store import Store, queries


def serve(conf: Settings) -> None:
    """Sweep until SIGTERM or SIGINT; a removal that is under way pauses, the next sweep goes on with it."""
    stop = threading.Event()
    store = Store.open(conf.database_url)
    # One interval tick, never one job per work dir: a missed tick is made up by the next, and what is
    # due is asked of the database. APScheduler's default would drop late jobs for good.
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(
        tick, "interval", args=(store, conf, Sampler(store, conf), stop, _Notes()),
        seconds=conf.sweep_seconds, coalesce=True, max_instances=1, misfire_grace_time=None,
        next_run_time=datetime.now(UTC),
    )
    scheduler.add_job(  # of its own: a channel that does not answer must not keep a sweep waiting
        _deliver, "interval", args=(store, conf), seconds=conf.sweep_seconds, coalesce=True, max_instances=1,
        misfire_grace_time=None, next_run_time=datetime.now(UTC),
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


class _Notes:
    """Says a line that may come with every tick once, until another one comes."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, line: str) -> None:
        if line != self._last:
            print(f"nfresume: {line}", file=sys.stderr, flush=True)
        self._last = line


def tick(
    store: Store, conf: Settings, sampler: Sampler, stop: threading.Event, notify: Callable[[str], None]
) -> None:
    """One sweep and one round of measuring; what fails is said, and tried again next time."""
    try:
        for line in sweeper.sweep(store, conf, stop=stop, notify=notify):
            if line.action != "keep" or line.error:
                print(f"nfresume: {line.execution.id}: {line.action} ({line.reason}): "
                      f"{line.error or line.done}", file=sys.stderr, flush=True)
        _sample(store, conf, sampler, stop)
    except NfresumeError as e:
        print(f"nfresume: {e}", file=sys.stderr, flush=True)


def _deliver(store: Store, conf: Settings) -> None:
    notices = notifying.Sender(store, conf)
    notices.start()
    for trouble in notices.join(notifying.SEND_SECONDS):
        print(f"nfresume: {trouble}", file=sys.stderr, flush=True)


def _sample(store: Store, conf: Settings, sampler: Sampler, stop: threading.Event) -> None:
    """One round of measuring what is due."""
    with store.begin(write=False) as tx:
        due = queries.to_measure(tx, conf.sample_seconds)
    for execution in due:
        if stop.is_set() or not sampler.measure(execution, stop):
            return
