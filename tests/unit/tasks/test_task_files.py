"""Files of tasks are copied, also over what an earlier copy has left."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

from tests.conftest import BOUND

_COPY = "import sys; from pathlib import Path; from nfresume.tasks import task_files\n" \
        "task_files.copy(Path(sys.argv[1]), Path(sys.argv[2]))"


def copy(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Copy as a user whom modes bind."""
    return subprocess.run([*BOUND, sys.executable, "-c", _COPY, source, target], text=True,
                          capture_output=True)


def test_a_folder_without_write_permission_is_copied_again(tmp_path: Path):
    """Two tasks may return one read-only folder, and a relaunch does; what a user protects stays."""
    source, target = tmp_path / "tree", tmp_path / "results/tree"
    (source / "deep").mkdir(parents=True)
    (source / "deep/a").write_text("old")
    for folder in (source / "deep", source):
        folder.chmod(0o555)
    assert copy(source, target).returncode == 0
    (source / "deep/a").write_text("new")
    again = copy(source, target)
    assert (again.returncode, (target / "deep/a").read_text()) == (0, "new"), again.stderr
    assert [stat.S_IMODE(f.stat().st_mode) for f in (target, target / "deep")] == [0o555, 0o555]
    (source / "deep").chmod(0o755)
    assert "PermissionError" in copy(source, target).stderr
