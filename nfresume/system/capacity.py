"""How many CPUs and how much memory a process may use: those of the machine, or less in a control group.

A container, a job of a cluster and a unit of systemd have one. Java, and so Nextflow, asks it, too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cpus(groups: Path = _GROUPS, own: Path = _OWN) -> float:
    """The CPUs that this process may use; a fraction of a CPU counts as a whole one, as in Java."""
    found = [len(os.sched_getaffinity(0))]
    for folder in _folders("cpu", groups, own):
        limit = _numbers(folder, "cpu.max") or (
            *_numbers(folder, "cpu.cfs_quota_us"), *_numbers(folder, "cpu.cfs_period_us"))
        if len(limit) == 2 and limit[0] > 0:  # microseconds in each period of so many; -1 is no limit
            found.append(math.ceil(limit[0] / limit[1]))
    return float(min(found))


def memory(groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """The bytes of memory that this process may use."""
    found = [psutil.virtual_memory().total]
    for folder in _folders("memory", groups, own):
        found += [*_numbers(folder, "memory.max"), *_numbers(folder, "memory.limit_in_bytes")]
    return min(found)


def _folders(controller: str, groups: Path, own: Path) -> Iterator[Path]:
    """The control groups that this process is in, from within; in a container those above are not visible."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:  # HIERARCHY:CONTROLLERS:PATH, with no controllers in version 2
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = groups / controller if controllers else groups
        inner = top / path.lstrip("/")
        yield from (each for each in (inner, *inner.parents) if each == top or top in each.parents)


def _numbers(folder: Path, name: str) -> tuple[int, ...]:
    """The numbers in a file of a control group; none where there is no such file, or no limit."""
    try:
        return tuple(int(word) for word in (folder / name).read_text().split())
    except (OSError, ValueError):
        return ()
