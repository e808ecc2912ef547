"""Logging in with an OpenID Connect provider: authorization code with PKCE, by Authlib."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Form, Request
from fastapi.responses import Response

from nfresume.domain import admission
from nfresume.domain.errors import InvalidSettings, NfresumeError
from nfresume.settings import Settings
from nfresume.web import access
from nfresume.web.access import Forbidden, SiteOf
from nfresume.web.login import logged_in
from nfresume.web.rendering import page
from nfresume.web.site import Site, count_failure

router = APIRouter(include_in_schema=False)


class LogInFailed(NfresumeError):
    """The provider did not say who somebody is."""

    exit_code = 77
    http_status = 403


def install(app: FastAPI, conf: Settings) -> None:
    """Add the routes if a provider is set. Raises InvalidSettings if a setting or Authlib is missing."""
    if conf.oidc_issuer is None:
        return
    if not conf.oidc_client_id or not conf.oidc_client_secret or not conf.web_url:
        raise InvalidSettings("oidc_issuer is set without oidc_client_id, oidc_client_secret or web_url",
                              "set all four of them")
    try:
        from authlib.integrations.starlette_client import OAuth
        from starlette.middleware.sessions import SessionMiddleware
    except ImportError:
        raise InvalidSettings("oidc_issuer is set, and Authlib is not installed",
                              "pip install 'nfresume[oidc]'") from None
    secret = "".join(conf.oidc_client_secret)
    oauth = OAuth()
    oauth.register(
        "provider", client_id=conf.oidc_client_id, client_secret=secret,
        server_metadata_url=f"{conf.oidc_issuer}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256", "timeout": 10},
    )
    app.state.oauth = oauth.provider
    # The state of a log-in is in a signed cookie, because another server may receive the callback.
    app.add_middleware(
        SessionMiddleware, secret_key=hashlib.sha256(f"nfresume {secret}".encode()).hexdigest(),
        session_cookie=f"nfresume_oidc-{urlsplit(conf.web_url).port or ''}", max_age=600, same_site="lax",
        https_only=conf.web_url.startswith("https://"),
    )
    app.include_router(router)


@router.post("/login/oidc")
async def begin(request: Request, site: SiteOf, csrf: Annotated[str, Form(max_length=200)] = "") -> Response:
    """A page that leads to the provider. Raises Forbidden, and LogInFailed if it cannot be reached.

    Not a redirect: our policy lets a form lead to this site only.
    """
    access.check_login_form(request, csrf)
    try:
        answer = await request.app.state.oauth.authorize_redirect(
            request, f"{site.conf.web_url}/login/oidc/callback")
    except Exception as e:  # any failure of the provider or of the network
        raise LogInFailed(f"the log-in provider cannot be reached: {_text(e)}", "try again later") from e
    return page(request, "leave.html", target=answer.headers["location"])


@router.get("/login/oidc/callback")
async def end(request: Request, site: SiteOf) -> Response:
    """The provider's callback: log in the user who logged in there, if the site admits them.

    Raises LogInFailed, Forbidden. A forged callback fails: the state is in a cookie that only `begin` sets.
    So does the older one of two log-ins in a browser, which Authlib forgets.
    """
    try:
        token: dict[str, Any] = await request.app.state.oauth.authorize_access_token(request)
        claims = token["userinfo"]
        subject = str(claims["sub"])
        if not admission.is_for(claims, str(site.conf.oidc_issuer), str(site.conf.oidc_client_id)):
            raise ValueError("the answer is of another provider, or for another client")
    except Exception as e:  # a forged state, an expired code, an invalid answer of the provider
        raise LogInFailed(f"the log-in did not succeed: {_text(e)}",
                          "it took longer than ten minutes, or another tab began one later; log in again"
                          ) from e
    return await asyncio.to_thread(_admit, request, site, claims, subject)


def _admit(request: Request, site: Site, claims: Mapping[str, Any], subject: str) -> Response:
    conf = site.conf
    if not admission.admits(conf.oidc_admit, claims, conf.oidc_groups_claim):
        count_failure(request, "provider: not admitted")
        raise Forbidden("this site does not admit you",
                        "ask its administrator: the setting oidc_admit says who may enter")
    assert conf.oidc_issuer is not None
    return logged_in(request, site.identity_of(request).log_in_as(
        conf.oidc_issuer, subject, admission.wanted_name(claims), conf.oidc_first_role, _reserved(conf)))


def _reserved(conf: Settings) -> set[str]:
    """Account names of the settings, which no new user may get."""
    named = {conf.account, *(budget.account for budget in conf.budgets)}
    named |= {channel.account for channel in conf.notify}
    folders = {path.name for path in (conf.root, conf.web_launches) if path.is_dir()
               for path in path.iterdir() if path.is_dir()}
    return {name for name in named | folders if name}


def _text(error: Exception) -> str:
    return " ".join(f"{error}".split())[:200] or type(error).__name__
