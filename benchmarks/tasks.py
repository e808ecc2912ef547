"""Python tasks: compares cache hits, hashing and a large graph with what a user would use instead.

    python benchmarks/tasks.py                       # 10,000 tasks, a 2 GiB file
    python benchmarks/tasks.py --tasks 1000 --gib 0.5

`flytekit` is its local cache (which a Latch workflow uses on a laptop), `joblib` is joblib.Memory. Both call
the function in one process; nfresume runs each task in its own process and keeps its output. They are
installed into .peers once. Hashing reads a file that is in the page cache.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import machine, spread

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".peers"
FLOW = """
from nfresume.tasks import task, workflow

@task(cache={cached})
def add(n: int, to: int) -> int:
    return n + to

@workflow
def flow(tasks: int) -> int:
    last = 0
    for n in range(tasks):
        last = add(n=n, to=1)
    return last
"""
FLYTE = """
from flytekit import task
@task(cache=True, cache_version="1")
def add(n: int, to: int) -> int:
    return n + to
"""
JOBLIB = """
import joblib, sys
@joblib.Memory(sys.argv[2], verbose=0).cache
def add(n, to):
    return n + to
"""
TWICE = """
import json, sys, time
def run(tasks):
    start = time.perf_counter()
    for n in range(tasks):
        add(n=n, to=1)
    return time.perf_counter() - start
print(json.dumps([run(int(sys.argv[1])), run(int(sys.argv[1]))]))
"""


def peers() -> str:
    """The path of a Python that has flytekit and joblib; installs them the first time."""
    python = PEERS / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "flytekit", "joblib", "diskcache"],
                       check=True)
    return str(python)


def peer_versions() -> str:
    """What the peers' environment has of them."""
    listed = subprocess.run([peers(), "-m", "pip", "list", "--format", "freeze"], check=True,
                            capture_output=True, text=True).stdout
    return ", ".join(line for line in listed.split() if line.startswith(("flytekit==", "joblib==")))


def peer(script: str, tasks: int, folder: Path) -> tuple[float, float]:
    """Seconds for all tasks, in a first and a second run."""
    (folder / "peer.py").write_text(script + TWICE)
    env = {**os.environ, "HOME": str(folder), "FLYTE_SDK_LOGGING_LEVEL": "50"}
    done = subprocess.run([peers(), "peer.py", str(tasks), str(folder / "store")], cwd=folder, env=env,
                          check=True, capture_output=True, text=True)
    first, again = json.loads(done.stdout.splitlines()[-1])
    return first, again


def hits(count: int, folder: Path) -> float:
    """Seconds for one look-up of a small cached value: compute the key, read the entry, decode the value."""
    from nfresume.tasks import digests, values
    from nfresume.tasks.cache import Cache
    from nfresume.tasks.keys import Key

    cache = Cache(folder, "me")

    def key(n: int) -> Key:
        inputs = {"n": digests.of_value(n), "to": digests.of_value(1)}
        return Key("me", "flow.add", "(n: int, to: int) -> int", "v", inputs)

    for n in range(count):
        cache.put(key(n), n + 1, {"digest": "", "parts": {}}, 0.0, "bench")
    took = []
    for n in range(count):
        start = time.perf_counter()
        assert values.decode(cache.find(key(n)).outputs) == n + 1
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def rate(size: int, function: Callable[[], object]) -> float:
    """GiB per second."""
    start = time.perf_counter()
    function()
    return size / (time.perf_counter() - start) / 2**30


def sha256(file: Path) -> None:
    with file.open("rb") as stream:
        hashlib.file_digest(stream, "sha256")


def read(file: Path) -> None:
    buffer = bytearray(4 << 20)
    with file.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass


def graph(tasks: int, folder: Path) -> dict[str, float]:
    """Seconds of a head for all tasks: in a first run, in a relaunch that reuses them, and from the cache."""
    found = {}
    for name, cached, attempts in (("run", False, 2), ("cache", True, 1), ("cache again", True, 1)):
        (folder / "flow.py").write_text(FLOW.format(cached=cached))
        base = folder / name.replace(" ", "-")
        for number in range(1, attempts + 1):
            place = base / "attempts" / str(number)
            for made in (base / "work", base / "cache", place):
                made.mkdir(parents=True, exist_ok=True)
            order = {"pipeline": "flow.py:flow", "run_name": f"b-{number}",
                     "session_id": "s", "resume": number > 1, "account": "me", "execution": "b",
                     "account_folder": str(folder / "me"), "work": str(base / "work"),
                     "cache": str(base / "cache"), "attempt": str(place)}
            start = time.perf_counter()
            subprocess.run([sys.executable, "-P", "-m", "nfresume.tasks.head", json.dumps(order),
                            "--tasks", str(tasks)], cwd=folder, check=True, capture_output=True)
            found["retry" if number > 1 else name] = time.perf_counter() - start
    return found


def main() -> None:
    """Parse the arguments and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    print(f"{machine()}\n{peer_versions()}")
    with tempfile.TemporaryDirectory() as name:
        print_graph(asked.tasks, Path(name), asked.repeats)
        print_hashing(int(asked.gib * 2**30), Path(name) / "large.bin", asked.repeats)


def print_graph(tasks: int, folder: Path, repeats: int) -> None:
    """Print milliseconds per task, in a first and a second run: min, median and max of the repeats."""
    found: dict[str, list[tuple[float, float]]] = {}
    for repeat in range(repeats):
        place = folder / str(repeat)
        place.mkdir()
        flyte, memory = peer(FLYTE, tasks, place), peer(JOBLIB, tasks, place)
        shutil.rmtree(place / "store")
        ours = graph(tasks, place)
        shutil.rmtree(place)
        for what, seconds in (
            ("nfresume, retry from the failed task", (ours["run"], ours["retry"])),
            ("nfresume, cached tasks, another launch", (ours["cache"], ours["cache again"])),
            ("flytekit, local cache", flyte), ("joblib.Memory", memory),
        ):
            found.setdefault(what, []).append(seconds)
    print(f"| {tasks:,} tasks, ms each | first time | again | to flytekit, again | to joblib, again |")
    print("|---|---|---|---|---|")
    again = {what: [second for _, second in times] for what, times in found.items()}
    for what, times in found.items():
        each = [spread([whole / tasks * 1000 for whole in column]) for column in zip(*times, strict=True)]
        ratios = [spread([mine / its for mine, its in zip(again[what], again[other], strict=True)])
                  for other in ("flytekit, local cache", "joblib.Memory")]
        print(f"| {what} | {' | '.join(each + ratios)} |")
    took = [hits(2000, folder / f"hits-{repeat}") * 1000 for repeat in range(repeats)]
    print(f"\none look-up of a small value that is cached: {spread(took)} ms\n")


def print_hashing(size: int, file: Path, repeats: int) -> None:
    """Print GiB per second of hashing, and its ratio to reading alone."""
    from nfresume.tasks import digests

    with file.open("wb") as stream:
        block = os.urandom(64 << 20)
        for _ in range(0, size, len(block)):
            stream.write(block)
    size = file.stat().st_size
    ways: dict[str, Callable[[], object]] = {
        "nfresume (BLAKE3)": lambda: digests.of_file(file), "reading it": lambda: read(file),
        "SHA-256": lambda: sha256(file)}
    found = {what: [rate(size, way) for _ in range(repeats)] for what, way in ways.items()}
    print("| a file in memory | GiB/s | to reading it |")
    print("|---|---|---|")
    for what, rates in found.items():
        ratio = statistics.median(rates) / statistics.median(found["reading it"])
        print(f"| {what} | {spread(rates)} | {ratio:.2f} x |")


if __name__ == "__main__":
    main()
