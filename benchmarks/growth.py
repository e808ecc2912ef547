"""How removal, scan, settlement, list page and costs report grow with their work: CPU time and peak memory.

Each size has a process of its own, so that its peak memory is its own. Times are CPU seconds of that process,
so that other work on the machine does not count. `--plot FILE` draws them over the number of tasks and
executions.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import json
import os
import pstats
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from machine import machine
from year import year

from nfresume import settings
from nfresume.billing.report import By
from nfresume.domain.executions import ExecutionState
from nfresume.domain.periods import Period
from nfresume.nextflow import record, record_file
from nfresume.nextflow.record import Status, Task
from nfresume.nextflow.summary import Summary
from nfresume.runs import settlement, sweeper, verdict
from nfresume.service.inspection import Inspection
from nfresume.storage import Root
from nfresume.storage.removal import empty_trash
from nfresume.storage.scan import measure
from nfresume.storage.trash import to_trash
from nfresume.store import Store, transitions

HERE = Path(__file__).resolve().parent
PROCESSES = 40


def timed(work: Callable[[], object], profile: bool) -> float:
    """CPU seconds of this process; with `profile` its functions are printed to standard error."""
    profiler = cProfile.Profile() if profile else None
    begun = time.process_time()
    if profiler is not None:
        profiler.runcall(work)
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(25)
    else:
        work()
    return time.process_time() - begun


# -- settlement ---------------------------------------------------------------------------------


def run(folder: Path, attempt_dir: Path, work: Path, count: int, files: int) -> Summary:
    """What `count` tasks leave that each published so many files as links, and their record."""
    os.makedirs(folder / "results")
    for number in range(PROCESSES):
        os.mkdir(folder / "results" / str(number))
    writer = record_file.Writer(record_file.path_of(attempt_dir, 1))
    total = Summary()

    def write(line: record.Line) -> None:
        total.add(line)
        writer.write(line)

    write(record.Header(work=str(work)))
    for number in range(256):
        os.mkdir(work / f"{number:02x}")
    for number in range(PROCESSES):
        place = folder / "results" / str(number)
        write(record.Folder(str(place), place.stat().st_ino, place.stat().st_dev))
    for number in range(count):
        name = f"{number % 256:02x}/{uuid.UUID(int=number).hex[2:]}"
        os.mkdir(work / name)
        write(Task(number + 1, f"PROCESS_{number % PROCESSES} (sample_{number})", Status.COMPLETED, name[:9],
                   name, number + 1, exit=0, submitted=1, started=2, completed=3))
        for file in range(files):
            source = work / name / f"sample_{number}.{file}.txt"
            target = folder / "results" / str(number % PROCESSES) / source.name
            os.close(os.open(source, os.O_CREAT | os.O_WRONLY, 0o644))
            os.symlink(source, target)
            write(record.Published(str(target), str(source), "SYMLINK", name))
        if number % 1000 == 0:
            writer.flush()
    write(record.Statistics({"succeeded": count}))
    end = record.End(4, count, 0)
    total.add(end)
    writer.close(end)
    return total


def settle(count: int, base: Path, profile: bool, files: int = 10) -> dict[str, float]:
    """Settle a run of `count` tasks that each published so many files as links."""
    (base / "c.toml").touch()
    conf = settings.load({
        "NFRESUME_CONFIG": str(base / "c.toml"), "NFRESUME_DATABASE_URL": f"sqlite:///{base}/s.db",
        "NFRESUME_ACCOUNT": "team", "NFRESUME_ROOT": str(base / "root"), "HOME": str(base)})
    store, root = Store.open(conf.database_url), Root.mark(base / "root")
    folder = root.execution("team", "bench-222222")
    folder.provision(1)
    (base / "launch").mkdir()
    new = transitions.NewExecution(
        folder.execution_id, "team", root.id, str(folder.work), "main.nf", str(base / "launch"),
        str(uuid.uuid4()), 0.0, "bench", False)
    with store.begin() as tx:
        transitions.register_root(tx, root.id, str(root.path), root.inode)
        transitions.launch(tx, new, transitions.NewAttempt("main.nf", (), False, None, None), "bench")
    with store.begin() as tx:
        lease = transitions.claim(tx, folder.execution_id, transitions.Owner("bench", "bench"), 3600)
    total = run(base / "launch", folder.attempt(1), folder.work, count, files)
    evidence = verdict.Evidence(0, total, "OK", here=True)
    done: list[settlement.Concluded] = []
    took = timed(lambda: done.append(settlement.conclude(
        store, conf, lease, evidence, "bench", folder)), profile)
    if done[0].state is not ExecutionState.SUCCEEDED or done[0].claim is None:
        raise SystemExit(f"it was not settled as a success: {done[0]}")
    left = [e.path for e in os.scandir(base / "launch/results/0") if e.is_symlink()]
    if left:
        raise SystemExit(f"{len(left)} results are still links, such as {left[0]}")
    store.close()
    return {"tasks": count, "published": count * files, "CPU s": took}


# -- removal and scan ---------------------------------------------------------------------------


def tree(count: int, base: Path) -> tuple[Root, int]:
    """A work dir with about so many entries; returns how many there are. Another process builds it."""
    root = Root.mark(base / "root")
    work = root.execution("team", "run-a1").work
    done = subprocess.run([sys.executable, str(HERE / "tree.py"), str(work), str(count // 15)], check=True,
                          text=True, stdout=subprocess.PIPE)
    return root, int(done.stdout)


def remove(count: int, base: Path, profile: bool) -> dict[str, float]:
    """Remove a work dir."""
    root, entries = tree(count, base)
    to_trash(root, "team", "run-a1")
    took = timed(lambda: empty_trash(root, "run-a1"), profile)
    if root.execution("team", "run-a1").work.exists() or os.listdir(root.path / ".trash"):
        raise SystemExit("something is left")
    return {"entries": entries, "CPU s": took}


def scan(count: int, base: Path, profile: bool) -> dict[str, float]:
    """Measure a work dir."""
    root, entries = tree(count, base)
    took = timed(lambda: measure(root.execution("team", "run-a1").work), profile)
    return {"entries": entries, "CPU s": took}


# -- a year of executions -----------------------------------------------------------------------


def costs(count: int, base: Path, profile: bool) -> dict[str, float]:
    """The costs report over a year, by process and by pipeline, and the figures of the billing page."""
    conf, store = year(base, count, given_url())
    inspection = Inspection(conf, store)
    found = {"executions": float(count)}
    for name, work in {
        "by process, s": lambda: inspection.costs(By.PROCESS, days(365)),
        "by pipeline, s": lambda: inspection.costs(By.PIPELINE, days(365)),
        "page of 30 days, s": lambda: inspection.costs_figures(days(30)),
    }.items():
        found[name] = timed(work, profile)
    store.close()
    return found


def days(number: int) -> Callable[[datetime], Period]:
    return lambda now: Period(now - timedelta(days=number), now)


#: Views of the list: plain, common filters, and filters that no execution passes.
VIEWS = {"all": "", "user": "user=user3", "nobody": "user=nobody", "text": "search=nonsense",
         "pipeline": "pipeline=nonsense", "tag": "tag=project=nonsense"}


def pages(count: int, base: Path, profile: bool) -> dict[str, float]:
    """Views of the list, and the billing page for the second time, in milliseconds of the server's CPU."""
    from fastapi.testclient import TestClient

    from nfresume.service.identity import Identity
    from nfresume.web import app

    conf, store = year(base, count, given_url())
    client = TestClient(app.create(conf, store), base_url="http://127.0.0.1")
    shown = client.get("/login", params={"token": Identity(store).login_link("bench", "team")})
    client.post("/login", data=dict(re.findall(r'name="(\w+)" value="([^"]*)"', shown.text)))

    def show(path: str) -> None:
        if client.get(f"/a/team/{path}").status_code != 200:
            raise SystemExit(f"{path} is not shown")

    found = {"executions": float(count)}
    show("executions")
    for name, query in VIEWS.items():
        took = []
        for _ in range(3):
            client.app.state.site.cache.clear()  # type: ignore[attr-defined]
            took.append(timed(lambda query=query: show(f"executions?{query}"), profile))  # type: ignore[misc]
        found[f"{name}, ms"] = 1000 * statistics.median(took)
    found["billing, ms"] = 1000 * timed(lambda: show("billing"), profile)
    found["billing again, ms"] = 1000 * timed(lambda: show("billing"), profile)
    sweeper.sweep(store, conf, thorough=False)
    found["idle sweep, ms"] = 100 * timed(lambda: [
        sweeper.sweep(store, conf, thorough=False) for _ in range(10)], profile)
    store.close()
    return found


def given_url() -> str:
    """The database that `--postgresql` made; empty: SQLite."""
    return os.environ.get(URL, "")


#: Larger sizes are measured once.
ONCE = 100_000
URL = "NFRESUME_BENCH_DATABASE_URL"
SUBJECTS: dict[str, Callable[[int, Path, bool], dict[str, float]]] = {
    "removal": remove, "scan": scan, "settlement": settle,
    "tasks": lambda count, base, profile: settle(count, base, profile, files=1), "costs": costs,
    "pages": pages}


def one(subject: str, size: int, where: str | None, profile: bool) -> dict[str, float]:
    """One size in this process."""
    with tempfile.TemporaryDirectory(prefix="nfresume-bench-", dir=where) as base:
        found = SUBJECTS[subject](size, Path(base), profile)
    # Not `ru_maxrss`: a child begins with that of its parent.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return {**found, "peak MB": int(peak[1]) / 1024 if peak else 0.0}


def rows(subject: str, size: int, given: argparse.Namespace) -> dict[str, list[float]]:
    """The figures of one size, each time in a process of its own."""
    words = [sys.executable, __file__, subject, "--one", "--sizes", str(size)]
    words += ["--where", given.where] if given.where else []
    words += ["--profile"] if given.profile else []
    found = []
    for _ in range(given.repeats if size <= ONCE else 1):
        with contextlib.ExitStack() as stack:
            env = {**os.environ}
            if given.postgresql and subject in ("costs", "pages"):
                from tests import databases

                env[URL] = stack.enter_context(databases.server())
            done = subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE, env=env)
        found.append(json.loads(done.stdout))
    return {name: [each[name] for each in found] for name in found[0]}


def cell(values: list[float]) -> str:
    """Minimum, median and maximum, if they differ."""
    shown = [f"{value:,.0f}" if value >= 100 else f"{value:.2g}" for value in (
        min(values), statistics.median(values), max(values))]
    return " / ".join(shown) if len(set(shown)) > 1 else shown[0]


def plot(file: Path, found: dict[str, list[dict[str, float]]]) -> None:
    """Draw CPU time and peak memory over the size, a line for each subject."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "nfresume"
    from matplotlib import pyplot

    figure, (times, memory) = pyplot.subplots(1, 2, figsize=(10, 5))
    for subject, column, name, factor in LINES:
        if subject in found:
            sizes = [next(iter(row.values())) for row in found[subject]]
            times.plot(sizes, [row[column] * factor for row in found[subject]], marker="o", label=name)
    for subject, each in found.items():
        memory.plot([next(iter(row.values())) for row in each], [row["peak MB"] for row in each], marker="o",
                    label=subject)
    times.set(xscale="log", yscale="log", xlabel="entries, tasks, or executions", ylabel="CPU seconds")
    memory.set(xscale="log", yscale="log", ylim=(10, None), xlabel="entries, tasks, or executions",
               ylabel="peak memory, MB")
    for axes in (times, memory):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, ncols=2, loc="upper left", bbox_to_anchor=(-0.1, -0.15))
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


#: What is drawn of each subject: its column, its name, and what makes it seconds.
LINES = (("removal", "CPU s", "removal", 1.0),
         ("scan", "CPU s", "scan", 1.0),
         ("settlement", "CPU s", "settlement, 10 published files per task", 1.0),
         ("tasks", "CPU s", "settlement, 1 published file per task", 1.0),
         ("costs", "by process, s", "costs of a year, by process", 1.0),
         ("pages", "all, ms", "list page", 0.001),
         ("pages", "text, ms", "list page, a text that none has", 0.001),
         ("pages", "billing again, ms", "billing page, again", 0.001))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="*", default=list(SUBJECTS),
                        help=f"{', '.join(SUBJECTS)}; with sizes of its own: settlement:1000,10000")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--where", help="where to build (default: a temporary folder)")
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL server of its own")
    parser.add_argument("--profile", action="store_true", help="print the functions that take the time")
    parser.add_argument("--plot", type=Path, help="draw it into this SVG")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.subjects[0], given.sizes[0], given.where, given.profile)))
        return
    print(f"{machine()}; {given.repeats} repeats, above {ONCE:,} one")
    found: dict[str, list[dict[str, float]]] = {}
    for subject, _, own in (each.partition(":") for each in given.subjects):
        for at, size in enumerate(map(int, own.split(",")) if own else given.sizes):
            row = rows(subject, size, given)
            medians = {name: statistics.median(each) for name, each in row.items()}
            found.setdefault(subject, []).append(medians)
            if not at:
                print(f"\n{subject}\n\n| " + " | ".join(row) + " |")
                print("|" + "---:|" * len(row))
            print("| " + " | ".join(map(cell, row.values())) + " |", flush=True)
        if given.plot:
            plot(given.plot, found)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    main()
