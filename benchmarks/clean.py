"""Compare `nextflow clean -f` with nfresume: each removes a real run's work dir on the latency mount.

    python benchmarks/clean.py --tasks 500

Nextflow first runs the tasks on the mount without latency, and the work dir is copied behind the mount. Then,
each on a fresh mount with latency, `clean` removes the original and nfresume the copy.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PIPELINE = """
process MAKE { input: val x
  output: path 'out.txt'
  script: "echo $x > out.txt" }
process USE { input: path f
  output: path 'used.txt'
  script: "cat $f > used.txt" }
workflow { USE(MAKE(Channel.of(1..params.n))) }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, default=500)
    args = parser.parse_args()
    from benchmarks import storage
    from nfresume.nextflow import embedded
    from nfresume.storage import Root

    java = embedded.java(None)
    launcher = embedded.launcher(java, embedded.install(java), os.environ)
    with tempfile.TemporaryDirectory(prefix="nfresume-bench-") as scratch:
        base = Path(scratch)
        program = base / "latfs"
        subprocess.run(["go", "build", "-o", str(program), "."], cwd=HERE / "latfs", check=True)
        (base / "main.nf").write_text(PIPELINE)
        (base / "place").mkdir()
        place = storage.Latency(base / "place", program)
        place.read = place.change = "0"
        place.fresh()
        run = [*launcher, "run", "main.nf", "--n", str(args.tasks // 2), "-w", str(place.top / "work")]
        subprocess.run([*run, "-name", "bench"], cwd=base, check=True, stdout=subprocess.DEVNULL)
        root = Root.mark(place.backing / "root")
        root.execution("team", "run-a1").path.mkdir(parents=True)
        copy = ["cp", "-a", str(place.backing / "work"), str(place.backing / storage.TREE)]
        subprocess.run(copy, check=True)
        place.read, place.change = storage.READ, storage.CHANGE
        place.fresh()
        entries = sum(len(folders) + len(files) for _, folders, files in os.walk(place.backing / "work"))
        start = time.perf_counter()
        clean = subprocess.run([*launcher, "clean", "-f", "bench"], cwd=base, check=True, capture_output=True)
        cleaned = time.perf_counter() - start
        left = sum(len(folders) + len(files) for _, folders, files in os.walk(place.backing / "work"))
        place.fresh()
        removed = storage.trial("nfresume", place.top).seconds
        assert not (place.backing / storage.TREE).exists()
        place.close()
    failed = (clean.stdout + clean.stderr).count(b"Failed to remove")
    print(f"{args.tasks} real tasks ({entries:,} entries): nextflow clean -f {cleaned:.2f} s ({failed} task "
          f"dirs and {left} entries left), nfresume {removed:.2f} s, {cleaned / removed:.1f} x")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    main()
