"""The page of the cost report in a browser, offline."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Page

from nfresume.domain.costs import GB
from nfresume.store import Store, schema, transitions
from nfresume.store.transitions import NewAttempt, NewExecution
from tests.conftest import PROJECT, Site

HOSTILE = "<img src=http://127.0.0.1:9/x onerror=alert(1)></script><script>alert(2)</script>.nf"


def filled(site: Site) -> None:
    """Store usage of three pipelines and two accounts; one pipeline's name is hostile."""
    store = Store.open(site.env["NFRESUME_DATABASE_URL"])
    with store.begin() as tx:
        transitions.register_root(tx, "root", site.env["NFRESUME_ROOT"], 1)
        for number, (account, pipeline) in enumerate((
            ("team", "rnaseq.nf"), ("team", HOSTILE), ("other", "sarek.nf"),
        )):
            name = f"run-{number}"
            new = NewExecution(name, account, "root", "/x", pipeline, "/here", name, 5.0, "t", False)
            transitions.launch(tx, new, NewAttempt(pipeline, (), False, None, None), "me")
            tx.conn.execute(schema.work_dirs.update().where(schema.work_dirs.c.execution_id == name).values(
                state="RETAINED", metered_bytes=GB, expires_at=tx.now + timedelta(days=number + 1)))
            for days in (20, 10):
                tx.conn.execute(schema.size_samples.insert().values(
                    execution_id=name, at=tx.now - timedelta(days=days), metered_bytes=GB * (1 + number)))
        tx.conn.execute(schema.executions.update().values(state="FAILED"))
    store.close()


def test_the_page_draws_its_plots_and_asks_nobody(site: Site, page: Page):
    """The page draws three plots and two tables without another request; hostile names are shown as text."""
    filled(site)
    said = site.ok("costs", "--all-accounts", "--html", "costs.html").err
    assert "wrote costs.html" in said
    file = site.launch_dir / "costs.html"
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: requests.append(f"dialog {dialog.message}"))
    page.set_viewport_size({"width": 1100, "height": 1500})
    page.goto(file.as_uri())
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 3")
    page.wait_for_load_state("networkidle")
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [file.as_uri()]
    areas = page.locator("#storage .scatterlayer .trace .js-fill")
    assert areas.count() == 3
    assert all(areas.nth(n).bounding_box()["height"] > 1 for n in range(3))
    assert page.locator("#accounts .bars path").count() == 2
    assert page.locator("#expiry .js-fill").count() == 1
    assert HOSTILE in page.locator("table").first.inner_text()
    assert page.locator("#storage .legendtext").count() == 3
    assert "<img" in " ".join(page.locator("#storage .legendtext").all_text_contents())
    kept = PROJECT / ".test-output"
    kept.mkdir(exist_ok=True)
    page.screenshot(path=kept / "costs.png", full_page=True)


def test_the_page_is_readable_on_a_phone(site: Site, page: Page):
    """At a width of 390 px the page does not scroll sideways; the dark scheme has light text."""
    filled(site)
    site.ok("costs", "--html", "costs.html")
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="dark")
    page.goto((site.launch_dir / "costs.html").as_uri())
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 3")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(232, 236, 240)"


def test_a_page_that_cannot_be_written(site: Site):
    """An unwritable file is one line of error, and creates no folder."""
    refused = site.run("costs", "--html", str(Path("nowhere") / "costs.html"))
    assert refused.code == 66
    assert "cannot write" in refused.err
    assert not os.path.exists(site.launch_dir / "nowhere")
