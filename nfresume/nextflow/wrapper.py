"""What Nextflow's wrapper script of a task says: `.command.run`, and `.command.stage` for many inputs.

The format is the same from 23.10 to 26.04 (`BashWrapperBuilder`, `SimpleFileCopyStrategy`).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

RUN, STAGE = ".command.run", ".command.stage"
#: So many inputs of one task are kept.
MOST_INPUTS = 2000

_NAME = re.compile(r"^### name: '(.*?)'\n### ", re.DOTALL | re.MULTILINE)
_CONTAINER = re.compile(r"^### container: '(.*)'$", re.MULTILINE)
_STAGED = re.compile(r"^nxf_stage\(\) \{\n(.*?)^\}", re.DOTALL | re.MULTILINE)
_OUTPUTS = re.compile(r'^ *nxf_fs_\w+ "\$name" (/.*?)(?: \|\| true)?$', re.MULTILINE)
_INPUT = re.compile(r"(?:^|&& )(?:ln -s|ln|cp -fRL) (.+)$")
_QUOTED = re.compile(r"[\\'\"]")


@dataclass(frozen=True)
class Wrapper:
    """`inputs` are absolute paths. `outputs` are the folders into which outputs are moved: a storeDir, or
    the task dir itself for a task that works in a scratch folder. `staged`: inputs are in another file."""

    name: str
    container: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    staged: bool


def parse(text: str, task_dir: str) -> Wrapper:
    """Parse a wrapper; `task_dir` is the task's, with its whole path."""
    name, container, section = _NAME.search(text), _CONTAINER.search(text), _STAGED.search(text)
    body = section[1] if section else ""
    staged = re.search(rf"^ *bash .*{re.escape(STAGE)}$", body, re.MULTILINE) is not None
    outputs = dict.fromkeys(path for found in _OUTPUTS.findall(text) for path in _words(found))
    return Wrapper(name[1] if name else "", container[1] if container else "",
                   () if staged else inputs(body, task_dir), tuple(outputs), staged)


def inputs(text: str, task_dir: str) -> tuple[str, ...]:
    """The input files that staging commands link or copy, at most 2,000, each once."""
    found: dict[str, None] = {}
    for path in _inputs(text, task_dir):
        found[path] = None
        if len(found) == MOST_INPUTS:
            break
    return tuple(found)


def _inputs(text: str, task_dir: str) -> Iterator[str]:
    for line in text.split("\n"):
        if (command := _INPUT.search(line.strip())) is None:
            continue
        words = _words(command[1])
        if len(words) != 2:
            continue
        source, target = words
        # `stageInMode 'rellink'`: relative to the folder of the link
        yield os.path.normpath(os.path.join(task_dir, os.path.dirname(target), source))


def _words(text: str) -> list[str]:
    """The words of a command without expansions; empty when its quotes do not match."""
    if not _QUOTED.search(text):
        return text.split(" ")
    try:
        return shlex.split(text)
    except ValueError:
        return []
