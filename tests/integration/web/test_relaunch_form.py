"""The form of a relaunch: what the last attempt was given, changes one by one, refusals in place."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nfresume.nextflow import options, record, record_file
from nfresume.nextflow.record import Status, Task
from nfresume.runs import inputs
from nfresume.runs.explaining import KEPT
from nfresume.service import amending
from nfresume.service.submissions import Resubmission
from nfresume.service.verbs import Service
from nfresume.store import transitions
from nfresume.store.transitions import NewAttempt, NewExecution, Owner
from tests.integration.web.test_web import HOSTILE, Web
from tests.outcomes import CLAIMANT, kept

PAGE = "/a/team/executions/run-1"
GIVEN = {"input": "samples.csv", "min_reads": 20, "flag": False, "hostile": HOSTILE, "list": [1, 2]}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path, f"sqlite:///{tmp_path / 's.db'}")
    fail(made, "run-1")
    yield made
    made.store.close()


def fail(web: Web, name: str, pipeline: str = "", given: Mapping[str, Any] = GIVEN) -> None:
    """A failed execution of a pipeline that declares parameters; it was given a params file and words."""
    base = web.root.path.parent
    (base / "main.nf").write_text(
        "params {\n  // how many reads\n  min_reads: Integer = 5\n  extra: String = 'e'\n}\n")
    pipeline = pipeline or str(base / "main.nf")
    words = (pipeline, "-params-file", "p.json", "--depth", "3", "-profile", "test")
    (base / "p.json").write_text(json.dumps(given))
    folder = web.root.execution("team", name)
    with web.store.begin() as tx:
        transitions.launch(tx, NewExecution(
            name, "team", web.root.id, str(folder.work), pipeline, str(base), str(uuid.uuid4()), 5.0,
            "test", False), NewAttempt(pipeline, words, False, None, "24.10.5"), "me")
        lease = transitions.claim(tx, name, Owner("h", "b"), 30)
        transitions.settle(tx, lease, kept(tx.now + timedelta(hours=5)), transitions.TaskCounts(9, 0, 7, 2),
                           "me", CLAIMANT)
    folder.provision(1)
    parsed = options.stored(pipeline, words)
    inputs.write(inputs.take(parsed, base), folder.attempt(1))
    writer = record_file.Writer(record_file.path_of(folder.attempt(1), 1))
    writer.write(Task(1, "A", Status.COMPLETED, "ab/cdef01", f"ab/cdef01{1:024x}", exit=0))
    writer.close(record.End(1, 1, 0))


def amended(web: Web, texts: dict[str, str], more: dict[str, Any] | None = None) -> amending.Amended:
    service = Service(web.conf.for_account("team"), store=web.store)
    return amending.amend(amending.last(service, service.get("run-1")), texts, more or {}, Resubmission())


def test_the_form_shows_what_was_given(web: Web):
    """Each parameter of the last attempt is a field with its value and help; viewers see no values."""
    browser, _ = web.browser("ada")
    page = browser.get(f"{PAGE}/relaunch").text
    for shown in ('name="param.min_reads" value="20"', "how many reads", 'name="param.depth" value="3"',
                  'value="samples.csv"', ">[1, 2]</textarea>", 'name="profiles" value="test"',
                  'name="param.extra" value="" placeholder="e"'):
        assert shown in page, shown
    assert "<script>alert" not in page
    viewer, _ = web.browser("eve")
    assert "samples.csv" not in viewer.get(f"{PAGE}/relaunch").text
    assert web.browser("bob")[0].get(f"{PAGE}/relaunch").status_code == 404


def test_parameters_change_one_by_one(web: Web):
    """Unchanged fields change nothing, also hostile ones; words that change move into the params file."""
    browser, _ = web.browser("ada")
    page = browser.get(f"{PAGE}/relaunch").text
    same = {name: amending.shown(amending.as_text(value)) for name, value in GIVEN.items()} | {"depth": "3"}
    assert all(f'name="param.{name}"' in page for name in same)
    assert amended(web, same).changes == ()
    assert amended(web, same).resubmission.params is None
    changed = amended(web, {**same, "min_reads": "40", "depth": "7", "flag": "", "extra": "x"}, {"new": [1]})
    assert dict(changed.resubmission.params or {}) == {
        "input": "samples.csv", "min_reads": 40, "hostile": HOSTILE, "list": [1, 2], "depth": 7,
        "extra": "x", "new": [1]}
    assert changed.resubmission.without == ("--depth",)
    assert ("flag", "false", None) in changed.changes
    left = options.without(options.parse(["main.nf", "--depth", "3", "--min-reads", "2", "-resume"]),
                           ["--depth", "--minReads"])
    assert left.words == ("main.nf",)


def test_what_does_not_fit_is_refused(web: Web):
    """A number that is none is told beside its field, and nothing runs. What nobody declares may be text."""
    browser, csrf = web.browser("ada")
    typed = {"csrf": csrf, "param.min_reads": "many", "param.depth": "deep", "param.extra": "x"}
    for more in ({}, {"forecast": "yes"}):
        answer = browser.post(f"{PAGE}/relaunch", data={**typed, **more})
        assert "1 parameter does not fit" in answer.text
        field = re.search(r'<label for="param.min_reads".*?</div>', answer.text, re.DOTALL)
        assert field is not None
        assert "is not a whole number" in field[0]
        assert 'value="many"' in field[0]
        assert 'name="param.depth" value="deep"' in answer.text
    assert web.api("ada")("GET", "/runs/run-1/details").json()["state"] == "FAILED"
    last = amended(web, {"depth": "deep", "min_reads": "7"})
    assert {name: (last.resubmission.params or {})[name] for name in ("depth", "min_reads")} == {
        "depth": "deep", "min_reads": 7}


@pytest.mark.parametrize(("sent", "where"), [
    ({"hours": "nan"}, "hours"), ({"profiles": "-x"}, "profiles"), ({"revision": "../x"}, "revision"),
    ({"params": "{"}, "params"), ({"pipeline": "/no/such.nf"}, "pipeline"),
    ({"param.input": "http://169.254.169.254/x"}, ""),
])
def test_a_refusal_keeps_what_was_typed(web: Web, sent: dict[str, str], where: str):
    """The form comes back with all that was typed, the reason is beside its field, and nothing runs."""
    browser, csrf = web.browser("ada")
    typed = {"csrf": csrf, "param.extra": "77 <b>", "from_scratch": "on", **sent}
    answer = browser.post(f"{PAGE}/relaunch", data=typed)
    assert answer.status_code in (400, 404, 409), answer.text
    assert 'value="77 &lt;b&gt;"' in answer.text
    assert 'name="from_scratch" checked' in answer.text
    assert 'role="alert" id="refused"' in answer.text
    if where:
        field = re.search(rf'<(input|textarea) id="{where}".*?</div>', answer.text, re.DOTALL)
        assert field is not None
        assert 'role="alert"' in field[0]
    assert Service(web.conf.for_account("team"), store=web.store).get("run-1").attempt == 1


def test_a_forecast_starts_nothing(web: Web):
    """The forecast of changed values names them; without a cache the form says so, if there are tasks."""
    browser, csrf = web.browser("ada")
    changed = {"csrf": csrf, "forecast": "yes", "param.min_reads": "40"}
    assert "no task has run yet" in browser.post(f"{PAGE}/relaunch", data=changed).text
    execution = Service(web.conf.for_account("team"), store=web.store).get("run-1")
    Path(execution.work_dir.path, "ab/c").mkdir(parents=True)
    said = browser.post(f"{PAGE}/relaunch", data=changed)
    assert "cannot be resumed" in said.text
    assert "tick &#34;run every task again&#34;" in said.text
    assert "--from-scratch" not in said.text
    whole = browser.post(f"{PAGE}/relaunch", data={"csrf": csrf, "forecast": "yes", "from_scratch": "on",
                                                  "param.min_reads": "40"})
    assert (whole.status_code, "every task would run" in whole.text) == (200, True)
    assert "With 1 changed parameter" in whole.text
    assert 'name="param.min_reads" value="40"' in whole.text
    service = Service(web.conf.for_account("team"), store=web.store)
    assert service.get("run-1").attempt == 1
    assert browser.post(f"{PAGE}/relaunch", data={"forecast": "yes"}).status_code == 403
    viewer, other = web.browser("eve")
    assert viewer.post(f"{PAGE}/relaunch", data={"csrf": other, "forecast": "yes"}).status_code == 403


def test_why_tasks_ran(web: Web):
    """The tree of causes, with links to the tasks; names and details are text."""
    folder = web.root.execution("team", "run-1")
    browser, _ = web.browser("ada")
    assert "nothing had run before" in browser.get(f"{PAGE}/why").text
    service = Service(web.conf.for_account("team"), store=web.store)
    with web.store.begin() as tx:
        transitions.relaunch(tx, "run-1", 2, NewAttempt("m.nf", (), True, None, "24.10.5"), "me",
                             str(folder.work))
        lease = transitions.claim(tx, "run-1", Owner("h", "b"), 30)
        transitions.settle(tx, lease, kept(tx.now + timedelta(hours=5)), transitions.TaskCounts(), "me",
                           CLAIMANT)
    folder.provision(2)
    name = f"ab/{'1' * 30}"
    writer = record_file.Writer(record_file.path_of(folder.attempt(2), 2))
    writer.write(Task(1, "A", Status.COMPLETED, name[:9], name, exit=0))
    writer.close(record.End(1, 1, 0))
    cause = {"kind": "script", "text": f"its script changed {HOSTILE}", "detail": ["- a", "+ <b>"],
             "upstream": ""}
    follows = {"kind": "upstream", "text": "it uses files of A", "detail": [], "upstream": name}
    (folder.attempt(2) / KEPT).write_text(json.dumps({"attempt": 2, "left_out": 3, "whole": "", "tasks": [
        {"name": "A", "process": "A", "dir": name, "before": 1, "causes": [cause]},
        {"name": "B <i>", "process": "B", "dir": f"cd/{'2' * 30}", "before": 1, "causes": [follows]}]}))
    page = browser.get(f"{PAGE}/why").text
    for shown in (f'href="{PAGE}/tasks/2/1">A</a>', "its script changed", "+ &lt;b&gt;", "B &lt;i&gt;",
                  "3 more tasks ran"):
        assert shown in page, shown
    assert "<script>alert" not in page
    assert "its script changed" in browser.get(f"{PAGE}/tasks/2/1").text
    assert service.get("run-1").attempt == 2


def test_a_text_that_begins_with_a_line_break(web: Web):
    """A browser drops the first line break of a text area, which would count as a change."""
    fail(web, "run-2", given={"lines": "\na\nb"})
    browser, _ = web.browser("ada")
    assert ">\n\na\nb</textarea>" in browser.get("/a/team/executions/run-2/relaunch").text
