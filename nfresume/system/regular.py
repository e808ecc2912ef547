"""Read files that a pipeline may have replaced while nobody looked.

A FIFO would hold its reader for ever, a device has no end, and JSON may be deeper than Python's stack. So
only regular files are opened, also behind links, and a document has a size.
"""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

#: A larger file is not read whole, nor a larger document parsed.
MOST_BYTES = 1 << 28
MOST_OF_A_DOCUMENT = 1 << 26
#: Most files are smaller: who asks for many bytes at once gets memory for all of them, which takes time.
_FIRST_BYTES = 1 << 16


class NotRegular(OSError, ValueError):
    """Something else is in the place of a file. To wait does not help: as a document it is damaged."""


class Directory(IsADirectoryError, ValueError):
    """The same, for a directory."""


def opener(path: str, flags: int) -> int:
    """The `opener` of `open` for a regular file. Raises NotRegular or Directory at once for anything else."""
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENXIO):  # links that lead nowhere, a socket
            raise NotRegular(e.errno, e.strerror, path) from None
        raise
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        if stat.S_ISDIR(mode):
            raise Directory(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise NotRegular(errno.EINVAL, "it is not a regular file", path)
    return fd


def content(path: Path, most: int = MOST_BYTES) -> bytes:
    """All of a regular file. Raises OSError, also for one of more than `most` bytes."""
    with open(path, "rb", opener=opener) as file:
        data = _one_more(file, most)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
    return data


def _one_more(file: io.BufferedIOBase, most: int) -> bytes:
    """All bytes of a file, or one more than `most`."""
    data = file.read(_FIRST_BYTES)
    return data + file.read(most + 1 - len(data)) if len(data) == _FIRST_BYTES else data


def text(path: Path) -> str:
    """The same as text: bytes that are no UTF-8 are replaced."""
    return content(path).decode("utf-8", "replace")


def document(path: Path) -> Any:
    """The JSON document in a regular file. Raises OSError, and ValueError for what is no JSON."""
    return parsed(content(path, MOST_OF_A_DOCUMENT))


def parsed(data: bytes) -> Any:
    """A JSON document. Raises ValueError for what is none, and for one that is nested too deeply."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def unpacked(data: bytes, most: int = MOST_BYTES) -> bytes:
    """What gzip has packed. Raises OSError, EOFError or zlib.error for damage or more than `most` bytes."""
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        found = _one_more(file, most)
    if len(found) > most:
        raise OSError(errno.EFBIG, f"it unpacks to more than {most:,} bytes")
    return found
