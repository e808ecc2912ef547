"""A walk sees what os.walk sees, to any depth, and passes over nothing that it cannot list."""

import errno
import os
from pathlib import Path

import pytest

from nfresume.system import trees


def plant(top: Path) -> None:
    for name in ("a/b/c", "a/empty", "d"):
        (top / name).mkdir(parents=True)
    for name in ("a/1", "a/b/2", "a/b/c/3", "d/4"):
        (top / name).write_text(name)
    (top / "to-folder").symlink_to("a")
    (top / "d/up").symlink_to("..")
    (top / "d/nothing").symlink_to("missing")
    (top / "d/itself").symlink_to("itself")


def deep(top: Path, name: str, levels: int) -> None:
    """Folders in folders, the last of which has a file. Made piece by piece, as the path may be too long."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("last", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def test_it_sees_what_os_walk_sees(tmp_path: Path):
    """The same folders, folders in them and entries; of a file, or nothing, there is nothing to see."""
    plant(tmp_path)
    seen = {here: (sorted(folders), sorted(names)) for here, folders, names in trees.walk(tmp_path)}
    expected = {here: (sorted(folders), sorted(names)) for here, folders, names in os.walk(tmp_path)}
    assert seen == expected
    assert list(trees.walk(tmp_path / "a/1")) == list(trees.walk(tmp_path / "missing")) == []


def test_it_goes_to_any_depth(tmp_path: Path):
    """os.walk of Python 3.11 recurses, and ends with a RecursionError."""
    deep(tmp_path, "d", 1500)
    found = [names for _, _, names in trees.walk(tmp_path)]
    assert len(found) == 1501
    assert found[-1] == ["last"]
    trees.remove(str(tmp_path / "d"))


def test_what_it_cannot_list_is_not_empty(tmp_path: Path):
    """The path of a folder can be too long for the kernel: os.walk then leaves out what is in it."""
    deep(tmp_path, "d" * 200, 30)
    with pytest.raises(OSError) as raised:
        list(trees.walk(tmp_path))
    assert raised.value.errno == errno.ENAMETOOLONG
    found: list[OSError] = []
    assert "last" not in [name for _, _, names in trees.walk(tmp_path, found.append) for name in names]
    assert [error.errno for error in found] == [errno.ENAMETOOLONG]
    trees.remove(str(tmp_path / ("d" * 200)))
