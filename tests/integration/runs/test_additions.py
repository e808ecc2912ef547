"""What users add to published folders before a relaunch, on real files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nfresume.nextflow.record import Published
from nfresume.retained import additions
from tests.integration.runs.test_clearing import D1, D2, Run


@pytest.mark.parametrize("fate", ["replaced", "left", "removed", "away"])
def test_what_a_user_has_added_to_a_published_folder(tmp_path: Path, fate: str):
    """It is there again when Nextflow has replaced or removed the folder. Stale results stay away.

    Where the folder above is away, what was added stays in the records.
    """
    run, results = Run(tmp_path), tmp_path / "results/sample"
    for task_dir, name in ((D1, "old.bam"), (D2, "a.bam")):
        source = run.folder.work / task_dir / "sample"
        (source / "sub").mkdir(parents=True)
        (source / "sub" / name).write_text(name)
        run.attempt(Published(str(results), str(source), "SYMLINK", task_dir))
    shutil.copytree(source, results)
    for name in ("sub/a.bam.bai", "mine/notes.txt"):
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).write_text(name)
    run.attempt()
    additions.keep(run.folder, 3, 2, lambda: None)
    if fate != "left":
        shutil.rmtree(results)
    if fate == "replaced":
        shutil.copytree(run.folder.work / D1 / "sample", results)  # the task ran again
    if fate == "away":
        results.parent.rmdir()
    for _ in range(2):
        additions.put_back(run.folder.attempt(3))
    found = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    assert found == {"replaced": {"sub/old.bam", "sub/a.bam.bai", "mine/notes.txt"},
                     "left": {"sub/a.bam", "sub/a.bam.bai", "mine/notes.txt"},
                     "removed": {"sub/a.bam.bai", "mine/notes.txt"}}.get(fate, set())
    assert (run.folder.attempt(3) / "additions").exists() == (fate == "away")
