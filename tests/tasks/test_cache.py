"""The task cache: the rules of docs/task-cache.md, tested with real executions."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nfresume.store import Store, schema
from nfresume.tasks import digests
from tests.conftest import PROJECT, Site
from tests.tasks.conftest import fix, put, ran

SCALING = """
from nfresume.tasks import small_task, workflow
import tools

@small_task(cache=True)
def scaled(n: int) -> int:
    return tools.scale(n)

@small_task(cache=True, cache_version="1")
def pinned(n: int) -> int:
    return tools.scale(n)

@small_task(cache=True)
def plain(n: int) -> int:
    return n

@small_task
def last(a: int, b: int, c: int) -> list[int]:
    raise ValueError

@workflow
def flow(n: int = 3) -> list[int]:
    return last(a=scaled(n=n), b=pinned(n=n), c=plain(n=n))
"""


@pytest.fixture
def script(site: Site) -> Path:
    return put(site, "cached.py")


def launch(site: Site, workflow: str = "main", *words: str, file: str = "cached.py", **env: str) -> list[str]:
    """Launch a workflow. Returns the tasks that ran."""
    site.ok("launch", f"{file}:{workflow}", *words, **env)
    return ran(site)


def entry(site: Site, account: str = "team") -> Path:
    """The only entry of an account's cache."""
    found = list((site.root / account / ".tasks").glob("[!.]*/*/manifest.json"))
    assert len(found) == 1
    return found[0].parent


def test_reused_by_a_later_launch(site: Site, script: Path):
    assert launch(site) == ["square 3"]
    assert launch(site) == []
    assert launch(site, "main", "--n", "4") == ["square 4"]


@pytest.mark.long
def test_reused_by_another_workflow(site: Site, script: Path):
    """The other workflow is in the same file, or in another file that imports the task."""
    assert launch(site) == ["square 3"]
    assert launch(site, "other") == ["versioned 9"]
    (site.launch_dir / "second.py").write_text(
        "from cached import square\nfrom nfresume.tasks import workflow\n"
        "@workflow\ndef again(n: int = 3) -> int:\n    return square(n=n)\n")
    assert launch(site, "again", file="second.py") == []


def test_survives_a_move_of_the_workflow(site: Site, script: Path):
    """The file may be moved to another folder, and its other tasks and workflows may change."""
    assert launch(site) == ["square 3"]
    moved = site.launch_dir / "elsewhere"
    moved.mkdir()
    shutil.move(script, moved / "cached.py")
    fix(moved / "cached.py", "    return n + 1\n", "    return n + 2\n")
    assert launch(site, file="elsewhere/cached.py") == []


@pytest.mark.long
def test_not_invalidated_by(site: Site, script: Path):
    """Comments, docstrings, white space, parentheses and options of the decorator do not matter."""
    assert launch(site) == ["square 3"]
    for old, new in (
        ("  # a comment", "  # quite another comment"), ('"""Its docstring."""', '"""Other words."""'),
        ("    return n * n + offset", "\n\n    return (n*n) + offset"),
        ("@small_task(cache=True)\ndef square", "@task(retries=3, cache=True)\ndef square"),
    ):
        fix(script, old, new)
        assert launch(site) == [], new


@pytest.mark.long
def test_invalidated_by(site: Site, script: Path):
    """Another code, type of a parameter or the result, or version runs the task. The reason is printed."""
    assert launch(site) == ["square 3"]
    signature, header = "(n: int, offset: int = 0) -> int:\n    \"\"\"", "@small_task(cache=True)\ndef square"
    was = "its signature changed from (n: int, offset: int) -> int to "
    for old, new, why in (
        ("return n * n + offset", "return n ** 2 + offset", "its code changed"),
        (signature, signature.replace("= 0", "= 5"), "its input offset changed: from 0 to 5"),
        (signature, signature.replace("n: int,", "n: float,"), f"{was}(n: float, offset: int) -> int"),
        (signature, signature.replace("-> int", "-> float"), f"{was}(n: int, offset: int) -> float"),
        (header, header.replace("True", "True, environment={'UNIT': 'kg'}"),
         "its environment, image or salt changed"),
        (header, header.replace("True", "True, cache_version='2'"), "its version changed from its code to"),
    ):
        fix(script, old, new)
        done = site.ok("launch", "cached.py:main")
        assert ran(site) == ["square 3"]
        assert f"square (1) runs: not from the cache: {why}" in done.err
        fix(script, new, old)
        site.ok("cache", "clear", "--yes")
        assert launch(site) == ["square 3"]


@pytest.mark.parametrize("again", ["a relaunch", "a launch"])
def test_a_changed_helper(site: Site, again: str):
    """A helper in another file that a task uses counts as its code, unless the task has a version."""
    (site.launch_dir / "tools.py").write_text("FACTOR = 2\ndef scale(n): return n * FACTOR\n")
    script = site.launch_dir / "scaling.py"
    script.write_text(SCALING)
    assert site.run("launch", "--storage-expiration-hours", "1", "scaling.py:flow").code == 1
    fix(site.launch_dir / "tools.py", "FACTOR = 2", "FACTOR = 20")
    fix(script, "raise ValueError", "return [a, b, c]")
    done = site.ok("relaunch", "scaling") if again == "a relaunch" else site.ok("launch", "scaling.py:flow")
    assert json.loads(done.out) == [60, 6, 3]
    assert "scaled (1) runs: " in done.err
    assert "tools.FACTOR, which it uses, changed" in done.err
    assert "plain (1) runs" not in done.err
    assert "pinned (1) runs" not in done.err


def test_invalidated_by_its_name(site: Site, script: Path):
    assert launch(site) == ["square 3"]
    text = script.read_text().replace("def square(", "def squared(").replace("= square(", "= squared(")
    script.write_text(text.replace("return square(n=n)", "return squared(n=n)").replace(
        "(n=square(", "(n=squared(").replace("map_task(square)", "map_task(squared)"))
    assert launch(site) == ["square 3"]


@pytest.mark.long
def test_with_a_version_the_code_may_change(site: Site, script: Path):
    """With a version, the body does not matter. The version and the signature do."""
    launch(site, "other")
    fix(script, '    ran("versioned", n)\n    return n + 1\n', '    ran("versioned", n)\n    return n + 7\n')
    assert launch(site, "other") == []
    fix(script, 'cached_small_task("1.0")', 'cached_small_task("1.1")')
    assert launch(site, "other") == ["versioned 9"]
    fix(script, "def versioned(n: int)", "def versioned(n: float)")
    assert launch(site, "other") == ["versioned 9"]


def test_accounts_share_nothing(site: Site, script: Path):
    """Two users share no entry. Two workspaces of a user share none either."""
    assert launch(site, NFRESUME_ACCOUNT="ada") == ["square 3"]
    assert launch(site, NFRESUME_ACCOUNT="bob") == ["square 3"]
    assert launch(site, NFRESUME_ACCOUNT="ada-lab") == ["square 3"]
    assert launch(site, NFRESUME_ACCOUNT="ada") == []


def test_never_without_being_asked(site: Site, script: Path):
    """Without cache=True each launch runs the task, because it may have side effects."""
    assert launch(site, "never") == ["uncached 3"]
    assert launch(site, "never") == ["uncached 3"]


def test_order_and_defaults_do_not_matter(site: Site, script: Path):
    """square(n=3) and square(offset=0, n=3) are the same call."""
    launch(site)
    assert "square 3" not in launch(site, "other")


CHANGING = """
from pathlib import Path
from nfresume.tasks import small_task, workflow
from nfresume_metadata import LatchDir, LatchFile

@small_task
def early(file: LatchFile, folder: LatchDir, same: LatchFile) -> str:
    return Path(file.local_path).read_text()

@small_task
def change(where: str) -> None:
    Path(where, "a.txt").write_text("new")
    Path(where, "d/b.txt").write_text("new")
    Path(where, "same.txt").write_text("same")

@small_task(cache=True)
def read(file: LatchFile) -> str:
    return Path(file.local_path).read_text()

@small_task(cache=True)
def inside(folder: LatchDir) -> str:
    return Path(folder.local_path, "b.txt").read_text()

@small_task
def written_again(same: LatchFile) -> str:
    return Path(same.local_path).read_text()

@small_task
def last(texts: list[str]) -> list[str]:
    if "new" in texts:
        raise ValueError
    return texts

@workflow
def flow(file: LatchFile, folder: LatchDir, same: LatchFile, where: str) -> list[str]:
    before, changed = early(file=file, folder=folder, same=same), change(where=where)
    texts = [read(file=file), inside(folder=folder), written_again(same=same)]
    before >> changed
    for each in texts:
        changed >> each
    return last(texts=texts)

@workflow
def after(file: LatchFile, folder: LatchDir) -> list[str]:
    return [read(file=file), inside(folder=folder)]
"""


def test_an_input_that_changes_during_a_run(site: Site):
    """What a task made of the new content is no result for the old one: it is neither cached nor reused."""
    (site.launch_dir / "changing.py").write_text(CHANGING)
    places = [site.launch_dir / "a.txt", site.launch_dir / "d/b.txt"]
    places[1].parent.mkdir()

    def restore() -> None:
        for place in places:
            place.write_text("old")

    restore()
    (site.launch_dir / "same.txt").write_text("same")
    words = ["--file", "a.txt", "--folder", "d"]
    done = site.run("launch", "--storage-expiration-hours", "1", "changing.py:flow", *words, "--same",
                    "same.txt", "--where", str(site.launch_dir))
    assert done.code == 1
    assert done.err.count(" (1) is not reused later: its input") == 2
    restore()
    assert json.loads(site.ok("launch", "changing.py:after", *words).out) == ["old", "old"]
    assert json.loads(site.ok("relaunch", "changing-flow").out) == ["old", "old", "same"]


@pytest.mark.long
def test_files_and_folders_count_by_content(site: Site, script: Path):
    """Path and time do not matter. Another byte in a file, or another name in a folder, is another input."""
    (site.launch_dir / "a.txt").write_text("abc")
    (site.launch_dir / "d/e").mkdir(parents=True)
    (site.launch_dir / "d/e/f.txt").write_text("def")

    def words(base: str = "") -> list[str]:
        return ["--file", f"{base}a.txt", "--folder", f"{base}d"]

    assert launch(site, "sizes", *words()) == ["size "]
    (site.launch_dir / "copy").mkdir()
    shutil.copy(site.launch_dir / "a.txt", site.launch_dir / "copy/a.txt")
    shutil.copytree(site.launch_dir / "d", site.launch_dir / "copy/d")
    os.utime(site.launch_dir / "copy/a.txt", (1, 1))
    assert launch(site, "sizes", *words("copy/")) == []
    (site.launch_dir / "copy/d/e/f.txt").write_text("dex")
    done = site.ok("launch", "cached.py:sizes", *words("copy/"))
    assert "its input folder changed" in done.err
    assert ran(site) == ["size "]
    (site.launch_dir / "d/e/f.txt").rename(site.launch_dir / "d/e/g.txt")
    assert launch(site, "sizes", *words()) == ["size "]


@pytest.mark.long
def test_frames_arrays_and_long_lists(site: Site):
    """Equal frames, arrays and lists have equal digests in every process. Results are read back unchanged."""
    script = put(site, "science.py")
    first = site.ok("launch", "science.py:science")
    assert sorted(ran(site)) == ["array ", "mean ", "table "]
    second = site.ok("launch", "science.py:science")
    assert ran(site) == []
    assert first.out == second.out == "999.0\n"
    fix(script, "numpy.arange(n, dtype=float)", "numpy.arange(n, dtype=float) + 1")
    assert site.ok("launch", "science.py:science").out == "1000.0\n"
    assert sorted(ran(site)) == ["array ", "mean "]


def test_a_salt_of_one_call(site: Site):
    """It counts also when the task has run before, and for a task in a new interpreter."""
    put(site, "science.py")
    assert launch(site, "salted", file="science.py") == ["array ", "array "]
    assert launch(site, "salted", file="science.py") == []


def test_a_map_is_cached_by_element(site: Site, script: Path):
    assert sorted(launch(site, "mapped", "--items", "[1, 2, 3]")) == ["square 1", "square 2", "square 3"]
    assert launch(site, "mapped", "--items", "[3, 4, 1]") == ["square 4"]


def test_a_reader_cannot_spoil_an_entry(site: Site, script: Path):
    """A task gets a copy of a cached folder. Writing to the copy does not change the entry."""
    for _ in range(3):
        assert site.ok("launch", "cached.py:spoilt").out == '"whole"\n'
    assert ran(site) == ["write whole"]


def test_files_stay_side_by_side(site: Site):
    """A cached BAM has its index beside it, as it had at first."""
    (site.launch_dir / "flow.py").write_text("""
from pathlib import Path
from latch import small_task, workflow
from latch.types import LatchFile

@small_task(cache=True, cache_version="1")
def align() -> list[LatchFile]:
    for name in ("a.bam", "a.bam.bai"):
        Path(name).write_text(name)
    return [LatchFile("a.bam"), LatchFile("a.bam.bai")]

@small_task
def call(bam: LatchFile, index: LatchFile) -> str:
    return Path(f"{bam.local_path}.bai").read_text()

@small_task
def split(files: list[LatchFile]) -> str:
    return call(bam=files[0], index=files[1])

@workflow
def flow() -> str:
    return split(files=align())
""")
    for cached in (0, 1):
        assert json.loads(site.ok("launch", "flow.py:flow").out) == "a.bam.bai"
        assert site.show()["attempts"][0]["tasks"]["cached"] == cached


def test_equal_calls_at_once_run_once(site: Site, script: Path):
    """With cache_serialize, one of several executions runs the task. The others wait for its result."""
    started = [site.start("launch", "cached.py:once") for _ in range(3)]
    answers = [child.communicate(timeout=60) for child in started]
    assert [out for out, _ in answers] == ["1\n"] * 3, answers
    assert ran(site) == ["slow 1"]


def corrupt(place: Path, how: str) -> None:
    """Damage an entry with a folder that has a file."""
    manifest = place / "manifest.json"
    data = json.loads(manifest.read_bytes())
    file = next(place.glob("files/*/out/deep/a.txt"))
    if how == "truncated":
        file.write_text("who")
    elif how == "changed":
        file.write_text("WHOLE")
    elif how == "partly deleted":
        file.unlink()
    elif how == "more than was stored":
        (file.parent / "b.txt").write_text("x")
    elif how == "torn manifest":
        manifest.write_bytes(manifest.read_bytes()[:50])
    elif how == "no manifest":
        manifest.unlink()
    else:
        apply = {"another account": {"account": "eve"}, "another task": {"task": "cached.other"}}
        data["key"].update(apply.get(how, {}))
        if how == "a path outside":
            data["files"] = {"../../../../../etc/passwd": "file:0"}
            data["outputs"]["path"] = "../../../../../etc/passwd"
        manifest.write_text(json.dumps(data))


@pytest.mark.long
def test_a_damaged_or_forged_entry_is_a_miss(site: Site, script: Path):
    """A damaged entry never gives a wrong result. The task runs, says why, and stores a correct entry."""
    launch(site, "spoilt")
    damaged = "is not what was stored"
    for how, why in (
        ("truncated", damaged), ("changed", damaged), ("partly deleted", damaged),
        ("more than was stored", damaged), ("torn manifest", "its entry is damaged"), ("no manifest", ""),
        ("another account", "its entry belongs to account eve, or to another key: refused"),
        ("another task", "refused"), ("a path outside", "names a path outside of it"),
    ):
        corrupt(entry(site), how)
        done = site.ok("launch", "cached.py:spoilt")
        assert (done.out, ran(site)) == ('"whole"\n', ["write whole"]), how
        assert why in done.err
    assert launch(site, "spoilt") == []


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/nfresume-was-here",)


@pytest.mark.long
def test_an_unsafe_pickle_is_refused(site: Site):
    """No code in an entry is run. A pickle that names a function is a miss."""
    put(site, "science.py")
    launch(site, "science", file="science.py")
    pickles = list((site.root / "team/.tasks").rglob("*.pickle"))
    assert pickles
    for file in pickles:
        data = pickle.dumps(Evil())
        file.write_bytes(data)
        manifest = file.parents[2] / "manifest.json"
        whole = json.loads(manifest.read_bytes())
        whole["files"] = {str(file.relative_to(manifest.parent)): digests.of_path(file)}
        manifest.write_text(json.dumps(whole))
    done = site.ok("launch", "science.py:science")
    assert done.out == "999.0\n"
    assert "a pickle that names posix.system is refused" in done.err
    assert not Path("/tmp/nfresume-was-here").exists()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_kill_while_storing(site: Site, script: Path):
    """A kill -9 at any step of storing leaves no entry or a complete one. A retry gives the result."""
    points = ("task-ran", "cache-copied", "cache-written", "cache-stored", "task-answered", "cache-aside")
    for point in points:
        if point == "cache-aside":  # reached when a result replaces another one
            corrupt(entry(site), "changed")
        else:
            site.run("cache", "clear", "--yes")
        done = site.run("launch", "--storage-expiration-hours", "1", "cached.py:spoilt",
                        NFRESUME_CRASH_AT=point)
        assert (done.code, "was killed by signal 9" in done.err) == (1, True), point
        assert site.ok("relaunch", site.show()["id"]).out == '"whole"\n'
        assert (entry(site) / "manifest.json").exists()
        ran(site)
    assert launch(site, "spoilt") == []


@pytest.mark.long
def test_a_cache_on_a_file_system_of_its_own(site: Site, script: Path):
    """Its entries can be removed, though they cannot be moved into the trash. A link is told as such."""
    launch(site)
    tasks = site.root / "team/.tasks"
    alone = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)), "sh", "-c",
             'mount --bind "$0" "$0" && exec "$@"', str(tasks)]
    if subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        pytest.skip("no mount namespaces here")
    site.ok("sweep", under=alone, NFRESUME_TASK_CACHE_HOURS="0.000001")
    assert site.ok("cache", "list", "--json").json() == []
    launch(site)
    tasks.rename(site.base / "elsewhere")
    tasks.symlink_to(site.base / "elsewhere")
    done = site.run("cache", "clear", "--yes")
    assert (done.code, "bug" in done.err) == (74, False)


@pytest.mark.long
def test_list_explain_prune_clear(site: Site, script: Path):
    """`cache list`, `explain`, `prune` and `clear` work, as text and as JSON."""
    launch(site, "mapped", "--items", "[1, 2, 3]")
    listed = site.ok("cache", "list", "--json").json()
    assert sorted(e["inputs"]["n"] for e in listed) == ["1", "2", "3"]
    assert "n=2, offset=0" in site.ok("cache", "list").out
    assert site.ok("cache", "list", "cached.other", "--json").json() == []
    hit = site.ok("cache", "explain", "cached.py:square", "--n", "2", "--json").json()
    assert (hit["hit"], hit["execution"]) == (True, listed[0]["execution"])
    said = site.ok("cache", "explain", "cached.py:square", "--n", "2", "--offset", "1").out
    assert "would run: nothing with this key is in the cache\n  its input offset changed: from 0 to 1" in said
    assert "has no cache=True" in site.ok("cache", "explain", "cached.py:uncached", "--n", "1").out
    assert site.run("cache", "explain", "cached.py:absent").code == 65
    assert site.run("cache", "explain", "cached.py:square", "--n", "x").code == 64
    assert site.ok("cache", "prune", "--json").json() == []
    manifests = (site.root / "team/.tasks").glob("*/*/manifest.json")
    for manifest, age in zip(manifests, (7200, 90, 0), strict=True):
        os.utime(manifest, (time.time() - age,) * 2)
    old = site.ok("cache", "prune", "-n", "--json", NFRESUME_TASK_CACHE_HOURS="1").json()
    assert [e["reason"] for e in old] == ["not used for 1 h"]
    assert len(site.ok("cache", "list", "--json").json()) == 3
    site.ok("sweep", NFRESUME_TASK_CACHE_HOURS="1")
    assert len(site.ok("cache", "list", "--json").json()) == 2
    gone = site.ok("cache", "prune", "--json", NFRESUME_TASK_CACHE_LIMIT="10 kB").json()
    assert ["over its limit" in e["reason"] for e in gone] == [True]
    assert site.run("cache", "clear").code == 64
    assert "1 entry removed" in site.ok("cache", "clear", "--yes").err
    assert site.ok("cache", "list").out.startswith("nothing is cached")
    assert list((site.root / ".trash").iterdir()) == []


def test_a_clock_that_is_ahead_prunes_nothing(site: Site, script: Path):
    """Case 52: by the uptime of the machine no month has passed."""
    launch(site)
    month = timedelta(days=31)
    os.utime(entry(site) / "manifest.json", ((datetime.now(UTC) - month).timestamp(),) * 2)
    store = Store.open(site.env["NFRESUME_DATABASE_URL"])
    with store.begin() as tx:
        tx.conn.execute(schema.clocks.update().values(seen_at=tx.now - month))
    store.close()
    site.ok("sweep")
    pruned = site.run("cache", "prune")
    assert pruned.code == 80
    assert "in case it is wrong" in pruned.err
    assert entry(site).exists()


@pytest.mark.long
def test_what_the_cache_costs(site: Site, script: Path):
    """Its bytes are in the report, by account, pipeline and process; and stay in it when they are gone."""
    launch(site, "spoilt")
    site.ok("sweep")
    report = site.ok("costs", "--by", "account", "--json").json()
    held = report["now"]["task_cache_metered_bytes"]
    assert held == site.ok("cache", "list", "--json").json()[0]["metered_bytes"] > 4096
    assert report["now"]["metered_bytes"] == held
    for by, key in (("pipeline", "(task cache)"), ("process", "(task cache)"),
                    ("execution", "(task cache) team")):
        lines = site.ok("costs", "--by", by, "--json").json()["lines"]
        assert held in [line["metered_bytes_now"] for line in lines if line["key"] == key]
    site.ok("costs", "--html", "costs.html")
    assert "<td>(task cache) team</td>" in (site.launch_dir / "costs.html").read_text()
    site.ok("cache", "clear", "--yes")
    report = site.ok("costs", "--by", "pipeline", "--json").json()
    assert report["now"]["task_cache_metered_bytes"] == 0
    assert float(next(li for li in report["lines"] if li["key"] == "(task cache)")["gb_hours"]) > 0


def test_the_document_names_its_tests():
    """Each rule of docs/task-cache.md has a test, and the tests named there exist."""
    text = (PROJECT / "docs/task-cache.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    files = [*(PROJECT / "tests/tasks").glob("test_*.py"), *(PROJECT / "tests/unit/tasks").glob("test_*.py")]
    here = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}
    assert named - here == set()
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| rule")]
    assert len(rows) > 15
    assert not [line for line in rows if "`test_" not in line]
