"""The launch form: fields by the declared parameters, files, a former run, refusals in place."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfresume.store import schema
from nfresume.web import launch_pages
from tests.integration.web.test_relaunch_form import fail
from tests.integration.web.test_web import HOSTILE, Web

LAUNCH = "/a/team/launch"
SCHEMA = {"$defs": {"io": {"title": "Input <b>", "required": ["input"], "properties": {
    "input": {"type": "string", "description": "a samplesheet"},
    "reads": {"type": "integer", "default": 5}, "mode": {"type": "string", "enum": ["fast", "good"]},
    "memory": {"type": ["integer", "string"]}, "ratio": {"type": "number"}}}}}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path, f"sqlite:///{tmp_path / 's.db'}")
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "main.nf").write_text("workflow {}")
    (folder / "nextflow_schema.json").write_text(json.dumps(SCHEMA))
    yield made
    made.store.close()


def send(web: Web, **texts: Any) -> Any:
    browser, csrf = web.browser("ada")
    files = {name: texts.pop(name) for name in [n for n in texts if n == "file"]}
    return browser.post(LAUNCH, data={"csrf": csrf, "pipeline": f"{web.root.path.parent}/p", **texts},
                        files=files or None)


def test_declared_parameters_are_fields(web: Web):
    """With help, types, choices and groups; what was typed stays when the fields are shown."""
    page = send(web, show="yes", **{"param.input": "mine.csv", "hours": "7"})
    assert page.status_code == 200
    for shown in ("<h2>Input &lt;b&gt;</h2>", "a samplesheet", "input (required)", 'placeholder="5"',
                  '<option value="good">', 'name="param.input" value="mine.csv"', 'value="7"'):
        assert shown in page.text, shown


@pytest.mark.parametrize("text", [
    "a\u3000b", "a\u00a0b", "\U0001f469\u200d\U0001f52c", "\u0645\u200c\u062e", "\u2028"])
def test_a_form_that_is_shown_again_holds_what_was_typed(web: Web, text: str):
    """Blanks and joiners of other languages and emoji are sent back as they are, not as escapes."""
    more = json.dumps({"x": text}, ensure_ascii=False)
    page = send(web, show="yes", params=more, **{
        "param.input": text, "param.mode": text, f"param.{text}": "1"})
    assert f'name="param.{text}" value="1"' in page.text
    field = re.search(r'name="param.input" value="([^"]*)"', page.text)
    area = re.search(r'<textarea id="params"[^>]*>([^<]*)<', page.text)
    assert field is not None
    assert area is not None
    assert html.unescape(field[1]) == text
    assert html.unescape(area[1]) == more
    assert f"<option selected>{text}</option>" in page.text


def test_what_does_not_fit_is_told_beside_its_field(web: Web):
    """All of them at once, and nothing is launched; what may be a text may be any text."""
    answer = send(web, **{"param.input": "", "param.reads": "many", "param.mode": "slow",
                          "param.ratio": "1.5", "param.memory": "8 GB", "params": "{}"})
    assert answer.status_code == 400
    assert "3 parameters do not fit" in answer.text
    for name, reason in (("input", "input is required"), ("reads", "is not a whole number"),
                         ("mode", "none of fast, good")):
        field = re.search(rf'<label for="param.{name}".*?</div>', answer.text, re.DOTALL)
        assert field is not None
        assert reason in field[0]
    assert 'value="8 GB"' in answer.text
    assert not (web.conf.web_launches / "team").exists()


@pytest.mark.parametrize("more", [{"profiles": "test"}, {"params": '{"input": "x.csv"}'}])
def test_what_a_profile_gives_is_not_asked_for(web: Web, more: dict[str, str]):
    """A required parameter may be empty where a profile or the JSON gives it; the browser lets it be sent."""
    answer = send(web, **{"param.input": "", "param.reads": "many", **more})
    assert "1 parameter does not fit" in answer.text
    assert "input is required" not in answer.text
    field = re.search(r'<input id="param.input".*?>', answer.text)
    assert field is not None
    assert ' required' not in field[0]


@pytest.mark.parametrize(("texts", "where"), [
    ({"pipeline": "/no/such.nf"}, "pipeline"), ({"pipeline": "--help"}, "pipeline"),
    ({"profiles": "-x", "param.input": "a"}, "profiles"), ({"params": "[", "param.input": "a"}, "params"),
    ({"revision": "..", "param.input": "a"}, "revision"), ({"hours": "x", "param.input": "a"}, "hours"),
])
def test_a_refusal_keeps_the_form(web: Web, texts: dict[str, str], where: str):
    """The reason is beside its field, and all that was typed is there."""
    answer = send(web, **{"param.hostile": HOSTILE, "pin": "on", **texts})
    assert answer.status_code in (400, 404), answer.text
    assert "<script>alert" not in answer.text
    assert 'name="pin" checked' in answer.text
    field = re.search(rf'<label for="{where}".*?</div>', answer.text, re.DOTALL)
    assert field is not None
    assert 'role="alert"' in field[0]


def test_files_are_uploaded(web: Web, tmp_path: Path):
    """They are attachments of the submission, and are refused like those of the API."""
    found = launch_pages._submission({"pipeline": "p", "param.input": "a.csv", "type.input": "string"},
                                     {"a.csv": (tmp_path / "c.toml").open("rb")})
    assert (list(found.attachments), dict(found.params)) == (["a.csv"], {"input": "a.csv"})
    assert send(web, **{"param.input": "a", "file": ("../x.csv", b"1", "text/csv")}).status_code == 400
    viewer, csrf = web.browser("eve")
    sent = viewer.post(LAUNCH, data={"csrf": csrf}, files={"file": ("a.csv", b"1" * 100_000, "text/csv")})
    assert sent.status_code == 403


def test_a_large_form(web: Web):
    """A thousand parameters with their types, one of them a text of 4 MB, are a form like any other."""
    texts = {f"{kind}.p{n}": "string" for n in range(1000) for kind in ("param", "type", "former")}
    answer = send(web, **texts, params=json.dumps({"text": "x" * 4_000_000}), hours="x",
                  file=("a", b"1", "a/b"), **{"param.input": "a"})
    assert answer.status_code == 400
    assert "Not launched: storage_expiration_hours" in answer.text, answer.text[:2000]
    assert answer.text.count('id="param.p') == 1000


def test_values_of_a_former_run_keep_their_types(web: Web):
    """A number, a boolean or a list that nothing declares is no text in the launch that copies it."""
    fail(web, "run-1")
    browser, _ = web.browser("ada")
    page = browser.get(f"{LAUNCH}?former=run-1").text
    texts = {name: html.unescape(value) for name, value in re.findall(
        r'<input[^>]* name="((?:param|type|former)[.]\w+)" value="([^"]*)"', page)}
    texts |= {name: html.unescape(value) for name, value in re.findall(
        r'<textarea[^>]* name="(param[.]\w+)"[^>]*>([^<]*)<', page)}
    texts |= dict.fromkeys(re.findall(r'<select[^>]* name="(param[.]flag)"', page), "false")
    found = launch_pages._submission({"pipeline": "p", **texts}, {})
    assert found.params is not None
    assert {name: found.params[name] for name in ("min_reads", "flag", "list", "depth", "input")} == {
        "min_reads": 20, "flag": False, "list": [1, 2], "depth": 3, "input": "samples.csv"}
    changed = launch_pages._submission({"pipeline": "p", "param.flag": "/x.vcf", "former.flag": "boolean",
                                        "type.flag": "string"}, {})
    assert changed.params == {"flag": "/x.vcf"}


def test_values_of_a_former_run_that_no_field_has(web: Web):
    """Null and an empty text would be the default in a field; long texts and control characters stay."""
    given = {"nothing": None, "extra": "", "word": "null", "many": ["x" * 30_000], "bell": "a\r\nb\7"}
    fail(web, "run-1", given=given)
    browser, _ = web.browser("ada")
    page = browser.get(f"{LAUNCH}?former=run-1").text
    shown = re.search(r'<textarea id="params"[^>]*>([^<]*)<', page)
    assert shown is not None
    texts = {"params": html.unescape(shown[1]), **dict(re.findall(
        r'<input[^>]* name="((?:param|type|former)[.]\w+)" value="([^"]*)"', page))}
    found = launch_pages._submission({"pipeline": "p", **texts}, {}).params
    assert found == {**given, "depth": 3}


def test_a_former_run_of_a_terminal(web: Web, tmp_path: Path):
    """Pipeline and input files were named from its launch dir: the form has their paths, and the fields."""
    fail(web, "run-1", pipeline="p", given={"input": "samples.csv", "outdir": "results"})
    (tmp_path / "samples.csv").write_text("sample\n")
    (tmp_path / "results").mkdir()
    browser, _ = web.browser("ada")
    page = browser.get(f"{LAUNCH}?former=run-1").text
    for shown in (f'name="pipeline" value="{tmp_path}/p"',
                  f'{tmp_path}/samples.csv',  # in a line, or in a box if it is long
                  'name="param.outdir" value="results"', "a samplesheet"):
        assert shown in page, shown
    assert f'<option value="{tmp_path}/p">' in page  # and among the pipelines that are offered
    relaunch = browser.get("/a/team/executions/run-1/relaunch").text
    assert 'name="param.input" value="samples.csv"' in relaunch
    assert "a samplesheet" in relaunch
    assert "more that the pipeline declares" in relaunch


def test_a_launch_dir_that_cannot_be_looked_at(web: Web):
    """The pipeline of such a run is offered as it was named, and the form works."""
    fail(web, "run-1", pipeline="p")
    with web.store.begin() as tx:
        tx.conn.execute(schema.executions.update().values(launch_dir="/" + "x" * 300))
    browser, _ = web.browser("ada")
    for path in ("/a/team/launch", "/a/team/launch?former=run-1"):
        answer = browser.get(path)
        assert answer.status_code == 200
        assert 'value="p"' in answer.text


def test_parameters_of_another_revision(web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The form says that its parameters are those of the copy, not of the revision that is asked for."""
    copy = tmp_path / "assets/acme/rna"
    copy.mkdir(parents=True)
    (copy / "nextflow_schema.json").write_text(json.dumps(SCHEMA))
    monkeypatch.setenv("NXF_ASSETS", str(tmp_path / "assets"))
    page = send(web, pipeline="acme/rna", revision="1.4", show="yes").text
    assert "a samplesheet" in page
    assert "Revision 1.4 may declare others" in page
    assert "may declare others" not in send(web, pipeline="acme/rna", show="yes").text
    assert "may declare others" not in send(web, revision="1.4", show="yes").text


def test_from_a_former_run(web: Web):
    """Pipeline, options and parameters are those of its last attempt; others' runs are a 404."""
    fail(web, "run-1")
    browser, _ = web.browser("ada")
    page = browser.get(f"{LAUNCH}?former=run-1").text
    for shown in ('name="param.min_reads" value="20"', 'name="param.depth" value="3"',
                  'name="profiles" value="test"', "Nothing of it is reused"):
        assert shown in page, shown
    assert "<script>alert" not in page
    assert browser.get(f"{LAUNCH}?former=gone").status_code == 404
    viewer, _ = web.browser("eve")
    assert "samples.csv" not in viewer.get(f"{LAUNCH}?former=run-1").text
