"""The folders that scripts of tasks name: a task may have linked its results there itself."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from nfresume.storage.workers import WorkerPool
from nfresume.system import regular

#: A script that is larger is read so far.
_LARGEST = 1 << 20
#: An absolute path, in quotes or without. Behind a letter, a brace or the like it is only the end of a path.
_PATH = re.compile(r"""'(/[^'\n]*)'|"(/[^"\n$`]*)|(?<![\w.~$}*?/:-])(/[^\s"'`;|&()<>${}*?,]+)""")


def folders(work: Path, tasks: Iterable[str], workers: int, heartbeat: Callable[[], None]) -> set[str]:
    """The folders that the scripts of these task dirs name, or in which lies what they name."""
    found: set[str] = set()

    def read(task_dir: str) -> None:
        try:
            with open(work / task_dir / ".command.sh", errors="surrogateescape",
                      opener=regular.opener) as script:
                text = script.read(_LARGEST)
        except OSError:
            return
        found.update(named_in(text))

    WorkerPool(workers, threading.Event(), read).run(list(tasks), heartbeat)
    return {folder for folder in found if os.path.isdir(folder)}


def named_in(text: str) -> set[str]:
    """Each absolute path that a script names, and the folder around it.

    >>> sorted(named_in('ln -s $PWD/a "/data/my results/$id.txt"; cp b --to=/data/b https://x/y ${d}/z'))
    ['/data', '/data/b', '/data/my results']
    """
    found = set()
    for match in _PATH.finditer(text):
        path = "/" + os.path.normpath(next(filter(None, match.groups()), "/")).lstrip("/")
        found |= {path, os.path.dirname(path)}
    return found - {"/"}
