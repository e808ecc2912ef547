"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def serving(site: Site, port: int = 0) -> Iterator[Console]:
    """The real server on loopback, sweeping every second."""
    site.env["NFRESUME_WEB_LAUNCHES"] = str(site.base / "launches")
    server = site.start("serve", "--port", str(port), "--every", "1")
    said: list[str] = []
    reader = threading.Thread(target=lambda: [said.append(line) for line in server.stderr or ()])
    reader.start()
    try:
        until(lambda: any("serving at" in line for line in said), what="the server to serve")
        url = re.search(r"serving at (\S+)", "".join(said))
        assert url is not None
        pattern = r"http://\S+/login\?token=\S+"
        link = until(lambda: re.search(pattern, "".join(said)) or port, what="its link")
        yield Console(url[1], "" if port else link[0], said)
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(20)
        reader.join()
    assert code == 0, "".join(said)
    assert not [line for line in said if "Traceback" in line], "".join(said)


@pytest.fixture
def console(site: Site) -> Iterator[Console]:
    """A server of this machine only, with its login link."""
    with serving(site) as running:
        yield running


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
