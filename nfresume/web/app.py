"""The FastAPI application: its routes, middleware, and the headers of every response."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nfresume import __version__
from nfresume.settings import Settings
from nfresume.store import Store
from nfresume.web import extensions, login, oidc, people_pages, problems, run_pages, site_pages, wes
from nfresume.web.access import Site
from nfresume.web.changes import Changes

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' data: blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def create(conf: Settings, store: Store) -> FastAPI:
    """The application over an open store. Raises InvalidSettings if the oidc settings are incomplete."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.changes.close()

    app = FastAPI(
        title="nfresume", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        openapi_url=f"{problems.API}/openapi.json",
        description="GA4GH Workflow Execution Service 1.1 over Nextflow, with relaunch from the failed task.",
    )
    app.state.site = Site.open(conf, store)
    app.state.changes = Changes(store)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(conf), www_redirect=False)
    app.add_middleware(_Headers)
    problems.install(app)
    oidc.install(app, conf)
    for part in (wes, extensions, login, oidc, people_pages, run_pages, site_pages):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=str(resources.files("nfresume.web") / "static")))
    return app


def _hosts(conf: Settings) -> list[str]:
    public = urlsplit(conf.web_url).hostname if conf.web_url else None
    return ["127.0.0.1", "localhost", "[::1]", *([public] if public else [])]


class _Headers:
    """Adds headers to every response. Plain ASGI: Starlette's BaseHTTPMiddleware costs a task per request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)
