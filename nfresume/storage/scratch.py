"""What of an execution is short-lived, by its paths."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

#: The kernel follows at most so many links in one path.
MOST_LINKS = 40


@dataclass(frozen=True)
class Scratch:
    """What is short-lived: the work dir `work` of one execution, in the root of all work dirs.

    Both paths are free of links. `former_paths` are paths that the work dir had before its root moved; links
    by those paths count as links into it. `emptied` are the inodes of its files that keep no content.
    """

    execution_id: str
    work: str
    root: str
    former_paths: tuple[str, ...] = ()
    emptied: frozenset[int] = frozenset()

    def contains(self, path: str) -> bool:
        """True for the work dir and everything in it; `path` must be free of links."""
        return path == self.work or path.startswith(f"{self.work}/")

    def goes_with_it(self, path: str) -> bool:
        """True for what is deleted with the work dir, or later with the records; `path` is free of links."""
        own = os.path.dirname(self.work)
        return f"{path}/".startswith((f"{self.work}/", f"{own}/cache/", f"{own}/attempts/"))

    def in_root(self, path: str) -> bool:
        """True for whatever lies in the root, work dirs of other executions among them."""
        return path.startswith(f"{self.root}/")

    def is_task_dir(self, path: str) -> bool:
        """True for the work dir itself and the folders `ab` and `ab/cdef...`: no result is a task dir."""
        shallow = path == self.work or (self.contains(path) and path.removeprefix(self.work).count("/") < 3)
        return shallow and os.path.isdir(path)

    def is_emptied(self, path: str) -> bool:
        """True for a file of the work dir whose content lean retention has not kept."""
        return bool(self.emptied) and self.contains(path) and os.lstat(path).st_ino in self.emptied

    def resolve(self, path: str) -> str:
        """Follow all links of a path. A former path of the work dir is translated to its present one.

        Raises OSError where a part of the path cannot be seen; one that is not there is no error.
        """
        found = _real(path)
        for _ in range(MOST_LINKS if self.former_paths else 0):
            before = next((b for b in self.former_paths if f"{found}/".startswith(f"{b.rstrip('/')}/")), None)
            if before is None:
                break
            found = _real(self.work + found.removeprefix(before.rstrip("/")))
        return found


def _real(path: str) -> str:
    try:
        return os.path.realpath(path, strict=True)
    except FileNotFoundError:
        return os.path.realpath(path)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENOTDIR):  # a link that leads nowhere
            return os.path.realpath(path)
        raise
