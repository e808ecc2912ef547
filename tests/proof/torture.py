"""Kill the real thing at every boundary and at random moments, and look whether the promise held.

    make torture                          # every boundary with every blow, and 20 random lives
    make torture SEEDS=200                # more random ones
    make torture SEED=17 AT=random        # one again, as a failure prints it
    make torture AT=trashed               # all that happens at one boundary

Each life runs real Nextflow, or a Python workflow, over SQLite or PostgreSQL; its last task fails until it is
mended. Whoever reaches a boundary (launch, supervisor, sweep, server) dies there by SIGKILL; or sleeps past
its lease by SIGSTOP, while others go on, and is woken; or everything is lost there with a "reboot"; or
Nextflow dies meanwhile. Random lives are struck at random moments. After each blow: the database is whole,
an execution is live exactly while its work dir is ACTIVE, the outputs of finished tasks are there with their
checksums. In the end it has succeeded, or expired; its results are those of a plain `nextflow run`, no task
ran twice at once or again without need, and everything is deleted. Prints seeds, counts and time.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

from nfresume.domain.errors import StoreUnavailable
from tests import databases
from tests.conftest import until
from tests.proof.life import LEASE, Broken, Life, place, plain

#: Where a launch or its supervisor can be struck, and where a sweep can, or a server that sweeps.
LAUNCH_POINTS = ("launched", "started", "claimed", "spawning", "spawned", "followed", "head-ended", "settled",
                 "results-half-materialised", "results-materialised", "trashed", "half-removed", "emptied")
SWEEP_POINTS = ("expired", "results-half-materialised", "results-materialised", "trashed", "half-removed", "emptied")
#: What happens to whoever is there.
BLOWS = ("dies", "sleeps", "reboot")
#: What happens at random moments.
RANDOM_BLOWS = ("kill supervisor", "kill head", "kill shim", "kill task", "kill all", "stop supervisor",
                "stop head", "reboot", "kill server", "cancel", "sweep")
#: Exit code of what is refused because of a state.
CONFLICT = 80


@dataclass(frozen=True)
class Fate:
    """What a life has before it: who is struck where and how; a random one has no `point`."""

    seed: int
    actor: str = "random"
    point: str = ""
    blow: str = ""

    @property
    def name(self) -> str:
        return "/".join(part for part in (self.actor, self.point, self.blow) if part)


def fates(seed: int, seeds: int, at: str) -> list[Fate]:
    """All boundaries with all blows, then the random ones; or only those that have to do with `at`."""
    found = [Fate(seed, "launch", point, blow) for point in LAUNCH_POINTS for blow in BLOWS]
    found.append(Fate(seed, "launch", "spawned", "Nextflow dies"))
    found += [Fate(seed, actor, point, blow)
              for actor in ("sweep", "serve") for point in SWEEP_POINTS for blow in BLOWS]
    found += [Fate(seed + n) for n in range(seeds)]
    return [fate for fate in found if not at or at in (fate.name, *fate.name.split("/"))]


class Torture:
    """One life with its fate."""

    def __init__(self, life: Life, fate: Fate, expected: dict[str, bytes]) -> None:
        self.life = life
        self.fate = fate
        self.site = life.site
        self.rng = life.rng
        self.expected = expected

    def live(self) -> None:
        """From the launch to the last byte. Raises Broken."""
        slim = ["--retain", "slim"] if self.rng.random() < 0.3 else []
        words = ["--storage-expiration-hours", "5", *slim, *self.life.prepare()]
        if self.fate.actor == "launch":
            self.at_boundary("launch", *words)
        else:
            self.site.run("launch", "--detach", *words)
        if self.fate.actor == "random":
            for _ in range(self.rng.randint(1, 4)):
                time.sleep(self.rng.uniform(0.1, 2.5))
                self.strike(self.rng.choice(RANDOM_BLOWS))
                self.life.check()
        if self.life.known() is None:  # it died before it was anything
            self.site.run("launch", *words)
        e = self.settled()
        if self.fate.actor in ("sweep", "serve"):
            self.expire_at_boundary(e)
        else:
            self.succeed(e)

    def succeed(self, e: dict[str, Any]) -> None:
        """Mended, it is relaunched until it succeeds."""
        self.life.mend()
        for _ in range(6):
            if e["state"] == "SUCCEEDED":
                return self.life.check_end(e, self.expected)
            if self.site.run("relaunch", self.life.id).code == CONFLICT:  # it never got as far as a cache
                self.site.run("relaunch", self.life.id, "--from-scratch")
            e = self.settled()
        raise Broken(f"never succeeded: {e['attempts'][-1]['error']}")

    def expire_at_boundary(self, e: dict[str, Any]) -> None:
        """It expires, and whoever sweeps is struck."""
        self.life.expire()
        words = ("serve", "--no-web", "--every", "1") if self.fate.actor == "serve" else ("sweep",)
        self.at_boundary(*words)
        e = self.settled()
        if e["work_dir"]["state"] == "RETAINED":  # struck before it was marked, or relaunched meanwhile
            self.life.expire()
            e = self.settled()
        partial = {name: data for name, data in self.expected.items() if name != "all.csv"}
        self.life.check_end(e, partial)

    # -- at a boundary --------------------------------------------------------------------------

    def at_boundary(self, *words: str) -> None:
        """Run a command; it, or its supervisor, is struck where it reaches the boundary."""
        fate = self.fate
        self.life.blows.append(fate.blow)
        how = "" if fate.blow == "dies" else ":STOP"
        command = self.site.start(*words, NFRESUME_CRASH_AT=f"{fate.point}{how}")
        reader = threading.Thread(target=command.communicate)
        reader.start()
        if how and (sleeper := self.sleeper(command)):
            self.while_it_sleeps(sleeper)
        if words[0] == "serve":  # one that was not killed has no end of its own
            with contextlib.suppress(AssertionError):
                until(lambda: command.poll() is not None or self.work_dir() == "DELETED", 15)
            command.terminate()
        end = time.monotonic() + 60
        while reader.is_alive() and time.monotonic() < end:
            for process in self.asleep():  # a follower that took over came to the boundary, too
                wake(process)
            reader.join(0.5)
        if reader.is_alive():
            raise Broken(f"{words[0]} does not end")

    def work_dir(self) -> str:
        """The state of its work dir."""
        e = self.life.known()
        return e["work_dir"]["state"] if e else ""

    def sleeper(self, command: subprocess.Popen[str]) -> psutil.Process | None:
        """Whoever stopped at the boundary; None when nobody came there."""
        found = until(lambda: self.asleep() or command.poll() is not None, 60, "somebody at the boundary")
        return None if found is True else found[0]

    def asleep(self) -> list[psutil.Process]:
        """All that are stopped."""
        found = []
        for process in self.site.marked():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_STOPPED:
                    found.append(process)
        return found

    def while_it_sleeps(self, sleeper: psutil.Process) -> None:
        """Others go on meanwhile, as if it were lost; then it wakes."""
        if self.fate.blow == "reboot":
            self.life.reboot()
        elif self.fate.blow == "Nextflow dies":
            self.life.kill("head")
            wake(sleeper)
        else:  # a server sleeps with all its threads: one of them may have SQLite's lock
            with contextlib.suppress(StoreUnavailable, sqlite3.OperationalError):
                self.go_on_without()
            wake(sleeper)

    def go_on_without(self) -> None:
        """Past its lease and its claims others sweep, and perhaps relaunch."""
        time.sleep(LEASE * 1.2)
        for _ in range(3):
            self.life.let_claims_run_out()
            self.site.run("sweep")
        e = self.life.check()
        if e and e["work_dir"]["state"] == "RETAINED" and self.rng.random() < 0.7:
            self.life.blows.append("relaunched meanwhile")
            words = ("relaunch", "--detach", e["id"], "--storage-expiration-hours", "5")
            if self.site.run(*words).code == CONFLICT:
                self.site.run(*words, "--from-scratch")
            time.sleep(self.rng.uniform(0, 1.5))

    # -- at random moments ----------------------------------------------------------------------

    def strike(self, blow: str) -> None:
        """One of RANDOM_BLOWS, at this very moment."""
        self.life.blows.append(blow)
        word, _, what = blow.partition(" ")
        if blow == "reboot":
            self.life.reboot()
        elif blow == "cancel":
            if e := self.life.known():
                self.site.run("cancel", e["id"])
        elif blow == "sweep":
            self.site.run("sweep")
        elif blow == "kill server":
            server = self.site.start("serve", "--port", "0", "--every", "1")
            time.sleep(self.rng.uniform(1.0, 3.0))
            server.kill()
            server.communicate()
        elif word == "stop":
            found = self.life.processes()[what]
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.suspend()
            time.sleep(LEASE * 1.5)
            self.site.run("sweep")
            for process in found:
                wake(process)
        else:
            self.life.kill("" if what == "all" else what)

    def settled(self) -> dict[str, Any]:
        """Sweep until nothing is live or being removed."""
        for _ in range(120):
            self.life.let_claims_run_out()
            self.site.run("sweep")
            e = self.life.check()
            if e and e["work_dir"]["state"] in ("RETAINED", "DELETED") and not self.site.marked():
                return e
            time.sleep(0.3)
        raise Broken(f"not settled within a minute: {self.life.check()}")


def wake(process: psutil.Process) -> None:
    """SIGCONT, if it is still there."""
    with contextlib.suppress(psutil.Error):
        process.resume()


def one(fate: Fate, expected: dict[str, bytes], server: str) -> str | None:
    """Live one life; what was broken, and how to do it again, or None."""
    rng = random.Random(f"{fate.seed}:{fate.name}")
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        postgresql = rng.random() < 0.5
        url = stack.enter_context(databases.database(server)) if postgresql else ""
        life = Life(stack.enter_context(place(url)), rng, python=rng.random() < 0.5)
        kind = ("Python" if life.python else "Nextflow") + (" on PostgreSQL" if postgresql else "")
        try:
            Torture(life, fate, expected).live()
        except (Exception, AssertionError) as e:  # whatever it is, the life can be lived again
            trouble = "".join(traceback.format_exception_only(e)).strip()
            where = "" if isinstance(e, Broken) else traceback.format_exc()
            return (f"seed {fate.seed} {fate.name}, {kind}, {'; '.join(life.blows)}: {trouble}\n"
                    f"  again: make torture SEED={fate.seed} SEEDS=1 AT={fate.name!r}\n{where}")
    took = time.monotonic() - began
    print(f"ok   seed {fate.seed:<4} {took:5.1f} s  {fate.name}: {kind}; {'; '.join(life.blows)}", flush=True)
    return None


def main() -> int:
    """Run it; exit status 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=20, help="how many random lives")
    parser.add_argument("--at", default="", help="only what has to do with this boundary, actor or blow")
    parser.add_argument("--side-by-side", type=int, default=2)
    asked = parser.parse_args()
    began = time.monotonic()
    expected, lives, troubles = plain(), fates(asked.seed, asked.seeds, asked.at), []
    with databases.server() as server, ThreadPoolExecutor(asked.side_by_side) as pool:
        for trouble in pool.map(lambda fate: one(fate, expected, server), lives):
            if trouble:
                troubles.append(trouble)
                print(f"FAIL {trouble}", flush=True)
    print(f"{len(lives)} lives, {len(troubles)} broken, {time.monotonic() - began:.0f} s")
    return bool(troubles)


if __name__ == "__main__":
    sys.exit(main())
