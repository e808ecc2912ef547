"""The process of one task: let a child call the function, keep the result, tell the head.

It is a fork of the head, or `python -m nfresume.tasks.worker DIR`, where DIR is the task dir. It reads its
order from DIR/.command.json. Its result DIR/.result.json is complete or absent. Exit status 0 means that the
result is there.

The function is called in a child of it (`calling`), which may see another file system. The worker itself sees
what everyone sees: it publishes, and stores in the task cache.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nfresume.system import crashpoints, durable, namespaces, processes
from nfresume.tasks import (
    calling,
    checkpoints,
    claims,
    digests,
    gpus,
    keys,
    scratch,
    task_files,
    values,
    working,
)
from nfresume.tasks.cache import Cache, Entry, Miss
from nfresume.tasks.calling import ANSWER, NOT_ISOLATED
from nfresume.tasks.containers import Container
from nfresume.tasks.declaring import Task, declared_tasks
from nfresume.tasks.keys import Key
from nfresume.tasks.outputs import OUTPUTS
from nfresume.tasks.remote import DOWNLOADS
from nfresume.tasks.views import INPUTS, PRIVATE, Wish

ORDER, RESULT, MISS = ".command.json", ".result.json", ".miss"
_STOPPING = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Order:
    """What a worker has to do. `inputs` are encoded. `restore`: copy the cache entry, do not run the task.

    `outputs`: paths that it gets as places for output. `places`: folders outside of its task dir where it may
    write for all to see. `project`: the folder of the workflow's package, if it has one. `isolate`: give the
    task a file system of its own, if possible. `checkpoint`: the name of what it keeps for its next try.
    `gpus`: those that it may use; empty: it asked for none, or there are none. `container`: the fields of the
    Container that it runs in. `read`: stamps and digests of its input files, as its key has them.
    """

    file: str
    task: int
    key: Key
    inputs: dict[str, Any]
    account_folder: str
    execution: str
    output: str
    restore: bool = False
    outputs: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    project: str = ""
    isolate: bool = True
    cache: bool = False
    cache_serialize: bool = False
    checkpoint: str = ""
    gpus: tuple[str, ...] = ()
    container: Mapping[str, str] | None = None
    read: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def write(self, task_dir: Path) -> None:
        """Write the order into the task dir."""
        data = {**vars(self), "key": self.key.json()}
        (task_dir / ORDER).write_bytes(values.dumps(data))


def read_order(task_dir: Path) -> Order:
    """The order in a task dir."""
    data = json.loads((task_dir / ORDER).read_bytes())
    return Order(**{**data, "key": keys.of_json(data["key"])})


def perform(task_dir: Path, order: Order, load: Callable[[], Task]) -> int:
    """Carry out the order in its task dir. `load` gives the task. Returns the exit status."""
    os.chdir(task_dir)
    os.environ["NFRESUME_EXECUTION"] = order.execution
    if order.gpus:
        os.environ[gpus.VARIABLE] = ",".join(order.gpus)
    os.environ[checkpoints.VARIABLE] = str(task_dir.parent.parent / checkpoints.FOLDER / order.checkpoint)
    try:
        if order.restore:
            return _restore(task_dir, order, load)
        if not order.cache_serialize or order.key.unkeyed:
            return _run(task_dir, order, load)
        with Cache(Path(order.account_folder), order.key.account).lock(order.key):
            if _restore(task_dir, order, load) == 0:
                return 0
            return _run(task_dir, order, load)
    except (OSError, ValueError) as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr, flush=True)
        return 1


def wish_of(task_dir: Path, order: Order) -> Wish:
    """What the task of an order needs."""
    files = (path for value in order.inputs.values() for path in calling.input_paths(value))
    project, output = Path(order.project) if order.project else None, Path(order.output)
    return Wish(task_dir, tuple(path for path in files if path not in order.outputs), order.places,
                scratch.of(task_dir), (str(Path(order.file).parent), *filter(None, sys.path)),
                project, output.name if output.parent == project else None)


def _in_container(wish: Wish, order: Order) -> int:
    """The exit status of a task that runs in a container. It sees its inputs, but cannot write to them."""
    assert order.container is not None
    words = [sys.executable, "-P", "-m", "nfresume.tasks.contained", str(wish.task_dir)]
    kept = [wish.work / name for name in (DOWNLOADS, checkpoints.FOLDER)]
    for folder in kept:
        folder.mkdir(exist_ok=True)
    known = [path for path in (*wish.inputs, *wish.needed) if Path(path).exists()]
    command = Container(**order.container).command(
        words, wish.task_dir, [*wish.shared, *map(str, kept)], [*known, str(wish.work)], tuple(order.gpus))
    return subprocess.run(command, stdin=subprocess.DEVNULL).returncode


def _run(task_dir: Path, order: Order, load: Callable[[], Task]) -> int:
    wish = wish_of(task_dir, order)
    try:
        code = _in_container(wish, order) if order.container else _in_child(
            lambda: calling.call(task_dir, wish, order.inputs, load, isolate=order.isolate))
        if not order.container and (task_dir / NOT_ISOLATED).exists():
            _clear(wish)
            code = _in_child(lambda: calling.call(task_dir, wish, order.inputs, load, isolate=False))
    finally:
        _clear(wish)
    if code < 0:
        _end_likewise(code)
    if code != 0:
        return code
    if not (task_dir / ANSWER).exists():
        print("its process ended before its function had returned (os._exit, exec)", file=sys.stderr)
        return 1
    answer = json.loads((task_dir / ANSWER).read_bytes())
    changed = _changed(order)
    if order.cache and not order.key.unkeyed and not changed:
        try:
            Cache(Path(order.account_folder), order.key.account).put(
                order.key, answer["outputs"], answer["result"], answer["seconds"], order.execution)
        except OSError as e:
            print(f"nfresume: not cached: {e}", file=sys.stderr)
    if (other := claims.claim(task_dir, answer["elsewhere"], answer["began"])) is not None:
        for each in (task_dir, other):
            _spoil(each)
        print(f"a call of {read_order(other).key.task} wrote {', '.join(answer['elsewhere'])} meanwhile: let "
              "each write to a file of its own, such as one in its working folder, or launch with --jobs 1",
              file=sys.stderr)
        return 1
    _publish(answer["outputs"], Path(order.output))
    result = {**answer["result"], "changed": changed}
    _write_result(task_dir, answer["outputs"], result, answer["places"], None)
    return 0


def _changed(order: Order) -> str:
    """An input that is not what it was when the key was made, so the result is not the key's; else empty."""
    for path, (stamp, digest) in order.read.items():
        try:
            same = task_files.stamp(Path(path)) == stamp or digests.of_path(Path(path)) == digest
        except OSError:
            same = False
        if not same:
            return path
    return ""


def _spoil(task_dir: Path) -> None:
    """Let nobody reuse the result in a task dir."""
    order = read_order(task_dir)
    if order.cache and not order.key.unkeyed:
        Cache(Path(order.account_folder), order.key.account).forget(order.key)
    claims.spoil(json.loads((task_dir / ANSWER).read_bytes())["elsewhere"])


def _in_child(run: Callable[[], int]) -> int:
    """The exit status of `run` in a child of this process; negative for a signal that ended it.

    A signal that stops the task goes to its process group. This process waits for what the child makes of it.
    """
    processes.flush_streams()
    parent, before = os.getpid(), {number: signal.getsignal(number) for number in _STOPPING}
    for number in _STOPPING:
        signal.signal(number, lambda *_: None)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for number, handler in before.items():
                signal.signal(number, handler)
            namespaces.die_with_parent(parent)
            code = run()
        except BaseException:  # not the task's own: it has a handler
            traceback.print_exc()
        finally:
            processes.flush_streams()
            os._exit(code & 0xFF)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for number, handler in before.items():
        signal.signal(number, handler)
    return code


def _end_likewise(code: int) -> None:
    """End this process as its child has ended: by signal `-code`."""
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)


def _clear(wish: Wish) -> None:
    for folder in (wish.task_dir / INPUTS, wish.task_dir / PRIVATE, *wish.scratch):
        if folder.exists():
            scratch.remove(folder)
    working.tidy(wish)


def _restore(task_dir: Path, order: Order, load: Callable[[], Task]) -> int:
    cache = Cache(Path(order.account_folder), order.key.account)
    try:
        entry: Entry = cache.find(order.key)
        outputs, digest_by_path = cache.restore(entry, task_dir / OUTPUTS, digests.DigestIndex())
    except Miss as e:
        (task_dir / MISS).write_text(str(e))
        return 1
    if _in_child(lambda: _decodes(outputs, task_dir, load)) != 0:
        return 1
    _publish(outputs, Path(order.output))
    _write_result(task_dir, outputs, dict(entry.result), digest_by_path, f"cached by {entry.execution}")
    return 0


def _decodes(outputs: Any, task_dir: Path, load: Callable[[], Task]) -> int:
    """0 when a result can be decoded with the classes of the task's module; else the reason is written."""
    load()
    try:
        values.decode(outputs)
    except values.Unreadable as e:
        (task_dir / MISS).write_text(str(e))
        return 1
    return 0


def _publish(outputs: Any, output: Path) -> None:
    """Copy the outputs that have a remote path to the output folder. Those of S3 are uploaded by the head."""
    for path, remote in values.remote_paths(outputs):
        if Path(path).exists() and not remote.startswith("s3://"):
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
    task_dir = Path(sys.argv[1])
    order = read_order(task_dir)
    sys.exit(perform(task_dir, order, loader(order)))


def loader(order: Order) -> Callable[[], Task]:
    """Gives the task of an order in a process that has not loaded its file."""
    from nfresume.tasks import loading, waiting

    def load() -> Task:
        if order.task == waiting.NUMBER:
            return waiting.SLEEP
        loading.load(Path(order.file))
        task = declared_tasks[order.task] if order.task < len(declared_tasks) else None
        if task is None or task.name != order.key.task or (
                order.key.code_digest and order.key.code_digest != task.digest) or (
                order.key.code and order.key.helpers != task.helpers):
            sys.exit(f"{order.file} changed while the workflow ran")
        return task

    return load


if __name__ == "__main__":
    main()
