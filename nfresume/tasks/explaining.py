"""Explain why a call of a task would be reused or run. The task's file is loaded in a child process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nfresume.domain.errors import UsageError
from nfresume.domain.executions import python_workflow
from nfresume.nextflow import options
from nfresume.system import asking
from nfresume.tasks import calls
from nfresume.tasks.inputs import as_json

#: Long, because inputs may be large files that are read for the first time.
TIMEOUT_SECONDS = 3600.0


def explain(task: str, words: tuple[str, ...], here: Path, account_folder: Path) -> dict[str, Any]:
    """Whether a call would be a hit in the task cache. `words` are its inputs, relative to the folder `here`.

    Returns the parts of the key by name, `hit`, `execution`, and for a miss `reason` and `differences` from
    the nearest entry. Raises UsageError for a bad task name or inputs, InvalidMetadata for a file that cannot
    be loaded.
    """
    if python_workflow(task) is None:
        raise UsageError(f"{task!r} does not name a task", "give the file and its task: assembly.py:trim")
    call = calls.of_options(options.parse([task, *words]), here)
    question = {"task": task, "inputs": as_json(call.inputs), "here": str(here),
                "folder": str(account_folder)}
    return asking.ask_about(task, __name__, question, TIMEOUT_SECONDS)


def _explain_call(question: dict[str, Any]) -> dict[str, Any]:
    from nfresume.tasks import digests, inputs, keys, loading
    from nfresume.tasks.cache import Cache, Miss, nearest_to

    here, folder = Path(question["here"]), Path(question["folder"])
    split = python_workflow(question["task"])
    assert split is not None
    task = loading.task(loading.load((here / split[0]).resolve()), split[1])
    try:
        given = inputs.of_workflow(task.function, inputs.of_json(question["inputs"]), here, task.hints)
    except inputs.BadInput as e:
        return {"input": str(e)}
    index = digests.DigestIndex()
    found = {name: digests.of_value(value, task.hints.get(name, Any),
                                    lambda path: digests.of_path(path, index))
             for name, value in given.items() if name not in task.ignored}
    key = keys.of_call(folder.name, task, found, {name: keys.show(value) for name, value in given.items()})
    cache = Cache(folder, folder.name)
    answer = {**key.json(), "key": key.digest, "hit": False, "execution": None, "reason": "",
              "differences": []}
    if key.unkeyed:
        return {**answer, "reason": f"it is never reused: {key.unkeyed}"}
    try:
        return {**answer, "hit": True, "execution": cache.find(key).execution}
    except Miss as e:
        nearest = nearest_to(key, cache.newest(key.task))
        reason = str(e) if task.cache else f"the task has no cache=True, and {e}"
        return {**answer, "reason": reason,
                "differences": keys.differences(nearest.key, key) if nearest else []}


def _explain_error(error: BaseException, question: dict[str, Any]) -> str:
    from nfresume.tasks import loading

    return loading.explain(error, question["task"], Path(question["here"]))


if __name__ == "__main__":
    asking.answer(_explain_call, _explain_error)
