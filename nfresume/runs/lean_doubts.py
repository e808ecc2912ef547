"""Whether a pipeline, by its code or by what its user has set, would read what lean retention has emptied."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from nfresume.nextflow import assets, command, sources
from nfresume.nextflow.kept_inputs import FOLDER
from nfresume.storage.root import ExecutionFolder
from nfresume.system import regular

_DEEP = re.compile(r"\bcache\b[^\n;}]*(deep|sha256)|process\.cache\W+(deep|sha256)")
#: Code of the head to which an emptied file gives a wrong answer, and no error: a program whose output is
#: read (one that sends a mail only gets its input), and a look at modes.
_UNSEEN = re.compile(r"\.execute\s*\(\s*(?:\)(?!\s*<<)|null\b|\[|\w+\s*,)|\bProcessBuilder\b"
                     r"|\bgetRuntime\(\)\s*\.exec\b|\.permissions\b|\bget(?:PosixFile)?Permissions\b"
                     r"|\b(?:can(?:Read|Write|Execute)|is(?:Readable|Writable|Executable))\b")
_INCLUDE = re.compile(r"\b(?:from|includeConfig)\b\s*\(?\s*['\"](\.{0,2}/[^'\"$]*)['\"]")


def files_of(folder: ExecutionFolder, pipeline: str, number: int) -> Mapping[str, str] | None:
    """The files of the pipeline at attempt `number`, with their digests; None when they are not known."""
    found = sources.kept(folder.attempt(number))
    if found is None and assets.is_remote(pipeline) and (copy := assets.copy(pipeline)).is_dir():
        found = sources.take(copy, copy)
    return found


def doubt(folder: ExecutionFolder, pipeline: str, attempts: int) -> str:
    """Why no file may be empty with the pipeline's code at attempt `attempts`; nothing where it is good or
    not known."""
    given = [str(path) for number in range(1, attempts + 1)
             for path in (folder.attempt(number) / FOLDER).glob("*")]
    waiting = [path for path in (*(files_of(folder, pipeline, attempts) or ()), *given)
               if path.endswith((".nf", ".nxf", ".config", ".groovy"))]
    users = (str(command.nxf_home() / "config"), os.environ.get("NXF_CONFIG_FILE", ""))
    waiting += filter(os.path.isfile, users)
    known = set(waiting)
    while waiting:
        path = waiting.pop()
        try:
            text = regular.text(Path(path))
        except OSError:
            return f"{path} cannot be read"
        if _DEEP.search(text):
            return "its pipeline uses cache 'deep'"
        if unseen := _UNSEEN.search(text):
            return f"{Path(path).name} has {unseen[0].strip()}, which may read a file unseen"
        new = set(_included(path, text)) - known
        known |= new
        waiting += new
    words = [str(word) for number in range(1, attempts + 1)
             for word in (folder.request(number) or {}).get("options", ())]
    words.append(f"cache {os.environ.get('NXF_CACHE_MODE', '').lower()}")
    return "its pipeline uses cache 'deep'" if _DEEP.search(" ".join(words)) else ""


def _included(path: str, text: str) -> Iterator[str]:
    """The files that code includes by a path, which may lie outside of the pipeline's folder."""
    for name in _INCLUDE.findall(text):
        place = os.path.normpath(os.path.join(os.path.dirname(path), name))
        yield from (each for each in (place, f"{place}.nf", f"{place}/main.nf") if os.path.isfile(each))
