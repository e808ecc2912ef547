"""Lean retention while it runs, with real Nextflow: less is stored at once, and a resume stays whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nfresume.nextflow import guard
from tests.acceptance.test_lean import BOUND, SAMPLES, emptied, event, plain, relaunch, results
from tests.acceptance.test_resume import cached
from tests.conftest import Site, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

#: HOLD waits for the file `go`; with --late another process reads B afterwards.
#: HERE is the launch dir: Nextflow would digest the variable by its time, and run HOLD again.
PIPELINE = SAMPLES + """
params.late = false
process HOLD { input: path cs
  output: path 'held.txt'
  script: 'cat c*.txt > held.txt; until [ -e HERE/go ]; do sleep 0.1; done' }
process LATE { input: tuple val(n), path(b)
                      path held
  output: path "late${n}.txt"
  script: "wc -c < $b > late${n}.txt" }
process D { publishDir 'results', mode: 'copy'
  input: path held
         path late
  output: path 'd.txt'
  script: "cat $held $late > d.txt; [ -e HERE/fixed ]" }
workflow {
  b = B(A(Channel.of(1, 2)))
  held = HOLD(C(b).toSortedList { it.name })
  D(held, params.late ? LATE(b, held.first()).toSortedList { it.name } : [])
}
"""


@pytest.fixture
def site(site: Site) -> Site:
    site.prefix, site.patience = BOUND, 900
    site.env |= {"NFRESUME_FREE_WHILE_RUNNING": "true", "NFRESUME_SAMPLE_SECONDS": "0.5"}
    write(site)
    return site


def write(site: Site, script: str = PIPELINE) -> str:
    """Write the pipeline; returns its text."""
    text = script.replace("HERE", str(site.launch_dir))
    (site.launch_dir / "main.nf").write_text(text)
    return text


def show_what_is_read(site: Site) -> None:
    """An execution that succeeds: it shows which processes read which outputs."""
    for name in ("go", "fixed"):
        (site.launch_dir / name).touch()
    site.ok("launch", "main.nf")
    for name in ("go", "fixed"):
        (site.launch_dir / name).unlink()


def run_until_held(site: Site, *words: str, hours: str = "5", **env: str) -> dict[str, Any]:
    """Launch; returns when HOLD waits for `go`."""
    site.ok("launch", "--detach", "--retain", "lean", "--storage-expiration-hours", hours, "main.nf", *words,
            **env)

    def held() -> dict[str, Any] | None:
        e = site.show()
        return e if next(Path(e["work_dir"]["path"]).glob("*/*/held.txt"), None) else None

    return until(held, 300, "HOLD waits")


def freed(site: Site) -> int:
    """How many files were emptied while it ran."""
    return sum(v["detail"]["files"] for v in site.show()["events"] if v["name"] == "freed")


def test_freed_while_it_runs(site: Site):
    """What only finished processes read is emptied during the run; after a failure all tasks are reused."""
    show_what_is_read(site)
    e = run_until_held(site)
    until(lambda: freed(site) == 4, 120, "four files are emptied")
    assert site.show()["state"] == "RUNNING"
    (site.launch_dir / "go").touch()
    assert site.run("wait", e["id"]).code == 1
    e = site.show()
    assert emptied(e) == ["a1.bin", "a2.bin", "b1.bin", "b2.bin"]
    relaunch(site, e)
    assert sorted(set(cached(site, 2))) == ["A (1)", "A (2)", "B (1)", "B (2)", "C (1)", "C (2)", "HOLD"]
    assert results(site) == plain(site, write(site))


@pytest.mark.long
@pytest.mark.parametrize("hours", ["5", "0"])
def test_a_process_that_the_earlier_execution_did_not_have(site: Site, hours: str):
    """It needs a file that is emptied by then: the attempt ends before it reads, and makes the file again,
    also where failures are not kept."""
    show_what_is_read(site)
    e = run_until_held(site, "--late", hours=hours)
    until(lambda: freed(site) == 4, 120, "four files are emptied")
    for name in ("go", "fixed"):
        (site.launch_dir / name).touch()
    assert site.run("wait", e["id"]).code == 0
    e = site.show()
    assert len(e["attempts"]) > 1
    assert event(e, "goes_on")["processes"]
    found = results(site)
    assert found["d.txt"].endswith("3000002\n3000002\n")
    (site.launch_dir / "results").rename(site.launch_dir / "freed")
    site.ok("launch", "main.nf", "--late")
    assert results(site) == found


#: After its end the pipeline takes outputs: no process has shown that it reads them.
TAKING = """
workflow.onComplete { file('saved').mkdirs(); paths.each { it.TAKE("saved/${it.name}") } }
"""


def taking(how: str) -> str:
    """The pipeline with a handler that takes what B has made."""
    made = "  b = B(A(Channel.of(1, 2)))\n"
    assert made in PIPELINE
    told = PIPELINE.replace(made, f"{made}  b.subscribe {{ paths << it[1] }}\n")
    return f"def paths = []\n{told}{TAKING.replace('TAKE', how)}"


def run_with_handler(site: Site, how: str) -> dict[str, Any]:
    """Launch it once whole, and once with four files emptied before its end, which is allowed to come."""
    write(site, taking(how))
    show_what_is_read(site)
    (site.launch_dir / "saved").rename(site.launch_dir / "before")
    e = run_until_held(site)
    until(lambda: freed(site) == 4, 120, "four files are emptied")
    for name in ("go", "fixed"):
        (site.launch_dir / name).touch()
    return e


def check_saved(site: Site) -> None:
    """What the handler has taken is what it took when nothing was emptied."""
    for name in ("b1.bin", "b2.bin"):
        saved, before = (site.launch_dir / place / name for place in ("saved", "before"))
        assert saved.read_bytes() == before.read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("how", ["copyTo", "mklink"])
def test_what_a_handler_takes_is_never_empty(site: Site, how: str):
    """A copy that is denied is no success, though Nextflow says so: the files are made again at once. A link
    to an emptied file is made no result: the work dir is held until it is removed."""
    e = run_with_handler(site, how)
    site.run("wait", e["id"])
    after = site.show()
    assert after["state"] == "SUCCEEDED"
    if how == "copyTo":
        assert event(after, "goes_on")["processes"]
    else:
        assert "content is not kept" in event(after, "results_secured")["because"]
        assert after["work_dir"]["state"] == "RETAINED"
        for link in (site.launch_dir / "saved").iterdir():
            link.unlink()
        site.ok("rehydrate", e["id"])
        site.ok("delete", "--yes", e["id"])
    check_saved(site)


@pytest.mark.long
def test_an_emptied_file_that_a_handler_moves_away(site: Site):
    """A move needs no right to read: the attempt has failed, and is held, and the files are named."""
    e = run_with_handler(site, "moveTo")
    assert site.run("wait", e["id"]).code == 70
    after = site.show()
    assert (after["state"], after["work_dir"]["state"]) == ("FAILED", "RETAINED")
    assert ".bin and 1 more was moved, linked or deleted, and its content is not kept" in (
        after["attempts"][-1]["error"])
    for path in (site.launch_dir / "saved").iterdir():
        path.unlink()
    relaunch(site, e)
    check_saved(site)


@pytest.mark.long
@pytest.mark.parametrize("known", ["nothing", "other code", "published"])
def test_what_is_not_shown_stays(site: Site, known: str):
    """Without an earlier success of the same code nothing is emptied, nor what that success published."""
    if known == "published":
        write(site, PIPELINE.replace("process B {", "process B { publishDir 'bs';"))
    if known != "nothing":
        show_what_is_read(site)
    if known == "other code":
        write(site, PIPELINE + "// another\n")
    e = run_until_held(site)
    seen = 2 if known == "published" else 0
    until(lambda: freed(site) == seen, 60)
    guarded = Path(e["work_dir"]["path"]).parent / "attempts/1" / guard.LIST
    assert guarded.exists() == bool(seen)  # without a guard nothing is emptied during a run
    (site.launch_dir / "go").touch()
    assert site.run("wait", e["id"]).code == 1
    assert freed(site) == seen


@pytest.mark.long
@pytest.mark.parametrize("point", ["listed-as-emptied", "armed", "half-emptied"])
def test_a_crash_while_it_frees(site: Site, point: str):
    """A supervisor that dies in between is replaced, and the run goes on; all results are right."""
    show_what_is_read(site)
    site.env["NFRESUME_LEASE_SECONDS"] = "1"
    e = run_until_held(site, NFRESUME_CRASH_AT=point)
    until(lambda: not site.supervisors(), 120, "the supervisor has died")
    for name in ("go", "fixed"):
        (site.launch_dir / name).touch()

    def ended() -> bool:
        site.run("sweep")
        return site.show()["state"] in ("FAILED", "SUCCEEDED")

    until(ended, 300, every=0.5)
    del site.env["NFRESUME_LEASE_SECONDS"]
    if site.show()["state"] == "FAILED":
        relaunch(site, e)
    assert results(site) == plain(site, write(site))
