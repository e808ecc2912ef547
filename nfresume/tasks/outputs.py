"""What a task leaves: each of its outputs exists, lies in its task dir, and stands alone there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nfresume.tasks import task_files, values
from nfresume.tasks.isolation import INPUTS, PLACES, PRIVATE, View

OUTPUTS = ".outputs"
#: Folders in the task dir that end with the task.
PASSING = (INPUTS, PRIVATE)
#: The name of the folder that a task gets when it returns its working folder, which is /root on Latch.
WORKING_FOLDER = "root"


class BadOutput(Exception):
    """A task returned what cannot be kept. The message says which and why."""


def collect(
    outputs: Any, task_dir: Path, input_paths: set[str],
    written: Callable[[Path], Path | None] = lambda _: None,
) -> Any:
    """Bring the outputs in encoded JSON into the task dir. Returns the JSON with their new paths.

    Inputs that the task returns are not copied. `written` gives the file that holds what the task wrote to a
    path, for this task only: it is linked, not copied. Raises BadOutput for an output that does not exist, is
    of the wrong kind, or has links that lead nowhere.
    """
    for path, is_folder in _typed(outputs):
        _check(Path(path), is_folder)
    new_paths: dict[str, str] = {}
    pending = [path for path in dict.fromkeys(values.paths_in(outputs)) if path not in input_paths]

    def copied(source: Path, at: int) -> str:
        target = task_dir / OUTPUTS / str(at) / (source.name or WORKING_FOLDER)
        task_files.copy(source, target, written)
        return str(target)

    try:
        _take_working_folder(pending, task_dir, new_paths)
        for at, path in enumerate(pending):
            place = Path(new_paths.get(path, path))
            if not place.exists():  # a Path may name what does not exist
                continue
            if task_dir not in place.parents or any(task_dir / name in place.parents for name in PASSING):
                new_paths[path] = copied(place, at)
            elif place.is_dir():
                task_files.settle_links(place)
            elif place.is_symlink() and task_files.leads_out(place, task_dir.resolve()):
                new_paths[path] = copied(place, at)
    except OSError as e:
        raise BadOutput(f"its output cannot be kept: {e.args[0] if len(e.args) == 1 else e}") from None
    return values.replace_paths(outputs, new_paths)


def in_root(outputs: Any, task_dir: Path, view: View) -> dict[str, str]:
    """Where the outputs are that a task names in /root but wrote to the task dir, or the other way round.

    On Latch a task starts in /root, so both are one. By path, without those that are where they are named.
    """
    root, found = PLACES[0], {}
    for path in map(Path, values.paths_in(outputs)):
        there = None
        if task_dir in path.parents:
            other = root / path.relative_to(task_dir)
            there = other if not os.path.lexists(path) and view.wrote(other) else None
        elif root in path.parents and (view.covers(path) or not os.path.lexists(path)):
            there = None if view.wrote(path) else task_dir / path.relative_to(root)
        if there is not None and there.exists():
            found[str(path)] = str(there)
    return found


def _typed(outputs: Any) -> Iterator[tuple[str, bool]]:
    """The local path of each LatchFile and LatchDir, and whether it must be a folder."""
    for tag, path in values.typed_paths(outputs):
        if "://" not in path:
            yield path, tag == "LatchDir"


def _check(path: Path, is_folder: bool) -> None:
    name = "LatchDir" if is_folder else "LatchFile"
    if not os.path.lexists(path):
        raise BadOutput(f"its output {path} does not exist ({name})")
    if not path.exists():
        raise BadOutput(f"its output {path} is a link to {os.readlink(path)}, which does not exist ({name})")
    if path.is_dir() != is_folder:
        raise BadOutput(f"its output {path} is a {'file' if is_folder else 'folder'}, not a {name}")


def _take_working_folder(paths: list[str], task_dir: Path, new_paths: dict[str, str]) -> None:
    """If the task returns its working folder, move the task's own files of it into a folder of their own."""
    if above := [path for path in paths if Path(path) in task_dir.parents]:
        raise OSError(f"{above[0]} contains the folder of the task itself")
    if str(task_dir) not in paths:
        return
    target = task_dir / OUTPUTS / WORKING_FOLDER
    target.mkdir(parents=True)
    for entry in list(os.scandir(task_dir)):
        if not is_ours(entry.name):
            os.rename(entry.path, target / entry.name)
    for path in paths:
        if Path(path) == task_dir or task_dir in Path(path).parents:
            new_paths[path] = str(target / Path(path).relative_to(task_dir))


def is_ours(name: str) -> bool:
    """True for the name of a file in a task dir that nfresume writes, not the task."""
    return name.startswith((".command.", ".sbatch")) or name in (
        OUTPUTS, ".values", ".result.json", ".exitcode", ".miss", *PASSING)
