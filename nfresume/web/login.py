"""Logging in and out: by a link that works once, or with an OpenID Connect provider."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from nfresume.service.identity import SESSION
from nfresume.web import access, returning
from nfresume.web.access import PostedBy, SiteOf, Unauthorized
from nfresume.web.rendering import page
from nfresume.web.site import count_failure, site_of

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form(max_length=200)]


@router.get("/login")
def login_page(request: Request, site: SiteOf, token: str = "") -> HTMLResponse:
    """The page that a login link opens. Only its button uses the link up, so that a preview does not."""
    name = access.login_cookie_name(request)
    seed = request.cookies.get(name) or secrets.token_urlsafe(32)
    shown = page(request, "login.html", token=token[:200], csrf=access.login_token(seed),
                 oidc=bool(site.conf.oidc_issuer))
    shown.set_cookie(name, seed, max_age=3600, httponly=True, samesite="strict", secure=site.secure, path="/")
    return shown


@router.post("/login")
def log_in(request: Request, site: SiteOf, token: Text = "", csrf: Text = "") -> Response:
    """Log in with the secret of a login link. Raises Unauthorized, Forbidden, TooManyTries."""
    access.check_login_form(request, csrf)
    session = site.identity_of(request).log_in(token)
    if session is None:
        count_failure(request, "login link")
        raise Unauthorized("this login link was used before, or is too old",
                           "`nfresume login-link` prints a new one")
    return logged_in(request, session)


def logged_in(request: Request, session: str) -> Response:
    """A redirect to the page that was asked for, which sets the session's cookie, and ends an earlier one."""
    site, name = site_of(request), access.cookie_name(request)
    if before := request.cookies.get(name):
        site.identity_of(request).log_out(before)
    response = returning.after_log_in(request)
    response.set_cookie(name, session, max_age=round(SESSION.total_seconds()), httponly=True,
                        samesite="lax", secure=site.secure, path="/")
    response.delete_cookie(access.login_cookie_name(request), path="/", secure=site.secure, httponly=True)
    return response


@router.post("/logout")
def log_out(request: Request, site: SiteOf, who: PostedBy) -> Response:
    """End the session, also for copies of its cookie."""
    site.identity_of(request, who.user).log_out(who.session)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(access.cookie_name(request), path="/", secure=site.secure, httponly=True)
    return response
