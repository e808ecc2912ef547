"""Mount namespaces of Linux: a process gets a view of the file system of its own.

Root makes one directly, anyone else in a user namespace, where the kernel allows that. Uses libc, because
Python has no call for mount(2), and for unshare(2) only since 3.12.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000  # linux/sched.h
_MS_BIND, _MS_REC, _MS_SLAVE = 1 << 12, 1 << 14, 1 << 19  # linux/mount.h
_MNT_DETACH = 2  # linux/fs.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
#: What an error number means other than what it is called, by the call: user_namespaces(7).
_WHY = {("unshare", errno.ENOSPC): "too many namespaces; see /proc/sys/user"}
#: A byte of a path in mountinfo: proc(5).
_OCTAL = re.compile(r"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        why = _WHY.get((what, number), os.strerror(number))
        raise OSError(number, f"{what}: {why}")


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the thread that forked it, of process `parent`, ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal.SIGKILL)


def enter() -> bool:
    """Give this process, which must have one thread, a mount namespace. True: within a user namespace.

    Mounts that are made in it are not seen elsewhere. Raises OSError where the kernel forbids it.
    """
    user = False
    if _libc.unshare(_CLONE_NEWNS) != 0:
        uid, gid = os.geteuid(), os.getegid()
        _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "unshare")
        maps = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
        for name, text in maps.items():
            Path(f"/proc/self/{name}").write_text(text)
        user = True
    _mount("none", "/", None, _MS_REC | _MS_SLAVE)
    return user


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    result = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode() if kind else None,
                         ctypes.c_ulong(flags), data.encode() if data else None)
    _check(result, f"mount {target}")


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str] | int) -> Iterator[str]:
    """A name for a path that needs no escaping in mount options: that of an open descriptor."""
    if isinstance(path, int):
        yield f"/proc/self/fd/{path}"
        return
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def bind(source: str | os.PathLike[str] | int, target: str | os.PathLike[str]) -> None:
    """Show `source`, a path or an open descriptor, with all mounts in it, at `target`. Raises OSError."""
    with _opened(source) as name:
        _mount(name, str(target), None, _MS_BIND | _MS_REC)


def detach(target: str | os.PathLike[str]) -> None:
    """Undo the last mount at `target`, also while it is in use. Raises OSError."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"umount {target}")


def overlay(
    lower: Sequence[str | os.PathLike[str] | int], base: Path, target: str | os.PathLike[str], *, user: bool
) -> Path:
    """Show the folders `lower`, first on top, at `target`, copy-on-write. Returns the folder of the changes.

    Changes go to a new folder in `base`, which must not be in one of `lower`. `user`: as `enter` returned.
    Mounts in `lower` are not seen in `target`. Raises OSError, for example for a file system that cannot hold
    changes.
    """
    upper, work = base / "upper", base / "work"
    for path in (upper, work):
        path.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        lowers, up, scratch = ([stack.enter_context(_opened(path)) for path in paths]
                               for paths in (lower, [upper], [work]))
        options = f"lowerdir={':'.join(lowers)},upperdir={up[0]},workdir={scratch[0]},metacopy=off"
        _mount("overlay", str(target), "overlay", 0, options + (",userxattr" if user else ""))
    return upper


def mount_points() -> list[str]:
    """The mount points that this process sees."""
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    fields = (line.split(" ")[4] for line in lines)
    return [_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), field) for field in fields]
