"""The console of a filled site, served by this process, and its pages."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from playwright.sync_api import Page

from nfresume.web import app
from tests.conftest import until
from tests.screens.data import FAILED, LARGE, Filled

PAGES = {
    "executions": "executions", "failed": f"executions/{FAILED}", "tasks": f"executions/{LARGE}/tasks",
    "task": f"executions/{FAILED}/tasks/2/17", "log": f"executions/{FAILED}/log",
    "timeline": f"executions/{LARGE}/timeline", "graph": f"executions/{FAILED}/graph",
    "why": f"executions/{FAILED}/why", "relaunch": f"executions/{FAILED}/relaunch",
    "results": f"executions/{FAILED}/results", "storage": f"executions/{FAILED}/storage",
    "history": f"executions/{FAILED}/history", "launch": "launch?pipeline={base}/amplicon",
    "choose": "launch?pipeline={base}/amplicon", "billing": "billing", "settings": "settings",
    "audit": "audit", "api": "../../docs", "missing": "executions/none",
    "bulk": "executions?work=RETAINED&sort=size", "login": "../../login?token=nfr_x",
}
#: Further states of pages, of which there are no pictures.
STATES = {
    "running": f"executions/{LARGE}", "running-graph": f"executions/{LARGE}/graph",
    "gone": "executions/sarek-000001",
    "earlier": f"executions/{FAILED}?attempt=1", "boxes": f"executions/{FAILED}/timeline?attempt=1",
    "empty": "executions?search=nothing", "account": "billing?by=account", "process": "billing?by=process",
    "unread": "launch?pipeline=/nowhere/main.nf", "former": f"launch?former={FAILED}",
    "refused": "executions?work=RETAINED&sort=expiry", "nowhere": "nowhere",
}
#: What answers a GET and is no page: files, streams, a redirect.
NO_PAGES = {
    "/", "/healthz", "/readyz", "/metrics", "/plotly.js", "/a/{account}/events", "/a/{account}/billing.csv",
    "/a/{account}/executions/{execution_id}/log/{number}/{name}", "/login/oidc/callback",
    "/a/{account}/executions/{execution_id}/result/{number}/{name:path}",
    "/a/{account}/executions/{execution_id}/tasks/{number}/{n}/{name}",
}
#: The buttons that lead to a page from there.
_PRESSED = {"choose": ("Choose a file for input", re.compile("run15")), "bulk": ("Delete work dirs",),
            "refused": ("Extend",)}


@contextmanager
def serving(filled: Filled) -> Iterator[str]:
    """The console of a filled site, served by this process on loopback."""
    application = app.create(filled.conf, filled.store)
    server = uvicorn.Server(uvicorn.Config(
        application, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, what="the server")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def show(page: Page, url: str, base: object, name: str) -> None:
    """Open a page of PAGES or STATES, of the site in the folder `base`."""
    path = {**PAGES, **STATES}[name].replace("{base}", str(base))
    page.goto(f"{url}/a/lab/{path}")
    if name in ("bulk", "refused"):
        page.get_by_role("checkbox", name="all on this page").locator("visible=true").last.check()
    for button in _PRESSED.get(name, ()):
        page.get_by_role("button", name=button).click()
    if name == "refused":  # one of them is gone when it is confirmed
        page.evaluate("document.querySelector('[name=id]').value = 'gone'")
        page.get_by_role("button", name="Keep for longer").click()


def log_in(page: Page, url: str, secret: str) -> None:
    """Log in with the secret of a login link."""
    page.goto(f"{url}/login?token={secret}")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/executions")
