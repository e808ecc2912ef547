"""Settings: environment, then file, then defaults; every value knows its source."""

from pathlib import Path

import pytest

from nfresume import settings
from nfresume.domain.errors import InvalidSettings
from nfresume.domain.wording import duration, printable
from nfresume.system.filesystems import is_network, type_of


def test_precedence(tmp_path: Path):
    """Command line over environment over file over default."""
    file = tmp_path / "c.toml"
    file.write_text('account = "file"\nstorage_expiration_hours = 5\nroot = "/file"\n')
    conf = settings.load({"NFRESUME_CONFIG": str(file), "NFRESUME_ROOT": "/env"}, account="line")
    assert (conf.account, conf.root, conf.storage_expiration_hours) == ("line", Path("/env"), 5.0)
    assert conf.sources["root"] == "NFRESUME_ROOT"
    assert conf.sources["storage_expiration_hours"] == str(file)
    assert conf.sources["lease_seconds"] == "default"


@pytest.mark.parametrize(
    ("name", "bad"),
    [("ROOT", "relative"), ("ROOT", "a\nb"), ("ACCOUNT", "../x"), ("STORAGE_EXPIRATION_HOURS", "soon"),
     ("STORAGE_EXPIRATION_HOURS", "-1"), ("LEASE_SECONDS", "0"), ("PRICE_PER_GB_MONTH", "NaN"),
     ("RETAIN", "some"), ("ON_SUCCESS", "maybe"), ("STORAGE_WORKERS", "0"), ("STORAGE_WORKERS", "1.5"),
     ("DELETE_PER_SECOND", "0"), ("DELETE_PER_SECOND", "nan")],
)
def test_bad_values_name_their_source(name, bad, tmp_path: Path):
    """A bad value is refused with the name of where it stands."""
    with pytest.raises(InvalidSettings, match=f"NFRESUME_{name}"):
        settings.load({"NFRESUME_CONFIG": "", f"NFRESUME_{name}": bad})


def test_unknown_key_in_the_file(tmp_path: Path):
    """A typo in the file is told, not ignored."""
    file = tmp_path / "c.toml"
    file.write_text("rooot = '/x'\n")
    with pytest.raises(InvalidSettings, match="rooot"):
        settings.load({"NFRESUME_CONFIG": str(file)})
    with pytest.raises(InvalidSettings, match="no such file"):
        settings.load({"NFRESUME_CONFIG": str(tmp_path / "absent")})


def test_network_file_systems():
    """Case 45's table: NFS and its like, FUSE ones included; local disks are not."""
    assert all(map(is_network, ("nfs4", "nfs", "cifs", "lustre", "fuse.mfs", "9p")))
    assert not any(map(is_network, ("ext4", "xfs", "tmpfs", "overlay", "btrfs")))
    assert is_network("")  # what is unknown may be shared
    assert type_of("/proc") == "proc"


def test_control_characters_are_shown():
    """Case 58: a name cannot drive the terminal."""
    assert printable("a\x1b[2Jb\x07\n") == "a\\x1b[2Jb\\x07\\n"
    assert printable("ünï 字") == "ünï 字"


def test_durations():
    """Two neighbouring units at most."""
    from datetime import timedelta

    assert duration(timedelta(hours=49, minutes=3)) == "2 d 1 h"
    assert duration(timedelta(hours=48, seconds=29)) == "2 d"
    assert duration(timedelta(seconds=61)) == "1 min 1 s"
    assert duration(timedelta(seconds=-5)) == "0 s"
