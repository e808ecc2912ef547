"""Hundreds of small real runs at once, with faults, for as long as asked; in the end nothing may be left.

    make soak MINUTES=60

One `nfresume serve` sweeps every second. Beside it executions are launched, fail, are relaunched, cancelled,
extended or left to expire, Nextflow and Python ones; supervisors, heads and now and then the server are
killed. In the end: no process, no descriptor, no entry of the trash, no byte of a work dir and no live row is
left, and the server's memory is where it was after the first tenth. Writes .test-output/soak.svg.
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

import psutil

from tests.conftest import PROJECT, Site
from tests.proof.torture import Life, place

OUTPUT = PROJECT / ".test-output/soak.svg"
#: Growth of the server's memory that is no leak: caches fill, the allocator keeps pages.
GROWTH = 1.25


@dataclass
class Server:
    """`nfresume serve`, started again whenever it was killed."""

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
    """What is going on, sampled."""

    site: Site
    server: Server
    rng: random.Random
    samples: list[tuple[float, float, int, int, int]] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    def sample(self, began: float) -> None:
        """Minutes, server MiB, its descriptors, executions, entries of the trash."""
        with contextlib.suppress(psutil.Error, OSError):
            process = self.server.alive()
            trash = len(list((self.site.root / ".trash").iterdir())) if self.site.root.exists() else 0
            self.samples.append(((time.monotonic() - began) / 60, process.memory_info().rss / 2**20,
                                 process.num_fds(), sum(self.done.values()), trash))

    def one(self, seed: int) -> None:
        """Launch one execution and let something happen to it."""
        rng = random.Random(seed)
        life = Life(self.site, rng, python=rng.random() < 0.7)
        folder = self.site.here / f"s{seed}"
        folder.mkdir()
        here, what = self.site, life.prepare(folder)
        mended = self.site.base / "mended"
        mended.touch() if rng.random() < 0.5 else mended.unlink(missing_ok=True)
        hours = rng.choice(["0", "0.001", "5"])
        launched = here.run("launch", "--detach", "--storage-expiration-hours", hours, *what, cwd=folder)
        if launched.code:
            self.count("refused")
            return
        self.count("launched")
        execution = launched.out.split()[-1]
        time.sleep(rng.uniform(0.2, 3))
        fate = rng.choice(["none", "none", "cancel", "kill supervisor", "kill head", "kill server"])
        if fate == "cancel":
            here.run("cancel", execution)
        elif fate == "kill server" and rng.random() < 0.2:
            self.server.alive().kill()
        elif fate.startswith("kill"):
            for process in life.processes()[fate.split()[1]][:1] if fate != "kill server" else ():
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self.count(fate)
        here.run("wait", execution, "--timeout", "90")
        if rng.random() < 0.6 and here.run("relaunch", "--detach", execution).code == 0:
            self.count("relaunched")
            here.run("wait", execution, "--timeout", "90")


def finish(soak: Soak) -> list[str]:
    """Expire everything, stop; what is left that should not be."""
    site = soak.site
    end = time.monotonic() + 180
    left: list[dict] = []
    while time.monotonic() < end:
        soak.server.alive()
        with contextlib.closing(sqlite3.connect(site.base / "state.db", timeout=30)) as db, db:
            db.execute("UPDATE work_dirs SET expires_at = '2000-01-01 00:00:00.000000', pinned = 0 "
                       "WHERE state = 'RETAINED'")
        left = [e for e in site.ok("list", "--json", "--limit", "100000").json()
                if e["work_dir"]["state"] != "DELETED"]
        if not left:
            break
        time.sleep(2)
    soak.server.stop()
    troubles = [f"{e['id']} is {e['state']}, its work dir {e['work_dir']['state']}" for e in left]
    time.sleep(1)
    troubles += [f"still running: {p}" for p in site.marked()]
    troubles += [f"in the trash: {p.name}" for p in (site.root / ".trash").iterdir()]
    troubles += [f"not deleted: {p}" for p in (site.root / "team").glob("*/work/*")]
    with contextlib.closing(sqlite3.connect(site.base / "state.db")) as db:
        if (said := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            troubles.append(f"the database: {said}")
    tenth = soak.samples[len(soak.samples) // 10:]
    if len(tenth) > 20 and soak.server.starts == 1:
        early, late = tenth[0], tenth[-1]
        if late[1] > early[1] * GROWTH:
            troubles.append(f"the server grew from {early[1]:.0f} to {late[1]:.0f} MiB")
        if late[2] > early[2] + 20:
            troubles.append(f"the server's descriptors grew from {early[2]} to {late[2]}")
    return troubles


def plot(soak: Soak) -> None:
    """Memory, descriptors, trash and what was done, over time."""
    width, height, rows = 720, 120, ("server, MiB", "its descriptors", "operations", "in the trash")
    most = soak.samples[-1][0] or 1
    parts = []
    for number, name in enumerate(rows):
        top = max(s[number + 1] for s in soak.samples) or 1
        base = (number + 1) * (height + 30)
        points = " ".join(f"{s[0] / most * width:.1f},{base - s[number + 1] / top * height:.1f}"
                          for s in soak.samples)
        parts.append(f'<text x="0" y="{base - height - 6}">{name}, up to {top:.0f}</text>'
                     f'<polyline points="{points}" fill="none" stroke="#2563eb"/>')
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -10 {width + 20} '
                      f'{len(rows) * (height + 30) + 20}" font-family="sans-serif" font-size="12">'
                      f'{"".join(parts)}</svg>\n')


def main() -> int:
    """Run it; exit status 1 when something was left."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with place() as site:
        server = Server(site)
        soak = Soak(site, server, random.Random(asked.seed))
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
    print(f"{minutes:.1f} minutes, {soak.done}, server started {server.starts} times, "
          f"{len(troubles)} left; {OUTPUT.name}")
    return bool(troubles)


if __name__ == "__main__":
    sys.exit(main())
