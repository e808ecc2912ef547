"""Run hundreds of small executions with faults for a given time; at the end nothing may be left.

    make soak MINUTES=60

Two `nfresume serve` sweep every second; one of them is killed from time to time. Meanwhile Nextflow and
Python executions are launched, fail, and are relaunched, cancelled, extended, pinned or left to expire.
Supervisors, heads and tasks are killed, or stopped past their lease. At the end no process, no trash entry,
no byte of a work dir (on disk or in the samples) and no live row may be left. Memory, descriptors and threads
of the other server must not have grown since the first tenth of the time. Writes .test-output/soak.svg.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psutil

from nfresume.store import Tx, schema
from tests.conftest import PROJECT, Site
from tests.proof.trial import LEASE, Trial, place

ROWS = ("server, MiB", "its descriptors", "its threads", "operations", "in the trash")
OUTPUT = PROJECT / ".test-output/soak.svg"
#: Allowed growth of the server's memory: caches fill, and the allocator keeps pages.
GROWTH = 1.25
#: Allowed growth of its descriptors and threads: one connection for each thread that works at the moment.
AT_ONCE = 20


@dataclass
class Server:
    """`nfresume serve`, restarted after it was killed."""

    site: Site
    process: subprocess.Popen[str] | None = None
    starts: int = 0

    def alive(self) -> psutil.Process:
        if self.process is None or self.process.poll() is not None:
            self.process = self.site.start("serve", "--port", "0", "--every", "1")
            threading.Thread(target=self.process.communicate, daemon=True).start()
            self.starts += 1
        return psutil.Process(self.process.pid)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


@dataclass
class Soak:
    """A soak: its two servers, the samples taken, and how often what was done."""

    site: Site
    steady: Server
    victim: Server
    samples: list[tuple[float, ...]] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    def sample(self, began: float) -> None:
        """Take a sample: the minutes since `began`, then the values that ROWS names."""
        with contextlib.suppress(psutil.Error, OSError):
            self.victim.alive()
            process = self.steady.alive()
            trash = len(list((self.site.root / ".trash").iterdir())) if self.site.root.exists() else 0
            self.samples.append(((time.monotonic() - began) / 60, process.memory_info().rss / 2**20,
                                 process.num_fds(), process.num_threads(), sum(self.done.values()), trash))

    def one(self, seed: int) -> None:
        """Launch one execution and inject an event."""
        rng = random.Random(seed)
        trial = Trial(self.site, rng, python=rng.random() < 0.7)
        folder = self.site.launch_dir / f"s{seed}"
        folder.mkdir()
        what, mended = trial.prepare(folder), self.site.base / "mended"
        mended.touch() if rng.random() < 0.5 else mended.unlink(missing_ok=True)
        hours = rng.choice(["0", "0.001", "5"])
        retain = rng.choice([[], ["--retain", "slim"]])
        launched = self.site.run("launch", "--detach", "--storage-expiration-hours", hours, *retain, *what,
                                 cwd=folder)
        if launched.code:
            self.count(f"refused: {launched.err.strip().splitlines()[0]}")
            return
        self.count("launched")
        execution = launched.out.split()[-1]
        time.sleep(rng.uniform(0.2, 3))
        self.inject(trial, execution, rng)
        self.site.run("wait", execution, "--timeout", "90")
        if rng.random() < 0.6 and self.site.run("relaunch", "--detach", execution).code == 0:
            self.count("relaunched")
            self.site.run("wait", execution, "--timeout", "90")

    def inject(self, trial: Trial, execution: str, rng: random.Random) -> None:
        """Inject one event, or none."""
        event = rng.choice(["none", "none", "cancel", "pin", "extend", "kill supervisor", "kill head",
                           "kill task", "stop supervisor", "kill server"])
        if event in ("cancel", "pin"):
            self.site.run(event, execution)
        elif event == "extend":
            self.site.run("extend", execution, "9")
        elif event == "kill server":
            self.victim.alive().kill()
        elif event == "stop supervisor":
            found = trial.processes()["supervisor"][:1]
            for send in (psutil.Process.suspend, psutil.Process.resume):
                for process in found:
                    with contextlib.suppress(psutil.Error):
                        send(process)
                time.sleep(LEASE * 1.5)
        elif event.startswith("kill"):
            trial.kill(event.split()[1])
        self.count(event)


def finish(soak: Soak) -> list[str]:
    """Let everything expire, stop the servers; returns what is left that should not be."""
    site = soak.site
    trial = Trial(site, random.Random(0), python=True)
    end = time.monotonic() + 180
    left: list[dict[str, Any]] = []
    while time.monotonic() < end:
        soak.victim.alive()
        trial.expire()
        left = [e for e in site.ok("list", "--json", "--limit", "100000").json()
                if e["work_dir"]["state"] != "DELETED"]
        if not left:
            break
        time.sleep(2)
    troubles = [f"{e['id']} is {e['state']}, its work dir {e['work_dir']['state']}" for e in left]
    troubles += growth(soak)
    soak.victim.stop()
    soak.steady.stop()
    time.sleep(1)
    troubles += [f"still running: {p}" for p in site.processes()]
    troubles += [f"in the trash: {p.name}" for p in (site.root / ".trash").iterdir()]
    for name in ("work", "cache"):
        troubles += [f"not deleted: {p}" for p in site.root.glob(f"team/[!.]*/{name}")]
    if held := trial.transact(sampled_bytes):
        troubles.append(f"the samples hold {held} bytes")
    with contextlib.closing(sqlite3.connect(site.base / "state.db")) as db:
        if (said := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            troubles.append(f"the database: {said}")
    return troubles


def sampled_bytes(tx: Tx) -> int:
    """The metered bytes of all work dirs by their newest samples."""
    newest: dict[str, int] = {}
    samples = schema.size_samples
    for row in tx.conn.execute(samples.select().order_by(samples.c.at, samples.c.id)):
        newest[row.execution_id] = row.metered_bytes
    return sum(newest.values())


def growth(soak: Soak) -> list[str]:
    """What the server that was never killed uses more of than after the first tenth of the time."""
    later = soak.samples[len(soak.samples) // 10:]
    if len(later) < 20:
        return []
    early, late = later[0], later[-1]
    found = []
    if late[1] > early[1] * GROWTH:
        found.append(f"the server grew from {early[1]:.0f} to {late[1]:.0f} MiB")
    for column, what in ((2, "descriptors"), (3, "threads")):
        if late[column] > early[column] + AT_ONCE:
            found.append(f"the server's {what} grew from {early[column]:.0f} to {late[column]:.0f}")
    if soak.steady.starts != 1:
        found.append(f"the server that nobody killed was started {soak.steady.starts} times")
    return found


def plot(soak: Soak) -> None:
    """Plot what ROWS names over time, as SVG."""
    width, height = 720, 120
    most = soak.samples[-1][0] or 1
    parts = []
    for number, name in enumerate(ROWS):
        top = max(s[number + 1] for s in soak.samples) or 1
        base = (number + 1) * (height + 30)
        points = " ".join(f"{s[0] / most * width:.1f},{base - s[number + 1] / top * height:.1f}"
                          for s in soak.samples)
        parts.append(f'<text x="0" y="{base - height - 6}">{name}, up to {top:.0f}</text>'
                     f'<polyline points="{points}" fill="none" stroke="#2563eb"/>')
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -10 {width + 20} '
                      f'{len(ROWS) * (height + 30) + 20}" font-family="sans-serif" font-size="12">'
                      f'{"".join(parts)}</svg>\n')


def main() -> int:
    """Run the soak; the exit status is 1 when something was left."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with place() as site:
        soak = Soak(site, Server(site), Server(site))
        began = time.monotonic()
        seeds = iter(range(asked.seed * 1_000_000, (asked.seed + 1) * 1_000_000))
        lock = threading.Lock()

        def work() -> None:
            while time.monotonic() - began < asked.minutes * 60:
                with lock:
                    seed = next(seeds)
                soak.one(seed)

        workers = [threading.Thread(target=work) for _ in range(asked.at_once)]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            soak.sample(began)
            time.sleep(1)
        troubles = finish(soak)
        plot(soak)
    for trouble in troubles[:50]:
        print(f"FAIL {trouble}")
    minutes = (time.monotonic() - began) / 60
    print(f"{minutes:.1f} minutes, {soak.done}, one server started {soak.victim.starts} times, the other "
          f"went from {soak.samples[len(soak.samples) // 10][1]:.0f} to {soak.samples[-1][1]:.0f} MiB, "
          f"{len(troubles)} left; {OUTPUT.name}")
    return bool(troubles)


if __name__ == "__main__":
    sys.exit(main())
