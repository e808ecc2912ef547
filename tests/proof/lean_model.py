"""Lean retention against a model of Nextflow: thousands of random attempts, without a Java runtime.

    python -m tests.proof.lean_model --seed 1 --seeds 300

The model resumes as Nextflow does: a finished task is reused if its hash (of script, and of path, size and
time of each input) leads to a task dir that is whole. Its tasks are real: bash runs their wrappers, with the
guard. It fails and is aborted at random, is edited, publishes (also more than before), reads outputs in the
head, and names them as values and in samplesheets. What nfresume does before, during and after an attempt is
its own code. At the end every result is compared with what it must be, which is computed without any run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from nfresume.domain.executions import Execution, ExecutionState
from nfresume.domain.workdirs import Retain, WorkDir, WorkDirState
from nfresume.nextflow import cache_db, guard, record, record_file, sources, summary
from nfresume.nextflow.record import Status, Task
from nfresume.runs import lean, lean_watch
from nfresume.storage import Root, emptying
from nfresume.storage.root import ExecutionFolder

SIZE, MINIMUM = 40_000, 10_000
SESSION = "00000000-0000-0000-0000-000000000000"
HOW = ("staged", "staged", "staged", "value", "sheet", "head", "sneaky")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Aborted(Exception):
    """The head ends: a task has failed, or needs an emptied file, or the head could not read one."""


@dataclass
class Process:
    """One process with one task. `fails`: until it is fixed. `publishes`: copy, symlink or None."""

    name: str
    folder: bool
    inputs: list[tuple[Process, str]]
    salt: int
    fails: bool = False
    publishes: str | None = None

    @property
    def out(self) -> str:
        return "out" if self.folder else "out.bin"

    def expected(self) -> bytes:
        """The content of its output, of a folder that of each file."""
        read = b"".join(self._read(source, how) for source, how in self.inputs)
        seed = hashlib.sha256(f"{self.salt} {self.name}\n".encode() + read).hexdigest()
        return (f"{seed}\n".encode() * SIZE)[:SIZE]

    def _read(self, source: Process, how: str) -> bytes:
        content = source.expected() * (2 if source.folder else 1)
        return hashlib.sha256(content).hexdigest().encode() + b"\n" if how == "head" else content


@dataclass
class Pipeline:
    """A random DAG."""

    rng: random.Random
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        for _ in range(self.rng.randint(3, 7)):
            self.add()
        self.rng.choice(self.processes[1:]).fails = True

    def add(self) -> None:
        known, rng = self.processes, self.rng
        chosen = rng.sample(known, min(len(known), rng.choice((1, 1, 2)))) if known else []
        known.append(Process(f"P{len(known)}", rng.random() < 0.3, [(p, rng.choice(HOW)) for p in chosen],
                             rng.randrange(1000), publishes="copy" if rng.random() < 0.15 else None))

    def edit(self) -> None:
        """Fix it, or let another one fail; change scripts, add readers, publish more."""
        for process in self.processes:
            process.fails = False
        rng = self.rng
        if rng.random() < 0.4:
            rng.choice(self.processes).salt += 1000
        for _ in range(rng.choice((0, 0, 1, 2))):
            self.add()
        if rng.random() < 0.3:
            rng.choice(self.processes).publishes = rng.choice(("copy", "symlink"))
        if rng.random() < 0.3:
            rng.choice(self.processes).fails = True


class Engine:
    """The model: one execution, attempt after attempt."""

    def __init__(self, base: Path, rng: random.Random) -> None:
        self.rng = rng
        self.folder: ExecutionFolder = Root.mark(base / "root").execution("team", "x-1")
        self.work, self.results = self.folder.work, base / "results"
        self.script = base / "main.nf"
        self.script.write_text("process P { }\n")
        self.finished: set[str] = set()
        self.number = 0
        self.counts: Counter[str] = Counter()

    @property
    def execution(self) -> Execution:
        return Execution("x-1", "team", "main.nf", str(self.script.parent), "r", SESSION,
                         ExecutionState.FAILED, self.number, 5.0, "", NOW, NOW,
                         WorkDir(str(self.work), WorkDirState.ACTIVE), Retain.LEAN)

    # -- nfresume -------------------------------------------------------------------------------

    def attempt(self, pipeline: Pipeline) -> bool:
        """One attempt, and those that follow by themselves. True when all was done.

        There are never more of these than tasks whose files were emptied before the first.
        """
        producers = len({entry.producer for entry in emptying.load(self.folder.cache)})
        while True:
            self.number += 1
            self.folder.provision(self.number)
            sources.keep(self.script, self.script.parent, self.folder.attempt(self.number))
            prepared = lean.prepare(self.folder, self.number)
            self.hook = self.folder.attempt(self.number) / "task-environment.sh"
            self.hook.write_text(prepared.guard)
            self.made_again = len(prepared.set_aside)
            done = self.run(pipeline)
            watch = lean_watch.Watch(self.folder, self.number)
            log = summary.of(record_file.lines(record_file.path_of(self.folder.attempt(self.number), 1)))
            needs = watch.conclude(log)
            self.counts["attempts"] += 1
            if not needs:
                break
            if needs.got:  # it has failed and is held; whoever relaunches it runs its tasks again
                self.counts["held"] += 1
                return False
            again = lean_watch.to_make_again(self.folder, self.number, needs)
            assert again, f"it cannot go on: {needs}"
            self.counts["went on by itself"] += 1
            producers -= 1
            assert producers >= 0, "it does not end"
        if not done:
            told = lean.empty(self.folder, self.execution, self.number, MINIMUM)
            self.counts[f"refused: {told['left_alone']}" if "left_alone" in told else "emptied"] += (
                1 if "left_alone" in told else told.get("files", 0))
        return done

    # -- Nextflow -------------------------------------------------------------------------------

    def run(self, pipeline: Pipeline) -> bool:
        self.writer = record_file.Writer(record_file.path_of(self.folder.attempt(self.number), 1))
        self.writer.write(record.Header(work=str(self.work)))
        self.writer.write(record.Executor("local"))
        self.n = 0
        outputs: dict[str, Path] = {}
        waiting = list(pipeline.processes)
        try:
            while waiting:
                ready = [p for p in waiting if all(s.name in outputs for s, _ in p.inputs)]
                process = self.rng.choice(ready)
                waiting.remove(process)
                outputs[process.name] = self.task(process, outputs)
        except Aborted as e:
            if str(e):
                self.writer.write(record.Failure(str(e), lines=(str(e),)))
            return False
        finally:
            self.write_cache()
            self.writer.close(record.End(0))
        return True

    def task(self, process: Process, outputs: dict[str, Path]) -> Path:
        staged, key = [], [str(process.salt), process.name, str(process.folder)]
        reads = []
        for at, (source, how) in enumerate(process.inputs):
            out, inside = outputs[source.name], "/*" if source.folder else ""
            if how == "staged":
                staged.append((out, f"in{at}"))
                reads.append(f"cat in{at}{inside}")
            elif how == "head":
                reads.append(f"echo {self.digest(out)}")
            elif how == "sheet":
                sheet = self.sheet(out)
                staged.append((sheet, f"in{at}"))
                reads.append(f"cat $(cat in{at}){inside}")
            elif how == "sneaky":  # no text names it, but what it says when it is denied
                hidden = self.sheet(out, hidden=True)
                reads.append(f"cat $(rev {hidden}){inside}")
            else:
                reads.append(f"cat {out}{inside}")
        for path, _ in staged:
            status = path.stat()
            key.append(f"{path} {status.st_size} {status.st_mtime_ns}")
        key += reads
        name = hashlib.blake2b("\0".join(key).encode(), digest_size=16).hexdigest()
        while True:
            task_dir = f"{name[:2]}/{name[2:]}"
            place = self.work / task_dir
            if self.is_whole(task_dir, process):
                self.note(process, Status.CACHED, task_dir)
                break
            if not place.exists():
                self.execute(process, task_dir, staged, reads)
                break
            name = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
        self.publish(process, task_dir)
        return self.work / task_dir / process.out

    def is_whole(self, task_dir: str, process: Process) -> bool:
        place = self.work / task_dir
        return (task_dir in self.finished and (place / ".exitcode").exists()
                and (place / ".exitcode").read_text() == "0\n" and (place / process.out).exists())

    def digest(self, out: Path) -> str:
        try:
            files = sorted(out.iterdir()) if out.is_dir() else [out]
            return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
        except PermissionError as e:
            raise Aborted(str(e.filename)) from None

    def sheet(self, out: Path, *, hidden: bool = False) -> Path:
        text = str(out)[::-1] if hidden else str(out)
        path = self.script.parent / "sheets" / hashlib.sha256(text.encode()).hexdigest()
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(f"{text}\n")
        return path

    def execute(
        self, process: Process, task_dir: str, staged: list[tuple[Path, str]], reads: list[str]
    ) -> None:
        place = self.work / task_dir
        place.mkdir(parents=True)
        stage = "".join(f"    ln -s {path} {name}\n" for path, name in staged)
        fails = "exit 3" if process.fails else "true"
        (place / ".command.run").write_text(
            f"#!/bin/bash\n### ---\n### name: '{process.name}'\n### ...\n"
            f"nxf_stage() {{\n    true\n{stage}}}\ncd {place}\nnxf_stage\n"
            "bash -ue .command.sh > .command.out 2> .command.err && code=0 || code=$?\n"
            "echo $code > .exitcode; exit $code\n")
        write = f"yes $(cat seed) | head -c {SIZE} >"
        (place / ".command.sh").write_text(
            f"{fails}\n{{ echo {process.salt} {process.name}; {'; '.join(reads) or 'true'}; }} | sha256sum | "
            "cut -d' ' -f1 > seed\n" + (f"mkdir out; {write} out/a; cp out/a out/b\n" if process.folder
                                       else f"{write} out.bin\n"))
        inputs = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path, _ in staged)
        child = subprocess.Popen(["bash", "-ue", ".command.run"], cwd=place, start_new_session=True,
                                 env={**os.environ, "BASH_ENV": str(self.hook)}, stderr=subprocess.DEVNULL)
        while child.poll() is None:
            if guard.is_needed(self.folder.attempt(self.number)):
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                self.note(process, Status.ABORTED, task_dir, inputs)
                raise Aborted("")
            time.sleep(0.005)
        if child.returncode:
            self.note(process, Status.FAILED, task_dir, inputs, child.returncode)
            raise Aborted(f"{process.name} failed")
        self.finished.add(task_dir)
        self.note(process, Status.COMPLETED, task_dir, inputs, 0)

    def note(self, process: Process, status: Status, task_dir: str,
             inputs: tuple[tuple[str, int, int], ...] = (), code: int | None = None) -> None:
        self.n += 1
        took = 1000 if status is Status.CACHED else None
        self.writer.write(Task(self.n, process.name, status, task_dir[:9], task_dir, exit=code, inputs=inputs,
                               submitted=0, completed=1000, took=took))
        self.counts[str(status)] += 1

    def publish(self, process: Process, task_dir: str) -> None:
        if process.publishes is None:
            return
        source, target = self.work / task_dir / process.out, self.results / process.name
        self.results.mkdir(exist_ok=True)
        if self.rng.random() < 0.1:
            raise Aborted("killed before it was published")
        try:
            if target.is_symlink() or target.is_file():
                target.unlink()
            elif target.is_dir():
                shutil.rmtree(target)
            if process.publishes == "symlink":
                target.symlink_to(source)
            elif source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copyfile(source, target)
        except (PermissionError, shutil.Error) as e:
            self.writer.write(record.Unpublished(f"Failed to publish file: {source} {e}"))
            raise Aborted(str(source)) from None
        self.writer.write(record.Published(str(target), str(source), process.publishes, task_dir))

    def write_cache(self) -> None:
        place = cache_db.folder(self.folder.cache, SESSION)
        place.mkdir(parents=True, exist_ok=True)
        (place / "MANIFEST-000001").touch()
        (place / "CURRENT").write_text("MANIFEST-000001\n")
        for number, task_dir in enumerate(sorted(self.finished)):
            batch = b"\0" * 12 + bytes([1, 16]) + bytes.fromhex(task_dir.replace("/", "")) + bytes([0])
            (place / f"{number + 2:06}.log").write_bytes(struct.pack("<IHB", 0, len(batch), 1) + batch)


def check(engine: Engine, pipeline: Pipeline) -> None:
    """Every published output has the content that it must have."""
    for process in pipeline.processes:
        expected = process.expected()
        if process.publishes is not None:
            target = engine.results / process.name
            for path in sorted(target.iterdir()) if process.folder else [target]:
                assert path.read_bytes() == expected, f"{path} is wrong"
            engine.counts["results compared"] += 1


def trial(base: Path, seed: int) -> Counter[str]:
    """One random pipeline, until it has succeeded. Raises AssertionError."""
    rng = random.Random(seed)
    pipeline, engine = Pipeline(rng), Engine(base, rng)
    while not engine.attempt(pipeline):
        pipeline.edit()
        if engine.number > 12:
            for process in pipeline.processes:
                process.fails = False
    for process in pipeline.processes:  # everything is published now, from the cache: all of it is looked at
        process.publishes, process.fails = process.publishes or "copy", False
    while not engine.attempt(pipeline):
        engine.counts["published again"] += 1
    check(engine, pipeline)
    left = emptying.load(engine.folder.cache)
    assert not any(emptying.were_read(engine.work, left))
    return engine.counts


def main() -> None:
    """Run the trials; exit with 1 when one of them has failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=300)
    given = parser.parse_args()
    total: Counter[str] = Counter()
    failed = []
    for seed in range(given.seed, given.seed + given.seeds):
        base = Path(tempfile.mkdtemp(prefix="nfresume-lean-model-"))
        try:
            total += trial(base, seed)
        except Exception:
            traceback.print_exc()
            print(f"seed {seed} FAILED; left in {base}", flush=True)
            failed.append(seed)
        else:
            shutil.rmtree(base)
            print(f"seed {seed} is right", flush=True)
    print(f"{given.seeds - len(failed)} of {given.seeds} pipelines right: {dict(total)}; failed: {failed}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
