"""Where the time of a resume of many cached tasks goes: samples of the JVM, and counts of operations.

The work dir is on the latency mount, whose caches are dropped first. Java's flight recorder takes samples of
the threads that run, or wait in a call of the system. A sample is put down to the innermost function of
Nextflow on its stack, and to the innermost of all. The same resume without latency tells what is no waiting.

    python benchmarks/resuming.py --tasks 10000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from launch import PIPELINE, environment, stock_launcher, timed
from machine import machine
from mounts import places

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    tasks = parser.parse_args().tasks
    with tempfile.TemporaryDirectory(prefix="nfresume-bench-") as scratch, \
            places(["latency"], Path(scratch)) as found:
        base, place = Path(scratch), found["latency"]
        (base / "s.jfc").write_text(_SETTINGS)
        read, change = place.read, place.change
        stock, folder = stock_launcher(base), place.top / "plain"
        env = environment(folder, stock)
        words = [str(stock), "run", "main.nf", "-ansi-log", "false", "--n", str(tasks // 2), "--fail", "true"]

        def run(name: str, *more: str, slow: bool = True) -> None:
            place.read, place.change = (read, change) if slow else ("0s", "0s")
            place.fresh()
            folder.mkdir(exist_ok=True)
            (folder / "main.nf").write_text(PIPELINE)
            taken = timed([*words, *more], folder, env, ok=1)
            reads, changes = place.operations()
            print(f"{name}: {taken:.1f} s, {reads:,} reads and {changes:,} changes", flush=True)

        print(machine())
        run("the first run, without latency", slow=False)
        for _ in range(3):
            run("resumed without latency", "-resume", slow=False)
            run("resumed", "-resume")
        env["JAVA_TOOL_OPTIONS"] = (
            f"-XX:StartFlightRecording=filename={base}/r.jfr,settings={base}/s.jfc")
        run("resumed and recorded", "-resume")
        shares(samples(base / "r.jfr", embedded.java(None)))


if __name__ == "__main__":
    main()
