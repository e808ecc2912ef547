"""The settings page of an account: its members, and the user's own tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from nfresume.domain.errors import NotFound, UsageError
from nfresume.domain.people import Role
from nfresume.settings import SETTINGS
from nfresume.web.access import PostedBy, SiteOf, Viewing, Visitor, VisitorOf, role_in
from nfresume.web.rendering import page
from nfresume.web.routes import AccountRoute

router = APIRouter(route_class=AccountRoute, prefix="/a/{account}", include_in_schema=False)

#: The settings that the page shows; none of them is secret.
_TRAIL = 200
_SHOWN = ("storage_expiration_hours", "retain", "on_success", "price_per_gb_month", "price_per_cpu_hour",
          "currency", "web_pipelines", "web_profiles", "web_data", "sweep_seconds", "sample_seconds")


@router.get("/settings")
def settings_page(account: str, request: Request, site: SiteOf, who: VisitorOf, service: Viewing
                  ) -> HTMLResponse:
    """The account's members, the user's tokens, and some of the site's settings."""
    return _page(account, request, site, who, service)


def _page(
    account: str, request: Request, site: SiteOf, who: Visitor, service: Viewing, secret: str = ""
) -> HTMLResponse:
    rows = [(s.key, s.help, getattr(service.conf, s.key)) for s in SETTINGS if s.key in _SHOWN]
    return page(
        request, "settings.html", user=who.user, account=account, csrf=who.csrf, roles=list(Role),
        members=site.identity.members(account), tokens=site.identity.tokens(who.user.name), secret=secret,
        sessions=site.identity.sessions(who.user), session=who.token.id, settings=rows,
        invited=site.identity.invitations_to(account), offers=site.identity.invitations_of(who.user),
    )


@router.post("/tokens")
def create_token(
    account: str, request: Request, site: SiteOf, who: PostedBy,
    service: Viewing, name: Annotated[str, Form(min_length=1, max_length=100)],
    days: Annotated[float, Form(gt=0, le=3650)] = 365,
) -> HTMLResponse:
    """Create a token for this account. Only the returned page shows its secret."""
    secret = site.identity_of(request, who.user).create_token(who.user.name, name, account, days)
    return _page(account, request, site, who, service, secret)


@router.post("/tokens/{token_id}/revoke")
def revoke_token(account: str, token_id: str, request: Request, site: SiteOf, who: PostedBy) -> Response:
    """Revoke one of the user's own tokens."""
    site.identity_of(request, who.user).revoke(who.user.name, token_id)
    return RedirectResponse(f"/a/{account}/settings", 303)


@router.post("/sessions/{session_id}/end")
def end_session(account: str, session_id: str, request: Request, site: SiteOf, who: PostedBy) -> Response:
    """End one of the user's own sessions."""
    site.identity_of(request, who.user).end_session(who.user, session_id)
    return RedirectResponse(f"/a/{account}/settings", 303)


def owner(account: str, who: PostedBy) -> Visitor:
    """The user who sent a form. Raises NotFound or Forbidden unless they are an owner of the account."""
    role_in(who.user, account, Role.OWNER)
    return who


Owner = Annotated[Visitor, Depends(owner)]


@router.post("/members")
def set_role(
    account: str, request: Request, site: SiteOf, who: Owner,
    name: Annotated[str, Form(min_length=1, max_length=63)], role: Annotated[str, Form(max_length=20)],
) -> Response:
    """Set a member's role; `none` removes the member. Anybody else is invited, and has to accept."""
    if role not in ("none", *Role):
        raise UsageError(f"{role!r} is not a role", f"roles: {', '.join(Role)}, none")
    identity = site.identity_of(request, who.user)
    wanted = None if role == "none" else Role(role)
    if name in {member.name for member, _ in site.identity.members(account)}:
        identity.set_role(name, account, wanted)
    elif wanted is None:
        identity.withdraw(account, name)
    else:
        identity.invite(account, name, wanted)
    return RedirectResponse(f"/a/{account}/settings", 303)


@router.post("/invitation")
def answer_invitation(
    account: str, request: Request, site: SiteOf, who: PostedBy, answer: Annotated[str, Form(max_length=20)],
) -> Response:
    """Accept or decline an invitation to the account in the path."""
    if answer not in ("accept", "decline"):
        raise NotFound(f"there is no answer {answer!r}", "accept or decline")
    site.identity_of(request, who.user).answer(who.user, account, accept=answer == "accept")
    return RedirectResponse("/", 303)


@router.get("/audit")
def audit_page(account: str, request: Request, site: SiteOf, who: VisitorOf, service: Viewing
               ) -> HTMLResponse:
    """The audit trail of the account, for its owners."""
    role_in(who.user, service.account, Role.OWNER)
    return page(request, "audit.html", user=who.user, account=account, csrf=who.csrf,
                entries=site.identity.audit(account, limit=_TRAIL))
