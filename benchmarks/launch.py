"""How much slower or faster `nfresume launch` is than `nextflow run`: runs in turn, ratios of their times.

`plain` is the stock launcher: the same jars and the flags of Nextflow's own script. `embedded` is
`nfresume launch` with the embedded engine, `own` is `nfresume launch` with the stock launcher. Also measured:
`nfresume --help`, the supervisor's memory, and with --tasks N the resume of N cached tasks.

    python benchmarks/launch.py --pairs 9
    python benchmarks/launch.py --pairs 3 --tasks 2000
    python benchmarks/launch.py --pairs 0 --tasks 600 --latency            # the resume on a slow mount
    python benchmarks/launch.py --pairs 0 --tasks 100 --nfs                # on real NFS, in a guest
    python benchmarks/launch.py --pairs 0 --tasks 300 --resume-in FOLDER   # or where you like
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from machine import machine, spread
from mounts import nfs, places

from nfresume.nextflow import embedded

BIN = Path(sys.executable).parent
PIPELINE = """
process SAY { input: val x
  output: path 'a.txt'
  script: "echo $x > a.txt" }
process COPY { input: path a
  output: path 'b.txt'
  script: "cat $a > b.txt" }
process JOIN { input: path 'in*.txt'
  output: path 'c.txt'
  script: "cat in*.txt > c.txt; ${params.fail ? 'exit 1' : ''}" }
params.n = 1
params.fail = false
workflow { JOIN(COPY(SAY(Channel.of(1..params.n))).collect()) }
"""


def stock_launcher(folder: Path) -> Path:
    """Write a `nextflow` script that starts the embedded jars as Nextflow's own launcher would."""
    java = embedded.java(None)
    words = [str(java), *embedded._FLAGS, "-cp", embedded._class_path(embedded.install(java)), embedded._MAIN]
    script = folder / "nextflow"
    script.write_text(f"#!/bin/sh\nexport NXF_CLI=\"nextflow $*\"\nexec {shlex.join(words)} \"$@\"\n")
    script.chmod(0o755)
    return script


def timed(words: list[str], folder: Path, env: dict[str, str], ok: int = 0) -> float:
    """Wall seconds of one command; its exit status must be `ok`."""
    start = time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    took = time.perf_counter() - start
    if done.returncode != ok:
        output = done.stdout.decode() + done.stderr.decode()
        raise SystemExit(f"{words} ended with {done.returncode}:\n{output}")
    return took


def environment(folder: Path, nextflow: Path | None = None) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("NFRESUME_")}
    env["NFRESUME_ROOT"] = str(folder.with_name(folder.name + "-root"))
    env["NFRESUME_DATABASE_URL"] = f"sqlite:///{folder.with_name(folder.name + '.db')}"
    env["PATH"] = ":".join(p for p in env["PATH"].split(":") if not (Path(p) / "nextflow").exists())
    if nextflow:
        env["NFRESUME_NEXTFLOW"] = str(nextflow)
    return env


def variants(base: Path) -> dict[str, Callable[[], float]]:
    stock = stock_launcher(base)
    folders = {}
    for name in ("plain", "embedded", "own"):
        folders[name] = base / name
        folders[name].mkdir()
        (folders[name] / "main.nf").write_text(PIPELINE)
    launch = [str(BIN / "nfresume"), "launch", "main.nf"]

    def plain() -> float:
        took = timed([str(stock), "run", "main.nf", "-ansi-log", "false"], folders["plain"],
                     environment(folders["plain"]))
        shutil.rmtree(folders["plain"] / "work")
        return took

    return {
        "plain": plain,
        "embedded": lambda: timed(launch, folders["embedded"], environment(folders["embedded"])),
        "own": lambda: timed(launch, folders["own"], environment(folders["own"], stock)),
    }


def compare(pairs: int, base: Path) -> None:
    runs = variants(base)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():  # fills the page cache, creates databases, stores the engine's version
        run()
    for _ in range(pairs):
        for name, run in runs.items():
            times[name].append(run())
    for name, taken in times.items():
        ratios = [t / p for t, p in zip(taken, times["plain"], strict=True)]
        print(f"{name:<9} {spread(taken)} s; ratio to plain {spread(ratios)}")


def help_time(pairs: int) -> None:
    words = [str(BIN / "nfresume"), "--help"]
    taken = [timed(words, Path.cwd(), dict(os.environ)) for _ in range(max(5, pairs))]
    print(f"nfresume --help: {spread(taken)} s")


def supervisor_memory(base: Path) -> None:
    folder = base / "memory"
    folder.mkdir()
    (folder / "main.nf").write_text("process S { script: 'sleep 4' }\nworkflow { S() }\n")
    child = subprocess.Popen([str(BIN / "nfresume"), "launch", "main.nf"], cwd=folder,
                             env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while child.poll() is None:
        for process in psutil.process_iter():
            try:
                if "nfresume.runs.supervisor" in process.cmdline():
                    peak = max(peak, process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.1)
    print(f"supervisor: peak {peak / 1e6:.1f} MB resident")


def resume(pairs: int, tasks: int, base: Path, place: Path) -> None:
    """Compare plain Nextflow with nfresume on the same launcher: a resume of `tasks` cached tasks.

    Launch dirs, work dirs and caches are at `place`, the database is not. Each has a launch dir of its own:
    in one with a plain work dir nfresume would look for the pipeline's own links, for up to 5 s.
    """
    stock = stock_launcher(base)
    folder, apart = place / "resumed", place / "resumed-plain"
    for each in (folder, apart):
        each.mkdir()
        (each / "main.nf").write_text(PIPELINE)
    env = environment(folder, stock)
    env["NFRESUME_DATABASE_URL"] = f"sqlite:///{base / 'resume.db'}"
    plain = [str(stock), "run", "main.nf", "-ansi-log", "false", "--n", str(tasks // 2), "--fail", "true"]
    timed(plain, apart, env, ok=1)
    launch = [str(BIN / "nfresume"), "launch", "--storage-expiration-hours", "1", "main.nf", "--n",
              str(tasks // 2), "--fail", "true"]
    timed(launch, folder, env, ok=1)
    ids = subprocess.run([str(BIN / "nfresume"), "list", "--json"], env=env, capture_output=True, check=True)
    execution = ids.stdout.decode().split('"id": "')[1].split('"')[0]
    ratios = []
    for pair in range(pairs + 1):  # the first pair warms the caches
        a = timed([*plain, "-resume"], apart, env, ok=1)
        b = timed([str(BIN / "nfresume"), "relaunch", execution], folder, env, ok=1)
        if not pair:
            continue
        ratios.append(b / a)
        print(f"resume of {tasks} cached tasks: plain {a:.2f} s, nfresume {b:.2f} s, ratio {b / a:.3f}")
    print(f"resume ratio: {spread(ratios)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--tasks", type=int, default=0, help="also the resume of this many cached tasks")
    parser.add_argument("--latency", action="store_true", help="the resume on a mount with latency")
    parser.add_argument("--nfs", action="store_true", help="the resume on real NFS, in a guest")
    parser.add_argument("--resume-in", type=Path, help="the resume in this folder")
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="nfresume-bench-") as scratch:
        base = Path(scratch)
        if args.pairs:
            compare(args.pairs, base)
            help_time(args.pairs)
            supervisor_memory(base)
        if args.tasks and args.latency:
            with places(["latency"], base) as found:
                resume(3, args.tasks, base, found["latency"].top)
        elif args.tasks and args.nfs:
            with nfs() as (_, run):
                print(run(["env", "TMPDIR=/dev/shm", sys.executable, __file__, "--pairs", "0", "--tasks",
                           str(args.tasks), "--resume-in", "/mnt/efs"]), end="")
        elif args.tasks:
            resume(3, args.tasks, base, args.resume_in or base)


if __name__ == "__main__":
    main()
