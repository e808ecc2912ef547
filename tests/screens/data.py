"""A site with many executions and tasks, made without running anything: for screenshots and walk-throughs."""

from __future__ import annotations

import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from nfresume import settings
from nfresume.domain.executions import id_stem
from nfresume.domain.people import Role
from nfresume.nextflow import record, record_file
from nfresume.nextflow.record import Status, Task
from nfresume.service.identity import Identity
from nfresume.settings import Settings
from nfresume.storage import Root
from nfresume.store import Store, queries, schema, transitions
from tests import cache_database

PIPELINES = ("nf-core/rnaseq", "nf-core/sarek", "/pipelines/amplicon/main.nf", "nf-core/fetchngs")
PEOPLE = ("ada", "grace", "alan")
#: The execution whose pages have everything, and one with thousands of tasks.
FAILED, LARGE = "rnaseq-4k9x2m", "sarek-7t3v8d"
_SCRIPT = """#!/bin/bash -euo pipefail
# Count the reads of a sample
samtools view -c -F 4 {sample}.bam > {sample}.count
echo "sample {sample}: $(cat {sample}.count) reads"
"""
_SCHEMA = {"$defs": {
    "io": {"title": "Input and output", "required": ["input"], "properties": {
        "input": {"type": "string", "format": "file-path",
                  "description": "A table with the columns sample, fastq_1 and fastq_2"},
        "outdir": {"type": "string", "default": "results", "description": "Where results go"}}},
    "filter": {"title": "Filtering", "properties": {
        "min_reads": {"type": "integer", "default": 20, "description": "Fewer reads: left out"},
        "primers": {"type": "array", "items": {"type": "string", "format": "file-path"},
                    "description": "Sequences of primers"},
        "trimmer": {"type": "string", "enum": ["cutadapt", "fastp"], "default": "fastp"}}}}}
_GIVEN = {"input": "samples.csv", "genome": "GRCh38", "min_reads": 20, "skip_qc": False}
_STEPS = (("TRIM", 40, 90), ("ALIGN", 300, 2200), ("SORT", 60, 5200), ("COUNT", 20, 800))


class Filled:
    """A database and a root in `base`, with `count` executions of account lab."""

    def __init__(self, base: Path, count: int = 2000, tasks: int = 2000) -> None:
        self.base = base
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.chance = random.Random(7)
        (base / "nfresume.toml").touch()
        self.conf: Settings = settings.load({
            "NFRESUME_CONFIG": str(base / "nfresume.toml"),
            "NFRESUME_DATABASE_URL": f"sqlite:///{base / 's.db'}",
            "NFRESUME_ACCOUNT": "lab", "NFRESUME_ROOT": str(base / "efs"), "HOME": str(base),
            "NFRESUME_WEB_LAUNCHES": str(base / "launches"), "NFRESUME_WEB_PIPELINES": "any",
            "NFRESUME_PRICE_PER_CPU_HOUR": "0.05", "NFRESUME_WEB_DATA": str(base / "mnt/reads")})
        self.store = Store.open(self.conf.database_url)
        self.root = Root.mark(base / "efs")
        with self.store.begin() as tx:
            transitions.register_root(tx, self.root.id, str(self.root.path), self.root.inode)
        self.identity = Identity(self.store)
        for name in PEOPLE:
            self.identity.add_user(name)
            self.identity.set_role(name, "lab", Role.OWNER)
        self._many(count)
        self._failed()
        self._large(tasks)
        self._pipeline()

    def _pipeline(self) -> None:
        """A pipeline that declares its parameters, and the folder whose files can be chosen for them."""
        (self.base / "amplicon").mkdir()
        (self.base / "amplicon/main.nf").write_text("workflow {}\n")
        (self.base / "amplicon/nextflow_schema.json").write_text(json.dumps(_SCHEMA))
        for name in ("2026-10-02_run14", "2026-11-19_run15"):
            (self.base / "mnt/reads" / name).mkdir(parents=True)
        for n in range(1, 25):
            for end in (1, 2):
                file = self.base / f"mnt/reads/2026-11-19_run15/liver_S{n}_R{end}.fastq.gz"
                with file.open("wb") as opened:
                    opened.truncate(self.chance.randrange(2**28, 2**32))
        (self.base / "mnt/reads/2026-11-19_run15/samples.csv").write_text("sample,fastq_1,fastq_2\n")

    def link(self, user: str = "ada") -> str:
        """The secret of a login link."""
        return self.identity.login_link(user)

    def _many(self, count: int) -> None:
        rows: dict[str, list[dict[str, object]]] = {"e": [], "w": [], "a": [], "v": [], "s": []}
        for number in range(count):
            at = self.now - timedelta(minutes=17 * (count - number))
            failed, live = number % 9 == 0, False
            retained = failed and number > count * 0.8
            pipeline = PIPELINES[number % 4 if number % 7 else 1]
            name = f"{id_stem(pipeline.removesuffix('/main.nf'))}-{number:06d}"
            size = self.chance.randrange(1, 900) * 2**28
            self._row(rows, name, pipeline, at, failed=failed, live=live, retained=retained, size=size,
                      who=PEOPLE[number % 3], tasks=(8, 1) if failed else (9, 0))
        self._insert(rows)

    def _row(self, rows: dict[str, list[dict[str, object]]], name: str, pipeline: str, at: datetime, *,
             failed: bool, live: bool, retained: bool, size: int, who: str, attempts: int = 1,
             tasks: tuple[int, int] = (8, 1), error: str | None = None) -> None:
        state = "FAILED" if failed else "RUNNING" if live else "SUCCEEDED"
        end = at + timedelta(minutes=self.chance.randrange(5, 300))
        until = max(end, self.now - timedelta(hours=2)) + timedelta(hours=self.chance.randrange(3, 47))
        rows["e"].append({
            "id": name, "account": "lab", "root_id": self.root.id, "pipeline": pipeline,
            "launch_dir": str(self.base), "session_id": str(uuid.uuid4()), "state": state,
            "attempt": attempts, "storage_expiration_hours": 48.0,
            "storage_expiration_source": "NextflowMetadata", "retain": "full",
            "on_success": "delete", "created_at": at, "updated_at": end,
            "launched_by": f"{who}@web(10.0.0.7)",
            "tags": {"project": ("liver", "atlas", "panel")[sum(name.encode()) % 3]}})
        kept = "RETAINED" if retained else "ACTIVE" if live else "DELETED"
        rows["w"].append({
            "execution_id": name, "path": str(self.root.execution("lab", name).work), "state": kept,
            "keep_kind": "rule" if retained else None, "kept_why": "the run failed" if retained else None,
            "expires_at": until if retained else None, "metered_bytes": size, "bytes": size, "files": 1200,
            "directories": 90, "partial": False, "measured_at": end,
            "reason": None if kept != "DELETED" else "the run succeeded",
            "deleted_at": end if kept == "DELETED" else None})
        for attempt in range(1, attempts + 1):
            rows["a"].append({
                "execution_id": name, "number": attempt, "run_name": f"{name}-{attempt}", "launcher": "local",
                "state": "FAILED" if attempt < attempts else state, "pipeline": pipeline,
                "options": [pipeline], "resume": attempt > 1, "clean_end": True, "token": 1,
                "nextflow_version": "24.10.5",
                "created_at": at, "started_at": at + timedelta(minutes=40 * (attempt - 1)),
                "ended_at": None if live else min(end, at + timedelta(minutes=40 * attempt)),
                "submitted": sum(tasks), "cached": 0, "succeeded": tasks[0], "failed": tasks[1], "ignored": 0,
                "retried": 0, "error": (error or "COUNT (liver) terminated with an error exit status (1)")
                if state == "FAILED" else None})
        common = {"execution_id": name, "attempt": 1, "detail": {}}
        rows["v"] += [{**common, "name": "launch", "actor": f"{who}@web(10.0.0.7)", "at": at},
                      {**common, "name": "claim", "actor": "supervisor@node1", "at": at}]
        if not live:
            rows["v"].append({**common, "name": "fail" if failed else "succeed", "at": end,
                              "actor": "supervisor@node1"})
        rows["s"].append({"execution_id": name, "at": at + timedelta(minutes=4), "metered_bytes": size,
                          "processes": {"ALIGN": size // 2, "SORT": size // 3}})
        if not retained and not live:
            rows["s"].append({"execution_id": name, "at": end + timedelta(hours=2), "metered_bytes": 0,
                              "processes": {}})

    def _insert(self, rows: dict[str, list[dict[str, object]]]) -> None:
        tables = {"e": schema.executions, "w": schema.work_dirs, "a": schema.attempts, "v": schema.events,
                  "s": schema.size_samples}
        with self.store.begin() as tx:
            for key, table in tables.items():
                tx.conn.execute(sa.insert(table), rows[key])

    def _one(self, name: str, pipeline: str, at: datetime, **more: object) -> None:
        rows: dict[str, list[dict[str, object]]] = {"e": [], "w": [], "a": [], "v": [], "s": []}
        self._row(rows, name, pipeline, at, **more)  # type: ignore[arg-type]
        self._insert(rows)

    def _failed(self) -> None:
        """Two attempts; the second one reused what the first had done, and failed at its last task."""
        samples = ("liver", "heart", "brain", "kidney")
        self._one(FAILED, "nf-core/rnaseq", self.now - timedelta(hours=2), failed=True, live=False,
                  retained=True, size=41 * 2**30, who="ada", attempts=2, tasks=(16, 1),
                  error="REPORT terminated with an error exit status (1)")
        folder = self.root.execution("lab", FAILED)
        (self.base / "params.json").write_text(json.dumps(_GIVEN | {"min_reads": 40}))
        for number in (1, 2):
            folder.provision(number)
            place = folder.attempt(number)
            (place / "stdout.log").write_text("".join(
                f"[{n:02x}/cdef{n:02x}] Submitted process > ALIGN ({s})\n" for n, s in enumerate(samples)))
            (place / "inputs").mkdir()
            given = _GIVEN | {"min_reads": 20 * number}
            (place / "inputs" / "1-params.json").write_text(json.dumps(given))
            (place / "inputs" / "inputs.json").write_text(json.dumps([{
                "option": "-params-file", "given": "params.json", "kept": "1-params.json", "digest": None,
                "size": 80, "transient": False}]))
            self._record(folder.work, place, number, samples)
        with self.store.begin(write=False) as tx:
            session = queries.get(tx, FAILED).session_id
        cache_database.write(folder, session, (f"{p.parent.name}/{p.name}" for p in folder.work.glob("0?/*")))

    def _record(self, work: Path, place: Path, number: int, samples: tuple[str, ...]) -> None:
        writer = record_file.Writer(record_file.path_of(place, 1))
        writer.write(record.Header(work=str(work)))
        begin = int((self.now - timedelta(hours=2 if number == 1 else 1)).timestamp() * 1000)
        n, files = 0, []
        for at, sample in enumerate(samples):
            source = self._file(self.base / "mnt/reads" / f"{sample}.fastq.gz", 2**31)
            for step, (process, seconds, megabytes) in enumerate(_STEPS):
                n += 1
                name = f"{at:02x}/{step:x}{sample.encode().hex():0<29}"[:33]
                took = int(seconds * 1000 * self.chance.uniform(0.7, 1.6))
                task = Task(
                    n, f"{process} ({sample})", Status.COMPLETED, name[:9], name, exit=0,
                    submitted=begin + at, started=begin + 900 + at, completed=begin + 900 + at + took,
                    container="biotools:1.4",
                    inputs=(source,))
                if number == 2:
                    task = Task(n, task.name, Status.CACHED, name[:9], name, cached_from=1, took=took)
                writer.write(task)
                begin += took // 3
                self._dir(work / name, sample, process)
                source = self._file(work / name / f"{sample}.{process.lower()}", megabytes * 2**20)
            files.append(source)
        name = f"ff/{number}{'e' * 29}"
        self._dir(work / name, "all", "REPORT", "Traceback (most recent call last):\n  File \"report.py\", "
                  "line 12, in <module>\nKeyError: column gc_contnet not found\n")
        last = Task(n + 1, "REPORT", Status.FAILED, name[:9], name, exit=1, submitted=begin,
                    started=begin + 700, completed=begin + 9000, inputs=tuple(files),
                    container="biotools:1.4")
        writer.write(last)
        for sample in samples[:2]:
            writer.write(record.Published(str(self.base / "results" / f"{sample}.count"), task=""))
        writer.close(record.End(begin + 9000, n + 1, 0))
        if number == 2:
            (place / "explanation.json").write_text(json.dumps({
                "attempt": 2, "left_out": 0, "whole": "", "tasks": [{
                    "name": "REPORT", "process": "REPORT", "dir": name, "before": 1, "causes": [
                    {"kind": "failed", "text": "it had failed in attempt 1 with exit status 1", "detail": [],
                     "upstream": ""},
                    {"kind": "parameter", "text": "parameter min_reads has changed: 20 -> 40", "detail": [],
                     "upstream": ""}]}]}))

    def _dir(self, folder: Path, sample: str, process: str, errors: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".command.sh").write_text(_SCRIPT.format(sample=sample))
        (folder / ".command.out").write_text(f"{process} of {sample}\n")
        (folder / ".command.err").write_text(errors)
        (folder / ".exitcode").write_text("1" if errors else "0")
        (folder / ".command.trace").write_text(
            "nextflow.trace/v2\nrealtime=60000\n%cpu=3950\nrchar=20401094656\nwchar=9400832\n"
            "peak_rss=2250000\n")

    def _file(self, path: Path, size: int) -> tuple[str, int, int]:
        """A file of this size, as an input of a task in the record."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with path.open("wb") as opened:
                opened.truncate(size)
        return str(path), size, path.stat().st_mtime_ns

    def _large(self, count: int) -> None:
        """A running execution with many tasks of six processes."""
        self._one(LARGE, "nf-core/sarek", self.now - timedelta(hours=5), failed=False, live=True,
                  retained=False, size=700 * 2**30, who="grace", tasks=(count - 30, 4))
        folder = self.root.execution("lab", LARGE)
        folder.provision(1)
        writer = record_file.Writer(record_file.path_of(folder.attempt(1), 1))
        writer.write(record.Header(work=str(folder.work)))
        begin = int((self.now - timedelta(hours=5)).timestamp() * 1000)
        names = ("FASTQC", "TRIMGALORE", "BWAMEM", "MARKDUP", "HAPLOTYPECALLER", "VEP")
        made: list[str] = []
        for n in range(1, count + 1):
            step = (n - 1) % len(names)
            at = begin + n * 17_000_000 // count
            took = int(60_000 * (step + 1) * self.chance.lognormvariate(0, 0.5))
            name = f"{n % 256:02x}/{n:030x}"
            status = (Status.RUNNING if n > count - 26 else Status.FAILED if n % 500 == 0
                      else Status.COMPLETED)
            ended = None if status is Status.RUNNING else at + took
            source = f"{folder.work}/{made[-1]}/out.bam" if step else "/data/reads/x.fastq.gz"
            writer.write(Task(
                n, f"NFCORE_SAREK:SAREK:{names[step]} (sample_{n // len(names)})", status, name[:9], name,
                exit=None if ended is None else int(status is Status.FAILED), submitted=at,
                started=at + 2000, completed=ended, ignored=status is Status.FAILED,
                inputs=((source, 10**9, 1),)))
            made.append(name)
        writer.flush()
