"""The list of executions, and changes of several of them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from nfresume.domain import costs, retention
from nfresume.domain.costs import Price
from nfresume.domain.errors import NfresumeError, UsageError
from nfresume.domain.executions import Execution, ExecutionState
from nfresume.domain.people import Role
from nfresume.domain.workdirs import WorkDirState
from nfresume.service import submissions
from nfresume.service.submissions import Resubmission
from nfresume.service.verbs import Service
from nfresume.store import listing
from nfresume.store.listing import Filter
from nfresume.web.access import Editing, SiteOf, Viewing, VisitorOf
from nfresume.web.rendering import page
from nfresume.web.routes import AccountRoute

router = APIRouter(route_class=AccountRoute, prefix="/a/{account}", include_in_schema=False)

_PAGE = 25  # executions
#: So many executions are changed at once.
_AT_ONCE = 500
#: The columns: title, the orders of a click, and whether it is a number.
_COLUMNS = (("execution", ("id", "id-down"), False), ("state", ("state", "state-down"), False),
            ("pipeline", ("pipeline", "pipeline-down"), False), ("tasks", (), False),
            ("launched", ("newest", "oldest"), False), ("by", (), False), ("took", (), True),
            ("kept", ("size", "size-down"), True), ("a month", ("size", "size-down"), True),
            ("expires in", ("expiry", "expiry-down"), False))
#: The orders that begin with the largest value.
_DOWN = ("newest", "size", "id-down", "state-down", "pipeline-down", "expiry-down")
#: Links to lists that are often wanted: their title, and their query.
_VIEWS = (("All", ""), ("Running", "state=RUNNING"), ("Failed", "state=FAILED"),
          ("Kept, expiring first", "work=RETAINED&sort=expiry"),
          ("Kept, largest first", "work=RETAINED&sort=size"))
ACTIONS = {"relaunch": "Relaunch from the failed task", "extend": "Keep for longer",
           "delete": "Delete work dirs"}


@dataclass(frozen=True)
class Chosen:
    """What a list shows: the filter, as it is and as the texts of its form, and the order."""

    wanted: Filter
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def sort(self) -> str:
        return self.texts.get("sort") or "newest"

    def link(self, **changes: object) -> str:
        """The URL of this list with changes; what is empty, or as it is anyhow, is left out."""
        pairs = {**self.texts, **changes}
        if pairs.get("sort") == "newest":
            del pairs["sort"]
        return "?" + urlencode({name: value for name, value in pairs.items() if value not in ("", None, 0)})


def _short(most: int) -> Any:
    return Query(max_length=most)


def chosen(
    state: Annotated[str, _short(20)] = "", work: Annotated[str, _short(20)] = "",
    search: Annotated[str, _short(200)] = "", pipeline: Annotated[str, _short(200)] = "",
    user: Annotated[str, _short(100)] = "", tag: Annotated[str, _short(200)] = "",
    since: Annotated[str, _short(10)] = "", until: Annotated[str, _short(10)] = "",
    sort: Annotated[str, _short(20)] = "newest",
) -> Chosen:
    """What the query of a list asks for. What it does not know filters nothing."""
    return _chosen({"state": state, "work": work, "search": search, "pipeline": pipeline, "user": user,
                    "tag": tag, "since": since, "until": until, "sort": sort})


def _chosen(texts: dict[str, str]) -> Chosen:
    return Chosen(Filter(
        tuple(s for s in ExecutionState if s == texts["state"].upper()),
        tuple(s for s in WorkDirState if s == texts["work"].upper()),
        texts["search"].strip(), texts["pipeline"].strip(), texts["user"].strip(), texts["tag"].strip(),
        _day(texts["since"]), _day(texts["until"], timedelta(days=1))), texts)


def _day(text: str, more: timedelta = timedelta()) -> datetime | None:
    """The start of a day in UTC, and a time after it; None for anything else."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + more
    except (ValueError, OverflowError):
        return None


ChosenOf = Annotated[Chosen, Depends(chosen)]


@router.get("/executions")
def list_page(
    account: str, request: Request, site: SiteOf, who: VisitorOf, service: Viewing, chosen: ChosenOf,
    after: Annotated[str, Query(max_length=300)] = "",
) -> HTMLResponse:
    """The account's executions: filtered, searched, sorted, counted and paged by the server."""
    offset = int(after) if after.isdecimal() and len(after) < 10 else 0
    counts = site.cached("counts", account, service.state_counts)
    found = service.search(chosen.wanted, chosen.sort, limit=_PAGE, offset=offset)
    if chosen.wanted.everything:
        total = sum(counts.values())
    elif len(found) == _PAGE or (offset and not found):  # not the last page
        counted = site.cached("count", f"{account}{chosen.wanted}", lambda: service.count(chosen.wanted))
        total = max(offset + len(found), counted)
    else:
        total = offset + len(found)
    return page(
        request, "executions.html", user=who.user, account=account, csrf=who.csrf, found=found, total=total,
        most=listing.MOST_COUNTED, offset=offset, page_size=_PAGE, chosen=chosen, columns=_COLUMNS,
        down=_DOWN, states=list(ExecutionState), works=list(WorkDirState), counts=counts,
        price=_price(site, service, found), tasks=service.task_counts(found),
        outcomes=service.run_outcomes(found), views=_views(who.user.name),
        may_edit=who.user.roles[account].includes(Role.EDITOR),
    )


def _views(user: str) -> list[tuple[str, str]]:
    """The views of a user: their title, and the URL as a list writes it."""
    return [(title, _of_query(query).link()) for title, query in (
        *_VIEWS, ("Mine", urlencode({"user": f"{user}@"})))]


def _price(site: SiteOf, service: Service, found: list[Execution]) -> Price | None:
    return site.cached("price", found[0].root_id, lambda: service.price(found[0])) if found else None


@dataclass(frozen=True)
class Bulk:
    """What a confirmation says: the executions that change, those that cannot, and bytes and money.

    `more`: more match than are changed at once.
    """

    action: str
    hours: str
    can: list[Execution]
    cannot: list[tuple[Execution, str]]
    price: Price | None
    more: bool = False

    @property
    def metered(self) -> int:
        return sum(e.work_dir.metered_bytes or 0 for e in self.can)

    @property
    def per_month(self) -> Decimal:
        return costs.cost_per_month(self.metered, self.price.per_gb_month) if self.price else Decimal(0)

    @property
    def extension(self) -> Decimal:
        """What keeping them for the hours costs."""
        hours = _number(self.hours)
        return costs.cost_until(self.metered, hours, self.price.per_gb_month) if self.price else Decimal(0)


def _number(hours: str) -> float:
    """The hours of a form; 0 for a text that an extension refuses."""
    try:
        return retention.check_hours(hours, "hours")
    except ValueError:
        return 0.0


@router.post("/executions")
def bulk(
    account: str, request: Request, site: SiteOf, who: VisitorOf, service: Editing,
    action: Annotated[str, Form(max_length=20)], back: Annotated[str, Form(max_length=2000)] = "",
    chosen_ids: Annotated[list[str] | None, Form(alias="id")] = None,
    hours: Annotated[str, Form(max_length=20)] = "48", every: Annotated[str, Form(alias="all")] = "",
    confirmed: Annotated[str, Form()] = "",
) -> Response:
    """Relaunch, extend or delete executions, after one confirmation that says what that means."""
    if action not in ACTIONS:
        raise UsageError(f"{action[:20]!r} is no action", f"one of {', '.join(ACTIONS)}")
    ids = list(dict.fromkeys(chosen_ids or []))[:_AT_ONCE]
    if confirmed:
        refused = _do(service, action, ids, hours)
        if not refused:
            return RedirectResponse(f"/a/{account}/executions{_back(back)}", 303)
        return page(request, "bulk_refused.html", 409, user=who.user, account=account, csrf=who.csrf,
                    refused=refused, done=len(ids) - len(refused), action=action, back=_back(back))
    found = _matching(service, back) if every else _all(service, ids)
    asked = _sorted_out(action, found[:_AT_ONCE], hours, _price(site, service, found))
    return page(request, "bulk.html", user=who.user, account=account, csrf=who.csrf,
                bulk=replace(asked, more=len(found) > _AT_ONCE),
                actions=ACTIONS, back=_back(back))


def _back(text: str) -> str:
    """The query of the list to return to: only what a list knows."""
    return _of_query(text).link()


def _of_query(text: str) -> Chosen:
    from urllib.parse import parse_qs

    given = {name: values[-1][:200] for name, values in parse_qs(text.lstrip("?")).items()}
    names = ("state", "work", "search", "pipeline", "user", "tag", "since", "until", "sort")
    return _chosen({name: given.get(name, "") for name in names})


def _matching(service: Service, query: str) -> list[Execution]:
    """The newest that match the query of a list. Only work dirs that are kept can be changed."""
    wanted = _of_query(query).wanted
    if not wanted.work_dirs:
        wanted = replace(wanted, work_dirs=(WorkDirState.RETAINED,))
    return service.search(wanted, "newest", limit=_AT_ONCE + 1, offset=0)


def _all(service: Service, ids: list[str]) -> list[Execution]:
    """The account's executions with these ids; others are left out."""
    found = []
    for execution_id in ids:
        try:
            found.append(service.get(execution_id))
        except NfresumeError:
            continue  # of another account, or gone: nothing is said of it
    return found


def _sorted_out(action: str, found: list[Execution], hours: str, price: Price | None) -> Bulk:
    can, cannot = [], []
    for e in found:
        if reason := _stays(action, e, hours):
            cannot.append((e, reason))
        else:
            can.append(e)
    return Bulk(action, hours, can, cannot, price)


def _stays(action: str, e: Execution, hours: str) -> str:
    """Why an action of many executions leaves one as it is; empty if it does not."""
    if e.work_dir.state is not WorkDirState.RETAINED:
        return f"its work dir is {e.work_dir.state.lower()}"
    if action != "relaunch" and e.work_dir.pinned:
        return "it is pinned"
    wanted, until = _number(hours), e.work_dir.expires_at
    if action == "extend" and wanted and until and until > datetime.now(UTC) + timedelta(hours=wanted):
        return "it is kept for longer already"
    return ""


def _do(service: Service, action: str, ids: list[str], hours: str) -> list[tuple[str, str]]:
    """Change executions one after another; those that refuse, with the reason."""
    actions: dict[str, Callable[[Execution], object]] = {
        "extend": lambda e: service.extend(e, hours), "delete": service.mark_for_deletion,
        "relaunch": lambda e: submissions.resubmit(service, e, Resubmission())}
    refused = []
    for execution_id in ids:
        try:
            e = service.get(execution_id)
            if action == "extend" and (reason := _stays(action, e, hours)):
                refused.append((execution_id, reason))
                continue
            actions[action](e)
        except (NfresumeError, OSError) as error:
            refused.append((execution_id, str(error)))
    return refused
