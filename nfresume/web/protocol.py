"""HTTP/1.1 connections with limits: how many, how long a request head may take, how long a reader may sleep.

Uvicorn itself limits the size of a head, and nothing else: half-sent heads would take every descriptor.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

#: How long a client may take to send the head of a request.
HEAD_SECONDS = 10.0
#: Bytes of a head.
MAX_HEAD = 16 * 1024
#: Connections of one client, and of all clients. A reverse proxy's are not counted for one client.
PER_CLIENT = 100
IN_ALL = 1000
#: Descriptors that are left for files, the database and Nextflow's logs.
_RESERVED = 200


def descriptors() -> int:
    """Raise the soft limit of descriptors as far as needed; returns how many connections there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IN_ALL + _RESERVED
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(20, min(IN_ALL, soft - _RESERVED))


class LimitedProtocol(H11Protocol):
    """One connection. Beyond a limit one that waits for a request is closed, or the new one."""

    per_client: ClassVar[int] = PER_CLIENT
    in_all: ClassVar[int] = IN_ALL
    head_seconds: ClassVar[float] = HEAD_SECONDS
    #: Addresses and networks of reverse proxies.
    proxies: ClassVar[frozenset[str]] = frozenset()
    _counts: ClassVar[Counter[str]] = Counter()
    _waiting: ClassVar[dict[LimitedProtocol, None]] = {}  # without a request, the longest first

    def __init__(self, *args: Any, **words: Any) -> None:
        super().__init__(*args, **words)
        self._peer = ""
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        self._counts[self._peer] += 1
        crowd = self._counts[self._peer] > self.per_client and not _is_one_of(self._peer, self.proxies)
        if (crowd or len(self.connections) > self.in_all) and not self._make_room(same_client=crowd):
            transport.abort()
            return
        self._await_head()

    def _make_room(self, *, same_client: bool) -> bool:
        """Close a connection that waits for a request; False if there is none.

        It is one of the client with the most connections, the longest wait first; never one of a client that
        has fewer than this one.
        """
        candidates = [other for other in self._waiting
                      if other is not self and (not same_client or other._peer == self._peer)]
        if not candidates:
            return False
        victim = max(candidates, key=lambda other: self._counts[other._peer])
        if self._counts[victim._peer] < self._counts[self._peer]:
            return False
        victim.transport.abort()
        self._waiting.pop(victim)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        self._counts[self._peer] -= 1
        if not self._counts[self._peer]:
            del self._counts[self._peer]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_head()
        elif self._head_timer is None:
            self._await_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._waiting[self] = None  # kept alive: uvicorn's own timer closes it

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # the client does not read the last response
            return
        super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        self._forget_head()
        super().shutdown()

    def _await_head(self) -> None:
        self._waiting[self] = None
        self._head_timer = self.loop.call_later(self.head_seconds, self._head_is_late)

    def _forget_head(self) -> None:
        self._waiting.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


def _is_one_of(address: str, networks: frozenset[str]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in ipaddress.ip_network(network, strict=False) for network in networks)
