"""Compare `nextflow clean -f` with nfresume: each removes a real run's work dir on the latency mount.

    python benchmarks/clean.py --tasks 500

Nextflow first runs the tasks on the mount without latency, and the work dir is copied behind the mount. Then,
each on a fresh mount with latency, `clean` removes the original and nfresume the copy.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import storage
from machine import machine, spread
from mounts import CHANGE, READ, Latency, places

from nfresume.nextflow import embedded
from nfresume.storage import Root

PIPELINE = """
process MAKE { input: val x
  output: path 'out.txt'
  script: "echo $x > out.txt" }
process USE { input: path f
  output: path 'used.txt'
  script: "cat $f > used.txt" }
workflow { USE(MAKE(Channel.of(1..params.n))) }
"""


def once(tasks: int, launcher: list[str], base: Path) -> tuple[float, float, int, int, int]:
    """Seconds of `clean` and of nfresume; task dirs on which `clean` failed; entries before and after."""
    with places(["latency"], base) as found:
        place = found["latency"]
        assert isinstance(place, Latency)
        place.read = place.change = "0s"
        place.fresh()
        (base / "main.nf").write_text(PIPELINE)
        run = [*launcher, "run", "main.nf", "--n", str(tasks // 2), "-w", str(place.top / "work")]
        subprocess.run([*run, "-name", "bench"], cwd=base, check=True, stdout=subprocess.DEVNULL)
        root = Root.mark(place.backing / "root")
        root.execution("team", "run-a1").path.mkdir(parents=True)
        work = place.backing / "work"
        subprocess.run(["cp", "-a", str(work), str(place.backing / storage.TREE)], check=True)
        place.read, place.change = READ, CHANGE
        place.fresh()
        before, start = entries(work), time.perf_counter()
        clean = subprocess.run([*launcher, "clean", "-f", "bench"], cwd=base, check=True, capture_output=True)
        cleaned = time.perf_counter() - start
        place.fresh()
        removed = storage.trial("nfresume", place.top).seconds
        assert not (place.backing / storage.TREE).exists()
        failed = (clean.stdout + clean.stderr).count(b"Failed to remove")
        return cleaned, removed, failed, before, entries(work)


def entries(folder: Path) -> int:
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    java = embedded.java(None)
    launcher = embedded.launcher(java, embedded.install(java), os.environ)
    took = []
    for _ in range(asked.repeats):
        with tempfile.TemporaryDirectory(prefix="nfresume-bench-") as scratch:
            took.append(once(asked.tasks, launcher, Path(scratch)))
    cleaned, removed, failed, before, left = zip(*took, strict=True)
    print(f"{machine()}; {asked.repeats} repeats, minimum, median and maximum")
    print(f"{asked.tasks} real tasks ({before[0]:,} entries): nextflow clean -f {spread(cleaned)} s "
          f"({failed[0]} task dirs and {left[0]} entries left), nfresume {spread(removed)} s, "
          f"{spread([c / r for c, r in zip(cleaned, removed, strict=True)])} x")


if __name__ == "__main__":
    main()
