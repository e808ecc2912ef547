"""What a workflow returned: its files go to the output folder, and all of it to standard output as JSON."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nfresume.system import trees
from nfresume.tasks import s3, task_files, values

#: Of a value that JSON does not know, the text is shown up to so many characters.
_MAX_TEXT = 4000
#: Arrays with at most so many elements are shown as lists.
_MAX_ELEMENTS = 1000


class NotPublished(Exception):
    """A result could not be published or uploaded, and the message says why. A relaunch tries it again."""


def upload(results: Iterable[Mapping[str, Any]]) -> None:
    """Upload the outputs of tasks that have a remote path on S3; of several with one path the last one.

    Raises NotPublished.
    """
    places = {remote: path for result in results for path, remote in values.remote_paths(result["outputs"])
              if remote.startswith("s3://")}
    for remote, path in places.items():
        began = time.monotonic()
        try:
            size = s3.upload(Path(path), remote)
        except OSError as e:
            raise NotPublished(f"a result cannot be uploaded: {e}") from None
        seconds = time.monotonic() - began
        print(f"nfresume: uploaded {remote}: {size} bytes in {seconds:.1f} s", file=sys.stderr, flush=True)


# -- outputs with a remote path ---------------------------------------------------------------------


def _targets(results: Iterable[Mapping[str, Any]], output: Path) -> list[tuple[Path, Path]]:
    """Each output of these results that has a remote path outside of S3, and where it is published."""
    return [(Path(path), task_files.publish_target(path, remote, output)) for result in results
            for path, remote in values.remote_paths(result["outputs"]) if not remote.startswith("s3://")]


def publish_again(
    reused: Iterable[Mapping[str, Any]], ran: Iterable[Mapping[str, Any]], output: Path
) -> None:
    """Publish the outputs of reused tasks where they are missing or differ. Each task that ran has published.

    What a task that ran has published is left alone. Raises NotPublished.
    """
    if not (pairs := _targets(reused, output)):
        return
    try:
        written = {target / each for source, target in _targets(ran, output) for each in _files(source)}
        for source, target in pairs:
            _publish_again(source, target, written)
    except OSError as e:
        raise NotPublished(f"a result cannot be published: {e}") from None


def _files(source: Path) -> list[str]:
    """The relative paths of the files of an output; of a file an empty one."""
    return [os.path.relpath(os.path.join(parent, name), source) for parent, _, names in trees.walk(source)
            for name in names] if source.is_dir() else [""]


def _publish_again(source: Path, target: Path, written: set[Path]) -> None:
    if not os.path.lexists(target):
        task_files.publish(source, target)
    elif source.is_dir():
        for entry in sorted(os.listdir(source)):
            _publish_again(source / entry, target / entry, written)
    elif target not in written and not (
            target.exists() and task_files.stamp(target) == task_files.stamp(source)):
        task_files.publish(source, target)


# -- what the workflow returned ---------------------------------------------------------------------


def publish(value: Any, results: Iterable[Mapping[str, Any]], work: Path, output: Path) -> None:
    """Publish what the workflow returned: files to the output folder, all as JSON to standard output.

    `results` are those of its tasks, whose outputs with remote paths are there already: no other file takes
    their names. Raises NotPublished.
    """
    encoded = values.Writer(work / ".outputs").encode(value)
    remotes = dict(values.remote_paths(encoded))
    taken = {place for _, target in _targets(results, output) for place in (target, *target.parents)}
    new_paths: dict[str, str] = {}
    for path in dict.fromkeys(values.paths_in(encoded)):
        if path.endswith(".pickle") and Path(path).parent == work / ".outputs":
            continue
        source = Path(path)
        if remotes.get(path, "").startswith("s3://"):
            new_paths[path] = remotes[path]  # the head has uploaded it
        elif path in remotes:
            new_paths[path] = str(task_files.publish_target(path, remotes[path], output))
        elif source.exists() and work in source.parents:
            target = _free(source, output, taken)
            taken.add(target)
            new_paths[path] = str(target)
            try:
                task_files.publish(source, target)
            except OSError as e:
                raise NotPublished(f"a result cannot be published: {e}") from None
    text = json.dumps(_plain(values.replace_paths(encoded, new_paths)), indent=2, ensure_ascii=False)
    # a name that is not UTF-8 has characters that cannot be printed
    print(re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text))


def _free(source: Path, output: Path, taken: set[Path]) -> Path:
    """A place in the output folder for a file or folder: its name, or else that with a number before it.

    A file does not go where a folder is, nor a folder where a file is.
    """
    names = itertools.chain([source.name], (f"{at}-{source.name}" for at in itertools.count(2)))
    return next(target for name in names if (target := output / name) not in taken
                and (not os.path.lexists(target) or target.is_dir() == source.is_dir()))


def _plain(value: Any) -> Any:
    """Encoded JSON without the tags, for people and scripts."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "path" in value:
        return value["path"]
    if value["$"] == "pickle":
        return _shown(values.unpickle(Path(value["file"]).read_bytes()))
    if value["$"] in ("dict", "OrderedDict", "Counter", "defaultdict"):
        return {str(_plain(k)): _plain(v) for k, v in value["v"]}
    if value["$"] in ("dataclass", "namedtuple"):
        return {k: _plain(v) for k, v in value["v"].items()}
    return _plain(value["v"])


def _shown(value: Any) -> Any:
    """What JSON does not know: numbers and small arrays of numpy as numbers and lists, the rest as text."""
    try:
        if hasattr(value, "tolist") and getattr(value, "size", 1) <= _MAX_ELEMENTS:
            listed = json.dumps(value.tolist(), default=str)
            return json.loads(listed, parse_constant=lambda number: repr(float(number)))
        text = str(value)
    except Exception:  # of its own code
        text = object.__repr__(value)
    text = f"<{type(value).__name__}>" if text == object.__repr__(value) else text
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
