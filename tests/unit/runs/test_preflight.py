"""Checks before a launch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nfresume import settings
from nfresume.domain.errors import RootUnusable, UsageError
from nfresume.runs import preflight
from nfresume.store import Store


def test_a_pipeline_with_a_very_long_name(tmp_path: Path):
    """It is refused before anything is stored: PostgreSQL could not put it into an index."""
    place = tmp_path.joinpath(*["x" * 200] * 6)
    place.mkdir(parents=True)
    (place / "main.nf").touch()
    with pytest.raises(UsageError, match="longer than 1,000 bytes"):
        preflight.check_pipeline(str(place / "main.nf"), tmp_path)
    assert preflight.check_pipeline("main.nf", place) == place / "main.nf"


def test_names_that_are_not_utf8(tmp_path: Path):
    """Java opens no such file, and the database holds no such name: the launch is refused in one line."""
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    place.mkdir()
    (place / "main.nf").touch()
    for pipeline, launch_dir, named in (("main.nf", place, "launch folder"), ("-", place, "launch folder"),
                                        (str(place / "main.nf"), tmp_path, "pipeline")):
        with pytest.raises(UsageError, match=rf"the name of the {named} .*/caf\\xe9.* is not UTF-8"):
            preflight.check_pipeline(pipeline, launch_dir)
    store = Store.open(f"sqlite:///{tmp_path}/state.db")
    conf = settings.load({"NFRESUME_ROOT": str(place / "root"), settings.CONFIG_ENV: os.devnull})
    with pytest.raises(RootUnusable, match=r"caf\\xe9/root is not UTF-8"):
        preflight.open_root(store, conf, tmp_path)
    (place / "root").mkdir()
    with pytest.raises(RootUnusable, match=r"caf\\xe9/root is not UTF-8"):
        preflight.mark_root(store, conf)
    assert os.listdir(place / "root") == []
    (place / "root").rmdir()
    assert list(place.iterdir()) == [place / "main.nf"]
    store.close()
