"""BLAKE3 digests of values and files. Equal content has equal digests, in every process and on every host.

Large files are read with as many threads as there are cores. File digests are stored on a local disk by
inode, size and time stamps, so that an unchanged file is read only once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import sqlite3
import sys
import time
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from blake3 import blake3
from nfresume_metadata import LatchDir, LatchFile, LPath, files

from nfresume import home
from nfresume.tasks.inputs import is_output
from nfresume.tasks.promises import attribute, part_name
from nfresume.tasks.shapes import class_name, fielded, fields_of, shape, shown
from nfresume.tasks.task_files import leads_out, stamp

#: Files of this size or more, in bytes, are mapped and read by several threads.
_LARGE = 1 << 20
#: A function that gives the digest of the file or folder at a path.
PathDigest = Callable[[Path], str]
#: A file that changed less than this ago, in nanoseconds, may change again without a new time stamp.
_STABLE_NS = 2_000_000_000


class DigestIndex:
    """File digests by inode, size and time stamps, in SQLite on a local disk.

    It only saves time: if it cannot be opened or read, files are read again.
    """

    def __init__(self, path: Path | None = None) -> None:
        file = path or home.folder("cache") / "digests.sqlite"
        self._db: sqlite3.Connection | None = None
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(file, timeout=5, isolation_level=None)
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute("CREATE TABLE IF NOT EXISTS files (identity TEXT PRIMARY KEY, digest TEXT) "
                             "WITHOUT ROWID")
        except (OSError, sqlite3.Error):
            self._db = None

    def get(self, identity: str) -> str | None:
        """The stored digest of the file with this identity; None: not stored."""
        if self._db is None:
            return None
        try:
            row = self._db.execute("SELECT digest FROM files WHERE identity = ?", (identity,)).fetchone()
        except sqlite3.Error:
            return None
        return str(row[0]) if row else None

    def put(self, identity: str, digest: str) -> None:
        """Store the digest of the file with this identity. An error is ignored."""
        if self._db is not None:
            try:
                self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (identity, digest))
            except sqlite3.Error:
                return


def of_file(path: Path, index: DigestIndex | None = None) -> str:
    """The digest of a file's content. Raises OSError."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        identity = f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
        if index is not None and (known := index.get(identity)):
            return known
        hasher = blake3(max_threads=blake3.AUTO)
        if found.st_size >= _LARGE:
            hasher.update_mmap(path)
        else:
            hasher.update(file.read())
        digest = hasher.hexdigest(16)
        after = path.stat()
    if index is not None and _is_stable(found, after):
        index.put(identity, digest)
    return digest


def _is_stable(before: os.stat_result, after: os.stat_result) -> bool:
    """True when the file did not change while it was read, nor within _STABLE_NS before."""
    same = (before.st_ino, before.st_size, before.st_mtime_ns) == (
        after.st_ino, after.st_size, after.st_mtime_ns)
    return same and time.time_ns() - before.st_mtime_ns > _STABLE_NS


def of_tree(folder: Path, index: DigestIndex | None = None) -> str:
    """The digest of a folder: names, contents, execute permissions and links. Raises OSError.

    A link that leads out of the folder counts as what it leads to, any other by its target.
    """
    entries: list[list[str]] = []
    _digest_tree(folder, "", (folder.resolve(),), entries, index)
    return of_text(json.dumps(sorted(entries)))


def _digest_tree(
    folder: Path, inside: str, tops: tuple[Path, ...], entries: list[list[str]], index: DigestIndex | None
) -> None:
    """Add the entries of a folder. `tops`: the folders outside of one another that links have led to."""
    for entry in os.scandir(folder):
        path, name = Path(entry.path), inside + entry.name
        if entry.is_symlink() and not (path.exists() and leads_out(path, tops[-1])):
            entries.append([name, "link", os.readlink(path)])
        elif entry.is_dir():
            entries.append([name, "folder"])
            real = path.resolve() if entry.is_symlink() else path
            if real in tops:
                raise OSError(f"{path} is a link to a folder that contains it")
            _digest_tree(real, f"{name}/", (*tops, real) if entry.is_symlink() else tops, entries, index)
        elif entry.is_file():
            kind = "program" if path.stat().st_mode & 0o100 else "file"
            entries.append([name, kind, of_file(path, index)])
        else:
            raise OSError(f"{path} is neither file, folder nor link")


def of_text(text: str) -> str:
    """The digest of a text."""
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest(16)


def of_value(value: Any, kind: Any = Any, digest_path: PathDigest | None = None) -> str:
    """The digest of an input or output of type `kind`. `digest_path` digests the paths in it.

    An output path (LatchOutputFile, LatchOutputDir) counts by its path, not its content. Raises OSError, and
    TypeError for a value that cannot be pickled.
    """
    if is_output(kind):
        return of_text(f"place:{getattr(value, 'path', value)}")
    return of_text(json.dumps(canonical(value, digest_path or of_path), sort_keys=True))


def parts_of(value: Any, digest_path: PathDigest | None = None) -> dict[str, str]:
    """Digests of the members of a tuple, list, NamedTuple, dict or dataclass, by `promises.part_name`."""
    found: dict[Any, Any] = {}
    if isinstance(value, tuple | list):
        found = dict(enumerate(value))
        found |= {attribute(name): value[at] for at, name in enumerate(getattr(value, "_fields", ()))}
    elif isinstance(value, dict):
        found = {key: item for key, item in value.items() if type(key) in (str, int)}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {attribute(f.name): getattr(value, f.name) for f in dataclasses.fields(value)}
    return {part_name(step): of_value(item, Any, digest_path) for step, item in found.items()}


def canonical(value: Any, digest_path: PathDigest) -> Any:
    """A value as JSON: equal for equal values, different for different types."""
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind in (int, float):
        return [kind.__name__, repr(value)]
    if isinstance(value, LatchFile | LatchDir | LPath | Path):
        return _canonical_path(value, digest_path)
    if isinstance(value, Enum):
        return ["enum", class_name(kind), value.name, shown(value.value)]
    if kind in (list, tuple):
        return [kind.__name__, _numbers(value) or [canonical(item, digest_path) for item in value]]
    if kind is deque:
        return ["deque", value.maxlen, [canonical(item, digest_path) for item in value]]
    if kind in (dict, OrderedDict, defaultdict, Counter):
        items = [[canonical(k, digest_path), canonical(v, digest_path)] for k, v in value.items()]
        if kind is not OrderedDict:
            items.sort(key=lambda item: json.dumps(item[0], sort_keys=True))
        factory = getattr(value, "default_factory", None)
        return [kind.__name__, items, *([getattr(factory, "__qualname__", "?")] if factory else [])]
    if kind in (set, frozenset):
        return [kind.__name__, sorted(json.dumps(canonical(item, digest_path), sort_keys=True)
                                      for item in value)]
    if kind in (bytes, bytearray):
        return [kind.__name__, blake3(bytes(value)).hexdigest(16)]
    if kind in (datetime, date):
        zone = getattr(getattr(value, "tzinfo", None), "key", None)
        fold = ["fold"] if getattr(value, "fold", 0) else []
        return [kind.__name__, value.isoformat(), *([zone] if zone else []), *fold]
    if kind is timedelta:
        return ["timedelta", repr(value)]
    if fielded(value):
        return ["fields", class_name(kind), [[name, canonical(getattr(value, name), digest_path)]
                                             for name in fields_of(kind) or ()]]
    return _of_array(value) or _of_object(value)


def _numbers(value: list[Any] | tuple[Any, ...]) -> list[Any] | None:
    """A long list of numbers or texts as one digest of its JSON, which is fast. None for any other list."""
    kinds = set(map(type, value))
    if len(value) < 64 or not kinds <= {int, float, str} or len(kinds) > 1:
        return None
    return [kinds.pop().__name__, len(value), of_text(json.dumps(value))]


def _canonical_path(value: Any, digest_path: PathDigest) -> list[Any]:
    text = str(value) if isinstance(value, Path) else value.path
    name = "Path" if isinstance(value, Path) else type(value).__name__
    path = Path(text)
    if "://" in text and not isinstance(value, Path) and (version := files.version(value)):
        return [name, "remote", text, version]
    unwritten = getattr(value, "is_place", False) and not value.is_input  # a task may return it, written
    if "://" in text or unwritten or not path.exists():
        return [name, "place", text]
    remote = "" if isinstance(value, Path) else str(value.remote_path)
    return [name, path.name, digest_path(path), *([remote] if "://" in remote else [])]


def of_path(path: Path, index: DigestIndex | None = None) -> str:
    """The digest of a file or a folder. Raises OSError."""
    return f"folder:{of_tree(path, index)}" if path.is_dir() else f"file:{of_file(path, index)}"


def _of_array(value: Any) -> list[Any] | None:
    """A numpy array or pandas frame by its parts and content. None for any other value, also of numpy."""
    module, kind = type(value).__module__.partition(".")[0], type(value).__name__
    if module == "numpy":
        import numpy

        plain = type(value) is numpy.ndarray or isinstance(value, numpy.generic)
        if plain and not value.dtype.hasobject:
            data = numpy.ascontiguousarray(value)
            return ["numpy", kind, str(value.dtype), list(value.shape), blake3(data.tobytes()).hexdigest(16)]
    if module == "pandas":
        import pandas

        if isinstance(value, pandas.DataFrame):
            parts = [value.axes, value.attrs, *(column.array for _, column in value.items())]
            return ["pandas", kind, [_pickled(part, by_value=True) for part in parts]]
        if isinstance(value, pandas.Series):
            parts = [value.axes, value.attrs, value.name, value.array]
            return ["pandas", kind, [_pickled(part, by_value=True) for part in parts]]
    return None


def _of_object(value: Any) -> list[Any]:
    """Any other value by its pickle. Pickles of equal values may differ: then it is a miss, no wrong hit."""
    return ["pickle", shape(type(value)), _pickled(value)]


def _pickled(value: Any, *, by_value: bool = False) -> str:
    """The digest of a pickle. `by_value`: equal texts in it may be one object or several."""
    hasher = blake3()
    stream = types.SimpleNamespace(write=lambda data: hasher.update(pickle.PickleBuffer(data).raw()))
    pickler = pickle.Pickler(stream, protocol=5)  # it hands on the memory of a large array as it is
    pickler.fast = by_value
    try:
        pickler.dump(value)
    except Exception as e:  # whatever its own code raises
        raise TypeError(f"a {type(value).__name__} cannot be compared: {e}") from None
    return hasher.hexdigest(16)


def main() -> None:
    """The head's helper process: for each path on standard input it prints the digest, one JSON per line.

    The stamp beside it is from before the content was read. The answer to a path that cannot be read has
    "error" instead.
    """
    index = DigestIndex()
    for line in sys.stdin:
        path = json.loads(line)
        try:
            answer: dict[str, str] = {"path": path, "stamp": stamp(Path(path))}
            answer["digest"] = of_path(Path(path), index)
        except OSError as e:
            answer = {"path": path, "error": f"{e.strerror or e}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
