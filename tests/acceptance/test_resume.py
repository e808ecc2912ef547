"""Relaunches reuse what plain Nextflow runs again, and a cache that would not resume is told at once."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from nfresume.nextflow import cache_db, hashing, reading
from nfresume.nextflow.record import Task
from tests.acceptance.conftest import run_plain
from tests.conftest import Site

pytestmark = pytest.mark.slow
KEPT = ("--storage-expiration-hours", "1")

RETRIED = """\
params.dir = "${launchDir}".toString()  // a path would be hashed with its time
process A {
    errorStrategy 'retry'
    maxRetries 1
    output: path 'a.txt'
    script: "[ -e ${params.dir}/a-ok-$task.attempt ]; echo a > a.txt"
}
process C {
    input: path a
    output: path 'c.txt'
    script: "[ -e ${params.dir}/c-ok ]; cp a.txt c.txt"
}
workflow { C(A()) }
"""


def attempt_lines(site: Site, number: int) -> list[Task]:
    """The tasks of an attempt of the newest execution, as they ended."""
    attempts = Path(site.show()["work_dir"]["path"]).parent / "attempts"
    lines = (line for line in reading.lines(attempts / str(number)) if isinstance(line, Task))
    return list({line.n: line for line in lines}.values())


def cached(site: Site, number: int) -> list[str]:
    return [task.name for task in attempt_lines(site, number) if task.status == "CACHED"]


@pytest.mark.long
def test_a_retry_that_plain_nextflow_does_not_find(site: Site, plain_nextflow: Path):
    """nextflow#6884, #5688: a retry that succeeded on a resume is reused; plain Nextflow runs it again."""
    plain = site.base / "plain"
    plain.mkdir()
    for place in (plain, site.launch_dir):
        (place / "main.nf").write_text(RETRIED)
    steps = ((), ("a-ok-2",), ("c-ok",))
    for step in steps:
        for name in step:
            (plain / name).touch()
            (site.launch_dir / name).touch()
        theirs = run_plain(plain_nextflow, plain, "main.nf", "-resume", env=site.env)
        ours = site.run("launch", "--pin", *KEPT, "main.nf", *(["-resume"] if step else []))
        assert ours.code == theirs.returncode == (0 if step == ("c-ok",) else 1), ours.err
    assert "Cached process > A" not in theirs.stdout
    assert "Cached process > A" in ours.out
    assert cached(site, 3) == ["A"]
    e = site.show()
    moved = [v["detail"] for v in e["events"] if v["name"] == "failed_set_aside"]
    assert [detail["count"] for detail in moved] == [2, 1]
    first = moved[0]["task_dirs"][0]
    assert hashing.follows(first, moved[0]["task_dirs"][1])
    # The failed one is still there to be read, although a later attempt has its place now.
    assert "launch/a-ok-1" in (Path(e["work_dir"]["path"]) / ".unfinished" / f"{e['id']}-1" /
                               first.replace("/", "-") / ".command.sh").read_text()


@pytest.mark.long
def test_a_crash_between_two_moves(site: Site):
    """A supervisor that dies after the first move leaves the rest to the next relaunch; nothing is lost."""
    (site.launch_dir / "main.nf").write_text("""
        process OK { output: path 'o'; script: "echo > o" }
        process BAD { input: val i; path o; script: "echo said $i; [ -e ${launchDir}/ok ]" }
        workflow { BAD(Channel.of(1, 2, 3), OK()) }
    """)
    (site.launch_dir / "nextflow.config").write_text("process.errorStrategy = 'finish'")
    site.run("launch", "--pin", *KEPT, "main.nf")
    e = site.show()
    site.run("relaunch", e["id"], NFRESUME_CRASH_AT="half-set-aside", NFRESUME_LEASE_SECONDS="1")
    site.run("wait", e["id"], NFRESUME_LEASE_SECONDS="1")
    assert site.show()["state"] == "FAILED"
    (site.launch_dir / "ok").touch()
    site.ok("relaunch", e["id"])
    assert cached(site, 3) == ["OK"]
    aside = Path(e["work_dir"]["path"]) / ".unfinished" / f"{e['id']}-1"
    assert len(list(aside.iterdir())) == len({t.dir for t in attempt_lines(site, 1) if t.status == "FAILED"})
    failed = next(t for t in attempt_lines(site, 1) if t.status == "FAILED")
    assert "said" in site.ok("logs", e["id"], "--attempt", "1", "--task", failed.dir).out


@pytest.mark.long
def test_what_must_stay(site: Site):
    """A failed try before a success stays, as the success follows from it; so does what something needs."""
    (site.launch_dir / "main.nf").write_text("""
        process A {
            errorStrategy 'retry'
            output: path 'a'
            script: "[ $task.attempt = 2 ]; echo > a"
        }
        process BAD { input: path a; script: "false" }
        workflow { BAD(A()) }
    """)
    site.run("launch", "--pin", *KEPT, "main.nf")
    for number in (2, 3):
        site.run("relaunch", site.show()["id"])
        assert cached(site, number) == ["A"]
    work = Path(site.show()["work_dir"]["path"])
    kept = next(t for t in attempt_lines(site, 1) if t.status == "FAILED" and t.name == "A")
    assert (work / kept.dir).is_dir()


def test_a_lost_cache_is_told_at_once(site: Site):
    """A cache database that would not resume is told when the attempt ends, and `show` has it."""
    (site.launch_dir / "main.nf").write_text("""
        process A { input: val i; output: path "$i"; script: "echo > $i" }
        process B { input: path a; script: "rm ../../../cache/cache/*/db/CURRENT; false" }
        workflow { B(A(Channel.of(1, 2)).collect()) }
    """)
    done = site.run("launch", *KEPT, "main.nf")
    assert done.code == 1
    assert ("WARN: Nextflow's cache has lost 2 of 2 finished tasks (its cache database has no manifest): "
            "a relaunch runs them again") in done.err
    assert "cache_lost" in site.ok("show", site.show()["id"]).out


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory, plain_nextflow: Path) -> tuple[Path, Path, Path]:
    """The cache folder after a run of 150 tasks, the one after its resume, and the work dir."""
    place = tmp_path_factory.mktemp("database")
    (place / "main.nf").write_text("""
        process A { input: val i; output: val i; exec: i }
        workflow { A(Channel.of(1..150)) }
    """)
    env = {**os.environ, "NXF_CACHE_DIR": str(place / "cache"), "NXF_UUID": SESSION}
    assert run_plain(plain_nextflow, place, "main.nf", env=env).returncode == 0
    shutil.copytree(place / "cache", place / "first")
    assert "cached" in run_plain(plain_nextflow, place, "main.nf", "-resume", SESSION, env=env
                                 ).stdout.lower()
    return place / "first", place / "cache", place / "work"


SESSION = "00000000-0000-4000-8000-000000000001"


@pytest.mark.long
def test_the_keys_of_a_cache_database(databases: tuple[Path, Path, Path]):
    """All task dirs are read from a log of changes, and from the tables that a resume makes of it."""
    first, second, work = databases
    made = {f"{p.parent.name}/{p.name}" for p in work.glob("??/*")}
    assert len(made) == 150
    assert any(cache_db.folder(first, SESSION).glob("*.log"))
    assert any(cache_db.folder(second, SESSION).glob("*.sst"))
    assert cache_db.task_dirs(first, SESSION) == cache_db.task_dirs(second, SESSION) == made


def test_a_damaged_cache_database(databases: tuple[Path, Path, Path], tmp_path: Path):
    """Cut, emptied and damaged files give fewer entries or a reason, and never another error."""
    for seed in range(120):
        chance = random.Random(seed)
        copy = tmp_path / str(seed)
        shutil.copytree(databases[seed % 2], copy)
        place = cache_db.folder(copy, SESSION)
        victim = chance.choice([p for p in sorted(place.iterdir()) if p.stat().st_size])
        data = bytearray(victim.read_bytes())
        if chance.random() < 0.5:
            del data[chance.randrange(len(data)):]
        else:
            for _ in range(chance.randrange(1, 40)):
                data[chance.randrange(len(data))] = chance.randrange(256)
        victim.write_bytes(data)
        try:
            found = cache_db.task_dirs(copy, SESSION)
        except cache_db.Unreadable:
            continue
        assert len(found) <= 320
    log = next(cache_db.folder(databases[0], SESSION).glob("*.log"))
    copy = tmp_path / "empty"
    shutil.copytree(databases[0], copy)
    (cache_db.folder(copy, SESSION) / log.name).write_bytes(b"\0" * 4096)
    assert cache_db.task_dirs(copy, SESSION) == set()


def test_resume_in_the_configuration(site: Site):
    """It resumes nothing: each execution has a cache of its own. The launch says so, and what to write."""
    (site.launch_dir / "main.nf").write_text("workflow { println 1 }")
    for text, told in (("resume = true\n", True), ("tower {\n  resume = true\n}\n", False)):
        (site.launch_dir / "nextflow.config").write_text(text)
        said = site.ok("launch", "main.nf").err
        assert ("`resume = true` of nextflow.config is not followed" in said) == told
    assert "is not followed" not in site.run("launch", "main.nf", "-resume").err


def test_a_relaunch_of_what_has_not_begun(site: Site):
    """A mistake in the configuration ends a run before Nextflow makes its cache: nothing is to be resumed."""
    (site.launch_dir / "main.nf").write_text("""
process A { output: stdout
  script: "echo made" }
workflow { A() | view }
""")
    config = site.launch_dir / "nextflow.config"
    config.write_text("process { cpus = \n")
    done = site.run("launch", "--storage-expiration-hours", "1", "main.nf")
    execution = site.show()["id"]
    assert done.code == 1
    assert "nothing had run yet: launch it again when it is fixed" in done.err
    config.write_text("process { cpus = 1 }\n")
    assert "no task has run yet" in site.ok("relaunch", execution, "--dry-run").out
    assert "made" in site.ok("relaunch", execution).out
    assert site.show()["state"] == "SUCCEEDED"
