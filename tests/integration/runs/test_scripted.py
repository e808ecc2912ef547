"""The folders that the scripts of tasks name."""

from __future__ import annotations

from pathlib import Path

from nfresume.retained import scripted
from nfresume.storage import Root


def test_task_dirs_of_the_inputs_are_not_looked_at(tmp_path: Path):
    """Each script names them, and they are as many as the tasks: each look is a request to a file server."""
    folder = Root.mark(tmp_path / "root").execution("team", "run-a1")
    folder.provision(1)
    results = tmp_path / "results"
    results.mkdir()
    dirs = [f"ab/{number:030x}" for number in range(3)]
    for task_dir in dirs:
        (folder.work / task_dir).mkdir(parents=True)
        (folder.work / task_dir / ".command.sh").write_text(
            f"ln -s {folder.work}/{dirs[0]}/x x\nln -s $PWD/x {results}/x\n")
    found = scripted.folders(folder, 1, dirs, str(tmp_path), 2, lambda: None)
    assert (found.below, found.around) == (set(), {str(results)})
