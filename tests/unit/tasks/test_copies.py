"""A task's own copies of its inputs, where it has no view of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nfresume.tasks import copies
from nfresume.tasks.copies import Copies
from nfresume.tasks.views import Wish


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a.bam", "a.bam.bai", "a.txt", "b.bam"):
        (folder / name).write_text(name)
    return folder


def made(tmp_path: Path, *inputs: Path, limit: int = copies.MAX_BYTES) -> Copies:
    task_dir = tmp_path / "task"
    task_dir.mkdir()
    return copies.of(Wish(task_dir, tuple(map(str, inputs)), (), ()), limit)


def test_a_file_and_its_companions_are_copied(tmp_path: Path, data: Path):
    """What lies beside it is shown. What has its name, such as an index, is a copy too."""
    view = made(tmp_path, data / "a.bam")
    seen = Path(view.staged[str(data / "a.bam")])
    assert (seen.name, seen.parent.name) == ("a.bam", "data")
    assert {p.name: p.is_symlink() for p in seen.parent.iterdir()} == {
        "a.bam": False, "a.bam.bai": False, "a.txt": False, "b.bam": True}
    for name in ("a.bam", "a.bam.bai"):
        (seen.parent / name).write_text("changed")
        assert (data / name).read_text() == name


def test_inputs_of_one_folder_are_side_by_side(tmp_path: Path, data: Path):
    """Programs find an index beside its file."""
    view = made(tmp_path, data / "a.bam", data / "b.bam")
    parents = {Path(path).parent for path in view.staged.values()}
    assert len(parents) == 1
    assert not any(Path(path).is_symlink() for path in view.staged.values())


def test_an_unchanged_input_keeps_its_path(tmp_path: Path, data: Path):
    """One that was changed, replaced or removed does not."""
    view = made(tmp_path, data / "a.bam", data / "b.bam", data)
    a, b, folder = (Path(path) for path in view.staged.values())
    assert [view.original(str(path)) for path in (a, b, folder)] == [
        str(data / "a.bam"), str(data / "b.bam"), str(data)]
    a.write_text("A.BAM")
    b.unlink()
    (folder / "new").touch()
    assert [view.original(str(path)) for path in (a, b, folder)] == [None, None, None]
    assert view.original(str(data / "a.bam")) is None


def test_what_is_too_large_is_a_link(tmp_path: Path, data: Path):
    """It is named, so that a change of it is noticed."""
    view = made(tmp_path, data / "a.bam", data / "b.bam", limit=4)
    if not view.linked:
        pytest.skip("files share blocks here")
    assert [os.readlink(path) for path in view.staged.values()] == [str(data / "a.bam"), str(data / "b.bam")]
    assert view.linked == [str(data / "a.bam"), str(data / "b.bam")]


def test_links_in_a_folder(tmp_path: Path, data: Path):
    """One within the folder leads to the copy, another to what it led to, and one to nothing stays."""
    (data / "sub").mkdir()
    (tmp_path / "out.txt").write_text("out")
    links = {"in": data / "a.txt", "up": "../a.txt", "out": "../../out.txt", "no": "gone"}
    for name, target in links.items():
        (data / "sub" / name).symlink_to(target)
    top = Path(made(tmp_path, data).staged[str(data)])
    (top / "a.txt").write_text("changed")
    assert [(top / "sub" / name).read_text() for name in ("in", "up", "out")] == ["changed", "changed", "out"]
    assert (data / "a.txt").read_text() == "a.txt"
    assert not (top / "sub/no").exists()


@pytest.mark.parametrize("inside", [True, False])
def test_too_many_entries(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, inside: bool):
    """Such an input keeps its path."""
    monkeypatch.setattr(copies, "MAX_INSIDE", 3)
    monkeypatch.setattr(copies, "MAX_BESIDE", 3)
    assert made(tmp_path, data if inside else data / "a.bam").staged == {}
