"""One execution for torture and soak: its pipeline, the faults it can meet, and the checks on it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from nfresume.nextflow import embedded, trace
from nfresume.store import Store, Tx, queries, schema
from tests.conftest import BIN, Site, snapshot

#: Seconds after which a supervisor that does not renew its lease is lost.
LEASE = 2.0
PIPELINE = r'''
params.out = 'results'
process WORK {
  tag "$n"
  publishDir params.out
  input: val n
  output: path "${n}.txt"
  script: """
  echo "start $n \$\$ \$(date +%s%N)" >> TASK_LOG
  sleep 0.4
  seq $n > ${n}.txt
  echo "end $n \$\$ \$(date +%s%N)" >> TASK_LOG
  """
}
process LAST {
  publishDir params.out
  input: path files
  output: path 'all.csv'
  script: """
  test -e MENDED || { echo broken >&2; exit 3; }
  cat \$(ls *.txt | sort -n) > all.csv
  """
}
workflow { LAST(WORK(Channel.of(11, 12, 13, 14)).collect()) }
'''
#: Another run in the same results folder.
BESIDE = r'''
process BESIDE { publishDir params.out
  output: path "${params.name}*"
  script: """mkdir ${params.name}; echo x > ${params.name}.txt
  for i in \$(seq 50); do echo \$i > ${params.name}/\$i; done""" }
workflow { BESIDE() }
'''
WORKFLOW = '''
import os, time
from pathlib import Path
from typing import List
from nfresume.tasks import map_task, task, workflow
from nfresume_metadata import LatchFile

def note(what, n):
    with open("TASK_LOG", "a") as file:
        file.write(f"{what} {n} {os.getpid()} {time.time_ns()}\\n")

@task(cache=CACHED)
def work(n: int) -> LatchFile:
    note("start", n)
    time.sleep(0.4)
    Path(f"{n}.txt").write_text("".join(f"{i}\\n" for i in range(1, n + 1)))
    note("end", n)
    return LatchFile(f"{n}.txt", f"latch:///{n}.txt")

@task
def last(files: List[LatchFile]) -> LatchFile:
    if not Path("MENDED").exists():
        raise ValueError("broken")
    Path("all.csv").write_text("".join(Path(f).read_text() for f in files))
    return LatchFile("all.csv", "latch:///all.csv")

@workflow
def flow() -> LatchFile:
    return last(files=map_task(work)(n=[11, 12, 13, 14]))
'''


class Broken(Exception):
    """A check failed; the message says which promise was broken."""


@dataclass
class Trial:
    """One execution, from its launch to its last byte, and the faults that were injected."""

    site: Site
    rng: random.Random
    python: bool
    faults: list[str] = field(default_factory=list)
    id: str = ""
    results: Path = Path()  # where it publishes; beside other runs, and perhaps on another file system
    needed: dict[Path, str] = field(default_factory=dict)  # outputs of finished tasks with their digests

    @property
    def task_log(self) -> Path:
        return self.site.base / "task-log"

    def prepare(self, folder: Path | None = None) -> list[str]:
        """Write the pipeline to a folder (default: the launch dir); returns the words that launch it."""
        text = (WORKFLOW if self.python else PIPELINE).replace("TASK_LOG", str(self.task_log)).replace(
            "MENDED", str(self.site.base / "mended")).replace("CACHED", str(self.rng.random() < 0.5))
        name = "flow.py" if self.python else "main.nf"
        here = folder or self.site.launch_dir
        (here / name).write_text(text)
        if self.results == Path():
            self.results = here / "results"
        if self.python:
            return ["-output-dir", str(self.results), "flow.py:flow"]
        return ["main.nf", "--out", str(self.results)]

    def beside(self, number: int) -> subprocess.Popen[str]:
        """Start another run that publishes a link and a folder into the same results."""
        script = self.site.launch_dir / "beside.nf"
        script.write_text(BESIDE)
        return self.site.start("launch", "beside.nf", "--out", str(self.results), "--name", f"beside{number}")

    def fix(self) -> None:
        """Make the last task succeed from now on."""
        (self.site.base / "mended").touch()

    def known(self) -> dict[str, Any] | None:
        """The execution as the database knows it; None while there is none."""
        if not self.id:
            listed = self.site.ok("list", "--json").json()
            self.id = listed[-1]["id"] if listed else ""
        return self.site.show(self.id) if self.id else None

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The site's running processes by kind."""
        kinds = ("supervisor", "shim", "head", "task", "other")
        found: dict[str, list[psutil.Process]] = {kind: [] for kind in kinds}
        for process in self.site.processes():
            with contextlib.suppress(psutil.Error):
                words = " ".join(process.cmdline())
                if "nfresume.runs.supervisor" in words:
                    kind = "supervisor"
                elif "shim.py" in words:
                    kind = "shim"
                elif "tasks.head" in words or "nextflow" in words.split(" run ")[0]:
                    kind = "head"
                else:
                    kind = "task" if ".command" in words else "other"
                found[kind].append(process)
        return found

    def kill(self, kind: str = "") -> None:
        """SIGKILL one process of this kind; without a kind, all processes of the site."""
        found = self.processes()
        for process in found[kind][:1] if kind else itertools.chain(*found.values()):
            with contextlib.suppress(psutil.Error):
                process.kill()

    def reboot(self) -> None:
        """Simulate a reboot: all processes are gone, and the recorded boot id is an old one."""
        self.kill()
        self.change(schema.attempts.update().where(schema.attempts.c.boot_id.is_not(None))
                    .values(boot_id="before"))

    def expire(self) -> None:
        """Make all retained work dirs due."""
        past = datetime(2000, 1, 1, tzinfo=UTC)
        self.change(schema.work_dirs.update().where(schema.work_dirs.c.state == "RETAINED")
                    .values(expires_at=past, keep_kind="rule", look_again_at=None))

    def let_claims_run_out(self) -> None:
        """Make claims on deletions run out, and the next look come, as if hours had passed."""
        work_dirs = schema.work_dirs
        self.change(work_dirs.update().values(claimed_until=None))
        self.change(work_dirs.update().where(work_dirs.c.look_again_at.is_not(None))
                    .values(look_again_at=datetime(2000, 1, 1, tzinfo=UTC)))

    @property
    def on_postgresql(self) -> bool:
        return self.site.env["NFRESUME_DATABASE_URL"].startswith("postgresql")

    def change(self, statement: sa.Update) -> None:
        """Change the database directly, to simulate time and reboots."""
        self.transact(lambda tx: tx.conn.execute(statement))

    def transact(self, act: Callable[[Tx], Any]) -> Any:
        """Run `act` in one transaction; returns its result."""
        url = self.site.env["NFRESUME_DATABASE_URL"]
        with contextlib.closing(Store.open(url)) as store, store.begin() as tx:
            return act(tx)

    # -- what must hold -------------------------------------------------------------------------

    def check(self) -> dict[str, Any] | None:
        """Check the invariants, which must hold at any moment; returns the execution. Raises Broken."""
        if not self.on_postgresql:
            with contextlib.closing(sqlite3.connect(self.site.base / "state.db", timeout=30)) as db:
                if (said := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                    raise Broken(f"the database is damaged: {said}")
        e = self.known()
        if e is None:
            return None
        live = e["state"] in ("QUEUED", "RUNNING", "CANCELLING")
        if live != (e["work_dir"]["state"] == "ACTIVE"):
            raise Broken(f"{e['state']} with a work dir that is {e['work_dir']['state']}")
        if e["work_dir"]["state"] in ("ACTIVE", "RETAINED"):
            for path, digest in self.needed.items():
                if not path.exists() or _digest(path) != digest:
                    if self.known()["work_dir"]["state"] == e["work_dir"]["state"]:
                        raise Broken(f"{path} is needed, and gone or changed")
                    break  # its work dir was deleted meanwhile, as it should be
        if e["work_dir"]["state"] == "RETAINED":
            self.needed |= {path: _digest(path) for path in self._finished(e) if path not in self.needed}
        return e

    def _finished(self, e: dict[str, Any]) -> Iterator[Path]:
        """Outputs of the tasks that are finished according to the traces."""
        work = Path(e["work_dir"]["path"])
        for number in range(1, len(e["attempts"]) + 1):
            for row in trace.rows(work.parent / f"attempts/{number}/trace.tsv"):
                if row.status == "COMPLETED":
                    yield from work.glob(f"{row.hash}*/*.txt")

    def check_task_log(self, e: dict[str, Any]) -> None:
        """No task ran twice at once, and none that had finished cleanly ran again. Raises Broken."""
        spans: dict[str, list[list[int]]] = {}
        open_: dict[tuple[str, str], int] = {}
        for line in self.task_log.read_text().splitlines() if self.task_log.exists() else ():
            what, name, pid, at = line.split()
            if what == "start":
                open_[name, pid] = int(at)
            elif (name, pid) in open_:
                spans.setdefault(name, []).append([open_.pop((name, pid)), int(at)])
        for name, found in spans.items():
            for (_, end), (start, _) in itertools.pairwise(sorted(found)):
                if start < end:
                    raise Broken(f"task {name} ran twice at once")
        folder = Path(e["work_dir"]["path"]).parent / "attempts"
        for before, after in itertools.pairwise(self.transact(lambda tx: queries.attempts_of(tx, e["id"]))):
            done, again = (_completed(folder / str(a.number) / "trace.tsv") for a in (before, after))
            if before.clean_end and after.resume and (twice := done & again):
                raise Broken(f"{sorted(twice)} had finished in attempt {before.number}, and ran again")

    def check_end(self, e: dict[str, Any], expected: dict[str, bytes]) -> None:
        """Everything is deleted, the results are complete, nothing runs, no task ran twice. Raises Broken."""
        self.check_task_log(e)
        place = Path(e["work_dir"]["path"])
        if e["work_dir"]["state"] != "DELETED" or place.exists() or (place.parent / "cache").exists():
            raise Broken(f"not deleted in the end: {e['work_dir']}")
        if left := list((self.site.root / ".trash").iterdir()):
            raise Broken(f"left in the trash: {left}")
        if found := self.site.processes():
            raise Broken(f"still running: {found}")
        results = {name: data for name, (_, data) in snapshot(self.results).items()
                   if not name.startswith("beside")}
        if links := [path for path in self.results.rglob("*") if path.is_symlink()]:
            raise Broken(f"links are left: {links}")
        if parts := list(self.results.rglob(".nfresume*")):
            raise Broken(f"unfinished copies are left: {parts}")
        if results != expected:
            raise Broken(f"results differ: {sorted(results)} instead of {sorted(expected)}")


def _completed(path: Path) -> set[str]:
    return {row.name for row in trace.rows(path) if row.status == "COMPLETED"}


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return "gone"


@contextlib.contextmanager
def place(database: str = "", where: str | None = None) -> Iterator[Site]:
    """A separate site, on SQLite unless a database is given; at the end it is killed and removed.

    `where` is the folder of the root and of the launch dir, such as a mount of NFS; SQLite stays outside.
    """
    base = Path(tempfile.mkdtemp(prefix="torture-", dir=where))
    local = Path(tempfile.mkdtemp(prefix="torture-", dir="/dev/shm")) if where else base
    (base / "launch").mkdir()
    (base / "nfresume.toml").touch()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NFRESUME_", "NXF_"))}
    env |= {"NFRESUME_ROOT": str(base / "root"), "NFRESUME_ACCOUNT": "team",
            "NFRESUME_DATABASE_URL": database or f"sqlite:///{local / 'state.db'}",
            "NFRESUME_CONFIG": str(base / "nfresume.toml"), "NFRESUME_LEASE_SECONDS": str(LEASE),
            "PATH": f"{BIN}:{env['PATH']}"}
    site = Site(base, env)
    try:
        yield site
    finally:
        for process in site.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.1)
        for folder in {base, local}:
            shutil.rmtree(folder, ignore_errors=True)


def plain() -> dict[str, bytes]:
    """The results of the pipeline with a plain `nextflow run`."""
    with place() as site:
        trial = Trial(site, random.Random(0), python=False)
        trial.prepare()
        trial.fix()
        java = embedded.java(None)
        words = embedded.launcher(java, embedded.install(java), os.environ)
        subprocess.run([*words, "run", "main.nf", "-ansi-log", "false"], cwd=site.launch_dir, check=True,
                       env={**site.env, "NXF_CLI": "nextflow"}, capture_output=True)
        return {name: data for name, (_, data) in snapshot(site.launch_dir / "results").items()}
