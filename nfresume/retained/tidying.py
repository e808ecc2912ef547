"""When a cache was last tidied: unless a sweep is thorough, it does that hourly, as it reads every entry."""

from __future__ import annotations

import time
from pathlib import Path

#: A file in the folder of a cache; its mtime is when the cache was last tidied.
_TIDIED = ".tidied"
_SECONDS = 3600.0


def is_due(cache: Path, *, thorough: bool) -> bool:
    """True when a cache is to be tidied now. Raises OSError."""
    tidied = cache / _TIDIED
    return thorough or not tidied.exists() or not 0 <= time.time() - tidied.stat().st_mtime < _SECONDS


def note(cache: Path) -> None:
    """Note that a cache is tidied now. Raises OSError."""
    (cache / _TIDIED).touch()
