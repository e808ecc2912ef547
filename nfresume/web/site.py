"""What all requests share: the settings, the database, and the limits of clients and users."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

from fastapi import Request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from nfresume.domain.errors import NfresumeError
from nfresume.domain.people import Actor, User
from nfresume.service.health import Health
from nfresume.service.identity import Identity
from nfresume.service.verbs import Service
from nfresume.settings import Settings
from nfresume.store import Store

Result = TypeVar("Result")
_log = logging.getLogger(__name__)

#: How often refused log-ins of one address are recorded, in seconds.
_REFUSED_SECONDS = 60.0
#: Of so many addresses. IPv6 has any number of them, and whoever reaches the port directly makes them up.
_REFUSED_ADDRESSES = 100
_CACHE_SECONDS = 2.0
_MAX_CACHED = 10_000
#: What takes more seconds of the processor is worth being shown when it is out of date, for so many seconds.
_LONG_SECONDS = 0.3
_STALE_SECONDS = 600.0
#: How many requests that only read are answered at a time; further ones wait. A slot is given back before the
#: response is sent, so that a client which reads slowly holds none. Reads need the processor: more
#: of them at once would only compete for the interpreter lock. Requests that change something mostly wait for
#: disks, and are not limited.
_READS_AT_ONCE = 4
#: So many of them for one user, so that nobody waits behind the flood of another.
_READS_OF_ONE = 2
#: Failed log-ins and bad tokens that one address may have per minute.
TRIES = RateLimitItemPerMinute(20)


class TooManyTries(NfresumeError):
    """Too many log-ins from this address failed."""

    exit_code = 77
    http_status = 429


class Reads:
    """The slots of requests that only read."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(_READS_AT_ONCE)
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def slot(self, user_id: str) -> AsyncIterator[None]:
        """Wait for a slot of this user, and hold it in the block."""
        own = self._own.get(user_id) or asyncio.Semaphore(_READS_OF_ONE)
        self._own[user_id] = own
        async with own, self._all:
            yield


@dataclass
class Site:
    """What all requests share."""

    conf: Settings
    store: Store
    identity: Identity
    limiter: MovingWindowRateLimiter
    reads: Reads = field(default_factory=Reads)
    cache: dict[tuple[str, str], tuple[float, object, Any]] = field(default_factory=dict)
    took: dict[tuple[str, str], float] = field(default_factory=dict)
    renewing: set[tuple[str, str]] = field(default_factory=set)
    refused: dict[str, tuple[float, int]] = field(default_factory=dict)
    #: Digests of secrets that were valid, for the limits of requests; no right follows from them.
    valid: set[str] = field(default_factory=set)
    engine_version: str = ""
    health: Health = field(default_factory=Health)

    def cached(
        self, kind: str, key: str, compute: Callable[[], Result], seconds: float = _CACHE_SECONDS,
        version: object = None,
    ) -> Result:
        """The result of `compute`, or one of the same kind, key and version that is at most `seconds` old."""
        until, of, found = self.cache.get((kind, key), (0.0, None, None))
        if found is None or of != version or time.monotonic() > until:
            found = compute()
            now = time.monotonic()
            if len(self.cache) > _MAX_CACHED:
                self.cache.clear()
            if seconds > _CACHE_SECONDS:  # what is worth keeping is large
                for old, (ended, _, _) in list(self.cache.items()):
                    if ended < now:
                        self.cache.pop(old, None)
            self.cache[kind, key] = (now + seconds, version, found)
        return cast("Result", found)

    def renewed(
        self, kind: str, key: str, compute: Callable[[], Result], seconds: float, version: object,
    ) -> tuple[Result, bool]:
        """Like `cached`. What took long, and is out of date, is given once more while it is made anew.

        True with it: it is out of date.
        """
        def measured() -> Result:
            begun = time.thread_time()
            found = compute()
            self.took[kind, key] = time.thread_time() - begun
            return found

        until, of, known = self.cache.get((kind, key), (0.0, None, None))
        now = time.monotonic()
        old = known is None or now > until - seconds + _STALE_SECONDS
        if old or (of == version and now <= until) or self.took.get((kind, key), 0.0) < _LONG_SECONDS:
            return self.cached(kind, key, measured, seconds, version), False
        if (kind, key) not in self.renewing:
            self.renewing.add((kind, key))
            threading.Thread(target=self._renew, args=(kind, key, measured, seconds, version),
                             daemon=True).start()
        return cast("Result", known), True

    def _renew(self, kind: str, key: str, compute: Callable[[], object], seconds: float,
               version: object) -> None:
        try:
            self.cached(kind, key, compute, seconds, version)
        except Exception:  # of another request: the next one meets it and tells its user
            _log.warning("%s of %s cannot be made anew", kind, key, exc_info=True)
            self.cache.pop((kind, key), None)
        finally:
            self.renewing.discard((kind, key))

    def note_valid(self, header: str) -> None:
        """Note that this cookie, or this Authorization header, had a valid secret."""
        if len(self.valid) > _MAX_CACHED:
            self.valid.clear()
        self.valid.add(digest_of(header))

    @classmethod
    def open(cls, conf: Settings, store: Store, health: Health | None = None) -> Site:
        """The site with a rate limiter of this process only."""
        return cls(conf, store, Identity(store), MovingWindowRateLimiter(MemoryStorage()),
                   engine_version=Service(conf, store=store).engine_version(), health=health or Health())

    @property
    def secure(self) -> bool:
        """True if users reach the console by HTTPS; cookies are then marked Secure."""
        return (self.conf.web_url or "").startswith("https://")

    def identity_of(self, request: Request, user: User | None = None) -> Identity:
        """The users and tokens, for changes by a user at the address of a request."""
        return self.identity.by(Actor(user.name if user else "nobody", client(request)))


def site_of(request: Request) -> Site:
    """The Site of the application that received a request."""
    found: Site = request.app.state.site
    return found


def client(request: Request) -> str:
    """The IP address of the client, `unknown` if there is none."""
    return request.client.host if request.client else "unknown"


def client_network(request: Request) -> str:
    """What limits count for a client without a session: its IPv4 address, or its /64 network of IPv6."""
    try:
        address = ipaddress.ip_address(client(request).partition("%")[0])
    except ValueError:
        return client(request)
    return str(address if address.version == 4 else ipaddress.ip_network((address, 64), strict=False))


def count_failure(request: Request, what: str) -> None:
    """Count and record a failed log-in or a bad token. Raises TooManyTries after too many.

    Only failures are counted and refused: whoever has a valid secret gets in meanwhile. Guessing 256 bits is
    hopeless; the limit keeps the log and the database small.
    """
    site, network = site_of(request), client_network(request)
    counted = _counted_for(site, network)
    at, count = site.refused.get(counted, (0.0, 0))
    if time.monotonic() - at > _REFUSED_SECONDS:
        site.identity_of(request).refused(what, count + 1)
        site.refused[counted] = (time.monotonic(), 0)
    else:
        site.refused[counted] = (at, count + 1)
    if not site.limiter.hit(TRIES, network):
        raise TooManyTries("too many failed tries from this address", "wait a minute")


def _counted_for(site: Site, network: str) -> str:
    """The address for which a refusal is recorded: beyond so many in a minute, all others are one."""
    if network not in site.refused and len(site.refused) >= _REFUSED_ADDRESSES:
        now = time.monotonic()
        for old, (at, _) in list(site.refused.items()):
            if now - at > _REFUSED_SECONDS:
                site.refused.pop(old, None)
        return network if len(site.refused) < _REFUSED_ADDRESSES else "others"
    return network


def digest_of(secret: str) -> str:
    """A short digest of a secret, as a key in memory."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:24]
