"""What Nextflow's wrapper script of a task says: `.command.run`, and `.command.stage` for many inputs.

The format is the same from 23.10 to 26.08 (`BashWrapperBuilder`, `SimpleFileCopyStrategy`), but for the flags
of `ln`: since 26.07 it is forced.
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
_INPUT = re.compile(r"(?:^|&& )(?:ln|cp)(?: -[A-Za-z]+)? (.+)$")
_DECLARED = re.compile(r"^### outputs:\n((?:### - '.*'\n)+)", re.MULTILINE)
_MODULE = re.compile(r"^ +nxf_module_load (\S.*)$", re.MULTILINE)
_ACTIVATED = re.compile(r"^ *source .*activate (.+)$|^ *spack env activate -d (.+)$", re.MULTILINE)
_EXPORTED = re.compile(r'^ *export (\w+)="(.*)"$', re.MULTILINE)
_BIN = re.compile(r"^\\?\$PATH:(/.*)$")
_QUOTED = re.compile(r"[\\'\"]")


@dataclass(frozen=True)
class Wrapper:
    """`inputs` are absolute paths. `outputs` are the folders into which outputs are moved: a storeDir, or
    the task dir itself for a task that works in a scratch folder. `staged`: inputs are in another file.
    `declared`: the patterns of its outputs. `activated`: its conda or spack environment. `variables`: what it
    exports. `bins`: folders with programs of the pipeline."""

    name: str
    container: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    staged: bool
    declared: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    activated: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    bins: tuple[str, ...] = ()


def parse(text: str, task_dir: str) -> Wrapper:
    """Parse a wrapper; `task_dir` is the task's, with its whole path."""
    name, container, section = _NAME.search(text), _CONTAINER.search(text), _STAGED.search(text)
    body = section[1] if section else ""
    staged = re.search(rf"^ *bash .*{re.escape(STAGE)}$", body, re.MULTILINE) is not None
    outputs = dict.fromkeys(path for found in _OUTPUTS.findall(text) for path in _words(found))
    declared, activated = _DECLARED.search(text), _ACTIVATED.search(text)
    exported = dict(_EXPORTED.findall(text))
    path = _BIN.match(exported.get("PATH", ""))
    return Wrapper(
        name[1] if name else "", container[1] if container and container[1] != "null" else "",
        () if staged else inputs(body, task_dir), tuple(outputs), staged,
        tuple(line[len("### - '"):-1] for line in declared[1].splitlines()) if declared else (),
        tuple(" ".join(found.split()) for found in _MODULE.findall(text)),
        next(filter(None, activated.groups()), "") if activated else "",
        tuple((k, v) for k, v in exported.items() if k != "PATH" and not k.startswith("NXF_")),
        tuple(path[1].split(":")) if path else ())


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
