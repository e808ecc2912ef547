"""Where the time of a resume of many cached tasks goes: samples of the JVM, and counts of operations.

The work dir is on the latency mount, whose caches are dropped first. Java's flight recorder takes samples of
the threads that run, or wait in a call of the system. A sample is put down to the innermost function of
Nextflow on its stack, and to the innermost of all. The same resume without latency tells what is no waiting.

    python benchmarks/resuming.py --tasks 10000
    python benchmarks/resuming.py --tasks 100 --nfs    # counts of operations on real NFS, in a guest
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from launch import PIPELINE, environment, stock_launcher, timed
from machine import machine
from mounts import Latency, nfs, places

from nfresume.nextflow import embedded

_EVENT = ('<event name="jdk.{}"><setting name="enabled">true</setting>'
          '<setting name="period">20 ms</setting></event>')
_SETTINGS = (f'<?xml version="1.0"?><configuration version="2.0">{_EVENT.format("ExecutionSample")}'
             f'{_EVENT.format("NativeMethodSample")}</configuration>')
#: A thread that only waits for processes to end is sampled as if it were busy.
_WAITS = "java.lang.ProcessHandleImpl.waitForProcessExit0"


def samples(recording: Path, java: Path) -> list[tuple[str, list[str]]]:
    """Thread and stack of each sample, innermost frame first, as `Class.method`."""
    printed = subprocess.run(
        [str(java.with_name("jfr")), "print", "--json", "--stack-depth", "64",
         "--events", "ExecutionSample,NativeMethodSample", str(recording)], check=True, capture_output=True)
    found = []
    for event in json.loads(printed.stdout)["recording"]["events"]:
        values: dict[str, Any] = event["values"]
        frames = (values.get("stackTrace") or {}).get("frames", [])
        stack = [f"{f['method']['type']['name'].replace('/', '.')}.{f['method']['name']}" for f in frames]
        found.append((values["sampledThread"]["javaName"] or "", stack))
    return found


def shares(found: list[tuple[str, list[str]]]) -> None:
    """Print which functions the samples are in: of Nextflow, and the innermost ones."""
    busy = [stack for _, stack in found if stack and stack[0] != _WAITS]
    threads = len({thread for thread, stack in found if stack and stack[0] != _WAITS})
    print(f"\n{len(busy)} samples in {threads} threads")
    for title, of in (("of Nextflow", lambda s: next((f for f in s if f.startswith("nextflow.")), "none")),
                      ("innermost", lambda s: s[0])):
        print(f"\n{title}")
        for name, count in Counter(map(of, busy)).most_common(15):
            print(f"{count / len(busy):7.1%}  {name}")


def command(stock: Path, tasks: int) -> list[str]:
    return [str(stock), "run", "main.nf", "-ansi-log", "false", "--n", str(tasks // 2), "--fail", "true"]


def on_latency(tasks: int, base: Path) -> None:
    """Resume with and without latency, count, and take samples."""
    with places(["latency"], base) as found:
        place = found["latency"]
        assert isinstance(place, Latency)
        (base / "s.jfc").write_text(_SETTINGS)
        read, change = place.read, place.change
        stock, folder = stock_launcher(base), place.top / "plain"
        env = environment(folder, stock)

        def run(name: str, *more: str, slow: bool = True) -> None:
            place.read, place.change = (read, change) if slow else ("0s", "0s")
            place.fresh()
            folder.mkdir(exist_ok=True)
            (folder / "main.nf").write_text(PIPELINE)
            taken = timed([*command(stock, tasks), *more], folder, env, ok=1)
            reads, changes = place.operations()
            print(f"{name}: {taken:.1f} s, {reads:,} reads and {changes:,} changes", flush=True)

        run("the first run, without latency", slow=False)
        for _ in range(3):
            run("resumed without latency", "-resume", slow=False)
            run("resumed", "-resume")
        env["JAVA_TOOL_OPTIONS"] = (
            f"-XX:StartFlightRecording=filename={base}/r.jfr,settings={base}/s.jfc")
        run("resumed and recorded", "-resume")
        shares(samples(base / "r.jfr", embedded.java(None)))


def counted(mount: Path) -> Counter[str]:
    """How often the client has asked the server of a mount for what, by the kernel."""
    text = Path("/proc/self/mountstats").read_text()
    mine = text.partition(f" mounted on {mount} ")[2].partition("\ndevice ")[0]
    return Counter({name: int(times) for name, times in re.findall(
        r"^\s+([A-Z_]+): (\d+) ", mine.partition("per-op statistics")[2], re.MULTILINE)})


def in_guest(tasks: int, mount: Path, base: Path) -> None:
    """Resume on NFS, with cold caches, and print the counts for each task."""
    stock, folder = stock_launcher(base), mount / "plain"
    folder.mkdir()
    (folder / "main.nf").write_text(PIPELINE)
    env = environment(folder, stock)
    print(f"the first run: {timed(command(stock, tasks), folder, env, ok=1):.1f} s")
    Path("/proc/sys/vm/drop_caches").write_text("3")
    before = counted(mount)
    print(f"resumed: {timed([*command(stock, tasks), '-resume'], folder, env, ok=1):.1f} s")
    asked = counted(mount) - before
    print(f"{asked.total():,} operations, {asked.total() / tasks:.1f} for each of {tasks} tasks")
    for name, times in asked.most_common(12):
        print(f"{times / tasks:8.2f}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--nfs", action="store_true", help="count the operations on real NFS, in a guest")
    parser.add_argument("--in-guest", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.in_guest:
        print(machine())
    with tempfile.TemporaryDirectory(prefix="nfresume-bench-") as scratch:
        if given.in_guest:
            in_guest(given.tasks, given.in_guest, Path(scratch))
        elif given.nfs:
            with nfs() as (_, run):
                print(run(["env", "TMPDIR=/dev/shm", sys.executable, __file__, "--tasks", str(given.tasks),
                           "--in-guest", "/mnt/efs"]), end="")
        else:
            on_latency(given.tasks, Path(scratch))


if __name__ == "__main__":
    main()
