"""The gate in front of every route: hosts, concurrency, and bodies, read only for who may send them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
from collections import Counter
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nfresume.domain.errors import NfresumeError, UsageError
from nfresume.domain.people import Role
from nfresume.service import submissions
from nfresume.system import logs
from nfresume.web import access, problems
from nfresume.web.problems import API
from nfresume.web.site import Site, client, client_network, digest_of, site_of

_log = logging.getLogger("nfresume.web")
KIB = 1024
#: Bytes of a body: of a form, of a log-in, of JSON or a form with parameters, of a launch with attachments.
FORM = 64 * KIB
LOG_IN = 4 * KIB
PARAMS = submissions.MAX_PARAMS + 200 * KIB
LAUNCH = submissions.MAX_ATTACHED + PARAMS
#: Requests of one user or address that are answered at a time, and those with a large body.
AT_ONCE = 8
LARGE_AT_ONCE = 2
LARGE_IN_ALL = 8
#: Open event streams of one user or address. They are no requests in progress.
STREAMS = 20
#: How long a client that is Busy waits for this answer.
BUSY_SECONDS = 1.0
#: A refused body of at most so many bytes is read before the answer.
DRAINED = 1_000_000
DRAIN_SECONDS = 2.0
#: A body must arrive in this time, plus a second for so many bytes.
BODY_SECONDS = 20.0
BYTES_PER_SECOND = 100_000
#: How long a client may not read its response.
READ_SECONDS = 60.0

_HOST = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?", re.ASCII)
_LAUNCH = re.compile(rf"{API}/runs/?")
_UPLOAD = re.compile(r"/a/[^/]+/launch")
_PARAMS = re.compile(rf"{API}/runs/[^/]+/relaunch|/a/[^/]+/launch|/a/[^/]+/executions/[^/]+/relaunch")
_LOG_IN = ("/login", "/login/oidc")
_NUL = (b"%00", b"\0", b"\\u0000")


class TooLarge(NfresumeError):
    """A body is larger than its route takes, or arrives too slowly."""

    exit_code = 64
    http_status = 413


class Busy(NfresumeError):
    """This user or address has too many requests in progress."""

    exit_code = 75
    http_status = 429


class Gate:
    """Plain ASGI, because Starlette's BaseHTTPMiddleware costs a task per request."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site
        self._hosts = _hosts(site.conf.web_url)
        self._busy: Counter[str] = Counter()
        self._large: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, body = Request(scope), _Unread(receive)
        with logs.about(request=secrets.token_hex(6)), _Watch(request, send) as watch:
            await self._answer(request, body, watch)

    async def _answer(self, request: Request, body: _Unread, send: Send) -> None:
        try:
            self._check_head(request)
            await self._within_limits(request, body, _patient(send))
        except NfresumeError as e:
            response = problems.of_error(request, e)
            if not body.read:
                await _drain(request, body)
            response.headers["Connection"] = "close"  # the rest of the body is not read
            if isinstance(e, Busy):
                response.headers["Retry-After"] = "2"
                await asyncio.sleep(BUSY_SECONDS)  # or a client that tries again at once would keep us busy
            await response(request.scope, body, send)

    def _check_head(self, request: Request) -> None:
        host = _host(request.headers.get("host", ""))
        if host not in self._hosts:
            raise UsageError(f"host {host[:100]!r} is not served here", "use the URL of the console")
        if b"%00" in request.scope.get("raw_path", b"") or b"%00" in request.scope["query_string"]:
            raise UsageError("the URL contains a NUL character", "remove it")

    async def _within_limits(self, request: Request, receive: Receive, send: Send) -> None:
        who = _principal(request)
        if self._busy[who] >= AT_ONCE:
            raise Busy(f"more than {AT_ONCE} requests at a time", "wait for the others")
        if self._streams[who] >= STREAMS and request.url.path.endswith("/events"):
            raise Busy(f"more than {STREAMS} event streams", "close some pages")
        slot = _Slot(self._busy, self._streams, who, send)
        try:
            if _has_body(request):
                await self._with_body(request, receive, slot)
            else:
                await self._app(request.scope, receive, slot)
        finally:
            slot.free()

    async def _with_body(self, request: Request, receive: Receive, send: Send) -> None:
        path = request.url.path
        limit = FORM
        if path in _LOG_IN:
            limit = LOG_IN
        else:
            if request.method == "POST":
                upload = _LAUNCH.fullmatch(path) or (_UPLOAD.fullmatch(path) and _is_multipart(request))
                limit = LAUNCH if upload else PARAMS if _PARAMS.fullmatch(path) else FORM
            await asyncio.to_thread(self._authorize, request, Role.EDITOR if limit > FORM else None)
        is_json = "json" in request.headers.get("content-type", "")
        limit = min(limit, PARAMS) if is_json else limit
        if _declared(request) > limit:
            raise TooLarge(f"{_declared(request):,} bytes are too large: at most {limit:,}", "send less")
        if limit <= FORM:
            await self._small_body(request, limit, receive, send)
        else:
            await self._large_body(request, limit, receive, send, is_json=is_json)

    async def _small_body(self, request: Request, limit: int, receive: Receive, send: Send) -> None:
        """Read the body before the application sees the request."""
        body = await _whole(receive, limit)
        if any(nul in body for nul in _NUL):
            raise UsageError("the body contains a NUL character", "remove it")
        submissions.check_structure(body, "the body")
        await self._app(request.scope, _replay(body, receive), send)

    async def _large_body(
        self, request: Request, limit: int, receive: Receive, send: Send, *, is_json: bool
    ) -> None:
        who = _principal(request)
        if self._large[who] >= LARGE_AT_ONCE or self._large.total() >= LARGE_IN_ALL:
            raise Busy("too many uploads at a time", "wait for the others")
        self._large[who] += 1
        limited = _Limited(receive, limit)
        try:
            if is_json:
                await self._small_body(request, limit, receive, send)
                return
            await self._app(request.scope, limited, limited.replace_by_error(request, send))
        finally:
            _decrease(self._large, who)

    def _authorize(self, request: Request, need: Role | None) -> None:
        """Raise Unauthorized, NotFound or Forbidden unless the sender of the head may send such a body."""
        if request.url.path.startswith(API):
            who = access.caller(request, request.headers.get("authorization", ""),
                                request.headers.get("x-account", ""))
            if need is not None:
                access.role_in(who.user, who.account, need)
            return
        visitor = access.visitor(request)
        access.check_origin(request)
        if need is not None and (account := access.ACCOUNT.match(request.url.path)):
            access.role_in(visitor.user, account[1], need)


def _decrease(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]


def _hosts(web_url: str | None) -> frozenset[str]:
    public = urlsplit(web_url).hostname if web_url else None
    return frozenset({"127.0.0.1", "localhost", "::1", *([public] if public else [])})


def _host(text: str) -> str:
    """The host of a Host header; empty for one with anything but a port beside it, such as a path or a user.

    What Starlette calls the URL of a request is made of this header.
    """
    found = _HOST.fullmatch(text)
    return found[1].strip("[]").lower() if found else ""


def _principal(request: Request) -> str:
    """Whom the limits count: a session or token that was valid lately, or else the address of the client.

    Secrets can be made up. The body of a log-in is read before anyone is known, so it counts for its address.
    """
    secret = request.headers.get("authorization") or request.cookies.get(access.cookie_name(request)) or ""
    digest = digest_of(secret)
    known = request.url.path not in _LOG_IN and digest in site_of(request).valid
    return digest if known else client_network(request)


def _has_body(request: Request) -> bool:
    length = request.headers.get("content-length", "")
    return "transfer-encoding" in request.headers or length not in ("", "0")


def _is_multipart(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


def _declared(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 16 else 0


async def _drain(request: Request, receive: Receive) -> None:
    """Read and drop a small body: closed in the middle of it, a browser would not show the answer.

    A body that does not arrive in DRAIN_SECONDS is given up: nobody holds a connection by being refused.
    """
    if 0 < _declared(request) <= DRAINED:
        limited = _Limited(receive, DRAINED)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while limited.error is None and (await limited()).get("more_body"):
                    pass


async def _whole(receive: Receive, limit: int) -> bytes:
    limited = _Limited(receive, limit)
    body = bytearray()
    while True:
        message = await limited()
        if limited.error is not None:
            raise limited.error
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()  # waits for the disconnect
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class _Watch:
    """Logs a request and counts its time. The query is left out: it may hold the secret of a login link."""

    def __init__(self, request: Request, send: Send) -> None:
        self._request = request
        self._send = send
        self._begun = time.monotonic()
        self._status = 0

    def __enter__(self) -> _Watch:
        return self

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if identifier := logs.current("request"):
                MutableHeaders(scope=message)["X-Request-ID"] = identifier
        await self._send(message)

    def __exit__(self, *failed: object) -> None:
        seconds = time.monotonic() - self._begun
        scope, path = self._request.scope, self._request.url.path
        route = getattr(scope.get("route"), "path", None)
        route = route or ("/static" if path.startswith("/static") else "other")
        status = self._status or (500 if failed[0] else 499)
        self._request.app.state.metrics.observe(self._request.method, route, status, seconds)
        quiet = route in ("/healthz", "/readyz", "/metrics", "/static")
        fields = {"seconds": round(seconds, 4), "address": client(self._request)}
        level = logging.DEBUG if quiet else logging.INFO
        _log.log(level, "%s %s %d", self._request.method, path[:200], status, extra={"fields": fields})


class _Unread:
    """Tells whether any part of the body was asked for."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.read = False

    async def __call__(self) -> Message:
        self.read = True
        return await self._receive()


class _Limited:
    """A body of limited size and time. Beyond a limit the application sees a disconnect."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0
        self._begun = time.monotonic()
        self.error: TooLarge | None = None

    async def __call__(self) -> Message:
        if self.error is not None:
            return {"type": "http.disconnect"}
        left = self._begun + BODY_SECONDS + self._size / BYTES_PER_SECOND - time.monotonic()
        try:
            async with asyncio.timeout(None if left == float("inf") else max(0.0, left)):
                message = await self._receive()
        except TimeoutError:
            self.error = TooLarge("the body arrives too slowly", "send it faster")
            return {"type": "http.disconnect"}
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            self.error = TooLarge(f"the body is larger than {self._limit:,} bytes", "send less")
            return {"type": "http.disconnect"}
        if not message.get("more_body"):
            self._begun = float("inf")  # whole: the application may wait for the disconnect
        return message

    def replace_by_error(self, request: Request, send: Send) -> Send:
        """Send the error in place of whatever the application makes of a body without its end."""
        answered = False

        async def send_or_refuse(message: Message) -> None:
            nonlocal answered
            if self.error is None:
                await send(message)
            elif not answered:
                answered = True
                response = problems.of_error(request, self.error)
                response.headers["Connection"] = "close"
                await response(request.scope, self._receive, send)

        return send_or_refuse


class _Slot:
    """One of a client's AT_ONCE requests; once it is answered by an event stream, one of its STREAMS."""

    def __init__(self, busy: Counter[str], streams: Counter[str], who: str, send: Send) -> None:
        self._counts = busy
        self._streams = streams
        self._who = who
        self._send = send
        busy[who] += 1

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and Headers(raw=message["headers"]).get(
                "content-type", "").startswith("text/event-stream"):
            self.free()
            self._counts = self._streams
            self._counts[self._who] += 1
        await self._send(message)

    def free(self) -> None:
        """Give the slot back."""
        _decrease(self._counts, self._who)


def _patient(send: Send) -> Send:
    """Give up on a client that does not read."""

    async def limited(message: Message) -> None:
        async with asyncio.timeout(READ_SECONDS):
            await send(message)

    return limited
