"""What happens, as it happens: one reader of the database for all listeners of this process.

A listener is told an event of the log, or that the tasks of a running attempt went on. Servers on other
hosts read the same database, so that it does not matter which one a browser listens to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from nfresume.domain.errors import StoreUnavailable
from nfresume.store import Store, queries

#: How often the database is asked, for all listeners together.
POLL_SECONDS = 0.5
#: How often a listener without news gets a sign of life, so that dead connections are noticed.
ALIVE_SECONDS = 15.0
#: Events are committed in another order than they are numbered: the last seconds are read again.
_OVERLAP = timedelta(seconds=10)
_REMEMBERED = 20_000
#: News that one slow listener may be behind; beyond it, the oldest are dropped.
_MOST_BEHIND = 200


class _Listener:
    """One connection: for an account, perhaps for one execution only."""

    def __init__(self, account: str, execution_id: str | None) -> None:
        self.account = account
        self.execution_id = execution_id
        self.news: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MOST_BEHIND)

    def tell(self, news: dict[str, Any]) -> None:
        if self.news.full():
            self.news.get_nowait()
        self.news.put_nowait(news)


class Changes:
    """Reads while anybody listens."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: set[_Listener] = set()
        self._reader: asyncio.Task[None] | None = None
        self._closed = False
        self._known: OrderedDict[tuple[str, ...], None] = OrderedDict()

    async def listen(self, account: str, execution_id: str | None) -> AsyncIterator[str]:
        """Server-sent events until the connection, or the server, ends."""
        listener = _Listener(account, execution_id)
        self._listeners.add(listener)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())
        try:
            yield "retry: 2000\n\n"
            while not self._closed:
                try:
                    news = await asyncio.wait_for(listener.news.get(), ALIVE_SECONDS)
                    yield f"event: {news['type']}\ndata: {json.dumps(news)}\n\n"
                except TimeoutError:
                    yield ": alive\n\n"
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End every connection."""
        self._closed = True
        if self._reader is not None:
            self._reader.cancel()
        for listener in self._listeners:
            listener.tell({"type": "closing"})

    async def _read(self) -> None:
        await self._look(tell=False)
        while self._listeners:
            await asyncio.sleep(POLL_SECONDS)
            await self._look(tell=True)

    async def _look(self, *, tell: bool) -> None:
        found: list[queries.Change] = []
        with contextlib.suppress(StoreUnavailable):  # the next look may find it again
            found = await asyncio.to_thread(self._ask)
        for change in found:
            if change.key in self._known:
                continue
            self._known[change.key] = None
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            if tell:
                self._tell(change)

    def _ask(self) -> list[queries.Change]:
        with self._store.begin(write=False) as tx:
            return queries.changes(tx, _OVERLAP)

    def _tell(self, change: queries.Change) -> None:
        news = {"type": change.type, "id": change.execution_id, "what": change.what}
        for listener in self._listeners:
            if listener.account == change.account and listener.execution_id in (None, change.execution_id):
                listener.tell(news)
