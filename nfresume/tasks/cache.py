"""The task cache of an account: results of Python tasks, found by their key, for all executions.

    <root>/<account>/.tasks/<task>/<key>/manifest.json     key, outputs, digests of the files
    <root>/<account>/.tasks/<task>/<key>/files/<n>/<name>  copies of the result's files and folders
    <root>/<account>/.tasks/.new/<nonce>/                  an entry being written; renamed when complete

An entry that is not complete and correct counts as a miss, with a reason. Nothing in an entry is trusted:
its account and key must be the requested ones, its paths must be in its own folder, and its files must have
the digests of the manifest.
"""

from __future__ import annotations

import contextlib
import errno
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
from nfresume.system import crashpoints, durable, regular, trees
from nfresume.tasks import digests, keys, task_files, values
from nfresume.tasks.keys import Key

FOLDER = ".tasks"
MANIFEST = "manifest.json"
LAYOUT = 3
NEW = ".new"
_LOCKS = ".locks"
#: How many of a task's newest entries are compared with a key that missed.
_NEWEST = 200
_ENTRY_PATH = re.compile(r"files/\d+/[^/\0]+")


class Miss(Exception):
    """There is no usable entry. The message says why."""


class Absent(Miss):
    """There is no entry with this key."""


@dataclass(frozen=True)
class Entry:
    """One result in the cache. Times are seconds since the epoch; `metered` are bytes by the EFS rule."""

    key: Key
    digest: str
    outputs: Any
    result: Mapping[str, Any]  # digests of the value and its parts
    files: Mapping[str, str]  # digest by path within the entry
    metered: int
    created_at: float
    used_at: float
    seconds: float  # how long the task ran
    execution: str
    path: Path


class Cache:
    """The task cache of one account, in the account's folder in a root."""

    def __init__(self, account_folder: Path, account: str) -> None:
        self.path = account_folder / FOLDER
        self.account = account

    def entry_path(self, key: Key) -> Path:
        """The folder of a key's entry, which need not exist."""
        return self.path / folder_name(key.task) / key.digest

    # -- read -----------------------------------------------------------------------------------

    def find(self, key: Key) -> Entry:
        """The entry of a key. Its files are not checked. Raises Miss."""
        found = self._read(self.entry_path(key))
        if found.key.digest != key.digest:
            raise Miss("its entry is that of another key")
        return found

    def _read(self, path: Path) -> Entry:
        try:
            status = (path / MANIFEST).lstat()
            data = regular.document(path / MANIFEST)
            if data.get("layout") != LAYOUT:
                raise Miss("its entry is of another layout")
            key = keys.of_json(data["key"])
            found = Entry(
                key, path.name, data["outputs"], dict(data["result"]), dict(data["files"]),
                int(data["metered"]), float(data["created_at"]), status.st_mtime, float(data["seconds"]),
                str(data["execution"]), path)
        except FileNotFoundError:
            raise Absent("nothing with this key is in the cache") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise Miss(f"its entry is damaged: {type(e).__name__}: {e}") from None
        if key.account != self.account or key.digest != path.name:
            raise Miss(f"its entry belongs to account {key.account}, or to another key: refused")
        if status.st_uid not in (os.geteuid(), self.path.stat().st_uid):
            raise Miss(f"its entry was written by another user (uid {status.st_uid}): refused")
        if outside := [name for name in found.files
                       if not _ENTRY_PATH.fullmatch(name) or name.endswith("/..")]:
            raise Miss(f"its entry names a path outside of it: {outside[0]!r}: refused")
        if missing := [name for name in values.paths_in(found.outputs) if name.startswith("files/")
                       and name not in found.files]:
            raise Miss(f"its entry is damaged: {missing[0]} is not in its manifest")
        return found

    def restore(self, entry: Entry, into: Path, index: digests.DigestIndex) -> tuple[Any, dict[str, str]]:
        """Copy an entry's files to the folder `into`.

        Returns the outputs with the paths of the copies, and the digests of the copies by path. Raises Miss
        when a file is missing or does not have the digest of the manifest.
        """
        new_paths: dict[str, str] = {}
        digest_by_path: dict[str, str] = {}
        try:
            for name, digest in entry.files.items():
                source = entry.path / name
                if source.is_symlink() or digests.of_path(source, index) != digest:
                    raise Miss(f"its entry is damaged: {name} is not what was stored")
                target = into / name
                task_files.copy(source, target)
                new_paths[name] = str(target)
                digest_by_path[str(target)] = digest
        except OSError as e:
            raise Miss(f"its entry is damaged: {e.strerror or e}") from None
        self.mark_used(entry)
        return values.replace_paths(entry.outputs, new_paths), digest_by_path

    def mark_used(self, entry: Entry) -> None:
        """Set the entry's time of last use to now. Entries that were not used for long are removed first."""
        with contextlib.suppress(OSError):
            os.utime(entry.path / MANIFEST)

    def entries(self) -> Iterator[Entry]:
        """All entries that can be read, in no order."""
        for manifest in self.path.glob(f"[!.]*/*/{MANIFEST}"):
            with contextlib.suppress(Miss):
                yield self._read(manifest.parent)

    def newest(self, task: str) -> list[Entry]:
        """The newest readable entries of a task, newest first, at most _NEWEST."""
        manifests = []
        for manifest in (self.path / folder_name(task)).glob(f"*/{MANIFEST}"):
            with contextlib.suppress(OSError):
                manifests.append((manifest.stat().st_mtime, manifest.parent))
        found = []
        for _, path in sorted(manifests, reverse=True)[:_NEWEST]:
            with contextlib.suppress(Miss):
                found.append(self._read(path))
        return found

    # -- write ----------------------------------------------------------------------------------

    def put(self, key: Key, outputs: Any, result: Mapping[str, Any], seconds: float, execution: str) -> Path:
        """Store a task's outputs as the entry of `key`, in place of an earlier one. Raises OSError.

        `seconds` is how long the task ran. Returns the folder of the entry.
        """
        new = self.path / NEW / uuid.uuid4().hex
        new.mkdir(parents=True)
        try:
            new_paths: dict[str, str] = {}
            files: dict[str, str] = {}
            folders: dict[Path, int] = {}
            for path in dict.fromkeys(values.paths_in(outputs)):
                source = Path(path)
                if source.exists():  # what lay side by side stays so: each folder is a mount of who reads it
                    name = f"files/{folders.setdefault(source.parent, len(folders))}/{source.name}"
                    if name not in files:
                        task_files.copy(source, new / name)
                        files[name] = digests.of_path(new / name)
                    new_paths[path] = name
            crashpoints.reach("cache-copied")
            manifest = {
                "layout": LAYOUT, "key": key.json(), "outputs": values.replace_paths(outputs, new_paths),
                "result": dict(result), "files": files, "created_at": time.time(), "seconds": seconds,
                "execution": execution,
            }
            size = _metered(new) + metered_bytes(len(json.dumps(manifest)) + 20)
            durable.write(new / MANIFEST, json.dumps({**manifest, "metered": size}).encode())
            crashpoints.reach("cache-written")
            return self._rename_into_place(new, self.entry_path(key))
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise

    def forget(self, key: Key) -> None:
        """Remove the entry of a key, if there is one. Raises OSError."""
        (self.path / NEW).mkdir(parents=True, exist_ok=True)
        self._remove(self.entry_path(key))

    def _remove(self, entry: Path) -> None:
        """Remove an entry at once: whoever looks finds all of it, or nothing."""
        old = self.path / NEW / uuid.uuid4().hex
        with contextlib.suppress(FileNotFoundError):
            entry.rename(old)
        crashpoints.reach("cache-aside")
        shutil.rmtree(old, ignore_errors=True)

    def _rename_into_place(self, new: Path, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(100):  # it fails when another process has stored the same entry in the meantime
            try:
                new.rename(target)
            except OSError as e:
                if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                self._remove(target)
                continue
            crashpoints.reach("cache-stored")
            return target
        raise OSError(errno.EBUSY, "other processes keep storing the same result", str(target))

    @contextmanager
    def lock(self, key: Key) -> Iterator[None]:
        """A lock on a key, among all hosts. It is released at the end of the block, or when its holder dies.

        On a file system without locks nothing is locked.
        """
        with durable.locked(self.path / _LOCKS / key.digest):
            yield  # the file stays, so that all processes lock the same one


def nearest_to(key: Key, entries: Iterable[Entry]) -> Entry | None:
    """The newest of the entries whose keys differ least from `key`; None: no entries."""
    return min(entries, default=None, key=lambda e: (len(keys.differences(e.key, key)), -e.created_at))


def folder_name(task: str) -> str:
    """The folder name for a task's full name. Names that need escaping get a digest, so that all differ."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", task).lstrip(".")[:100]
    return safe if safe == task else f"{safe}-{digests.of_text(task)[:8]}"


def _metered(folder: Path) -> int:
    total = metered_bytes(0)
    for parent, folders, files in trees.walk(folder):
        total += metered_bytes(0) * len(folders)
        total += sum(metered_bytes(os.lstat(os.path.join(parent, name)).st_size) for name in files)
    return total
