"""What a task leaves: each of its outputs exists, lies in its task dir, and stands alone there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from nfresume.tasks import task_files, values
from nfresume.tasks.views import INPUTS, PRIVATE

OUTPUTS = ".outputs"
#: Folders in the task dir that end with the task.
_PASSING = (INPUTS, PRIVATE)


class BadOutput(Exception):
    """A task returned what cannot be kept. The message says which and why."""


def collect(
    outputs: Any, task_dir: Path, working: Path, input_paths: set[str],
    written: Callable[[Path], Path | None] = lambda _: None, passing: Iterable[str] = (),
) -> tuple[Any, dict[str, str]]:
    """Bring the outputs in encoded JSON into the task dir. Returns the JSON with their new paths, and these.

    What is in `working`, the working folder, stays there, except for links of the names `passing`. Inputs
    that the task returns are not copied. `written` gives the file that holds what the task wrote to a path,
    for this task only: it is linked, not copied. Raises BadOutput for an output that does not exist, is of
    the wrong kind, or has links that lead nowhere.
    """
    for path, is_folder in _typed(outputs):
        _check(Path(path), is_folder)
    new_paths: dict[str, str] = {}
    pending = [path for path in dict.fromkeys(values.paths_in(outputs)) if path not in input_paths]

    try:
        for at, path in enumerate(pending):
            place = Path(path)
            if not place.exists():  # a Path may name what does not exist
                continue
            if place in task_dir.parents and place != working:
                raise OSError(f"{place} contains the folder of the task itself")
            if not _stays(place, task_dir, working):
                new_paths[path] = str(task_dir / OUTPUTS / str(at) / (place.name or "output"))
                task_files.copy(place.resolve(), Path(new_paths[path]), written)
            elif place.is_dir():
                task_files.settle_links(place, {working / name for name in passing}, written)
    except OSError as e:
        raise BadOutput(f"its output cannot be kept: {e.args[0] if len(e.args) == 1 else e}") from None
    return values.replace_paths(outputs, new_paths), new_paths


def _stays(place: Path, task_dir: Path, working: Path) -> bool:
    """Whether what is at a place stays there when the task has ended, and no link leads to it."""
    for top in (working, task_dir):
        if top in (place, *place.parents):
            place = top.resolve() / place.relative_to(top)
            break
    if place.resolve() != place:
        return False
    above, real = (place, *place.parents), task_dir.resolve()
    return working.resolve() in above or (
        real in above and not any(real / name in above for name in _PASSING))


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
    if not path.is_dir() and not path.is_file():
        raise BadOutput(f"its output {path} is neither file nor folder ({name})")
    if path.is_dir() != is_folder:
        raise BadOutput(f"its output {path} is a {'file' if is_folder else 'folder'}, not a {name}")
