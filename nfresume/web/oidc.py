"""Logging in with an OpenID Connect provider: authorization code with PKCE, by Authlib."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response

from nfresume.domain.errors import InvalidSettings
from nfresume.settings import Settings
from nfresume.web.access import SiteOf, Unauthorized
from nfresume.web.login import logged_in

router = APIRouter(include_in_schema=False)


def install(app: FastAPI, conf: Settings) -> None:
    """Add the routes, when the settings name a provider. Raises InvalidSettings when something is missing."""
    if conf.oidc_issuer is None:
        return
    if not conf.oidc_client_id or not conf.oidc_client_secret or not conf.web_url:
        raise InvalidSettings("oidc_issuer is set without oidc_client_id, oidc_client_secret or web_url",
                              "all four belong together")
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
    # The state of a log-in under way is in a signed cookie: another server may get the answer.
    app.add_middleware(
        SessionMiddleware, secret_key=hashlib.sha256(f"nfresume {secret}".encode()).hexdigest(),
        session_cookie="nfresume_oidc", max_age=600, same_site="lax",
        https_only=conf.web_url.startswith("https://"),
    )
    app.include_router(router)


@router.get("/login/oidc")
async def begin(request: Request, here: SiteOf) -> Response:
    """To the provider."""
    try:
        answer: Response = await request.app.state.oauth.authorize_redirect(
            request, f"{here.conf.web_url}/login/oidc/callback")
    except Exception as e:  # whatever the provider, or the way to it, does
        raise Unauthorized(f"the log-in provider cannot be reached: {_text(e)}", "try again later") from e
    return answer


@router.get("/login/oidc/callback")
async def end(request: Request, here: SiteOf) -> Response:
    """Back from the provider: the one who logged in there has a session here."""
    try:
        token: dict[str, Any] = await request.app.state.oauth.authorize_access_token(request)
        claims = token["userinfo"]
        subject = str(claims["sub"])
    except Exception as e:  # a forged state, an old code, a provider that answers nonsense
        raise Unauthorized(f"the log-in did not succeed: {_text(e)}", "log in again") from e
    wanted = str(claims.get("preferred_username") or claims.get("email") or subject)
    assert here.conf.oidc_issuer is not None
    return logged_in(here, here.identity.log_in_as(here.conf.oidc_issuer, subject, wanted))


def _text(error: Exception) -> str:
    return " ".join(f"{error}".split())[:200] or type(error).__name__
