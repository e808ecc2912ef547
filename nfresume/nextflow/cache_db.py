"""Nextflow's cache database: which tasks a resume can find.

It is a LevelDB, `cache/<session>/db`, whose keys are the hashes of tasks, 16 bytes each. In hexadecimal they
are the names of the task dirs. Only keys are read, never a value. The format: LevelDB's `doc/log_format.md`
and `doc/table_format.md`; Nextflow writes its blocks uncompressed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from nfresume.system import regular

_BLOCK = 32 * 1024
_HEADER = struct.Struct("<IHB")  # checksum, length, type
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_BATCH_HEADER = 12  # a sequence number and a count
_DELETED, _VALUE = 0, 1
_FOOTER = 48
_MAGIC = 0xDB4775248B80FB57
_INTERNAL = 8  # behind each key of a table: its sequence number and its kind
_KEY = 16


class Unreadable(Exception):
    """The database cannot be read; the text says why."""


class Compressed(Unreadable):
    """Its blocks are compressed: what it has cannot be told."""


def folder(cache_dir: Path, session_id: str) -> Path:
    """The folder of a session's database."""
    return cache_dir / "cache" / session_id / "db"


def stamp(cache_dir: Path, session_id: str) -> tuple[tuple[str, int, int], ...]:
    """The names, sizes and times of its files: the same while nothing has changed. Raises OSError."""
    found = []
    with os.scandir(folder(cache_dir, session_id)) as files:
        for file in files:
            seen = file.stat()
            found.append((file.name, seen.st_size, seen.st_mtime_ns))
    return tuple(sorted(found))


def task_dirs(cache_dir: Path, session_id: str) -> set[str]:
    """The task dirs (`ab/cdef...`) of all entries, of failed tasks too. Raises Unreadable.

    What is damaged is left out, as Nextflow does, which opens such a database without a word.
    """
    place = folder(cache_dir, session_id)
    try:
        current = regular.content(place / "CURRENT").decode("ascii", "replace").strip()
        if current not in [path.name for path in place.glob("MANIFEST-*")]:
            raise Unreadable("its cache database has no manifest")
        found: set[bytes] = set()
        for path in sorted(place.iterdir()):
            if path.suffix == ".log":
                found.update(_of_log(regular.content(path)))
            elif path.suffix in (".sst", ".ldb"):
                found.update(_of_table(regular.content(path)))
    except FileNotFoundError:
        raise Unreadable(f"its cache database {'has no manifest' if place.is_dir() else 'is gone'}") from None
    except OSError as e:
        raise Unreadable(f"its cache database cannot be read: {e.strerror}") from None
    return {f"{key[:1].hex()}/{key[1:].hex()}" for key in found}


def _of_log(data: bytes) -> Iterator[bytes]:
    """The keys in a log of changes."""
    for batch in _batches(data):
        at = _BATCH_HEADER
        try:
            while at < len(batch):
                kind = batch[at]
                length, at = _varint(batch, at + 1)
                key, at = batch[at:at + length], at + length
                if kind == _VALUE:
                    length, at = _varint(batch, at)
                    at += length
                if kind not in (_VALUE, _DELETED) or at > len(batch):
                    break  # it is damaged
                if kind == _VALUE and len(key) == _KEY:
                    yield key
        except IndexError:
            continue


def _batches(data: bytes) -> Iterator[bytes]:
    """The records of a log, put together from their fragments. Zeros, as after a crash, are skipped."""
    parts: list[bytes] = []
    for start in range(0, len(data), _BLOCK):
        at, end = start, min(start + _BLOCK, len(data))
        while at + _HEADER.size <= end:
            _, length, kind = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            if kind == 0 or at + length > end:
                break
            part, at = data[at:at + length], at + length
            if kind in (_FULL, _FIRST):
                parts = []
            parts.append(part)
            if kind in (_FULL, _LAST):
                yield b"".join(parts)
                parts = []


def _of_table(data: bytes) -> Iterator[bytes]:
    """The keys in a table. Raises Compressed."""
    if len(data) < _FOOTER or struct.unpack_from("<Q", data, len(data) - 8)[0] != _MAGIC:
        return
    at = len(data) - _FOOTER
    try:
        _, at = _varint(data, at)
        _, at = _varint(data, at)
        offset, at = _varint(data, at)
        size, at = _varint(data, at)
        for _, handle in _entries(_block(data, offset, size)):
            start, after = _varint(handle, 0)
            size, _ = _varint(handle, after)
            for key, _ in _entries(_block(data, start, size)):
                if len(key) == _KEY + _INTERNAL and key[_KEY] == _VALUE:
                    yield key[:_KEY]
    except (IndexError, struct.error):
        return


def _block(data: bytes, offset: int, size: int) -> bytes:
    if data[offset + size] != 0:
        raise Compressed("its cache database is compressed")
    return data[offset:offset + size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block. A key leaves out what it shares with the one before."""
    restarts = struct.unpack_from("<I", block, len(block) - 4)[0]
    end, at, key = len(block) - 4 - 4 * restarts, 0, b""
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at:at + rest]
        at += rest
        yield key, block[at:at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends. Raises IndexError."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
