"""Values of any nesting come back from JSON as they went: equal, and of the same types."""

from __future__ import annotations

import json
import re
import tempfile
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nfresume_metadata import LatchDir, LatchFile, LPath, SamplesheetItem

from nfresume.tasks import digests, values


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    A = "a"


class Bits(Flag):
    ONE = 1
    TWO = 2


class Pair(NamedTuple):
    first: Any
    second: Any = None


@dataclass
class Base:
    name: Any


@dataclass
class Box(Base):
    value: Any = None
    more: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    value: Any


TEXTS = st.text(max_size=20)
#: A path that ends with `.` or `..` is the one of a folder, and loses that.
PATHS = st.from_regex(r"[a-z0-9 .é$-]{1,12}", fullmatch=True).filter(
    lambda text: text not in (".", "..")).map(lambda text: f"/absent/{text}")
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS, st.binary(max_size=20),
    st.complex_numbers(allow_nan=False), st.dates(), st.datetimes(), st.datetimes(timezones=st.just(UTC)),
    st.timedeltas(), st.decimals(allow_nan=False), st.fractions(), st.uuids(), st.sampled_from(Colour),
    st.sampled_from(Level), st.sampled_from(Word), st.sampled_from([Bits.ONE, Bits.ONE | Bits.TWO]),
    PATHS.map(LatchFile), PATHS.map(LatchDir), PATHS.map(Path),
    st.builds(LatchFile, PATHS, st.just("latch:///out/a")), st.just(LPath("s3://bucket/key")),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 3)),
)
KEYS = st.one_of(TEXTS, st.integers(), st.booleans(), st.none(), st.sampled_from(Colour), st.dates(),
                 st.tuples(st.integers(), TEXTS))
VALUES = st.recursive(PLAIN, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.lists(inner, max_size=3).map(tuple),
    st.dictionaries(KEYS, inner, max_size=4), st.builds(Pair, inner, inner),
    st.builds(Box, TEXTS, inner, st.lists(inner, max_size=2)),
    st.builds(Frozen, inner), inner.map(SamplesheetItem), st.lists(inner, max_size=3).map(deque),
    st.dictionaries(TEXTS, inner, max_size=3).map(OrderedDict),
    st.frozensets(KEYS, max_size=3), st.sets(KEYS, max_size=3),
    st.dictionaries(TEXTS, st.integers(0, 9), max_size=3).map(Counter),
    st.dictionaries(TEXTS, inner, max_size=2).map(lambda found: defaultdict(list, found)),
), max_leaves=12)


def types(value: Any) -> Any:
    """The types in a value, which equality does not compare: 1, 1.0 and True are equal."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return kind, [(types(key), types(item)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return kind, sorted(repr(types(item)) for item in value)
    if isinstance(value, list | tuple | deque):
        return kind, [types(item) for item in value]
    if isinstance(value, Base | Frozen | SamplesheetItem):
        return kind, [types(item) for item in vars(value).values()]
    return kind, repr(value)


def came_back(value: Any) -> Any:
    """A value after its way through JSON."""
    with tempfile.TemporaryDirectory() as folder:
        return values.decode(json.loads(values.dumps(values.Writer(Path(folder)).encode(value))))


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_values_come_back_as_they_went(value: Any):
    """Through JSON, as between two tasks."""
    found = came_back(value)
    assert found == value
    assert types(found) == types(value)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_digests_survive_the_way(value: Any):
    """A value that came back has the digest of the one that went: a cached task is found again."""
    found = came_back(value)
    assert digests.of_value(found) == digests.of_value(value)


@settings(max_examples=150, deadline=None)
@given(VALUES, VALUES)
def test_different_values_have_different_digests(one: Any, other: Any):
    """Equal digests mean equal values of equal types."""
    if digests.of_value(one) == digests.of_value(other):
        assert one == other
        assert types(one) == types(other)


ZONED = datetime(2020, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))
PICKLED = [
    ZONED, ZoneInfo("UTC"), pd.Timestamp(ZONED), pd.NaT, pd.Timedelta(1), pd.Interval(0, 1),
    pd.DataFrame({"when": pd.date_range(ZONED, periods=2), "kind": pd.Categorical(["a", "b"])}),
    pd.DataFrame({"within": pd.interval_range(0, 2), "cut": pd.cut(pd.Series([1, 2]), 2)}),
    pd.timedelta_range(1, periods=2), pd.interval_range(0, 2), pd.period_range("2020", periods=2),
    np.ma.array([1, 2], mask=[False, True]), np.random.default_rng(1), ..., NotImplemented,
    SimpleNamespace(a=[1]), Namespace(a=1), re.compile("a+", re.IGNORECASE), ValueError("why", 2),
]


@pytest.mark.parametrize("value", PICKLED, ids=lambda value: type(value).__name__)
def test_values_of_libraries(value: Any, tmp_path: Path):
    """Time zones, and all kinds of values of pandas and numpy, come back from their pickles."""
    found = values.decode(json.loads(values.dumps(values.Writer(tmp_path).encode(value))))
    assert (type(found), repr(found)) == (type(value), repr(value)) or isinstance(value, np.random.Generator)


def test_a_time_zone_counts():
    """A zone with its rules is another value than its offset at the time."""
    fixed = datetime.fromisoformat(ZONED.isoformat())
    assert fixed == ZONED
    assert digests.of_value(fixed) != digests.of_value(ZONED)


def test_getattr_in_a_pickle():
    """Only that of a time zone is allowed."""
    data = b"cbuiltins\ngetattr\n(cpathlib\nPosixPath\nVunlink\ntR."
    with pytest.raises(values.Unreadable, match=r"a pickle that names unlink of .* is refused"):
        values.unpickle(data)


def test_a_name_that_is_not_utf8():
    """It is a text with a lone surrogate, which comes back from the bytes of JSON."""
    assert json.loads(values.dumps({"path": "\udcff\u00e9"})) == {"path": "\udcff\u00e9"}
