"""`nfresume serve`: sweeps on a schedule and serves the web. All state is in the database."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType

from apscheduler.schedulers.background import BackgroundScheduler

from nfresume.domain.errors import Conflict, NfresumeError
from nfresume.retained import disposal
from nfresume.retained.sampling import Sampler
from nfresume.runs import delivery, sweeper
from nfresume.service import separation
from nfresume.service.health import Health
from nfresume.service.identity import Identity
from nfresume.settings import Settings, user_name
from nfresume.storage.workers import Pace
from nfresume.store import Store, queries
from nfresume.system import logs, systemd
from nfresume.system.systemd import Systemd

_log = logging.getLogger("nfresume.serve")
#: How often systemd hears that the server is alive, if it does not say how often it wants to.
_WATCHDOG_SECONDS = 10.0
#: Signals within this time are one.
_TWICE_SECONDS = 1.0
#: So many sweeps of one server may overlap.
SWEEPS = 8


def serve(conf: Settings, address: Address | None, *, schedule: bool = True) -> None:
    """Sweep on a schedule, and serve the console and the API at `address`, until a signal ends it.

    `address` None: no console and no API; `schedule` False: no sweeps. Several servers may run at once, on
    any hosts. The signal (SIGTERM, SIGINT, SIGHUP) pauses a removal in progress, and the next sweep continues
    it. Executions do not stop with the server. Raises Conflict if the address is in use.
    """
    manager = systemd.take()
    logs.setup(conf.log_level, conf.log_format, queued=True)
    stop = threading.Event()
    store = Store.open(conf.database_url)
    health = Health(scheduled=schedule, web=address is not None)
    separation.check(conf, store)
    signals = _signals()
    scheduler = _scheduler(store, conf, stop, health) if schedule else None
    web = _Web(conf, store, address, health) if address else None
    manager.notify("READY=1")
    _wait(signals, health, manager)
    stop.set()
    manager.notify("STOPPING=1")
    _log.info("stopping; a removal in progress is paused")
    if web is not None:
        web.stop()
    if scheduler is not None:
        scheduler.shutdown(wait=True)
    store.close()


def _signals() -> socket.socket:
    """A socket that becomes readable with SIGTERM, SIGINT or SIGHUP, whichever thread gets it.

    A second one ends this process at once; `timeout` sends the first one twice. No signal is blocked: what
    this server starts would inherit that, Nextflow and its tasks too.
    """
    heard, far = socket.socketpair()
    far.setblocking(False)
    signal.set_wakeup_fd(far.detach(), warn_on_full_buffer=False)
    first: list[float] = []

    def arrive(number: int, _frame: FrameType | None) -> None:
        first.append(time.monotonic())
        if first[-1] - first[0] > _TWICE_SECONDS:
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, arrive)
    return heard


def _wait(signals: socket.socket, health: Health, manager: Systemd) -> None:
    """Wait for a signal. Meanwhile systemd hears that this server is alive, as long as it is."""
    seconds = manager.watchdog_seconds or _WATCHDOG_SECONDS
    while not select.select([signals], [], [], seconds)[0]:
        if health.alive:
            manager.notify("WATCHDOG=1")
        else:
            _log.error("the web has not answered for %d s", health.clock() - health.beat)


def _scheduler(store: Store, conf: Settings, stop: threading.Event, health: Health) -> BackgroundScheduler:
    # One interval job, not one job per work dir: each tick asks the database what is due, so that the next
    # one makes up for a missed one. misfire_grace_time=None: APScheduler would skip a job that starts late.
    # Sweeps overlap: one that is at an enormous work dir must not keep others from expiring. Claims in the
    # database keep them apart. Notices and measurements have jobs of their own, which do not delay a sweep.
    scheduler = BackgroundScheduler(timezone=UTC, executors={"default": {
        "type": "threadpool", "max_workers": SWEEPS + 2}})
    sweeping = (store, conf, disposal.pace_of(conf, stop), stop, _ChangedLines(), health)
    for job, most, args in ((tick, SWEEPS, sweeping), (_sample, 1, (store, conf, Sampler(store, conf), stop)),
                            (_deliver, 1, (store, conf))):
        scheduler.add_job(job, "interval", args=args, seconds=conf.sweep_seconds, coalesce=True,
                          max_instances=most, misfire_grace_time=None, next_run_time=datetime.now(UTC))
    scheduler.start()
    _log.info("sweeping every %g s", conf.sweep_seconds)
    return scheduler


@dataclass(frozen=True)
class Address:
    """Where the web listens; port 0: any that is free."""

    host: str = "127.0.0.1"
    port: int = 8765


class _Web:
    """Uvicorn in its own thread; the main thread handles signals."""

    def __init__(self, conf: Settings, store: Store, address: Address, health: Health) -> None:
        import uvicorn

        from nfresume.web import app, protocol
        from nfresume.web.server import Server

        behind_proxy = conf.web_url is not None
        protocol.LimitedProtocol.in_all = protocol.descriptors()
        protocol.LimitedProtocol.proxies = frozenset(conf.web_proxies) if behind_proxy else frozenset()
        self._server = Server(uvicorn.Config(
            app.create(conf, store, health), log_config=None, access_log=False, server_header=False,
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
        _log.info("serving at %s%s", conf.web_url or url, listening)
        if conf.web_url is None:
            logs.drain()  # the link is the last of what the server says at its start
            secret = Identity(store).login_link(user_name(), conf.account)
            _say(f"log in with this link, which works once: {url}/login?token={secret}")
        if not conf.web_pipelines:
            _log.info("no launches from the web: the setting web_pipelines lists no pipeline")
        if conf.oidc_issuer and not conf.oidc_admit:
            _log.warning("nobody can log in with the provider: the setting oidc_admit admits nobody")

    def stop(self) -> None:
        """Stop the server. Event streams are closed first: an open one would delay the end by seconds."""
        self._application.state.changes.close()  # type: ignore[union-attr]
        self._server.end()
        self._thread.join()


def _say(line: str) -> None:
    """Tell the user at the terminal what must not be in a log. Nobody may be reading."""
    with contextlib.suppress(OSError):
        print(f"nfresume: {line}", file=sys.stderr, flush=True)


def _listen(address: Address) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=2048)
    except OSError as e:
        raise Conflict(f"cannot listen on {address.host}:{address.port}: {e.strerror or e}",
                       "choose another: nfresume serve --port 8766") from None


class _ChangedLines:
    """Logs a line unless it is the same as the line before: every tick may repeat its warning."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, line: str) -> None:
        if line != self._last:
            _log.warning("%s", line)
        self._last = line


def tick(
    store: Store, conf: Settings, pace: Pace, stop: threading.Event, notify: Callable[[str], None],
    health: Health,
) -> None:
    """Sweep once. An error is logged, and the next tick tries again."""
    try:
        for line in sweeper.sweep(store, conf, stop=stop, notify=notify, thorough=False, pace=pace):
            if line.removal is not None and line.done.startswith("deleted"):
                health.removed(line.removal.files, line.removal.bytes)
            _log_line(line)
        health.sweep_done(whole=not stop.is_set())
    except NfresumeError as e:
        health.sweep_done(whole=False)
        _log.error("the sweep failed: %s", e)
    except Exception:
        health.sweep_done(whole=False)
        _log.exception("a fault of nfresume: the sweep failed")


def _log_line(line: sweeper.SweepLine) -> None:
    """Log what was done, if anything was."""
    if line.action == "keep" and not line.error:
        return
    elsewhere = line.done in (sweeper.ELSEWHERE, sweeper.FASTER)
    level = logging.ERROR if line.error else logging.DEBUG if elsewhere else logging.INFO
    with logs.about(account=line.execution.account, execution=line.execution.id):
        _log.log(level, "%s: %s (%s): %s", line.execution.id, line.action, line.reason,
                 line.error or line.done)


def _deliver(store: Store, conf: Settings) -> None:
    for trouble in delivery.deliver(store, conf):
        _log.warning("%s", trouble)


def _sample(store: Store, conf: Settings, sampler: Sampler, stop: threading.Event) -> None:
    """Measure each work dir whose last sample is older than sample_seconds. An error is logged."""
    try:
        with store.begin(write=False) as tx:
            due = queries.to_measure(tx, conf.sample_seconds)
        for execution in due:
            if stop.is_set() or not sampler.measure(execution, stop):
                return
    except NfresumeError as e:
        _log.error("nothing can be measured: %s", e)
    except Exception:
        _log.exception("a fault of nfresume: nothing can be measured")
