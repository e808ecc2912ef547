"""The process that calls a task's function, with a file system of its own where the system allows it.

It is a child of the worker. It decodes the inputs, calls the function, brings the outputs into the task dir,
and writes the answer, from which the worker makes the result.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nfresume_metadata import files

import nfresume
from nfresume.system import crashpoints, processes
from nfresume.tasks import (
    claims,
    cloud,
    coercion,
    copies,
    digests,
    isolation,
    outputs,
    promises,
    renaming,
    task_files,
    values,
    working,
)
from nfresume.tasks.copies import Copies
from nfresume.tasks.declaring import Task
from nfresume.tasks.isolation import NotPossible
from nfresume.tasks.outputs import BadOutput
from nfresume.tasks.remote import Remote
from nfresume.tasks.sharing import Sharing
from nfresume.tasks.views import INPUTS, ROOT, View, Wish

#: `NOT_ISOLATED` is there when the process cannot have a file system of its own, and has called nothing.
#: `PROBLEM` says in one line why the task failed, if its function has raised something.
ANSWER, VALUES, NOT_ISOLATED, PROBLEM = ".command.answer", ".values", ".command.shared", ".command.problem"
#: Where files of nfresume are.
_OURS = f"{Path(nfresume.__file__).parent}{os.sep}"
#: Iterators that give values only when asked: a result is the list of these.
_LAZY = (types.GeneratorType, map, filter, zip, enumerate)


def call(
    task_dir: Path, wish: Wish, inputs: dict[str, Any], load: Callable[[], Task], *, isolate: bool,
    alone: bool = False,
) -> int:
    """Call a task with encoded inputs, write its answer, and return the exit status.

    `load` gives the task; it is called in the task's file system. With `isolate` it may write the file
    NOT_ISOLATED instead: then a process must be started anew without it. `alone`: it has a file system of its
    own without that, in a container.
    """
    promises.schedule(None)
    wish.working.mkdir(exist_ok=True)
    try:
        view = isolation.enter(wish) if isolate else copies.of(wish)
    except NotPossible as e:
        print(f"nfresume: the task shares /root and /tmp with others: {e}", file=sys.stderr, flush=True)
        (task_dir / NOT_ISOLATED).write_text(str(e))
        return 1
    if not isolate:
        view.entries = working.of_image() if alone else working.programs(wish.project)
        working.link(wish.working, view.entries)
    os.chdir(ROOT if view.is_root else wish.working)
    os.environ["PWD"] = os.getcwd()
    try:
        sharing = None if isolate or alone else Sharing(wish)
        _answer(task_dir, wish, inputs, load(), view, sharing, alone=alone)
        return 0
    except SystemExit as e:
        why, code = _exited(e.code)
        print(why, file=sys.stderr, flush=True)
    except BadOutput as e:
        why, code = str(e), 1
        print(why, file=sys.stderr, flush=True)
    except BaseException as e:  # whatever the task raises is its failure
        why, code = "".join(traceback.format_exception_only(e)), 1
        print_traceback(e)
    with contextlib.suppress(OSError):
        (task_dir / PROBLEM).write_text(" ".join(why.split()), errors="backslashreplace")
    return code


def _answer(
    task_dir: Path, wish: Wish, inputs: dict[str, Any], task: Task, view: View, sharing: Sharing | None, *,
    alone: bool,
) -> None:
    os.environ.update(task.environment)
    os.environ.update(cloud.known_secrets(task.secrets))
    files.use(Remote(wish.work, lambda path: _for_task(path, task_dir, view)))
    originals: set[str] = set()
    given = {name: _input(value, view.staged, originals) for name, value in inputs.items()}
    linked = view.linked if isinstance(view, Copies) else []
    unstaged = [path for path in wish.inputs if path not in view.staged]
    unprotected = _stamps((*linked, *unstaged))
    began, began_ns = time.monotonic(), time.time_ns()
    with sharing or contextlib.nullcontext():
        with renaming.across_mounts():
            value: Any = task.call(given)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
            if isinstance(value, _LAZY):
                value = list(value)
        processes.finish()
        seconds = time.monotonic() - began
        try:
            value = coercion.as_result(value, task.hints.get("return", Any))
        except TypeError as e:
            raise BadOutput(str(e)) from None
        found = _encoded(value, task_dir, [*view.staged.values(), *unstaged])
        if sharing is not None and str(ROOT) in values.paths_in(found):
            raise BadOutput(f"its output {ROOT} is not its own here: return what it wrote in there")
        found, copied = _collected(found, wish, view, originals)
        elsewhere = claims.written(copied, wish, began_ns, alone=alone)
    _check_unchanged(unprotected)
    crashpoints.reach("task-ran")
    try:
        result, digest_by_path = _digest(values.decode(found))
    except values.Unreadable as e:
        raise BadOutput(f"its result cannot be passed on: {e}") from None
    # Only the worker that waits for this process reads it: it need not survive a crash of the host.
    (task_dir / ANSWER).write_bytes(values.dumps(
        {"outputs": found, "result": result, "places": digest_by_path, "seconds": seconds, "began": began_ns,
         "elsewhere": {path: copied[path] for path in elsewhere}}))


def _encoded(value: Any, task_dir: Path, seen: Iterable[str]) -> Any:
    """A result as JSON. `seen`: where the task sees its inputs.

    What got a remote path that is made of that of a local input is published under the same name.
    """
    def named(near: str) -> str | None:
        return next((f"latch:///{Path(path).name}{near[len(path):]}" for path in seen
                     if near.startswith(path)), None)

    writer = values.Writer(task_dir / VALUES, named)
    found = writer.encode(value)
    for name, each in writer.hidden.items():
        raise BadOutput(f"its result cannot be passed on: a {name} holds {each}, and only in a dataclass, a "
                        "NamedTuple or a collection files are kept")
    return found


def _collected(found: Any, wish: Wish, view: View, originals: set[str]) -> tuple[Any, dict[str, str]]:
    """Encoded outputs, with the paths by which everyone finds them, and the copies by the path of the output.

    The working folder is no longer /root.
    """
    found = values.replace_paths(found, working.places(found, wish, view))
    found = values.replace_paths(found, _unchanged(found, view, originals))
    found, copied = outputs.collect(
        found, wish.task_dir, working.folder(wish, view), originals, view.changed_file, view.entries)
    working.leave(wish, view)
    if view.is_root:
        found = values.replace_paths(found, working.kept(found, wish))
    return found, copied


def _for_task(path: Path, task_dir: Path, view: View) -> Path:
    """A view of a download that the task may change, or a copy where there can be no view."""
    if view.stage is not None:
        with contextlib.suppress(OSError):
            return view.stage(path)
    target = task_dir / INPUTS / path.parent.name / path.name
    if not target.exists():
        task_files.copy(path, target)
    return target


def _input(value: Any, staged: Mapping[str, str], originals: set[str]) -> Any:
    """Decode an input. The result of another task is read from its file.

    `staged`: where the task sees its files. Adds the paths before that to `originals`.
    """
    if isinstance(value, list):
        return [_input(item, staged, originals) for item in value]
    is_result = isinstance(value, dict) and value.get("$") == "result"
    found = json.loads(Path(value["of"]).read_bytes())["outputs"] if is_result else value
    originals.update(values.paths_in(found))
    decoded = values.decode(values.replace_paths(found, staged))
    return promises.take(decoded, promises.path_of(value["path"])) if is_result else decoded


def input_paths(value: Any) -> list[str]:
    """The local path of each file and folder in an encoded input."""
    if isinstance(value, list):
        return [path for item in value for path in input_paths(item)]
    if isinstance(value, dict) and value.get("$") == "result":
        value = json.loads(Path(value["of"]).read_bytes())["outputs"]
    return [path for _, path in values.typed_paths(value) if "://" not in path]


def _unchanged(found: Any, view: View, originals: set[str]) -> dict[str, str]:
    """The original path of each input that the task returns as it was, by the path that it saw."""
    paths = {path: view.original(path) for path in values.paths_in(found)}
    return {path: original for path, original in paths.items() if original in originals}


def _stamps(paths: Iterable[str]) -> dict[str, str]:
    return {path: task_files.stamp(Path(path)) for path in paths if Path(path).exists()}


def _check_unchanged(before: Mapping[str, str]) -> None:
    for path, stamp in before.items():
        if not Path(path).exists() or task_files.stamp(Path(path)) != stamp:
            raise BadOutput(f"its input {path} was changed while it ran: let the task change a copy of it")


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


def _exited(code: object) -> tuple[str, int]:
    """What to say after `sys.exit(code)`, which is a failure, as there is no result; and the exit status."""
    said = code if code not in (None, 0) and not isinstance(code, int) else f"sys.exit({code}) before the end"
    return str(said), code if isinstance(code, int) and code else 1


def print_traceback(error: BaseException) -> None:
    """Print the traceback without the frames of nfresume, unless there are no others."""
    found = traceback.TracebackException.from_exception(error)
    seen: set[int] = set()
    waiting: list[traceback.TracebackException | None] = [found]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            waiting += [each.__cause__, each.__context__, *(getattr(each, "exceptions", None) or ())]
            theirs = [frame for frame in each.stack if not frame.filename.startswith(_OURS)]
            each.stack = traceback.StackSummary.from_list(theirs or list(each.stack))
    print("".join(found.format()), end="", file=sys.stderr)
    processes.flush_streams()
