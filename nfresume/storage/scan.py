"""Measure a work dir: one pass, symlinks not followed, hard links counted once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nfresume.costs import metered_bytes


@dataclass
class Size:
    """`bytes` = apparent data bytes; `files` = everything that is no directory; `metered` = EFS's."""

    bytes: int = 0
    files: int = 0
    directories: int = 0
    metered: int = 0


def measure(folders: Iterable[Path]) -> Size:
    """Size of some folders together; what vanishes meanwhile is left out."""
    size = Size()
    seen: set[tuple[int, int]] = set()
    waiting = [folder for folder in folders if folder.is_dir()]
    while waiting:
        folder = waiting.pop()
        size.directories += 1
        size.metered += metered_bytes(0)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        _count(entry, size, seen)
        except (FileNotFoundError, PermissionError):
            continue
    return size


def _count(entry: os.DirEntry[str], size: Size, seen: set[tuple[int, int]]) -> None:
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    if found.st_nlink > 1 and not stat.S_ISLNK(found.st_mode):
        if (found.st_dev, found.st_ino) in seen:
            return
        seen.add((found.st_dev, found.st_ino))
    size.files += 1
    size.bytes += found.st_size
    size.metered += metered_bytes(found.st_size if stat.S_ISREG(found.st_mode) else 0)
