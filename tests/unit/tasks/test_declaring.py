"""The pure parts of Python workflows: decorators, digests, values, inputs, keys, promises."""

from __future__ import annotations

import functools
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Dict, List, Literal, NamedTuple, Optional, Tuple, Union

import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nfresume_metadata import LatchDir, LatchFile, LatchMetadata, LatchOutputDir

from nfresume import tasks
from nfresume.tasks import coercion, digests, inputs, keys, promises, source, task_files, values
from nfresume.tasks.declaring import Task
from nfresume.tasks.inputs import BadInput, convert
from nfresume.tasks.keys import Key
from nfresume.tasks.mapping import MapTask, call_inputs
from nfresume.tasks.sizes import SIZES, Resources
from tests.conftest import PROJECT
from tests.unit.tasks import modules


def plain(a: int, b: str = "x") -> str:
    """A docstring."""
    return a * b


class Pair(NamedTuple):
    """A result with two members."""

    file: LatchFile
    note: Optional[str]


@pytest.mark.parametrize(("value", "kind", "fits"), [
    (None, LatchFile, False), (None, int, False), (None, list[int], False), (None, Pair, False),
    (None, Optional[int], True), (None, int | None, True), (None, Any, True), (None, None, True),
    (None, Annotated[LatchFile, "x"], False), (None, Annotated[Optional[LatchFile], "x"], True),
    (None, Literal["a"], True), (None, object, True), (None, "unknown", True), (0, LatchFile, True),
    ([None], List[LatchFile], False), ([None], List[Optional[LatchFile]], True), ([None], list, True),
    ({"a": None}, Dict[str, int], False), ({"a": None}, Dict[str, Any], True), ({"a": None}, dict, True),
    ((1, None), Tuple[int, str], False), ((1, None), Tuple[int, Optional[str]], True),
    ((1, None), Tuple[int, ...], False), ((1, None), (int, str), False), ((1, None), tuple, True),
    ([(1, None)], List[Tuple[int, str]], False), (Pair(LatchFile("a"), None), Pair, True),
    (Pair(None, None), Pair, False),
])
def test_a_none_that_is_not_declared(value: Any, kind: Any, fits: bool):
    """It is what a function without a `return` gives, and what its task has written would be lost."""
    if fits:
        coercion.check_given(value, kind, types=True)
    else:
        with pytest.raises(TypeError, match="it returned None, and declares"):
            coercion.check_given(value, kind)


@pytest.mark.parametrize(("value", "kind", "said"), [
    ((1, 2, 3), Tuple[int, int], "3 values, and declares tuple[int, int]"),
    ((1,), Tuple[int, int], "1 values"), (1, Tuple[int, int], "a int, and declares tuple[int, int]"),
    ((1,), Pair, "1 values, and declares Pair"),
    ((1,), (int, str), "1 values"), ("5", int, "a str, and declares int"), (5, str, "a int"),
    (["5"], List[int], "a str, and declares int"), ({"a": 5}, Dict[str, str], "a int"), ({}, list, "a dict"),
    ((1, 2), Tuple[int, int], None), ((1, 2, 3), Tuple[int, ...], None), ([1, 2], Tuple[int, int], None),
    ((1, 2), tuple, None), (1, float, None), (1.5, int, None), (True, int, None), ({1}, list, None),
    ("5", Union[int, str], None), ("5", Any, None), ("a.txt", LatchFile, None), (numpy.int64(5), int, None),
])
def test_a_result_that_is_plainly_of_another_type(value: Any, kind: Any, said: str | None):
    """Flyte refuses it. Members of a tuple over those that are declared would be lost."""
    if said is None:
        coercion.check_given(value, kind, types=True)
    else:
        with pytest.raises(TypeError, match=f"it returned {re.escape(said)}"):
            coercion.check_given(value, kind, types=True)


# -- decorators -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*tasks.SIZED, "task"])
def test_every_form_of_every_decorator(name: str):
    """A bare decorator, a called one, one with options, and one given a function declare the same task."""
    decorator = getattr(tasks, name)
    forms = [decorator(plain), decorator()(plain), decorator(cache=True, cache_version="1", retries=2)(plain),
             decorator(plain, cache=True), functools.partial(decorator, task_config=object())(plain)]
    for form in forms:
        assert isinstance(form, Task)
        assert form(2, b="y") == "yy"
        assert form.__name__ == "plain"
        assert form.__doc__ == "A docstring."
    assert (forms[2].cache, forms[2].version, forms[2].retries) == (True, "1", 2)
    if name != "task":
        assert forms[0].resources == SIZES[name.removesuffix("_task")]


def test_named_tuples_as_inputs(tmp_path: Path):
    """By name or by position, with defaults; files in them are found. What does not fit is refused."""
    class Sample(NamedTuple):
        file: Optional[LatchFile]
        n: int = 3
    (tmp_path / "a").touch()
    for value in ('{"file": "a"}', '["a"]', {"file": "a", "n": 3}, ["a", "3"]):
        found = convert(value, Sample, "--s", tmp_path)
        assert (type(found), found.file.path, found.n) == (Sample, str(tmp_path / "a"), 3)
    assert convert([None], Sample, "--s", tmp_path) == Sample(None)
    for bad, why in (("x", "is not a Sample .file, n."), ('{"m": 1}', "is not a Sample"),
                     ("[]", "needs file"),
                     ('["a", "x"]', "--s.n: 'x' is not a whole number"), ('["a", 1, 2]', "is not a Sample")):
        with pytest.raises(BadInput, match=why):
            convert(bad, Sample, "--s", tmp_path)


def test_a_text_where_a_file_is_declared():
    """Outside of an execution, in a test of a task say, it is the file, as in one (flyte#1818)."""

    @tasks.task
    def name(file: LatchFile, more: list[LatchFile]) -> list[str]:
        return [file.local_path, *(each.local_path for each in more)]

    assert name("a.txt", more=["b.txt"]) == ["a.txt", "b.txt"]


def test_outputs_are_unpacked_without_waiting():
    """Those of a tuple, of a NamedTuple, and of the old spelling `-> (str, int)`. Parts know their types."""
    class Pair(NamedTuple):
        first: Tuple[str, int]
        second: int
    scheduler: Any = object()  # it has no values
    for kind in (Pair, Tuple[Tuple[str, int], int], (Tuple[str, int], int)):
        (one, _), _ = promises.Promise(scheduler, "node", kind)
        assert isinstance(one, promises.Promise)


@pytest.mark.parametrize("size", SIZES)
def test_the_older_cached_decorators(size: str):
    """There is a cached_..._task("version") for every size. None is refused with Latch's message."""
    decorator = getattr(tasks, f"cached_{size}_task")
    made = decorator("v1")(plain)
    assert (made.cache, made.version, made.resources) == (True, "v1", SIZES[size])
    with pytest.raises(ValueError, match="Must provide a cache version to a cached task"):
        decorator(None)


def test_custom_tasks():
    """Resources are numbers or functions of the inputs. More than any machine has is refused."""
    fixed = tasks.custom_task(4, 16, cache=True)(plain)
    assert (fixed.resources, fixed.cache) == (Resources(4, 16, 500), True)
    computed = tasks.custom_task(lambda a: a, memory=8, cache=True)(plain)
    assert computed.cache
    assert computed.needs({"a": 3, "b": "x"}) == Resources(3, 8, 500)
    assert tasks.custom_memory_optimized_task(8, 400)(plain).resources == Resources(8, 400, 500)
    for cpu, memory in ((127, 1), (1, 976), (0, 1), (100, 300 * 10)):
        with pytest.raises(ValueError, match="custom_task"):
            tasks.custom_task(cpu, memory)


def test_options_that_cannot_be():
    """A bad option is refused when the task is declared."""
    for options, error in (({"cachee": True}, TypeError), ({"timeout": "1h"}, ValueError),
                           ({"retries": -1}, ValueError), ({"cache_serialize": True}, ValueError)):
        with pytest.raises(error):
            tasks.task(plain, **options)

    def many(*args: int) -> int:
        return len(args)

    with pytest.raises(ValueError, match=r"cannot take \*args"):
        tasks.task(many)
    assert tasks.task(plain, timeout=timedelta(minutes=2)).timeout == 120
    assert tasks.task(plain, cache_version=None).version == ""


def test_workflows_and_maps_outside_of_an_execution():
    """Outside of an execution tasks and workflows are plain functions. A map checks its lists."""
    double = tasks.task(lambda_like)
    assert tasks.map_task(double)(n=[1, 2]) == [2, 4]
    assert tasks.map_task(functools.partial(double, n=5))() == []
    assert isinstance(tasks.map_task(double), MapTask)
    with pytest.raises(TypeError, match="needs a task"):
        tasks.map_task(plain)
    with pytest.raises(TypeError, match="must be a list"):
        call_inputs("t", {"n": 3})
    with pytest.raises(ValueError, match="differ in length: a 1, b 2"):
        call_inputs("t", {"a": [1], "b": [1, 2]})

    @tasks.workflow(LatchMetadata("x", None, _non_standard={"storage_expiration_hours": 9}))  # type: ignore
    def flow(n: int) -> int:
        return double(n=n)

    assert (flow(3), flow.storage_expiration_hours) == (6, 9)


def lambda_like(n: int) -> int:
    return 2 * n


# -- source ---------------------------------------------------------------------------------------

PROBE = '''
import sys
from importlib.util import module_from_spec, spec_from_file_location
def load(name, path):
    spec = spec_from_file_location(name, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
m, p = load("source", sys.argv[1]), load("probe", sys.argv[2])
print(m.code_digest(p.f), m.code_digest(p.g), m.signature_text(p.f))
'''
CODE = '''
from typing import Dict, List, Optional, Union
def f(a: Optional[int], b: List[Union[int, str]], c: "Dict[str, float]" = {}) -> None:
    """A docstring."""
    class Inner:
        """Another."""
        x: int = 1
    def inner(y, *, z=None):
        """One more."""
        return [i for i in y if (j := i) and not z] + [*y]
    with open(f"{a!r:>{len(str(b))}} {{}}") as handle, handle:
        try:
            return inner(handle)[1:2, ...]
        except (OSError, ValueError) as e:
            raise KeyError(b"x", 1.5, 2j, None, True) from e
        finally:
            del a
async def g(a):
    async with a as b:
        return [x async for x in await b]
'''
#: The digests on Python 3.11.7, 3.12.1 and 3.13.0. If they change, every user's cached tasks miss.
DIGESTS = "0a82a45ee854cc336342a13c81fb193c 1eef37216a78d19b4b0d972ee3a628da"


def test_the_same_digest_on_every_python(tmp_path: Path):
    """Every supported Python that is installed gives the same digests, and the same as before."""
    (tmp_path / "probe.py").write_text(CODE)
    (tmp_path / "run.py").write_text(PROBE)
    home = Path(sys.base_prefix).parent
    here = {sys.executable, *(str(p) for p in home.glob("3.1[1-9]*/bin/python3")),
            *(p for v in (11, 12, 13, 14) if (p := shutil.which(f"python3.{v}")))}
    said = {}
    for python in here:
        done = subprocess.run(
            [python, str(tmp_path / "run.py"), str(PROJECT / "nfresume/tasks/source.py"),
             str(tmp_path / "probe.py")], capture_output=True, text=True)
        if done.returncode == 0 or "pyenv" not in done.stderr:  # a pyenv shim without a Python
            assert done.returncode == 0, done.stderr
            said[python] = done.stdout
    assert set(said.values()) == {said[sys.executable]}
    assert said[sys.executable] == (
        f"{DIGESTS} (a: None | int, b: list[int | str], c: dict[str, float]) -> None\n")


def variant(text: str, tmp_path: Path, count: list[int] = []) -> str:  # noqa: B006
    count.append(0)
    path = tmp_path / f"variant{len(count)}.py"
    path.write_text(text)
    return source.code_digest(modules.load(path).f)


def test_what_changes_the_digest_of_code(tmp_path: Path):
    """Another constant, name, operator or order changes the digest. Comments and docstrings do not."""
    base = "def f(a):\n    x = [1, 'a', a]\n    return x if a > 1 else None\n"
    same = variant(base, tmp_path)
    for old, new in (("    x", "    # why\n    x"), ("[1, 'a', a]", "[1, \"a\",\n        a]"),
                     ("def f(a):", "def f(a):\n    '''Why.'''"), ("a > 1", "(a > 1)"),
                     ("def f(a)", "def f(a: int)")):
        assert variant(base.replace(old, new), tmp_path) == same, new
    for old, new in (("1,", "2,"), ("1,", "1.0,"), ("1,", "True,"), ("'a'", "b'a'"), ("x", "y"), (">", ">="),
                     ("None", "0"), ("return x if a > 1 else None", "return None if a > 1 else x"),
                     ("[1, 'a', a]", "(1, 'a', a)")):
        assert variant(base.replace(old, new), tmp_path) != same, new


def test_types_in_words():
    """Equal types have equal texts, however they are written."""
    assert source.type_text(Optional[int]) == source.type_text(int | None) == "None | int"
    assert source.type_text(List[Dict[str, int]]) == source.type_text(list[dict[str, int]])
    assert source.type_text(LatchOutputDir) == "LatchDir"
    assert source.type_text(Literal["a", 1]) == "Literal['a', 1]"
    assert source.type_text(Tuple[int, ...]) == "tuple[int, ...]"
    assert source.type_text(Union[str, int]) == source.type_text(Union[int, str])


# -- values and digests ---------------------------------------------------------------------------


class Colour(Enum):
    RED = 1


class Pair(NamedTuple):
    a: int
    b: str


@dataclass
class Inner:
    x: float


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: tuple[int, ...] = ()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates()
    | st.datetimes() | st.timedeltas() | st.sampled_from(Colour) | st.builds(Pair, st.integers(), st.text())
    | st.builds(Outer, st.builds(Inner, st.floats(allow_nan=False)), st.tuples(st.integers())),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner)
    | st.dictionaries(st.integers(), inner), max_leaves=12)


@given(PLAIN)
def test_values_come_back_as_they_went(value: Any):
    """A value that is encoded to JSON and decoded is equal to the original, and so is its digest."""
    writer = values.Writer(Path("/nonexistent"))
    back = values.decode(json.loads(values.dumps(writer.encode(value))))
    assert back == value
    assert type(back) is type(value)
    assert digests.of_value(back) == digests.of_value(value)
    assert writer.files == []


@given(st.dictionaries(st.text(), PLAIN, min_size=2))
def test_the_order_of_a_mapping_does_not_matter(table: dict[str, Any]):
    assert digests.of_value(table) == digests.of_value(dict(reversed(list(table.items()))))


@given(PLAIN, PLAIN)
def test_different_values_have_different_digests(a: Any, b: Any):
    """Only equal values have equal digests."""
    if digests.of_value(a) == digests.of_value(b):
        assert repr(a) == repr(b) or a == b


def test_what_equality_would_take_for_the_same():
    """1, 1.0, True and '1' have different digests. So have a list and a tuple, and 0.0 and -0.0."""
    alike = [1, 1.0, True, "1", [1], (1,), {1}, {"1": 1}, {1: 1}, None, 0.0, -0.0, b"1", Colour.RED,
             date(1, 1, 1), datetime(1, 1, 1, tzinfo=UTC), timedelta(1), math.nan, math.inf, list(range(100)),
             [float(n) for n in range(100)], numpy.arange(3), numpy.arange(3.0),
             numpy.arange(3).reshape(3, 1),
             pandas.DataFrame({"a": [1]}), pandas.DataFrame({"b": [1]}), pandas.DataFrame({"a": [1.0]}),
             pandas.Series([1])]
    assert len({digests.of_value(value) for value in alike}) == len(alike)


def test_parts_of_a_value():
    """An index, a key and an attribute of the same name are different parts."""
    found = digests.parts_of({1: "int", "1": "text"})
    assert found == {"1": digests.of_value("int"), '"1"': digests.of_value("text")}
    pair = digests.parts_of(Pair(1, "x"))
    assert pair["0"] == pair[promises.part_name(promises.attribute("a"))] == digests.of_value(1)
    assert set(digests.parts_of(Inner(2.0)).values()) == {digests.of_value(2.0)}
    assert digests.parts_of(3) == {}
    path = (promises.attribute("a"), 0, "k")
    stored = json.loads(json.dumps(promises.path_json(path)))
    assert promises.take({"k": 1}, ()) == {"k": 1}
    assert promises.path_json(promises.path_of(stored)) == stored


def test_files_and_folders(tmp_path: Path):
    """A file counts by name and content, a folder by everything in it, an output path by the path."""
    one, two = tmp_path / "1/a.txt", tmp_path / "2/a.txt"
    for path in (one, two):
        path.parent.mkdir()
        path.write_text("x")
    same = digests.of_value(LatchFile(one))
    assert digests.of_value(LatchFile(two)) == same
    assert digests.of_value(one) != same  # a Path is another type
    two.write_text("y")
    assert digests.of_value(LatchFile(two)) != same
    assert digests.of_value(LatchDir(one.parent)) != digests.of_value(LatchDir(two.parent))
    before = digests.of_value(LatchDir(one.parent), LatchOutputDir)
    (one.parent / "new").write_text("")
    assert digests.of_value(LatchDir(one.parent), LatchOutputDir) == before
    assert digests.of_value(LatchDir.place(one.parent)) != digests.of_value(LatchDir.place(two.parent))
    (one.parent / "pipe").unlink(missing_ok=True)
    import os
    os.mkfifo(one.parent / "pipe")
    with pytest.raises(OSError, match="neither file, folder nor link"):
        digests.of_value(LatchDir(one.parent))


def test_the_index_of_digests(tmp_path: Path):
    """An unchanged file is read once. A change is noticed even if the size stays the same."""
    import os

    index = digests.DigestIndex(tmp_path / "index.sqlite")
    file = tmp_path / "big.bin"
    file.write_bytes(b"a" * (2 << 20))
    os.utime(file, (1, 1))
    first = digests.of_file(file, index)
    assert first == digests.of_file(file)
    assert digests.of_file(file, index) == first
    file.write_bytes(b"b" * (2 << 20))
    assert digests.of_file(file, index) != first
    (tmp_path / "no").mkdir()
    assert digests.of_file(file, digests.DigestIndex(Path("/proc/nope/x.sqlite"))) == digests.of_file(file)


def test_objects_and_what_a_pickle_may_name(tmp_path: Path):
    """Arrays and frames are decoded unchanged. A pickle that names a function or is truncated is refused."""
    import os
    import pickle

    writer = values.Writer(tmp_path / "values")
    for value in (numpy.arange(5), numpy.float64(2.5), {1, 2}, complex(1, 2), b"bytes"):
        back = values.decode(writer.encode(value))
        assert type(back) is type(value)
        assert digests.of_value(back) == digests.of_value(value)
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None], "c": pandas.to_datetime(["2026-01-01", None])})
    assert values.decode(writer.encode(frame)).equals(frame)
    assert len(writer.files) == 5
    for evil in (os.system, exec, subprocess.Popen, numpy.load):
        with pytest.raises(values.Unreadable, match=r"refused"):
            values.unpickle(pickle.dumps(evil))
    with pytest.raises(values.Unreadable):
        values.unpickle(pickle.dumps([1, 2, 3])[:-2])
    for dots in ("DataFrame.to_csv", "DataFrame.__init__.__builtins__.get"):  # which would give `eval`
        name = pickle.SHORT_BINUNICODE + bytes([len(dots)]) + dots.encode() + pickle.STACK_GLOBAL
        with pytest.raises(values.Unreadable, match="refused"):
            values.unpickle(pickle.dumps("pandas", protocol=4)[:-1] + name + pickle.STOP)
    for opening in (pandas.ExcelWriter, pandas.HDFStore):
        with pytest.raises(values.Unreadable, match="refused"):
            values.unpickle(pickle.dumps(opening))
    mapped = numpy.memmap(tmp_path / "mapped", shape=(3,), mode="w+")
    assert type(values.decode(writer.encode(mapped))) is numpy.ndarray  # no file is opened
    with pytest.raises(TypeError, match="cannot be pickled"):
        writer.encode(lambda: 1)


@pytest.mark.parametrize("damaged", [
    {"$": "enum", "class": "os:environ", "v": "x"}, {"$": "dataclass", "class": "subprocess:Popen", "v": {}},
    {"$": "nonsense"}, {}, {"$": "dict", "v": 3}, {"$": "enum", "class": "absent:X", "v": "x"},
    {"$": "pickle", "file": "/nonexistent"}, {"$": "datetime", "v": "soon"},
])
def test_damaged_values(damaged: Any):
    """A damaged value raises Unreadable, and nothing else."""
    with pytest.raises(values.Unreadable):
        values.decode(damaged)


# -- inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "kind", "value"), [
    ("3", int, 3), ("1e3", float, 1000.0), ("yes", bool, True), ("x", Any, "x"),
    ("RED", Colour, Colour.RED), ("1", Colour, Colour.RED), ("b", Literal["a", "b"], "b"),
    ("", Optional[int], None), ("7", Union[int, str], 7), ("x", Union[int, str], "x"),
    ("[1]", list[float], [1.0]), ('{"a": [1]}', dict[str, list[int]], {"a": [1]}),
    ("[1, \"x\"]", tuple[int, str], (1, "x")), ('{"inner": {"x": 1}}', Outer, Outer(Inner(1.0))),
    ("90", timedelta, timedelta(0, 90)), ("2026-01-31", date, date(2026, 1, 31)),
    ("a/b", Path, Path("/base/a/b")), ("latch:///x", LatchFile, LatchFile("latch:///x")),
    ("5", Annotated[int, "words"], 5), ("out", LatchOutputDir, LatchDir.place("/base/out")),
])
def test_inputs_as_words(text: str, kind: Any, value: Any):
    """Words of a command line are converted to each type."""
    found = convert(inputs.Word(text), kind, "--x", Path("/base"))
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("value", "kind"), [
    ("5", Union[int, str]), (5, Union[str, int]), (5, Union[float, int]), (5.0, Union[int, float]),
    (True, Union[int, bool]), (1, Union[bool, int]), ("none", Optional[str]), ("", Optional[str]),
    ("true", Union[bool, str]), (None, Optional[str]), (1, Literal["1", 1]), ("1", Literal[1, "1"]),
    (["5", 5], List[Union[int, str]]), ({"a": "5"}, Dict[str, Union[int, str]]),
])
def test_a_union_keeps_the_type_that_was_given(value: Any, kind: Any):
    """A value from JSON or YAML has a type. A union that names this type does not change it."""
    found = convert(value, kind, "--x", Path("/base"))
    assert (found, repr(found), type(found)) == (value, repr(value), type(value))


@pytest.mark.parametrize(("word", "kind", "value"), [
    ("1", Union[bool, int], 1), ("5", Union[float, int], 5), ("5.5", Union[int, float], 5.5),
    ("true", Union[int, bool], True), ("05", Union[int, str], 5), ("none", Optional[str], None),
    ("1", Literal["1", 1], 1), ("x", Union[int, str], "x"),
])
def test_a_word_for_a_union(word: str, kind: Any, value: Any):
    """A word has the type that it would have in JSON; else the first type that fits."""
    found = convert(inputs.Word(word), kind, "--x", Path("/base"))
    assert (found, type(found)) == (value, type(value))
    again = inputs.of_json(json.loads(json.dumps(inputs.as_json({"x": inputs.Word(word), "y": word}))))
    assert (type(again["x"]), type(again["y"])) == (inputs.Word, str)


@pytest.mark.parametrize(("given", "kind", "said"), [
    ("x", int, "not a whole number"), (1.5, int, "not a whole number"), (True, int, "not a whole number"),
    ("nan x", float, "not a number"), ("maybe", bool, "not true or false"),
    ("GREEN", Colour, "not one of RED, 1"), ("1", list[int], r"not list\[int\]"),
    ("[1", list[int], "a list in JSON"), ("[\"x\"]", list[int], r"--x\[0\]"),
    ('{"y": 1}', Inner, "has no field 'y'"), ("{}", Inner, "needs x"),
    ("[1]", tuple[int, int], "a tuple of 2"), ("/nonexistent", LatchFile, "a file that exists"),
    ("/etc/passwd", LatchDir, "a folder that exists"), ("c", Literal["a"], "one of a"),
    ("soon", datetime, "a date and time"), (None, str, "not a text"), ("", Path, "a path"),
    ("x", Union[int, float], "is not int or float$"), ("x", Optional[int], "is not a whole number"),
    ("/absent", Optional[LatchFile], "'/absent' is not a file that exists"),
    ({"x": "a"}, Union[List[int], Inner, None], r"is not list\[int\] or Inner \(x: 'a' is not a number\)$"),
])
def test_inputs_that_are_wrong(given: Any, kind: Any, said: str):
    """The error names the input."""
    with pytest.raises(BadInput, match=said) as caught:
        convert(given, kind, "--x", Path("/base"))
    assert "--x" in str(caught.value)


def test_inputs_of_a_workflow():
    """Defaults are filled in. The error names the inputs that are unknown or missing."""
    hints = source.hints_of(plain)
    assert inputs.of_workflow(plain, {"a": "2"}, Path("/"), hints) == {"a": 2, "b": "x"}
    with pytest.raises(BadInput, match=r"inputs are missing: --a \(int\)"):
        inputs.of_workflow(plain, {}, Path("/"), hints)
    with pytest.raises(BadInput, match="there is no input 'c'; the workflow has --a, --b"):
        inputs.of_workflow(plain, {"a": 1, "c": 2}, Path("/"), hints)


# -- keys and files -------------------------------------------------------------------------------


def test_differences_in_words():
    """The text names each part that changed, with its old and new value."""
    key = Key("team", "m.f", "(a: int) -> int", "v", {"a": "0123456789"}, True, {"a": "1"})

    def changed(**parts: Any) -> list[str]:
        return keys.differences(key, Key(**{**vars(key), **parts}))

    assert changed() == []
    assert changed(version="w") == ["its code changed"]
    assert changed(version="2", code=False) == ["its version changed from its code to '2'"]
    assert changed(account="eve") == ["it belongs to account team, not eve"]
    assert changed(inputs={"a": "x"}, shown={"a": "2"}) == ["its input a changed: from 1 to 2"]
    assert changed(inputs={"a": "abcdefghij"}) == [
        "its input a changed: 1 has another content (01234567, now abcdefgh)"]
    assert changed(signature="s") == ["its signature changed from (a: int) -> int to s"]
    assert keys.of_json(json.loads(json.dumps(key.json()))) == key


@pytest.mark.parametrize(("remote", "target"), [
    ("latch:///a/b.txt", "out/a/b.txt"), ("latch://123.account/a/b.txt", "out/a/b.txt"),
    ("s3://bucket/k.txt", "out/bucket/k.txt"), ("latch:///../../etc/passwd", "out/etc/passwd"),
    ("latch:///", "out/x.txt"), ("file:///mine/one/a.txt", "/mine/one/a.txt"),
])
def test_where_remote_paths_lead(remote: str, target: str):
    """They lead into the output folder, whatever they contain; those of a local place lead there."""
    assert task_files.publish_target("/work/x.txt", remote, Path("out")) == Path(target)
