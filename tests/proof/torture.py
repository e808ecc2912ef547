"""Inject faults at every boundary and at random moments, and check that nothing is lost.

    make torture                          # every boundary with every fault, and 20 random trials
    make torture SEEDS=200                # more random trials
    make torture SEED=17 AT=random        # one trial again, as a failure prints it
    make torture AT=trashed               # all trials at one boundary

Each trial runs real Nextflow or a Python workflow, on SQLite or PostgreSQL. Its last task fails until it is
fixed. The process that reaches a boundary (launch, supervisor, sweep, server) dies there by SIGKILL; or it
sleeps past its lease by SIGSTOP while others continue, and then wakes; or a "reboot" ends everything; or
Nextflow dies meanwhile. Random trials get faults at random moments. After each fault the database is intact,
an execution is live exactly while its work dir is ACTIVE, and the outputs of finished tasks have their
checksums. At the end the execution has succeeded or expired, its results are those of a plain `nextflow run`,
no task ran twice at once or again without need, and everything is deleted. Prints seeds, counts and time.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from nfresume.domain.errors import StoreUnavailable
from tests import databases
from tests.conftest import until
from tests.proof.trial import LEASE, Broken, Trial, place, plain

#: Boundaries of a launch with its supervisor, and of a sweep, alone or in a server.
LAUNCH_POINTS = ("launched", "started", "claimed", "spawning", "spawned", "followed", "head-ended", "settled",
                 "results-half-materialised", "results-materialised", "trashed", "half-removed", "emptied")
SWEEP_POINTS = ("deleting", "results-half-materialised", "results-materialised", "secured", "trashed",
                "half-removed", "emptied")
#: What can happen to the process at a boundary.
FAULTS = ("dies", "sleeps", "reboot")
#: What can happen at random moments.
RANDOM_FAULTS = ("kill supervisor", "kill head", "kill shim", "kill task", "kill all", "stop supervisor",
                 "stop head", "reboot", "kill server", "cancel", "sweep", "two sweeps", "two hosts",
                 "another run", "results away")
#: Another file system than the root's: results there are copied, and only before a deletion.
ELSEWHERE = "/dev/shm"
#: Exit code of a Conflict.
CONFLICT = 80


@dataclass(frozen=True)
class Scenario:
    """One planned trial: which process gets which fault at which boundary; a random trial has no `point`."""

    seed: int
    actor: str = "random"
    point: str = ""
    fault: str = ""

    @property
    def name(self) -> str:
        return "/".join(part for part in (self.actor, self.point, self.fault) if part)


def scenarios(seed: int, seeds: int, at: str) -> list[Scenario]:
    """All boundaries with all faults, then the random ones; only those that match `at`, if it is given."""
    found = [Scenario(seed, "launch", point, fault) for point in LAUNCH_POINTS for fault in FAULTS]
    found.append(Scenario(seed, "launch", "spawned", "Nextflow dies"))
    found += [Scenario(seed, actor, point, fault)
              for actor in ("sweep", "serve") for point in SWEEP_POINTS for fault in FAULTS]
    found += [Scenario(seed + n) for n in range(seeds)]
    return [scenario for scenario in found if not at or at in (scenario.name, *scenario.name.split("/"))]


class Torture:
    """Runs one trial by its scenario."""

    def __init__(self, trial: Trial, scenario: Scenario, expected: dict[str, bytes]) -> None:
        self.trial = trial
        self.scenario = scenario
        self.site = trial.site
        self.rng = trial.rng
        self.expected = expected
        self.beside: list[subprocess.Popen[str]] = []

    def run(self) -> None:
        """Run from the launch to the deletion of the last byte. Raises Broken."""
        with contextlib.ExitStack() as stack:
            sweeps = self.scenario.actor in ("sweep", "serve")
            only_copies = sweeps and self.scenario.point == "results-half-materialised"
            if only_copies or self.rng.random() < 0.3:
                self.trial.faults.append("results elsewhere")
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-", dir=ELSEWHERE))
                self.trial.results = Path(folder) / "results"
            self.live()
            for other in self.beside:
                other.communicate(timeout=60)

    def live(self) -> None:
        """The life of the execution."""
        slim = ["--retain", "slim"] if self.rng.random() < 0.3 else []
        words = ["--storage-expiration-hours", "5", *slim, *self.trial.prepare()]
        if self.scenario.actor == "launch":
            self.at_boundary("launch", *words)
        else:
            self.site.run("launch", "--detach", *words)
        if self.scenario.actor == "random":
            for _ in range(self.rng.randint(1, 4)):
                time.sleep(self.rng.uniform(0.1, 2.5))
                self.inject(self.rng.choice(RANDOM_FAULTS))
                self.trial.check()
        if self.trial.known() is None:  # the launch died before it stored an execution
            self.site.run("launch", *words)
        e = self.settled()
        if self.scenario.actor in ("sweep", "serve"):
            self.expire_at_boundary(e)
        else:
            self.succeed(e)

    def succeed(self, e: dict[str, Any]) -> None:
        """Fix the pipeline, then relaunch until the execution succeeds."""
        self.trial.fix()
        for _ in range(6):
            if e["state"] == "SUCCEEDED":
                return self.trial.check_end(e, self.expected)
            if self.site.run("relaunch", self.trial.id).code == CONFLICT:  # it died before it had a cache
                self.site.run("relaunch", self.trial.id, "--from-scratch")
            e = self.settled()
        raise Broken(f"never succeeded: {e['attempts'][-1]['error']}")

    def expire_at_boundary(self, e: dict[str, Any]) -> None:
        """Let the work dir expire, with the fault in the process that sweeps."""
        if self.rng.random() < 0.3:  # the user moves the results of a run that is kept
            self.trial.faults.append("results moved")
            moved = self.trial.results.with_name("archive")
            self.trial.results.rename(moved)
            self.trial.results = moved
        self.trial.expire()
        words = ("serve", "--no-web", "--every", "1") if self.scenario.actor == "serve" else ("sweep",)
        self.at_boundary(*words)
        e = self.settled()
        if e["work_dir"]["state"] == "RETAINED":  # it died before DELETING, or was relaunched
            self.trial.expire()
            e = self.settled()
        partial = {name: data for name, data in self.expected.items() if name != "all.csv"}
        self.trial.check_end(e, partial)

    # -- at a boundary --------------------------------------------------------------------------

    def at_boundary(self, *words: str) -> None:
        """Run a command, with the fault where it, or its supervisor, reaches the boundary."""
        scenario = self.scenario
        self.trial.faults.append(scenario.fault)
        how = "" if scenario.fault == "dies" else ":STOP"
        command = self.site.start(*words, NFRESUME_CRASH_AT=f"{scenario.point}{how}")
        reader = threading.Thread(target=command.communicate)
        reader.start()
        if how and (sleeper := self.sleeper(command)):
            self.while_it_sleeps(sleeper)
        if words[0] == "serve":  # a server that was not killed does not end by itself
            with contextlib.suppress(AssertionError):
                until(lambda: command.poll() is not None or self.work_dir() == "DELETED", 15)
            command.terminate()
        end = time.monotonic() + 60
        while reader.is_alive() and time.monotonic() < end:
            for process in self.asleep():  # a process that took over reached the boundary, too
                wake(process)
            reader.join(0.5)
        if reader.is_alive():
            raise Broken(f"{words[0]} does not end")

    def work_dir(self) -> str:
        """The state of the execution's work dir; empty while there is none."""
        e = self.trial.known()
        return e["work_dir"]["state"] if e else ""

    def sleeper(self, command: subprocess.Popen[str]) -> psutil.Process | None:
        """The process that stopped at the boundary; None when none reached it."""
        found = until(lambda: self.asleep() or command.poll() is not None, 60, "a process at the boundary")
        return None if found is True else found[0]

    def asleep(self) -> list[psutil.Process]:
        """The site's stopped processes."""
        found = []
        for process in self.site.processes():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_STOPPED:
                    found.append(process)
        return found

    def while_it_sleeps(self, sleeper: psutil.Process) -> None:
        """Let others continue as if the sleeper were lost; then wake it."""
        if self.scenario.fault == "reboot":
            self.trial.reboot()
        elif self.scenario.fault == "Nextflow dies":
            self.trial.kill("head")
            wake(sleeper)
        else:  # one of the threads of a stopped server may hold SQLite's lock
            with contextlib.suppress(StoreUnavailable, sqlite3.OperationalError):
                self.go_on_without()
            wake(sleeper)

    def go_on_without(self) -> None:
        """After lease and claims have run out, sweep and perhaps relaunch."""
        time.sleep(LEASE * 1.2)
        for _ in range(3):
            self.trial.let_claims_run_out()
            self.site.run("sweep")
        e = self.trial.check()
        if e and e["work_dir"]["state"] == "RETAINED" and self.rng.random() < 0.7:
            self.trial.faults.append("relaunched meanwhile")
            words = ("relaunch", "--detach", e["id"], "--storage-expiration-hours", "5")
            if self.site.run(*words).code == CONFLICT:
                self.site.run(*words, "--from-scratch")
            time.sleep(self.rng.uniform(0, 1.5))

    # -- at random moments ----------------------------------------------------------------------

    def inject(self, fault: str) -> None:
        """Inject one of RANDOM_FAULTS now."""
        self.trial.faults.append(fault)
        word, _, what = fault.partition(" ")
        if fault == "reboot":
            self.trial.reboot()
        elif fault == "cancel":
            if e := self.trial.known():
                self.site.run("cancel", e["id"])
        elif fault == "sweep":
            self.site.run("sweep")
        elif fault == "two sweeps":
            for sweep in [self.site.start("sweep"), self.site.start("sweep")]:
                sweep.communicate(timeout=60)
        elif fault == "two hosts":
            self.two_hosts()
        elif fault == "another run":
            self.beside.append(self.trial.beside(len(self.beside)))
        elif fault == "results away":
            self.without_results()
        elif fault == "kill server":
            server = self.site.start("serve", "--port", "0", "--every", "1")
            time.sleep(self.rng.uniform(1.0, 3.0))
            server.kill()
            server.communicate()
        elif word == "stop":
            found = self.trial.processes()[what]
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.suspend()
            time.sleep(LEASE * 1.5)
            self.site.run("sweep")
            for process in found:
                wake(process)
        else:
            self.trial.kill("" if what == "all" else what)

    def two_hosts(self) -> None:
        """Two servers that call themselves different hosts sweep; one of them is killed."""
        servers = [self.site.start("serve", "--no-web", "--every", "0.5", NFRESUME_HOST=name)
                   for name in ("one", "another")]
        time.sleep(self.rng.uniform(1.0, 3.0))
        servers[0].kill()
        servers[1].terminate()
        for server in servers:
            server.communicate(timeout=60)

    def without_results(self) -> None:
        """The results are not there while a sweep would delete; then they are back."""
        e = self.trial.known()
        if e is None or e["work_dir"]["state"] != "RETAINED" or not self.trial.results.exists():
            return
        away = self.trial.results.with_name("away")
        self.trial.results.rename(away)
        self.site.run("sweep")
        away.rename(self.trial.results)

    def settled(self) -> dict[str, Any]:
        """Sweep until the execution is settled and nothing is being removed; returns it. Raises Broken."""
        for _ in range(120):
            for process in self.asleep():  # it took over late, and reached the boundary, too
                wake(process)
            self.trial.let_claims_run_out()
            self.site.run("sweep")
            e = self.trial.check()
            if e and e["work_dir"]["state"] in ("RETAINED", "DELETED") and not self.site.processes():
                return e
            time.sleep(0.3)
        raise Broken(f"not settled within a minute: {self.trial.check()}")


def wake(process: psutil.Process) -> None:
    """Send SIGCONT, if the process still exists."""
    with contextlib.suppress(psutil.Error):
        process.resume()


def run_one(scenario: Scenario, expected: dict[str, bytes], server: str, where: str | None) -> str | None:
    """Run one trial; returns what was broken and how to repeat it, or None."""
    rng = random.Random(f"{scenario.seed}:{scenario.name}")
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        postgresql = rng.random() < 0.5
        url = stack.enter_context(databases.database(server)) if postgresql else ""
        python = rng.random() < 0.5
        if scenario.point == "results-half-materialised":
            python = False  # a Python workflow publishes no links, so it never reaches this boundary
        trial = Trial(stack.enter_context(place(url, where)), rng, python=python)
        kind = ("Python" if trial.python else "Nextflow") + (" on PostgreSQL" if postgresql else "")
        try:
            Torture(trial, scenario, expected).run()
        except (Exception, AssertionError) as e:  # reported with the command that repeats the trial
            trouble = "".join(traceback.format_exception_only(e)).strip()
            where = "" if isinstance(e, Broken) else traceback.format_exc()
            return (f"seed {scenario.seed} {scenario.name}, {kind}, {'; '.join(trial.faults)}: {trouble}\n"
                    f"  again: make torture SEED={scenario.seed} SEEDS=1 AT={scenario.name!r}\n{where}")
    took = time.monotonic() - began
    faults = "; ".join(trial.faults)
    print(f"ok   seed {scenario.seed:<4} {took:5.1f} s  {scenario.name}: {kind}; {faults}", flush=True)
    return None


def main() -> int:
    """Run all trials; the exit status is 1 when one was broken."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=20, help="how many random trials")
    parser.add_argument("--at", default="", help="only trials with this boundary, actor or fault")
    parser.add_argument("--where", help="folder of roots and launch dirs, such as a mount of NFS")
    parser.add_argument("--postgresql", default="", help="URL of a server; without it, one is started")
    parser.add_argument("--side-by-side", type=int, default=2)
    asked = parser.parse_args()
    began = time.monotonic()
    expected, trials, troubles = plain(), scenarios(asked.seed, asked.seeds, asked.at), []
    with databases.server(asked.postgresql) as server, ThreadPoolExecutor(asked.side_by_side) as pool:
        for trouble in pool.map(lambda scenario: run_one(scenario, expected, server, asked.where), trials):
            if trouble:
                troubles.append(trouble)
                print(f"FAIL {trouble}", flush=True)
    print(f"{len(trials)} trials, {len(troubles)} broken, {time.monotonic() - began:.0f} s")
    return bool(troubles)


if __name__ == "__main__":
    sys.exit(main())
