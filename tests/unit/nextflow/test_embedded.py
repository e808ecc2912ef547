"""The embedded engine's folder."""

from __future__ import annotations

from pathlib import Path

from nfresume.nextflow import embedded


def test_what_a_killed_installation_left(tmp_path: Path):
    """The next download of the same version removes it, and nothing else."""
    target = tmp_path / "nextflow-24.10.5"
    for name in (".nextflow-24.10.5-killed/jars", ".nextflow-24.10.4-other", target.name):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / f"{target.name}.lock").touch()
    embedded.clear_leftovers(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".nextflow-24.10.4-other", target.name, f"{target.name}.lock"]
