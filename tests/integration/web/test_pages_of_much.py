"""What stops other consoles: thousands of events, logs of a hundred MB, colours, and progress bars."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from nfresume.nextflow import record, record_file
from nfresume.nextflow.record import Status, Task
from nfresume.store import schema
from nfresume.web import site
from tests.conftest import until
from tests.integration.web.test_web import Web

PAGE = "/a/team/executions/run-1"
#: So many bytes a page has at most.
MOST = 150_000


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path, f"sqlite:///{tmp_path / 's.db'}")
    made.failed("run-1")
    yield made
    made.store.close()


def test_a_long_history_has_pages(web: Web):
    """5,000 events, such as those of a deletion that is tried again and again, are shown in pages."""
    with web.store.begin() as tx:
        tx.conn.execute(schema.events.insert(), [
            {"execution_id": "run-1", "attempt": 1, "at": tx.now + timedelta(seconds=n), "name": "hold",
             "actor": f"sweep-{n}", "detail": {"reason": "x" * 300}} for n in range(5000)])
    browser, _ = web.browser("ada")
    first = browser.get(f"{PAGE}/history")
    assert len(first.content) < MOST
    assert "1 to 200 of 5,0" in first.text
    assert "sweep-4999<" in first.text
    assert "sweep-4799<" not in first.text
    assert "sweep-4799<" in browser.get(f"{PAGE}/history", params={"after": 200}).text


def fail(web: Web, errors: bytes) -> str:
    """The overview of an execution whose only task failed with these errors."""
    folder = web.root.execution("team", "run-1")
    name = f"ab/{'1' * 30}"
    (folder.work / name).mkdir(parents=True)
    (folder.work / name / ".command.err").write_bytes(errors)
    writer = record_file.Writer(record_file.path_of(folder.attempt(1), 1))
    writer.write(record.Header(work=str(folder.work)))
    writer.write(Task(1, "A", Status.FAILED, name[:9], name, exit=1))
    writer.close(record.End(1, 1, 0))
    browser, _ = web.browser("ada")
    return browser.get(PAGE).text


def test_a_task_that_wrote_much_stops_no_page(web: Web):
    """The page of a task that wrote 100 MB without an end of line is small, and has the end of it."""
    page = fail(web, b"x" * 100_000_000 + b"\nError: no space left\n")
    assert len(page) < MOST
    assert "Error: no space left" in page


def test_colours_and_progress_bars_are_read(web: Web):
    """Colours are left out, each step of a bar is a line, and other escapes are shown as text."""
    page = fail(web, b"\x1b[32mok\x1b[0m 10%\r20%\r\n\x1b[1;31mError: bad\x1b[0m\n\x1b[2J\x1b]0;t\x07\n")
    shown = re.search(r"<pre tabindex=\"0\">(.*?)</pre>", page, re.DOTALL)
    assert shown is not None
    assert shown[1].startswith("ok 10%\n20%\nError: bad\n\\x1b[2J")
    assert "A failed with exit status 1: Error: bad." in page


def test_costs_that_take_long_are_shown_at_once(web: Web, monkeypatch: pytest.MonkeyPatch):
    """After an event the last figures are shown with their time, until newer ones are made."""
    browser, _ = web.browser("ada")

    def show() -> str:
        return browser.get("/a/team/billing").text

    def happen(name: str) -> None:
        web.failed(name)
        with web.store.begin() as tx:
            tx.conn.execute(schema.size_samples.insert().values(
                execution_id=name, at=tx.now - timedelta(hours=1), metered_bytes=2**30))

    show()
    happen("run-2")
    assert "run-2" in show()
    monkeypatch.setattr(site, "_LONG_SECONDS", 0.0)
    happen("run-3")
    old = show()
    assert 'id="old"' in old
    assert "run-3" not in old
    until(lambda: "run-3" in show(), what="newer figures")
    assert 'id="old"' not in show()
