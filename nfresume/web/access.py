"""Who is asking, for which account, and whether they may: the one place that scopes by account."""

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
_RECENT_SECONDS = 2.0
#: Pages made at once. They are computed rather than waited for: more of them only fight for the interpreter,
#: and then a burst is never worked off. What changes something is not limited: it waits for disks.
_COMPUTING = 4
#: Failed log-ins and bad tokens that one address may have in a minute.
TRIES = RateLimitItemPerMinute(20)


class Unauthorized(NfresumeError):
    """Nobody is logged in, or the token does not hold."""

    exit_code = 77
    http_status = 401


class Forbidden(NfresumeError):
    """The role does not allow this, or the request was not made from a form of ours."""

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
    computing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_COMPUTING))
    known: dict[tuple[str, str], tuple[float, Any]] = field(default_factory=dict)

    def recent(self, what: str, whose: str, look: Callable[[], Result]) -> Result:
        """What `look` finds, or found two seconds ago at most: for what every page shows."""
        at, found = self.known.get((what, whose), (0.0, None))
        if found is None or time.monotonic() - at > _RECENT_SECONDS:
            found = look()
            self.known[what, whose] = (time.monotonic(), found)
        return cast("Result", found)

    @classmethod
    def open(cls, conf: Settings, store: Store) -> Site:
        """With a limiter of this process."""
        return cls(conf, store, Identity(store), MovingWindowRateLimiter(MemoryStorage()))

    @property
    def secure(self) -> bool:
        """True when browsers reach us by HTTPS, so that cookies may be kept from anything else."""
        return (self.conf.web_url or "").startswith("https://")


async def site(request: Request) -> Site:
    """The site of the application; async, because FastAPI would run anything else in a thread."""
    return _site(request)


def _site(request: Request) -> Site:
    found: Site = request.app.state.site
    return found


SiteOf = Annotated[Site, Depends(site)]


def client(request: Request) -> str:
    """The address that a request came from."""
    return request.client.host if request.client else "unknown"


def failed(request: Request) -> None:
    """Count a secret that did not hold. Raises TooManyTries."""
    limiter = _site(request).limiter
    if not limiter.hit(TRIES, client(request)):
        raise TooManyTries("too many failed tries from this address", "wait a minute")


def check_tries(request: Request) -> None:
    """Refuse an address with too many failed tries. Raises TooManyTries."""
    if not _site(request).limiter.test(TRIES, client(request)):
        raise TooManyTries("too many failed tries from this address", "wait a minute")


# -- browsers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Visitor:
    """A user in a browser, with the session's secret."""

    user: User
    session: str

    @property
    def csrf(self) -> str:
        """What every form of this session sends along."""
        return csrf(self.session)


def visitor(request: Request) -> Visitor:
    """Who is logged in. Raises Unauthorized."""
    session = request.cookies.get(COOKIE, "")
    user = _site(request).identity.session(session) if session else None
    if user is None:
        raise Unauthorized("you are not logged in", "log in first")
    return Visitor(user, session)


VisitorOf = Annotated[Visitor, Depends(visitor)]


def posted(request: Request, who: VisitorOf, token: Annotated[str, Form(alias="csrf")] = "") -> Visitor:
    """Who sent a form of ours: with this session's token, and from our own pages. Raises Forbidden."""
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if foreign or not secrets.compare_digest(token.encode(), who.csrf.encode()):
        raise Forbidden("this form is not from here, or is too old",
                        "go back, reload the page, and try again")
    return who


PostedBy = Annotated[Visitor, Depends(posted)]


def role_in(user: User, account: str, need: Role) -> Role:
    """The user's role in an account. Raises NotFound for others' accounts, Forbidden for too small a role."""
    role = user.roles.get(account)
    if role is None:
        raise NotFound(f"there is no account {account!r} of yours", "choose one of yours")
    if not role.includes(need):
        raise Forbidden(f"a {role} of account {account} may not do this", f"ask an owner to make you {need}")
    return role


def service_of(here: Site, user: User, account: str, need: Role) -> Service:
    """The verbs, for one of the user's accounts."""
    role_in(user, account, need)
    return Service(here.conf.for_account(account), store=here.store, actor=f"{user.name}@web")


async def viewing(account: str, here: SiteOf, who: VisitorOf) -> AsyncIterator[Service]:
    """The verbs for the account in a page's path, to look; a few pages at once, the others wait."""
    service = service_of(here, who.user, account, Role.VIEWER)
    async with here.computing:
        yield service


async def watching(account: str, here: SiteOf, who: VisitorOf) -> Service:
    """The same for what stays open, and computes nothing."""
    return service_of(here, who.user, account, Role.VIEWER)


def editing(account: str, here: SiteOf, who: PostedBy) -> Service:
    """The verbs for the account in a form's path, to change something."""
    return service_of(here, who.user, account, Role.EDITOR)


Viewing = Annotated[Service, Depends(viewing)]
Watching = Annotated[Service, Depends(watching)]
Editing = Annotated[Service, Depends(editing)]


# -- programs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """A program with a token, acting for one account."""

    user: User
    account: str


def caller(
    request: Request, authorization: Annotated[str, Header()] = "",
    x_account: Annotated[str, Header(description="The account to act for (default: the token's).")] = "",
) -> Caller:
    """Who holds the bearer token. Raises Unauthorized, NotFound, TooManyTries."""
    check_tries(request)
    scheme, _, secret = authorization.partition(" ")
    known = _site(request).identity.bearer(secret.strip()) if scheme.lower() == "bearer" else None
    if known is None:
        if secret:
            failed(request)
        raise Unauthorized("a bearer token is needed" if not secret else "this token does not hold",
                           "`nfresume token create` makes one")
    user, token = known
    account = x_account or token.account or user.name
    if token.account not in (None, account):
        raise NotFound(f"there is no account {account!r} of yours", "the token is another account's")
    return Caller(user, account)


CallerOf = Annotated[Caller, Depends(caller)]


async def reading(here: SiteOf, who: CallerOf) -> AsyncIterator[Service]:
    """The verbs, to look; a few requests at once."""
    service = service_of(here, who.user, who.account, Role.VIEWER)
    async with here.computing:
        yield service


async def listening(here: SiteOf, who: CallerOf) -> Service:
    """The same for what stays open, and computes nothing."""
    return service_of(here, who.user, who.account, Role.VIEWER)


def writing(here: SiteOf, who: CallerOf) -> Service:
    """The verbs, to change something."""
    return service_of(here, who.user, who.account, Role.EDITOR)


Reading = Annotated[Service, Depends(reading)]
Listening = Annotated[Service, Depends(listening)]
Writing = Annotated[Service, Depends(writing)]
