"""The mount and the file system type of a path, and the identity of a folder."""

from __future__ import annotations

import os
import time
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
#: By st_dev the mount, and when it was looked up: reading the table of mounts takes a millisecond. It is not
#: kept for long, because the next mount may get the same number.
_mounts: dict[int, tuple[Mount | None, float]] = {}
_MOUNT_SECONDS = 1.0


def is_network(fstype: str) -> bool:
    """True for file systems that several hosts may share: all that are not known to be local."""
    return fstype not in _LOCAL


@dataclass(frozen=True)
class FolderId:
    """The identity of a folder, whatever is at its path later.

    `device` (st_dev) may differ between mounts and between hosts. `source`, the mounted device such as
    `server:/export` or `/dev/sda1`, does not. It is '' where it has no meaning, as for tmpfs. Both may later
    be those of another disk. `filesystem` is an id that a local file system has by itself, 0 if it has none.
    """

    inode: int
    device: int
    source: str
    filesystem: int = 0

    def matches(self, other: FolderId) -> bool:
        """True if both are the same folder, even if they were taken on different hosts."""
        return self.inode == other.inode and self._is_on(other)

    def _is_on(self, other: FolderId) -> bool:
        if self.filesystem and other.filesystem:
            return self.filesystem == other.filesystem
        if self.source and other.source and not os.major(self.device):  # a number for this mount only
            return self.source == other.source
        return self.device == other.device or (bool(self.source) and self.source == other.source)


def folder_id(path: str | os.PathLike[str]) -> FolderId:
    """The identity of the folder at `path`; links are followed. Raises OSError if there is none."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        mount, at = _mounts.get(found.st_dev, (None, -_MOUNT_SECONDS))
        if time.monotonic() - at >= _MOUNT_SECONDS:
            mount = mount_of(os.readlink(f"/proc/self/fd/{fd}"))
            _mounts[found.st_dev] = mount, time.monotonic()
        local = mount is not None and not is_network(mount.fstype)
        own = os.fstatvfs(fd).f_fsid if local else 0
    finally:
        os.close(fd)
    named = mount is not None and ("/" in mount.device or ":" in mount.device)
    source = mount.device if mount is not None and named else ""
    return FolderId(found.st_ino, found.st_dev, source, 0 if own == found.st_dev else own)  # XFS says st_dev


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
