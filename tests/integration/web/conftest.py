"""The console and its users, over each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.web.test_web import Web


@pytest.fixture
def web(url: str, tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path, url)
    yield made
    made.store.close()
