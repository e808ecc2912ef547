"""The folders that a pipeline's code and the scripts of its tasks name: they may have made links there."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nfresume.domain.errors import NotFound
from nfresume.nextflow import kept_inputs, sources
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.workers import WorkerPool
from nfresume.system import regular

#: Of a task: its script, and what is around it (beforeScript, afterScript, variables of the configuration).
_SCRIPTS = (".command.sh", ".command.run")
#: A text that is larger is read so far, and of so many paths in it.
_LARGEST = 1 << 20
_MOST_PATHS = 1_000
#: Of so many files of code: a virtual environment may lie in a pipeline's folder.
_MOST_FILES = 1_000
#: An absolute path, in quotes or without. Behind a letter, a brace or the like it is only the end of a path.
_PATH = re.compile(r"""'(/[^'\n]*)'|"(/[^"\n$`]*)|(?<![\w.~$}*?/:-])(/[^\s"'`;|&()<>${}*?,]+)""")
#: The beginning of a path that is absolute once its variable is known. `..` is so in quotes only.
_VARIABLE = re.compile(
    r"""(?<![\w./~])(~)(?=/)|\$\{?(HOME|projectDir|baseDir|launchDir)\b\}?|(?<=["'])(\.\.)(?=/)""")
#: Folders that are not on a disk.
_NOT_ON_DISK = re.compile(r"/(proc|sys|dev(?!/shm/))(/|$)")


@dataclass(frozen=True)
class Folders:
    """Folders that texts name: `below` themselves, `around` by something that lies directly in them."""

    below: frozenset[str] = frozenset()
    around: frozenset[str] = frozenset()


def folders(
    folder: ExecutionFolder, number: int, tasks: Iterable[str], launch_dir: str, workers: int,
    heartbeat: Callable[[], None],
) -> Folders:
    """What attempt `number` names: its code, its configuration, and the scripts in these task dirs."""
    attempt_dir = folder.attempt(number)
    pipeline = os.path.join(launch_dir, str((folder.request(number) or {}).get("pipeline", "")))
    project = pipeline if os.path.isdir(pipeline) else os.path.dirname(pipeline)
    variables = {"~": os.path.expanduser("~"), "..": f"{launch_dir}/..", "launchDir": launch_dir,
                 "HOME": os.path.expanduser("~"), "projectDir": project, "baseDir": project}
    code = sorted(sources.kept(attempt_dir) or (), key=lambda path: path.count("/"))
    texts = [Path(path) for path in code[:_MOST_FILES]]
    with contextlib.suppress(NotFound):  # what is damaged names nothing
        given = kept_inputs.read(attempt_dir)
        texts += [attempt_dir / kept_inputs.FOLDER / each.kept for each in given if each.kept]
    texts += [folder.work / task / name for task in tasks for name in _SCRIPTS]
    ours = f"{folder.root.path}/"
    below: set[str] = set()
    around: set[str] = set()
    is_folder: dict[str, bool] = {}

    def read(path: Path) -> None:
        try:
            with open(path, errors="surrogateescape", opener=regular.opener) as file:
                text = file.read(_LARGEST)
        except OSError:
            return  # what is gone names nothing
        for named in named_in(text, variables):
            if named.startswith(ours):
                continue  # scripts name the task dirs of their inputs
            parent = os.path.dirname(named)
            below.add(named)
            around.add(parent)
            for each in {named, parent} - is_folder.keys():
                is_folder[each] = not _NOT_ON_DISK.match(each) and os.path.isdir(each)

    WorkerPool(workers, threading.Event(), read).run(texts, heartbeat)
    return Folders(*(frozenset(path for path in found if is_folder[path]) for found in (below, around)))


def named_in(text: str, variables: Mapping[str, str]) -> set[str]:
    """The first absolute paths that a text names. `variables` say what some of their beginnings mean.

    >>> sorted(named_in('ln -s $PWD/a "/data/my results/$id.txt"; cp b --to=/data/b https://x/y ${d}/z', {}))
    ['/data/b', '/data/my results']
    >>> sorted(named_in("cp a ~/b; c = '../d'; cp a ${HOME}/e", {"~": "/me", "..": "/in/..", "HOME": "/me"}))
    ['/d', '/me/b', '/me/e']
    """
    known = _VARIABLE.sub(lambda m: variables.get(next(filter(None, m.groups())), m[0]), text)
    found = islice(_PATH.finditer(known), _MOST_PATHS)
    paths = {"/" + os.path.normpath(next(filter(None, m.groups()), "/")).lstrip("/") for m in found}
    return paths - {"/"}
