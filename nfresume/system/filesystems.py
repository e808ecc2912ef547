"""The mount and the file system type of a path, and the identity of a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

#: File systems that only this machine uses. All others may be shared by several hosts: SQLite's locks and its
#: shared memory do not work between hosts, and removal waits for the network, not for the kernel.
_LOCAL = frozenset({
    "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "iso9660", "jfs",
    "nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "udf", "vfat",
    "xfs", "zfs", "fuseblk", "fuse.ntfs-3g", "fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.squashfuse",
})
#: The mounted device by st_dev. It is stored because reading the table of mounts takes a millisecond.
_sources: dict[int, str] = {}


def is_network(fstype: str) -> bool:
    """True for file systems that several hosts may share: all that are not known to be local."""
    return fstype not in _LOCAL


@dataclass(frozen=True)
class FolderId:
    """The identity of a folder, whatever is at its path later.

    `device` (st_dev) may differ between mounts and between hosts. `source`, the mounted device such as
    `server:/export` or `/dev/sda1`, does not. It is '' where it has no meaning, as for tmpfs.
    """

    inode: int
    device: int
    source: str

    def matches(self, other: FolderId) -> bool:
        """True if both are the same folder, even if they were taken on different hosts."""
        same_source = bool(self.source) and self.source == other.source
        return self.inode == other.inode and (self.device == other.device or same_source)


def folder_id(path: str | os.PathLike[str]) -> FolderId:
    """The identity of the folder at `path`; links are followed. Raises OSError if there is none."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_dev not in _sources:
            mount = mount_of(os.readlink(f"/proc/self/fd/{fd}"))
            named = mount is not None and ("/" in mount.device or ":" in mount.device)
            _sources[found.st_dev] = mount.device if mount is not None and named else ""
    finally:
        os.close(fd)
    return FolderId(found.st_ino, found.st_dev, _sources[found.st_dev])


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
