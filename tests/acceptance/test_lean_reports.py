"""Public reports of files that were removed too early or too late, as pipelines under lean retention."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.test_lean import BOUND, LEAN, emptied, relaunch, results
from tests.acceptance.test_lean_running import freed
from tests.acceptance.test_resume import cached
from tests.conftest import Site, until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]

BASE = """
process MAKE { tag "$n"; input: val n
  output: tuple val(n), path("m${n}.bin")
  script: "yes 'm$n' | head -c 2000000 > m${n}.bin" }
process LAST { publishDir 'results', mode: 'copy'
  input: path 'part*'
  output: path 'last.txt'
  script: "cat part* | sort > last.txt; until [ -e HERE/go ]; do sleep 0.1; done; [ -e HERE/fixed ]" }
def all(x) { x.toSortedList { it.name } }
"""
READ = """
process NAME { tag "$n"; input: tuple val(n), path(x)
  output: tuple val(n), path("NAME${n}.bin")
  script: "sleep 1; tr a-z b-za < $x > NAME${n}.bin; echo NAME >> NAME${n}.bin" }
"""
SUM = """
process SUM { tag "$n"; input: tuple val(n), path(x)
  output: path("sum${n}.txt")
  script: "sha256sum < $x > sum${n}.txt" }
"""
#: Each report, its pipeline, and how many files are emptied at least while it runs.
REPORTS = {
    # one reference for all samples, whose tasks begin in waves
    "nf-boost#4": (READ.replace("NAME", "UNZIP") + """
process SORT { tag "$n"; input: tuple val(n), path(x)
         path ref
  output: path "s${n}.txt"
  script: "sleep 1; cat $ref $x | sha256sum > s${n}.txt" }
workflow { ref = UNZIP(MAKE(Channel.of(0))).map { it[1] }.first()
  LAST(all(SORT(Channel.of(1, 2, 3, 4, 5).map { [it, file("HERE/main.nf")] }, ref))) }
""", 1),
    # a task is made before its parent has completed
    "nf-boost#16": (READ.replace("NAME", "ONE") + READ.replace("NAME", "TWO") + SUM + """
workflow { m = MAKE(Channel.of(1, 2, 3)); o = ONE(m)
  LAST(all(SUM(TWO(o).mix(o, m).map { n, f -> [f.name, f] }))) }
""", 1),
    # files of a sample that is done go, although other samples still run
    "nf-boost#12": (READ.replace("NAME", "FILTER") + READ.replace("NAME", "TRIM") + SUM + """
workflow { LAST(all(SUM(TRIM(FILTER(MAKE(Channel.of(1, 2, 3, 4))))))) }
""", 8),
    # a file and its index go different ways, and meet again
    "nf-boost#1": (READ.replace("NAME", "INDEX") + """
process CALL { tag "$n"; input: tuple val(n), path(x), path(i)
  output: path "call${n}.txt"
  script: "sleep 1; cat $x $i | sha256sum > call${n}.txt" }
workflow { m = MAKE(Channel.of(1, 2, 3)); LAST(all(CALL(m.join(INDEX(m))))) }
""", 1),
    # two readers, of which one is late
    "nextflow#452": (READ.replace("NAME", "EARLY") + READ.replace("NAME", "GATE") + SUM + """
process LATE { tag "$n"; input: tuple val(n), path(x), path(gate)
  output: path "late${n}.txt"
  script: "cat $x $gate | sha256sum > late${n}.txt" }
workflow { m = MAKE(Channel.of(1, 2)); gate = all(GATE(EARLY(m)).map { it[1] })
  LAST(all(SUM(EARLY.out).mix(LATE(m.combine(gate.map { [it] }))))) }
""", 1),
    # what a folder holds decides which tasks there are, and they read an earlier file
    "snakemake#1930": (SUM + """
process SPLIT { input: tuple val(n), path(x)
  output: path 'parts'
  script: "sleep 1; mkdir parts; for i in 1 2 3; do (echo $n; cat $x) > parts/p\\$i; done" }
process PART { tag "$p.name"; input: tuple path(p), val(n), path(x)
  output: path "${p.name}.txt"
  script: "sleep 1; cat $p $x | sha256sum > ${p.name}.txt" }
workflow { m = MAKE(Channel.of(1))
  LAST(all(PART(SPLIT(m).flatMap { it.listFiles() as List }.combine(m)))) }
""", 0),
    # a file is read before and after a decision
    "snakemake#2732": (READ.replace("NAME", "B1") + READ.replace("NAME", "B2") + """
process A1 { tag "$n"; input: tuple val(n), path(x), val(lines)
  output: path "a${n}.txt"
  script: "(echo $lines; cat $x) | sha256sum > a${n}.txt" }
workflow { m = MAKE(Channel.of(1, 2)); lines = B2(B1(m)).map { n, f -> [n, f.size()] }
  LAST(all(A1(m.join(lines)))) }
""", 1),
    # files that no process declares
    "nextflow#165": (SUM + """
process MORE { tag "$n"; input: tuple val(n), path(x)
  output: tuple val(n), path("more${n}.bin")
  script: "sleep 1; cp $x temporary.bin; cat temporary.bin $x > more${n}.bin" }
workflow { LAST(all(SUM(MORE(MAKE(Channel.of(1, 2, 3)))))) }
""", 3),
}


@pytest.fixture
def site(site: Site) -> Site:
    site.prefix, site.patience = BOUND, 900
    site.env |= {"NFRESUME_FREE_WHILE_RUNNING": "true", "NFRESUME_SAMPLE_SECONDS": "0.3"}
    (site.launch_dir / "nextflow.config").write_text("executor.queueSize = 2\n")
    return site


@pytest.mark.parametrize("report", REPORTS)
def test_a_report(site: Site, report: str):
    """What is freed during the run and after its failure changes no result, and costs no task."""
    script, least = REPORTS[report]
    text = (BASE + script).replace("HERE", str(site.launch_dir))
    (site.launch_dir / "main.nf").write_text(text)
    fixed, go = site.launch_dir / "fixed", site.launch_dir / "go"
    fixed.touch()
    go.touch()
    site.ok("launch", "main.nf")
    expected = results(site)
    assert expected
    (site.launch_dir / "results").rename(site.launch_dir / "before")
    fixed.unlink()
    go.unlink()
    site.ok("launch", "--detach", *LEAN, "main.nf")
    work = Path(site.show()["work_dir"]["path"])
    until(lambda: freed(site) >= least and next(work.glob("*/*/last.txt"), None),
          300, "files are emptied, and the last task waits")
    go.touch()
    e = site.show()
    assert site.run("wait", e["id"]).code == 1
    e = site.show()
    assert "LAST" in e["attempts"][-1]["error"]
    assert len(emptied(e)) >= freed(site)
    succeeded = sum(attempt["tasks"]["succeeded"] for attempt in e["attempts"])
    relaunch(site, e)
    assert len(cached(site, len(e["attempts"]) + 1)) == succeeded
    assert results(site) == expected


def test_a_new_process_between_two_attempts(site: Site):
    """nextflow#3849: a process that is added reads what only finished tasks had read."""
    script, _ = REPORTS["nf-boost#12"]
    text = (BASE + script).replace("HERE", str(site.launch_dir))
    (site.launch_dir / "main.nf").write_text(text)
    (site.launch_dir / "go").touch()
    assert site.run("launch", *LEAN, "main.nf").code == 1
    e = site.show()
    assert emptied(e)
    more = READ.replace("NAME", "NEW") + text.replace(
        "LAST(all(SUM(TRIM(FILTER(MAKE(Channel.of(1, 2, 3, 4)))))))", """m = MAKE(Channel.of(1, 2, 3, 4))
        LAST(all(SUM(TRIM(FILTER(m)).mix(NEW(m)).map { n, f -> [f.name, f] })))""")
    relaunch(site, e, more)
    found = results(site)
    (site.launch_dir / "results").rename(site.launch_dir / "before")
    Path(site.launch_dir / "fixed").touch()
    site.ok("launch", "main.nf")
    assert results(site) == found
