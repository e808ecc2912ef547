"""The application: routes, headers, and what happens when it starts and stops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

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
    """The application over a database that is open."""

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
    app.middleware("http")(_add_headers)
    problems.install(app)
    oidc.install(app, conf)
    for part in (wes, extensions, login, oidc, people_pages, run_pages, site_pages):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=str(resources.files("nfresume.web") / "static")))
    return app


def _hosts(conf: Settings) -> list[str]:
    public = urlsplit(conf.web_url).hostname if conf.web_url else None
    return ["127.0.0.1", "localhost", "[::1]", *([public] if public else [])]


async def _add_headers(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await proceed(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if not request.url.path.startswith("/static"):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
