"""Which task dirs are set aside before a relaunch, on real files, and with a model of Nextflow."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfresume.nextflow import hashing, record, record_file
from nfresume.nextflow.record import Status, Task
from nfresume.runs import clearing
from nfresume.storage import Root
from nfresume.storage.root import ExecutionFolder

D1, D2, D3 = (f"{n:02x}/" + f"{n:030x}" for n in (1, 2, 3))


class Run:
    """Attempts of an execution, with the records that a supervisor writes."""

    def __init__(self, base: Path) -> None:
        self.folder = Root.mark(base / "root").execution("team", "x-1")
        self.attempts = 0

    def attempt(self, *lines: record.Line, executor: str = "local") -> None:
        self.attempts += 1
        self.folder.provision(self.attempts)
        writer = record_file.Writer(record_file.path_of(self.folder.attempt(self.attempts), 1))
        for line in (record.Header(work=str(self.folder.work)), record.Executor(executor), *lines):
            writer.write(line)
        writer.close(record.End(0))

    def made(self, task_dir: str, code: str | None = "1") -> Path:
        place = self.folder.work / task_dir
        place.mkdir(parents=True)
        if code is not None:
            (place / ".exitcode").write_text(code)
        return place

    def clear(self) -> list[str]:
        return sorted(clearing.failed(self.folder, self.attempts))


def task(name: str, status: Status, task_dir: str, **more: object) -> Task:
    return Task(int(task_dir[:2], 16), name, status, task_dir[:9], task_dir, **more)  # type: ignore[arg-type]


def failed(name: str, task_dir: str, **more: object) -> Task:
    return task(name, Status.FAILED, task_dir, **more)


def completed(name: str, task_dir: str, **more: object) -> Task:
    return task(name, Status.COMPLETED, task_dir, **more)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_failed_and_aborted_task_dirs(run: Run):
    """They go, of all attempts, to a folder of the attempt that made them; a second look finds nothing."""
    run.attempt(failed("A (1)", D1))
    run.attempt(failed("A (1)", D2), task("B", Status.ABORTED, D3))
    for each in (D1, D2, D3):
        run.made(each)
    assert run.clear() == [D1, D2, D3]
    aside = run.folder.work / ".unfinished"
    assert sorted(str(p.relative_to(aside)) for p in aside.glob("*/*")) == [
        f"x-1-1/{D1.replace('/', '-')}", f"x-1-2/{D2.replace('/', '-')}", f"x-1-2/{D3.replace('/', '-')}"]
    assert run.clear() == []


def test_a_result_that_depends_on_a_failed_task(run: Run):
    """It could not be copied, the disk of the results being full: nothing is moved from under its link."""
    run.attempt(failed("A (1)", D1))
    run.made(D1)
    report = run.folder.attempt(1) / "results.tsv"
    report.write_text("path\thow\n/out/a refused\tleft\n/out/b: no space left\trefused\n")
    assert run.clear() == []
    assert (run.folder.work / D1).is_dir()
    report.write_text("path\thow\n/out/a refused\tleft\n/out/b\tcopied\n")
    assert run.clear() == [D1]


def test_what_a_success_follows_from(run: Run):
    """A failed try stays if its retry completed, or a task of its process completed in a later attempt."""
    run.attempt(failed("A (1)", D1, retried=True), completed("A (1)", D2, tries=2))
    run.made(D1)
    assert run.clear() == []
    run.attempt(failed("B (1)", D3))
    run.attempt(completed("B (2)", D2))  # numbers depend on the order in which inputs come
    run.made(D3)
    assert run.clear() == []


def test_what_ran_in_the_same_task_dir(run: Run):
    """A task dir that failed once and completed later is that of a finished task."""
    run.attempt(failed("A", D1))
    run.attempt(completed("A", D1))
    run.made(D1, "0")
    assert run.clear() == []


def test_what_is_needed(run: Run):
    """A task dir stays if something published or an input of a task is in it."""
    work = run.folder.work
    run.attempt(failed("A", D1), record.Published("/results/x", f"{work}/{D1}/x", "SYMLINK", D1),
                failed("B", D2), failed("C", D3, inputs=((f"{work}/{D2}/y", 1, 1),)))
    for each in (D1, D2, D3):
        run.made(each)
    assert run.clear() == [D3]


@pytest.mark.parametrize(("says", "moves"), [
    ("72 RUNNING", False), ("72 PENDING", False), ("72 COMPLETED", True), ("71 RUNNING", True),
    (None, False)])
def test_jobs_of_slurm(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str | None, moves: bool
):
    """A job without an exit status stays unless Slurm says that it is gone; no answer says nothing."""
    player = tmp_path / "bin/squeue"
    player.parent.mkdir()
    player.write_text(f"#!/bin/sh\necho '{says}'\n" if says else "#!/bin/sh\nexit 1\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{player.parent}:/usr/bin:/bin")
    run.attempt(failed("A", D1, job="72"), failed("B", D2, job="73"), executor="slurm")
    run.made(D1, None)
    run.made(D2)
    assert run.clear() == sorted([D2, *([D1] if moves else [])])


def test_tasks_that_may_run_elsewhere(run: Run):
    """Without an exit status, jobs of other clusters stay, and containers, which are not our processes."""
    run.attempt(failed("A", D1, job="9"), executor="sge")
    run.attempt(failed("B", D2, container="busybox"))
    for each in (D1, D2):
        run.made(each, None)
    assert run.clear() == []
    for each in (D1, D2):
        (run.folder.work / each / ".exitcode").write_text("")
    assert run.clear() == []
    for each in (D1, D2):
        (run.folder.work / each / ".exitcode").write_text("143")
    assert run.clear() == [D1, D2]


class Nextflow:
    """How Nextflow chooses task dirs, as `TaskProcessor.checkCachedOrLaunchTask` does."""

    def __init__(self, folder: ExecutionFolder) -> None:
        self.work = folder.work
        self.completed: set[str] = set()

    def place(self, start: bytes, errors: int, *, cached: bool) -> tuple[bytes, str, bool]:
        """The next free task dir from a hash on, or that of a task that is reused."""
        number = errors + 1
        while True:
            start = hashing.murmur3_128(start + number.to_bytes(4, "little"))
            task_dir = f"{start[:1].hex()}/{start[1:].hex()}"
            if not (self.work / task_dir).is_dir():
                return start, task_dir, False
            if cached and task_dir in self.completed:
                return start, task_dir, True
            number += 1

    def run(self, name: str, key: bytes, outcome: str, n: int) -> list[Task]:
        """The lines of a task. `outcome`: a letter for each try: f failed, o completed, a aborted."""
        start, task_dir, reused = self.place(key, 0, cached=True)
        if reused:
            return [Task(n, name, Status.CACHED, task_dir[:9], task_dir)]
        lines = []
        for errors, letter in enumerate(outcome):
            if errors:
                start, task_dir, _ = self.place(start, errors, cached=False)
            (self.work / task_dir).mkdir(parents=True)
            (self.work / task_dir / ".exitcode").write_text("0" if letter == "o" else "1")
            status = {"f": Status.FAILED, "o": Status.COMPLETED, "a": Status.ABORTED}[letter]
            lines.append(Task(n + errors, name, status, task_dir[:9], task_dir, tries=errors + 1,
                              retried=errors + 1 < len(outcome)))
            if letter == "o":
                self.completed.add(task_dir)
        return lines


OUTCOMES = st.sampled_from(["", "o", "f", "a", "fo", "ff", "fa", "ffo"])


@settings(max_examples=40, deadline=None)
@given(attempts=st.lists(st.tuples(st.permutations(range(3)), st.lists(OUTCOMES, min_size=3, max_size=3)),
                         min_size=2, max_size=5))
def test_every_finished_task_is_found(tmp_path_factory: pytest.TempPathFactory, attempts: list):
    """Whatever failed, was retried or aborted in any order: what has completed once is reused for ever."""
    base = tmp_path_factory.mktemp("model")
    run = Run(base)
    nextflow = Nextflow(run.folder)
    finished: set[int] = set()
    for order, outcomes in attempts:
        run.clear()
        lines: list[Task] = []
        for position, which in enumerate(order):
            outcome = outcomes[position]
            if which in finished or outcome:
                made = nextflow.run(f"A ({position})", bytes([which]) * 16, outcome or "f", len(lines) + 1)
                assert (made[0].status is Status.CACHED) == (which in finished)
                lines += made
                if made[-1].status is Status.COMPLETED:
                    finished.add(which)
        run.attempt(*lines)
    shutil.rmtree(base)
