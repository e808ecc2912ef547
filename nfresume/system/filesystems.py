"""What kind of file system a path is on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

#: File systems on which SQLite's locks and its shared memory cannot be trusted between hosts.
NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "beegfs", "ceph", "glusterfs", "gpfs",
    "lustre", "mmfs", "ocfs2", "gfs2", "panfs", "pvfs2", "virtiofs",
})
#: FUSE file systems of this machine alone; any other, a plain "fuse" (MooseFS) among them, may be shared.
_LOCAL_FUSE = frozenset({"fuseblk", "fuse.ntfs-3g", "fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.squashfuse"})


def is_network(fstype: str) -> bool:
    """True for file systems that several hosts may share."""
    return fstype in NETWORK or (fstype.startswith("fuse") and fstype not in _LOCAL_FUSE)


@dataclass(frozen=True)
class Mount:
    """A line of /proc/mounts: what is mounted (`device`), where, as which type."""

    device: str
    mountpoint: str
    fstype: str


def mount_of(path: str | os.PathLike[str]) -> Mount | None:
    """The mount that holds `path`; None = unknown."""
    real = Path(os.path.realpath(path))
    found = max(
        # of two mounts on one folder, the later one is seen
        (p for p in reversed(psutil.disk_partitions(all=True)) if real.is_relative_to(p.mountpoint)),
        key=lambda p: len(p.mountpoint),
        default=None,
    )
    return Mount(found.device, found.mountpoint, found.fstype) if found else None


def type_of(path: str | os.PathLike[str]) -> str:
    """The file system type under `path`, as /proc/mounts names it ('' = unknown)."""
    mount = mount_of(path)
    return mount.fstype if mount else ""
