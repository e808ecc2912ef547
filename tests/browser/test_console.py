"""The console in a real browser, with real runs."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import log_in, screenshot
from tests.conftest import PROJECT, Site
from tests.serving import Running

pytestmark = pytest.mark.slow


def test_launch_fail_relaunch_succeed(site: Site, console: Running, page: Page):
    """The main job with the mouse: launch, watch it fail, relaunch from the failed task, success, billing."""
    pipeline = site.pipeline("fail-late")
    page.set_viewport_size({"width": 1280, "height": 900})
    log_in(page, console.link)
    expect(page.get_by_text("No executions yet.")).to_be_visible()
    screenshot(page, "console-empty")
    page.get_by_role("link", name="Launch a pipeline").click()
    page.get_by_label("Pipeline").last.fill(str(pipeline))
    page.get_by_label("Parameters, JSON").fill('{"outdir": "results"}')
    page.get_by_label("Keep the work dir after a failure").fill("48")
    screenshot(page, "console-launch")
    page.get_by_role("button", name="Launch", exact=True).click()
    page.wait_for_url(re.compile("/executions/fail-late-"))
    expect(page.locator("#state")).to_have_text(re.compile("QUEUED|RUNNING|FAILED"))
    expect(page.locator("#state")).to_have_text("FAILED", timeout=60_000)
    expect(page.locator("#failed")).to_contain_text("REPORT")
    expect(page.locator("#failed")).to_contain_text("gc_contnet")
    expect(page.locator("#headline")).to_contain_text("REPORT failed with exit status 1.")
    expect(page.locator("#headline")).to_contain_text("Relaunch reuses 7 of 8 tasks")
    expect(page.locator("#progress table")).to_contain_text("REPORT")
    expect(page.locator("#facts")).to_contain_text("RETAINED")
    screenshot(page, "console-failed")
    script = pipeline / "main.nf"
    script.write_text(script.read_text().replace("gc_contnet", "gc_content"))
    page.get_by_role("link", name="Logs").click()
    expect(page.locator("#log")).to_contain_text("ERROR ~")
    page.get_by_role("link", name="Graph").click()
    expect(page.locator(".graph.screen .edge")).to_have_count(3)
    page.get_by_role("link", name="Relaunch from Failed Task").click()
    expect(page.locator("#forecast")).to_contain_text("would be reused: 7 tasks")
    expect(page.locator("#forecast")).to_contain_text("main.nf")
    expect(page.get_by_label("outdir")).to_have_value("results")
    screenshot(page, "console-relaunch")
    page.get_by_role("button", name="Relaunch", exact=True).first.click()
    expect(page.locator("#state")).to_have_text("SUCCEEDED", timeout=60_000)
    expect(page.locator("#facts")).to_contain_text("DELETED", timeout=20_000)
    expect(page.locator("#attempts .attempt")).to_have_count(2)
    page.get_by_role("link", name="Tasks").click()
    expect(page.locator("#tasks")).to_contain_text("CACHED")
    page.get_by_role("link", name="REPORT").click()
    expect(page.locator("#why")).to_contain_text("it had failed in attempt 1")
    expect(page.locator("#inputs")).to_contain_text("GC_CONTENT")
    expect(page.locator("#script .hl-nb").first).to_be_visible()
    screenshot(page, "console-succeeded")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Executions").click()
    expect(page.locator("#rows")).to_contain_text("SUCCEEDED")
    page.get_by_role("link", name="Billing").click()
    expect(page.get_by_role("heading", name="Nextflow storage")).to_be_visible()
    expect(page.locator("#storage .main-svg").first).to_be_visible()
    screenshot(page, "console-billing")
    assert len(list((site.base / "launches/team").iterdir())) == 1
    assert (next((site.base / "launches/team").iterdir()) / "results/report.csv").exists()


def test_a_double_click_launches_once(site: Site, console: Running, page: Page):
    """A second click on Launch while the first one is on its way does nothing; later it launches again."""
    pipeline = site.pipeline("fail-late")
    log_in(page, console.link)
    for number in (1, 2):
        page.goto(f"{console.url}/a/team/launch")
        page.get_by_label("Pipeline").last.fill(str(pipeline))
        page.get_by_role("button", name="Launch", exact=True).evaluate(
            "button => [0, 150, 300].forEach(delay => setTimeout(() => button.click(), delay))")
        expect(page).to_have_url(re.compile("/executions/fail-late-"), timeout=30_000)
        page.wait_for_timeout(1000)
        assert len(list((site.base / "launches/team").iterdir())) == number


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
#: The least contrast of any text with its background, and that element. Formula: WCAG 2, relative luminance.
CONTRAST = """() => {
  const channels = c => c.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = channels(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const texts = [...document.querySelectorAll("body *")].filter(e => !e.closest("svg") && e.checkVisibility()
    && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()));
  return texts.map(e => {
    const a = luminance(channels(getComputedStyle(e).color)), b = luminance(behind(e));
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 120)]; })
    .sort((a, b) => a[0] - b[0])[0];
}"""


def test_hostile_parameters_and_logs(site: Site, console: Running, page: Page):
    """Case 58: scripts and escapes in a pipeline's output and parameters are shown as text and do not run."""
    folder = site.launch_dir / "hostile"
    folder.mkdir()
    (folder / "main.nf").write_text(
        f"params.x = ''\nprocess SAY {{\n  tag '{HOSTILE}'\n  script: 'echo \"{HOSTILE}\"; exit 3'\n}}\n"
        f"workflow {{ log.info '{HOSTILE}\\033]0;pwned\\007' + params.x; SAY() }}\n")
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    log_in(page, console.link)
    page.goto(f"{console.url}/a/team/launch")
    page.get_by_label("Pipeline").last.fill(str(folder))
    page.get_by_label("Parameters, JSON").fill('{"x": "' + HOSTILE + '"}')
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(page.locator("#state")).to_have_text("FAILED", timeout=60_000)
    expect(page.locator("#failed")).to_contain_text(HOSTILE)
    expect(page.locator("#headline")).to_contain_text(HOSTILE)
    here = page.url
    for section in ("tasks", "tasks/1/1", "timeline", "graph", "why", "relaunch", "history"):
        page.goto(f"{here}/{section}")
        expect(page.locator(".content")).to_be_visible()
    page.goto(f"{here}/tasks/1/1")
    expect(page.locator("#task")).to_contain_text(HOSTILE)
    expect(page.locator("#script")).to_contain_text(HOSTILE)
    page.goto(f"{here}/log")
    expect(page.locator("#log")).to_contain_text(HOSTILE)
    expect(page.locator("#log")).to_contain_text("\\x1b]0;pwned")
    page.goto(f"{console.url}/a/team/executions?search={HOSTILE}")
    expect(page.get_by_label("Search")).to_have_value(HOSTILE)
    assert dialogs == []


def test_two_users_do_not_see_each_other(site: Site, console: Running, browser: Browser):
    """Two users in two browsers: no list shows the other's executions, and their URLs are 404."""
    for name in ("ada", "bob"):
        site.ok("user", "add", name)
    site.pipeline("scratch")
    site.ok("launch", "--account", "ada", "scratch")
    theirs = site.ok("list", "--json", "--account", "ada").json()[0]["id"]
    ada, bob = browser.new_context().new_page(), browser.new_context().new_page()
    for page, name in ((ada, "ada"), (bob, "bob")):
        link = site.ok("login-link", "--user", name).out.strip()
        log_in(page, console.url + link[link.index("/login"):])
    expect(ada.locator("#rows")).to_contain_text(theirs)
    expect(bob.get_by_text("No executions yet.")).to_be_visible()
    for account in ("ada", "bob"):
        answer = bob.goto(f"{console.url}/a/{account}/executions/{theirs}")
        assert answer is not None
        assert answer.status == 404
        assert "scratch" not in bob.content().replace(theirs, "")
    for page in (ada, bob):
        page.context.close()


def test_nine_tabs(site: Site, console: Running, page: Page):
    """All tabs share one event stream: the ninth tab opens (a browser has six connections per host), and
    each one hears of a change.
    """
    log_in(page, console.link)
    tabs = [page]
    for _ in range(8):
        tabs.append(page.context.new_page())
        tabs[-1].goto(f"{console.url}/a/team/executions", timeout=10_000)
        expect(tabs[-1].get_by_text("No executions yet.")).to_be_visible()
    (site.launch_dir / "broken.nf").write_text("workflow { error 'no' }")
    site.run("launch", "broken.nf")
    for tab in (tabs[0], tabs[-1]):
        expect(tab.locator("#rows")).to_contain_text("FAILED", timeout=20_000)
    for tab in tabs[1:]:
        tab.close()


@pytest.mark.long
def test_every_page_can_be_read(site: Site, console: Running, page: Page):
    """Every text has WCAG AA contrast in both colour schemes; no page scrolls sideways at 390 px."""
    site.pipeline("fail-late")
    site.run("launch", "--storage-expiration-hours", "5", "fail-late")
    name = site.show()["id"]
    page.set_viewport_size({"width": 390, "height": 800})

    def look(path: str, shown: str) -> None:
        page.goto(f"{console.url}/{path}")
        for details in page.locator("details > summary").all():
            details.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            least, where = page.evaluate(CONTRAST)
            assert least >= 4.5, (path, scheme, least, where)
            screenshot(page, f"phone-{scheme}-{shown}")

    look("login", "login")
    log_in(page, console.link)
    for path in ("executions", f"executions/{name}", *(f"executions/{name}/{section}" for section in (
                     "tasks", "tasks/1/1", "timeline", "graph", "why", "log", "results", "storage", "history",
                     "relaunch")), f"launch?pipeline={site.launch_dir}/fail-late",
                 "billing", "settings", "executions/gone"):
        look(f"a/team/{path}", path.partition("?")[0].replace(name, "one").replace("/", "-"))


@pytest.mark.long
def test_without_javascript_and_without_a_mouse(site: Site, console: Running, browser: Browser):
    """Forms work without JavaScript, and everything can be reached with the keyboard."""
    pipeline = site.pipeline("fail-late")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    log_in(page, console.link)
    page.goto(f"{console.url}/a/team/launch")
    page.get_by_label("Pipeline").last.focus()
    page.keyboard.type(str(pipeline))
    page.get_by_label("Keep the work dir after a failure").focus()
    page.keyboard.type("5")
    page.keyboard.press("Enter")  # shows the parameters: nothing is launched by accident
    expect(page.get_by_label("Keep the work dir after a failure")).to_have_value("5")
    page.get_by_role("button", name="Launch", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/executions/fail-late-"))
    site.run("wait", page.url.rpartition("/")[2])
    page.reload()
    expect(page.locator("#state")).to_have_text("FAILED")
    page.get_by_role("link", name="Relaunch from Failed Task").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Relaunch", exact=True).first.focus()
    page.keyboard.press("Enter")
    page.wait_for_load_state()
    expect(page.locator("#facts")).to_contain_text("2 of 2")
    site.run("wait", page.url.rpartition("/")[2])
    context.close()


def test_a_python_workflow(site: Site, console: Running, page: Page):
    """The launch form shows its inputs; it fails, is fixed and relaunched, and finished tasks are reused."""
    script = site.launch_dir / "assembly.py"
    script.write_text((PROJECT / "tests/workflows/assembly.py").read_text())
    (site.launch_dir / "a.fastq").write_text("@1\nGGCCAATTGG\n")
    log_in(page, console.link)
    page.get_by_role("link", name="Launch a pipeline").click()
    page.get_by_label("Pipeline").first.fill(f"{script}:assemble")
    page.get_by_role("button", name="Show its parameters").click()
    expect(page.get_by_text("FASTQ files")).to_be_visible()
    expect(page.get_by_role("heading", name="How")).to_be_visible()
    page.get_by_label("reads (required)").fill(json.dumps([str(site.launch_dir / "a.fastq")]))
    page.get_by_label("mode").select_option("careful")
    page.get_by_label("Keep the work dir after a failure").fill("48")
    screenshot(page, "console-launch-declared")
    page.get_by_role("button", name="Launch", exact=True).click()
    page.wait_for_url(re.compile("/executions/assembly-assemble-"))
    expect(page.locator("#state")).to_have_text("FAILED", timeout=30_000)
    expect(page.locator("#failed")).to_contain_text("report (1)")
    expect(page.locator("#failed")).to_contain_text("ValueError: gc_contnet is misspelt")
    expect(page.locator("#headline")).to_contain_text("gc_contnet is misspelt")
    expect(page.locator("#facts")).to_contain_text("Python 3.")
    script.write_text(script.read_text().replace("sample,gc_contnet", "sample,gc_content"))
    page.get_by_text("Relaunch from Failed Task").click()
    expect(page.locator("#forecast")).to_contain_text("Relaunch reuses 2 of 3 tasks")
    page.get_by_role("button", name="Relaunch", exact=True).first.click()
    expect(page.locator("#state")).to_have_text("SUCCEEDED", timeout=30_000)
    expect(page.locator("#progress")).to_contain_text("report")
    page.get_by_role("link", name="Tasks").click()
    expect(page.locator("#tasks")).to_contain_text("CACHED")
    found = next((site.base / "launches/team").iterdir()) / "results/reports/report.csv"
    assert found.read_text() == "# careful\nsample,gc_content\na,0.500\n"
