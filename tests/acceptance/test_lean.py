"""Lean retention with real Nextflow: a fraction of the bytes, the same relaunch, and never wrong data."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from nfresume.storage import emptying
from tests.acceptance.test_resume import cached
from tests.conftest import BOUND, Done, Site, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # a relaunch may be two attempts
LEAN = ("--retain", "lean", "--storage-expiration-hours", "5")
BIG = 3_000_000

#: Two samples: two large intermediate files each, and a small result.
SAMPLES = """
process A { tag "$n"; input: val n
  output: tuple val(n), path("a${n}.bin")
  script: "yes 'a$n' | head -c 3000000 > a${n}.bin" }
process B { tag "$n"; input: tuple val(n), path(a)
  output: tuple val(n), path("b${n}.bin")
  script: "cat $a > b${n}.bin; echo b >> b${n}.bin" }
process C { tag "$n"; input: tuple val(n), path(b)
  output: path("c${n}.txt")
  script: "sha256sum < $b > c${n}.txt" }
"""
#: A last task fails until `fixed`.
CHAIN = SAMPLES + """
process D { publishDir 'results', mode: 'copy'
  input: path cs
  output: path 'd.txt'
  script: "cat $cs > d.txt; [ -e ${launchDir}/fixed ]" }
workflow { D(C(B(A(Channel.of(1, 2)))).toSortedList { it.name }) }
"""


@pytest.fixture
def site(site: Site) -> Site:
    site.prefix, site.patience = BOUND, 900
    return site


def fail(site: Site, script: str, *words: str) -> dict[str, Any]:
    """Launch a pipeline that fails; returns its document, with what was said."""
    (site.launch_dir / "main.nf").write_text(script)
    done = site.run("launch", *(words or LEAN), "main.nf")
    assert done.code == 1, done.err
    return {**site.show(), "said": done.err}


def relaunch(
    site: Site, e: dict[str, Any], script: str | None = None, *words: str, codes: tuple[int, ...] = (0,)
) -> Done:
    """Fix what made it fail, and relaunch, perhaps with another script."""
    (site.launch_dir / "fixed").touch()
    if script is not None:
        (site.launch_dir / "main.nf").write_text(script)
    done = site.run("relaunch", e["id"], *words)
    assert done.code in codes, done.err
    return done


def plain(site: Site, script: str) -> dict[str, str]:
    """The results of the pipeline, launched anew with nothing to reuse."""
    (site.launch_dir / "main.nf").write_text(script)
    (site.launch_dir / "fixed").touch()
    results(site)
    (site.launch_dir / "results").rename(site.launch_dir / "before")
    site.ok("launch", "main.nf")
    return results(site)


def results(site: Site) -> dict[str, str]:
    place = site.launch_dir / "results"
    return {str(p.relative_to(place)): p.read_text() for p in place.rglob("*") if p.is_file()}


def event(e: dict[str, Any], name: str) -> dict[str, Any]:
    return next((v["detail"] for v in reversed(e["events"]) if v["name"] == name), {})


def hide(site: Site, e: dict[str, Any]) -> None:
    """Put the path of an emptied file where no net sees it: backwards, in a file of the launch dir."""
    path = next(Path(e["work_dir"]["path"]).glob("*/*/b1.bin"))
    (site.launch_dir / "hidden").write_text(str(path)[::-1])


def emptied(e: dict[str, Any]) -> list[str]:
    """The names of the emptied files."""
    work = Path(e["work_dir"]["path"])
    entries = emptying.load(work.parent / "cache")
    for entry in entries:
        assert emptying.is_empty((work / entry.path).lstat(), entry)
    return sorted(Path(entry.path).name for entry in entries)


def test_a_failed_run_keeps_a_fraction_and_all_is_reused(site: Site):
    """Intermediate files lose their content; the relaunch reuses all finished tasks, with the same result."""
    e = fail(site, CHAIN)
    assert emptied(e) == ["a1.bin", "a2.bin", "b1.bin", "b2.bin"]
    assert "lean: 4 intermediate files of 4 tasks, 11.4 MiB, keep no content" in e["said"]
    assert e["work_dir"]["metered_bytes"] < 4 * BIG * 0.05
    done = relaunch(site, e)
    assert "6 tasks reused" in done.err
    assert len(cached(site, 2)) == 6
    assert results(site) == plain(site, CHAIN)


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["terminate", "ignore", "retry"])
def test_a_changed_script_has_its_inputs_made_again(site: Site, strategy: str):
    """It mends itself in one new attempt, whatever the error strategy, also where a pipe hides errors."""
    e = fail(site, CHAIN)
    changed = CHAIN.replace("sha256sum < $b", "cat $b | sha256sum | tr a-f A-F").replace(
        'process C { tag "$n";', f"process C {{ tag \"$n\"; errorStrategy '{strategy}';")
    done = relaunch(site, e, changed)
    after = site.show()
    assert after["attempts"][-1]["number"] == 3
    assert "made again (6 tasks" in done.err
    assert event(after, "goes_on")["file_count"] in (1, 2)
    assert results(site) == plain(site, changed)


#: `rows.csv` is read by the head and by a task; the head reads it when the last task can succeed.
IN_THE_HEAD = """
process ROWS { output: path 'rows.csv'
  script: "seq 500000 > rows.csv" }
process COUNT { input: path rows
  output: path 'count.txt'
  script: "wc -l < rows.csv > count.txt" }
process LAST { publishDir 'results', mode: 'copy'
  input: path count
         val first
  output: path 'last.txt'
  script: "cat count.txt > last.txt; echo $first >> last.txt; [ -e ${launchDir}/fixed ]" }
workflow {
  rows = ROWS()
  first = file("${launchDir}/fixed").exists() ? READ : Channel.of('none')
  LAST(COUNT(rows), first)
}
"""


@pytest.mark.long
@pytest.mark.parametrize("how", ["rows.splitCsv().first().map { it[0] }", "rows.map { it.text.size() }"])
def test_what_the_head_reads(site: Site, how: str):
    """An operator that reads an emptied file fails loudly, and the file is made again."""
    script = IN_THE_HEAD.replace("READ", how)
    e = fail(site, script)
    assert emptied(e) == ["rows.csv"]
    relaunch(site, e)
    assert site.show()["attempts"][-1]["number"] == 3
    assert results(site) == plain(site, script)


@pytest.mark.long
def test_a_read_past_the_guard_fails_the_attempt(site: Site):
    """A path that no net can see, read with the rights of root: the access time tells, and it is held."""
    e = fail(site, CHAIN)
    hide(site, e)
    sneaky = CHAIN.replace("cat $cs > d.txt", "p=\\$(rev ${launchDir}/hidden); chmod 400 \\$p; "
                           "wc -c < \\$p; sha256sum < \\$p; cat $cs > d.txt")
    done = relaunch(site, e, sneaky, codes=(1, 70))  # 1: the head was ended before its own end
    after = site.show()
    assert after["state"] == "FAILED"
    assert "was read" in after["attempts"][-1]["error"], done.err
    assert after["work_dir"]["state"] == "RETAINED"
    assert "was read" in after["work_dir"]["reason"]
    assert after["work_dir"]["expires_at"] is None
    (site.launch_dir / "main.nf").write_text(CHAIN)
    site.ok("relaunch", e["id"])
    last = site.show()
    assert "D" not in cached(site, 3)
    assert event(last, "made_again")["reason"] == "their files are needed"
    assert results(site) == plain(site, CHAIN)


@pytest.mark.long
def test_a_denied_read_in_a_pipe_is_no_success(site: Site):
    """A path that no net can see, read in a pipe without pipefail: what the task said holds it."""
    e = fail(site, CHAIN)
    hide(site, e)
    sneaky = CHAIN.replace("cat $cs > d.txt", "p=\\$(rev ${launchDir}/hidden); "
                           "(cat $cs; cat \\$p | wc -c) > d.txt")
    relaunch(site, e, sneaky, codes=(1, 70))
    after = site.show()
    assert (after["state"], after["attempts"][-1]["number"]) == ("FAILED", 2)
    assert "b1.bin was read although its content is not kept" in after["attempts"][-1]["error"]
    assert (after["work_dir"]["state"], after["work_dir"]["expires_at"]) == ("RETAINED", None)
    relaunch(site, e, CHAIN)
    assert results(site) == plain(site, CHAIN)


@pytest.mark.long
def test_where_modes_do_not_bind_slim_is_used(site: Site):
    """As root nothing is emptied, with the reason; what was emptied before is made again by a relaunch."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    site.prefix = ()
    refused = fail(site, CHAIN)
    assert "modes do not bind this user" in event(refused, "emptied")["left_alone"]
    assert "lean: no file was emptied" in refused["said"]
    assert event(refused, "slimmed")["files"] > 0
    site.prefix = BOUND
    e = fail(site, CHAIN)
    assert len(emptied(e)) == 4
    site.prefix = ()
    relaunch(site, e)
    after = site.show()
    assert event(after, "made_again")["count"] == 6
    assert "modes do not bind" in event(after, "made_again")["reason"]
    assert results(site) == plain(site, CHAIN)


@pytest.mark.long
@pytest.mark.parametrize("point", ["listed-as-emptied", "mode-set", "truncated", "half-emptied", "settled"])
def test_a_crash_at_a_settlement(site: Site, point: str):
    """A supervisor that dies while it empties leaves a run that the next sweep settles."""
    site.env["NFRESUME_LEASE_SECONDS"] = "1"
    (site.launch_dir / "main.nf").write_text(CHAIN)
    site.run("launch", "--detach", *LEAN, "main.nf", NFRESUME_CRASH_AT=point)

    def settled() -> bool:
        site.run("sweep")
        return site.show()["state"] == "FAILED"

    until(settled, 300, every=0.5)
    del site.env["NFRESUME_LEASE_SECONDS"]
    e = site.show()
    assert len(emptied(e)) == 4
    relaunch(site, e)
    assert len(cached(site, 2)) == 6
    assert results(site) == plain(site, CHAIN)


@pytest.mark.parametrize("point", [pytest.param(point, marks=pytest.mark.long) for point in (
    "half-set-aside", "producers-set-aside", "goes-on", "settled", "claimed", "spawning", "spawned")])
def test_a_crash_while_it_mends_itself(site: Site, point: str):
    """Whatever dies between two attempts, the next relaunch has all inputs whole."""
    site.env["NFRESUME_LEASE_SECONDS"] = "1"
    e = fail(site, CHAIN)
    changed = CHAIN.replace("sha256sum < $b", "cat $b | sha256sum | tr a-f A-F")
    (site.launch_dir / "fixed").touch()
    (site.launch_dir / "main.nf").write_text(changed)
    site.run("relaunch", "--detach", e["id"], NFRESUME_CRASH_AT=point)

    def ended() -> bool:
        site.run("sweep")
        return site.show()["state"] in ("FAILED", "SUCCEEDED")

    until(ended, 300, every=0.5)
    del site.env["NFRESUME_LEASE_SECONDS"]
    if site.show()["state"] == "FAILED":
        relaunch(site, e, changed)
    assert results(site) == plain(site, changed)


@pytest.mark.long
def test_a_sweep_runs_no_pipeline(site: Site):
    """If a lost attempt has to be followed by another one, a sweep leaves that to a new supervisor."""
    site.env["NFRESUME_LEASE_SECONDS"] = "1"
    e = fail(site, CHAIN)
    changed = CHAIN.replace("sha256sum < $b", "cat $b | sha256sum | tr a-f A-F")
    (site.launch_dir / "fixed").touch()
    (site.launch_dir / "main.nf").write_text(changed)
    site.run("relaunch", "--detach", e["id"], NFRESUME_CRASH_AT="head-ended")
    until(lambda: not site.supervisors() and site.show()["state"] == "RUNNING", 120, "its crash")

    def goes_on() -> bool:
        return "a new supervisor goes on with it" in site.run("sweep").out

    until(goes_on, 60, "a sweep that finds it", every=0.5)
    assert len(site.show()["attempts"]) == 3
    del site.env["NFRESUME_LEASE_SECONDS"]
    until(lambda: site.show()["state"] == "SUCCEEDED", 300, every=0.5)
    assert results(site) == plain(site, changed)


@pytest.mark.long
def test_what_is_published_or_not_yet_staged_stays(site: Site):
    """Published files, small ones, files that nobody has staged, and what a failed task reads keep all."""
    script = """
process A { publishDir 'results', mode: 'copy', pattern: 'public.bin'
  output: path 'public.bin', emit: shown
          path 'nobody.bin', emit: nobody
          path 'small.txt', emit: small
          path 'needed.bin', emit: needed
          path 'folder', emit: folder
  script: '''for n in public nobody needed; do yes $n | head -c 2000000 > $n.bin; done; echo s > small.txt
  mkdir -p folder/deep; yes f | head -c 2000000 > folder/deep/in.bin; echo f > folder/deep/small''' }
process B { input: path shown
                   path small
                   path needed
                   path folder
  output: path 'b.txt'
  script: "cat $shown $small $needed $folder/deep/in.bin | wc -c > b.txt" }
process C { publishDir 'results', mode: 'copy'
  input: path needed
         path b
  output: path 'c.txt'
  script: "wc -c < $needed > c.txt; [ -e ${launchDir}/fixed ]" }
workflow { A(); B(A.out.shown, A.out.small, A.out.needed, A.out.folder); C(A.out.needed, B.out) }
"""
    e = fail(site, script)
    assert emptied(e) == ["in.bin"]
    relaunch(site, e)
    assert sorted(cached(site, 2)) == ["A", "B"]


@pytest.mark.long
def test_cache_deep_and_other_doubts(site: Site):
    """Where a process hashes contents, nothing is emptied, and the reason is told."""
    e = fail(site, CHAIN.replace("process C {", "process C { cache 'deep';"))
    assert event(e, "emptied")["left_alone"] == "its pipeline uses cache 'deep'"
    assert emptied(e) == []
    assert json.dumps(e["retain"]) == '"lean"'
    assert re.search("lean: no file was emptied.*cache 'deep'", e["said"])


@pytest.mark.long
@pytest.mark.parametrize("mode", ["symlink", "rellink", "link", "copy"])
def test_published_for_the_first_time_from_the_cache(site: Site, mode: str):
    """A relaunch that publishes what was not published before gets the whole file, not a link to nothing."""
    e = fail(site, CHAIN)
    more = CHAIN.replace('process A { tag "$n";',
                         f"process A {{ tag \"$n\"; publishDir 'results', mode: '{mode}';")
    relaunch(site, e, more)
    found = results(site)
    assert len(found["a1.bin"]) == len(found["a2.bin"]) == BIG
    assert set(found["a1.bin"]) == set("a1\n")
    assert found == plain(site, more)


@pytest.mark.long
def test_a_new_reader_and_another_reference(site: Site):
    """A new process that reads an emptied output, and a changed input of the first task, get whole files."""
    e = fail(site, CHAIN)
    more = CHAIN.replace("workflow {", """process NEW { publishDir 'results', mode: 'copy'
  scratch true
  stageInMode 'copy'
  input: tuple val(n), path(a)
  output: path("new${n}.txt")
  script: "cat $a | cksum > new${n}.txt" }
workflow {""").replace("D(C(B(A(Channel.of(1, 2)))).toSortedList { it.name })",
                       "A(Channel.of(1, 2)); NEW(A.out); D(C(B(A.out)).toSortedList { it.name })")
    relaunch(site, e, more)
    assert results(site) == plain(site, more)


@pytest.mark.long
def test_rehydrate(site: Site):
    """Everything is made again, what was emptied is whole, and the work dir is kept slim from then on."""
    e = fail(site, CHAIN)
    shown = site.ok("show", e["id"]).out
    assert "lean: 4 files, 11.4 MiB, keep no content, which saves" in shown
    assert "up to 4 tasks again" in site.ok("measure", e["id"]).out
    assert "more would be kept in full" in site.ok("costs").out
    told = site.ok("relaunch", "--dry-run", e["id"]).out
    assert "would be reused for certain: 6 tasks" in told
    assert "one of 4 files whose content is not kept (lean): at most 4 tasks" in told
    done = site.run("rehydrate", e["id"])
    assert done.code == 1, done.err  # its last task fails again
    after = site.show()
    assert after["retain"] == "slim"
    assert emptied(after) == []
    work = Path(after["work_dir"]["path"])
    sizes = {p.name: p.stat().st_blocks > 0 for p in work.glob("[0-9a-f][0-9a-f]/*/[ab]?.bin")
             if not p.is_symlink()}
    assert sizes == dict.fromkeys(("a1.bin", "a2.bin", "b1.bin", "b2.bin"), True)
    relaunch(site, e)
    assert len(cached(site, 3)) == 6
    again = site.run("rehydrate", e["id"])
    assert again.code != 0
    assert "no file" in again.err
