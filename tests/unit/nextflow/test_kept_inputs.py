"""The parameters of a params file."""

from __future__ import annotations

from nfresume.nextflow import kept_inputs
from nfresume.system import bounded


def test_aliases_that_grow():
    """Aliases are read, but not those that stand for more text than there is memory."""
    assert kept_inputs.params(b"a: &a [1, x]\nb: [*a, *a]\n") == {"a": [1, "x"], "b": [[1, "x"], [1, "x"]]}
    bomb = "a: &a0 [x]\n" + "".join(f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30))
    assert bounded.call(10, lambda: kept_inputs.params(bomb.encode())) == {}
    assert kept_inputs.params(b"a: &a [*a]\n") == {}
    assert kept_inputs.params(b"[" * 100_000) == {}
