"""Tasks that have no file system of their own write to /root and /tmp one at a time.

Python reports what a task is about to open, make, move or start (`sys.addaudithook`). Before the first of
these that concerns /root or /tmp, the task waits for a lock of this machine. It keeps the lock until its
outputs are in its task dir. What it has made there is then removed, so that the next task finds what the
first one found.

It is a remedy, not a wall: a program that the task starts may write there without naming the path.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from nfresume.tasks.views import PLACES, PRIVATE, Wish

LOCK = Path("/tmp/.nfresume-shared-folders.lock")  # noqa: S108
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_WORD = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, map(str, PLACES))) + r")(?:/[\w.+=@%~-]+)*")


class Sharing:
    """A context in which the task's function is called and its outputs are collected."""

    def __init__(self, wish: Wish) -> None:
        self._own = (wish.work, *(Path(path) for path in wish.shared))
        self._made: list[Path] = []
        self._lock: int | None = None
        self._watching = False
        self._temporary = wish.task_dir / PRIVATE
        self._temporary.mkdir(exist_ok=True)

    def __enter__(self) -> None:
        tempfile.tempdir = os.environ["TMPDIR"] = str(self._temporary)
        sys.addaudithook(self._audit)
        self._watching = True

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._watching = False
        for path in self._made:
            with contextlib.suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self._watching and (find := _FINDERS.get(event)) is not None:
            self._watching = False  # what follows is not the task's
            try:
                for path in find(args):
                    self._about_to_write(path)
            finally:
                self._watching = True

    def _about_to_write(self, path: Path) -> None:
        place = next((p for p in PLACES if p in path.parents), None)
        if place is None or any(own == path or own in path.parents for own in self._own):
            return
        if self._lock is None:
            self._lock = _locked()
            print(f"nfresume: the task uses {path}, which it shares: such tasks run one at a time",
                  file=sys.stderr, flush=True)
        missing = [p for p in (path, *path.parents) if place in p.parents and not os.path.lexists(p)]
        if missing and missing[-1] not in self._made:
            self._made.append(missing[-1])


def _locked() -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW  # in /tmp anyone may have put a link there
    try:
        fd = os.open(LOCK, flags)
    except FileNotFoundError:
        fd = os.open(LOCK, flags | os.O_CREAT, 0o666)
        with contextlib.suppress(OSError):
            os.fchmod(fd, 0o666)  # for the tasks of other users
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _path(value: Any) -> list[Path]:
    if isinstance(value, bytes | str | os.PathLike):
        return [Path(os.path.abspath(os.fsdecode(value)))]
    return []


def _opened(args: tuple[Any, ...]) -> list[Path]:
    path, mode, flags = args
    writes = flags & _WRITES if isinstance(flags, int) else any(c in str(mode) for c in "wax+")
    return _path(path) if writes else []


def _named(*values: Any) -> list[Path]:
    """The paths in /root and /tmp that words of a command name."""
    found: list[Path] = []
    for value in values:
        if isinstance(value, list | tuple):
            found += _named(*value)
        elif isinstance(value, Mapping) or value is None:
            continue
        elif isinstance(value, bytes | str | os.PathLike):
            found += [Path(os.path.normpath(word)) for word in _WORD.findall(os.fsdecode(value))]
    return found


def _first(count: int) -> Callable[[tuple[Any, ...]], list[Path]]:
    return lambda args: [path for value in args[:count] for path in _path(value)]


#: What is about to be written, by the name of Python's event. Of commands: all paths that they name.
_FINDERS: Mapping[str, Callable[[tuple[Any, ...]], list[Path]]] = {
    "open": _opened, "os.mkdir": _first(1), "os.remove": _first(1), "os.rmdir": _first(1),
    "os.rename": _first(2), "os.link": _first(2), "os.symlink": lambda args: _path(args[1]),
    "os.truncate": _first(1), "os.chmod": _first(1), "os.utime": _first(1), "sqlite3.connect": _first(1),
    "os.chdir": _first(1), "shutil.rmtree": _first(1),
    "subprocess.Popen": lambda args: _named(args[1], args[2]),
    "os.system": lambda args: _named(*args), "os.posix_spawn": lambda args: _named(args[1]),
    "os.exec": lambda args: _named(args[1]), "os.spawn": lambda args: _named(args[2]),
}
