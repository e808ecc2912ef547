"""What a failed run keeps: full, slim and lean, and whether its relaunch reuses the same tasks.

    python benchmarks/lean.py                    # three pipelines, each in the three modes
    python benchmarks/lean.py --only assembly
    python benchmarks/lean.py --tasks 500        # the size of the scatter-gather

A quantification (reads, trimmed, aligned to an index that is a folder, sorted, counted), an assembly (a chain
of large files) and a scatter-gather fail at their last task. Prints metered bytes (as EFS counts) after the
failure, and the tasks that the relaunch reuses; the results of all modes must be the same, byte by byte. As
root it drops what lets root read every file: lean retention needs modes that bind.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []
LINE = "ACGTTGCAACGTAGCTAGCTAGCATCGATCGATCAGCTACGATCAGCATCAGCATCAGCGACTACGAC"
LAST = """
process LAST { publishDir 'results', mode: 'copy'
  input: path parts
  output: path 'result.txt'
  script: "cat $parts | sha256sum > result.txt; [ -e ${launchDir}/fixed ]" }
"""
PIPELINES = {
    "quantification": """
process INDEX { output: path 'index'
  script: "mkdir index; seq 400000 > index/a.idx; seq 400000 | sort > index/b.idx" }
process READS { tag "$s"; input: val s
  output: tuple val(s), path("${s}.fq")
  script: "yes '@$s LINE' | head -n 120000 | nl > ${s}.fq" }
process TRIM { tag "$s"; input: tuple val(s), path(fq)
  output: tuple val(s), path("${s}.trimmed.fq")
  script: "cut -c1-60 $fq > ${s}.trimmed.fq" }
process ALIGN { tag "$s"; input: tuple val(s), path(fq)
         path index
  output: tuple val(s), path("${s}.sam")
  script: "paste <(head -n 120000 $index/a.idx) $fq > ${s}.sam" }
process SORT { tag "$s"; input: tuple val(s), path(sam)
  output: tuple val(s), path("${s}.sorted.sam")
  script: "sort -k3,3 -k1,1n $sam > ${s}.sorted.sam" }
process COUNT { tag "$s"; input: tuple val(s), path(sam)
  output: path "${s}.counts"
  script: "cksum < $sam > ${s}.counts" }
LAST
workflow { s = Channel.of('a', 'b', 'c')
  LAST(COUNT(SORT(ALIGN(TRIM(READS(s)), INDEX().first()))).toSortedList { it.name }) }
""",
    "assembly": """
process READS { output: path 'reads.fq'
  script: "yes LINE | head -n 400000 | nl > reads.fq" }
process CORRECT { input: path x
  output: path 'corrected.fq'
  script: "tr A T < $x > corrected.fq" }
process OVERLAP { input: path x
  output: path 'overlaps'
  script: "mkdir -p overlaps/parts; split -n l/4 $x overlaps/parts/p" }
process CONTIGS { input: path x
  output: path 'contigs.fa'
  script: "cat $x/parts/* | rev > contigs.fa" }
process POLISH { input: path x
  output: path 'polished.fa'
  script: "cksum < $x > polished.fa" }
LAST
workflow { LAST(POLISH(CONTIGS(OVERLAP(CORRECT(READS()))))) }
""",
    "scatter": """
process SPLIT { output: path 'part.*'
  script: "yes LINE | head -n 400000 | nl | split -a 4 -n l/TASKS - part." }
process WORK { tag "$x.name"; input: path x
  output: path 'work.out'
  script: "(cat $x; yes $x.name | head -c 1200000) > work.out" }
process SUM { input: path x
  output: path 'sum.txt'
  script: "cksum < $x > sum.txt" }
process GATHER { input: path 'sums/*'
  output: path 'all.txt'
  script: "cat sums/* | sort > all.txt" }
LAST
workflow { LAST(GATHER(SUM(WORK(SPLIT().flatten())).collect())) }
""",
}


def run(base: Path, mode: str, *words: str) -> str:
    """Run nfresume in the folder of a mode; returns what it said."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NFRESUME_", "NXF_"))}
    env |= {"NFRESUME_ROOT": str(base / "root"), "NFRESUME_DATABASE_URL": f"sqlite:///{base / 'state.db'}",
            "NFRESUME_ACCOUNT": "team", "NFRESUME_CONFIG": str(base / "nfresume.toml"),
            "PATH": f"{BIN}:{env['PATH']}"}
    (base / "nfresume.toml").touch()
    done = subprocess.run([*BOUND, str(BIN / "nfresume"), *words], cwd=base / mode, env=env, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


def measured(name: str, text: str, base: Path) -> dict[str, tuple[int, int]]:
    """Metered bytes and reused tasks by mode. Exits when a result differs."""
    import json

    found, results = {}, {}
    for mode in ("full", "slim", "lean"):
        place = base / mode
        place.mkdir()
        (place / "main.nf").write_text(text)
        said = run(base, mode, "launch", "--retain", mode, "--storage-expiration-hours", "5", "main.nf")
        match = re.search(r"nfresume relaunch (\S+)", said)
        assert match, said
        metered = json.loads(run(base, mode, "measure", match[1], "--json"))["total"]["metered"]
        (place / "fixed").touch()
        again = run(base, mode, "relaunch", match[1])
        reused = re.search(r"(\d+) tasks? reused", again)
        assert reused, again
        results[mode] = (place / "results/result.txt").read_bytes()
        found[mode] = metered, int(reused[1])
    if len(set(results.values())) != 1 or len({reused for _, reused in found.values()}) != 1:
        sys.exit(f"{name}: the modes differ: {found}, {results}")
    return found


def main() -> None:
    """Measure, and print one line for each pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", choices=list(PIPELINES))
    parser.add_argument("--tasks", type=int, default=100)
    given = parser.parse_args()
    for name, text in PIPELINES.items():
        if given.only in (None, name):
            script = text.replace("LAST\nworkflow", f"{LAST}\nworkflow").replace("LINE", LINE)
            script = script.replace("TASKS", str(given.tasks))
            with tempfile.TemporaryDirectory() as base:
                found = measured(name, script, Path(base))
            full, slim, lean = (found[mode][0] for mode in ("full", "slim", "lean"))
            print(f"{name}: full {full:,} bytes, slim {slim:,}, lean {lean:,} ({100 * lean / full:.2f} %); "
                  f"{found['lean'][1]} tasks reused in each, the same result", flush=True)


if __name__ == "__main__":
    main()
