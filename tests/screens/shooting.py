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
    "bulk": "executions?work=RETAINED&sort=size",
}
#: The buttons that lead to a page from there.
_PRESSED = {"choose": ("Choose a file for input", re.compile("run15")), "bulk": ("Delete work dirs",)}


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
    """Open a page of PAGES, of the site in the folder `base`."""
    page.goto(f"{url}/a/lab/{PAGES[name].replace('{base}', str(base))}")
    if name == "bulk":
        page.get_by_role("checkbox", name="all on this page").locator("visible=true").last.check()
    for button in _PRESSED.get(name, ()):
        page.get_by_role("button", name=button).click()


def log_in(page: Page, url: str, secret: str) -> None:
    """Log in with the secret of a login link."""
    page.goto(f"{url}/login?token={secret}")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/executions")
