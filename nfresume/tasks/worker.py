"""The process of one task: decode the inputs, call the function, write the result.

It is a fork of the head, or `python -m nfresume.tasks.worker DIR`, where DIR is the task dir. It reads its
order from DIR/.command.json. Its result DIR/.result.json is complete or absent. Exit status 0 means that the
result is there.
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
from nfresume.tasks import digests, keys, promises, task_files, values
from nfresume.tasks.cache import Cache, Entry, Miss
from nfresume.tasks.declaring import Task, declared_tasks
from nfresume.tasks.keys import Key
from nfresume.tasks.outputs import OUTPUTS, BadOutput, collect

ORDER, RESULT, VALUES = ".command.json", ".result.json", ".values"


@dataclass(frozen=True)
class Order:
    """What a worker has to do. `inputs` are encoded. `restore`: copy the cache entry, do not run the task."""

    file: str
    task: int
    key: Key
    inputs: dict[str, Any]
    account_folder: str
    execution: str
    output: str
    restore: bool = False

    def write(self, task_dir: Path) -> None:
        """Write the order into the task dir."""
        data = {**vars(self), "key": self.key.json()}
        (task_dir / ORDER).write_bytes(values.dumps(data))


def read_order(task_dir: Path) -> Order:
    """The order in a task dir."""
    data = json.loads((task_dir / ORDER).read_bytes())
    return Order(**{**data, "key": keys.of_json(data["key"])})


def perform(task_dir: Path, order: Order, task: Task) -> int:
    """Carry out the order in its task dir. Returns the exit status."""
    promises.schedule(None)
    os.chdir(task_dir)
    os.environ.update(task.environment)
    try:
        if order.restore:
            return _restore(task_dir, order)
        if not task.cache_serialize or order.key.unkeyed:
            return _run(task_dir, order, task)
        with Cache(Path(order.account_folder), order.key.account).lock(order.key):
            if _restore(task_dir, order) == 0:
                return 0
            return _run(task_dir, order, task)
    except SystemExit as e:
        return _exited(e.code)
    except BadOutput as e:
        print(e, file=sys.stderr, flush=True)
        return 1
    except BaseException as e:  # whatever the task raises is its failure
        _print_traceback(e)
        return 1


def _exited(code: object) -> int:
    """The exit status after `sys.exit(code)`, which is a failure: there is no result. A text is printed."""
    said = code if code not in (None, 0) and not isinstance(code, int) else f"sys.exit({code}) before the end"
    print(said, file=sys.stderr, flush=True)
    return code if isinstance(code, int) and code else 1


def _print_traceback(error: BaseException) -> None:
    """Print the traceback without the frames of this module."""
    frames = error.__traceback__
    ours = str(Path(__file__).parent)
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename.startswith(
            ours):
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames, file=sys.stderr)
    sys.stderr.flush()


def _run(task_dir: Path, order: Order, task: Task) -> int:
    input_paths: set[str] = set()
    inputs = {name: _input(value, input_paths) for name, value in order.inputs.items()}
    began = time.monotonic()
    value: Any = task.function(**inputs)
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    seconds = time.monotonic() - began
    sys.stdout.flush()
    writer = values.Writer(task_dir / VALUES)
    outputs = collect(writer.encode(value), task_dir, input_paths)
    crashpoints.reach("task-ran")
    result, digest_by_path = _digest(values.decode(outputs))
    _publish(outputs, Path(order.output))
    if task.cache and not order.key.unkeyed:
        try:
            Cache(Path(order.account_folder), order.key.account).put(
                order.key, outputs, result, seconds, order.execution)
        except OSError as e:
            print(f"nfresume: not cached: {e}", file=sys.stderr)
    _write_result(task_dir, outputs, result, digest_by_path, None)
    return 0


def _restore(task_dir: Path, order: Order) -> int:
    cache = Cache(Path(order.account_folder), order.key.account)
    try:
        entry: Entry = cache.find(order.key)
        outputs, digest_by_path = cache.restore(entry, task_dir / OUTPUTS, digests.DigestIndex())
        values.decode(outputs)
    except (Miss, values.Unreadable) as e:
        (task_dir / ".miss").write_text(str(e))
        return 1
    _publish(outputs, Path(order.output))
    _write_result(task_dir, outputs, dict(entry.result), digest_by_path, f"cached by {entry.execution}")
    return 0


def _input(value: Any, input_paths: set[str]) -> Any:
    """Decode an input. The result of another task is read from its file. Adds its paths to `input_paths`."""
    if isinstance(value, list):
        return [_input(item, input_paths) for item in value]
    if isinstance(value, dict) and value.get("$") == "result":
        found = json.loads(Path(value["of"]).read_bytes())["outputs"]
        input_paths.update(values.paths_in(found))
        return promises.take(values.decode(found), promises.path_of(value["path"]))
    input_paths.update(values.paths_in(value))
    return values.decode(value)


def _digest(value: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The digests of a value and its parts, and those of the files and folders in it by path."""
    digest_by_path: dict[str, str] = {}

    def digest_path(path: Path) -> str:
        if str(path) not in digest_by_path:
            digest_by_path[str(path)] = digests.of_path(path)
        return digest_by_path[str(path)]

    found = {"digest": digests.of_value(value, digest_path=digest_path),
             "parts": digests.parts_of(value, digest_path)}
    return found, digest_by_path


def _publish(outputs: Any, output: Path) -> None:
    """Copy the outputs that have a remote path to the output folder. Latch uploads them at this point."""
    for path, remote in values.remote_paths(outputs):
        if Path(path).exists():
            task_files.publish(Path(path), task_files.publish_target(path, remote, output))


def _write_result(
    task_dir: Path, outputs: Any, result: dict[str, Any], digest_by_path: dict[str, str], source: str | None
) -> None:
    stamps = {path: task_files.stamp(Path(path)) for path in values.paths_in(outputs) if Path(path).exists()}
    data = {"outputs": outputs, **result, "places": digest_by_path, "stamps": stamps, "source": source}
    durable.write(task_dir / RESULT, values.dumps(data))
    crashpoints.reach("task-answered")


def main() -> None:
    """Perform the order in the task dir that argv names."""
    from nfresume.tasks import loading

    task_dir = Path(sys.argv[1])
    order = read_order(task_dir)
    loading.load(Path(order.file))
    task = declared_tasks[order.task] if order.task < len(declared_tasks) else None
    if task is None or task.name != order.key.task or (
            order.key.code and not order.key.unkeyed and task.code != order.key.version):
        sys.exit(f"{order.file} changed while the workflow ran")
    sys.exit(perform(task_dir, order, task))


if __name__ == "__main__":
    main()
