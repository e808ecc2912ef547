"""Inputs of less common types, from words and from JSON."""

from __future__ import annotations

import typing
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, TypedDict
from uuid import UUID

import pytest
from nfresume_metadata import LatchFile

from nfresume.tasks.inputs import BadInput, Word, convert


class Row(TypedDict):
    n: float
    file: LatchFile


class Loose(TypedDict, total=False):
    n: int


ABSENT = "/absent/a.csv"


@pytest.mark.parametrize(("given", "kind", "expected"), [
    (Word("1.10"), Decimal, Decimal("1.10")), (1, Decimal, Decimal(1)),
    (Word("1/3"), Fraction, Fraction(1, 3)),
    (Word(str(UUID(int=5))), UUID, UUID(int=5)), (Word("1+2j"), complex, 1 + 2j),
    (Word('["1"]'), Sequence[int], [1]), (Word("[1, 2]"), typing.Sequence[str], ["1", "2"]),
    (Word("[1]"), Iterable[float], [1.0]), (Word('{"a": "2"}'), Mapping[str, int], {"a": 2}),
    ([3, 3], frozenset[int], frozenset([3])), ([3], deque[str], deque(["3"])),
    ({"a": 1}, OrderedDict[str, float], OrderedDict(a=1.0)),
    (Word("a"), str | Sequence[str], "a"), (["a"], str | Sequence[str], ["a"]),
    ([{"n": 2}], list[Loose], [{"n": 2}]), ({}, Loose, {}),
])
def test_types(given: Any, kind: Any, expected: Any):
    """A value is of the declared type, or of the usual one for an abstract type."""
    found = convert(given, kind, "--x", Path("/base"))
    assert (found, type(found)) == (expected, type(expected))


def test_files_in_a_typed_dict(tmp_path: Path):
    """Relative paths become files, as everywhere."""
    (tmp_path / "a.csv").touch()
    found = convert(Word('{"n": "2", "file": "a.csv"}'), Row, "--x", tmp_path)
    assert found == {"n": 2.0, "file": LatchFile(str(tmp_path / "a.csv"))}


@pytest.mark.parametrize(("given", "kind", "said"), [
    (Word("much"), Decimal, "--x: 'much' is not a Decimal"), (Word("1/0"), Fraction, "is not a Fraction"),
    ({"n": 1}, Row, "--x: Row needs file"), ({"m": 1}, Loose, "--x: Loose has no field 'm'"),
    ({"n": 1, "file": ABSENT}, Row, r"--x\.file: '/absent/a.csv' is not a file that exists"),
    (Word("1"), Sequence[int], r"--x: '1' is not Sequence\[int\]"),
])
def test_what_does_not_fit(given: Any, kind: Any, said: str):
    """The message names the input and its type."""
    with pytest.raises(BadInput, match=said):
        convert(given, kind, "--x", Path("/base"))
