"""What kind of file system a path is on."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

#: File systems on which SQLite's locks and its shared memory cannot be trusted between hosts.
NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "beegfs", "ceph", "glusterfs", "gpfs",
    "lustre", "mmfs", "ocfs2", "gfs2", "panfs", "pvfs2", "virtiofs", "fuse.glusterfs", "fuse.mfs",
    "fuse.moosefs", "fuse.sshfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.juicefs", "fuse.s3fs",
    "fuse.rclone", "fuse.lizardfs", "fuse.nfs", "fuse.cvmfs", "fuse.mount-s3", "fuse.goofys",
})


def is_network(fstype: str) -> bool:
    """True for file systems that several hosts may share."""
    return fstype in NETWORK


def type_of(path: str | os.PathLike[str]) -> str:
    """The file system type under `path`, as /proc/mounts names it ('' = unknown)."""
    real = os.path.realpath(path)
    best = max(
        (p for p in psutil.disk_partitions(all=True) if Path(real).is_relative_to(p.mountpoint)),
        key=lambda p: len(p.mountpoint),
        default=None,
    )
    return best.fstype if best else ""
