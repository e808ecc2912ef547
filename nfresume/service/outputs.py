"""The published files of an execution: their names, and safe access to their bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nfresume.domain.errors import NotFound
from nfresume.domain.executions import Execution
from nfresume.runs.records import Records
from nfresume.system import trees

#: At most so many files are listed.
MAX_FILES = 10_000


@dataclass(frozen=True)
class Published:
    """What an attempt published. Names are relative to the launch dir, or absolute without the slash."""

    execution: Execution
    targets: tuple[str, ...]

    @classmethod
    def of(cls, execution: Execution, records: Records) -> Published:
        """What the records of an attempt say was published."""
        return cls(execution, tuple(records.published()))

    @property
    def elsewhere(self) -> list[str]:
        """Published URLs, such as s3://bucket/report.csv."""
        return [target for target in self.targets if "://" in target]

    def names(self) -> list[str]:
        """The names of the published files, those in published folders too; at most MAX_FILES."""
        found: dict[str, None] = {}
        for target in self.targets:
            if "://" not in target:
                for path in _files(Path(target)):
                    if len(found) >= MAX_FILES:
                        return list(found)
                    found[self._name(path)] = None
        return list(found)

    def _name(self, path: Path) -> str:
        try:
            return str(path.relative_to(self.execution.launch_dir))
        except ValueError:
            return str(path).lstrip("/")

    def open(self, name: str) -> int:
        """A descriptor of a published file. Raises NotFound for anything else.

        A link is followed only into the execution's own work dir, or inside what was published.
        """
        given = PurePosixPath(name)
        missing = NotFound(f"{self.execution.id} has not published {name[:200]!r}",
                           "GET runs/ID lists its outputs")
        if given.is_absolute() or ".." in given.parts or "\0" in name:
            raise missing
        for path in (Path(self.execution.launch_dir) / given, Path("/") / given):
            targets = [Path(t) for t in self.targets if path == Path(t) or Path(t) in path.parents]
            if not targets:
                continue
            real = Path(os.path.realpath(path))
            allowed = [Path(os.path.realpath(self.execution.work_dir.path)), *targets,
                       *(Path(os.path.realpath(t.parent)) / t.name for t in targets)]
            if any(real == place or place in real.parents for place in allowed):
                return _open(real, missing)
        raise missing


def _open(path: Path, missing: NotFound) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise missing from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise missing
    return fd


def _files(path: Path) -> Iterator[Path]:
    """The file at a path, or those of the files below it that can be seen."""
    if path.is_file():
        yield path
        return
    for folder, _, names in trees.walk(path, lambda _: None):
        for name in sorted(names):
            yield Path(folder) / name
