"""Remembers the sizes of finished task dirs, so that the next measurement need not scan them again.

They are kept in one file in the execution's `cache` folder, which is deleted with the work dir. If the file
is lost, the next measurement scans everything.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

from nfresume.storage.scan import Part, Size
from nfresume.system import durable, regular

NAME = "nfresume-sizes.json.gz"
_LAYOUT = 1


def load(cache: Path) -> dict[str, Part]:
    """Finished parts of the last measurement; empty when there was none, or the file is damaged."""
    try:
        document = regular.parsed(regular.unpacked(regular.content(cache / NAME)))
        if document["layout"] != _LAYOUT:
            return {}
        return {
            name: Part(name, mtime, Size(*size), array("Q", inodes), set(linked), finished=True)
            for name, (mtime, size, inodes, linked) in document["parts"].items()
        }
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, OverflowError):
        return {}


def save(cache: Path, parts: Mapping[str, Part]) -> None:
    """Save the finished parts; an unwritable folder is no error."""
    keep = {
        name: (part.mtime_ns, astuple(part.size), list(part.inodes), sorted(part.linked))
        for name, part in parts.items()
        if part.finished and not part.pending and not part.size.unreadable
    }
    data = json.dumps({"layout": _LAYOUT, "parts": keep}, separators=(",", ":")).encode()
    with contextlib.suppress(OSError):
        durable.write(cache / NAME, gzip.compress(data, 1))
