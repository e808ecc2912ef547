"""Deliver notices: each event of the event log goes to each configured channel once.

Events are stored with their transitions. Supervisors that have settled, sweeps at their end, and
`nfresume serve` deliver those that are still due. So nothing else waits for a channel, and a channel that
hangs delays only its own notices.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import closing

from nfresume.billing import pricing
from nfresume.domain import costs, notices
from nfresume.domain.errors import InvalidSettings, NfresumeError
from nfresume.domain.executions import Event, Execution
from nfresume.domain.notices import KINDS, Channel, Notice
from nfresume.settings import Settings
from nfresume.store import Store, Tx, outbox, queries
from nfresume.system import bounded

#: How long a channel may take for one notice.
SEND_SECONDS = 20.0


class Sender:
    """Delivers notices in one daemon thread per channel: the process can end while a channel hangs."""

    def __init__(self, store: Store, conf: Settings) -> None:
        self._store = store
        self._conf = conf
        self._threads: list[threading.Thread] = []
        self.troubles: list[str] = []

    def start(self) -> None:
        """Start to deliver everything that is due."""
        for channel in self._conf.notify:
            thread = threading.Thread(target=self._deliver, args=(channel,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self, seconds: float) -> list[str]:
        """Wait up to `seconds`; returns one line per problem. What was not delivered is tried again later."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        late = sum(thread.is_alive() for thread in self._threads)
        return self.troubles + ([f"{late} notification channels have not answered yet"] if late else [])

    def _deliver(self, channel: Channel) -> None:
        try:
            for event_id, event, execution_id in self._due(channel):
                if trouble := self._tell(channel, event_id, event, execution_id):
                    self.troubles.append(f"{channel}: {trouble}")
                    return  # the rest would fail too; it is tried again later
        except (NfresumeError, OSError) as e:
            self.troubles.append(f"{channel}: {e}")

    def _due(self, channel: Channel) -> list[tuple[int, Event, str]]:
        names = [name for name, kind in KINDS.items() if kind in channel.kinds]
        account = channel.account or self._conf.account
        with self._store.begin(write=False) as tx:
            return outbox.due(tx, channel.key, names, notices.STALE,
                              None if account == notices.EVERYBODY else account)

    def _tell(self, channel: Channel, event_id: int, event: Event, execution_id: str) -> str | None:
        with self._store.begin() as tx:
            if not outbox.claim(tx, event_id, channel.key, notices.RETRIES):
                return None  # another process delivers it
            execution = queries.get(tx, execution_id)
            text = _notice(tx, self._conf, event, execution)
        trouble = send(channel, text) if notices.still_true(event, execution) else None
        with self._store.begin() as tx:
            if trouble is None:
                outbox.delivered(tx, event_id, channel.key)
            else:
                outbox.failed(tx, event_id, channel.key, trouble)
        return trouble


def deliver(store: Store, conf: Settings) -> list[str]:
    """Deliver what is due, in at most SEND_SECONDS; returns one line per problem."""
    sender = Sender(store, conf)
    sender.start()
    return sender.join(SEND_SECONDS)


def _notice(tx: Tx, conf: Settings, event: Event, execution: Execution) -> Notice:
    error = queries.attempt(tx, execution.id, event.attempt).error if event.attempt else None
    metered = execution.work_dir.metered_bytes
    price = pricing.of_root(tx, conf, execution.root_id)
    cost = f"{costs.cost_per_month(metered, price.per_gb_month):.2f} {price.currency}" if metered else None
    return notices.notice(event, execution, error, cost)


def send(channel: Channel, notice: Notice) -> str | None:
    """Send one notice, in at most SEND_SECONDS; returns why it failed, or None."""
    import apprise

    def run() -> str | None:
        sender = apprise.Apprise()
        if not sender.add(channel.url):
            return "Apprise does not understand this URL"
        with apprise.LogCapture(level=apprise.logging.WARNING) as log:  # type: ignore[no-untyped-call]
            if sender.notify(title=notice.title, body=notice.text, body_format=apprise.NotifyFormat.TEXT):
                return None
            return " ".join(log.getvalue().split())[:500] or "the channel refused it"

    try:
        return bounded.call(SEND_SECONDS, run)
    except Exception as e:  # a plugin may raise anything
        return " ".join(f"{type(e).__name__}: {e}".split())


def summaries(conf: Settings) -> list[tuple[Channel, tuple[int, int, str | None]]]:
    """Each channel with how many notices were delivered, how many failed, and the newest error."""
    with closing(Store.open(conf.database_url)) as store, store.begin(write=False) as tx:
        return [(channel, outbox.summary(tx, channel.key)) for channel in conf.notify]


def test(channels: Iterable[Channel], account: str) -> list[tuple[Channel, str | None]]:
    """Send a test notice to each channel; returns why it failed, or None, for each.

    Raises InvalidSettings when there are no channels.
    """
    chosen = list(channels)
    if not chosen:
        raise InvalidSettings("no channel is set", "notify = [\"mailto://user:password@example.org\"] in the "
                              "settings file; see https://github.com/caronc/apprise for the others")
    text = Notice("nfresume can reach you here", f"a test, sent for account {account}")
    return [(channel, send(channel, text)) for channel in chosen]
