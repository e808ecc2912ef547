"""Kill the real thing at every boundary and at random moments, and look whether the promise held.

    make torture                       # every boundary, and 20 random lives
    make torture SEEDS=200             # more of them
    make torture SEED=17 SEEDS=1       # one again, as a failure prints it

Each life runs real Nextflow, or a Python workflow, whose last task fails until it is mended. Meanwhile
supervisor, sweeper, server, Nextflow and tasks are killed with SIGKILL, stopped past their lease and
continued, or all of them lost with a "reboot". After each blow: the database is whole, an execution is live
exactly while its work dir is ACTIVE, nothing that is kept is missing. In the end it has succeeded, or
expired; its results are those of a plain `nextflow run`, no task ran twice at once, and everything is
deleted. Prints seeds, counts and time.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from nfresume.nextflow import embedded
from tests.conftest import BIN, Site, snapshot

#: Where a launch or its supervisor dies, and where a sweep does; every name that the code reaches there.
LAUNCH_POINTS = ("launched", "started", "claimed", "spawned", "head-ended", "settled", "results-half-real",
                 "results-real", "trashed", "half-removed", "emptied")
SWEEP_POINTS = ("expired", "trashed", "half-removed", "emptied", "results-half-real", "results-real")
BLOWS = ("kill supervisor", "kill head", "kill shim", "kill task", "kill all", "stop supervisor", "reboot",
         "kill server")
LEASE = 2.0
CONFLICT = 80
PIPELINE = r'''
params.out = 'results'
process WORK {
  tag "$n"
  publishDir params.out
  input: val n
  output: path "${n}.txt"
  script: """
  echo "start $n \$\$ \$(date +%s%N)" >> LEDGER
  sleep 0.4
  seq $n > ${n}.txt
  echo "end $n \$\$ \$(date +%s%N)" >> LEDGER
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
WORKFLOW = '''
import os, time
from pathlib import Path
from typing import List
from nfresume.tasks import map_task, task, workflow
from nfresume_metadata import LatchFile

def note(what, n):
    with open("LEDGER", "a") as ledger:
        ledger.write(f"{what} {n} {os.getpid()} {time.time_ns()}\\n")

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
    """The promise did not hold; the message says what."""


@dataclass
class Life:
    """One execution, from its launch to its last byte, and what happened to it."""

    site: Site
    rng: random.Random
    python: bool
    blows: list[str] = field(default_factory=list)
    id: str = ""

    @property
    def ledger(self) -> Path:
        return self.site.base / "ledger"

    def prepare(self, folder: Path | None = None) -> list[str]:
        """Write the pipeline to a folder (default: the launch folder); returns what is launched."""
        text = (WORKFLOW if self.python else PIPELINE).replace("LEDGER", str(self.ledger)).replace(
            "MENDED", str(self.site.base / "mended")).replace("CACHED", str(self.rng.random() < 0.5))
        name = "flow.py" if self.python else "main.nf"
        ((folder or self.site.here) / name).write_text(text)
        return ["flow.py:flow"] if self.python else ["main.nf"]

    def run(self, *words: str, at: str = "", timeout: float = 120) -> int:
        """A command, which may die at a boundary."""
        if at:
            self.blows.append(f"{words[0]} dies at {at}")
        return self.site.run(*words, timeout=timeout, NFRESUME_CRASH_AT=at).code

    def known(self) -> dict[str, Any] | None:
        """The execution as the database has it; None while there is none."""
        listed = self.site.ok("list", "--json").json()
        if listed and not self.id:
            self.id = listed[-1]["id"]
        return self.site.show(self.id) if self.id else None

    # -- blows ----------------------------------------------------------------------------------

    def strike(self, blow: str) -> None:
        """One of BLOWS, at this very moment."""
        self.blows.append(blow)
        found = self.processes()
        what = blow.split()[-1]
        if blow == "stop supervisor":
            for process in found["supervisor"]:
                with contextlib.suppress(psutil.Error):
                    process.suspend()
            time.sleep(LEASE * 1.5)
            self.run("sweep")
            for process in found["supervisor"]:
                with contextlib.suppress(psutil.Error):
                    process.resume()
        elif blow in ("kill all", "reboot"):
            for process in [p for group in found.values() for p in group]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            if blow == "reboot":
                with contextlib.closing(sqlite3.connect(self.site.base / "state.db", timeout=30)) as db, db:
                    db.execute("UPDATE attempts SET boot_id = 'before' WHERE boot_id IS NOT NULL")
        elif what == "server":
            server = self.site.start("serve", "--port", "0", "--every", "1")
            time.sleep(self.rng.uniform(1.0, 3.0))
            server.kill()
            server.communicate()
        else:
            for process in found[what][:1]:
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def processes(self) -> dict[str, list[psutil.Process]]:
        """What runs of this site, by what it is."""
        kinds = ("supervisor", "shim", "head", "task", "other")
        found: dict[str, list[psutil.Process]] = {kind: [] for kind in kinds}
        for process in self.site.marked():
            with contextlib.suppress(psutil.Error):
                words = " ".join(process.cmdline())
                if "nfresume.supervisor" in words:
                    kind = "supervisor"
                elif "shim.py" in words:
                    kind = "shim"
                elif "tasks.head" in words or "nextflow" in words.split(" run ")[0]:
                    kind = "head"
                else:
                    kind = "task" if ".command" in words else "other"
                found[kind].append(process)
        return found

    # -- what must hold -------------------------------------------------------------------------

    def check(self) -> dict[str, Any] | None:
        """The invariants, at any moment."""
        with contextlib.closing(sqlite3.connect(self.site.base / "state.db", timeout=30)) as db:
            if (said := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                raise Broken(f"the database is damaged: {said}")
        e = self.known()
        if e is None:
            return None
        live = e["state"] in ("QUEUED", "RUNNING", "CANCELLING")
        if live != (e["work_dir"]["state"] == "ACTIVE"):
            raise Broken(f"{e['state']} with a work dir that is {e['work_dir']['state']}")
        if e["work_dir"]["state"] in ("ACTIVE", "RETAINED") and e["attempts"][-1]["started_at"]:
            place = Path(e["work_dir"]["path"])
            if e["attempts"][-1]["tasks"]["succeeded"] and not place.is_dir():
                raise Broken("the work dir of an execution that is kept is gone")
        return e

    def settled(self) -> dict[str, Any]:
        """Sweep until nothing is live or being removed."""
        for _ in range(120):
            self.run("sweep")
            e = self.check()
            if e and e["work_dir"]["state"] in ("RETAINED", "DELETED") and not self.site.marked():
                return e
            time.sleep(0.3)
        raise Broken(f"not settled within a minute: {self.check()}")

    def check_ledger(self) -> int:
        """No task ran twice at once; how many ran to their end."""
        spans: dict[str, list[list[int]]] = {}
        open_: dict[tuple[str, str], int] = {}
        for line in self.ledger.read_text().splitlines() if self.ledger.exists() else ():
            what, name, pid, at = line.split()
            if what == "start":
                open_[name, pid] = int(at)
            elif (name, pid) in open_:
                spans.setdefault(name, []).append([open_.pop((name, pid)), int(at)])
        for name, found in spans.items():
            ordered = sorted(found)
            for (_, end), (start, _) in itertools.pairwise(ordered):
                if start < end:
                    raise Broken(f"task {name} ran twice at once")
        return sum(map(len, spans.values()))


@contextlib.contextmanager
def place() -> Iterator[Site]:
    """A site of its own; what is left of it in the end is killed and removed."""
    base = Path(tempfile.mkdtemp(prefix="torture-"))
    (base / "launch").mkdir()
    (base / "nfresume.toml").touch()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NFRESUME_", "NXF_"))}
    env |= {"NFRESUME_ROOT": str(base / "root"), "NFRESUME_DATABASE_URL": f"sqlite:///{base / 'state.db'}",
            "NFRESUME_ACCOUNT": "team", "NFRESUME_CONFIG": str(base / "nfresume.toml"),
            "NFRESUME_LEASE_SECONDS": str(LEASE), "PATH": f"{BIN}:{env['PATH']}"}
    site = Site(base, env)
    try:
        yield site
    finally:
        for process in site.marked():
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(base, ignore_errors=True)


def live(site: Site, rng: random.Random, expected: dict[str, bytes], launch_at: str, sweep_at: str) -> Life:
    """A whole life. Raises Broken."""
    life = Life(site, rng, python=rng.random() < 0.5)
    slim = ["--retain", "slim"] if rng.random() < 0.3 else []
    words = ["--storage-expiration-hours", "5", *slim, *life.prepare()]
    if launch_at:
        life.run("launch", *words, at=launch_at)
    else:
        life.run("launch", "--detach", *words)
        for _ in range(0 if sweep_at else rng.randint(1, 3)):
            time.sleep(rng.uniform(0.1, 2.5))
            life.strike(rng.choice(BLOWS))
            life.check()
    if life.known() is None:  # it died before it was anything
        life.run("launch", *words)
        life.known()
    e = life.settled()
    if sweep_at:
        expire(site)
        life.run("sweep", at=sweep_at)
        end(life, life.settled(), {name: data for name, data in expected.items() if name != "all.csv"})
        return life
    (site.base / "mended").touch()
    for _ in range(6):
        if e["state"] == "SUCCEEDED":
            break
        if life.run("relaunch", life.id) == CONFLICT:  # it never got as far as a cache
            life.run("relaunch", life.id, "--from-scratch")
        e = life.settled()
    else:
        raise Broken(f"never succeeded: {e['attempts'][-1]['error']}")
    end(life, e, expected)
    return life


def expire(site: Site) -> None:
    """What is retained is due."""
    with contextlib.closing(sqlite3.connect(site.base / "state.db", timeout=30)) as db, db:
        db.execute("UPDATE work_dirs SET expires_at = '2000-01-01 00:00:00.000000' WHERE state = 'RETAINED'")


def end(life: Life, e: dict[str, Any], expected: dict[str, bytes]) -> None:
    """Everything deleted, results there and whole, nothing running, no task twice at once. Raises Broken."""
    site = life.site
    life.check_ledger()
    if e["work_dir"]["state"] != "DELETED" or Path(e["work_dir"]["path"]).exists():
        raise Broken(f"not deleted in the end: {e['work_dir']}")
    if left := list((site.root / ".trash").iterdir()):
        raise Broken(f"left in the trash: {left}")
    if found := site.marked():
        raise Broken(f"still running: {found}")
    results = {name: data for name, (_, data) in snapshot(site.here / "results").items()}
    if results != expected:
        raise Broken(f"results differ: {sorted(results)} instead of {sorted(expected)}")


def plain() -> dict[str, bytes]:
    """The results of a plain `nextflow run`."""
    with place() as site:
        life = Life(site, random.Random(0), python=False)
        life.prepare()
        (site.base / "mended").touch()
        java = embedded.java(None)
        words = embedded.launcher(java, embedded.install(java), os.environ)
        subprocess.run([*words, "run", "main.nf", "-ansi-log", "false"], cwd=site.here, check=True,
                       env={**site.env, "NXF_CLI": "nextflow"}, capture_output=True)
        return {name: data for name, (_, data) in snapshot(site.here / "results").items()}


def one(seed: int, launch_at: str, sweep_at: str, expected: dict[str, bytes]) -> str | None:
    """Live one life; what was broken, and how to do it again, or None."""
    rng = random.Random(f"{seed}:{launch_at}:{sweep_at}")
    began = time.monotonic()
    with place() as site:
        try:
            life = live(site, rng, expected, launch_at, sweep_at)
        except Exception as e:  # whatever it is, the life can be lived again
            trouble = "".join(traceback.format_exception_only(e)).strip()
            point = f" AT={launch_at or sweep_at}" if launch_at or sweep_at else ""
            where = "" if isinstance(e, Broken) else traceback.format_exc()
            return f"{trouble}\n  again: make torture SEED={seed} SEEDS=1{point}\n{where}"
    kind, took = "Python" if life.python else "Nextflow", time.monotonic() - began
    print(f"ok   seed {seed:<4} {took:5.1f} s  {kind:<8}  {'; '.join(life.blows)}", flush=True)
    return None


def main() -> int:
    """Run it; exit status 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=20, help="how many random lives")
    parser.add_argument("--at", default="", help="only this boundary")
    parser.add_argument("--side-by-side", type=int, default=2)
    asked = parser.parse_args()
    began = time.monotonic()
    expected = plain()
    lives = [(asked.seed, point, "") for point in LAUNCH_POINTS] + [
        (asked.seed, "", point) for point in SWEEP_POINTS]
    if asked.at:
        lives = [one_life for one_life in lives if asked.at in one_life]
    elif asked.seeds == 1:
        lives = [(asked.seed, "", "")]
    else:
        lives += [(asked.seed + n, "", "") for n in range(asked.seeds)]
    with ThreadPoolExecutor(asked.side_by_side) as pool:
        troubles = [t for t in pool.map(lambda it: one(*it, expected), lives) if t]
    for trouble in troubles:
        print(f"FAIL {trouble}", flush=True)
    print(f"{len(lives)} lives, {len(troubles)} broken, {time.monotonic() - began:.0f} s")
    return bool(troubles)


if __name__ == "__main__":
    sys.exit(main())
