"""Digests of values and files: equal content has equal digests, in every process and on every host.

BLAKE3 reads large files with as many threads as there are cores. What a file's content was is remembered
by inode, size and time stamps on a local disk, so that an unchanged file is read once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import platformdirs
from blake3 import blake3
from nfresume_metadata import LatchDir, LatchFile, LPath

from nfresume.tasks.inputs import is_output
from nfresume.tasks.promises import attribute, part_name

#: From so many bytes on a file is mapped and read by several threads.
_LARGE = 1 << 20
#: Gives the digest of what is at a path.
Place = Callable[[Path], str]
#: A file changed so recently may change again within the resolution of its time stamp.
_SETTLED_NS = 2_000_000_000


class Memory:
    """What the content of files was. Nothing depends on it: without a disk to keep it, files are read."""

    def __init__(self, path: Path | None = None) -> None:
        place = path or platformdirs.user_cache_path("nfresume") / "digests.sqlite"
        self._db: sqlite3.Connection | None = None
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(place, timeout=5, isolation_level=None)
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute("CREATE TABLE IF NOT EXISTS files (identity TEXT PRIMARY KEY, digest TEXT) "
                             "WITHOUT ROWID")
        except (OSError, sqlite3.Error):
            self._db = None

    def get(self, identity: str) -> str | None:
        """The digest of the file that looked like this."""
        if self._db is None:
            return None
        try:
            row = self._db.execute("SELECT digest FROM files WHERE identity = ?", (identity,)).fetchone()
        except sqlite3.Error:
            return None
        return str(row[0]) if row else None

    def put(self, identity: str, digest: str) -> None:
        """Remember it, if that can be done at once."""
        if self._db is not None:
            try:
                self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (identity, digest))
            except sqlite3.Error:
                return


def of_file(path: Path, memory: Memory | None = None) -> str:
    """The digest of a file's content. Raises OSError."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        identity = f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
        if memory is not None and (known := memory.get(identity)):
            return known
        hasher = blake3(max_threads=blake3.AUTO)
        if found.st_size >= _LARGE:
            hasher.update_mmap(path)
        else:
            hasher.update(file.read())
        digest = hasher.hexdigest(16)
        after = path.stat()
    if memory is not None and _settled(found, after):
        memory.put(identity, digest)
    return digest


def _settled(before: os.stat_result, after: os.stat_result) -> bool:
    """True when the file did not change while it was read, nor so shortly before that it would not show."""
    same = (before.st_ino, before.st_size, before.st_mtime_ns) == (
        after.st_ino, after.st_size, after.st_mtime_ns)
    return same and time.time_ns() - before.st_mtime_ns > _SETTLED_NS


def of_tree(folder: Path, memory: Memory | None = None) -> str:
    """The digest of a folder: names, content, what is executable, where links lead. Raises OSError."""
    entries: list[list[str]] = []
    for place, folders, files in os.walk(folder, onerror=_raise):
        for name in sorted([*folders, *files]):
            path = Path(place, name)
            status = path.lstat()
            inside = str(path.relative_to(folder))
            if stat.S_ISLNK(status.st_mode):
                entries.append([inside, "link", os.readlink(path)])
            elif stat.S_ISDIR(status.st_mode):
                entries.append([inside, "folder"])
            elif stat.S_ISREG(status.st_mode):
                kind = "program" if status.st_mode & 0o100 else "file"
                entries.append([inside, kind, of_file(path, memory)])
            else:
                raise OSError(f"{path} is neither file, folder nor link")
    return of_text(json.dumps(sorted(entries)))


def _raise(error: OSError) -> None:
    raise error


def of_text(text: str) -> str:
    """The digest of a text."""
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest(16)


def of_value(value: Any, kind: Any = Any, place: Place | None = None) -> str:
    """The digest of an input or output; `place` gives the digest of what is at a path.

    Raises OSError, or TypeError for what cannot be compared.
    """
    if is_output(kind):
        return of_text(f"place:{getattr(value, 'path', value)}")
    return of_text(json.dumps(_canonical(value, place or of_place), sort_keys=True))


def parts_of(value: Any, place: Place | None = None) -> dict[str, str]:
    """Digests of the members of a tuple, list, NamedTuple, dict or dataclass, by `promises.part_name`."""
    found: dict[Any, Any] = {}
    if isinstance(value, tuple | list):
        found = dict(enumerate(value))
        found |= {attribute(name): value[at] for at, name in enumerate(getattr(value, "_fields", ()))}
    elif isinstance(value, dict):
        found = {key: item for key, item in value.items() if type(key) in (str, int)}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {attribute(f.name): getattr(value, f.name) for f in dataclasses.fields(value)}
    return {part_name(step): of_value(item, Any, place) for step, item in found.items()}


def _canonical(value: Any, place: Place) -> Any:
    """A value as JSON that is equal for equal values, and tells types apart."""
    if value is None or (isinstance(value, bool | str) and not isinstance(value, Enum)):
        return value
    kind = type(value)
    if isinstance(value, Enum):
        return ["enum", kind.__qualname__, value.name]
    if kind in (int, float):
        return [kind.__name__, repr(value)]
    if isinstance(value, LatchFile | LatchDir | LPath | Path):
        return _of_path(value, place)
    if isinstance(value, Mapping):
        items = [[_canonical(k, place), _canonical(v, place)] for k, v in value.items()]
        return ["dict", sorted(items, key=lambda item: json.dumps(item[0], sort_keys=True))]
    if isinstance(value, list | tuple):
        name = "tuple" if isinstance(value, tuple) else "list"
        return [name, _numbers(value) or [_canonical(item, place) for item in value]]
    if isinstance(value, set | frozenset):
        return ["set", sorted(json.dumps(_canonical(item, place), sort_keys=True) for item in value)]
    if dataclasses.is_dataclass(value):
        return ["dataclass", kind.__qualname__,
                [[f.name, _canonical(getattr(value, f.name), place)] for f in dataclasses.fields(value)]]
    if isinstance(value, bytes | bytearray):
        return ["bytes", blake3(bytes(value)).hexdigest(16)]
    if isinstance(value, datetime | date):
        return [kind.__name__, value.isoformat()]
    if isinstance(value, timedelta):
        return ["timedelta", repr(value)]
    return _of_array(value) or _of_object(value)


def _numbers(value: list[Any] | tuple[Any, ...]) -> list[Any] | None:
    """A long list of plain numbers or texts as one digest of its JSON, at the speed of C."""
    kinds = set(map(type, value))
    if len(value) < 64 or not kinds <= {int, float, str} or len(kinds) > 1:
        return None
    return [kinds.pop().__name__, len(value), of_text(json.dumps(value))]


def _of_path(value: Any, place: Place) -> list[Any]:
    text = str(value) if isinstance(value, Path) else value.path
    name = "Path" if isinstance(value, Path) else type(value).__name__
    path = Path(text)
    if "://" in text or not path.exists():
        return [name, "place", text]
    return [name, path.name, place(path)]


def of_place(path: Path, memory: Memory | None = None) -> str:
    """The digest of a file or a folder. Raises OSError."""
    return f"folder:{of_tree(path, memory)}" if path.is_dir() else f"file:{of_file(path, memory)}"


def _of_array(value: Any) -> list[Any] | None:
    """numpy arrays and pandas frames by type, shape and content."""
    module = type(value).__module__.partition(".")[0]
    if module == "numpy":
        import numpy

        array = numpy.asarray(value)
        if not array.dtype.hasobject:
            data = numpy.ascontiguousarray(array)
            return ["numpy", str(array.dtype), list(array.shape), blake3(data.tobytes()).hexdigest(16)]
    if module == "pandas" and hasattr(value, "index"):
        import pandas
        from pandas.util import hash_pandas_object

        frame = value.to_frame() if isinstance(value, pandas.Series) else value
        if isinstance(frame, pandas.DataFrame):
            rows = hash_pandas_object(frame, index=True).to_numpy()
            columns = [[str(name), str(kind)] for name, kind in frame.dtypes.items()]
            return ["pandas", type(value).__name__, columns, blake3(rows.tobytes()).hexdigest(16)]
    return None


def _of_object(value: Any) -> list[Any]:
    """Anything else by its pickle: one that differs for equal values is a miss, never a wrong hit."""
    try:
        return ["pickle", blake3(pickle.dumps(value, protocol=5)).hexdigest(16)]
    except Exception as e:  # whatever its own code raises
        raise TypeError(f"a {type(value).__name__} cannot be compared: {e}") from None


def main() -> None:
    """The helper of a head: a path a line in, its digest a line out, both as JSON; errors as {"error"}."""
    memory = Memory()
    for line in sys.stdin:
        path = json.loads(line)
        try:
            answer: dict[str, str] = {"path": path, "digest": of_place(Path(path), memory)}
        except OSError as e:
            answer = {"path": path, "error": f"{e.strerror or e}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
