"""The digests of a pipeline's code files."""

from __future__ import annotations

import os
from pathlib import Path

from nfresume.nextflow import sources
from nfresume.system import trees


def test_results_beside_a_script_are_not_followed(tmp_path: Path):
    """A launch does not look at what published links lead to: each look may take long."""
    script = tmp_path / "main.nf"
    script.write_text("workflow {}")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/shared").symlink_to(tmp_path)
    (tmp_path / "results").mkdir()
    link = tmp_path / "results/a.txt"
    link.symlink_to(script)
    os.utime(link, (0, 0), follow_symlinks=False)
    assert list(sources.take(script, tmp_path) or {}) == [str(script)]
    assert link.lstat().st_atime == 0  # following a link sets it


def test_results_of_any_depth_beside_a_script(tmp_path: Path):
    """A folder of a thousand levels stops no launch."""
    script = tmp_path / "main.nf"
    script.write_text("workflow {}")
    deep = tmp_path / "deep"
    deep.mkdir()
    inside = os.open(deep, os.O_DIRECTORY)
    for _ in range(2_500):
        os.mkdir("d", dir_fd=inside)
        inside, above = os.open("d", os.O_DIRECTORY, dir_fd=inside), inside
        os.close(above)
    os.close(inside)
    try:
        assert list(sources.take(script, tmp_path) or {}) == [str(script)]
    finally:
        trees.remove(str(deep))
