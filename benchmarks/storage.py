"""Removing and measuring work dirs: compares nfresume with the tools that a user would use instead.

    python benchmarks/storage.py                                      # 1,000 tasks, local and latency mount
    python benchmarks/storage.py --tasks 1000 10000 --repeats 3 --where local memory latency nfs
    python benchmarks/storage.py --tasks 100000 --where latency --tools nfresume xargs
    python benchmarks/storage.py --plot docs/removal.svg              # files per second over workers

`latency` is a FUSE mount on which reads take 0.6 ms and changes 1 ms, 64 at a time (benchmarks/latfs).
`nfs` is real NFSv4.1 with 1 ms of delay (tests/shared/nfs.sh). Each tool gets its own tree, built from the
same seed behind the mount. The order of tools is shuffled for every repetition. Scans have cold caches (a
fresh mount). It asserts that the tree is gone, and that tools agree on its bytes. nfresume is timed inside
its process, because it runs inside a supervisor or a sweep; the other tools are timed as commands.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from machine import machine, spread, versions
from mounts import Place, nfs, places
from tree import build

HERE = Path(__file__).resolve().parent
TREE = "root/team/run-a1/work"

REMOVERS = {
    "rm": 'rm -rf "$1"',
    "find": 'find "$1" -delete',
    "rmtree": f'{shlex.quote(sys.executable)} -c "import shutil, sys; shutil.rmtree(sys.argv[1])" "$1"',
    "rsync": 'rsync -a --delete "$2"/ "$1"/ && rmdir "$1"',
    "xargs": 'cd "$1" && printf "%s\\0" */* | xargs -0 -n 4 -P 64 rm -rf && cd .. && rm -rf "$1"',
    "rmz": 'rmz -f "$1"',
}
SCANNERS = {
    "du": 'du -s -B1 "$1"',
    "diskus": 'diskus -j 64 "$1"',
    "gdu": 'GOMAXPROCS=64 gdu -n -p -s "$1"',
}
NEEDS = {"rsync": "rsync", "rmz": "rmz", "diskus": "diskus", "gdu": "gdu"}


# -- one trial, inside the process that is measured -----------------------------------------------


def remove_with_nfresume(top: Path, workers: int | None) -> None:
    """Remove the tree in the root at `top` and print seconds, CPU seconds and peak memory in bytes."""
    import resource

    from nfresume.storage import Root
    from nfresume.storage.removal import empty_trash
    from nfresume.storage.trash import to_trash
    from nfresume.storage.workers import Pace

    root = Root.open(top / "root")
    wall, cpu = time.perf_counter(), time.process_time()
    to_trash(root, "team", "run-a1")
    removed = empty_trash(root, "run-a1", pace=Pace(workers))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert not removed.blocked, removed.blocked[:3]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": wall, "cpu": cpu, "memory": peak}))


def measure_with_nfresume(work: Path, workers: int | None) -> None:
    """Measure the tree and print seconds, CPU seconds, and the bytes that were found on disk."""
    from nfresume.storage.scan import measure
    from nfresume.storage.workers import Pace

    wall, cpu = time.perf_counter(), time.process_time()
    found = measure(work, pace=Pace(workers))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"seconds": wall, "cpu": cpu, "bytes": found.total.disk_bytes}))


@dataclass
class Trial:
    """One run of one tool: wall seconds, and where known CPU seconds and the tree's bytes on disk."""

    seconds: float
    cpu: float | None = None
    bytes: int | None = None
    memory: int = 0  # bytes, the peak
    server: float = 0.0  # CPU seconds of the server of the file system


def trial(tool: str, top: Path, workers: int | None = None, inside: list[str] | None = None) -> Trial:
    """Run one tool on the tree at `top`; its name says whether it removes or scans."""
    work = top / TREE
    if tool in ("nfresume", "measure"):
        words = [sys.executable, str(HERE / "storage.py"), f"--{tool}", str(top)]
        words += ["--workers", str(workers)] if workers else []
        done = subprocess.run([*(inside or []), *words], check=True, capture_output=True, text=True)
        numbers = json.loads(done.stdout.strip().splitlines()[-1])
        return Trial(numbers["seconds"], numbers["cpu"], numbers.get("bytes"), numbers.get("memory", 0))
    script = REMOVERS.get(tool) or SCANNERS[tool]
    with tempfile.TemporaryDirectory() as empty:
        start = time.perf_counter()
        done = subprocess.run(["bash", "-ec", script, "-", str(work), empty], check=True, capture_output=True,
                              text=True)
        seconds = time.perf_counter() - start
    found = int(done.stdout.split()[0]) if tool == "du" else None
    return Trial(seconds, bytes=found)


def plant(place: Place, tasks: int, seed: int) -> int:
    """Build the tree in a marked root behind the mount; returns its number of entries."""
    from nfresume.storage import Root

    root = Root.mark(place.backing / "root")
    shutil.rmtree(root.execution("team", "run-a1").path, ignore_errors=True)
    entries: int = build(str(place.backing / TREE), tasks, seed)
    return entries


# -- tables --------------------------------------------------------------------------------------


def compare(place: Place, name: str, tools: list[str], tasks: int, repeats: int, base: str) -> None:
    """Run the tools in shuffled order, `repeats` times, and print one line for each."""
    cold = base == "du"
    times: dict[str, list[Trial]] = {tool: [] for tool in tools}
    entries = 0
    for repeat in range(repeats):
        if cold:
            entries = plant(place, tasks, repeat)
        for tool in random.sample(tools, len(tools)):
            if not cold:
                entries = plant(place, tasks, repeat)
            place.fresh()
            before = place.cpu()
            times[tool].append(trial(tool, place.top))
            times[tool][-1].server = place.cpu() - before
            assert cold or not (place.backing / TREE).exists(), f"{tool} left something"
        found = {t[-1].bytes for t in times.values() if t[-1].bytes is not None}
        assert len(found) <= 1, f"tools disagree: {found}"
    reference = [t.seconds for t in times.get(base, [])]
    print(f"\n{'measure' if cold else 'remove'} {tasks:,} tasks ({entries:,} entries) on {name}; "
          f"{repeats} repeats, load {os.getloadavg()[0]:.1f}")
    for tool, trials in sorted(times.items(), key=lambda item: min(t.seconds for t in item[1])):
        seconds = [t.seconds for t in trials]
        line = f"  {tool:<9} {spread(seconds)} s, {entries / statistics.median(seconds):9,.0f} entries/s"
        line += against(reference, seconds, base)
        cpu = [t.cpu for t in trials if t.cpu is not None]
        memory = max(t.memory for t in trials)
        line += f", CPU {min(cpu):.2f} s" if cpu else ""
        line += f", CPU of the mount {server:.2f} s" if (server := min(t.server for t in trials)) else ""
        print(line + (f", {memory / 1e6:.0f} MB" if memory else ""), flush=True)


def against(reference: list[float], seconds: list[float], base: str) -> str:
    """How many times as fast as `base`: by minima, and by medians, which other work disturbs more."""
    if not reference:
        return ""
    by_median = statistics.median(reference) / statistics.median(seconds)
    return f", {min(reference) / min(seconds):.2f} x {base} ({by_median:.2f} by medians)"


def one_huge_folder(place: Place, name: str) -> None:
    """Remove one directory with 5,000 files: Linux serialises this, so no tool is much faster than rm."""
    times = {}
    for tool in ("rm", "nfresume"):
        plant(place, 0, 1)
        for number in range(5000):
            (place.backing / TREE / str(number)).touch()
        place.fresh()
        times[tool] = trial(tool, place.top).seconds
    print(f"\nremove one folder of 5,000 files on {name}: rm {times['rm']:.2f} s, nfresume "
          f"{times['nfresume']:.2f} s, {times['rm'] / times['nfresume']:.2f} x", flush=True)


def plot(file: Path, folder: Path, sizes: list[int]) -> None:
    """Draw entries removed per second over the number of workers, one line per size of tree."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "nfresume"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    workers = [1, 2, 4, 8, 16, 32, 64, 128]
    with places(["latency"], folder) as found:
        for tasks in sizes:
            rates = []
            for count in workers:
                entries = plant(found["latency"], tasks, 1)
                found["latency"].fresh()
                rates.append(entries / trial("nfresume", found["latency"].top, count).seconds)
                print(f"{tasks:,} tasks, {count} workers: {rates[-1]:,.0f} entries/s", flush=True)
            axes.plot(workers, rates, marker="o", label=f"nfresume, {tasks:,} tasks")
        entries = plant(found["latency"], sizes[0], 1)
        found["latency"].fresh()
        rate = entries / trial("rm", found["latency"].top).seconds
    axes.axhline(rate, color="grey", linestyle="--", label=f"rm -rf: {rate:,.0f} per second")
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="files and folders removed per second",
             title="Removing a work dir where every change takes 1 ms")
    axes.set_xticks(workers, [str(count) for count in workers])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def on_nfs(tools: list[str], scanners: list[str], tasks: int, repeats: int) -> None:
    """Compare the tools on real NFS: trees are built on the server, tools run in a guest with cold caches."""
    from nfresume.storage import Root

    with nfs() as (export, run):
        order = [(tool, n) for n in range(repeats) for tool in random.sample(tools, len(tools))]
        scanned = [(tools[0] if tools else "scanned", n) for n in range(repeats)] if scanners else []
        entries = 0
        for tool, n in {*order, *scanned}:
            Root.mark(export / f"{tool}-{n}/root")
            entries = build(str(export / f"{tool}-{n}" / TREE), tasks, n)
        jobs = [(scan, f"/mnt/efs/{tool}-{n}") for tool, n in scanned for scan in scanners]
        jobs += [(tool, f"/mnt/efs/{tool}-{n}") for tool, n in order]
        words = [sys.executable, str(HERE / "storage.py"), "--jobs", json.dumps(jobs)]
        report(run(words), tasks, entries)
        left = [tool for tool, n in order if (export / f"{tool}-{n}" / TREE).exists()]
        assert not left, f"left something: {left}"


def report(output: str, tasks: int, entries: int) -> None:
    """Print what the guest measured."""
    times: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    for line in output.splitlines():
        if line.startswith("["):
            tool, seconds, share = json.loads(line)
            times.setdefault(tool, []).append(seconds)
            busy.setdefault(tool, []).append(share)
    for base, title in (("rm", "remove"), ("du", "measure")):
        print(f"\n{title} {tasks:,} tasks ({entries:,} entries) on nfs, 1 ms round trip")
        names = [t for t in times if (t in SCANNERS or t == "measure") == (base == "du")]
        for tool in sorted(names, key=lambda t: min(times[t])):
            print(f"  {tool:<9} {spread(times[tool])} s, {entries / min(times[tool]):9,.0f} entries/s"
                  f"{against(times.get(base, []), times[tool], base)}, the guest's processor "
                  f"{statistics.median(busy[tool]):.0%} busy", flush=True)


def run_jobs(jobs: list[tuple[str, str]]) -> None:
    """Run in the guest: one tool after the other, each with cold caches."""
    for tool, top in jobs:
        Path("/proc/sys/vm/drop_caches").write_text("3")
        before = psutil.cpu_times()
        seconds = trial(tool, Path(top)).seconds
        spent = [now - then for now, then in zip(psutil.cpu_times(), before, strict=True)]
        print(json.dumps([tool, seconds, 1 - (spent[3] + spent[4]) / (sum(spent) or 1)]), flush=True)


def available(tools: list[str]) -> list[str]:
    """The tools that are installed; prints the names of the others."""
    absent = [tool for tool in tools if tool in NEEDS and shutil.which(NEEDS[tool]) is None]
    if absent:
        print(f"not installed, left out: {', '.join(absent)}")
    return [tool for tool in tools if tool not in absent]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--where", nargs="+", default=["local", "memory", "latency", "latency-noplus"])
    parser.add_argument("--tools", nargs="+", default=["nfresume", *REMOVERS, "measure", *SCANNERS])
    parser.add_argument("--folder", type=Path, help="where to build trees (default: a temporary folder)")
    parser.add_argument("--plot", type=Path, help="only the plot")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--nfresume", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--jobs", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    inside: dict[str, Callable[[], None]] = {
        "nfresume": lambda: remove_with_nfresume(args.nfresume, args.workers),
        "measure": lambda: measure_with_nfresume(args.measure / TREE, args.workers),
        "jobs": lambda: run_jobs(args.jobs),
    }
    for name, action in inside.items():
        if getattr(args, name):
            action()
            return
    with tempfile.TemporaryDirectory(prefix="nfresume-bench-", dir=args.folder) as scratch:
        if args.plot:
            plot(args.plot, Path(scratch), args.tasks if len(args.tasks) > 1 else [300, 1000, 3000])
        else:
            tables(args, Path(scratch))


def tables(args: argparse.Namespace, scratch: Path) -> None:
    """Make the comparisons that the arguments ask for."""
    tools = available(args.tools)
    print(f"{machine()}\n{versions(tools)}")
    removers = [t for t in tools if t == "nfresume" or t in REMOVERS]
    scanners = [t for t in tools if t == "measure" or t in SCANNERS]
    with places([name for name in args.where if name != "nfs"], scratch) as found:
        for tasks in args.tasks:
            for name, place in found.items():
                if removers and "noplus" not in name:
                    compare(place, name, removers, tasks, args.repeats, "rm")
                if scanners:
                    compare(place, name, scanners, tasks, args.repeats, "du")
        if "latency" in found and removers:
            one_huge_folder(found["latency"], "latency")
    if "nfs" in args.where:
        for tasks in args.tasks:
            on_nfs(removers, scanners, tasks, args.repeats)


if __name__ == "__main__":
    main()
