"""Which files of a work dir a text names: a script, a wrapper, a samplesheet, an error message.

A file is named by the end of its path, `ab/<30 digits>/name`, so that the path of the work dir may be any.
The guard of tasks (`nextflow.guard`) finds the same with grep and sed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

#: A task dir and what follows, up to a character that ends a word of a shell.
PATTERN = r"[0-9a-f]{2}/[0-9a-f]{30}[^][:space:]\"'`;,:()<>|&[]*"
_TOKEN = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}[^\]\s\"'`;,:()<>|&\[]*")
#: Only files whose whole path has these characters are ever emptied.
SAFE = "A-Za-z0-9._+=@%-"
_SAFE_PATH = re.compile(f"[{SAFE}]+(?:/[{SAFE}]+)*")
_TASK_DIR = 33
_ODD_TASK_DIR = re.compile(r"^(.{33})[^/].*$")
_UP = re.compile(r"^(.{33})/(?:.*/)?\.\.(?:/.*)?$")
_ODD = re.compile(f"/[^/]*[^/{SAFE}].*$")
_SLASHES = re.compile(r"//+")
_HERE = re.compile(r"(?:/\.)+(?=/|$)")


def of(text: str) -> set[str]:
    """What a text names: task dirs, and paths below them.

    >>> sorted(of("cat /w/ab/" + "0" * 30 + "/x.bam | sort /w/cd/" + "1" * 30 + "/a*"))
    ['ab/000000000000000000000000000000/x.bam', 'cd/111111111111111111111111111111']
    """
    return {normal(token) for token in _TOKEN.findall(text)}


def normal(token: str) -> str:
    """A token without `//`, `/./` and an end `/`; cut before a name with other characters than SAFE."""
    found = _ODD_TASK_DIR.sub(r"\1", token)
    found = _SLASHES.sub("/", found)
    found = _UP.sub(r"\1", found)
    found = _ODD.sub("", found)
    return _HERE.sub("", found).rstrip("/")


def is_safe(path: str) -> bool:
    """True for a path that a text cannot name in another way: no blanks, no quotes, nothing of a shell."""
    return _SAFE_PATH.fullmatch(path) is not None and ".." not in path.split("/")


def ancestors(path: str) -> Iterator[str]:
    """A path below the work dir, and each folder above it down from its task dir.

    >>> list(ancestors("ab/c/d/e"))
    ['ab/c/d/e', 'ab/c/d', 'ab/c']
    """
    while path.count("/") >= 1:
        yield path
        path = path.rpartition("/")[0]


class Named:
    """A set of named paths. A file is named with each of its folders, and a folder with each of its files."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._exact: set[str] = set()
        self._above: set[str] = set()
        for path in paths:
            self.add(path)

    def add(self, path: str) -> None:
        """Add a path below the work dir."""
        self._exact.add(path)
        self._above.update(ancestors(path))

    def __contains__(self, path: str) -> bool:
        return path in self._above or any(above in self._exact for above in ancestors(path))
