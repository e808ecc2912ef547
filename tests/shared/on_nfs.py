"""Tests that need real NFS clients. test_nfs.py runs them inside a guest that has two clients."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nfresume.storage import Root
from nfresume.storage.removal import empty_trash
from nfresume.storage.scan import measure
from nfresume.storage.trash import entries, to_trash
from nfresume.storage.workers import Pace
from tests.conftest import until

ONE, OTHER = Path("/mnt/efs"), Path("/mnt/efs2")


@pytest.fixture
def root(request: pytest.FixtureRequest) -> Root:
    made = Root.mark(ONE / f"on_nfs-{request.node.name}")
    made.execution("team", "run-a1").provision(1)
    return made


def elsewhere(root: Root) -> Root:
    """The same root through the other client, once that client sees it."""
    path = OTHER / root.path.relative_to(ONE)
    until((path / ".nfresume").exists, 60, "the other client sees the root")
    return Root.open(path)


def grow(root: Root, tasks: int) -> None:
    for number in range(tasks):
        task = root.path / f"team/run-a1/work/{number % 5:02x}/{number:030x}"
        (task / "out").mkdir(parents=True)
        for name in range(4):
            (task / "out" / str(name)).write_text("x")


def test_a_file_that_is_still_open(root: Root):
    """Case 31: the .nfsXXXX of a file that is open here is named as blocked; once closed it is removed."""
    place = root.path / "team/run-a1/work/ab"
    place.mkdir()
    with (place / "log").open("w"):
        to_trash(root, "team", "run-a1")
        removed = empty_trash(root, "run-a1")
        assert removed.blocked_count == 1, removed
        assert "/ab/" in removed.blocked[0]
        assert ".nfs" in removed.blocked[0]
        assert entries(root) == {"run-a1"}
    assert empty_trash(root, "run-a1").blocked == []
    assert entries(root) == set()


def test_a_file_that_is_closed_meanwhile(root: Root):
    """Case 31: the removal retries long enough for a process that is about to close its file."""
    place = root.path / "team/run-a1/work/ab"
    place.mkdir()
    file = (place / "log").open("w")
    to_trash(root, "team", "run-a1")
    threading.Timer(0.4, file.close).start()
    assert empty_trash(root, "run-a1").blocked == []
    assert entries(root) == set()


def test_two_hosts_remove_one_tree(root: Root):
    """Two hosts remove one tree: stale handles count as removed, and neither host reports a blocked entry."""
    grow(root, 60)
    to_trash(root, "team", "run-a1")
    roots = [root, elsewhere(root)]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda r: empty_trash(r, "run-a1", pace=Pace(workers=8)), roots))
    assert [removed.blocked for removed in both] == [[], []]
    assert entries(root) == set()


def test_a_host_that_still_sees_the_old_listing(root: Root):
    """Another host adds a file to a folder that this host has listed: the tree is not reported as removed
    while the file exists, and is removed in the end."""
    grow(root, 3)
    other = elsewhere(root)
    measure(other.path / "team/run-a1/work")  # the other client now has every listing in its cache
    late = root.path / "team/run-a1/work/00" / f"{0:030x}" / "out/late"
    late.write_text("x")
    to_trash(other, "team", "run-a1")

    def gone() -> bool:
        removed = empty_trash(other, "run-a1")
        left = os.listdir(root.path / ".trash")
        assert bool(removed.blocked) == bool(left)
        return not left

    until(gone, 90, "the other client sees the file")


def test_measuring_what_another_host_removes(root: Root):
    """A scan of a tree that another host removes meanwhile ends without an error."""
    grow(root, 60)
    other = elsewhere(root)
    measure(other.path / "team/run-a1/work")
    to_trash(root, "team", "run-a1")
    with ThreadPoolExecutor(2) as pool:
        removing = pool.submit(empty_trash, root, "run-a1")
        found = measure(next((other.path / ".trash").iterdir()))
        assert removing.result().blocked == []
    assert found.total.unreadable == 0 or found.partial


def test_two_hosts_mark_one_root():
    """A host with a cached look-up that found no marker does not replace the marker of another host."""
    place = ONE / "marked-by-two"
    place.mkdir()
    until((OTHER / "marked-by-two").is_dir, 60)
    assert not (OTHER / "marked-by-two/.nfresume").exists()  # the other client caches this answer
    first = Root.mark(place)
    second = Root.mark(OTHER / "marked-by-two")
    assert second.id == first.id
