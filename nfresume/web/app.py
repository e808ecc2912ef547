"""The FastAPI application: its routes, middleware, and the headers of every response."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nfresume import __version__
from nfresume.service.health import Health
from nfresume.settings import Settings
from nfresume.store import Store
from nfresume.web import (
    extensions,
    launch_pages,
    list_pages,
    login,
    metrics,
    oidc,
    people_pages,
    plot_pages,
    problems,
    relaunch_pages,
    run_pages,
    site_pages,
    task_pages,
    wes,
)
from nfresume.web.changes import Changes
from nfresume.web.gate import Gate
from nfresume.web.site import Site

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' data: blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def create(conf: Settings, store: Store, health: Health | None = None) -> FastAPI:
    """The application over an open store. Raises InvalidSettings if the oidc settings are incomplete."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        beating = asyncio.create_task(_beat(app.state.site.health))
        yield
        beating.cancel()
        app.state.changes.close()

    app = Application(
        default_response_class=_Json,
        title="nfresume", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        openapi_url=f"{problems.API}/openapi.json",
        description="GA4GH Workflow Execution Service 1.1 over Nextflow, with relaunch from the failed task.",
    )
    app.state.site = Site.open(conf, store, health)
    app.state.changes = Changes(store, app.state.site.identity)
    app.state.metrics = metrics.Metrics(app.state.site, app.state.changes)
    app.front = _Headers(Gate(app.routes_and_errors, app.state.site), app)
    problems.install(app)
    oidc.install(app, conf)
    for part in (metrics, wes, extensions, login, people_pages, list_pages, task_pages, plot_pages,
                 relaunch_pages, run_pages, launch_pages, site_pages):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=str(resources.files("nfresume.web") / "static")))
    return app


async def _beat(health: Health) -> None:
    """Show that the event loop turns: systemd restarts a server that hangs."""
    while True:
        health.beat = health.clock()
        await asyncio.sleep(1)


class _Json(JSONResponse):
    """JSON in ASCII: a text that a pipeline wrote may have halves of surrogate pairs, which UTF-8 has not."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


class Application(FastAPI):
    """FastAPI behind the gate. The headers are outermost, so that answers to faults have them too."""

    front: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.front if scope["type"] == "http" else self.routes_and_errors)(scope, receive, send)

    async def routes_and_errors(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the gate lets through."""
        await super().__call__(scope, receive, send)


class _Headers:
    """Adds headers to every response. Plain ASGI: Starlette's BaseHTTPMiddleware costs a task per request."""

    def __init__(self, app: ASGIApp, application: FastAPI) -> None:
        self._app = app
        self._application = application
        self._secure = application.state.site.secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if self._secure:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
                if not scope["path"].startswith("/static"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        scope["app"] = self._application
        await self._app(scope, receive, add if scope["type"] == "http" else send)
