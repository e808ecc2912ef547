"""Which file systems count as shared between hosts."""

import pytest

from nfresume.system.filesystems import is_network


@pytest.mark.parametrize(("fstype", "shared"), [
    # MooseFS is mounted as plain "fuse".
    ("ext4", False), ("xfs", False), ("tmpfs", False), ("overlay", False), ("fuseblk", False),
    ("fuse.fuse-overlayfs", False), ("nfs4", True), ("lustre", True), ("fuse", True),
    ("fuse.sshfs", True), ("fuse.something-new", True),
])
def test_unknown_fuse_counts_as_shared(fstype: str, shared: bool):
    """A FUSE mount that is not known to be local may be shared with other hosts. SQLite is refused there."""
    assert is_network(fstype) is shared
