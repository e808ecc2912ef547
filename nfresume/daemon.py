"""`nfresume serve`: APScheduler ticks, each one a sweep, and the web. State is in the database alone."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler

from nfresume.domain.errors import Conflict, NfresumeError
from nfresume.retained.sampling import Sampler
from nfresume.runs import delivery, sweeper
from nfresume.service.identity import Identity
from nfresume.settings import Settings, user_name
from nfresume.store import Store, queries


def serve(conf: Settings, where: Where | None, *, schedule: bool = True) -> None:
    """Sweep on schedule, and serve the console and the API at `where` (None: neither), until a signal.

    State is in the database: any number of these may run, on any hosts. When SIGTERM or SIGINT comes, a
    removal that is under way pauses, and the next sweep goes on with it; executions go on in any case.
    """
    stop = threading.Event()
    store = Store.open(conf.database_url)
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread, so that all of them inherit it
    scheduler = _scheduler(store, conf, stop) if schedule else None
    web = _Web(conf, store, where) if where else None
    signal.sigwait(signals)
    stop.set()
    print("nfresume: stopping; a removal that is under way pauses", file=sys.stderr, flush=True)
    if web is not None:
        web.stop()
    if scheduler is not None:
        scheduler.shutdown(wait=True)
    store.close()


def _scheduler(store: Store, conf: Settings, stop: threading.Event) -> BackgroundScheduler:
    # One interval tick, never one job per work dir: a missed tick is made up by the next, and what is
    # due is asked of the database. APScheduler's default would drop late jobs for good. Notices have a job
    # of their own: a channel that does not answer must not keep a sweep waiting.
    scheduler = BackgroundScheduler(timezone=UTC)
    for job, args in ((tick, (store, conf, Sampler(store, conf), stop, _Notes())), (_deliver, (store, conf))):
        scheduler.add_job(job, "interval", args=args, seconds=conf.sweep_seconds, coalesce=True,
                          max_instances=1, misfire_grace_time=None, next_run_time=datetime.now(UTC))
    scheduler.start()
    print(f"nfresume: sweeping every {conf.sweep_seconds:g} s", file=sys.stderr, flush=True)
    return scheduler


@dataclass(frozen=True)
class Where:
    """Address and port of the web; port 0: any that is free."""

    host: str = "127.0.0.1"
    port: int = 8765


class _Web:
    """Uvicorn in a thread of its own; signals are the main thread's."""

    def __init__(self, conf: Settings, store: Store, where: Where) -> None:
        import uvicorn

        from nfresume.web import app

        self._server = uvicorn.Server(uvicorn.Config(
            app.create(conf, store), log_level="warning", access_log=False, server_header=False,
            # behind a reverse proxy of this host: who asks, and by which scheme, is what it says
            proxy_headers=conf.web_url is not None, forwarded_allow_ips="127.0.0.1",
            timeout_graceful_shutdown=5, timeout_keep_alive=30,
        ))
        self._application = self._server.config.app
        listener = _listen(where)
        address = f"http://{where.host}:{listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="web")
        self._thread.start()
        where_else = f", listening at {address}" if conf.web_url else ""
        print(f"nfresume: serving at {conf.web_url or address}{where_else}", file=sys.stderr, flush=True)
        if conf.web_url is None:
            secret = Identity(store).login_link(user_name(), conf.account)
            print(f"nfresume: log in, once, at {address}/login?token={secret}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """End streams first: a browser that listens would otherwise keep the server for seconds."""
        self._application.state.changes.close()  # type: ignore[union-attr]
        self._server.should_exit = True
        self._thread.join()


def _listen(where: Where) -> socket.socket:
    try:
        return socket.create_server((where.host, where.port), backlog=2048, reuse_port=False)
    except OSError as e:
        raise Conflict(f"cannot listen on {where.host}:{where.port}: {e.strerror or e}",
                       "choose another: nfresume serve --port 8766") from None


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
        for line in sweeper.sweep(store, conf, stop=stop, notify=notify, whole=False):
            if line.action != "keep" or line.error:
                print(f"nfresume: {line.execution.id}: {line.action} ({line.reason}): "
                      f"{line.error or line.done}", file=sys.stderr, flush=True)
        _sample(store, conf, sampler, stop)
    except NfresumeError as e:
        print(f"nfresume: {e}", file=sys.stderr, flush=True)


def _deliver(store: Store, conf: Settings) -> None:
    for trouble in delivery.deliver(store, conf):
        print(f"nfresume: {trouble}", file=sys.stderr, flush=True)


def _sample(store: Store, conf: Settings, sampler: Sampler, stop: threading.Event) -> None:
    """One round of measuring what is due."""
    with store.begin(write=False) as tx:
        due = queries.to_measure(tx, conf.sample_seconds)
    for execution in due:
        if stop.is_set() or not sampler.measure(execution, stop):
            return
