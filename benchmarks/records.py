"""How reading a log and showing its tasks scale with their number: time, peak memory, a page of the console.

It writes a log as Nextflow does, records it, and asks for pages of tasks. Each size has a process of its own,
so that its peak memory is its own. It prints a table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from nfresume.nextflow import record_file
from nfresume.nextflow.log import LogReader
from nfresume.nextflow.summary import Summary
from nfresume.nextflow.tracking import Tracker
from nfresume.runs.recorder import Recorder
from nfresume.runs.records import Records
from nfresume.runs.task_index import Query
from nfresume.settings import KeepTaskLogs
from nfresume.storage.root import ExecutionFolder, Root

BEGUN = datetime(2026, 3, 1, 1, 0)
RUNNING = 16


def lines(count: int, work: Path) -> Iterator[str]:
    """The log of `count` tasks, 16 at a time; every second one publishes a file."""
    def line(milliseconds: int, thread: str, rest: str) -> str:
        at = BEGUN + timedelta(milliseconds=milliseconds)
        return f"{at:%b-%d %H:%M:%S}.{at.microsecond // 1000:03d} [{thread}] {rest}\n"

    def done(number: int) -> Iterator[str]:
        at = number * 3 + 50
        yield line(at, "Task monitor", "DEBUG n.processor.TaskPollingMonitor - Task completed > TaskHandler["
                   f"id: {number + 1}; name: {names(number)}; status: COMPLETED; exit: 0; error: -; workDir: "
                   f"{work}/{task_dir(number)}]")
        if number % 2 == 0:
            source, target = f"{work}/{task_dir(number)}/out.txt", f"/results/{number % 40}/{number}.txt"
            yield line(at + 2, "TaskFinalizer-1", "TRACE nextflow.processor.PublishDir - publishing file: "
                       f"{source} -[SYMLINK]-> {target}")

    yield line(0, "main", f"DEBUG nextflow.Session - Work-dir: {work} [ext2/ext3]")
    for number in range(count):
        yield line(number * 3, "Task submitter",
                   "DEBUG n.executor.local.LocalTaskHandler - Launch cmd line: /bin/bash -ue .command.run")
        yield line(number * 3 + 1, "Task submitter", f"INFO  nextflow.Session - [{task_dir(number)[:9]}] "
                   f"Submitted process > {names(number)}")
        if number >= RUNNING:
            yield from done(number - RUNNING)
    for number in range(max(0, count - RUNNING), count):
        yield from done(number)
    yield line(count * 3 + 100, "main", "DEBUG n.trace.WorkflowStatsObserver - Workflow completed > "
               f"WorkflowStats[succeededCount={count}; failedCount=0; ]")


def names(number: int) -> str:
    return f"PROCESS_{number % 40} (sample_{number})"


def task_dir(number: int) -> str:
    found = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
    return f"{found[:2]}/{found[2:]}"


def timed(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def measure(count: int, base: Path) -> dict[str, float]:
    """Everything about one size. There are no task dirs, so that only the log and the record are measured."""
    folder = ExecutionFolder(Root.mark(base / "root"), "team", "bench-222222")
    folder.provision(1)
    log = folder.attempt(1) / "nextflow.log"
    with log.open("w") as file:
        file.writelines(lines(count, folder.work))
    (folder.attempt(1) / "head.json").write_text(json.dumps({"started_at": BEGUN.timestamp()}))
    found = {"tasks": float(count), "log MB": log.stat().st_size / 1e6}
    total = Summary()
    tracker = Tracker(total.add)
    found["read s"] = timed(LogReader(log, tracker.takers, BEGUN.timestamp).close)
    recorder = Recorder(folder, 1, 1, KeepTaskLogs.ALL)
    found["record s"] = timed(recorder.finish)
    found["record MB"] = record_file.paths(folder.attempt(1))[-1].stat().st_size / 1e6
    found["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if recorder.summary.counts.succeeded != count:
        raise SystemExit(f"{count} tasks, and {recorder.summary.counts} were recorded")
    records = Records(folder, 1, ended=True)

    def page(**words: object) -> None:
        with records.tasks() as tasks:
            tasks.page(Query(**words))  # type: ignore[arg-type]

    found["index s"] = timed(page)
    found["page ms"] = 1000 * timed(lambda: page(sort="newest"))
    found["text ms"] = 1000 * timed(lambda: page(text="sample_777"))
    found["sort ms"] = 1000 * timed(lambda: page(sort="longest"))
    return found


def main() -> None:
    """Measure each size in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000", help="how many tasks; separated by commas")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        with tempfile.TemporaryDirectory() as base:
            print(json.dumps(measure(given.one, Path(base))))
        return
    rows = [json.loads(subprocess.run([sys.executable, __file__, "--one", size], check=True, text=True,
                                      stdout=subprocess.PIPE).stdout) for size in given.sizes.split(",")]
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---:|" * len(rows[0]))
    for row in rows:
        cells = (f"{value:,.0f}" if value >= 100 else f"{value:.2g}" for value in row.values())
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
