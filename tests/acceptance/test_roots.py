"""A root that moved and a root that was copied: nothing is deleted by mistake, no result is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.acceptance.test_faults import reused
from tests.acceptance.test_life import fix
from tests.conftest import Site

pytestmark = pytest.mark.slow


def results(folder: Path) -> dict[str, str]:
    """Text of every file below a folder that can be read; dangling links are left out."""
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["Smith, J", "100%2", "$scratch", "a\tb"])
def test_a_root_that_nextflow_misreads(site: Site, name: str):
    """A root with which Nextflow's log, configuration or tasks would fail is refused before anything runs."""
    site.pipeline("scratch")
    refused = site.run("launch", "scratch", NFRESUME_ROOT=str(site.base / name))
    assert (refused.code, refused.out) == (73, "")
    assert "misreads" in refused.err
    assert not (site.base / name).exists()


@pytest.mark.parametrize("words", [
    ("launch", "scratch"), ("launch", "{dead}/main.nf"), ("launch", "--metadata", "{dead}/m.py", "scratch"),
    ("doctor",)])
def test_a_mount_whose_server_has_died(site: Site, dead_mount: Path, words: tuple[str, ...]):
    """It is told in one line what cannot be reached: a mount is no fault of ours."""
    site.pipeline("scratch")
    if "{dead}" not in "".join(words):
        site.env["NFRESUME_ROOT"] = str(dead_mount / "root")
    done = site.run(*(word.format(dead=dead_mount) for word in words))
    assert done.code
    assert "Traceback" not in done.err
    assert "not connected" in done.out + done.err
    assert str(dead_mount) in done.out + done.err


@pytest.mark.long
def test_a_root_that_moved(site: Site):
    """Case 32: a moved root is refused until --mark-root; results stay, and a relaunch needs the old path."""
    pipeline = site.pipeline("fail-late")
    for outdir in ("one", "two"):
        site.run("launch", "fail-late", "--outdir", outdir, "--storage-expiration-hours", "5")
    kept, deleted = (e["id"] for e in site.ok("list", "--json").json())
    published = results(site.launch_dir / "one")
    assert len(published) == 3
    old, new = site.root, site.base / "elsewhere"
    old.rename(new)
    assert site.run("delete", deleted, "--yes").code == 73
    assert site.show(deleted)["work_dir"]["state"] == "RETAINED"
    site.env["NFRESUME_ROOT"] = str(new)
    refused = site.run("launch", "fail-late")
    assert (refused.code, f"has the mark of the root at {old}" in refused.err) == (73, True)
    assert site.run("doctor").code == 1
    site.ok("doctor", "--mark-root")

    assert results(site.launch_dir / "one") == published  # real since the run ended
    site.ok("delete", deleted, "--yes")
    assert not (new / "team" / deleted / "work").exists()
    assert results(site.launch_dir / "one") == published
    refused = site.run("relaunch", kept)
    assert (refused.code, "finds finished tasks by path" in refused.err) == (80, True)

    new.rename(old)
    site.env["NFRESUME_ROOT"] = str(old)
    site.ok("doctor", "--mark-root")
    fix(pipeline)
    assert reused(site.ok("relaunch", kept)) == (7, 1)
    assert {name.removeprefix("per-sample/") for name in results(site.launch_dir / "two")} > {"report.csv"}


@pytest.mark.long
def test_from_scratch_in_a_root_that_moved(site: Site):
    """Case 32: --from-scratch runs everything again in a moved root, and results of both attempts stay."""
    pipeline = site.pipeline("fail-late")
    site.run("launch", "fail-late", "--storage-expiration-hours", "5")
    execution = site.show()["id"]
    fix(pipeline)
    new = site.base / "elsewhere"
    site.root.rename(new)
    site.env["NFRESUME_ROOT"] = str(new)
    site.ok("doctor", "--mark-root")
    site.ok("relaunch", execution, "--from-scratch", "--outdir", "again")
    e = site.show(execution)
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    assert e["work_dir"]["path"] == f"{new}/team/{execution}/work"
    assert len(results(site.launch_dir / "results")) == 3
    assert len(results(site.launch_dir / "again")) == 4


@pytest.mark.long
def test_a_copy_of_a_root(site: Site):
    """Case 24: a copy of a root is refused, because its executions are the original's; without its mark it
    can become a root of its own."""
    site.run("launch", str(site.pipeline("fail-late")), "--storage-expiration-hours", "5")
    execution = site.show()["id"]
    original, copy = site.root, site.base / "copy"
    shutil.copytree(original, copy, symlinks=True)
    site.env["NFRESUME_ROOT"] = str(copy)
    for words in (("launch", "fail-late"), ("doctor", "--mark-root")):
        assert site.run(*words).code == 73
    assert f"is a copy of the root at {original}" in site.run("doctor", "--mark-root").err
    (copy / ".nfresume").unlink()
    site.ok("doctor", "--mark-root")
    (site.launch_dir / "two.nf").write_text("workflow { }")
    site.ok("launch", "two.nf")
    site.ok("delete", execution, "--yes")  # in the original root, although the setting names the copy
    assert not (original / "team" / execution / "work").exists()
    assert (copy / "team" / execution / "work").is_dir()
