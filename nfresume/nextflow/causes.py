"""Why a task ran again: what of it differs from how it ran before. Pure: it reads no file.

Nextflow reuses a task when nothing is different that its hash is made of: the process, the script, inputs by
path, size and time, container, environment modules, conda, programs in `bin`, and values. Source:
`TaskProcessor.createTaskHashKey`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nfresume.nextflow import task_dirs
from nfresume.nextflow.record import Task
from nfresume.nextflow.wrapper import Wrapper

#: So many lines of a difference are shown.
_LINES = 12
_WORD = re.compile(r"[\w.-]+")

Input = tuple[str, int, int]


@dataclass(frozen=True)
class Cause:
    """One reason. `text` is a clause such as `its script changed`; `detail` are lines that show it.

    `upstream` is the task dir of the task that it follows from.
    """

    kind: str
    text: str
    detail: tuple[str, ...] = ()
    upstream: str = ""


@dataclass(frozen=True)
class Known:
    """What is known of a task in one attempt. `script` is None when it was not kept. `sources` are digests of
    the pipeline's files, None when they are not known."""

    task: Task
    attempt: int
    script: str | None = None
    wrapper: Wrapper | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    version: str = ""
    sources: Mapping[str, str] | None = None


def differences(old: Known, new: Known, ran: Callable[[str], Task | None], work: str) -> list[Cause]:
    """What differs between two runs of a task, in the order in which Nextflow would notice.

    `ran` gives the task of a task dir that ran in the attempt of `new`. `work` is the work dir.
    """
    found = [*_process(old, new), *_script(old, new)]
    found += _setting("container", "container", old.task.container, new.task.container)
    if old.wrapper is not None and new.wrapper is not None:
        found += _setting("modules", "environment modules", " ".join(old.wrapper.modules),
                          " ".join(new.wrapper.modules))
        found += _setting("conda", "conda environment", old.wrapper.activated, new.wrapper.activated)
        found += _variables(dict(old.wrapper.variables), dict(new.wrapper.variables))
    found += _programs(old, new)
    found += _inputs(old.task.inputs, new.task.inputs, ran, work)
    return found


def _process(old: Known, new: Known) -> list[Cause]:
    if old.task.process == new.task.process:
        return []
    return [Cause("process", f"its process was called {old.task.process}")]


def _setting(kind: str, name: str, old: str, new: str) -> list[Cause]:
    if old == new:
        return []
    return [Cause(kind, f"its {name} changed ({old or 'none'} -> {new or 'none'})")]


def _script(old: Known, new: Known) -> list[Cause]:
    if old.script is None or new.script is None or old.script == new.script:
        return []
    lines = [line for line in list(difflib.unified_diff(
        old.script.splitlines(), new.script.splitlines(), lineterm="", n=0))[2:] if line[:2] != "@@"]
    more = len(lines) - _LINES
    detail = (*lines[:_LINES], *([f"... {more} more lines"] if more > 0 else []))
    return [_by_parameter(old, new, lines, detail) or Cause("script", "its script changed", detail)]


def _by_parameter(old: Known, new: Known, lines: list[str], detail: tuple[str, ...]) -> Cause | None:
    """A parameter whose old value is in the lines that went, and its new one in those that came."""
    gone = " ".join(line for line in lines if line[0] == "-")
    come = " ".join(line for line in lines if line[0] == "+")
    for name in sorted({*old.parameters, *new.parameters}):
        before, now = old.parameters.get(name), new.parameters.get(name)
        if before != now and (before is None or before in gone) and (now is None or now in come):
            values = f"{before or 'not given'} -> {now or 'not given'}"
            if old.sources is not None and old.sources == new.sources:
                return Cause("parameter", f"its script changed with parameter {name} ({values})", detail)
            return Cause("script", f"its script changed, perhaps with parameter {name} ({values})", detail)
    return None


def _variables(old: Mapping[str, str], new: Mapping[str, str]) -> list[Cause]:
    return [Cause("variable", f"its variable {name} changed ({old.get(name, 'none')} -> "
                  f"{new.get(name, 'none')})")
            for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


def _programs(old: Known, new: Known) -> list[Cause]:
    """Programs in `bin` that its script names, and that have changed."""
    words = set(_WORD.findall(new.script or ""))
    before = {os.path.basename(path): stamp for path, stamp in old.programs.items()}
    now = {os.path.basename(path): stamp for path, stamp in new.programs.items()}
    return [Cause("program", f"its program bin/{name} changed{_sizes(before[name], now[name])}")
            for name in sorted(words & set(before) & set(now)) if before[name] != now[name]]


def _sizes(old: tuple[int, int], new: tuple[int, int]) -> str:
    return f" ({old[0]} -> {new[0]} bytes)" if old[0] != new[0] else " (it was written again)"


def _inputs(
    old: Iterable[Input], new: Iterable[Input], ran: Callable[[str], Task | None], work: str
) -> list[Cause]:
    before, now = {each[0]: each for each in old}, {each[0]: each for each in new}
    found = []
    gone = [each for path, each in before.items() if path not in now]
    for path, size, mtime in now.values():
        task_dir = task_dirs.of_path(path, work)
        producer = ran(task_dir) if task_dir else None
        known = before.get(path)
        if known == (path, size, mtime):
            continue
        if known is None:
            known = _renamed((path, size, mtime), gone)
            if known is not None:
                gone.remove(known)
        found.append(_input(known, (path, size, mtime), task_dir, producer))
    found += [Cause("input_removed", f"its input {_shown(path, work)} is no longer one")
              for path, _, _ in gone]
    if not found and list(before) != list(now):
        found.append(Cause("input_order", "its inputs come in another order"))
    return list(dict.fromkeys(found))


def _input(old: Input | None, new: Input, task_dir: str, producer: Task | None) -> Cause:
    name = os.path.basename(new[0])
    if producer is not None:
        return Cause("upstream", f"its input {name} comes from {producer.name}, which ran again",
                     upstream=task_dir)
    if old is None:
        return Cause("input_added", f"its input {name} is new")
    if old[0] != new[0]:
        if task_dir:
            return Cause("input_moved", f"its input {name} comes from another task dir ({task_dir})")
        return Cause("input_moved", f"its input {old[0]} is now {new[0]}")
    size = f"({old[1]} -> {new[1]} bytes)" if old[1] != new[1] else "(same size, written again)"
    return Cause("input_changed", f"its input {name} changed {size}")


def _renamed(new: Input, gone: list[Input]) -> Input | None:
    """The input that became `new`: by its name, by its size and time, or the only one that is left."""
    by_name = [each for each in gone if os.path.basename(each[0]) == os.path.basename(new[0])]
    by_content = [each for each in gone if each[1:] == new[1:] and new[1] >= 0]
    return next(iter(by_name or by_content), None)


def _shown(path: str, work: str) -> str:
    return os.path.basename(path) if task_dirs.of_path(path, work) else path
