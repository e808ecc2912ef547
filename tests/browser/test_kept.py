"""What was typed in a form is not lost when the form is refused before it is read."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.browser.conftest import log_in
from tests.conftest import Site
from tests.serving import Running

TYPED = '{"text": "a <b>\\"quote\\"\nß"}'


def _type(page: Page, form: str) -> None:
    page.goto(form)
    page.get_by_label("Pipeline", exact=True).fill("/nowhere/main.nf")
    page.get_by_label("Parameters, JSON").fill(TYPED)
    page.get_by_label("Keep the work dir after a failure").fill("7")


def _launch(page: Page, what_comes: str) -> None:
    page.get_by_role("button", name="Launch", exact=True).click()
    page.get_by_text(what_comes).first.wait_for()


def _show_again(page: Page) -> None:
    page.get_by_role("button", name="Show what was typed").click()
    page.get_by_text("did not arrive").wait_for(state="detached")
    assert page.get_by_label("Parameters, JSON").input_value() == TYPED
    assert page.get_by_label("Keep the work dir after a failure").input_value() == "7"


def test_a_form_that_did_not_arrive(site: Site, console: Running, browser: Browser, tmp_path: Path):
    """After a file that is too large, and after a session that ended, the form shows all that was typed.

    On a phone the name of a parameter, however long, makes no page wider.
    """
    page = browser.new_page()
    log_in(page, console.link)
    form = page.url.replace("/executions", "/launch")
    with (tmp_path / "large.bam").open("wb") as file:
        file.truncate(60_000_000)
    _type(page, form)
    page.get_by_label("Files to upload").set_input_files(tmp_path / "large.bam")
    _launch(page, "are too large")
    page.get_by_role("link", name="Back to the form").click()
    page.get_by_text("Choose again: large.bam").wait_for()
    _show_again(page)
    _type(page, form)
    page.context.clear_cookies()
    _launch(page, "you are not logged in")
    page.get_by_role("link", name="Back to the form").click()
    page.wait_for_url("**/login")
    page.goto(console.url + site.ok("login-link").out.strip().partition("8765")[2])
    page.get_by_role("button", name="Log in").click()
    _show_again(page)
    _launch(page, "Not launched")
    page.goto(form)
    assert page.get_by_text("did not arrive").count() == 0
    page.set_viewport_size({"width": 390, "height": 800})
    page.evaluate("document.querySelector('.form').append(Object.assign(document.createElement('input'),"
                  "{name: 'param.' + 'x'.repeat(300), value: '1'}))")
    page.get_by_role("button", name="Show its parameters").click()
    page.get_by_label("xxx").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.context.close()
