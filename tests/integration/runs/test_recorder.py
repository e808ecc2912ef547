"""The recorder on real files: the record, the evidence, and what is left when a supervisor dies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nfresume.domain.errors import NotFound, StaleLease
from nfresume.nextflow import evidence, reading, record, record_file
from nfresume.nextflow.record import Status, Task
from nfresume.retained import measuring, published
from nfresume.runs.recorder import Recorder
from nfresume.runs.records import Records
from nfresume.settings import KeepTaskLogs
from nfresume.storage.root import ExecutionFolder, Root
from nfresume.system.filesystems import folder_id
from tests import logs


class Run:
    """An execution's folder with task dirs and a log, as Nextflow leaves them."""

    def __init__(self, base: Path) -> None:
        root = Root.mark(base / "root")
        self.folder = ExecutionFolder(root, "team", "x-4k9x2m")
        self.results = base / "results"
        self.lines: list[str] = []
        self.number = 0
        self.attempt(1)

    def attempt(self, number: int) -> None:
        self.folder.provision(number)
        self.number = number
        self.lines = [logs.work_dir(str(self.folder.work))]

    def made(self, number: int, *, code: int = 0, out: str = "said", inputs: tuple[str, ...] = (),
             store: Path | None = None, short: str | None = None) -> Path:
        """A task dir."""
        place = self.folder.work / logs.task_dir(number, short)
        place.mkdir(parents=True)
        staged = "".join(f"    ln -s {path} x\n" for path in inputs)
        moved = f'        nxf_fs_move "$name" {store} || true\n' if store else ""
        (place / ".command.run").write_text(
            f"#!/bin/bash\n### ---\n### name: 'A ({number})'\n### container: 'busybox'\n### ...\n"
            f"nxf_stage() {{\n    true\n{staged}}}\nnxf_unstage() {{\n{moved}}}\n")
        (place / ".command.sh").write_text(f"echo {number}\n")
        (place / ".command.out").write_text(out)
        (place / ".command.begin").touch()
        (place / ".exitcode").write_text(str(code))
        return place

    def ran(self, number: int, code: int = 0, short: str | None = None) -> None:
        self.lines += [logs.submitted(number, f"A ({number})", short),
                       logs.done(number, f"A ({number})", code, short, work=str(self.folder.work))]

    def failed(self, number: int, why: str) -> None:
        told = logs.fault(number, f"A ({number})", why)
        self.lines.append(told.replace(logs.WORK, str(self.folder.work)))

    def write(self) -> None:
        (self.folder.attempt(self.number) / "nextflow.log").write_text("\n".join([*self.lines, ""]))

    def recorder(self, token: int = 1, keep: KeepTaskLogs = KeepTaskLogs.ALL) -> Recorder:
        return Recorder(self.folder, self.number, token, keep)

    def recorded(self, number: int | None = None) -> list[Task]:
        found = reading.lines(self.folder.attempt(number or self.number))
        return list({line.n: line for line in found if isinstance(line, Task)}.values())

    def records(self, number: int | None = None) -> Records:
        return Records(self.folder, number or self.number, ended=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_all_that_is_known_of_a_task(run: Run, tmp_path: Path):
    """Inputs with size and time, container, start, exit status, and where its files are kept."""
    data = tmp_path / "reads.fq"
    data.write_text("ACGT")
    run.made(1, inputs=(str(data), "/absent"))
    run.ran(1)
    run.lines.append(logs.statistics(succeeded=1))
    run.write()
    total = run.recorder().finish()
    (task,) = run.recorded()
    assert total.whole
    assert task.inputs == ((str(data), 4, data.stat().st_mtime_ns), ("/absent", -1, 0))
    assert (task.container, task.exit, task.dir, task.id) == ("busybox", 0, logs.task_dir(1), 1)
    assert abs(task.started / 1000 - time.time()) < 60
    assert evidence.unpack(run.folder.attempt(1), task.evidence, ".command.sh") == b"echo 1\n"
    assert (run.folder.attempt(1) / "trace.tsv").read_text().splitlines()[1].split("\t")[2] == "COMPLETED"


def test_evidence_outlives_the_task_dir(run: Run):
    """The files of a task are read from its task dir, and from the archive when that is gone."""
    place = run.made(1, out="the output\n")
    run.ran(1)
    run.write()
    run.recorder().finish()
    records = run.records()
    task = records.task("A (1)")
    assert (records.task_part(task, "stdout").data, records.task_part(task, "stdout").kept) == (
        b"the output\n", False)
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    kept = records.task_part(task, "stdout", 4)
    assert (kept.data, kept.kept) == (b"output\n", True)
    assert records.task_part(task, "stdout", -7).data == b"output\n"
    with pytest.raises(NotFound):
        records.task_part(task, "stderr")


@pytest.mark.parametrize(("keep", "kept"), [("all", {1, 2, 3}), ("failed", {2, 3}), ("none", set())])
def test_which_evidence_is_kept(run: Run, keep: str, kept: set[int]):
    """`keep_task_logs`; a task that ended with 0 and lacks an output has failed, too."""
    for number, code in ((1, 0), (2, 7), (3, 0)):
        run.made(number, code=code)
        run.ran(number, code)
    run.failed(3, "Missing output file(s)")
    run.write()
    recorder = run.recorder(keep=KeepTaskLogs(keep))
    recorder.finish()
    assert {task.id for task in run.recorded() if task.evidence} == kept
    assert [task.status for task in run.recorded()] == ["COMPLETED", "FAILED", "FAILED"]


def test_a_failure_that_is_told_later(run: Run):
    """The task's files were read before its failure was told: its line has both."""
    run.made(1)
    run.ran(1)
    run.write()
    recorder = run.recorder(keep=KeepTaskLogs.FAILED)
    for _ in range(200):
        recorder.poll()
        if recorder.summary.counts.succeeded:
            break
        time.sleep(0.01)
    assert recorder.summary.counts.succeeded == 1
    run.failed(1, "Missing output")
    run.write()
    total = recorder.finish()
    (task,) = run.recorded()
    assert (task.status, task.error, task.container, task.evidence is not None) == (
        "FAILED", "Missing output", "busybox", True)
    assert (total.counts.succeeded, total.counts.failed) == (0, 1)


def test_cached_tasks_come_from_their_attempt(run: Run):
    """A cached task has the task dir, the time and the evidence of the attempt that ran it."""
    place = run.made(1)
    run.made(2, short="ab/cdef01")
    run.made(3, short="ab/cdef01")
    run.lines += [logs.submitted(1, "A (1)", at="Nov-21 04:09:00.000"),
                  logs.done(1, "A (1)", work=str(run.folder.work), at="Nov-21 04:09:09.500")]
    for number in (2, 3):
        run.ran(number, short="ab/cdef01")
    run.write()
    run.recorder().finish()
    run.attempt(2)
    run.lines += [logs.cached(1, "A (1)"), logs.cached(2, "A (2)", "ab/cdef01"),
                  logs.cached(3, "A (3)", "ab/cdef01"), logs.cached(9, "A (9)")]
    run.write()
    run.recorder(token=5).finish()
    one, two, three, nine = run.recorded()
    assert (one.status, one.dir, one.cached_from, one.took) == ("CACHED", logs.task_dir(1), 1, 9500)
    assert (two.dir, three.dir) == (logs.task_dir(2, "ab/cdef01"), logs.task_dir(3, "ab/cdef01"))
    assert (nine.dir, nine.cached_from) == ("", None)
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    assert run.records().task_part(run.records().task("A (1)"), "script").data == b"echo 1\n"
    assert measuring.process_names(run.folder, 2)[logs.task_dir(3, "ab/cdef01")] == "A"


def test_unfinished_tasks(run: Run):
    """What had not ended is aborted; its task dir is found by name and exit file, its output is kept."""
    for number in (1, 2):
        run.made(number, short="ab/cdef01")
        run.lines.append(logs.submitted(number, f"A ({number})", "ab/cdef01"))
    run.write()
    total = run.recorder().finish()
    assert [(t.status, t.dir) for t in run.recorded()] == [
        ("ABORTED", logs.task_dir(n, "ab/cdef01")) for n in (1, 2)]
    assert len(total.unfinished) == 2
    assert all(task.evidence for task in run.recorded())


def test_what_was_published(run: Run, tmp_path: Path):
    """Targets with the identity of their folders, storeDirs, and what cannot be known."""
    store = tmp_path / "store"
    run.made(1, store=store)
    run.made(2, store=run.folder.work / logs.task_dir(2))  # a task that works in a scratch folder
    work = str(run.folder.work)
    (run.results / "a").mkdir(parents=True)
    for number in (1, 2):
        run.ran(number)
    run.lines += [
        logs.published(f"{work}/{logs.task_dir(1)}/x", f"{run.results}/a/x"),
        logs.published(f"{work}/{logs.task_dir(1)}/y\nz", f"{run.results}/a/y\nz"),
        logs.published(f"{work}/{logs.task_dir(1)}/s", "s3://bucket/s"),
        logs.published(f"{work}/{logs.task_dir(1)}/late", f"{run.results}/late/x"),
        logs.statistics(succeeded=2)]
    run.write()
    recorder = run.recorder()
    recorder.poll()
    recorder.poll()
    (run.results / "late").mkdir()
    recorder.finish()
    found = published.of_attempt(run.folder, 1)
    identity = folder_id(run.results / "a")
    assert [(t.path, t.folder) for t in found.targets] == [
        (f"{run.results}/a/x", identity), (f"{run.results}/a/y\nz", identity),
        (f"{run.results}/late/x", folder_id(run.results / "late"))]
    assert (found.folders, found.doubts, found.succeeded) == ((str(store),), (), True)
    run.lines[-1:] = [logs.stamped("nextflow.processor.PublishDir", "TRACE", "publishing file: /w/cut")]
    run.write()
    run.recorder(token=2).finish()
    again = published.of_attempt(run.folder, 1)
    assert (len(again.doubts), again.succeeded) == (1, False)


def test_a_name_that_looks_like_an_arrow(run: Run):
    """Of several readings of a line the one whose source is there counts."""
    place = run.made(1)
    name = "x -[COPY]-> "
    (place / name).mkdir()
    (place / name / "y").touch()
    source = f"{place}/{name}/y"
    run.ran(1)
    run.lines.append(logs.published(source, f"{run.results}/{name}/y"))
    run.write()
    run.recorder().finish()
    assert [t.path for t in published.of_attempt(run.folder, 1).targets] == [f"{run.results}/{name}/y"]


def test_a_lost_lease_leaves_the_record_unfinished(run: Run):
    """A supervisor that lost its lease stops; its record has no end, and that of the next one counts."""
    run.made(1)
    run.ran(1)
    run.write()

    def lost() -> None:
        raise StaleLease("lost")

    recorder = run.recorder(token=3)
    with pytest.raises(StaleLease):
        recorder.finish(lost)
    recorder.abandon()
    recorder.abandon()
    assert record_file.end_of(record_file.path_of(run.folder.attempt(1), 3)) is None
    run.recorder(token=4).finish()
    assert reading.newest(run.folder.attempt(1)).name == "record-4.jsonl"
    assert [task.status for task in run.recorded()] == ["COMPLETED"]


def test_the_next_supervisor_uses_the_evidence_of_the_last(run: Run):
    """What an earlier supervisor has kept is found also when the task dir is gone meanwhile."""
    place = run.made(1)
    run.ran(1)
    run.write()
    first = run.recorder(token=1)
    for _ in range(200):
        first.poll()
        if first.summary.counts.succeeded:
            break
        time.sleep(0.01)
    first.poll()
    first.abandon()
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    run.recorder(token=2).finish()
    (task,) = run.recorded()
    assert (task.evidence[0], task.container) == ("tasks-1.tar.gz", "busybox")
    assert run.records().task_part(task, "script").data == b"echo 1\n"


def test_a_full_disk_stops_no_run(run: Run, monkeypatch: pytest.MonkeyPatch):
    """The record cannot be written: the summary is right all the same, and readers use the log."""
    run.made(1)
    run.ran(1)
    run.lines.append(logs.statistics(succeeded=1))
    run.write()
    monkeypatch.setattr(record_file, "path_of", lambda _dir, _token: Path("/dev/full"))
    total = run.recorder().finish()
    monkeypatch.undo()
    assert (total.counts.succeeded, total.whole) == (1, True)
    assert [task.status for task in run.recorded()] == ["COMPLETED"]


CHILD = """
import sys
from pathlib import Path
from nfresume.runs.recorder import Recorder
from nfresume.settings import KeepTaskLogs
from nfresume.storage.root import ExecutionFolder, Root
root, token = Path(sys.argv[1]), int(sys.argv[2])
recorder = Recorder(ExecutionFolder(Root.open(root), "team", "x-4k9x2m"), 1, token, KeepTaskLogs.ALL)
print("started", flush=True)
while True:
    recorder.poll()
"""


def test_killed_while_writing(run: Run):
    """kill -9 at any moment: what the next supervisor records is what one alone would have recorded."""
    chance = random.Random(7)
    for number in range(1, 301):
        run.made(number, code=number % 7 == 0)
        run.ran(number, int(number % 7 == 0))
    run.lines.append(logs.statistics(succeeded=258, failed=42))
    run.write()
    whole = (run.folder.attempt(1) / "nextflow.log").read_bytes()
    path = run.folder.attempt(1) / "nextflow.log"
    path.write_bytes(b"")
    for token in range(1, 6):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(run.folder.root.path), str(token)],
                                 stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"started\n"
        with path.open("ab", buffering=0) as file:  # Nextflow writes on, whoever reads
            for _ in range(20):
                at = file.tell()
                file.write(whole[at:at + chance.randint(1, len(whole) // 90)])
                time.sleep(chance.random() / 100)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        torn = record_file.path_of(run.folder.attempt(1), token)
        with torn.open("ab") as file:
            file.write(b'{"kind":"task","n":1,"name":"TORN')  # as a crash may leave it
        assert all(isinstance(line, record.Header | Task | record.Statistics)
                   for line in record_file.lines(torn))
    path.write_bytes(whole)
    total = run.recorder(token=9).finish()
    assert total.whole
    assert [(t.n, t.name, t.status, t.dir) for t in run.recorded()] == [
        (n, f"A ({n})", Status.FAILED if n % 7 == 0 else Status.COMPLETED, logs.task_dir(n))
        for n in range(1, 301)]
    for task in run.recorded():
        kept = evidence.unpack(run.folder.attempt(1), task.evidence, ".command.sh")
        assert kept == f"echo {task.id}\n".encode()


def test_the_task_that_a_process_means(run: Run):
    """Of several tasks of a process it is the one that began last, whichever ended last."""
    for number in (1, 2):
        run.made(number)
        run.lines.append(logs.submitted(number, f"A ({number})"))
    run.lines += [logs.done(number, f"A ({number})", 0, work=str(run.folder.work)) for number in (2, 1)]
    run.write()
    run.recorder().finish()
    assert run.records().task("A").name == "A (2)"


def test_two_supervisors_at_once(run: Run):
    """One that was suspended goes on writing its own record; that of the newer one counts."""
    for number in range(1, 101):
        run.made(number)
        run.ran(number)
    run.write()
    old = run.recorder(token=1)
    old.poll()
    new = run.recorder(token=2)
    new.poll()
    old.poll()
    new.finish()
    old.finish()
    assert reading.newest(run.folder.attempt(1)).name == "record-2.jsonl"
    for token in (1, 2):
        lines = record_file.lines(record_file.path_of(run.folder.attempt(1), token))
        assert len({line.n for line in lines if isinstance(line, Task) and line.evidence}) == 100


def test_an_attempt_of_an_earlier_version(run: Run):
    """Without a record its tasks come from the log, in pages and one by one."""
    run.made(1)
    run.ran(1)
    run.lines += [logs.submitted(2, "B"), logs.published(f"{run.folder.work}/{logs.task_dir(1)}/x", "/out/x"),
                  logs.statistics(succeeded=1)]
    run.write()
    records = run.records()
    assert records.task("A").status == "COMPLETED"
    assert records.task_part(records.task("A"), "stdout").data == b"said"
    with records.tasks() as tasks:
        assert tasks.summary.counts.submitted == 2
        assert [each.target for each in tasks.published] == ["/out/x"]
    assert [t.path for t in published.of_attempt(run.folder, 1).targets] == ["/out/x"]
