"""The task cache of an account: results that outlive executions, found by their key.

    <root>/<account>/.tasks/<task>/<key>/manifest.json     key, outputs, digests of what is beside it
    <root>/<account>/.tasks/<task>/<key>/files/<n>/<name>  files and folders, copies of their own
    <root>/<account>/.tasks/.new/<nonce>/                  being written; renamed into place when whole

An entry is whole or it is a miss, with a reason. Nothing in it is trusted: account and key must be those
asked for, paths those of its own folder, content that of the manifest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.domain.costs import metered_bytes
from nfresume.system import crashpoints, durable
from nfresume.tasks import digests, keys, places, values
from nfresume.tasks.keys import Key

FOLDER = ".tasks"
MANIFEST = "manifest.json"
LAYOUT = 1
NEW = ".new"
_LOCKS = ".locks"
#: So many of a task's newest entries are looked at for one that differs little.
_NEAR = 200
_INSIDE = re.compile(r"files/\d+/[^/\0]+")


class Miss(Exception):
    """There is no usable entry; the message says why."""


class Absent(Miss):
    """Nothing has this key."""


@dataclass(frozen=True)
class Entry:
    """One result in the cache. Times are seconds since the epoch, `metered` bytes as EFS counts them."""

    key: Key
    digest: str
    outputs: Any
    result: Mapping[str, Any]  # digests of the value and its parts
    files: Mapping[str, str]  # digest by path inside of the entry
    metered: int
    created_at: float
    used_at: float
    seconds: float  # that the task took
    execution: str
    path: Path


class Cache:
    """The entries of one account, below its folder in a root."""

    def __init__(self, account_folder: Path, account: str) -> None:
        self.path = account_folder / FOLDER
        self.account = account

    def entry(self, key: Key) -> Path:
        """Where the result of a key lies, if there is one."""
        return self.path / folder_name(key.task) / key.digest

    # -- read -----------------------------------------------------------------------------------

    def find(self, key: Key) -> Entry:
        """The entry of a key, without a look at its files. Raises Miss."""
        found = self._read(self.entry(key))
        if found.key.digest != key.digest:
            raise Miss("its entry is that of another key")
        return found

    def _read(self, place: Path) -> Entry:
        try:
            status = (place / MANIFEST).lstat()
            data = json.loads((place / MANIFEST).read_bytes())
            key = keys.of_json(data["key"])
            found = Entry(
                key, place.name, data["outputs"], dict(data["result"]), dict(data["files"]),
                int(data["metered"]), float(data["created_at"]), status.st_mtime, float(data["seconds"]),
                str(data["execution"]), place)
        except FileNotFoundError:
            raise Absent("nothing with this key is in the cache") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise Miss(f"its entry is damaged: {type(e).__name__}: {e}") from None
        if data.get("layout") != LAYOUT:
            raise Miss("its entry is of another layout")
        if key.account != self.account or key.digest != place.name:
            raise Miss(f"its entry belongs to account {key.account}, or to another key: refused")
        if status.st_uid not in (os.geteuid(), self.path.stat().st_uid):
            raise Miss(f"its entry was written by another user (uid {status.st_uid}): refused")
        if strange := [name for name in found.files if not _INSIDE.fullmatch(name) or name.endswith("/..")]:
            raise Miss(f"its entry names a path outside of it: {strange[0]!r}: refused")
        if outside := [path for path in values.paths_in(found.outputs) if path.startswith("files/")
                       and path not in found.files]:
            raise Miss(f"its entry is damaged: {outside[0]} is not in its manifest")
        return found

    def restore(self, entry: Entry, into: Path, memory: digests.Memory) -> tuple[Any, dict[str, str]]:
        """Copy an entry's files to `into`: the outputs that name them, digests by path. Raises Miss."""
        where: dict[str, str] = {}
        found: dict[str, str] = {}
        try:
            for name, digest in entry.files.items():
                source = entry.path / name
                if source.is_symlink() or digests.of_place(source, memory) != digest:
                    raise Miss(f"its entry is damaged: {name} is not what was stored")
                target = into / name
                places.copy(source, target)
                where[name] = str(target)
                found[str(target)] = digest
        except OSError as e:
            raise Miss(f"its entry is damaged: {e.strerror or e}") from None
        self.used(entry)
        return values.moved(entry.outputs, where), found

    def used(self, entry: Entry) -> None:
        """Remember that it was useful: what was not used for long goes first."""
        with contextlib.suppress(OSError):
            os.utime(entry.path / MANIFEST)

    def entries(self) -> Iterator[Entry]:
        """All that can be read, in no order."""
        for manifest in self.path.glob(f"[!.]*/*/{MANIFEST}"):
            with contextlib.suppress(Miss):
                yield self._read(manifest.parent)

    def newest(self, task: str) -> list[Entry]:
        """The newest entries of a task that can be read."""
        manifests = []
        for manifest in (self.path / folder_name(task)).glob(f"*/{MANIFEST}"):
            with contextlib.suppress(OSError):
                manifests.append((manifest.stat().st_mtime, manifest.parent))
        found = []
        for _, place in sorted(manifests, reverse=True)[:_NEAR]:
            with contextlib.suppress(Miss):
                found.append(self._read(place))
        return found

    # -- write ----------------------------------------------------------------------------------

    def put(self, key: Key, outputs: Any, result: Mapping[str, Any], seconds: float, execution: str) -> Path:
        """Store the outputs of a task; whoever comes later with the same key replaces it. Raises OSError."""
        new = self.path / NEW / uuid.uuid4().hex
        new.mkdir(parents=True)
        try:
            where: dict[str, str] = {}
            files: dict[str, str] = {}
            for path in dict.fromkeys(values.paths_in(outputs)):
                if Path(path).exists():
                    inside = f"files/{len(files)}/{Path(path).name}"
                    places.copy(Path(path), new / inside)
                    files[inside] = digests.of_place(new / inside)
                    where[path] = inside
            crashpoints.reach("cache-copied")
            manifest = {
                "layout": LAYOUT, "key": key.json(), "outputs": values.moved(outputs, where),
                "result": dict(result), "files": files, "created_at": time.time(), "seconds": seconds,
                "execution": execution,
            }
            size = _metered(new) + metered_bytes(len(json.dumps(manifest)) + 20)
            durable.write(new / MANIFEST, json.dumps({**manifest, "metered": size}).encode())
            crashpoints.reach("cache-written")
            return self._into_place(new, self.entry(key))
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise

    def _into_place(self, new: Path, place: Path) -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(100):  # each time another process was there first
            try:
                new.rename(place)
            except OSError as e:
                if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                old = new.with_name(uuid.uuid4().hex)
                with contextlib.suppress(FileNotFoundError):
                    place.rename(old)
                crashpoints.reach("cache-aside")
                shutil.rmtree(old, ignore_errors=True)
                continue
            crashpoints.reach("cache-stored")
            return place
        raise OSError(errno.EBUSY, "others store the same result again and again", str(place))

    @contextmanager
    def alone(self, key: Key) -> Iterator[None]:
        """Only one of equal calls at a time, on any host; a holder that dies lets go.

        Where the file system has no locks, nobody waits.
        """
        place = self.path / _LOCKS / key.digest
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("ab") as file:
            with contextlib.suppress(OSError):
                fcntl.lockf(file, fcntl.LOCK_EX)
            yield  # closing lets go; the file stays, so that all wait for the same one


def nearest_to(key: Key, entries: Iterable[Entry]) -> Entry | None:
    """The entry that differs least from a key: the newest of those."""
    return min(entries, default=None, key=lambda e: (len(keys.differences(e.key, key)), -e.created_at))


def folder_name(task: str) -> str:
    """A task's name as the name of a folder."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", task).lstrip(".")[:100]
    return safe if safe == task else f"{safe}-{digests.of_text(task)[:8]}"


def _metered(folder: Path) -> int:
    total = metered_bytes(0)
    for place, folders, files in os.walk(folder):
        total += metered_bytes(0) * len(folders)
        total += sum(metered_bytes(os.lstat(os.path.join(place, name)).st_size) for name in files)
    return total
