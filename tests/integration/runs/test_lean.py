"""Lean retention against a model of Nextflow with real tasks: what is emptied, and that results are right."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from nfresume.domain.errors import Conflict
from nfresume.nextflow import record, record_file, sources
from nfresume.nextflow.record import Task
from nfresume.nextflow.summary import Summary
from nfresume.runs import lean, lean_choice, lean_doubts, lean_needs, lean_watch
from nfresume.storage import Root, emptying
from nfresume.system import trees
from tests.conftest import BOUND, PROJECT
from tests.proof.lean_model import MINIMUM, SESSION, Engine, Pipeline, Process


@pytest.mark.parametrize("seeds", ["1 3", pytest.param("1000 300", marks=[pytest.mark.long,
                                                                         pytest.mark.timeout(3600)])])
def test_random_pipelines(seeds: str):
    """Random failures, edits, readers and publications: every result is what it must be, and it ends."""
    first, count = seeds.split()
    done = subprocess.run([*BOUND, sys.executable, "-m", "tests.proof.lean_model", "--seed", first, "--seeds",
                           count], cwd=PROJECT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"{count} of {count} pipelines right" in done.stdout


class Chain:
    """P0 -> P1 -> P2, of which P2 fails."""

    def __init__(self, base: Path, folder: bool = False) -> None:
        first = Process("P0", folder, [], 1)
        second = Process("P1", False, [(first, "staged")], 2)
        self.pipeline = Pipeline(random.Random(1))
        self.pipeline.processes = [first, second, Process("P2", False, [(second, "staged")], 3, fails=True)]
        self.engine = Engine(base, random.Random(1))

    def fail(self) -> None:
        """One attempt, which fails; nothing is emptied."""
        self.engine.number += 1
        self.engine.folder.provision(self.engine.number)
        sources.keep(self.engine.script, self.engine.script.parent, self.attempt)
        self.engine.hook = self.attempt / "none.sh"
        assert not self.engine.run(self.pipeline)

    @property
    def attempt(self) -> Path:
        return self.engine.folder.attempt(self.engine.number)

    def choose(self) -> lean_choice.Choice:
        return lean_choice.choose(self.engine.folder, SESSION, "main.nf", self.engine.number, MINIMUM)

    def chosen(self) -> list[str]:
        found = self.choose()
        assert not found.refused
        return sorted(c.task.name for c in found.candidates)

    def rewrite(self, change) -> None:
        """Change the tasks in the record."""
        path = record_file.path_of(self.attempt, 1)
        lines = [change(line) if isinstance(line, Task) else line for line in record_file.lines(path)]
        path.write_bytes(b"".join(map(record.encode, lines)))


def test_what_the_failed_task_reads_stays(tmp_path: Path):
    """Of a chain the output that the failed task has staged is kept; those before it are chosen."""
    chain = Chain(tmp_path)
    chain.fail()
    assert chain.chosen() == ["P0"]


def test_what_was_needed_once_stays(tmp_path: Path):
    """What an earlier attempt turned out to need stays whole, also if it is made in another task dir."""
    chain = Chain(tmp_path)
    chain.fail()
    first = next(task.dir for task in lean_needs.tasks(chain.engine.folder, 1).values() if task.name == "P0")
    assert chain.chosen() == ["P0"]
    lean_needs.save(chain.attempt, lean_needs.Needs(moved={f"{first}/out.bin"}))
    chain.pipeline.processes[0].salt += 1
    chain.fail()
    assert chain.choose().candidates == ()


def test_what_a_failed_task_reads_through_links(tmp_path: Path):
    """An output that is a link to an earlier output keeps that one whole, too."""
    chain = Chain(tmp_path)
    chain.fail()
    tasks = lean_needs.tasks(chain.engine.folder, 1)
    by_name = {task.name: Path(chain.engine.work, task.dir) for task in tasks.values()}
    first, second = by_name["P0"], by_name["P1"]
    (second / "out.bin").unlink()
    (second / "out.bin").symlink_to(first / "out.bin")
    assert chain.chosen() == []


def test_what_a_failed_task_reads_and_nobody_can_list(tmp_path: Path):
    """A link to an earlier output may be where an input folder cannot be listed: nothing is chosen.

    Root may list every folder, but not one whose path is too long.
    """
    chain = Chain(tmp_path)
    chain.fail()
    tasks = lean_needs.tasks(chain.engine.folder, 1)
    by_name = {task.name: Path(chain.engine.work, task.dir) for task in tasks.values()}
    (by_name["P1"] / "out.bin").unlink()
    fd = os.open(by_name["P1"], os.O_RDONLY)
    for name in ("out.bin", *["d" * 200] * 30):
        os.mkdir(name, dir_fd=fd)
        fd = os.open(name, os.O_RDONLY, dir_fd=fd)
    os.symlink(by_name["P0"] / "out.bin", "link", dir_fd=fd)
    assert "cannot be listed" in chain.choose().refused
    trees.remove(str(by_name["P1"] / "out.bin"))


@pytest.mark.parametrize("doubt", ["no record", "unfinished record", "executor", "no task dir", "deep",
                                   "program", "no sources", "no cache", "damaged log"])
def test_doubts_keep_everything(tmp_path: Path, doubt: str):
    """Whatever is not known for certain keeps every file, and says why."""
    chain = Chain(tmp_path)
    chain.fail()
    path = record_file.path_of(chain.attempt, 1)
    (chain.attempt / "nextflow.log").touch()
    if doubt == "no record":
        path.unlink()
    elif doubt == "unfinished record":
        path.write_bytes(path.read_bytes().rpartition(b'{"kind":"end"')[0])
    elif doubt == "executor":
        path.write_bytes(path.read_bytes().replace(b'"name":"local"', b'"name":"awsbatch"'))
    elif doubt == "no task dir":
        chain.rewrite(lambda task: task._replace(dir="") if task.name == "P2" else task)
    elif doubt == "deep":
        chain.engine.script.write_text("process P { cache 'deep'\n }\n")
    elif doubt == "program":
        chain.engine.script.write_text("workflow { P().map { ['cat', it].execute().text } }\n")
    elif doubt == "no sources":
        (chain.attempt / "sources.json").unlink()
    elif doubt == "no cache":
        next(chain.engine.folder.cache.rglob("CURRENT")).unlink()
    else:
        path.write_bytes(record.encode(record.Doubt("lost", damage=True)) + path.read_bytes())
    found = chain.choose()
    if doubt == "no cache":  # then every task runs again, and needs what it has read
        assert found.candidates == ()
    else:
        assert found.refused
        assert found.candidates == ()


@pytest.mark.parametrize("where", ["NXF_CACHE_MODE", "NXF_HOME", "NXF_CONFIG_FILE"])
def test_what_the_user_sets_for_all_pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str):
    """A variable, or a configuration outside of the pipeline, may ask for the content of inputs, too."""
    chain = Chain(tmp_path)
    chain.fail()
    assert chain.chosen() != []
    (tmp_path / "config").write_text("process { withName: P1 { cache = 'deep' } }\n")
    monkeypatch.setenv(where, {"NXF_CACHE_MODE": "DEEP", "NXF_HOME": str(tmp_path)}.get(
        where, str(tmp_path / "config")))
    assert chain.choose().refused == "its pipeline uses cache 'deep'"


@pytest.mark.parametrize("kept", ["hard link", "small", "another user", "odd name", "control"])
def test_files_that_stay(tmp_path: Path, kept: str):
    """Files with a second name, small ones, those with odd names, and Nextflow's own are not emptied."""
    chain = Chain(tmp_path, folder=True)
    chain.fail()
    out = next(p for p in Path(chain.engine.work).glob("*/*/out"))
    was = out.stat().st_mtime_ns
    if kept == "hard link":
        os.link(out / "a", tmp_path / "mine")
    elif kept == "small":
        (out / "a").write_bytes(b"x" * (MINIMUM - 1))
    elif kept == "another user":
        if os.geteuid() != 0:
            pytest.skip("only root gives files away")
        os.chown(out / "a", 12345, -1)
    elif kept == "odd name":
        (out / "a").rename(out / "a b")
    else:
        (out / "a").rename(out / ".command.big")
    os.utime(out, ns=(was, was))  # the folder is an input: its time must be what it was
    listed = lean._described(chain.engine.work, chain.choose().candidates, lambda: None)
    assert [Path(entry.path).name for entry in listed] == ["b"]


def test_a_published_folder_keeps_all_of_it(tmp_path: Path):
    """A folder is emptied as a whole or not at all: one published file in it keeps the others."""
    chain = Chain(tmp_path, folder=True)
    chain.fail()
    assert len(chain.choose().candidates) == 2
    out = next(p for p in Path(chain.engine.work).glob("*/*/out"))
    path = record_file.path_of(chain.attempt, 1)
    task_dir = f"{out.parent.parent.name}/{out.parent.name}"
    line = record.Published("/results/a", str(out / "a"), "copy", task_dir)
    *lines, end = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, record.encode(line), end]))
    assert chain.choose().candidates == ()


def test_a_damaged_manifest_starts_no_head(tmp_path: Path):
    """An attempt cannot begin when it is not known what is empty."""
    chain = Chain(tmp_path)
    chain.fail()
    (chain.engine.folder.cache / emptying.MANIFEST).write_text("{")
    with pytest.raises(Conflict, match="cannot be read"):
        lean.prepare(chain.engine.folder, 2)


def emptied(chain: Chain) -> list[emptying.Emptied]:
    """Empty what is chosen, whoever this user is."""
    folder = chain.engine.folder
    entries = lean._described(folder.work, chain.choose().candidates, lambda: None)
    emptying.save(folder.cache, entries)
    return emptying.finish(folder.work, entries)


def both(chain: Chain) -> tuple[str, ...]:
    """The task dirs of P0, whose file is emptied, and of P1, which has used it."""
    tasks = lean_needs.tasks(chain.engine.folder, 1).values()
    return tuple(sorted(task.dir for task in tasks if task.name in ("P0", "P1")))


def test_where_a_net_does_not_hold_all_is_made_again(tmp_path: Path):
    """Root reads whatever it likes: nothing is emptied for it, and what is empty is made again first."""
    chain = Chain(tmp_path)
    chain.fail()
    emptied(chain)
    told = lean.empty(chain.engine.folder, chain.engine.execution, 1, MINIMUM)
    chain.engine.folder.provision(2)
    prepared = lean.prepare(chain.engine.folder, 2)
    if os.geteuid() == 0:
        assert "modes do not bind this user" in told["left_alone"]
        assert "modes do not bind this user" in prepared.because
        assert prepared.set_aside == both(chain)
        assert prepared.guard == ""
        assert emptying.load(chain.engine.folder.cache) == []
    else:
        assert told["files"] == 1
        assert prepared.set_aside == ()
        assert str(chain.engine.folder.attempt(2)) in prepared.guard


def test_an_attempt_that_was_not_looked_at_is_not_trusted(tmp_path: Path):
    """If nobody wrote down what an attempt with emptied files needed, its tasks and those files run again."""
    chain = Chain(tmp_path)
    chain.fail()
    emptied(chain)
    lean_choice.guard.arm(chain.attempt, [])
    completed = {task.dir for task in lean_needs.tasks(chain.engine.folder, 1).values()
                 if task.status == "COMPLETED"}
    chain.engine.folder.provision(2)
    prepared = lean.prepare(chain.engine.folder, 2)
    assert set(prepared.set_aside) == completed
    assert not (chain.engine.work / next(iter(completed))).exists()
    assert emptying.load(chain.engine.folder.cache) == []


def test_rehydrating_makes_everything_again(tmp_path: Path):
    """With `everything` producers go with their users, and nothing stays listed; a repeat does nothing."""
    chain = Chain(tmp_path)
    chain.fail()
    emptied(chain)
    chain.engine.folder.provision(2)
    prepared = lean.prepare(chain.engine.folder, 2, everything=True)
    assert prepared.set_aside == both(chain)
    assert prepared.seconds == 1.0
    assert lean.prepare(chain.engine.folder, 2, everything=True) == lean.Prepared()


def test_an_attempt_that_died_before_it_had_a_work_dir(tmp_path: Path):
    """It needed no emptied file: that is known without a look at its work dir."""
    folder = Root.mark(tmp_path / "root").execution("team", "run-222222")
    folder.begin_records(1, {})
    assert not lean_watch.Watch(folder, 1).conclude(Summary())


@pytest.mark.parametrize(("code", "doubted"), [
    ("'wc -l x'.execute().text", True), ("['cat', f].execute(null, dir)", True),
    ("cmd.execute( [] , dir)", True),
    ("new ProcessBuilder('cat', f).start()", True), ("Runtime.getRuntime().exec(cmd)", True),
    ("f.toFile().canRead()", True), ("f.permissions", True), ("'cat x'.execute(variables, dir)", True),
    ("f.toFile().canExecute()", True), ("Files.isWritable(f)", True),
    ("Files.getPosixFilePermissions(f)", True),
    ("['sendmail', '-t'].execute() << mail", False), ("cursor.execute('select 1')", False),
    ("params.permissions_file", False), ("f.text", False), ("include { A } from '../shared/a'", True),
    ("include { B } from \"../shared/b\"", False),
])
def test_code_that_an_emptied_file_gives_a_wrong_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, doubted: bool
):
    """Such code may come with an edit, or be pulled, when files are empty: then each of them is needed."""
    monkeypatch.setenv("NXF_ASSETS", str(tmp_path / "assets"))
    place = tmp_path / "assets/acme/rna"
    place.mkdir(parents=True)
    chain = Chain(place)
    chain.fail()
    (entry,) = emptied(chain)
    chain.engine.script.write_text(code)
    (tmp_path / "assets/acme/shared/a").mkdir(parents=True)
    (tmp_path / "assets/acme/shared/a/main.nf").write_text("include { C } from './c.nf'")
    (tmp_path / "assets/acme/shared/a/c.nf").write_text("def c = 'ls'.execute().text")
    (tmp_path / "assets/acme/shared/b.nf").write_text("include { B } from '../shared/b.nf'")
    chain.engine.number += 1
    chain.engine.folder.provision(2)
    lean.guard.arm(chain.attempt, [entry.path])
    needs = lean_watch.Watch(chain.engine.folder, 2, "acme/rna").conclude(Summary())
    assert needs.named == ({entry.path} if doubted else set())
    sources.keep(chain.engine.script, place, chain.attempt)
    assert bool(lean_doubts.doubt(chain.engine.folder, "main.nf", 2)) is doubted


def test_an_emptied_file_that_nextflow_moves_to_the_results(tmp_path: Path):
    """It is withdrawn from the results, and made again as for any other way of publication."""
    chain = Chain(tmp_path)
    chain.fail()
    (entry,) = emptied(chain)
    first = record_file.path_of(chain.attempt, 1)
    source, target = chain.engine.work / entry.path, tmp_path / "a"
    chain.engine.number += 1
    chain.engine.folder.provision(2)
    lean.guard.arm(chain.attempt, [entry.path])
    watch = lean_watch.Watch(chain.engine.folder, 2)
    assert watch.active
    source.rename(target)
    line = record.Published(str(target), str(source), "MOVE", entry.producer)
    record_file.path_of(chain.attempt, 1).write_bytes(record.encode(line) + first.read_bytes())
    needs = watch.conclude(Summary())
    assert (needs.named, needs.got, target.exists()) == ({entry.path}, set(), False)
    assert lean_watch.to_make_again(chain.engine.folder, 2, needs)["file_count"] == 1


@pytest.mark.parametrize(("status", "words", "found"), [
    ("COMPLETED", "cat: {}: Permission denied", "read"),
    ("COMPLETED", "cat: {}: Keine Berechtigung", "named"),
    ("COMPLETED", "I say no name", ""),
    ("FAILED", "java.nio.file.AccessDeniedException: {}", "named"), ("FAILED", "fail to open {}", "named"),
    ("FAILED", "fail to open another", ""),
])
def test_what_a_task_says_in_the_middle_of_much_else(tmp_path: Path, status: str, words: str, found: str):
    """A program may say much more than is kept of it. One that has failed says in its own words why."""
    chain = Chain(tmp_path)
    chain.fail()
    (entry,) = emptied(chain)
    first = record_file.path_of(chain.attempt, 1)
    chain.rewrite(lambda task: task._replace(status=record.Status(status)) if task.name == "P2" else task)
    chain.engine.number += 1
    chain.engine.folder.provision(2)
    record_file.path_of(chain.attempt, 1).write_bytes(first.read_bytes())
    for task in lean_needs.tasks(chain.engine.folder, 1).values():
        place = chain.engine.work / task.dir
        (place / lean.guard.MARK).write_text(f"{chain.attempt}\n")
        noise = "aligned\n" * 20_000
        if task.name == "P2":
            said = words.format(chain.engine.work / entry.path)
            (place / ".command.err").write_text(f"{noise}{said}\n{noise}")
        else:  # one has made the file, the other has staged it
            (place / ".command.log").write_text(f"see {chain.engine.work / entry.path}\n")
    lean.guard.arm(chain.attempt, [entry.path])
    needs = lean_watch.Watch(chain.engine.folder, 2).conclude(Summary())
    assert (needs.read, needs.named) == ({entry.path} if found == "read" else set(),
                                         {entry.path} if found == "named" else set())


@pytest.mark.parametrize("crashed", [False, True])
def test_what_used_a_file_runs_again_with_its_producer(tmp_path: Path, crashed: bool):
    """Nextflow would reuse it with `cache 'lenient'`, though a random producer makes other content of the
    same size. A crash between the two leaves both to be set aside."""
    chain = Chain(tmp_path)
    chain.fail()
    (entry,) = emptied(chain)
    chain.engine.folder.provision(2)
    lean_needs.save(chain.attempt, lean_needs.Needs(named={entry.path}))
    if crashed:
        lean._set_aside(chain.engine.folder, 2, [entry.producer], lambda: None)
    prepared = lean.prepare(chain.engine.folder, 2)
    assert set(prepared.set_aside) == set(both(chain)) - ({entry.producer} if crashed else set())
    assert not any((chain.engine.work / task_dir).exists() for task_dir in both(chain))


@pytest.mark.parametrize("how", ["link", "rename", "unlink", ""])
def test_an_emptied_file_that_gets_another_name(tmp_path: Path, how: str):
    """The pipeline's own code may link, move or delete it: no mode forbids that, and nothing is read."""
    chain = Chain(tmp_path)
    chain.fail()
    (entry,) = emptied(chain)
    lean.guard.arm(chain.attempt, [entry.path])
    watch = lean_watch.Watch(chain.engine.folder, 1)
    assert watch.active
    path = chain.engine.work / entry.path
    if how in ("link", "rename"):
        getattr(os, how)(path, tmp_path / "result")
    elif how:
        path.unlink()
    needs = watch.conclude(Summary())
    assert needs.moved == ({entry.path} if how else set())
