"""The console in a real browser, over real runs."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console, keep, log_in
from tests.conftest import Site

pytestmark = pytest.mark.slow


def test_launch_fail_relaunch_succeed(site: Site, console: Console, page: Page):
    """The main job, by mouse: launch, watch it fail, relaunch from the failed task, success, billing."""
    pipeline = site.pipeline("fail-late")
    page.set_viewport_size({"width": 1280, "height": 900})
    log_in(page, console.link)
    expect(page.get_by_text("No executions yet.")).to_be_visible()
    keep(page, "console-empty")
    page.get_by_role("link", name="Launch a pipeline").click()
    page.get_by_label("Pipeline").last.fill(str(pipeline))
    page.get_by_label("Parameters, JSON").fill('{"outdir": "results"}')
    page.get_by_label("Keep the work dir after a failure").fill("48")
    keep(page, "console-launch")
    page.get_by_role("button", name="Launch", exact=True).click()
    page.wait_for_url(re.compile("/executions/fail-late-"))
    expect(page.locator("#state")).to_have_text(re.compile("QUEUED|RUNNING|FAILED"))
    expect(page.locator("#state")).to_have_text("FAILED", timeout=60_000)
    expect(page.locator("#failed")).to_contain_text("REPORT")
    expect(page.locator("#failed pre").first).to_contain_text("gc_contnet")
    expect(page.locator("#progress table")).to_contain_text("REPORT")
    expect(page.locator("#log")).to_contain_text("ERROR ~")
    expect(page.locator("#facts")).to_contain_text("RETAINED")
    keep(page, "console-failed")
    script = pipeline / "main.nf"
    script.write_text(script.read_text().replace("gc_contnet", "gc_content"))
    page.get_by_text("Relaunch from Failed Task").click()
    expect(page.locator("#relaunch")).to_contain_text("7 finished tasks are reused")
    keep(page, "console-relaunch")
    page.get_by_role("button", name="Relaunch").click()
    expect(page.locator("#state")).to_have_text("SUCCEEDED", timeout=60_000)
    expect(page.locator("#facts")).to_contain_text("DELETED", timeout=20_000)
    expect(page.locator("#tasks")).to_contain_text("CACHED")
    assert page.locator("#timeline .attempt").count() == 2
    keep(page, "console-succeeded")
    page.get_by_role("link", name="Executions").click()
    expect(page.locator("#rows")).to_contain_text("SUCCEEDED")
    page.get_by_role("link", name="Billing").click()
    expect(page.get_by_role("heading", name="Nextflow EFS")).to_be_visible()
    expect(page.locator("#storage .main-svg").first).to_be_visible()
    keep(page, "console-billing")
    assert len(list((site.base / "launches/team").iterdir())) == 1
    assert (next((site.base / "launches/team").iterdir()) / "results/report.csv").exists()
