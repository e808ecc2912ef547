"""The embedded engine: concurrent first installs share it, its jars are verified, it is installed once."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from nfresume.nextflow import embedded
from tests.conftest import Site

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_concurrent_first_installs_share_one_download(site: Site):
    """Two installs at once in an empty cache make one download; both succeed and leave nothing over."""
    cache = {"XDG_CACHE_HOME": str(site.base / "cache")}
    told = site.run("engine", "info", **cache)
    assert (told.code, "not installed yet" in told.err) == (69, True)
    both = [site.start("engine", "install", **cache) for _ in range(2)]
    said = [child.communicate(timeout=280)[1] for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    assert sum("downloading" in text for text in said) == 1
    place = site.base / "cache/nfresume/engine"
    assert [p.name for p in place.iterdir() if p.is_dir()] == [f"nextflow-{embedded.VERSION}"]
    assert len(list(place.glob("*/*.jar"))) == len(embedded.locked()) == 54
    start = time.monotonic()
    site.ok("engine", "install", **cache)
    assert time.monotonic() - start < 20  # not a benchmark: a second download would take longer
    (site.launch_dir / "main.nf").write_text("workflow { println 'hello' }")
    assert "hello" in site.ok("launch", "main.nf", **cache).out


def test_a_damaged_jar_is_noticed(site: Site):
    """`engine install` compares every jar with its known digest, and names a damaged one."""
    cache = site.base / "cache"
    shutil.copytree(embedded.folder(), cache / "nfresume/engine" / embedded.folder().name)
    jar: Path = next(cache.glob("nfresume/engine/*/groovy-4*.jar"))
    jar.write_bytes(jar.read_bytes()[:-1] + b"x")
    done = site.run("engine", "install", XDG_CACHE_HOME=str(cache))
    assert (done.code, jar.name in done.err, "damaged" in done.err) == (69, True, True)


def test_archives_that_nobody_uses_go(tmp_path: Path):
    """Each update of Java makes another class-data archive: those of the last month stay, and the jars."""
    now, day = time.time(), 86_400
    for number, age in enumerate((0, 29, 31, 400)):
        made = tmp_path / f"classes-{number:012x}.jsa"
        made.touch()
        os.utime(made, (now - age * day, now - age * day))
    (tmp_path / "nextflow.jar").touch()
    os.utime(tmp_path / "nextflow.jar", (0, 0))
    embedded.tidy(tmp_path, now)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "classes-000000000000.jsa", "classes-000000000001.jsa", "nextflow.jar"]


def test_an_archive_that_is_used_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A launch with an archive that is old says that it is used."""
    monkeypatch.setenv("NFRESUME_ENGINES", str(tmp_path))
    java = embedded.java(None)
    used = embedded.archive(java, embedded.folder())
    used.parent.mkdir()
    used.touch()
    os.utime(used, (0, 0))
    assert embedded.install(java) == embedded.folder()
    embedded.tidy(embedded.folder(), time.time())
    assert used.exists()
