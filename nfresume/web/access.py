"""Who sends a request, for which account, and whether their role allows it. Only this module decides it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from fastapi import Depends, Form, Header, Request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from nfresume.domain.errors import NfresumeError, NotFound
from nfresume.domain.people import Actor, Role, Token, User, csrf, web_actor
from nfresume.service.health import Health
from nfresume.service.identity import Identity
from nfresume.service.verbs import Service
from nfresume.settings import Settings
from nfresume.store import Store
from nfresume.system import logs

Result = TypeVar("Result")

_COOKIE = "nfresume"
#: Holds what the log-in form must repeat, so that no other site can log a browser in.
_LOGIN_COOKIE = "nfresume_login"
#: How often refused log-ins of one address are recorded, in seconds.
_REFUSED_SECONDS = 60.0
_CACHE_SECONDS = 2.0
_MAX_CACHED = 10_000
#: How many requests that only read are answered at a time; further ones wait. A slot is given back before the
#: response is sent, so that a client which reads slowly holds none. Reads need the processor: more
#: of them at once would only compete for the interpreter lock. Requests that change something mostly wait for
#: disks, and are not limited.
_READS_AT_ONCE = 4
#: So many of them for one user, so that nobody waits behind the flood of another.
_READS_OF_ONE = 2
#: Failed log-ins and bad tokens that one address may have per minute.
TRIES = RateLimitItemPerMinute(20)


class Unauthorized(NfresumeError):
    """Nobody is logged in, or the token is not valid."""

    exit_code = 77
    http_status = 401


class Forbidden(NfresumeError):
    """The role does not allow this, or the request did not come from a form of the console."""

    exit_code = 77
    http_status = 403


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
    cache: dict[tuple[str, str], tuple[float, Any]] = field(default_factory=dict)
    refused: dict[str, tuple[float, int]] = field(default_factory=dict)
    engine_version: str = ""
    health: Health = field(default_factory=Health)

    def cached(self, kind: str, key: str, compute: Callable[[], Result]) -> Result:
        """The result of `compute`, or one for the same kind and key that is at most two seconds old."""
        at, found = self.cache.get((kind, key), (0.0, None))
        if found is None or time.monotonic() - at > _CACHE_SECONDS:
            found = compute()
            if len(self.cache) > _MAX_CACHED:
                self.cache.clear()
            self.cache[kind, key] = (time.monotonic(), found)
        return cast("Result", found)

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


async def _site(request: Request) -> Site:
    return site_of(request)  # async: FastAPI would run a plain function in a thread


def site_of(request: Request) -> Site:
    """The Site of the application that received a request."""
    found: Site = request.app.state.site
    return found


SiteOf = Annotated[Site, Depends(_site)]


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
    at, count = site.refused.get(network, (0.0, 0))
    if time.monotonic() - at > _REFUSED_SECONDS:
        if len(site.refused) > _MAX_CACHED:
            site.refused.clear()
        site.identity_of(request).refused(what, count + 1)
        site.refused[network] = (time.monotonic(), 0)
    else:
        site.refused[network] = (at, count + 1)
    if not site.limiter.hit(TRIES, network):
        raise TooManyTries("too many failed tries from this address", "wait a minute")


def digest_of(secret: str) -> str:
    """A short digest of a secret, as a key in memory."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:24]


# -- browsers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Visitor:
    """A user in a browser, and the secret of their session."""

    user: User
    session: str
    token: Token

    @property
    def csrf(self) -> str:
        """The token that every form of this session must send."""
        return csrf(self.session)


def cookie_name(request: Request) -> str:
    """The name of the session's cookie. With HTTPS browsers let only this very host set it (`__Host-`)."""
    return _cookie(request, _COOKIE)


def login_cookie_name(request: Request) -> str:
    """The name of the cookie of the log-in form."""
    return _cookie(request, _LOGIN_COOKIE)


def _cookie(request: Request, name: str) -> str:
    """The name of a cookie, with the port: consoles at other ports of this host get the same cookies."""
    site = site_of(request)
    try:
        port = urlsplit(site.conf.web_url or f"//{request.headers.get('host', '')}").port
    except ValueError:
        port = None
    return f"{'__Host-' if site.secure else ''}{name}{f'-{port}' if port not in (None, 80, 443) else ''}"


def login_token(seed: str) -> str:
    """What the log-in form must send with the cookie `seed`."""
    return hmac.new(seed.encode("utf-8", "replace"), b"log in", hashlib.sha256).hexdigest()


def check_login_form(request: Request, token: str) -> None:
    """Raise Forbidden unless a log-in form comes from a page that this browser got from here."""
    check_origin(request)
    seed = request.cookies.get(login_cookie_name(request), "")
    if not seed or not secrets.compare_digest(token.encode(), login_token(seed).encode()):
        raise Forbidden("this log-in was not started here", "open the log-in page, and try again")


def check_origin(request: Request) -> None:
    """Raise Forbidden for a form of another site, by Origin, or by Sec-Fetch-Site where there is none."""
    origin = request.headers.get("origin")
    if origin is None:
        foreign = request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    else:
        url = site_of(request).conf.web_url
        public = {_origin_of(url)} if url else set()
        foreign = origin not in {*public, f"http://{request.headers.get('host')}"} or (
            origin not in public and not _is_local(request))
    if foreign:
        raise Forbidden("this form is from another site", "go back, reload the page, and try again")


def _origin_of(url: str) -> str:
    """The origin as browsers send it: without a default port."""
    parts = urlsplit(url)
    default = {"https": ":443", "http": ":80"}[parts.scheme]
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(default)}"


def _is_local(request: Request) -> bool:
    """True for a request to this machine's own names; any other Host is the public one."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    return host in ("127.0.0.1", "::1", "localhost")


def visitor(request: Request) -> Visitor:
    """The user who is logged in. Raises Unauthorized."""
    session = request.cookies.get(cookie_name(request), "")
    known = site_of(request).identity.session(session) if session else None
    if known is None:
        raise Unauthorized("you are not logged in", "log in first")
    return Visitor(known[0], session, known[1])


VisitorOf = Annotated[Visitor, Depends(visitor)]


def posted(request: Request, who: VisitorOf, token: Annotated[str, Form(alias="csrf")] = "") -> Visitor:
    """The user who sent a form. Raises Forbidden without this session's token or from a foreign page."""
    check_origin(request)
    if not secrets.compare_digest(token.encode(), who.csrf.encode()):
        raise Forbidden("this form is from another session",
                        "go back, reload the page, and try again")
    return who


PostedBy = Annotated[Visitor, Depends(posted)]


def role_in(user: User, account: str, need: Role) -> Role:
    """The user's role in an account. Raises NotFound without one, Forbidden if it is less than `need`."""
    role = user.roles.get(account)
    if role is None:
        raise NotFound(f"you have no account {account!r}", "choose one of your accounts")
    if not role.includes(need):
        raise Forbidden(f"a {role} of account {account} may not do this", f"ask an owner to make you {need}")
    return role


def service_of(request: Request, user: User, account: str, need: Role) -> Service:
    """A Service for one of the user's accounts. Raises NotFound and Forbidden, as `role_in` does."""
    role_in(user, account, need)
    site = site_of(request)
    logs.bind(account=account)
    return Service(site.conf.for_account(account), store=site.store,
                   actor=web_actor(Actor(user.name, client(request))))


async def viewing(request: Request, account: str, site: SiteOf, who: VisitorOf) -> AsyncIterator[Service]:
    """A Service for the account in the path of a page, for a viewer; waits while other reads are answered."""
    service = service_of(request, who.user, account, Role.VIEWER)
    async with site.reads.slot(who.user.id):
        yield service


async def watching(request: Request, account: str, who: VisitorOf) -> Service:
    """The same for an event stream: it stays open and needs no processor, so that it does not wait."""
    return service_of(request, who.user, account, Role.VIEWER)


def editing(request: Request, account: str, who: PostedBy) -> Service:
    """A Service for the account in the path of a form, for an editor."""
    return service_of(request, who.user, account, Role.EDITOR)


def owning(request: Request, account: str, who: PostedBy) -> Service:
    """A Service for the account in the path of a form, for an owner."""
    return service_of(request, who.user, account, Role.OWNER)


Viewing = Annotated[Service, Depends(viewing, scope="function")]
Watching = Annotated[Service, Depends(watching)]
Editing = Annotated[Service, Depends(editing)]
Owning = Annotated[Service, Depends(owning)]


# -- programs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """The user of a program's token, and the account that the program acts for."""

    user: User
    account: str
    token: Token


def caller(
    request: Request, authorization: Annotated[str, Header()] = "",
    x_account: Annotated[str, Header(description="The account to act for (default: the token's).")] = "",
) -> Caller:
    """The user and account of the bearer token. Raises Unauthorized, NotFound, TooManyTries."""
    scheme, _, secret = authorization.partition(" ")
    known = site_of(request).identity.bearer(secret.strip()) if scheme.lower() == "bearer" else None
    if known is None:
        if secret:
            count_failure(request, "token")
        raise Unauthorized("a bearer token is needed" if not secret else "this token is not valid",
                           "`nfresume token create` creates one")
    user, token = known
    account = x_account or token.account or user.name
    if token.account not in (None, account):
        raise NotFound(f"you have no account {account!r}", "this token is for another account only")
    return Caller(user, account, token)


CallerOf = Annotated[Caller, Depends(caller)]


def maybe_caller(
    request: Request, authorization: Annotated[str, Header()] = "",
    x_account: Annotated[str, Header(description="The account to act for (default: the token's).")] = "",
) -> Service | None:
    """A Service for the token's account, for what is public; None without a valid token."""
    try:
        who = caller(request, authorization, x_account)
        return service_of(request, who.user, who.account, Role.VIEWER)
    except (Unauthorized, NotFound):
        return None


MaybeReading = Annotated[Service | None, Depends(maybe_caller)]


async def reading(request: Request, site: SiteOf, who: CallerOf) -> AsyncIterator[Service]:
    """A Service for the token's account, for a viewer; waits while other reads are answered."""
    service = service_of(request, who.user, who.account, Role.VIEWER)
    async with site.reads.slot(who.user.id):
        yield service


async def listening(request: Request, who: CallerOf) -> Service:
    """The same for an event stream: it stays open and needs no processor, so that it does not wait."""
    return service_of(request, who.user, who.account, Role.VIEWER)


def writing(request: Request, who: CallerOf) -> Service:
    """A Service for the token's account, for an editor."""
    return service_of(request, who.user, who.account, Role.EDITOR)


def governing(request: Request, who: CallerOf) -> Service:
    """A Service for the token's account, for an owner."""
    return service_of(request, who.user, who.account, Role.OWNER)


Reading = Annotated[Service, Depends(reading, scope="function")]
Listening = Annotated[Service, Depends(listening)]
Writing = Annotated[Service, Depends(writing)]
Governing = Annotated[Service, Depends(governing)]
