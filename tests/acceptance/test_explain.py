"""Why tasks ran again, with real Nextflow: one pipeline, and for each process another change."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from nfresume.nextflow import reading, task_dirs
from nfresume.nextflow.record import Task
from tests.acceptance.conftest import run_plain
from tests.conftest import Site

pytestmark = pytest.mark.slow

PIPELINE = '''\
params.n = 1
params.dir = "${launchDir}".toString()
d = params.dir

process STABLE  { output: path 'o'; script: "echo same > o" }
process SCRIPT  { output: path 'o'; script: "echo one > o" }
process PARAM   { output: path 'o'; script: "echo n is ${params.n} > o" }
process SIZE    { input: path f; output: path 'o'; script: "cat $f > o" }
process TOUCHED { input: path f; output: path 'o'; script: "cat $f > o" }
process MOVED   { input: path f; output: path 'o'; script: "cat $f > o" }
process ADDED   { input: path f; output: path 'o'; script: "cat *.txt > o" }
process REMOVED { input: path f; output: path 'o'; script: "cat *.txt > o" }
process INDEX   { output: path 'idx'; script: "echo index a > idx" }
process ALIGN   { input: path idx; output: path 'bam'; script: "cat $idx > bam" }
process SORT    { input: path bam; output: path 'o'; script: "cat $bam > o" }
process BOXED   { container 'quay.io/tool:1'; output: path 'o'; script: "echo > o" }
process MODULE  { module 'tool/1.0'; beforeScript 'module() { true; }'; output: path 'o'; script: "echo > o" }
process CONDA   { conda "$d/env1"; output: path 'o'; script: "echo > o" }
process UNCACHED { cache false; output: path 'o'; script: "echo > o" }
process DEEP    { cache 'deep'; input: path f; output: path 'o'; script: "cat $f > o" }
process LENIENT { cache 'lenient'; input: path f; output: path 'o'; script: "cat $f > o" }
process TOOL    { output: path 'o'; script: """
    tool.sh > o""" }
process GONE    { output: path 'o'; script: "echo gone > o" }
process NOEXIT  { output: path 'o'; script: "echo noexit > o" }
process EXIT    { output: path 'o'; script: "echo exit > o" }
process OUTPUT  { output: path 'o*'; script: "echo output > o1" }
process OLDNAME { output: path 'o'; script: "echo name > o" }
process VARIABLE { input: env 'FOO'; output: path 'o'; script: 'echo $FOO > o' }
process VALUE   { input: val v; output: path 'o'; script: "echo > o" }
process SEVERAL { input: path f; output: path 'o'; script: "cat $f > o; echo one" }
process FAILED  { errorStrategy 'ignore'; output: path 'o'; script: "[ -e ${params.dir}/ok ]; echo > o" }
process LAST    { input: path o; script: "true" }

workflow {
    STABLE(); SCRIPT(); PARAM(); BOXED(); MODULE(); CONDA(); UNCACHED(); TOOL(); GONE(); NOEXIT(); EXIT()
    OUTPUT(); OLDNAME(); VARIABLE('first'); VALUE('first')
    SIZE(file("$d/in/size.txt")); TOUCHED(file("$d/in/touched.txt")); MOVED(file("$d/in/old/moved.txt"))
    ADDED(Channel.fromPath("$d/in/added/*.txt").collect(sort: true))
    REMOVED(Channel.fromPath("$d/in/removed/*.txt").collect(sort: true))
    DEEP(file("$d/in/deep.txt")); LENIENT(file("$d/in/lenient.txt")); SEVERAL(file("$d/in/several.txt"))
    SORT(ALIGN(INDEX()))
    LAST(FAILED())
}
'''
CONFIG = """\
docker.enabled = true
conda.enabled = true
executor.queueSize = 4
"""
EDITS = {
    'SCRIPT  { output: path \'o\'; script: "echo one': 'SCRIPT  { output: path \'o\'; script: "echo two',
    "in/old/moved": "in/new/moved", "index a": "index b", "tool:1": "tool:2", "tool/1.0": "tool/2.0",
    "$d/env1": "$d/env2", "OLDNAME": "NEWNAME", "VARIABLE('first')": "VARIABLE('second')",
    "VALUE('first')": "VALUE('second')", "> o; echo one": "> o; echo two",
}
#: The cause of each process that runs again, and what its text says.
EXPECTED = {
    "SCRIPT": ("script", "its script changed"),
    "PARAM": ("script", "its script changed, perhaps with parameter n (not given -> 2)"),
    "SIZE": ("input_changed", "its input size.txt changed (5 -> 7 bytes)"),
    "TOUCHED": ("input_changed", "its input touched.txt changed (same size, written again)"),
    "MOVED": ("input_moved", "/in/new/moved.txt"),
    "ADDED": ("input_added", "its input c.txt is new"),
    "REMOVED": ("input_removed", "b.txt is no longer one"),
    "INDEX": ("script", "its script changed"),
    "ALIGN": ("upstream", "its input idx comes from INDEX, which ran again"),
    "SORT": ("upstream", "its input bam comes from ALIGN, which ran again"),
    "BOXED": ("container", "its container changed (quay.io/tool:1 -> quay.io/tool:2)"),
    "MODULE": ("modules", "its environment modules changed (tool 1.0 -> tool 2.0)"),
    "CONDA": ("conda", "/env2)"),
    "UNCACHED": ("not_cached", "cache false"),
    "DEEP": ("input_changed", "its input deep.txt changed (5 -> 7 bytes)"),
    "LENIENT": ("input_changed", "its input lenient.txt changed (5 -> 7 bytes)"),
    "TOOL": ("program", "its program bin/tool.sh changed (24 -> 29 bytes)"),
    "GONE": ("dir_gone", "its task dir was gone"),
    "NOEXIT": ("exit_status", "its exit status was lost"),
    "EXIT": ("exit_status", "its exit status was 3"),
    "OUTPUT": ("output_missing", "its output o* is not in its task dir any more"),
    "NEWNAME": ("process", "its process was called OLDNAME"),
    "VARIABLE": ("variable", "its variable FOO changed (first -> second)"),
    "VALUE": ("unknown", "perhaps a value"),
    "SEVERAL": ("script", "its script changed; its input several.txt changed (5 -> 7 bytes)"),
    "FAILED": ("failed", "it had failed in attempt 1 with exit status 1"),
    "LAST": ("new", "it had not run before"),
}


def prepare(site: Site) -> None:
    """The pipeline, its inputs, and programs that play docker and conda."""
    here = site.launch_dir
    (here / "main.nf").write_text(PIPELINE)
    (here / "nextflow.config").write_text(CONFIG)
    for name in ("size", "touched", "old/moved", "added/a", "added/b", "removed/a", "removed/b", "deep",
                 "lenient", "several"):
        (here / f"in/{name}.txt").parent.mkdir(parents=True, exist_ok=True)
        (here / f"in/{name}.txt").write_text("read\n")
    player = site.base / "bin"
    for place in (here / "bin", here / "env1", here / "env2", player):
        place.mkdir()
    program(here / "bin/tool.sh", "echo tool 1")
    program(player / "docker",
            '[ "$1" = run ] || exit 0\nwhile [ "$1" != /bin/bash ]; do shift; done; exec "$@"')
    program(player / "conda", f"echo '  \"conda_prefix\": \"{player}/conda-root\",'")
    (player / "conda-root/bin").mkdir(parents=True)
    (player / "conda-root/bin/activate").write_text("")
    site.env["PATH"] = f"{player}:{site.env['PATH']}"


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def change(site: Site, dirs: dict[str, Path]) -> None:
    """Change one thing for each process."""
    here = site.launch_dir
    text = (here / "main.nf").read_text()
    for old, new in EDITS.items():
        assert old in text
        text = text.replace(old, new)
    (here / "main.nf").write_text(text)
    for name in ("size", "deep", "lenient", "several"):
        (here / f"in/{name}.txt").write_text("longer\n")
    os.utime(here / "in/touched.txt", (1_700_000_000, 1_700_000_000))
    (here / "in/new").mkdir()
    (here / "in/old/moved.txt").rename(here / "in/new/moved.txt")
    (here / "in/added/c.txt").write_text("more\n")
    (here / "in/removed/b.txt").unlink()
    program(here / "bin/tool.sh", "echo tool 2: yes")
    shutil.rmtree(dirs["GONE"])
    (dirs["NOEXIT"] / ".exitcode").unlink()
    (dirs["EXIT"] / ".exitcode").write_text("3")
    (dirs["OUTPUT"] / "o1").unlink()
    (here / "ok").touch()


def dirs_of(e: dict[str, Any]) -> dict[str, Path]:
    work = Path(e["work_dir"]["path"])
    return {line.name: work / line.dir for line in reading.lines(work.parent / "attempts/1")
            if isinstance(line, Task) and line.dir}


@pytest.mark.long
def test_each_kind_of_change(site: Site):
    """Every task that ran again is explained, what followed from what, and nothing else is said."""
    prepare(site)
    site.ok("launch", "--pin", "main.nf")
    e = site.show()
    change(site, dirs_of(e))
    done = site.ok("relaunch", e["id"], "--n", "2")
    explained = site.ok("explain", e["id"], "--json").json()
    found = {task["name"]: task for task in explained["tasks"]}
    assert {name: task["causes"][0]["kind"] for name, task in found.items()} == {
        name: kind for name, (kind, _) in EXPECTED.items()}
    for name, (_, text) in EXPECTED.items():
        assert text in "; ".join(cause["text"] for cause in found[name]["causes"]), name
        assert len(found[name]["causes"]) == (2 if name == "SEVERAL" else 1), name
    assert found["SCRIPT"]["causes"][0]["detail"] == ["-echo one > o", "+echo two > o"]
    assert found["ALIGN"]["causes"][0]["upstream"] == found["INDEX"]["task_dir"]
    # The end of the relaunch says each cause once, and what followed.
    assert "nfresume: INDEX ran again: its script changed; 2 tasks followed (ALIGN, SORT)" in done.err
    assert "FAILED ran" not in done.err
    tree = site.ok("explain", e["id"]).out
    assert ("INDEX ran again: its script changed\n    -echo index a > idx\n    +echo index b > idx\n"
            "  ALIGN ran again: its input idx comes from INDEX, which ran again\n"
            "    SORT ran again: its input bam comes from ALIGN, which ran again\n") in tree
    chain = site.ok("explain", e["id"], "SORT").out.splitlines()
    assert [line.split()[0] for line in chain if " ran again: " in line] == ["SORT", "ALIGN", "INDEX"]
    assert site.ok("explain", e["id"], "STABLE").out == "STABLE was reused from attempt 1\n"
    for nothing in (["NOTHING"], [""], ["--attempt", "9"]):
        assert site.run("explain", e["id"], *nothing).code == 66
    assert site.run("explain", e["id"], "SORT", "(1)").code == 64
    # Of a pipeline that has not changed it is certain that a parameter did it. That holds without a work dir.
    site.ok("relaunch", e["id"], "--n", "3")
    site.ok("unpin", e["id"])
    site.ok("delete", e["id"], "--yes")
    again = site.ok("explain", e["id"]).out.splitlines()
    assert sorted(line.split()[0] for line in again) == ["+echo", "-echo", "PARAM", "UNCACHED"]
    assert "PARAM ran again: its script changed with parameter n (2 -> 3)" in again
    assert site.ok("explain", e["id"], "--attempt", "2", "--json").json() == explained


@pytest.mark.long
def test_the_same_tasks_as_with_plain_nextflow(site: Site, plain_nextflow: Path):
    """After the same changes plain `-resume` reuses exactly what a relaunch reuses."""
    plain = Site(site.base / "plain", dict(site.env))
    for each in (site, plain):
        each.launch_dir.mkdir(parents=True, exist_ok=True)
        prepare(each)
    site.ok("launch", "--pin", "main.nf")
    assert run_plain(plain_nextflow, plain.launch_dir, "main.nf", env=plain.env).returncode == 0
    work = plain.launch_dir / "work"
    change(site, dirs_of(site.show()))
    change(plain, {task_dirs.name_of(work, "/".join(d.parts[-2:])): d for d in work.glob("??/*")})
    ours = site.ok("relaunch", site.show()["id"], "--n", "2").out
    theirs = run_plain(plain_nextflow, plain.launch_dir, "main.nf", "-resume", "--n", "2", env=plain.env)
    assert theirs.returncode == 0, theirs.stdout
    assert reused(ours) == reused(theirs.stdout) == ["STABLE"]


def reused(text: str) -> list[str]:
    return sorted(line.split(" > ")[1] for line in text.splitlines() if "Cached process" in line)


VERSIONS = """\
params.v = 1
process FIRST  { output: path 'a'; script: "echo 1 > a" }
process EDITED { input: path a; output: path 'b'; script: "cat a > b; echo old" }
process VALUE  { input: val v; output: path 'c'; script: "echo > c" }
process LAST   { input: path b; path c; script: "false" }
workflow { LAST(EDITED(FIRST()), VALUE(params.v)) }
"""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_versions_and_a_relaunch_from_scratch(site: Site, older_nextflow: Path):
    """Task dirs of another version are understood, and reused. After a run from scratch its tasks count."""
    main = site.launch_dir / "main.nf"
    main.write_text(VERSIONS)
    assert site.run("launch", "--pin", "--nextflow", str(older_nextflow), "main.nf").code == 1
    e = site.show()["id"]
    assert site.show()["attempts"][0]["nextflow_version"] == "24.10.0"

    def again(*words: str) -> dict[str, list[dict[str, Any]]]:
        assert site.run("relaunch", e, *words).code == 1
        found = site.ok("explain", e, "--json").json()
        return {task["name"]: task["causes"] for task in found["tasks"]}

    main.write_text(VERSIONS.replace("echo old", "echo new"))
    newer = again("--v", "2")
    assert set(newer) == {"EDITED", "VALUE", "LAST"}
    assert newer["EDITED"][0]["detail"] == ["-cat a > b; echo old", "+cat a > b; echo new"]
    assert newer["LAST"][0]["text"] == "it had failed in attempt 1 with exit status 1"
    assert newer["LAST"][1]["text"] == "its input b comes from EDITED, which ran again"
    assert newer["VALUE"][0]["kind"] == "version"
    assert "(24.10.0 -> 24.10.5), or a value did" in newer["VALUE"][0]["text"]
    assert set(again("--nextflow", str(older_nextflow))) == {"LAST"}  # it reuses what the newer one made

    assert again("--from-scratch") == {}
    assert site.ok("explain", e).out == "every task of attempt 4 ran: it was relaunched from scratch\n"
    main.write_text(VERSIONS.replace("echo 1", "echo 2").replace("echo old", "echo new"))
    after = again()
    assert set(after) == {"FIRST", "EDITED", "LAST"}
    assert after["FIRST"][0]["detail"] == ["-echo 1 > a", "+echo 2 > a"]
    assert after["EDITED"][0]["kind"] == "upstream"

    assert site.run("launch", "--pin", "main.nf").code == 1  # another execution, with another session
    other = site.show()["id"]
    assert other != e
    assert site.ok("explain", other).out == "every task of attempt 1 ran: nothing had run before\n"
