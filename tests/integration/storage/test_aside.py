"""Task dirs are set aside, whatever modes their tasks have given them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import BOUND

_SET_ASIDE = ("import sys; from pathlib import Path; from nfresume.storage.aside import set_aside\n"
              "print(*set_aside(Path(sys.argv[1]), ['ab/cdef01'], 'run-a1-1'))")


def test_a_task_dir_that_its_task_has_made_read_only(tmp_path: Path):
    """For users other than root the kernel renames no folder that they may not write to into another one."""
    task_dir = tmp_path / "ab/cdef01234"
    task_dir.mkdir(parents=True)
    (task_dir / ".command.log").write_text("said")
    task_dir.chmod(0o500)
    done = subprocess.run([*BOUND, sys.executable, "-c", _SET_ASIDE, tmp_path], capture_output=True,
                          text=True)
    assert (done.stdout, done.stderr) == ("ab/cdef01234\n", "")
    assert (tmp_path / ".unfinished/run-a1-1/ab-cdef01234/.command.log").read_text() == "said"
