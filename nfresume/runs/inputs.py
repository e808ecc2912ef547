"""What an attempt was given: its params file and configuration are kept, its samplesheets are digested.

`attempts/<n>/inputs/` holds the kept files and a list of them, `inputs.json`. A relaunch runs with what was
kept, also when the file has changed since or is gone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nfresume.domain.errors import NotFound, UsageError
from nfresume.domain.executions import python_workflow
from nfresume.nextflow.kept_inputs import FOLDER, LIST, Input, params, read
from nfresume.nextflow.options import STDIN, Option, RunOptions
from nfresume.system import durable, regular

#: The script of a launch with `-`.
SCRIPT = "script.nf"
#: Files that parameters name are digested up to this size in bytes; of larger ones size and time are kept.
MAX_DIGESTED = 16_000_000
#: At most this many of them.
MAX_NAMED = 200
#: A pipe that is the value of a parameter, such as `--input <(...)`, is kept up to this size.
MAX_PIPED = 64_000_000
_DESCRIPTOR = re.compile(r"/(dev|proc/self)/fd/\d+")
_PARAMS_FILE = ("-params-file", "--params-file")
_CONFIGURATION = ("-c", "-config", "-C")
_SAME = {"-config": "-c"}
#: `includeConfig 'some/path'`, as a call as well. A path with an expression is left alone.
_INCLUDE = re.compile(rb"""(\bincludeConfig(?:\s*\(\s*|\s+))(['"])([^'"$\n]+)\2""")


@dataclass(frozen=True)
class Taken:
    """The inputs of one attempt, with the bytes of those that are kept, by their names in FOLDER."""

    inputs: tuple[Input, ...] = ()
    data: tuple[tuple[str, bytes], ...] = ()
    changed: tuple[str, ...] = ()  # sentences for the user

    def named(self, *names: str) -> bytes | None:
        """The bytes of the last file that one of these options named."""
        kept = [i.kept for i in self.inputs if i.option in names]
        return dict(self.data)[kept[-1]] if kept and kept[-1] else None

    def params_files(self) -> dict[str, bytes]:
        """The bytes of the params files, by the names that the options give them."""
        data = dict(self.data)
        return {i.given: data[i.kept] for i in self.inputs if i.option in _PARAMS_FILE and i.kept}


class _Collection:
    """Inputs of one attempt, collected one after another."""

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self.data: list[tuple[str, bytes]] = []

    def read(self, option: str, given: str, launch_dir: Path) -> None:
        """Add a file as it is now. Raises NotFound."""
        content, transient = _read(option, given, launch_dir)
        found = Input(option, given, _name(option, given, content), _digest(content), len(content), transient)
        if option in _CONFIGURATION and not transient:
            content = _with_whole_paths(content, (launch_dir / given).parent)
        self.add(found, content)

    def add(self, found: Input, content: bytes) -> None:
        """Add an input that is to be kept under its name, with a number in front."""
        assert found.kept is not None
        name = SCRIPT if found.option == STDIN else f"{len(self.data) + 1}-{found.kept}"
        self.inputs.append(replace(found, kept=name))
        self.data.append((name, content))

    def taken(self, options: RunOptions, launch_dir: Path) -> Taken:
        """All of them, with the files that parameters name."""
        made = Taken(tuple(self.inputs), tuple(self.data))
        return replace(made, inputs=(*made.inputs, *_named_files(options, made, launch_dir)))


def take(options: RunOptions, launch_dir: Path, script: bytes | None = None) -> Taken:
    """Read what the options of a launch name. Raises NotFound for a file that is not there.

    `script` is the script from standard input, if there is one.
    """
    found = _collected(options, launch_dir, script)
    return found.taken(options, launch_dir)


def _collected(options: RunOptions, launch_dir: Path, script: bytes | None) -> _Collection:
    found = _Collection()
    for option, given in _files(options):
        found.read(option, given, launch_dir)
    if script is not None:
        found.add(Input(STDIN, STDIN, SCRIPT, _digest(script), len(script), True), script)
    return found


def again(
    before: Sequence[Input], folder: Path, options: RunOptions, given: RunOptions, launch_dir: Path,
    script: bytes | None = None,
) -> Taken:
    """The inputs of a relaunch: those in `given` are read now, all others are what attempt `folder` kept.

    `script` is a new script from standard input. `changed` says which inputs are other than they were, or
    gone. Raises NotFound.
    """
    given = replace(given, pipeline=options.pipeline)
    found = _collected(given, launch_dir, script)
    new = {_SAME.get(i.option, i.option) for i in found.inputs}
    changed: list[str] = []
    for old in before:
        replaced = _SAME.get(old.option, old.option) in new or (
            old.option == STDIN and options.pipeline != STDIN)
        if old.kept is None or replaced:
            continue
        found.add(replace(old, kept=old.kept.partition("-")[2]), regular.content(folder / FOLDER / old.kept))
        if sentence := _difference(old, launch_dir):
            changed.append(f"{sentence}: this attempt uses what the last one was given "
                           f"({old.option} {old.given} uses the file as it is now)")
    known = {(i.option, i.given) for i in found.inputs}
    for option, path in _files(options):
        earlier = (option, path) not in known  # an attempt of an earlier version kept nothing
        if earlier and not _DESCRIPTOR.fullmatch(path):
            found.read(option, path, launch_dir)
    made = found.taken(options, launch_dir)
    return replace(made, changed=(*changed, *_changed_sheets(before, made, launch_dir)))


def _changed_sheets(before: Sequence[Input], now: Taken, launch_dir: Path) -> Iterator[str]:
    """What to say of files that parameters name, and that have changed or are gone."""
    was = {i.given: i for i in before if i.kept is None}
    for i in now.inputs:
        old = was.get(i.given) if i.kept is None else None
        if old is not None and (i.digest, i.size) != (old.digest, old.size):
            yield f"{i.given} ({i.option}) has changed since the last attempt"
    for old in was.values():
        if _difference(old, launch_dir, changes=False):
            yield f"{old.given} ({old.option}) is gone"


def write(taken: Taken, attempt_dir: Path) -> None:
    """Keep the inputs of an attempt. Raises OSError."""
    if not taken.inputs:
        return
    folder = attempt_dir / FOLDER
    folder.mkdir(exist_ok=True)
    for name, content in taken.data:
        durable.write(folder / name, content)
        os.chmod(folder / name, 0o600)  # parameters may hold secrets
    durable.write(folder / LIST, json.dumps([asdict(i) for i in taken.inputs]).encode())


def used(options: RunOptions, attempt_dir: Path, launch_dir: Path) -> RunOptions:
    """The options with the kept files in place of those that are gone, changed, or cannot be read again."""
    kept = {(i.option, i.given): i for i in read(attempt_dir) if i.kept is not None}

    def usable(pieces: Iterable[Option]) -> tuple[Option, ...]:
        return tuple(_used(piece, kept, attempt_dir, launch_dir) for piece in pieces)

    return replace(options, pieces=usable(options.pieces), before=usable(options.before))


def _used(piece: Option, kept: dict[tuple[str, str], Input], attempt_dir: Path, launch_dir: Path) -> Option:
    if piece.value is None:
        return piece
    made = []
    for given in _split(piece.name, piece.value):
        known = kept.get((piece.name, given))
        if known is not None and known.kept and (known.transient or _difference(known, launch_dir)):
            given = str(attempt_dir / FOLDER / known.kept)
        made.append(given)
    value = ",".join(made)
    return piece if value == piece.value else Option(piece.name, value, (piece.name, value))


def _files(options: RunOptions) -> Iterator[tuple[str, str]]:
    """Each option that names a file of parameters or configuration, and that file; parameters that are pipes.

    The head has none of the descriptors of a launch: there the number is that of another file, or of none.
    """
    for piece in (*options.before, *options.pieces):
        if piece.value and piece.name in _options(options):
            for given in _split(piece.name, piece.value):
                if "://" not in given:
                    yield piece.name, given
        elif piece.value and piece.name.startswith("--") and _DESCRIPTOR.fullmatch(piece.value):
            yield piece.name, piece.value


def _options(options: RunOptions) -> tuple[str, ...]:
    """The options that name files. `--params-file` is a parameter of its own for a Nextflow pipeline."""
    python = options.pipeline is not None and python_workflow(options.pipeline) is not None
    return (*_CONFIGURATION, *(_PARAMS_FILE if python else _PARAMS_FILE[:1]))


def _split(option: str, value: str) -> list[str]:
    return value.split(",") if option in _CONFIGURATION else [value]


def _read(option: str, given: str, launch_dir: Path) -> tuple[bytes, bool]:
    path = launch_dir / given
    if _DESCRIPTOR.fullmatch(given) and option.startswith("--"):
        return _read_descriptor(option, given), True
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
        return path.read_bytes(), not regular
    except OSError as e:
        what = "params file" if option in _PARAMS_FILE else "configuration file"
        hint = f"{option} takes a {'JSON or YAML file' if option in _PARAMS_FILE else 'file'}"
        raise NotFound(f"there is no {what} {given!r}: {e.strerror}", hint) from None


def _read_descriptor(option: str, given: str) -> bytes:
    try:
        with open(given, "rb") as file:
            content = file.read(MAX_PIPED + 1)
    except OSError as e:
        raise NotFound(f"{option} {given} cannot be read: {e.strerror}") from None
    if len(content) > MAX_PIPED:
        raise UsageError(f"{option} is a pipe of more than {MAX_PIPED // 1_000_000} MB",
                         "write it into a file, and name that")
    return content


def _with_whole_paths(config: bytes, folder: Path) -> bytes:
    """A configuration whose includes are found from another folder too: Nextflow looks beside the file."""
    def whole(match: re.Match[bytes]) -> bytes:
        path = match[3] if b"://" in match[3] else os.fsencode(folder) + b"/" + match[3]
        return match[0] if match[3].startswith(b"/") else match[1] + match[2] + path + match[2]

    return _INCLUDE.sub(whole, config)


def _name(option: str, given: str, content: bytes) -> str:
    """A name for a kept file. Nextflow knows JSON from YAML by the ending."""
    name = Path(given).name
    if option.startswith("--") and option not in _PARAMS_FILE:
        return name
    if option in _CONFIGURATION:
        return name if name.endswith(".config") else f"{name}.config"
    if name.endswith((".json", ".yml", ".yaml")):
        return name
    try:
        json.loads(content)
    except ValueError:
        return f"{name}.yml"
    return f"{name}.json"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _difference(old: Input, launch_dir: Path, *, changes: bool = True) -> str | None:
    """How a file differs from what it was: it is gone, or has changed (with `changes`). None: it does not."""
    if old.transient or "://" in old.given:
        return None
    path = launch_dir / old.given
    try:
        found = path.stat()
    except OSError:
        return f"{old.given} is gone"
    if not changes:
        return None
    if found.st_size == old.size and (old.digest is None or _digest(regular.content(path)) == old.digest):
        return None
    return f"{old.given} has changed since the last attempt"


def _named_files(options: RunOptions, taken: Taken, launch_dir: Path) -> list[Input]:
    """The files that parameters name, such as a samplesheet."""
    found: dict[str, Input] = {}
    for name, value in _values(options, taken):
        if len(found) >= MAX_NAMED or value in found or not value or len(value) > 4096 or "\0" in value:
            continue
        path = launch_dir / value
        try:
            known = path.stat()
            if stat.S_ISREG(known.st_mode):
                small = known.st_size <= MAX_DIGESTED
                found[value] = Input(name, value, None, _digest(regular.content(path)) if small else None,
                                     known.st_size)
        except OSError:
            continue
    return list(found.values())


def _values(options: RunOptions, taken: Taken) -> Iterator[tuple[str, str]]:
    for option in options.after:
        if option.name.startswith("--") and option.value:
            yield option.name, option.value
    content = taken.named(*_PARAMS_FILE)
    if content is not None:
        for name, value in _flat(params(content)):
            yield f"--{name}", value


def _flat(values: Any, name: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, str):
        yield name, values


def check_json(options: RunOptions, taken: Taken) -> None:
    """Raise UsageError for a params file of a Python workflow that ends in .json and is not JSON.

    That of a Nextflow pipeline is Nextflow's to judge: it accepts `{"x": 1,}`, for example.
    """
    if options.pipeline is None or python_workflow(options.pipeline) is None:
        return
    given = options.value("-params-file")
    content = taken.named("-params-file")
    if given is None or content is None or not given.endswith(".json"):
        return
    try:
        json.loads(content)
    except ValueError as e:
        raise UsageError(f"{given} is not JSON: {e}", "fix the file") from None

