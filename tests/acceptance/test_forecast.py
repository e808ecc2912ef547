"""`relaunch --dry-run` says what a relaunch then does, with real Nextflow."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from nfresume.nextflow import reading
from nfresume.nextflow.record import Task
from tests.conftest import Site

pytestmark = pytest.mark.slow

PIPELINE = """\
params.x = 1
params.dir = "${launchDir}".toString()
process TRIM { tag "$name"; input: tuple val(name), path(f); output: tuple val(name), path('t')
    script: "cat $f > t" }
process ALIGN { tag "$name"; input: tuple val(name), path(t); output: path("${name}.bam")
    script: "cat $t > ${name}.bam" }
process CLOCK { cache false; output: path 'now'; script: "date > now" }
process REPORT { input: path bams; path now; script: "[ -e ${params.dir}/ok ]" }
workflow {
    reads = Channel.fromPath("${params.dir}/in/*.fq").map { f -> [f.baseName, f] }
    REPORT(ALIGN(TRIM(reads)).collect(sort: true), CLOCK())
}
"""


def last(site: Site, number: int) -> dict[str, Task]:
    attempts = Path(site.show()["work_dir"]["path"]).parent / "attempts"
    return {line.name: line for line in reading.lines(attempts / str(number)) if isinstance(line, Task)}


def in_money(site: Site, execution: str) -> None:
    """Task time is priced only where a price is set, storage by its size and the price of the root."""
    prices = {"NFRESUME_PRICE_PER_CPU_HOUR": "3600", "NFRESUME_PRICE_PER_GB_MONTH": "1000000"}
    found = site.ok("relaunch", execution, "--dry-run", "--json", **prices).json()
    paid = found["money"]
    assert paid["reused"] == pytest.approx(found["reused"]["seconds"])  # a currency unit for each second
    assert paid["again"] == pytest.approx(found["again"]["seconds"])
    assert paid["kept_a_month"] == pytest.approx(
        site.show()["work_dir"]["metered_bytes"] / 2**30 * 1_000_000)
    assert paid["kept_to_end"] is None
    site.ok("unpin", execution)
    one_hour = site.ok("relaunch", execution, "--dry-run", "--json", **prices).json()["money"]
    assert one_hour["kept_to_end"] == pytest.approx(paid["kept_a_month"] / (365 * 24 / 12), rel=0.05)
    said = site.ok("relaunch", execution, "--dry-run", **prices).out
    assert "at 3,600.00 USD per CPU-hour, one CPU for each task: reused " in said
    assert " USD until it expires\n" in said
    site.ok("pin", execution)
    other = site.ok("relaunch", execution, "--dry-run", "--json", NFRESUME_PRICE_PER_CPU_HOUR="1",
                    NFRESUME_CURRENCY="EUR").json()["money"]
    assert (other["currency"], other["reused"]) == ("USD", None)  # euros are not added to dollars


@pytest.mark.long
def test_a_forecast_comes_true(site: Site):
    """What is forecast to be reused is cached by the relaunch, all else runs; what may differ is said."""
    here = site.launch_dir
    (here / "main.nf").write_text(PIPELINE)
    (here / "in").mkdir()
    for name in "abcd":
        (here / f"in/{name}.fq").write_text(f"read {name}\n")
    assert site.run("launch", "--pin", "main.nf").code == 1
    e = site.show()
    same = site.ok("relaunch", e["id"], "--dry-run").out.splitlines()
    assert same[0].startswith("would be reused for certain: 8 tasks, which took ")
    assert same[1].startswith("would run again: 1 task, which took ")
    assert same[2:5] == ["  CLOCK: its process is never reused (`cache false`)",
                         "would run: 1 task that had not finished", "  REPORT: failed"]
    assert site.show()["attempts"][1:] == []
    assert same[-2] == "task time has no price here: price_per_cpu_hour is not set"
    assert re.fullmatch(r"keeping the work dir costs \S+ USD a month", same[-1])  # it is pinned
    in_money(site, e["id"])

    other = site.ok("relaunch", e["id"], "--dry-run", "--json", "--x", "2").json()
    assert not other["certain"]
    assert other["unless"] == ["parameter x (not given -> 2) concerns them"]
    (here / "in/a.fq").write_text("longer read a\n")
    (here / "in/b.fq").unlink()
    (here / "in/e.fq").write_text("read e\n")
    work = Path(e["work_dir"]["path"])
    (work / last(site, 1)["ALIGN (c)"].dir / "c.bam").unlink()
    found = site.ok("relaunch", "--dry-run", "--json", e["id"]).json()
    again = {each["name"]: each["why"] for each in found["again"]["list"]}
    assert {name: why.replace(str(here), "") for name, why in again.items()} == {
        "TRIM (a)": "its input /in/a.fq has changed (7 -> 14 bytes)",
        "TRIM (b)": "its input /in/b.fq is gone",
        "ALIGN (a)": "it uses files of TRIM (a)", "ALIGN (b)": "it uses files of TRIM (b)",
        "ALIGN (c)": "its output c.bam is not in its task dir any more",
        "CLOCK": "its process is never reused (`cache false`)",
    }
    assert found["reused"]["tasks"] == 3
    assert f"whether the pipeline takes new files in the folders of its inputs: {here}/in/e.fq" in \
        found["unknown"]
    assert found["certain"]

    (here / "ok").touch()
    site.ok("relaunch", e["id"])
    ran = last(site, 2)
    assert {name for name, task in ran.items() if task.status == "CACHED"} == {
        "TRIM (c)", "TRIM (d)", "ALIGN (d)"}
    assert set(again) & set(ran) == set(again) - {"TRIM (b)", "ALIGN (b)"}

    (here / "main.nf").write_text(PIPELINE.replace("cat $t", "sort $t"))
    shutil.rmtree(work / ran["TRIM (d)"].dir)
    edited = site.ok("relaunch", e["id"], "--dry-run", "--json").json()
    assert edited["unless"] == [f"what has changed concerns them: {here}/main.nf"]
    assert [each["why"] for each in edited["again"]["list"] if each["name"] == "TRIM (d)"] == [
        "its task dir is gone"]
    scratch = site.ok("relaunch", e["id"], "--dry-run", "--from-scratch").out
    assert scratch.startswith("every task would run: --from-scratch\n")
