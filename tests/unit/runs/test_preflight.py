"""Checks before a launch."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfresume.domain.errors import UsageError
from nfresume.runs import preflight


def test_a_pipeline_with_a_very_long_name(tmp_path: Path):
    """It is refused before anything is stored: PostgreSQL could not put it into an index."""
    place = tmp_path.joinpath(*["x" * 200] * 6)
    place.mkdir(parents=True)
    (place / "main.nf").touch()
    with pytest.raises(UsageError, match="longer than 1,000 bytes"):
        preflight.check_pipeline(str(place / "main.nf"), tmp_path)
    assert preflight.check_pipeline("main.nf", place) == place / "main.nf"
