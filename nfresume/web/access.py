"""Who sends a request, for which account, and whether their role allows it. Only this module decides it."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Header, Request

from nfresume.domain.errors import NfresumeError, NotFound
from nfresume.domain.people import Actor, Role, Token, User, csrf, web_actor
from nfresume.service import submissions
from nfresume.service.verbs import Service
from nfresume.system import logs
from nfresume.web.site import Site, client, count_failure, site_of

_COOKIE = "nfresume"
#: Holds what the log-in form must repeat, so that no other site can log a browser in.
_LOGIN_COOKIE = "nfresume_login"
#: The account that a page is of.
ACCOUNT = re.compile(r"/a/([^/]+)/")
#: Fields of a form. A pipeline may have a thousand parameters, and each up to three fields.
_FIELDS = 5000


class Unauthorized(NfresumeError):
    """Nobody is logged in, or the token is not valid."""

    exit_code = 77
    http_status = 401


class Forbidden(NfresumeError):
    """The role does not allow this, or the request did not come from a form of the console."""

    exit_code = 77
    http_status = 403


async def _site(request: Request) -> Site:
    return site_of(request)  # async: FastAPI would run a plain function in a thread


SiteOf = Annotated[Site, Depends(_site)]


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

    @property
    def home(self) -> str:
        """The account that is shown first: the user's only shared one, or else their own."""
        name, roles = self.user.name, self.user.roles
        own = name if name in roles else next(iter(roles), name)
        others = [account for account in roles if account != own]
        return others[0] if len(others) == 1 else own


def cookie_name(request: Request) -> str:
    """The name of the session's cookie. With HTTPS browsers let only this very host set it (`__Host-`)."""
    return cookie(request, _COOKIE)


def login_cookie_name(request: Request) -> str:
    """The name of the cookie of the log-in form."""
    return cookie(request, _LOGIN_COOKIE)


def cookie(request: Request, name: str) -> str:
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
    site_of(request).note_valid(session)
    request.state.visitor = found = Visitor(known[0], session, known[1])
    return found


VisitorOf = Annotated[Visitor, Depends(visitor)]


def maybe_visitor(request: Request) -> Visitor | None:
    """The user who is logged in, for pages that everybody may see; None also without a database."""
    try:
        return visitor(request)
    except NfresumeError:
        return None


MaybeVisitor = Annotated[Visitor | None, Depends(maybe_visitor)]


def noted_visitor(request: Request) -> Visitor | None:
    """The user whom this request was found to be from, if that was asked before."""
    found: Visitor | None = getattr(request.state, "visitor", None)
    return found


def navigation(request: Request, who: Visitor | None) -> dict[str, Any]:
    """What a page needs for its navigation: the user, and the account of its URL, if it is one of theirs."""
    if who is None:
        return {}
    named = ACCOUNT.match(request.url.path)
    account = named[1] if named and named[1] in who.user.roles else who.home
    return {"user": who.user, "account": account, "csrf": who.csrf}


async def posted(request: Request, who: VisitorOf) -> AsyncIterator[Visitor]:
    """The user who sent a form. Raises Forbidden without this session's token or from a foreign page."""
    check_origin(request)
    async with request.form(max_fields=_FIELDS, max_part_size=submissions.MAX_PARAMS) as form:
        token = form.get("csrf")
        if not isinstance(token, str) or not secrets.compare_digest(token.encode(), who.csrf.encode()):
            raise Forbidden("this form is from another session",
                            "go back, reload the page, and try again")
        yield who


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
    site_of(request).note_valid(authorization)
    user, token = known
    account = x_account or token.account or user.name
    if token.account not in (None, account):
        raise NotFound(f"you have no account {account!r}", "this token is for another account only")
    return Caller(user, account, token)


CallerOf = Annotated[Caller, Depends(caller)]


def maybe_caller(
    request: Request, authorization: Annotated[str, Header()] = "",
    x_account: Annotated[str, Header(description="The account to act for (default: the token's).")] = "",
) -> Caller | None:
    """The user and account of the bearer token, for what is public; None without a valid one."""
    try:
        who = caller(request, authorization, x_account)
        role_in(who.user, who.account, Role.VIEWER)
    except (Unauthorized, NotFound):
        return None
    return who


async def reading(request: Request, site: SiteOf, who: CallerOf) -> AsyncIterator[Service]:
    """A Service for the token's account, for a viewer; waits while other reads are answered."""
    service = service_of(request, who.user, who.account, Role.VIEWER)
    async with site.reads.slot(who.user.id):
        yield service


async def maybe_reading(
    request: Request, site: SiteOf, who: Annotated[Caller | None, Depends(maybe_caller)],
) -> AsyncIterator[Service | None]:
    """The same for what is public; None without a valid token."""
    if who is None:
        yield None
        return
    async with site.reads.slot(who.user.id):
        yield service_of(request, who.user, who.account, Role.VIEWER)


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
MaybeReading = Annotated[Service | None, Depends(maybe_reading, scope="function")]
Listening = Annotated[Service, Depends(listening)]
Writing = Annotated[Service, Depends(writing)]
Governing = Annotated[Service, Depends(governing)]
