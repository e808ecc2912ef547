"""The files of a local pipeline that its code is in, digested at the start of each attempt.

`attempts/<n>/sources.json` has them. So it is known later whether the pipeline has changed since.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from nfresume.system import durable, regular

KEPT = "sources.json"
_CODE = (".nf", ".nxf", ".config", ".groovy")
#: Folders all of whose files are code.
_FOLDERS = ("bin", "templates", "lib")
#: What is looked at: so many entries of folders, and so many bytes of each file.
_ENTRIES = 20_000
_BYTES = 1 << 20


def take(pipeline: Path, launch_dir: Path) -> dict[str, str] | None:
    """The digest of each code file by its path; None when the folder has too many entries to tell.

    `pipeline` is the script or its folder. The launch dir's `nextflow.config` is one of them. Of bin, size
    and time count, as for Nextflow.
    """
    found: dict[str, str] = {}
    try:
        for path in _files(pipeline if pipeline.is_dir() else pipeline.parent):
            found[str(path)] = _digest(path)
    except OverflowError:
        return None
    for path in (pipeline, launch_dir / "nextflow.config"):
        if path.is_file():
            found[str(path)] = _digest(path)
    return found


def keep(pipeline: Path | None, launch_dir: Path, attempt_dir: Path) -> None:
    """Keep the digests of an attempt; nothing for a pipeline that is not here. Raises OSError."""
    found = take(pipeline, launch_dir) if pipeline is not None else None
    if found is not None:
        durable.write(attempt_dir / KEPT, json.dumps(found).encode())


def kept(attempt_dir: Path) -> Mapping[str, str] | None:
    """The digests of an attempt; None when they are not known."""
    try:
        found = regular.document(attempt_dir / KEPT)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def may_name(attempt_dir: Path, text: str) -> bool:
    """Whether the code of an attempt has this text in it. True where the code is not known."""
    found = kept(attempt_dir)
    return found is None or any(_has(Path(path), text.encode()) for path in found)


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The paths that differ, sorted."""
    return sorted(path for path in {*old, *new} if old.get(path) != new.get(path))


def _files(folder: Path) -> Iterator[Path]:
    """The code files in a folder and below. No link to a folder is followed: results are often links, and
    what they lead to may be on a slow file system."""
    seen = itertools.count(1)
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        folders: list[str] = []
        names: list[str] = []
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if next(seen) > _ENTRIES:
                    raise OverflowError
                (folders if entry.is_dir(follow_symlinks=False) else names).append(entry.name)
        waiting += [place / name for name in sorted(folders, reverse=True)
                    if not name.startswith(".") and name != "work"]
        code = not set(_FOLDERS).isdisjoint(place.relative_to(folder).parts)
        yield from (place / name for name in sorted(names)
                    if (code or name.endswith(_CODE)) and not (place / name).is_dir())


def _has(path: Path, text: bytes) -> bool:
    try:
        return path.stat().st_size <= _BYTES and text in regular.content(path)
    except OSError:
        return False


def _digest(path: Path) -> str:
    try:
        found = path.stat()
        if "bin" in path.parts[-3:-1] or found.st_size > _BYTES:
            return f"{found.st_size} {found.st_mtime_ns}"
        return hashlib.sha256(regular.content(path)).hexdigest()
    except OSError:
        return ""
