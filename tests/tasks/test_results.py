"""What a workflow returns is where its JSON says, whatever else has the same name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Site
from tests.tasks.conftest import fix, put


def texts(out: str) -> list[str]:
    """The content of the files that the JSON names."""
    found = json.loads(out)
    return [Path(path).read_text() for path in (found if isinstance(found, list) else [found])]


@pytest.mark.parametrize(("workflow", "found", "others"), [
    ("plain_then_remote", ["plain", "remote"], []), ("only_plain", ["plain"], ["x.txt"]),
    ("above_a_remote", ["plain", "remote"], []),
])
def test_a_name_and_a_remote_path(site: Site, workflow: str, found: list[str], others: list[str]):
    """A result without a remote path does not replace one that has it, also one that is not returned."""
    put(site, "published.py")
    assert texts(site.ok("launch", f"published.py:{workflow}").out) == found
    assert [(site.launch_dir / "results" / name).read_text() for name in others] == ["remote"] * len(others)


def test_a_folder_where_a_file_was(site: Site):
    """The folder of results may have a file or folder of that name, of the other kind."""
    put(site, "published.py")
    assert texts(site.ok("launch", "published.py:a_file").out) == ["plain"]
    out = json.loads(site.ok("launch", "published.py:a_folder").out)
    assert Path(out, "a.txt").read_text() == "in a folder"
    assert texts(site.ok("launch", "published.py:a_file").out) == ["plain"]
    site.ok("launch", "published.py:a_folder", "--name", "other")
    assert texts(site.ok("launch", "published.py:a_file", "--name", "other").out) == ["plain"]
    assert texts(site.ok("launch", "published.py:a_remote_file", "--path", "other").out) == ["remote"]
    done = site.run("launch", "published.py:a_remote_folder", "--path", "out")
    assert (done.code, "Traceback" in done.err) == (1, False)
    assert "results/out is there, and is no folder: the folder out cannot go there" in done.err


def test_a_name_made_of_the_remote_path_of_an_input(site: Site):
    """Equal files with other remote paths are other inputs, also for the cache: each has its own results."""
    put(site, "published.py")
    for out in ("a", "b", "a"):
        found = json.loads(site.ok("launch", "published.py:indexed", "--out", out).out)
        wanted = [site.launch_dir / out / sample / "a.bam.bai" for sample in ("one", "two")]
        assert found == [str(path) for path in wanted]
        assert [path.read_text() for path in wanted] == ["index"] * 2


def test_a_place_for_output_that_is_returned(site: Site):
    """What a task has written there counts, not only where it is."""
    put(site, "published.py")
    for text in ("one", "two"):
        found = site.ok("launch", "published.py:filled", "--out", "out", "--text", text).out
        assert json.loads(found) == text


def test_a_long_name(site: Site):
    """A name may have 255 bytes, however few characters these are."""
    put(site, "published.py")
    for name in ("x" * 255, "\u6f22" * 85):
        assert texts(site.ok("launch", "published.py:a_remote_file", "--path", name).out) == ["remote"]
        assert texts(site.ok("launch", "published.py:a_file", "--name", name).out) == ["plain"]


@pytest.mark.parametrize("how", [
    "another folder", *(pytest.param(how, marks=pytest.mark.long) for how in ("removed", "one is gone"))])
def test_results_of_reused_tasks(site: Site, how: str):
    """After a relaunch all results are there, also those of tasks that were reused."""
    script = put(site, "published.py")
    assert site.run("launch", "--storage-expiration-hours", "1", "published.py:fails_late").code == 1
    results = site.launch_dir / "results"
    if how == "removed":
        shutil.rmtree(results)
    elif how == "one is gone":
        (results / "tree/a.txt").unlink()
    else:
        results = site.launch_dir / "other"
        results.mkdir()
        (results / "file.txt").write_text("of another launch")
    fix(script, "if not Path", "if Path")
    done = site.ok("relaunch", site.show()["id"], "-output-dir", results.name)
    assert json.loads(done.out) == [str(results / name) for name in ("file.txt", "tree", "tree/deep/a.txt")]
    assert {str(path.relative_to(results)): path.read_text() for path in results.rglob("*.txt")} == {
        "file.txt": "remote", "tree/a.txt": "out", "tree/deep/a.txt": "of the last task"}
    assert site.show()["work_dir"]["state"] == "DELETED"


def test_results_that_cannot_be_published(site: Site):
    """The reason is one line."""
    put(site, "published.py")
    (site.launch_dir / "results").write_text("a file")
    done = site.run("launch", "published.py:a_file")
    assert (done.code, "Traceback" in done.err) == (1, False)
    assert "nfresume: a result cannot be published: " in done.err


def test_numbers_of_numpy(site: Site):
    """They are numbers in the JSON. What JSON does not know is shown as text."""
    put(site, "published.py")
    assert json.loads(site.ok("launch", "published.py:numbers").out) == {
        "mean": 0.5, "count": 3, "flag": True, "all": [0.0, 0.5, 1.0], "none": "nan", "bytes": "b'x'"}


def test_what_is_printed(site: Site):
    """Standard output is the JSON only. What the file, the workflow and a task print is where people look."""
    put(site, "published.py")
    done = site.ok("launch", "published.py:prints", "--text", "a")
    assert json.loads(done.out) == repr(("a", "o"))
    assert "the file is loaded\nin the workflow\n" in done.err
    assert "in the task" in site.ok("logs", "published", "--task", "shown").out


def test_an_empty_text(site: Site):
    """An empty word is a value, also for a relaunch. A value that begins with a dash stands behind a `=`."""
    script = put(site, "published.py")
    fix(script, "return repr((text", "raise ValueError(text, other) or repr((text")
    words = ("published.py:prints", "--text", "", "--other=-x")
    assert site.run("launch", "--storage-expiration-hours", "1", *words).code == 1
    fix(script, "raise ValueError(text, other) or ", "return ")
    assert json.loads(site.ok("relaunch", site.show()["id"]).out) == repr(("", "-x"))
    done = site.run("launch", "published.py:prints", "--text", "-x")
    assert (done.code, "as the value of a parameter it is --PARAMETER=-x" in done.err) == (64, True)


@pytest.mark.parametrize(("named", "file"), [
    ("wf:flow", "wf/__init__.py:flow"), ("wf", "wf/__init__.py:WORKFLOW"), (".", "wf/__init__.py:WORKFLOW"),
])
def test_a_package_is_named(site: Site, named: str, file: str):
    """A folder with a Python workflow is no Nextflow pipeline. The hint says how to launch it."""
    (site.launch_dir / "wf").mkdir()
    (site.launch_dir / "wf/__init__.py").write_text("")
    done = site.run("launch", named)
    assert (done.code, f"`nfresume launch {file}`" in done.err) == (64, True)


@pytest.mark.parametrize("exists", [True, pytest.param(False, marks=pytest.mark.long)])
def test_places_for_output(site: Site, exists: bool):
    """Results with a remote path made of that of a local place go there, also if they are not returned."""
    put(site, "published.py")
    here = site.launch_dir
    if exists:
        (here / "mine/one").mkdir(parents=True)
        (here / "mine/old.txt").write_text("old")
    done = site.ok("launch", "published.py:into_places", "--place", "mine", "--file", "tables/t.csv")
    assert json.loads(done.out) == [str(here / "mine/one"), str(here / "mine/two")]
    found = {str(path.relative_to(here)): path.read_text() for top in ("mine", "tables", "beside", "results")
             for path in (here / top).rglob("*.*")}
    assert found == {"mine/one/a.txt": "one", "mine/two/a.txt": "two", "tables/t.csv": "table",
                     "mine/not returned/a.txt": "not returned", "beside/b.txt": "beside",
                     **({"mine/old.txt": "old"} if exists else {})}


def test_remote_paths_made_of_local_inputs(site: Site):
    """They name results, which are not lost. Nothing is written beside the inputs."""
    put(site, "published.py")
    here = site.launch_dir
    (here / "mine").mkdir()
    (here / "a.bam").write_text("a")
    words = ("--folder", "mine", "--file", "a.bam")
    assert json.loads(site.ok("launch", "published.py:beside_inputs", *words).out) == str(here / "a.bam")
    assert list((here / "mine").iterdir()) == []
    results = here / "results"
    assert {str(path.relative_to(results)): path.read_text() for path in results.rglob("*.*")} == {
        "mine/one/a.txt": "one", "a.bam.bai": "index"}
