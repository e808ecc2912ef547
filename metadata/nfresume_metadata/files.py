"""Paths that may be remote: LatchFile, LatchDir, LPath. Nothing here opens a file or uses the network.

Unlike Latch's own classes they are hashable. Many public files use them as dataclass defaults, and since
Python 3.11 such a default must be hashable.
"""

from __future__ import annotations

import os
import re
from typing import Annotated

from nfresume_metadata.annotations import FlyteAnnotation

_REMOTE = re.compile(r"(latch|s3|gs|az)://.*")


class _LatchPath:
    """A path or URL, with the URL that it has remotely."""

    def __init__(self, path: str | os.PathLike[str], remote_path: str | os.PathLike[str] | None = None,
                 **_other: object) -> None:
        if path is None:
            raise ValueError(f"{type(self).__name__}: the path must not be None")
        self.path = str(path)
        remote = remote_path if remote_path is not None else path
        self._raw_remote_path = str(remote) if _REMOTE.fullmatch(str(remote)) else None

    @property
    def remote_path(self) -> str | None:
        """The `latch://`, `s3://`, `gs://` or `az://` URL; None for a local path."""
        return self._raw_remote_path

    @property
    def local_path(self) -> str:
        """The path that was passed in. Nothing is downloaded."""
        return self.path

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (
            (other.path, other.remote_path) == (self.path, self.remote_path)
        )

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.path, self._raw_remote_path))


class LatchFile(_LatchPath):
    """A file, local or remote."""


class LatchDir(_LatchPath):
    """A folder, local or remote."""


class LPath(_LatchPath):
    """A remote path."""


LatchOutputFile = Annotated[LatchFile, FlyteAnnotation({"output": True})]
LatchOutputDir = Annotated[LatchDir, FlyteAnnotation({"output": True})]
