"""What Nextflow leaves for a resume: its cache database, with entries for task dirs, and its history."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from nfresume.nextflow import cache_db
from nfresume.storage.root import ExecutionFolder

_BLOCK = 32 * 1024


def write(folder: ExecutionFolder, session_id: str, task_dirs: Iterable[str]) -> None:
    """Make the cache of an execution, with one entry for each task dir (`ab/cdef...`, 32 digits)."""
    place = cache_db.folder(folder.cache, session_id)
    place.mkdir(parents=True, exist_ok=True)
    (place / "MANIFEST-000001").touch()
    (place / "CURRENT").write_text("MANIFEST-000001\n")
    data = bytearray()
    for name in task_dirs:
        batch = b"\0" * 12 + bytes([1, 16]) + bytes.fromhex(name.replace("/", "")) + bytes([0])
        part = struct.pack("<IHB", 0, len(batch), 1) + batch
        if (left := _BLOCK - len(data) % _BLOCK) < len(part):
            data += b"\0" * left
        data += part
    (place / "000003.log").write_bytes(data)
    (folder.cache / "history").write_text(f"now\t1s\tname\tERR\trevision\t{session_id}\tnextflow run\n")
