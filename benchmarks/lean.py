"""What a failed run keeps: full, slim and lean, and whether its relaunch reuses the same tasks.

    python benchmarks/lean.py --data FOLDER      # genome.fa, reads_1.fastq.gz, reads_2.fastq.gz
    python benchmarks/lean.py                    # a random genome, and reads of it (wgsim)
    python benchmarks/lean.py --only assembly
    python benchmarks/lean.py --tasks 500        # the size of the scatter-gather

A quantification (fastp, bwa, samtools; three samples), an assembly (fastp, velvet, and the reads aligned to
the contigs) and a bootstrap (one alignment, sampled so many times) fail at their last task. Prints metered
bytes (as EFS counts) after the failure, and the tasks that the relaunch reuses; the results of all modes must
be the same, byte by byte. Then the assembly succeeds twice more, without and with `free_while_running`:
prints how much its work dir held at most. As root it drops what lets root read every file: lean retention
needs modes that bind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

BIN = Path(sys.executable).parent
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []
TOOLS = ("bwa", "fastp", "samtools", "velveth", "wgsim")
PROCESSES = '''
process READS { tag "$n"; input: val n
  output: tuple val(n), path('r1.fq'), path('r2.fq')
  script: """for i in 1 2; do
    zcat ${params.data}/reads_\\$i.fastq.gz | tail -n +${n * 4000 + 1} > r\\$i.fq
  done""" }
process TRIM { tag "$n"; input: tuple val(n), path(r1), path(r2)
  output: tuple val(n), path('t1.fq'), path('t2.fq')
  script: "fastp -w 1 -i $r1 -I $r2 -o t1.fq -O t2.fq -j json -h html" }
process INDEX { input: path fa
  output: path 'index'
  script: "mkdir index; bwa index -p index/it $fa" }
process ALIGN { tag "$n"; input: tuple val(n), path(r1), path(r2)
         path index
  output: tuple val(n), path('a.sam')
  script: "bwa mem -t 1 $index/it $r1 $r2 > a.sam" }
process SORT { tag "$n"; input: tuple val(n), path(sam)
  output: tuple val(n), path('sorted.bam')
  script: "samtools sort -O bam -o sorted.bam $sam" }
process COUNT { tag "$n"; input: tuple val(n), path(bam)
  output: path 'counts.txt'
  script: "samtools coverage $bam > counts.txt; samtools flagstat $bam >> counts.txt" }
process HASH { input: tuple val(n), path(r1), path(r2)
  output: path 'asm'
  script: "velveth asm 31 -shortPaired -fastq -separate $r1 $r2 > /dev/null" }
process GRAPH { input: path asm
  output: path 'contigs'
  script: "cp -rL $asm contigs; velvetg contigs -exp_cov auto -cov_cutoff auto -read_trkg yes > /dev/null" }
process CONTIGS { input: path contigs
  output: path 'contigs.fa'
  script: "cp $contigs/contigs.fa contigs.fa" }
process SAMPLE { tag "$n"; input: tuple val(n), path(bam)
  output: tuple val(n), path('part.bam')
  script: "samtools view -b -s ${n}.25 $bam > part.bam" }
process LAST { publishDir 'results', mode: 'copy'
  input: path 'part*'
  output: path 'result.txt'
  script: "cat part* | sort > result.txt; [ -e ${launchDir}/fixed ]" }
'''
WORKFLOWS = {
    "quantification": """
workflow { LAST(COUNT(SORT(ALIGN(TRIM(READS(Channel.of(0, 1, 2))),
                                 INDEX(file("${params.data}/genome.fa")).first()))).collect()) }
""",
    "assembly": """
workflow { reads = TRIM(READS(Channel.of(0)))
  LAST(COUNT(SORT(ALIGN(reads, INDEX(CONTIGS(GRAPH(HASH(reads))))))).collect()) }
""",
    "bootstrap": """
workflow { bam = SORT(ALIGN(TRIM(READS(Channel.of(0))), INDEX(file("${params.data}/genome.fa"))))
  LAST(COUNT(SAMPLE(bam.map { it[1] }.combine(Channel.of(1..TASKS)).map { [it[1], it[0]] })).collect()) }
""",
}


def environment(base: Path, **more: str) -> dict[str, str]:
    """What nfresume is run with."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NFRESUME_", "NXF_"))}
    (base / "nfresume.toml").touch()
    ours = {"NFRESUME_ROOT": str(base / "root"), "NFRESUME_DATABASE_URL": f"sqlite:///{base / 'state.db'}",
            "NFRESUME_ACCOUNT": "team", "NFRESUME_CONFIG": str(base / "nfresume.toml")}
    return {**env, **ours, "PATH": f"{BIN}:{env['PATH']}", **more}


def run(base: Path, mode: str, *words: str, **more: str) -> str:
    """Run nfresume in the folder of a mode; returns what it said."""
    done = subprocess.run([*BOUND, str(BIN / "nfresume"), *words], cwd=base / mode, text=True,
                          env=environment(base, **more), capture_output=True, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


def kept(text: str, data: Path, base: Path) -> dict[str, tuple[int, int]]:
    """Metered bytes and reused tasks by mode. Exits when a result differs."""
    found, results = {}, {}
    for mode in ("full", "slim", "lean"):
        place = base / mode
        place.mkdir()
        (place / "main.nf").write_text(text)
        said = run(base, mode, "launch", "--retain", mode, "--storage-expiration-hours", "5", "main.nf",
                   "--data", str(data))
        match = re.search(r"nfresume relaunch (\S+)", said)
        assert match, said
        metered = json.loads(run(base, mode, "measure", match[1], "--json"))["total"]["metered"]
        (place / "fixed").touch()
        again = run(base, mode, "relaunch", match[1])
        reused = re.search(r"([\d,]+) tasks? reused", again)
        assert reused, again
        results[mode] = (place / "results/result.txt").read_bytes()
        found[mode] = metered, int(reused[1].replace(",", ""))
    if len(set(results.values())) != 1 or len({reused for _, reused in found.values()}) != 1:
        sys.exit(f"the modes differ: {found}, {results}")
    return found


def peak(base: Path, data: Path, mode: str, **more: str) -> int:
    """The most bytes that the work dirs held while a launch ran, looked at five times a second."""
    most, ended = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not ended.wait(0.2):
            held = 0
            for folder, _, names in os.walk(base / "root"):
                for name in names:
                    with contextlib.suppress(OSError):
                        held += os.lstat(os.path.join(folder, name)).st_blocks * 512
            most = max(most, held)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        said = run(base, mode, "launch", "--retain", "lean", "main.nf", "--data", str(data), **more)
    finally:
        ended.set()
        thread.join()
    assert "SUCCEEDED" in said, said
    return most


def measure_peak(text: str, data: Path, base: Path) -> None:
    """Print what the work dir of the assembly held at most, and what it held with `free_while_running`."""
    place = base / "peak"
    place.mkdir()
    (place / "main.nf").write_text(text)
    (place / "fixed").touch()
    plain = peak(base, data, "peak")
    before = (place / "results/result.txt").read_bytes()
    freed = peak(base, data, "peak", NFRESUME_FREE_WHILE_RUNNING="true", NFRESUME_SAMPLE_SECONDS="1")
    assert (place / "results/result.txt").read_bytes() == before
    print(f"assembly: at most {plain:,} bytes at once; with free_while_running {freed:,} "
          f"({100 * freed / plain:.0f} %), the same result", flush=True)


def write_data(place: Path) -> None:
    """A random genome, and 50,000 pairs of reads of it."""
    dice = random.Random(1)
    sequence = "".join(dice.choices("ACGT", k=200_000))
    (place / "genome.fa").write_text(">1\n" + "\n".join(re.findall(".{1,80}", sequence)) + "\n")
    reads = ["reads_1.fastq", "reads_2.fastq"]
    subprocess.run(["wgsim", "-S", "1", "-N", "50000", "-1", "125", "-2", "125", "genome.fa", *reads],
                   cwd=place, check=True, capture_output=True)
    subprocess.run(["gzip", *reads], cwd=place, check=True)


def main() -> None:
    """Measure, and print one line for each pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path,
                        help="a folder with genome.fa, reads_1.fastq.gz and reads_2.fastq.gz")
    parser.add_argument("--only", choices=list(WORKFLOWS))
    parser.add_argument("--tasks", type=int, default=100, help="samples of the bootstrap")
    given = parser.parse_args()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        sys.exit(f"{', '.join(missing)} not found. On Debian: apt-get install bwa fastp samtools velvet")
    with tempfile.TemporaryDirectory() as made:
        data = given.data.resolve() if given.data else Path(made)
        if not given.data:
            write_data(data)
        for name, workflow in WORKFLOWS.items():
            if given.only not in (None, name):
                continue
            text = PROCESSES + workflow.replace("TASKS", str(given.tasks))
            with tempfile.TemporaryDirectory() as base:
                found = kept(text, data, Path(base))
                full, slim, lean = (found[mode][0] for mode in ("full", "slim", "lean"))
                print(f"{name}: full {full:,} bytes, slim {slim:,}, lean {lean:,} "
                      f"({100 * lean / full:.2f} %); {found['lean'][1]} tasks reused in each, same result",
                      flush=True)
                if name == "assembly":
                    measure_peak(text, data, Path(base))


if __name__ == "__main__":
    main()
