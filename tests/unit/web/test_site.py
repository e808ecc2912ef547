"""What all requests share."""

from __future__ import annotations

from typing import Any, cast

import pytest

from nfresume.web import site
from nfresume.web.site import Site


def test_what_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch):
    """A result is used until its time is over or its version changes. Then it is made anew, old ones go."""
    nothing = cast(Any, None)
    shared = Site(nothing, nothing, nothing, nothing)
    now, made = [100.0], []
    monkeypatch.setattr(site.time, "monotonic", lambda: now[0])

    def ask(key: str, version: int) -> int:
        def compute() -> int:
            made.append(key)
            return len(made)

        return shared.cached("page", key, compute, 60.0, version)

    assert [ask("a", 1), ask("a", 1)] == [1, 1]
    assert ask("a", 2) == 2
    now[0] += 59
    assert [ask("a", 2), ask("b", 2)] == [2, 3]
    now[0] += 2
    assert ask("c", 2) == 4
    assert {key for _, key in shared.cache} == {"b", "c"}
    assert ask("a", 2) == 5
