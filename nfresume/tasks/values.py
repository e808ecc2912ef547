"""Encode values as JSON to pass them between processes. Values that do not fit JSON are pickled into files.

Decoding is safe: a stored value cannot choose code to run. Classes must be in modules that the workflow has
loaded, and a pickle may contain only such classes, arrays, frames and a few harmless types.
"""

from __future__ import annotations

import builtins
import io
import json
import math
import os
import pickle
import sys
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any

from nfresume_metadata import LatchDir, LatchFile, LPath

from nfresume.system import durable
from nfresume.tasks import shapes
from nfresume.tasks.shapes import class_name

_PATHS = {"LatchFile": LatchFile, "LatchDir": LatchDir, "LPath": LPath}
_TAG = "$"
_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    "float": float, "datetime": datetime.fromisoformat, "date": date.fromisoformat}
_ITEMS: Mapping[str, Any] = {"set": set, "frozenset": frozenset, "deque": deque}
_PAIRS: Mapping[str, Any] = {"OrderedDict": OrderedDict, "Counter": Counter, "defaultdict": defaultdict}
#: What a defaultdict may make.
_FACTORIES: tuple[Any, ...] = (None, list, dict, set, int, float, str, bool)
#: What a pickle may contain besides the workflow's own classes.
_SAFE_BUILTINS = frozenset({"set", "frozenset", "complex", "slice", "range", "bytearray", "list", "dict",
                            "tuple", "int", "float", "str", "bytes", "bool", "object", "Ellipsis",
                            "NotImplemented"})
_SAFE_FUNCTIONS = frozenset({
    ("numpy", "dtype"), ("numpy", "ndarray"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"), ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"), ("pandas.core.internals.blocks", "new_block"),
    ("pandas._libs.internals", "_unpickle_block"), ("pandas.core.indexes.base", "_new_Index"),
    ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"), ("copyreg", "_reconstructor"),
    ("pandas.core.indexes.timedeltas", "_new_TimedeltaIndex"),
    ("pandas.core.indexes.interval", "_new_IntervalIndex"),
    ("pandas._libs.interval", "__pyx_unpickle_IntervalMixin"),
    ("pandas.core.indexes.datetimes", "_new_DatetimeIndex"),
    ("pandas.core.indexes.period", "_new_PeriodIndex"),
    ("pandas._libs.tslibs.nattype", "_nat_unpickle"),
    ("pandas._libs.tslibs.timestamps", "_unpickle_timestamp"),
    ("pandas._libs.tslibs.timedeltas", "_timedelta_unpickle"), ("numpy.ma.core", "_mareconstruct"),
    ("numpy.random._pickle", "__generator_ctor"), ("numpy.random._pickle", "__bit_generator_ctor"),
    ("numpy.random._pickle", "__randomstate_ctor"),
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"), ("zoneinfo", "ZoneInfo"),
    ("collections", "OrderedDict"), ("collections", "deque"), ("collections", "Counter"),
    ("collections", "defaultdict"), ("pathlib", "PosixPath"), ("pathlib", "PurePosixPath"),
    ("decimal", "Decimal"), ("fractions", "Fraction"), ("uuid", "UUID"), ("datetime", "timezone"),
    ("datetime", "datetime"), ("datetime", "date"), ("datetime", "time"), ("datetime", "timedelta"),
    ("types", "SimpleNamespace"), ("argparse", "Namespace"), ("re", "_compile"),
})
#: Parts of numpy and pandas whose classes open files or evaluate texts, and classes that others offer, too.
_EFFECTS = ("pandas.io.", "pandas.core.computation.", "pandas.testing.", "numpy.lib.", "numpy.ctypeslib.",
            "numpy.testing.", "numpy.f2py.", "numpy.distutils.")
_OPENING = frozenset({"ExcelFile", "ExcelWriter", "HDFStore", "DataSource"})


class Unreadable(Exception):
    """A stored value is damaged, or contains something that is refused. The message says which."""


class Writer:
    """Encodes values. Pickles go into `folder`, which is created when needed; `files` are their paths.

    `named` gives the remote path of an output that got the local path of an input, or one made of it.
    `hidden`: local files and folders within pickles, by the class of the pickled value. None can follow them.
    """

    def __init__(self, folder: Path, named: Callable[[str], str | None] = lambda _: None) -> None:
        self._folder = folder
        self._named = named
        self._count = 0
        self.files: list[Path] = []
        self.hidden: dict[str, LatchFile | LatchDir] = {}

    def encode(self, value: Any) -> Any:
        """The value as JSON. Relative paths are made absolute. Raises TypeError if it cannot be pickled."""
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {_TAG: "float", "v": repr(value)}
        if type(value) is list:
            return [self.encode(item) for item in value]
        kind = type(value)
        if isinstance(value, LatchFile | LatchDir | LPath):
            path = value.path if "://" in value.path else os.path.abspath(value.path)
            remote = value.remote_path if "://" in str(value.remote_path) else None
            if remote is None and (near := getattr(value, "near", None)) is not None and near != path:
                remote = self._named(near)
            return {_TAG: kind.__name__, "path": path, "remote": remote}
        if isinstance(value, Path):
            return {_TAG: "Path", "path": os.path.abspath(value) if value.exists() else str(value)}
        if isinstance(value, Enum) and value.name in kind.__members__:  # a combination of flags is pickled
            return {_TAG: "enum", "class": class_name(kind), "v": value.name,
                    "shape": shapes.shown(value.value)}
        if kind is dict:
            return {_TAG: "dict", "v": [[self.encode(k), self.encode(v)] for k, v in value.items()]}
        if kind is tuple:
            return {_TAG: "tuple", "v": [self.encode(item) for item in value]}
        if shapes.fielded(value):
            fields = {name: self.encode(getattr(value, name)) for name in shapes.fields_of(kind) or ()}
            tag = "namedtuple" if isinstance(value, tuple) else "dataclass"
            return {_TAG: tag, "class": class_name(kind), "v": fields}
        if kind in (datetime, date) and isinstance(getattr(value, "tzinfo", None), timezone | None):
            fold = {"fold": 1} if getattr(value, "fold", 0) else {}
            return {_TAG: kind.__name__, "v": value.isoformat(), **fold}
        if kind is timedelta:
            return {_TAG: "timedelta", "v": [value.days, value.seconds, value.microseconds]}
        return self._collection(value) or self._pickled(value)

    def _collection(self, value: Any) -> Any:
        """The JSON of a set, deque or another kind of dict, in which there may be files; None for others."""
        kind = type(value)
        if kind in (set, frozenset, deque):
            length = {"maxlen": value.maxlen} if kind is deque else {}
            return {_TAG: kind.__name__, "v": [self.encode(item) for item in value], **length}
        if kind in (OrderedDict, Counter) or (kind is defaultdict and value.default_factory in _FACTORIES):
            factory = getattr(value, "default_factory", None)
            return {_TAG: kind.__name__, "v": [[self.encode(k), self.encode(v)] for k, v in value.items()],
                    "factory": factory and factory.__name__}
        return None

    def _pickled(self, value: Any) -> Any:
        try:
            data, pickler = _pickle(value)
        except Exception as e:  # whatever its own code raises
            raise TypeError(f"a {type(value).__name__} cannot be pickled: {e}") from None
        self._folder.mkdir(exist_ok=True)
        self._count += 1
        path = self._folder / f"{self._count}.pickle"
        durable.write(path, data)
        self.files.append(path)
        self.hidden.update({type(value).__name__: each for each in pickler.hidden})
        return {_TAG: "pickle", "file": str(path), "classes": pickler.classes}


class _Pickler(pickle.Pickler):
    """Notes the shapes of the workflow's own classes that a pickle contains, and local files and folders."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.classes: dict[str, str] = {}
        self.hidden: list[LatchFile | LatchDir] = []

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, LatchFile | LatchDir) and "://" not in value.path:
            self.hidden.append(value)
        kind = value if isinstance(value, type) else type(value)
        if (text := shapes.shape(kind)) is not None:
            self.classes[class_name(kind)] = text
        return NotImplemented


def _pickle(value: Any) -> tuple[bytes, _Pickler]:
    """The pickle of a value, and who has made it."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(value)
    return file.getvalue(), pickler


def decode(value: Any) -> Any:
    """The value from the JSON of `Writer.encode`. Raises Unreadable."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    try:
        return _decode_tagged(value)
    except Unreadable:
        raise
    except Exception as e:  # a damaged record may hold anything
        raise Unreadable(f"{type(e).__name__}: {e}") from None


def _decode_tagged(value: Mapping[str, Any]) -> Any:
    tag = value[_TAG]
    if tag in _PATHS:
        return _PATHS[tag](value["path"], value["remote"]).given()
    if tag == "Path":
        return Path(value["path"])
    if tag in _FROM_TEXT:
        found = _FROM_TEXT[tag](value["v"])
        return found.replace(fold=1) if value.get("fold") else found
    if tag in _ITEMS:
        items = [decode(item) for item in value["v"]]
        return deque(items, value["maxlen"]) if tag == "deque" else _ITEMS[tag](items)
    if tag in _PAIRS:
        pairs = {decode(k): decode(v) for k, v in value["v"]}
        factory = next((each for each in _FACTORIES if each and each.__name__ == value["factory"]), None)
        return defaultdict(factory, pairs) if tag == "defaultdict" else _PAIRS[tag](pairs)
    if tag == "timedelta":
        return timedelta(*value["v"])
    if tag == "dict":
        return {decode(k): decode(v) for k, v in value["v"]}
    if tag == "tuple":
        return tuple(decode(item) for item in value["v"])
    if tag == "pickle":
        _check_shapes(value["classes"])
        return unpickle(Path(value["file"]).read_bytes())
    kind = _class(value["class"])
    if tag == "enum" and issubclass(kind, Enum):
        return _member(kind, value)
    if tag in ("namedtuple", "dataclass") and (names := shapes.fields_of(kind)) is not None:
        if sorted(names) != sorted(value["v"]):
            raise Unreadable(f"its class {kind.__name__} changed: it had the fields {', '.join(value['v'])}, "
                             f"and has {', '.join(names)}")
        fields = {name: decode(item) for name, item in value["v"].items()}
        if issubclass(kind, tuple):
            return kind(**fields)
        if shapes.is_model(kind):
            return kind.model_construct(**fields)
        made: Any = object.__new__(kind)  # restore the fields as they were, without running __init__
        for name, item in fields.items():
            object.__setattr__(made, name, item)
        return made
    raise Unreadable(f"a {tag} of {value['class']} is not known")


def _member(kind: type[Enum], value: Mapping[str, Any]) -> Enum:
    found = kind.__members__.get(value["v"])
    now = "gone" if found is None else shapes.shown(found.value)
    if found is None or now != value["shape"]:
        raise Unreadable(f"its class {kind.__name__} changed: {value['v']} was {value['shape']}, now {now}")
    return found


def _check_shapes(classes: Mapping[str, str]) -> None:
    for name, before in classes.items():
        if shapes.shape(_class(name)) != before:
            raise Unreadable(f"its class {name.rpartition(':')[2]} changed since the result was stored")


def check(value: Any) -> None:
    """Check that the classes in encoded JSON are as they were. Pickles are not read. Raises Unreadable."""
    if isinstance(value, list):
        for item in value:
            check(item)
    elif isinstance(value, Mapping):
        try:
            if value.get(_TAG) == "pickle":
                _check_shapes(value["classes"])
            elif value.get(_TAG) == "enum" or ("class" in value and sorted(
                    shapes.fields_of(_class(value["class"])) or ()) != sorted(value["v"])):
                _decode_tagged(value)  # says what changed
        except (KeyError, TypeError, AttributeError) as e:
            raise Unreadable(f"{type(e).__name__}: {e}") from None
        for item in value.values():
            check(item)


def _class(name: str) -> Any:
    """A class by its name. Its module must be loaded already; nothing is imported. Raises Unreadable."""
    module, _, qualname = name.partition(":")
    loaded: Any = sys.modules.get(module)
    found = loaded
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) and loaded is not None:
        found = shapes.under_another_name(loaded, name)
    if not isinstance(found, type):
        raise Unreadable(f"there is no class {name}")
    return found


def _zone_maker(owner: Any, name: str) -> Any:
    """What a pickled time zone asks of `getattr`. Raises Unreadable for anything else."""
    if owner is zoneinfo.ZoneInfo and name == "_unpickle":
        return getattr(owner, name)
    raise Unreadable(f"a pickle that names {name} of {owner!r} is refused")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _zone_maker
        if (module, name) == ("numpy", "memmap"):  # would open a file; without its file it is an array
            name = "ndarray"
        safe = (module, name) in _SAFE_FUNCTIONS or (
            module == "builtins" and (name in _SAFE_BUILTINS or _is_exception(name)))
        family = module.partition(".")[0]
        of_values = family in ("numpy", "pandas") and not _has_effects(module, name)
        # a name with dots leads anywhere: `DataFrame.__init__.__builtins__.get` gives `eval`
        if safe or (of_values and name.isidentifier() and name[:1].isupper()):
            return super().find_class(module, name)
        if (of_values or family not in (*sys.stdlib_module_names, "numpy", "pandas")) and isinstance(
                found := _loaded(module, name), type) and not issubclass(found, BaseException):
            return found
        raise Unreadable(f"a pickle that names {module}.{name} is refused")


def _has_effects(module: str, name: str) -> bool:
    """Whether a class of numpy or pandas opens files or evaluates texts when it is called."""
    return name in _OPENING or any(f"{module}.".startswith(each) for each in _EFFECTS)


def _is_exception(name: str) -> bool:
    """Whether a name is that of one of Python's own exceptions."""
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def _loaded(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if getattr(found, "__module__", None) == module else None


def unpickle(data: bytes) -> Any:
    """The value of a pickle. Raises Unreadable if it is damaged or contains anything but harmless types."""
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except Unreadable:
        raise
    except Exception as e:  # a damaged pickle may raise anything
        raise Unreadable(f"{type(e).__name__}: {e}") from None


def paths_in(value: Any) -> list[str]:
    """The local paths in encoded JSON: of files, folders and pickles."""
    if isinstance(value, list):
        return [path for item in value for path in paths_in(item)]
    if not isinstance(value, Mapping):
        return []
    tag = value.get(_TAG)
    if tag in _PATHS or tag == "Path":
        return [] if "://" in value["path"] else [str(value["path"])]
    if tag == "pickle":
        return [str(value["file"])]
    return [path for item in value.values() for path in paths_in(item)]


def typed_paths(value: Any) -> Iterator[tuple[str, str]]:
    """The class name and the path or URL of each LatchFile, LatchDir and LPath in encoded JSON."""
    if isinstance(value, list):
        for item in value:
            yield from typed_paths(item)
    elif isinstance(value, Mapping):
        if value.get(_TAG) in _PATHS:
            yield value[_TAG], value["path"]
        for item in value.values():
            yield from typed_paths(item)


def remote_paths(value: Any) -> list[tuple[str, str]]:
    """The path and the remote URL of each local file or folder in encoded JSON that has a remote URL."""
    if isinstance(value, list):
        return [pair for item in value for pair in remote_paths(item)]
    if not isinstance(value, Mapping):
        return []
    if value.get(_TAG) in _PATHS:
        remote, path = value["remote"], value["path"]
        return [(path, remote)] if remote and "://" not in path else []
    return [pair for item in value.values() for pair in remote_paths(item)]


def replace_paths(value: Any, new_paths: Mapping[str, str]) -> Any:
    """Encoded JSON with its paths replaced by those of `new_paths`, old path -> new path."""
    if isinstance(value, list):
        return [replace_paths(item, new_paths) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {key: new_paths.get(item, item) if key in ("path", "file") and isinstance(item, str)
            else replace_paths(item, new_paths) for key, item in value.items()}


def dumps(value: Any) -> bytes:
    """Encoded JSON as bytes. They are ASCII, so a file name that is not UTF-8 comes back as it was."""
    return json.dumps(value, allow_nan=False).encode()
