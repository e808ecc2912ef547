"""`nfresume serve`: sweeps on a schedule and serves the web. All state is in the database."""

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


def serve(conf: Settings, address: Address | None, *, schedule: bool = True) -> None:
    """Sweep on a schedule, and serve the console and the API at `address`, until SIGTERM or SIGINT.

    `address` None: no console and no API; `schedule` False: no sweeps. Several servers may run at once, on
    any hosts. The signal pauses a removal in progress, and the next sweep continues it. Executions do not
    stop with the server. Raises Conflict if the address is in use.
    """
    stop = threading.Event()
    store = Store.open(conf.database_url)
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread, so that all of them inherit it
    scheduler = _scheduler(store, conf, stop) if schedule else None
    web = _Web(conf, store, address) if address else None
    signal.sigwait(signals)
    stop.set()
    print("nfresume: stopping; a removal in progress is paused", file=sys.stderr, flush=True)
    if web is not None:
        web.stop()
    if scheduler is not None:
        scheduler.shutdown(wait=True)
    store.close()


def _scheduler(store: Store, conf: Settings, stop: threading.Event) -> BackgroundScheduler:
    # One interval job, not one job per work dir: each tick asks the database what is due, so that the next
    # one makes up for a missed one. misfire_grace_time=None: APScheduler would skip a job that starts late.
    # Notices have their own job, because a channel that does not answer must not delay a sweep.
    scheduler = BackgroundScheduler(timezone=UTC)
    sweep_args = (store, conf, Sampler(store, conf), stop, _ChangedLines())
    for job, args in ((tick, sweep_args), (_deliver, (store, conf))):
        scheduler.add_job(job, "interval", args=args, seconds=conf.sweep_seconds, coalesce=True,
                          max_instances=1, misfire_grace_time=None, next_run_time=datetime.now(UTC))
    scheduler.start()
    print(f"nfresume: sweeping every {conf.sweep_seconds:g} s", file=sys.stderr, flush=True)
    return scheduler


@dataclass(frozen=True)
class Address:
    """Where the web listens; port 0: any that is free."""

    host: str = "127.0.0.1"
    port: int = 8765


class _Web:
    """Uvicorn in its own thread; the main thread handles signals."""

    def __init__(self, conf: Settings, store: Store, address: Address) -> None:
        import uvicorn

        from nfresume.web import app, protocol

        behind_proxy = conf.web_url is not None
        protocol.LimitedProtocol.in_all = protocol.descriptors()
        protocol.LimitedProtocol.proxies = frozenset(conf.web_proxies) if behind_proxy else frozenset()
        self._server = uvicorn.Server(uvicorn.Config(
            app.create(conf, store), log_config=None, access_log=False, server_header=False,
            http=protocol.LimitedProtocol, ws="none", h11_max_incomplete_event_size=protocol.MAX_HEAD,
            # these proxies tell the client's address and scheme in X-Forwarded-* headers
            proxy_headers=behind_proxy, forwarded_allow_ips=list(conf.web_proxies),
            timeout_graceful_shutdown=5, timeout_keep_alive=30,
        ))
        self._application = self._server.config.app
        listener = _listen(address)
        host = f"[{address.host}]" if ":" in address.host else address.host
        url = f"http://{host}:{listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="web")
        self._thread.start()
        listening = f", listening at {url}" if conf.web_url else ""
        print(f"nfresume: serving at {conf.web_url or url}{listening}", file=sys.stderr, flush=True)
        if conf.web_url is None:
            secret = Identity(store).login_link(user_name(), conf.account)
            print(f"nfresume: log in with this link, which works once: {url}/login?token={secret}",
                  file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Stop the server. Event streams are closed first: an open one would delay the end by seconds."""
        self._application.state.changes.close()  # type: ignore[union-attr]
        self._server.should_exit = True
        self._thread.join()


def _listen(address: Address) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=2048)
    except OSError as e:
        raise Conflict(f"cannot listen on {address.host}:{address.port}: {e.strerror or e}",
                       "choose another: nfresume serve --port 8766") from None


class _ChangedLines:
    """Prints a line unless it is the same as the line before: every tick may repeat its warning."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, line: str) -> None:
        if line != self._last:
            print(f"nfresume: {line}", file=sys.stderr, flush=True)
        self._last = line


def tick(
    store: Store, conf: Settings, sampler: Sampler, stop: threading.Event, notify: Callable[[str], None]
) -> None:
    """Sweep once, and measure what is due. An NfresumeError is printed, and the next tick tries again."""
    try:
        for line in sweeper.sweep(store, conf, stop=stop, notify=notify, thorough=False):
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
    """Measure each work dir whose last sample is older than sample_seconds."""
    with store.begin(write=False) as tx:
        due = queries.to_measure(tx, conf.sample_seconds)
    for execution in due:
        if stop.is_set() or not sampler.measure(execution, stop):
            return
