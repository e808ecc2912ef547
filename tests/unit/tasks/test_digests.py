"""Values that differ have different digests, and equal values equal ones."""

from __future__ import annotations

import pickle
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pandas
import pytest
from nfresume_metadata import LatchDir, LatchFile

from nfresume.tasks.digests import of_value

DAYS = ["2026-01-01", "2026-01-02"]


def frame(**more: Any) -> pandas.DataFrame:
    return pandas.DataFrame({"a": [1, 2]}, **more)


def kinds(*categories: str, ordered: bool = False) -> pandas.DataFrame:
    return pandas.DataFrame({"a": pandas.Categorical(["x", "y"], categories, ordered=ordered)})


def texts(*values: object) -> pandas.DataFrame:
    return pandas.DataFrame({"a": pandas.Series(values, dtype=object)})


def with_attrs(found: pandas.DataFrame) -> pandas.DataFrame:
    found.attrs["unit"] = "kg"
    return found


@pytest.mark.parametrize(("one", "other"), [
    (kinds("x", "y"), kinds("y", "x")),
    (kinds("x", "y"), kinds("x", "y", "z")),
    (kinds("x", "y"), kinds("x", "y", ordered=True)),
    (texts(1, "x"), texts("1", "x")),
    (texts(True, "x"), texts("True", "x")),
    (texts(None, "x"), texts(float("nan"), "x")),
    (texts([1], [2]), texts([1], [3])),
    (frame(), frame().rename(columns={"a": "b"})),
    (pandas.DataFrame({1: [1]}), pandas.DataFrame({"1": [1]})),
    (frame(), frame().rename_axis("i")),
    (frame(), frame().rename_axis(columns="i")),
    (frame(), frame(index=["0", "1"])),
    (frame(index=pandas.DatetimeIndex(DAYS)), frame(index=pandas.DatetimeIndex(DAYS, tz="UTC"))),
    (frame(index=pandas.DatetimeIndex(DAYS)), frame(index=pandas.DatetimeIndex(DAYS, freq="D"))),
    (frame(), with_attrs(frame())),
    (pandas.Series([1]), pandas.Series([1], name=0)),
    (pandas.DataFrame(index=[]), pandas.DataFrame(index=pandas.Index([], dtype=float))),
    (numpy.ma.masked_array([1, 2], [0, 1]), numpy.ma.masked_array([1, 2], [0, 0])),
    (numpy.poly1d([1, 2]), numpy.array([1, 2])),
    (numpy.float64(1), numpy.array(1.0)),
    (numpy.array([1, 2]), numpy.array([[1, 2]])),
    (defaultdict(list, {1: []}), defaultdict(int, {1: []})),
    (datetime(2026, 10, 25, 2, 30), datetime(2026, 10, 25, 2, 30, fold=1)),
])
def test_what_differs_has_another_digest(one: Any, other: Any):
    assert of_value(one) != of_value(other)


@pytest.mark.parametrize(("one", "other"), [
    (frame(), pandas.concat([frame()[:1], frame()[1:]])),
    (texts("x" * 3, "xxx"), texts("xx" + "x", "x".join(["", "", "", ""]))),
    (numpy.arange(6).reshape(2, 3), numpy.asfortranarray(numpy.arange(6).reshape(2, 3))),
    (numpy.arange(10)[::2], numpy.array([0, 2, 4, 6, 8])),
])
def test_what_is_equal_has_the_same_digest(one: Any, other: Any):
    assert of_value(one) == of_value(other)


LARGE = numpy.arange(100_000)


@pytest.mark.parametrize("value", [
    pandas.DataFrame({"a": LARGE, "b": LARGE / 2, "c": LARGE.astype(str)}),
    pandas.DataFrame({"a": LARGE}, index=LARGE),
    pandas.DataFrame({"a": LARGE}, dtype="Int64"),
    pandas.DataFrame(numpy.asfortranarray(LARGE.reshape(-1, 2))),
    pandas.Series(LARGE, dtype="category"),
    pandas.Series(pandas.to_datetime(LARGE)),
    {"in an object": SimpleNamespace(c=LARGE.reshape(-1, 2), f=numpy.asfortranarray(LARGE.reshape(-1, 2)))},
], ids=lambda value: type(value).__name__)
def test_a_large_frame_or_array_has_a_digest(value: Any):
    """It is that of what is read back from a pickle, and of nothing else."""
    assert of_value(value) == of_value(pickle.loads(pickle.dumps(value, protocol=5)))
    assert of_value(value) != of_value({"other": value})


def test_the_content_of_a_large_frame_counts():
    assert of_value(pandas.DataFrame({"a": LARGE})) != of_value(pandas.DataFrame({"a": LARGE[::-1]}))


@pytest.mark.parametrize("kind", [LatchFile, LatchDir])
def test_a_remote_path_counts(kind: Any, tmp_path: Path):
    """A task sees it, and may make that of its result from it."""
    path = tmp_path / "x"
    path.mkdir() if kind is LatchDir else path.touch()
    found = {of_value(kind(path, remote)) for remote in (None, "latch:///one/x", "latch:///two/x",
                                                         "file:///one/x", "file:///two/x")}
    assert len(found) == 5
