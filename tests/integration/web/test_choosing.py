"""Files for a parameter are chosen from the folders of `web_data`, and from nowhere else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from nfresume import settings
from nfresume.service import data_folders
from tests.integration.web.test_relaunch_form import fail
from tests.integration.web.test_web import HOSTILE, Web

LAUNCH = "/a/team/launch"
SCHEMA = {"properties": {
    "input": {"type": "string", "format": "file-path", "description": "a samplesheet"},
    "reads": {"type": "array", "items": {"type": "string", "format": "file-path"}},
    "index": {"type": "string", "format": "directory-path"}, "depth": {"type": "integer"}}}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A site whose account team may choose files in data/shared and data/team."""
    data = tmp_path / "data"
    for name in ("shared/run 1", "team", "rivals"):
        (data / name).mkdir(parents=True)
    (data / "shared/samples.csv").write_text("a,b\n")
    (data / "shared/run 1/a&b.fastq").write_text("@1\n" * 700)
    (data / "shared/.secret").write_text("x")
    (data / "rivals/theirs.csv").write_text("x")
    (tmp_path / "p").mkdir()
    (tmp_path / "p/main.nf").write_text("workflow {}")
    (tmp_path / "p/nextflow_schema.json").write_text(json.dumps(SCHEMA))
    made = Web(tmp_path, f"sqlite:///{tmp_path / 's.db'}",
               NFRESUME_WEB_DATA=f"{data}/shared,{data}/{{account}}")
    yield made
    made.store.close()


def data(web: Web) -> Path:
    return web.root.path.parent / "data"


def send(web: Web, user: str = "ada", to: str = LAUNCH, **fields: Any) -> Any:
    browser, csrf = web.browser(user)
    given = {"csrf": csrf, "pipeline": f"{web.root.path.parent}/p", "choose": "input", **fields}
    return browser.post(to, data=given)


def buttons(page: str, name: str) -> list[str]:
    """The values of the buttons or boxes of this name, in their order."""
    return [unescape(value) for value in re.findall(rf'name="{name}" value="([^"]*)"', page)]


def test_from_the_form_to_a_file_and_back(web: Web):
    """A button beside a path leads to the folders, and a file back to the form, which has what was typed."""
    form = send(web, choose="", show="yes").text
    assert buttons(form, "choose") == ["input", "reads", "index"]
    typed = {"hours": "7", "pin": "on", "param.depth": "3", "params": '{\r\n"x": 1}', "param.new": HOSTILE}
    tops = send(web, **typed).text
    assert buttons(tops, "open")[1:] == [f"{data(web)}/shared", f"{data(web)}/team"]
    shared = send(web, **typed, open=f"{data(web)}/shared").text
    assert buttons(shared, "open")[-1] == f"{data(web)}/shared/run 1"
    assert buttons(shared, "pick") == [f"{data(web)}/shared/samples.csv"]
    assert ".secret" not in shared
    kept = {name: unescape(value) for name, value in re.findall(
        r'<input type="hidden" name="([^"]+)" value="([^"]*)"', shared)}
    assert kept["params"] == '{\n"x": 1}'
    inner = send(web, **typed, open=f"{data(web)}/shared/run 1").text
    assert buttons(inner, "pick") == [f"{data(web)}/shared/run 1/a&b.fastq"]
    assert "2.1 KiB" in inner
    assert "<script>alert" not in inner
    back = send(web, **typed, pick=buttons(inner, "pick")[0])
    assert back.status_code == 200
    field = re.search(r'<\w+ id="param.input".*?>[^<]*', back.text)  # a long path is in a textarea
    assert field is not None
    assert "a&amp;b.fastq" in field[0]
    assert " autofocus" in field[0]
    for shown in ('name="hours" value="7"', 'name="pin" checked', 'value="3"', "{\n&#34;x&#34;: 1}</text"):
        assert shown in back.text, shown
    again = send(web, **{"param.input": f"{data(web)}/shared/run 1/a&b.fastq"}).text
    assert buttons(again, "at") == [f"{data(web)}/shared/run 1"]
    assert not (web.conf.web_launches / "team").exists()


def test_several_files_and_folders(web: Web):
    """A list gets what is ticked, over several pages, after what it has; a folder is chosen as it is."""
    folder = data(web) / "team"
    for n in range(data_folders.PAGE + 5):
        (folder / f"{n:04}.fastq").touch()
    first = send(web, choose="reads", open=str(folder)).text
    assert len(buttons(first, "pick")) == data_folders.PAGE
    second = send(web, choose="reads", at=str(folder), start="100", pick=f"{folder}/0002.fastq").text
    assert buttons(second, "pick")[0] == f"{folder}/0002.fastq"  # hidden: it is on the other page
    assert "1 chosen" in second
    used = send(web, choose="reads", use="yes", pick=[f"{folder}/0002.fastq", f"{folder}/0104.fastq"],
                **{"param.reads": '["/mnt/x.fastq"]'}).text
    area = re.search(r'<textarea id="param.reads".*?>(.*?)</textarea>', used)
    assert area is not None
    assert json.loads(unescape(area[1])) == ["/mnt/x.fastq", f"{folder}/0002.fastq", f"{folder}/0104.fastq"]
    listed = send(web, choose="index", open=f"{data(web)}/shared").text
    assert buttons(listed, "pick") == [f"{data(web)}/shared"]
    given_up = send(web, choose="index", back="yes", **{"param.index": "/old"}).text
    assert 'name="param.index" value="/old"' in given_up


def test_attacks(web: Web, tmp_path: Path):
    """Paths with `..`, links out, hidden files, other accounts, and odd names are refused."""
    team = data(web) / "team"
    (team / "passwd").symlink_to("/etc/passwd")
    (team / "etc").symlink_to("/etc")
    (team / "rivals").symlink_to(data(web) / "rivals")
    (team / "good").symlink_to(data(web) / "shared/samples.csv")
    (team / "hidden").symlink_to(data(web) / "shared/.secret")
    (team / ".git").mkdir()
    os.mkfifo(team / "fifo")
    (team / os.fsdecode(b"\xff.csv")).touch()
    (team / "new\nline.csv").touch()
    (team / f"{HOSTILE.replace('/', '')}").touch()
    page = send(web, open=str(team)).text
    assert buttons(page, "pick") == [f"{team}/good"]
    assert [b for b in buttons(page, "open") if b.startswith(f"{team}/")] == []
    assert page.count("a link out of the folders") == 4
    assert page.count("a name that no form can send") == 3
    assert "<script>alert" not in page
    for bad in (f"{team}/..", f"{team}/../rivals", f"{data(web)}/shared/../rivals", "/etc", "/", "team",
                f"{team}/etc", f"{team}/rivals", f"{team}/.git", f"{team}/./.git", f"{team}x", str(data(web)),
                f"{data(web)}/rivals", f"{data(web)}/{{account}}", str(web.root.path), f"{team}/gone",
                f"{team}/good", "//etc", "\x00/etc"):
        answer = send(web, open=bad)
        assert (answer.status_code, bad) in ((404, bad), (400, bad))
        assert "theirs.csv" not in answer.text
        assert "root:" not in answer.text
    for bad in (f"{team}/passwd", f"{team}/etc/passwd", f"{data(web)}/shared/.secret", f"{team}/hidden",
                f"{team}/rivals/theirs.csv", f"{data(web)}/rivals/theirs.csv", "/etc/passwd", f"{team}/fifo",
                f"{team}/../rivals/theirs.csv", f"{team}/gone"):
        answer = send(web, pick=bad)
        assert (answer.status_code, bad) == (404, bad)
        assert 'id="param.input"' not in answer.text
    assert send(web, "bob", open=str(team)).status_code == 404  # no member
    assert send(web, "eve", open=str(team)).status_code == 403  # a viewer
    browser, _ = web.browser("ada")
    foreign = browser.post(LAUNCH, data={"choose": "input", "open": str(team)})
    assert foreign.status_code == 403


def test_a_folder_around_what_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """If a site lists a folder with nfresume's own in it, these are neither shown nor opened."""
    monkeypatch.setenv(settings.CONFIG_ENV, str(tmp_path / "c.toml"))
    web = Web(tmp_path, f"sqlite:///{tmp_path / 's.db'}", NFRESUME_WEB_DATA=str(tmp_path))
    (tmp_path / "launches/team/run-1").mkdir(parents=True)
    (tmp_path / "launches/rivals/run-2").mkdir(parents=True)
    page = send(web, open=str(tmp_path)).text
    shown = [b for b in [*buttons(page, "open"), *buttons(page, "pick")] if b.startswith(f"{tmp_path}/")]
    assert shown == []
    for name in ("root", "root/team", "s.db", "launches", "launches/rivals"):
        assert send(web, open=str(tmp_path / name)).status_code == 404, name
    assert send(web, pick=str(tmp_path / "s.db")).status_code == 404
    assert send(web, open=str(tmp_path / "launches/team")).status_code == 200  # the account's own
    web.store.close()


def test_without_folders(tmp_path: Path):
    """By default no folder is listed, and there is no button."""
    web = Web(tmp_path, f"sqlite:///{tmp_path / 's.db'}")
    (tmp_path / "p").mkdir()
    (tmp_path / "p/nextflow_schema.json").write_text(json.dumps(SCHEMA))
    assert buttons(send(web, choose="", show="yes").text, "choose") == []
    assert "lists no folders" in send(web).text
    assert send(web, open=str(tmp_path)).status_code == 404
    web.store.close()


@pytest.mark.long
def test_a_folder_of_100_000_files(web: Web):
    """It is shown in pages, by name, and searched; only the newest of so many are not known."""
    folder = data(web) / "team"
    for n in range(100_000):
        os.mknod(folder / f"s{n:06}.fastq")
    (folder / "Zebra.csv").write_text("x")
    for fields in ({}, {"start": "99900"}, {"order": "newest"}, {"find": "zebra", "order": "size"}):
        answer = send(web, at=str(folder), **fields)
        assert answer.status_code == 200
        assert len(answer.content) < 150_000
    page = send(web, at=str(folder), find="zebra").text
    assert buttons(page, "pick") == [f"{folder}/Zebra.csv"]
    assert "99,901 to 100,000 of 100,001" in send(web, at=str(folder), start="99900").text
    newest = send(web, at=str(folder), order="newest").text
    assert "more than 10,000 are not sorted" in newest


def test_in_a_relaunch(web: Web):
    """The same beside the parameters of a relaunch; what was typed is kept there, too."""
    fail(web, "run-1")
    (web.root.path.parent / "main.nf").write_text("workflow {}")
    (web.root.path.parent / "nextflow_schema.json").write_text(json.dumps(
        {"properties": {"input": {"type": "string", "format": "file-path"}}}))
    to = "/a/team/executions/run-1/relaunch"
    browser, _ = web.browser("ada")
    assert browser.get(to).status_code == 200
    chosen = send(web, to=to, choose="input", pick=f"{data(web)}/shared/samples.csv",
                  **{"param.min_reads": "31", "hours": "9"})
    assert chosen.status_code == 200
    for shown in (f"{data(web)}/shared/samples.csv", 'name="param.min_reads" value="31"', 'value="9"'):
        assert shown in chosen.text, shown
    assert send(web, to=to, open="/etc").status_code == 404


def test_names_are_sorted_as_people_count(web: Web):
    """s2 comes before s10, without regard to case."""
    for name in ("s10.csv", "S2.csv", "s1.csv", "10.csv", "9.csv", "a²"):
        (data(web) / "team" / name).touch()
    page = send(web, open=f"{data(web)}/team").text
    assert [Path(path).name for path in buttons(page, "pick")] == [
        "9.csv", "10.csv", "a²", "s1.csv", "S2.csv", "s10.csv"]
