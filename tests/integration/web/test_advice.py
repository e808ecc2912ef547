"""The headline of an execution says what a relaunch would reuse, as the command does."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from nfresume.domain.executions import TaskCounts
from nfresume.nextflow import cache_db, record, record_file, summary
from nfresume.nextflow.record import Status, Task
from nfresume.runs import reusable
from nfresume.store import queries, schema, transitions
from nfresume.store.transitions import NewAttempt, Owner
from tests import cache_database
from tests.conftest import bytes_read
from tests.integration.web.test_web import Web
from tests.outcomes import CLAIMANT, kept


def dirs(count: int) -> list[str]:
    return [f"{n % 256:02x}/{n:030x}" for n in range(1, count + 1)]


class Failed:
    """An execution whose last task failed; all others are in Nextflow's cache."""

    def __init__(self, web: Web, finished: int = 7) -> None:
        self.web = web
        web.failed("run-1")
        self.folder = web.root.execution("team", "run-1")
        with web.store.begin() as tx:
            self.session = queries.get(tx, "run-1").session_id
            tx.conn.execute(schema.attempts.update().values(
                submitted=finished + 1, succeeded=finished, failed=1))
        self.database = cache_db.folder(self.folder.cache, self.session)
        self.finished = dirs(finished)
        writer = record_file.Writer(record_file.path_of(self.folder.attempt(1), 1))
        tasks = [Task(n, f"A ({n})", Status.COMPLETED, name[:9], name, exit=0)
                 for n, name in enumerate(self.finished, 1)]
        tasks.append(Task(finished + 1, "B", Status.FAILED, "ff/000000", f"ff/{0:030x}", exit=1))
        for task in tasks:
            writer.write(task)
        self.sums = writer.size
        writer.write(summary.of(tasks).sums)
        writer.close(record.End(1, finished + 1, 0, self.sums))
        cache_database.write(self.folder, self.session, self.finished)
        self.browser, _ = web.browser("ada")

    def headline(self) -> str:
        text = self.browser.get("/a/team/executions/run-1").text.split('id="headline"')[1]
        return html.unescape(" ".join(re.sub(r"<[^>]+>", "", text.split("</header>")[0]).split()))

    def forecast(self) -> str:
        return self.browser.get("/a/team/executions/run-1/relaunch").text

    def again(self, counts: TaskCounts) -> None:
        """One more attempt, that fails with these counts."""
        with self.web.store.begin() as tx:
            transitions.relaunch(tx, "run-1", 2, NewAttempt("main.nf", (), True, None, "24.10.5"), "me",
                                 str(self.folder.work))
            lease = transitions.claim(tx, "run-1", Owner("h", "b"), 30)
            transitions.settle(tx, lease, kept(tx.now + timedelta(hours=5)), counts, "me", CLAIMANT)
        self.folder.provision(2)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path, f"sqlite:///{tmp_path / 's.db'}")
    yield made
    made.store.close()


@pytest.fixture
def failed(web: Web) -> Failed:
    return Failed(web)


def test_what_the_cache_has_is_reused(failed: Failed):
    """What has finished is reused if the cache has it; what the cache has lost is told at once."""
    assert "Relaunch reuses 7 of 8 tasks." in failed.headline()
    cache_database.write(failed.folder, failed.session, failed.finished[:3])
    assert "Relaunch reuses 3 of 8 tasks: Nextflow's cache has lost 4." in failed.headline()
    (failed.database / "CURRENT").unlink()
    assert "A relaunch runs every task: Nextflow's cache has lost 7." in failed.headline()


@pytest.mark.parametrize(("damage", "reason"), [
    (lambda f: shutil.rmtree(f.folder.cache), "its cache database is gone"),
    (lambda f: shutil.rmtree(f.database), "its cache database is gone"),
    (lambda f: (f.folder.cache / "history").unlink(), "its history file is gone"),
    (lambda f: ((f.folder.cache / "history").unlink(), (f.folder.cache / "history").mkdir()),
     "its cache cannot be read: Is a directory"),
])
def test_a_cache_that_is_gone(failed: Failed, damage, reason: str):
    """Where the command refuses to resume, the headline says so with the same reason."""
    damage(failed)
    assert f"It cannot be resumed: {reason}. Only a relaunch that runs every task" in failed.headline()
    assert reason in failed.forecast()


def test_an_attempt_that_failed_at_its_start(failed: Failed):
    """A second attempt that ran nothing takes nothing away of what the first one had finished."""
    failed.again(TaskCounts())
    assert "Relaunch reuses 7 of 8 tasks." in failed.headline()


def test_the_headline_above_a_forecast_says_the_same(failed: Failed):
    """The forecast finds that no task dir is there, and the headline of its page does not promise more."""
    (failed.web.root.path.parent / "main.nf").write_text("workflow {}\n")
    page = failed.forecast()
    assert "would be reused for certain: 0 tasks" in page or "would be reused: 0 tasks" in page
    assert "Relaunch reuses" not in page
    assert "elaunch runs every task" in page


def test_a_large_cache_is_not_read_for_a_page(failed: Failed, monkeypatch: pytest.MonkeyPatch):
    """The headline of an execution whose cache is too large for a page says `at most`."""
    monkeypatch.setattr(reusable, "_MOST_BYTES", 100)
    assert "Relaunch reuses at most 7 of 8 tasks." in failed.headline()


@pytest.mark.parametrize("path", ["", "/log", "/storage", "/history", "/results"])
def test_most_pages_read_only_the_sums(failed: Failed, monkeypatch: pytest.MonkeyPatch, path: str):
    """They do not read what the record says of each task, which takes seconds for 100,000."""
    monkeypatch.setattr(reusable, "_MOST_BYTES", 100)
    found = record_file.path_of(failed.folder.attempt(1), 1)
    with found.open("r+b") as file:
        file.write(b"x" * (failed.sums - 1))
    page = failed.browser.get(f"/a/team/executions/run-1{path}").text
    assert "Tasks <small>8</small>" in page


@pytest.mark.scale
def test_a_large_record_and_its_cache_are_read_once(web: Web):
    """With 100,000 tasks a second page reads neither of them."""
    failed = Failed(web, 100_000)
    failed.headline()
    before = bytes_read()
    for _ in range(5):
        assert "of 100,001 tasks" in failed.headline()
    assert bytes_read() - before < record_file.path_of(failed.folder.attempt(1), 1).stat().st_size / 10
