"""Lean retention where tasks are jobs of a real Slurm."""

from __future__ import annotations

import pytest

from tests.acceptance.test_lean import CHAIN, LEAN, emptied, results
from tests.conftest import Site
from tests.slurm.conftest import BOUND
from tests.slurm.test_slurm import batch, ended  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(1200)]
#: Its C reads in a pipe without pipefail, where an error would be lost.
CHANGED = CHAIN.replace("sha256sum < $b", "cat $b | sha256sum | tr a-f A-F")


@pytest.fixture
def site(site: Site) -> Site:
    site.prefix, site.patience = BOUND, 600
    return site


def fail(site: Site) -> str:
    """Launch what fails late; returns the execution's id."""
    (site.launch_dir / "main.nf").write_text(CHAIN)
    site.ok("launch", "--detach", *LEAN, "main.nf", "-c", "slurm.config")
    e = site.show()
    assert ended(site, e["id"])["state"] == "FAILED"
    assert emptied(site.show()) == ["a1.bin", "a2.bin", "b1.bin", "b2.bin"]
    (site.launch_dir / "fixed").touch()
    return e["id"]


def plain(site: Site) -> dict[str, str]:
    """The results of the pipeline, launched anew with nothing to reuse."""
    (site.launch_dir / "results").rename(site.launch_dir / "before")
    site.ok("launch", "main.nf", "-c", "slurm.config", NFRESUME_LAUNCHER="local")
    return results(site)


@pytest.mark.parametrize("script", [
    CHAIN, CHANGED, CHANGED.replace("process C {", "process C { array 2;")], ids=["same", "changed", "array"])
def test_tasks_are_jobs(batch: Site, script: str):  # noqa: F811
    """Each job has the guard: without a change all is reused; with one, what is needed is made again."""
    batch.env["NFRESUME_LAUNCHER"] = "local"
    execution = fail(batch)
    (batch.launch_dir / "main.nf").write_text(script)
    done = batch.ok("relaunch", execution)
    assert ("made again" in done.err) == (script != CHAIN), done.err
    assert batch.show()["attempts"][-1]["number"] == (2 if script == CHAIN else 3)
    assert results(batch) == plain(batch)


def test_the_head_is_a_job(batch: Site):  # noqa: F811
    """An attempt whose head is a job ends when a file is needed, and the next relaunch makes it again."""
    execution = fail(batch)
    (batch.launch_dir / "main.nf").write_text(CHANGED)
    for number in range(2, 6):
        batch.ok("relaunch", "--detach", execution)
        after = ended(batch, execution)
        assert after["attempts"][-1]["number"] == number
        if after["state"] == "SUCCEEDED":
            break
        assert "is needed, and its content is not kept" in after["attempts"][-1]["error"]
    assert after["state"] == "SUCCEEDED"
    assert results(batch) == plain(batch)
