"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import PROJECT, Site, until


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("CI"):
            raise RuntimeError("no chromium: tests/install.sh")
        pytest.skip("no browser: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test when any script on it fails."""
    context = browser.new_context()
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert [error for error in errors if "status of 404" not in error] == []  # a test may ask for nothing


@dataclass
class Console:
    """A running `nfresume serve`: its address, its login link, and what it said."""

    url: str
    link: str
    said: list[str]


@pytest.fixture
def console(site: Site) -> Iterator[Console]:
    """The real server on a free port of loopback, sweeping every second."""
    site.env["NFRESUME_WEB_LAUNCHES"] = str(site.base / "launches")
    server = site.start("serve", "--port", "0", "--every", "1")
    said: list[str] = []

    reader = threading.Thread(target=lambda: [said.append(line) for line in server.stderr or ()])
    reader.start()
    until(lambda: any("log in, once" in line for line in said), what="the server to serve")
    link = re.search(r"http://\S+/login\?token=\S+", "".join(said))
    assert link is not None
    yield Console(link[0].partition("/login")[0], link[0], said)
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0, "".join(said)
    reader.join()


def log_in(page: Page, link: str) -> None:
    """Follow a login link and press its button."""
    page.goto(link)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/executions")


def keep(page: Page, name: str) -> None:
    """A screenshot as test output."""
    folder = PROJECT / ".test-output"
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)
