"""What people come for, in a console with 2,000 executions: by mouse and phone, with and without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from nfresume.web import gate, rendering
from tests.conftest import until
from tests.screens.data import FAILED, LARGE, Filled
from tests.screens.shooting import PAGES, STATES, log_in, serving, show

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Filled, str]]:
    made = Filled(tmp_path_factory.mktemp("filled"))
    with serving(made) as url:
        yield made, url
    made.store.close()


@pytest.mark.parametrize(("size", "scheme", "scripts"), [
    ((1440, 900), "light", True),
    pytest.param((390, 844), "dark", True, marks=pytest.mark.long),
    pytest.param((1440, 900), "dark", False, marks=pytest.mark.long),
    ((390, 844), "light", False),
])
def test_the_jobs(filled: tuple[Filled, str], browser: Browser, size: tuple[int, int], scheme: str,
                  scripts: bool):
    """Find a failure, see why, mend a parameter; extend; find what is expensive; delete in bulk."""
    made, url = filled
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, java_script_enabled=scripts,
        color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    log_in(page, url, made.link())
    page.get_by_label("Search").fill("rnaseq-4k")
    page.get_by_label("State").select_option("FAILED")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#rows tr")).to_have_count(1)
    page.get_by_role("link", name=FAILED).click()
    expect(page.locator("#headline")).to_contain_text("column gc_contnet not found")
    expect(page.locator("#headline")).to_contain_text("Relaunch reuses 16 of 17 tasks")
    page.get_by_role("link", name="REPORT").first.click()
    expect(page.locator("#why")).to_contain_text("parameter min_reads has changed: 20 -> 40")
    expect(page.locator("#inputs")).to_contain_text("COUNT (liver)")
    _relaunch(page, made)
    page.get_by_label("Keep for").fill("100")
    page.get_by_role("button", name="Extend").click()
    expect(page.locator("#headline")).to_contain_text("Kept until")
    expect(page.locator("#headline")).to_contain_text("4 d")
    page.get_by_role("link", name="Billing").click()
    first = page.locator("table").first.locator("tbody tr").first
    expect(first).to_contain_text("nf-core/")
    first.get_by_role("link").click()
    expect(page.locator("#rows tr").first).to_contain_text("nf-core/")
    _delete(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    context.close()


def _relaunch(page: Page, made: Filled) -> None:
    """Change a parameter; the refusal, here of a history that is away, keeps what was typed."""
    history = made.root.execution("lab", FAILED).cache / "history"
    page.get_by_role("link", name="Relaunch from Failed Task").click()
    expect(page.locator("#headline")).to_contain_text("16 of 17 tasks")
    history.rename(history.with_name("away"))
    page.get_by_label("min_reads").fill("30")
    page.get_by_label("Keep after a failure").fill("72")
    page.get_by_role("button", name="Relaunch", exact=True).first.click()
    expect(page.locator("#refused")).to_contain_text("cannot be resumed")
    expect(page.get_by_label("min_reads")).to_have_value("30")
    expect(page.get_by_label("Keep after a failure")).to_have_value("72")
    expect(page.locator("#headline")).to_contain_text("its history file is gone")
    history.with_name("away").rename(history)
    page.get_by_role("link", name=FAILED).click()


def _delete(page: Page) -> None:
    boxes = page.get_by_role("checkbox", name=re.compile("^choose [a-z]+-0"))
    chosen = [boxes.nth(n).get_attribute("value") for n in range(2)]
    for n in range(2):
        boxes.nth(n).check()
    page.get_by_role("button", name="Delete work dirs").click()
    expect(page.locator("#meaning")).to_contain_text("2 executions")
    expect(page.locator("#meaning")).to_contain_text("USD a month")
    page.get_by_role("button", name="Delete work dirs").click()
    for name in chosen:
        expect(page.locator("#list")).not_to_contain_text(name or "-")


@pytest.mark.parametrize(("scheme", "rules"), [
    ("light", None), pytest.param("dark", {"runOnly": ["color-contrast"]}, marks=pytest.mark.long)])
def test_axe_finds_nothing_serious(filled: tuple[Filled, str], browser: Browser,
                                   monkeypatch: pytest.MonkeyPatch, scheme: Any, rules: Any):
    """No page has a serious or critical violation of axe-core's rules, in light; nor of contrast in dark.

    Every template of a page is among them, but for the way to a log-in provider.
    """
    made, url = filled
    known = rendering._environment
    shown: set[str] = set()
    get = known.get_template
    monkeypatch.setattr(known, "get_template", lambda name, *rest: shown.add(name) or get(name, *rest))
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    log_in(page, url, made.link())
    found = []
    for name in (*PAGES, *STATES):
        show(page, url, made.base, name)
        for each in Axe().run(page, options=rules).response["violations"]:
            if each["impact"] in ("serious", "critical"):
                found.append((name, each["id"], [n["html"][:150] for n in each["nodes"][:3]]))
    context.close()
    assert found == []
    assert known.loader is not None
    pages = {name for name in known.list_templates()
             if "extends " in known.loader.get_source(known, name)[0] and name != "leave.html"}
    assert pages - shown == set()


def test_nothing_moves_that_has_not_changed(filled: tuple[Filled, str], browser: Browser):
    """When an event arrives only what changed is replaced: focus, scroll and opened details stay."""
    made, url = filled
    context = browser.new_context(viewport={"width": 1440, "height": 600})
    page = context.new_page()
    log_in(page, url, made.link())
    page.goto(f"{url}/a/lab/executions/{LARGE}/tasks")
    row = page.locator("#tasks tbody tr").nth(60)
    row.scroll_into_view_if_needed()
    row.get_by_role("link").focus()
    page.evaluate("document.querySelectorAll('#tasks tbody tr')[60].marked = 'same'")
    before = page.evaluate("scrollY")
    assert before > 0
    other = context.new_page()
    other.goto(f"{url}/a/lab/executions/{LARGE}")
    other.get_by_role("button", name="Pin").click()
    expect(page.get_by_role("button", name="Unpin")).to_be_visible(timeout=20_000)
    assert page.evaluate("document.querySelectorAll('#tasks tbody tr')[60].marked") == "same"
    assert page.evaluate("scrollY") == before
    assert page.evaluate("document.activeElement.closest('tr')?.marked") == "same"
    context.close()


@pytest.mark.parametrize("shared", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_page_is_live_again(filled: tuple[Filled, str], browser: Browser, monkeypatch: pytest.MonkeyPatch,
                              shared: bool):
    """While the server refuses event streams a page says that it may be old; then it goes on by itself."""
    made, url = filled
    monkeypatch.setattr(gate, "STREAMS", 0)
    context = browser.new_context()
    page = context.new_page()
    if not shared:
        page.add_init_script("delete window.SharedWorker")
    log_in(page, url, made.link())
    page.goto(f"{url}/a/lab/executions/{FAILED}")
    expect(page.locator("body")).to_have_class("offline", timeout=20_000)
    monkeypatch.undo()
    expect(page.locator("body")).not_to_have_class("offline", timeout=60_000)
    other = context.new_page()
    other.goto(f"{url}/a/lab/executions/{FAILED}")
    other.get_by_role("button", name="Pin").click()
    other.get_by_role("button", name="Unpin").wait_for()
    page.bring_to_front()
    expect(page.get_by_role("button", name="Unpin")).to_be_visible(timeout=20_000)
    other.get_by_role("button", name="Unpin").click()
    other.get_by_role("button", name="Pin").wait_for()
    context.close()


def test_what_is_typed_stays(filled: tuple[Filled, str], browser: Browser):
    """When an event arrives, what was typed and chosen in the forms of a page is as it was."""
    made, url = filled
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    log_in(page, url, made.link())
    other = context.new_page()
    other.goto(f"{url}/a/lab/executions/{FAILED}")
    page.goto(f"{url}/a/lab/executions/{FAILED}/relaunch")
    page.get_by_label("min_reads").fill("77")
    page.get_by_label("Keep for").fill("99")
    other.get_by_role("button", name="Pin").click()
    expect(page.get_by_role("button", name="Unpin")).to_be_visible(timeout=20_000)
    expect(page.get_by_label("min_reads")).to_have_value("77")
    page.goto(f"{url}/a/lab/executions?search=rnaseq-4k")
    page.get_by_label("Search").fill("half a wo")
    page.get_by_role("checkbox", name=f"choose {FAILED}").check()
    page.get_by_label("hours").fill("12")
    expect(page.locator("#rows")).to_contain_text("pinned")
    other.get_by_role("button", name="Unpin").click()
    expect(page.locator("#rows")).not_to_contain_text("pinned", timeout=20_000)
    expect(page.get_by_label("Search")).to_have_value("half a wo")
    expect(page.get_by_role("checkbox", name=f"choose {FAILED}")).to_be_checked()
    expect(page.get_by_label("hours")).to_have_value("12")
    context.close()


#: The bytes of a page without its plots: its HTML, and all scripts and styles but plotly.js.
_WEIGHT = """async () => {
  const copy = new DOMParser().parseFromString(await (await fetch(location)).text(), "text/html");
  for (const plot of copy.querySelectorAll("svg, [data-figures]")) plot.remove();
  const files = performance.getEntriesByType("resource").filter(e => /[.](js|css)$/.test(e.name)
    && !e.name.includes("plotly"));
  const sizes = await Promise.all(files.map(async e => (await (await fetch(e.name)).text()).length));
  return copy.documentElement.outerHTML.length + sizes.reduce((a, b) => a + b, 0);
}"""


def test_pages_are_light_and_an_ended_one_is_quiet(filled: tuple[Filled, str], browser: Browser):
    """Each page has less than 150 KB without plots; one of an ended attempt asks for nothing any more."""
    made, url = filled
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    log_in(page, url, made.link())
    heavy = {}
    for name in PAGES:
        if name in ("choose", "bulk"):  # the answers of forms, of which the others have more
            continue
        show(page, url, made.base, name)
        if (weight := page.evaluate(_WEIGHT)) > 150_000:
            heavy[name] = weight
    assert heavy == {}
    page.goto(f"{url}/a/lab/executions?search={LARGE}")
    expect(page.locator("#rows [data-since]")).to_have_text(re.compile(r"^5 h"))  # it runs, and is counted
    page.goto(f"{url}/a/lab/executions/{LARGE}/tasks?state=running")  # and so are its tasks
    expect(page.locator("#tasks [data-since]")).to_have_count(26)
    page.goto(f"{url}/a/lab/executions/{FAILED}/log")
    page.wait_for_load_state()
    page.wait_for_timeout(2500)  # the tail of a log looks once more
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(5000)
    assert asked == []
    context.close()


def test_a_log_that_is_read_stays(filled: tuple[Filled, str], browser: Browser):
    """Who has scrolled up in a growing log keeps the place and the text, however long the log gets."""
    made, url = filled
    log = made.root.execution("lab", LARGE).attempt(1) / "stdout.log"
    log.write_text("".join(f"line {n}\n" for n in range(3000)))
    context = browser.new_context(viewport={"width": 1440, "height": 900}, timezone_id="Asia/Tokyo")
    page = context.new_page()
    log_in(page, url, made.link())
    page.goto(f"{url}/a/lab/executions/{LARGE}/log")
    shown = page.locator("#log")
    expect(shown).to_contain_text("line 2999")
    page.evaluate("log.scrollTop = 100")
    with log.open("a") as file:
        file.write("more\n" * 600_000)
    expect(shown).to_contain_text("more", timeout=20_000)
    until(lambda: page.evaluate("log.textContent.length > 2_000_000"), 60, "the log to grow")
    assert page.evaluate("log.scrollTop") == 100
    assert "line 2900" in page.evaluate("log.textContent.slice(0, 40_000)")
    page.evaluate("log.scrollTop = log.scrollHeight")
    until(lambda: page.evaluate("log.textContent.length <= 2_000_000"), 60, "its beginning to go")
    page.evaluate("""getSelection().selectAllChildren(log); getSelection().collapseToEnd();
                  getSelection().modify("extend", "backward", "line")""")
    place, chosen = page.evaluate("[log.scrollTop, getSelection().toString()]")
    length = page.evaluate("log.textContent.length")
    with log.open("a") as file:
        file.write("a line after the selection\n" * 100)
    until(lambda: page.evaluate("log.textContent.length") > length, 60, "more of the log")
    assert page.evaluate("[log.scrollTop, getSelection().toString()]") == [place, chosen]
    page.goto(f"{url}/a/lab/executions/{LARGE}/timeline")  # its times are those of the reader, as all others
    expect(page.locator("[data-zone]")).to_contain_text("Asia/Tokyo")
    first = page.locator(".axis time").first
    assert first.inner_text() != (first.get_attribute("title") or "")[11:16]
    context.close()


#: What has to be scrolled sideways within its box.
_SIDEWAYS = """() => [...document.querySelectorAll(".scroll, pre")].filter(
  e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 60))"""


def test_print_and_phone(filled: tuple[Filled, str], browser: Browser, tmp_path: Path):
    """Printed, a page has no buttons; on a phone nothing scrolls sideways, the relaunch is first."""
    made, url = filled
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    log_in(page, url, made.link())
    for name in (*PAGES, *STATES):
        show(page, url, made.base, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        assert page.evaluate(_SIDEWAYS) == [], name
    page.goto(f"{url}/a/lab/executions/{FAILED}")
    relaunch = page.get_by_role("link", name="Relaunch from Failed Task").bounding_box()
    delete = page.get_by_role("button", name="Delete work dir").bounding_box()
    tabs = page.get_by_role("navigation", name="Sections").bounding_box()
    assert relaunch is not None
    assert delete is not None
    assert tabs is not None
    assert relaunch["y"] < tabs["y"] < delete["y"]
    page.goto(f"{url}/a/lab/executions/{LARGE}")
    cancel = page.get_by_role("button", name="Cancel").bounding_box()
    attempts = page.locator("#attempts").bounding_box()
    assert cancel is not None
    assert attempts is not None
    assert attempts["y"] < cancel["y"]
    page.goto(f"{url}/a/lab/executions/{FAILED}")
    page.emulate_media(media="print")
    expect(page.get_by_role("button", name="Delete work dir")).to_be_hidden()
    expect(page.locator("#headline")).to_be_visible()
    context.close()


#: How much wider the graph is than its place, its smallest letters, and how many texts leave their box.
_FITS = """() => {
  const graph = [...document.querySelectorAll(".graph")].find(e => e.checkVisibility());
  const texts = [...graph.querySelectorAll("text")];
  const width = graph.getBoundingClientRect().width, scale = width / graph.viewBox.baseVal.width;
  const end = e => e.getBBox().x + e.getBBox().width;
  const cut = texts.filter(e => end(e) > end(e.closest("a").querySelector("rect")));
  const sizes = texts.map(e => scale * parseFloat(getComputedStyle(e).fontSize));
  return [width - graph.parentElement.clientWidth, Math.min(...sizes), cut.length];
}"""


@pytest.mark.parametrize("width", [1440, 1000, 700, 390])
def test_the_graph_fits(filled: tuple[Filled, str], browser: Browser, width: int):
    """All of it is seen without scrolling sideways, its text can be read, and none leaves its box."""
    made, url = filled
    context = browser.new_context(viewport={"width": width, "height": 844})
    page = context.new_page()
    log_in(page, url, made.link())
    for name in ("graph", "running-graph"):
        show(page, url, made.base, name)
        wider, smallest, cut = page.evaluate(_FITS)
        assert wider <= 0
        assert smallest >= 9
        assert cut == 0
    context.close()


def test_all_that_are_kept_without_scripts(filled: tuple[Filled, str], browser: Browser):
    """Without scripts no box is shown that does nothing; one that works chooses all pages."""
    made, url = filled
    for scripts in (True, False):
        context = browser.new_context(java_script_enabled=scripts)
        page = context.new_page()
        log_in(page, url, made.link())
        page.goto(f"{url}/a/lab/executions")
        expect(page.get_by_role("checkbox", name="choose all on this page")).to_be_visible(visible=scripts)
        page.get_by_role("checkbox", name="all that are kept").check()
        page.get_by_role("button", name="Delete work dirs").click()
        expect(page.locator("#meaning")).to_contain_text("USD a month")
        expect(page.locator("#meaning")).to_contain_text(re.compile(r"^\d\d executions, "))
        context.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_the_timeline_zooms(filled: tuple[Filled, str], browser: Browser, scripts: bool):
    """By its links, and with scripts by drawing over it; a bar leads to its task; box plots have values."""
    made, url = filled
    context = browser.new_context(viewport={"width": 1440, "height": 900}, java_script_enabled=scripts)
    page = context.new_page()
    log_in(page, url, made.link())
    page.goto(f"{url}/a/lab/executions/{LARGE}/timeline")
    window = page.get_by_text(re.compile(r"^[\d,]+ tasks in this window"))

    def shown() -> int:
        return int(window.inner_text().partition(" ")[0].replace(",", ""))

    every = shown()
    assert every == 2000
    page.get_by_role("link", name="closer").click()
    closer = shown()
    assert closer < every
    if scripts:
        box = page.locator(".gantt svg").first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 5)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 5, steps=4)
        page.mouse.up()
        page.wait_for_url(re.compile("start="))
        expect(window).not_to_contain_text(f"{closer:,} tasks")
        assert shown() < closer
    page.get_by_role("link", name="all", exact=True).click()
    assert shown() == every
    boxes = page.get_by_role("row").filter(has=page.locator("svg.box"))
    expect(boxes).to_have_count(6)
    expect(boxes.first.get_by_role("cell")).to_have_text([
        re.compile(r"^3\d\d$"), "", re.compile(r"^\d+ s$"), re.compile("min"), re.compile(r"^\d h \d+ min$")])
    page.locator(".gantt a").filter(has=page.locator("rect.failed")).first.click(force=True)
    expect(page.locator("#task h2")).to_contain_text("FAILED")
    context.close()
