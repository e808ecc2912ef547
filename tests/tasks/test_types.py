"""A result is reused only for what it was made from, and is what the task returned: types, names, files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import Site, first
from tests.tasks.conftest import fix, put, ran


def test_tasks_that_share_a_name(site: Site):
    """A wrapper without wraps, a factory, a lambda: each task gets its own result (flyte#1724)."""
    put(site, "enclosing.py")
    expected = [9, 6, 103, 203, 4, 27, 81, -3]
    assert json.loads(site.ok("launch", "enclosing.py:all_of_them").out) == expected
    assert len(ran(site)) == 8
    assert json.loads(site.ok("launch", "enclosing.py:all_of_them").out) == expected
    assert ran(site) == []
    assert json.loads(site.ok("launch", "enclosing.py:mapped").out) == [81, 256]
    assert ran(site) == ["power 4 4"]


@pytest.mark.long
def test_what_a_function_encloses_is_in_its_key(site: Site):
    """A changed wrapper, wrapped function or enclosed value is a miss; with a version the code may change."""
    script = put(site, "enclosing.py")
    site.ok("launch", "enclosing.py:all_of_them")
    ran(site)
    for old, new, reran in (
        ("return n * n\n", "return n ** 2\n", ["square 3"]),
        ("cube, fourth = power(3)", "cube, fourth = power(5)", ["power 5 3"]),
        ("@adding(1)", "@adding(7)", ["same+7 3"]),
        ("return n + 100", "return n + 300", []),
        ("lambda n: -n", "lambda n: 0 - n", ["<lambda> 3"]),
        ("return function(n=n) + amount", "return amount + function(n=n)", ["same+7 3"]),
    ):
        fix(script, old, new)
        done = site.ok("launch", "enclosing.py:all_of_them")
        assert ran(site) == reran, new
        assert not reran or "changed" in done.err


def test_a_relaunch_does_not_mix_tasks_that_share_a_name(site: Site):
    """A relaunch reuses each task's own result. What encloses a lock is never reused, and that is said."""
    script = put(site, "enclosing.py")
    assert site.run("launch", "--storage-expiration-hours", "1", "enclosing.py:fails_late").code == 1
    assert len(ran(site)) == 5
    fix(script, '    raise ValueError("no luck")', "    return values")
    done = site.ok("relaunch", site.show()["id"])
    assert json.loads(done.out) == [9, 6, 27, 81, 3]
    assert ran(site) == ["locked 3"]
    assert "locked (1) runs: it is never reused: guard, which it encloses, cannot be compared" in done.err


@pytest.mark.long
def test_a_changed_class_is_a_miss(site: Site):
    """Fields are found by name. Another field, type or member runs the task; the reason names the class."""
    script = put(site, "shaped.py")
    first = site.ok("launch", "shaped.py:kinds").out
    assert sorted(ran(site)) == ["anything 3", "plain 3", "sample red", "span 3"]
    assert site.ok("launch", "shaped.py:kinds").out == first
    assert ran(site) == []
    for old, new, reran, why in (
        ("    low: int\n    high: int\n", "    high: int\n    low: int\n", ["span 3"],
         "span (1) runs: not from the cache: its class Span changed: from (low: int, high: int) to "
         "(high: int, low: int)"),
        ("    size: int = 1\n", "    extent: int = 1\n", ["anything 3", "sample red"],
         "its class Sample changed: it had the fields name, size, inner, and has name, extent, inner"),
        ('RED = "red"', 'RED = "crimson"', ["anything 3", "sample crimson"], "its class Colour changed"),
        ("    depth: int = 1", "    depth: float = 1", ["sample crimson"],
         "its class Inner changed: from (depth: int) to (depth: float)"),
        ("        self.n = n", "        self.n = n + 1", ["plain 3"], "its class Plain changed"),
    ):
        fix(script, old, new)
        done = site.ok("launch", "shaped.py:kinds")
        assert (sorted(ran(site)), why in done.err) == (reran, True), done.err
    assert "Span(high=3, low=0)" in site.ok("launch", "shaped.py:kinds").out
    assert ran(site) == []


@pytest.mark.parametrize(("workflow", "how", "why"), first(8, [
    ("file", "missing", "its output {dir}/aligned.bam does not exist (LatchFile)"),
    ("file", "folder", "its output {dir}/folder is a folder, not a LatchFile"),
    ("file", "dangling", "its output {dir}/link is a link to nowhere, which does not exist (LatchFile)"),
    ("file", "fifo", "its output {dir}/pipe is neither file nor folder (LatchFile)"),
    ("file", "text", "no reads are left"), ("file", "exit", "sys.exit(0) before the end"),
    ("folder", "nothing",
     "it returned None, and declares LatchDir: return a value, or declare that it is Optional"),
    ("without_return", "",
     "it returned None, and declares LatchDir: return a value, or declare that it is Optional"),
    ("folder", "above", "contains the folder of the task itself"),
    ("folder", "file", "its output {dir}/beside.txt is a file, not a LatchDir"),
    ("folder", "dangling", "{dir}/out/link is a link to /nonexistent/x, which does not exist"),
    ("folder", "loop", "{dir}/out/link is a link to a folder that contains it"),
    ("folder", "fifo", "{dir}/out/pipe is neither file nor folder"),
]))
def test_an_output_that_is_not_there_fails_its_task(site: Site, workflow: str, how: str, why: str):
    """The reason is one line (flyte#5444). Nothing is published."""
    put(site, "shaped.py")
    done = site.run("launch", "--storage-expiration-hours", "1", f"shaped.py:{workflow}", "--how", how)
    assert done.code == 1
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("FAILED", "RETAINED")
    before, after = why.split("{dir}") if "{dir}" in why else ("", why)
    error = e["attempts"][0]["error"]
    assert before in error, error
    assert error.endswith(after), error
    assert not (site.launch_dir / "results").exists()


def test_links_in_folders_are_followed(site: Site):
    """A link into the folder stays a link, a link out of it becomes what it leads to (flyte#4672)."""
    put(site, "shaped.py")
    (site.launch_dir / "host.txt").write_text("host")
    site.ok("launch", "shaped.py:folder")
    out = site.launch_dir / "results/out"
    assert os.readlink(out / "inner") == "deep/a.txt"
    assert {str(p.relative_to(out)): p.read_text() for p in out.rglob("*") if p.is_file()} == {
        "inner": "inside", "deep/a.txt": "inside", "outer": "beside", "relative": "beside", "host": "host",
        "tree/b.txt": "b"}
    assert [p for p in out.rglob("*") if p.is_symlink()] == [out / "inner"]


def test_the_working_folder_as_a_result(site: Site):
    """LatchDir(os.getcwd()) is what the task has written there, without nfresume's own files."""
    put(site, "shaped.py")
    site.ok("launch", "shaped.py:folder", "--how", "cwd")
    out = site.launch_dir / "results/cwd"
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "beside.txt", "out/deep/a.txt", "tree/b.txt"]


@pytest.mark.long
def test_links_in_cached_folders_and_inputs(site: Site):
    """A cached folder stands alone. An input folder counts by what its links lead to."""
    put(site, "shaped.py")
    for _ in range(2):
        assert json.loads(site.ok("launch", "shaped.py:cached_links").out) == ["link=beside"]
    assert sorted(ran(site)) == ["links ", "read "]
    (site.launch_dir / "in").mkdir()
    target = site.launch_dir / "real.txt"
    target.write_text("one")
    (site.launch_dir / "in/x").symlink_to(target)
    assert json.loads(site.ok("launch", "shaped.py:reads", "--folder", "in").out) == ["x=one"]
    target.write_text("two")
    assert json.loads(site.ok("launch", "shaped.py:reads", "--folder", "in").out) == ["x=two"]
    assert ran(site) == ["read ", "read "]
    Path(site.launch_dir / "in/x").unlink()
    (site.launch_dir / "in/x").write_text("two")
    site.ok("launch", "shaped.py:reads", "--folder", "in")
    assert ran(site) == []


@pytest.mark.parametrize(("how", "why"), [
    ("many lines", "ValueError: the first line the second line"),
    ("group", "ExceptionGroup: two samples failed (2 sub-exceptions)"),
    ("exit", "no reads are left"),
    ("gone", "its process ended before its function had returned (os._exit, exec)"),
    ("stream", "its result cannot be passed on: a pickle that names builtins.iter is refused"),
])
def test_why_a_task_failed(site: Site, how: str, why: str):
    """The reason is one line, and is what the task has raised."""
    put(site, "raising.py")
    done = site.run("launch", "raising.py:raises", "--how", how)
    assert done.code == 1
    assert site.show()["attempts"][0]["error"] == f"Process `fails (1)` failed with exit status 1: {why}"


@pytest.mark.parametrize("how", first(1, ["map", "zip", "filter", "enumerate"]))
def test_iterators_as_results(site: Site, how: str):
    """They are lists, as generators are."""
    put(site, "raising.py")
    found = {"map": ["1", "2"], "zip": [(1, 2)], "filter": [1], "enumerate": [(0, "a")]}
    assert json.loads(site.ok("launch", "raising.py:gives", "--how", how).out) == repr(found[how])


@pytest.mark.parametrize("way", ["thread", "executor", "process"])
def test_what_a_task_leaves_running(site: Site, way: str):
    """A thread, a pool of threads or a process that nobody waits for finishes its work, as in Python."""
    put(site, "raising.py")
    site.ok("launch", "raising.py:late", "--way", way)
    assert (site.launch_dir / "results/late.txt").read_text() == f"{way}\n"


def test_a_file_within_an_object(site: Site):
    """A file that would be lost, in an object of a class whose fields are not known, fails its task."""
    put(site, "raising.py")
    done = site.run("launch", "raising.py:hidden")
    assert done.code == 1
    assert "its result cannot be passed on: a Sample holds LatchFile('x.txt'), and only" in done.err
