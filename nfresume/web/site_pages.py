"""The first page, the billing page, the page about the API, live events for browsers, and plotly.js."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from nfresume.billing import as_json
from nfresume.billing.report import By
from nfresume.billing.usage import CACHES
from nfresume.domain.periods import Period, period
from nfresume.service.verbs import Service
from nfresume.system import acting
from nfresume.web import access
from nfresume.web.access import MaybeVisitor, SiteOf, Viewing, Visitor, VisitorOf, Watching
from nfresume.web.problems import API
from nfresume.web.rendering import page
from nfresume.web.routes import AccountRoute

router = APIRouter(route_class=AccountRoute, include_in_schema=False)
_PART = 64 * 1024
_compressing = asyncio.Lock()
#: The figures of a billing page are shown for so long, if nothing has happened: usage grows meanwhile.
_BILLING_SECONDS = 60.0
#: The periods that a billing page offers.
_PERIODS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days", "365d": "a year"}
#: The groupings whose costs a billing page has only when it is asked for them.
_EXTRA = (By.ACCOUNT, By.PROCESS, By.DAY)
Result = TypeVar("Result")


@router.get("/")
def first_page(who: VisitorOf) -> Response:
    """Redirect to the executions of an account: the user's only shared one, or else their own."""
    return RedirectResponse(f"/a/{who.home}/executions", 303)


@router.get("/docs")
def docs(request: Request, who: MaybeVisitor) -> HTMLResponse:
    """The page that says how programs use the API."""
    return page(request, "docs.html", **access.navigation(request, who), api=API)


Since = Annotated[str, Query(max_length=20)]


@router.get("/a/{account}/billing")
def billing(
    account: str, request: Request, site: SiteOf, who: VisitorOf, service: Viewing, since: Since = "30d",
    by: Annotated[str, Query(max_length=20)] = "",
) -> HTMLResponse:
    """What storage costs: the report and its plots; with `by`, one more grouping of the costs."""
    version = service.costs_version()

    def cached(kind: str, compute: Callable[[], Result]) -> tuple[Result, bool]:
        def acting_as_user() -> Result:
            with acting.for_looking(service.conf, service.account):
                return compute()

        if since not in _PERIODS:  # others are not kept: there is no end of them
            return compute(), False
        return site.renewed(kind, f"{account} {since}", acting_as_user, _BILLING_SECONDS, version)

    found, old = cached("billing", lambda: service.costs_figures(_period(since)))
    grouping = By(by) if by in list(By) else None
    accounts = _accounts(grouping, who, service)
    extra, older = cached(f"billing {grouping} {accounts}", lambda: service.costs_lines(
        grouping, accounts, _period(since))[0]) if grouping in _EXTRA else (None, False)
    return page(
        request, "billing.html", user=who.user, account=account, csrf=who.csrf, found=found, since=since,
        figures=json.dumps(found.figures), caches=set(CACHES.values()), extra=extra, by=grouping,
        periods=_PERIODS, old=old or older,
        title="Nextflow EFS" if site.cached("efs", "", lambda: (service.on_efs,))[0] else "Nextflow storage",
    )


def _accounts(by: By | None, who: Visitor, service: Service) -> list[str]:
    """The accounts whose costs a grouping shows: by account all of the user's."""
    return sorted(who.user.roles) if by is By.ACCOUNT else [service.account]


def _period(since: str) -> Callable[[datetime], Period]:
    return lambda now: period(now, since=since, start=None, end=None, month=None)


@router.get("/a/{account}/billing.csv")
def billing_csv(
    account: str, who: VisitorOf, service: Viewing, since: Since = "30d",
    by: Annotated[By, Query()] = By.EXECUTION,
) -> Response:
    """The costs by a grouping as CSV; by account those of all accounts of the user."""
    lines, currency = service.costs_lines(by, _accounts(by, who, service), _period(since))
    return Response(as_json.csv(by, lines, currency), media_type="text/csv; charset=utf-8", headers={
        "Content-Disposition": f"attachment; filename=costs-{account}-by-{by}.csv"})


@router.get("/a/{account}/events", response_class=StreamingResponse)
async def events(
    request: Request, who: VisitorOf, service: Watching, execution: str | None = None
) -> StreamingResponse:
    """Server-sent events for a page."""
    if execution is not None:
        await asyncio.to_thread(service.get, execution)
    stream = request.app.state.changes.listen(service.account, execution, who.user, who.token)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.get("/plotly.js")
async def plotly(request: Request) -> StreamingResponse:
    """The JavaScript library that draws the plots, from the Python package; 4.8 MB, compressed 1.4 MB.

    It is sent in parts, so that a client which does not read fills no memory.
    """
    plain = "gzip" not in request.headers.get("accept-encoding", "")
    async with _compressing:  # once, however many ask at a time
        data = await asyncio.to_thread(_plotly, plain=plain)
    headers = {"Cache-Control": "max-age=86400", "Vary": "Accept-Encoding", "Content-Length": str(len(data))}
    if not plain:
        headers["Content-Encoding"] = "gzip"
    return StreamingResponse(_parts(data), media_type="text/javascript", headers=headers)


@functools.lru_cache(maxsize=2)
def _plotly(*, plain: bool) -> bytes:
    from plotly.offline import get_plotlyjs

    script = get_plotlyjs().encode()
    return script if plain else gzip.compress(script, 6, mtime=0)


async def _parts(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PART):
        yield data[start:start + _PART]
