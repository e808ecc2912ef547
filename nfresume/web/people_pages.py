"""Pages about people: an account's members, and one's own tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from nfresume.domain.errors import UsageError
from nfresume.domain.people import Role
from nfresume.settings import SETTINGS
from nfresume.web.access import PostedBy, SiteOf, Viewing, Visitor, VisitorOf, role_in
from nfresume.web.rendering import page

router = APIRouter(prefix="/a/{account}", include_in_schema=False)

#: Settings that concern what a user of the console sees; none of them is secret.
_SHOWN = ("storage_expiration_hours", "retain", "on_success", "price_per_gb_month", "price_per_cpu_hour",
          "currency", "web_pipelines", "web_profiles", "sweep_seconds", "sample_seconds")


@router.get("/settings")
def settings_page(account: str, request: Request, here: SiteOf, who: VisitorOf, service: Viewing
                  ) -> HTMLResponse:
    """Members, tokens, and the site's settings as far as they concern a user."""
    return _page(account, request, here, who, service)


def _page(
    account: str, request: Request, here: SiteOf, who: Visitor, service: Viewing, secret: str = ""
) -> HTMLResponse:
    rows = [(s.key, s.help, getattr(service.conf, s.key)) for s in SETTINGS if s.key in _SHOWN]
    return page(
        request, "settings.html", user=who.user, account=account, csrf=who.csrf, roles=list(Role),
        members=here.identity.members(account), tokens=here.identity.tokens(who.user.name), secret=secret,
        settings=rows,
    )


@router.post("/tokens")
def create_token(
    account: str, request: Request, here: SiteOf, who: PostedBy,
    service: Viewing, name: Annotated[str, Form(min_length=1, max_length=100)],
    days: Annotated[float, Form(gt=0, le=3650)] = 365,
) -> HTMLResponse:
    """A new token for this account; its secret is on the page that comes back, and nowhere else."""
    secret = here.identity.create_token(who.user.name, name, account, days)
    return _page(account, request, here, who, service, secret)


@router.post("/tokens/{token_id}/revoke")
def revoke_token(account: str, token_id: str, here: SiteOf, who: PostedBy) -> Response:
    """End one of the user's own tokens."""
    here.identity.revoke(who.user.name, token_id)
    return RedirectResponse(f"/a/{account}/settings", 303)


def owner(account: str, who: PostedBy) -> Visitor:
    """Who sent a form, being an owner of the account."""
    role_in(who.user, account, Role.OWNER)
    return who


@router.post("/members", dependencies=[Depends(owner)])
def set_role(
    account: str, here: SiteOf,
    name: Annotated[str, Form(min_length=1, max_length=63)], role: Annotated[str, Form()],
) -> Response:
    """Give, change or take (`none`) a member's role."""
    if role not in ("none", *Role):
        raise UsageError(f"{role!r} is no role", f"one of {', '.join(Role)}, none")
    here.identity.set_role(name, account, None if role == "none" else Role(role))
    return RedirectResponse(f"/a/{account}/settings", 303)
