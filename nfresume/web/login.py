"""Logging in and out: by a link that works once, or with an OpenID Connect provider."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from nfresume.service.identity import SESSION
from nfresume.web import access
from nfresume.web.access import COOKIE, PostedBy, Site, SiteOf, Unauthorized
from nfresume.web.rendering import page

router = APIRouter(include_in_schema=False)


@router.get("/login")
def login_page(request: Request, site: SiteOf, token: str = "") -> HTMLResponse:
    """The page that a login link opens. Only its button uses the link up, so that a preview does not."""
    return page(request, "login.html", token=token, oidc=bool(site.conf.oidc_issuer))


@router.post("/login")
def log_in(request: Request, site: SiteOf, token: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Log in with the secret of a login link. Raises Unauthorized, TooManyTries."""
    access.check_tries(request)
    session = site.identity.log_in(token)
    if session is None:
        access.count_failure(request)
        raise Unauthorized("this login link was used before, or is too old",
                           "`nfresume login-link` prints a new one")
    return logged_in(site, session)


def logged_in(site: Site, session: str) -> Response:
    """A redirect to the first page that sets the session's cookie."""
    response = RedirectResponse("/", 303)
    response.set_cookie(COOKIE, session, max_age=round(SESSION.total_seconds()), httponly=True,
                        samesite="lax", secure=site.secure, path="/")
    return response


@router.post("/logout")
def log_out(site: SiteOf, who: PostedBy) -> Response:
    """End the session, also for copies of its cookie."""
    site.identity.log_out(who.session)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/")
    return response
