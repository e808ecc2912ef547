"""One task in a process of its own: inputs decoded, function called, outputs kept, result written.

Forked from a head that has one thread, or started afresh: `python -m nfresume.tasks.worker DIR`. Its order
is DIR/.command.json, its answer DIR/.result.json, whole or absent. The exit status is 0 when that is there.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.system import crashpoints, durable
from nfresume.tasks import digests, keys, places, promises, values
from nfresume.tasks.cache import Cache, Entry, Miss
from nfresume.tasks.declaring import Task, declared
from nfresume.tasks.keys import Key

ORDER, RESULT, VALUES, OUTPUTS = ".command.json", ".result.json", ".values", ".outputs"


@dataclass(frozen=True)
class Order:
    """What a worker is told. `inputs` are encoded; `restore` asks for the cached result only."""

    file: str
    task: int
    key: Key
    inputs: dict[str, Any]
    account_folder: str
    execution: str
    output: str
    restore: bool = False

    def write(self, place: Path) -> None:
        """Put it where its worker looks."""
        data = {**vars(self), "key": self.key.json()}
        (place / ORDER).write_bytes(values.dumps(data))


def read_order(place: Path) -> Order:
    """The order of a task dir."""
    data = json.loads((place / ORDER).read_bytes())
    return Order(**{**data, "key": keys.of_json(data["key"])})


def perform(place: Path, order: Order, task: Task) -> int:
    """Do what the order says in its task dir; returns the exit status."""
    promises.schedule(None)
    os.chdir(place)
    os.environ.update(task.environment)
    try:
        if order.restore:
            return _restore(place, order)
        if not task.cache_serialize:
            return _run(place, order, task)
        with Cache(Path(order.account_folder), order.key.account).alone(order.key):
            if _restore(place, order) == 0:
                return 0
            return _run(place, order, task)
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else 1
    except BaseException as e:  # whatever the task raises is its failure
        _tell(e)
        return 1


def _tell(error: BaseException) -> None:
    """The traceback, from the task's own code on."""
    frames = error.__traceback__
    ours = str(Path(__file__).parent)
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename.startswith(
            ours):
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames, file=sys.stderr)
    sys.stderr.flush()


def _run(place: Path, order: Order, task: Task) -> int:
    given: set[str] = set()
    inputs = {name: _input(value, given) for name, value in order.inputs.items()}
    began = time.monotonic()
    value: Any = task.function(**inputs)
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    seconds = time.monotonic() - began
    sys.stdout.flush()
    writer = values.Writer(place / VALUES)
    outputs = _kept(writer.encode(value), place, given)
    crashpoints.reach("task-ran")
    result, where = _describe(values.decode(outputs))
    _publish(outputs, Path(order.output))
    if task.cache:
        try:
            Cache(Path(order.account_folder), order.key.account).put(
                order.key, outputs, result, seconds, order.execution)
        except OSError as e:
            print(f"nfresume: not cached: {e}", file=sys.stderr)
    _answer(place, outputs, result, where, None)
    return 0


def _restore(place: Path, order: Order) -> int:
    cache = Cache(Path(order.account_folder), order.key.account)
    try:
        entry: Entry = cache.find(order.key)
        outputs, where = cache.restore(entry, place / OUTPUTS, digests.Memory())
        values.decode(outputs)
    except (Miss, values.Unreadable) as e:
        (place / ".miss").write_text(str(e))
        return 1
    _publish(outputs, Path(order.output))
    _answer(place, outputs, dict(entry.result), where, f"cached by {entry.execution}")
    return 0


def _input(value: Any, given: set[str]) -> Any:
    """A decoded input; one that is the result of another task is read from there. `given` takes its paths."""
    if isinstance(value, list):
        return [_input(item, given) for item in value]
    if isinstance(value, dict) and value.get("$") == "result":
        found = json.loads(Path(value["of"]).read_bytes())["outputs"]
        given.update(values.paths_in(found))
        return promises.take(values.decode(found), promises.path_of(value["path"]))
    given.update(values.paths_in(value))
    return values.decode(value)


def _kept(outputs: Any, place: Path, given: set[str]) -> Any:
    """Outputs that a task left elsewhere are copied into its dir: there nothing overwrites them. What it was
    given, and passes on, stays where it is."""
    where = {}
    for at, path in enumerate(dict.fromkeys(values.paths_in(outputs))):
        source = Path(path)
        if path not in given and source.exists() and place not in source.parents:
            target = place / OUTPUTS / str(at) / source.name
            places.copy(source, target)
            where[path] = str(target)
    return values.moved(outputs, where)


def _describe(value: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Digests of a value and its parts, and of the files and folders in it by path."""
    where: dict[str, str] = {}

    def place(path: Path) -> str:
        if str(path) not in where:
            where[str(path)] = digests.of_place(path)
        return where[str(path)]

    found = {"digest": digests.of_value(value, place=place), "parts": digests.parts_of(value, place)}
    return found, where


def _publish(outputs: Any, output: Path) -> None:
    """What has a remote path goes to the output folder now, as Latch uploads it after the task."""
    for path, remote in values.remotes_in(outputs):
        if Path(path).exists():
            places.publish(Path(path), places.published(path, remote, output))


def _answer(
    place: Path, outputs: Any, result: dict[str, Any], where: dict[str, str], source: str | None
) -> None:
    stamps = {path: places.stamp(Path(path)) for path in values.paths_in(outputs) if Path(path).exists()}
    answer = {"outputs": outputs, **result, "places": where, "stamps": stamps, "source": source}
    durable.write(place / RESULT, values.dumps(answer))
    crashpoints.reach("task-answered")


def main() -> None:
    """A fresh process for the task dir named in argv."""
    from nfresume.tasks import loading

    place = Path(sys.argv[1])
    order = read_order(place)
    loading.load(Path(order.file))
    sys.exit(perform(place, order, declared[order.task]))


if __name__ == "__main__":
    main()
