"""Live events: one task of this process polls the database for all of its listeners.

A listener gets a message for each new event of a history, and when tasks of a running attempt changed. All
servers read the same database, so that a browser may listen to any of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from nfresume.domain.errors import NfresumeError, StoreUnavailable
from nfresume.domain.people import Token, User
from nfresume.service.identity import Identity
from nfresume.store import Store, queries

#: How often the database is polled, for all listeners together: after a change, and when nothing changes.
POLL_SECONDS = 0.5
#: How often it is checked that listeners may still look.
CHECK_SECONDS = 2.0
#: Streams of one user, of which the oldest ends, and of all users.
MAX_PER_USER = 20
MAX_STREAMS = 400
IDLE_SECONDS = 1.0
#: A listener gets a comment after this time without a message, so that dead connections are noticed.
ALIVE_SECONDS = 15.0
#: Events may be committed in another order than they are numbered: each poll reads the last seconds again.
_OVERLAP = timedelta(seconds=10)
#: How many changes are remembered as sent; the oldest are forgotten.
_REMEMBERED = 20_000
#: Messages that wait for one listener; if it is slower, the oldest are dropped.
_MAX_QUEUE = 200


class _Listener:
    """One connection, for an account or for one execution of it, opened with a session or a token."""

    def __init__(self, account: str, execution_id: str | None, user: User, token: Token) -> None:
        self.account = account
        self.execution_id = execution_id
        self.user_id = user.id
        self.token_id = token.id
        self.closed = False
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MAX_QUEUE)

    def put(self, message: dict[str, Any]) -> None:
        if self.queue.full():
            self.queue.get_nowait()
        self.queue.put_nowait(message)


class TooManyStreams(NfresumeError):
    """There are as many event streams as this server can hold."""

    exit_code = 75
    http_status = 503


class Changes:
    """Sends changes of the database to listeners. It polls only while there are any."""

    def __init__(self, store: Store, identity: Identity) -> None:
        self._store = store
        self._identity = identity
        self._listeners: dict[_Listener, None] = {}  # the oldest first
        self._checked = 0.0
        self._poller: asyncio.Task[None] | None = None
        self._closed = False
        self._sent: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._listeners)

    def listen(
        self, account: str, execution_id: str | None, user: User, token: Token
    ) -> AsyncIterator[str]:
        """Server-sent events until the client disconnects, the server stops, or the user may look no longer.

        A user's newest streams win: beyond MAX_PER_USER the oldest one ends. Raises TooManyStreams.
        """
        own = [each for each in self._listeners if each.user_id == user.id]
        if len(own) >= MAX_PER_USER:
            self._end(own[0])
        elif len(self._listeners) >= MAX_STREAMS:
            raise TooManyStreams("there are too many event streams", "close some pages, and try again")
        listener = _Listener(account, execution_id, user, token)
        self._listeners[listener] = None
        return self._stream(listener)

    async def _stream(self, listener: _Listener) -> AsyncIterator[str]:
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll_while_heard())
        try:
            yield "retry: 2000\n\n"
            while not (self._closed or listener.closed):
                try:
                    message = await asyncio.wait_for(listener.queue.get(), ALIVE_SECONDS)
                    yield f"event: {message['type']}\ndata: {json.dumps(message)}\n\n"
                except TimeoutError:
                    yield ": alive\n\n"
        finally:
            self._listeners.pop(listener, None)

    def close(self) -> None:
        """End every connection."""
        self._closed = True
        if self._poller is not None:
            self._poller.cancel()
        for listener in list(self._listeners):
            self._end(listener)

    def _end(self, listener: _Listener) -> None:
        listener.closed = True
        self._listeners.pop(listener, None)
        listener.put({"type": "closing"})

    async def _poll_while_heard(self) -> None:
        await self._poll(send=False)  # what happened before anybody listened
        news = True
        while self._listeners:
            await asyncio.sleep(POLL_SECONDS if news else IDLE_SECONDS)
            if time.monotonic() - self._checked > CHECK_SECONDS:
                await self._end_those_who_may_not_look()
            news = await self._poll(send=True)

    async def _end_those_who_may_not_look(self) -> None:
        """End the streams whose session or token has ended, or whose user has left the account."""
        self._checked = time.monotonic()
        tokens = {listener.token_id for listener in self._listeners}
        with contextlib.suppress(StoreUnavailable):  # the next check decides
            valid = await asyncio.to_thread(self._identity.still_valid, tokens)
            for listener in list(self._listeners):
                user = valid.get(listener.token_id)
                if user is None or listener.account not in user.roles:
                    self._end(listener)

    async def _poll(self, *, send: bool) -> bool:
        """Poll once; True when there was a change."""
        news = False
        found: list[queries.Change] = []
        with contextlib.suppress(StoreUnavailable):  # the next poll tries again
            found = await asyncio.to_thread(self._query)
        for change in found:
            if change.key in self._sent:
                continue
            self._sent[change.key], news = None, True
            if len(self._sent) > _REMEMBERED:
                self._sent.popitem(last=False)
            if send:
                self._send(change)
        return news

    def _query(self) -> list[queries.Change]:
        with self._store.begin(write=False) as tx:
            return queries.changes(tx, _OVERLAP)

    def _send(self, change: queries.Change) -> None:
        message = {"type": change.type, "id": change.execution_id, "what": change.what}
        for listener in self._listeners:
            if listener.account == change.account and listener.execution_id in (None, change.execution_id):
                listener.put(message)
