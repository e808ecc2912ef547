"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import PROJECT, Site
from tests.serving import Running, serve


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
    """A page that makes its test fail if a script on it fails."""
    context = browser.new_context()
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    # A test may open pages that do not exist, or that its user may not see.
    assert [error for error in errors if "status of 404" not in error and "status of 403" not in error] == []


@pytest.fixture
def console(site: Site) -> Iterator[Running]:
    """A server for this machine only, with its login link."""
    with serve(site) as running:
        yield running


def log_in(page: Page, link: str) -> None:
    """Open a login link and press the button of its page."""
    page.goto(link)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/executions")


def screenshot(page: Page, name: str) -> None:
    """Store a screenshot of the page in .test-output."""
    folder = PROJECT / ".test-output"
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)
