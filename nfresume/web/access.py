"""Who sends a request, for which account, and whether their role allows it. Only this module decides it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import urlsplit

from fastapi import Depends, Form, Header, Request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from nfresume.domain.errors import NfresumeError, NotFound
from nfresume.domain.people import Role, User, csrf
from nfresume.service.identity import Identity
from nfresume.service.verbs import Service
from nfresume.settings import Settings
from nfresume.store import Store

Result = TypeVar("Result")

COOKIE = "nfresume"
_CACHE_SECONDS = 2.0
#: How many requests that only read are answered at a time; further ones wait. They need the processor: more
#: of them at once would only compete for the interpreter lock. Requests that change something mostly wait for
#: disks, and are not limited.
_READS_AT_ONCE = 4
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


@dataclass
class Site:
    """What all requests share."""

    conf: Settings
    store: Store
    identity: Identity
    limiter: MovingWindowRateLimiter
    reads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_READS_AT_ONCE))
    cache: dict[tuple[str, str], tuple[float, Any]] = field(default_factory=dict)

    def cached(self, kind: str, key: str, compute: Callable[[], Result]) -> Result:
        """The result of `compute`, or one for the same kind and key that is at most two seconds old."""
        at, found = self.cache.get((kind, key), (0.0, None))
        if found is None or time.monotonic() - at > _CACHE_SECONDS:
            found = compute()
            self.cache[kind, key] = (time.monotonic(), found)
        return cast("Result", found)

    @classmethod
    def open(cls, conf: Settings, store: Store) -> Site:
        """The site with a rate limiter of this process only."""
        return cls(conf, store, Identity(store), MovingWindowRateLimiter(MemoryStorage()))

    @property
    def secure(self) -> bool:
        """True if users reach the console by HTTPS; cookies are then marked Secure."""
        return (self.conf.web_url or "").startswith("https://")


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


def count_failure(request: Request) -> None:
    """Count a failed log-in or a bad token for the client's address. Raises TooManyTries."""
    limiter = site_of(request).limiter
    if not limiter.hit(TRIES, client(request)):
        raise TooManyTries("too many failed tries from this address", "wait a minute")


def check_tries(request: Request) -> None:
    """Raises TooManyTries if the client's address has too many failed tries in the last minute."""
    if not site_of(request).limiter.test(TRIES, client(request)):
        raise TooManyTries("too many failed tries from this address", "wait a minute")


# -- browsers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Visitor:
    """A user in a browser, and the secret of their session."""

    user: User
    session: str

    @property
    def csrf(self) -> str:
        """The token that every form of this session must send."""
        return csrf(self.session)


def visitor(request: Request) -> Visitor:
    """The user who is logged in. Raises Unauthorized."""
    session = request.cookies.get(COOKIE, "")
    user = site_of(request).identity.session(session) if session else None
    if user is None:
        raise Unauthorized("you are not logged in", "log in first")
    return Visitor(user, session)


VisitorOf = Annotated[Visitor, Depends(visitor)]


def posted(request: Request, who: VisitorOf, token: Annotated[str, Form(alias="csrf")] = "") -> Visitor:
    """The user who sent a form. Raises Forbidden without this session's token or from a foreign page."""
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if foreign or not secrets.compare_digest(token.encode(), who.csrf.encode()):
        raise Forbidden("this form is from another site or another session",
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


def service_of(site: Site, user: User, account: str, need: Role) -> Service:
    """A Service for one of the user's accounts. Raises NotFound and Forbidden, as `role_in` does."""
    role_in(user, account, need)
    return Service(site.conf.for_account(account), store=site.store, actor=f"{user.name}@web")


async def viewing(account: str, site: SiteOf, who: VisitorOf) -> AsyncIterator[Service]:
    """A Service for the account in the path of a page, for a viewer; waits while other reads are answered."""
    service = service_of(site, who.user, account, Role.VIEWER)
    async with site.reads:
        yield service


async def watching(account: str, site: SiteOf, who: VisitorOf) -> Service:
    """The same for an event stream: it stays open and needs no processor, so that it does not wait."""
    return service_of(site, who.user, account, Role.VIEWER)


def editing(account: str, site: SiteOf, who: PostedBy) -> Service:
    """A Service for the account in the path of a form, for an editor."""
    return service_of(site, who.user, account, Role.EDITOR)


Viewing = Annotated[Service, Depends(viewing)]
Watching = Annotated[Service, Depends(watching)]
Editing = Annotated[Service, Depends(editing)]


# -- programs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """The user of a program's token, and the account that the program acts for."""

    user: User
    account: str


def caller(
    request: Request, authorization: Annotated[str, Header()] = "",
    x_account: Annotated[str, Header(description="The account to act for (default: the token's).")] = "",
) -> Caller:
    """The user and account of the bearer token. Raises Unauthorized, NotFound, TooManyTries."""
    check_tries(request)
    scheme, _, secret = authorization.partition(" ")
    known = site_of(request).identity.bearer(secret.strip()) if scheme.lower() == "bearer" else None
    if known is None:
        if secret:
            count_failure(request)
        raise Unauthorized("a bearer token is needed" if not secret else "this token is not valid",
                           "`nfresume token create` creates one")
    user, token = known
    account = x_account or token.account or user.name
    if token.account not in (None, account):
        raise NotFound(f"you have no account {account!r}", "this token is for another account only")
    return Caller(user, account)


CallerOf = Annotated[Caller, Depends(caller)]


async def reading(site: SiteOf, who: CallerOf) -> AsyncIterator[Service]:
    """A Service for the token's account, for a viewer; waits while other reads are answered."""
    service = service_of(site, who.user, who.account, Role.VIEWER)
    async with site.reads:
        yield service


async def listening(site: SiteOf, who: CallerOf) -> Service:
    """The same for an event stream: it stays open and needs no processor, so that it does not wait."""
    return service_of(site, who.user, who.account, Role.VIEWER)


def writing(site: SiteOf, who: CallerOf) -> Service:
    """A Service for the token's account, for an editor."""
    return service_of(site, who.user, who.account, Role.EDITOR)


Reading = Annotated[Service, Depends(reading)]
Listening = Annotated[Service, Depends(listening)]
Writing = Annotated[Service, Depends(writing)]
