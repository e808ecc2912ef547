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
def login_page(request: Request, here: SiteOf, token: str = "") -> HTMLResponse:
    """A link leads here; it counts when its button is pressed, so that a preview of it uses nothing up."""
    return page(request, "login.html", token=token, oidc=bool(here.conf.oidc_issuer))


@router.post("/login")
def log_in(request: Request, here: SiteOf, token: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Use a login link. Raises Unauthorized, TooManyTries."""
    access.check_tries(request)
    session = here.identity.log_in(token)
    if session is None:
        access.failed(request)
        raise Unauthorized("this login link was used before, or is too old",
                           "`nfresume login-link` prints a new one")
    return logged_in(here, session)


def logged_in(here: Site, session: str) -> Response:
    """To the first page, with the session's cookie."""
    response = RedirectResponse("/", 303)
    response.set_cookie(COOKIE, session, max_age=round(SESSION.total_seconds()), httponly=True,
                        samesite="lax", secure=here.secure, path="/")
    return response


@router.post("/logout")
def log_out(here: SiteOf, who: PostedBy) -> Response:
    """End the session everywhere."""
    here.identity.log_out(who.session)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/")
    return response
