"""Task dirs by their names: that of a path, and the one that a short hash and a name mean.

Several task dirs may have one short hash.
"""

from __future__ import annotations

import os
from pathlib import Path

from nfresume.nextflow import evidence, wrapper
from nfresume.system import descriptors


def of_path(path: str, work: str) -> str:
    """The task dir `ab/cdef...` in which a path lies; empty when it does not lie in the work dir."""
    if not path.startswith(f"{work}/"):
        return ""
    return of_relative(path[len(work) + 1:])


def of_relative(path: str) -> str:
    """The task dir in which a path below the work dir lies."""
    return "/".join(path.split("/")[:2])


def beginning_with(work: Path, short: str) -> list[str]:
    """The task dirs `ab/cdef...` that begin with `short` (`ab/cdef01`, or a whole one), sorted."""
    first, _, rest = short.partition("/")
    try:
        names = os.listdir(work / first) if first and rest else []
    except OSError:
        return []
    return sorted(f"{first}/{name}" for name in names if name.startswith(rest))


def means(wanted: str, name: str, task_dir: str) -> bool:
    """True if a user who writes `wanted` means this task.

    It is the task's name or that of its process, with or without the workflows in front of it
    (`RNASEQ:ALIGN (liver)`, `ALIGN (liver)`, `ALIGN`), or the start of its task dir, of two letters or more.
    """
    process, tag = name.partition(" (")[::2]
    own = process.rpartition(":")[2]
    names = (name, process, own, name.removeprefix(process.removesuffix(own)) if tag else own)
    return wanted in names or (len(wanted) > 1 and task_dir.startswith(wanted))


def find(work: Path, short: str, name: str, *, unfinished: bool = False) -> str:
    """The task dir of a task; empty when there is none, or it stays ambiguous.

    Of several, it is the one whose wrapper has the task's name; of `unfinished` tasks also the one without
    an exit status.
    """
    found = beginning_with(work, short)
    if len(found) > 1:
        named = {task_dir: name_of(work, task_dir) for task_dir in found}
        found = [d for d in found if named[d] == name] or [d for d in found if not named[d]]
    if len(found) > 1 and unfinished:
        found = [d for d in found if not os.path.lexists(work / d / ".exitcode")]
    return found[0] if len(found) == 1 else ""


def name_of(work: Path, task_dir: str) -> str:
    """The name in the wrapper of a task; empty when there is none, as for native and Python tasks."""
    try:
        with descriptors.of(work) as fd, evidence.task_dir(fd, task_dir) as folder:
            kept = evidence.read(folder, wrapper.RUN)
    except OSError:
        return ""
    text = kept.data.decode("utf-8", "surrogateescape") if kept is not None else ""
    return wrapper.parse(text, str(work / task_dir)).name
