"""The mount and the file system type of a path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

#: File systems that several hosts may share. SQLite's locks and its shared memory do not work between hosts.
NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "beegfs", "ceph", "glusterfs", "gpfs",
    "lustre", "mmfs", "ocfs2", "gfs2", "panfs", "pvfs2", "virtiofs",
})
#: FUSE file systems that only this machine uses. All others may be shared; MooseFS, for one, is plain "fuse".
_LOCAL_FUSE = frozenset({"fuseblk", "fuse.ntfs-3g", "fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.squashfuse"})


def is_network(fstype: str) -> bool:
    """True for file systems that several hosts may share."""
    return fstype in NETWORK or (fstype.startswith("fuse") and fstype not in _LOCAL_FUSE)


@dataclass(frozen=True)
class Mount:
    """One line of /proc/mounts."""

    device: str
    mountpoint: str
    fstype: str


def mount_of(path: str | os.PathLike[str]) -> Mount | None:
    """The mount that `path` is on; None = unknown."""
    real = Path(os.path.realpath(path))
    found = max(
        # of two mounts on one folder, the later one hides the other
        (p for p in reversed(psutil.disk_partitions(all=True)) if real.is_relative_to(p.mountpoint)),
        key=lambda p: len(p.mountpoint),
        default=None,
    )
    return Mount(found.device, found.mountpoint, found.fstype) if found else None


def type_of(path: str | os.PathLike[str]) -> str:
    """The type of the file system that `path` is on, as in /proc/mounts ('' = unknown)."""
    mount = mount_of(path)
    return mount.fstype if mount else ""
