"""Folders on this machine for what a task changes and its task dir cannot hold. They go with the task."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nfresume.system import processes


def of(task_dir: Path) -> tuple[Path, ...]:
    """Folders on this machine for changes that the task dir cannot hold; they need not exist yet.

    Their names have the id of this process, which removes them: after its death anyone may.
    """
    me = f"{os.getpid()}-{processes.start_ticks(os.getpid())}-{task_dir.parent.name}{task_dir.name[:12]}"
    return tuple(folder / me for folder in _folders())


def _folders() -> Iterator[Path]:
    """This user's scratch folders, made where they are not there; one that somebody else has put there is not
    used."""
    for top in dict.fromkeys((tempfile.gettempdir(), "/var/tmp")):  # noqa: S108
        folder = Path(top) / f"nfresume-{os.geteuid()}"
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                yield folder


def tidy() -> None:
    """Remove what killed tasks have left in this user's scratch folders."""
    for folder in _folders():
        with contextlib.suppress(OSError):
            for entry in folder.iterdir():
                pid, _, rest = entry.name.partition("-")
                ticks = rest.partition("-")[0]
                if pid.isdecimal() and ticks.isdecimal() and not processes.is_alive(int(pid), int(ticks)):
                    remove(entry)


def remove(folder: Path) -> None:
    """Remove what `enter` has made, except for mounts, which end with the task's last process."""

    def unlock(_call: object, path: str, _error: object) -> None:
        with contextlib.suppress(OSError):  # the kernel makes folders without any permission
            os.chmod(path, 0o700)
            shutil.rmtree(path, ignore_errors=True)

    shutil.rmtree(folder, onerror=unlock)
