"""Which file systems count as shared between hosts, and what makes a folder the one it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfresume.system.filesystems import FolderId, folder_id, is_network


@pytest.mark.parametrize(("fstype", "shared"), [
    # MooseFS is mounted as plain "fuse".
    ("ext4", False), ("xfs", False), ("tmpfs", False), ("overlay", False), ("fuseblk", False),
    ("fuse.fuse-overlayfs", False), ("nfs4", True), ("lustre", True), ("fuse", True),
    ("fuse.sshfs", True), ("fuse.something-new", True), ("wekafs", True), ("daos", True), ("orangefs", True),
    ("", True),
])
def test_what_is_unknown_counts_as_shared(fstype: str, shared: bool):
    """Only a file system that is known to be local is local. SQLite is refused on all others."""
    assert is_network(fstype) is shared


def test_a_folder_stays_itself(tmp_path: Path):
    """A folder keeps its identity after a rename and through a link. A new folder there has another."""
    folder = tmp_path / "results"
    folder.mkdir()
    before = folder_id(folder)
    folder.rename(tmp_path / "archive")
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    assert folder_id(tmp_path / "archive").matches(before)
    assert folder_id(tmp_path / "link").matches(before)
    folder.mkdir()
    assert not folder_id(folder).matches(before)
    with pytest.raises(FileNotFoundError):
        folder_id(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        folder_id(tmp_path / "file")


def test_hosts_agree_on_a_folder():
    """If device numbers differ, as between hosts and mounts, the mounted device's name decides."""
    there = FolderId(7, 50, "server:/export")
    assert FolderId(7, 61, "server:/export").matches(there)
    assert not FolderId(8, 50, "server:/export").matches(there)
    assert not FolderId(7, 61, "server:/other").matches(there)
    assert not FolderId(7, 61, "").matches(FolderId(7, 50, ""))
    assert FolderId(7, 50, "").matches(FolderId(7, 50, ""))


def test_another_disk_at_the_same_place():
    """A local file system has an id of its own: the name and the number of its device are those of a slot.

    The number of a network mount is given to the next mount.
    """
    disk, slot = FolderId(12, 0x801, "/dev/sda1", 111), FolderId(12, 0x801, "/dev/sda1", 222)
    assert not disk.matches(slot)
    assert disk.matches(FolderId(12, 0x811, "/dev/sdb1", 111))
    assert disk.matches(FolderId(12, 0x801, "/dev/sda1"))  # a record of an earlier version
    assert not FolderId(64, 50, "server:/export").matches(FolderId(64, 50, "other:/export"))
    assert FolderId(64, 0x801, "/dev/root").matches(FolderId(64, 0x801, "/dev/sda1"))
