"""Decide for each call whether an earlier result is reused, from its key, the journal and the task cache.

The head must not block on large files. So a helper process digests the workflow's input files, each worker
has digested what its task wrote, and a worker restores cache entries that have files.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from nfresume.tasks import digests, keys, promises, values, worker
from nfresume.tasks.cache import Absent, Cache, Entry, Miss, nearest_to
from nfresume.tasks.graph import Node, State
from nfresume.tasks.inputs import is_output
from nfresume.tasks.journal import Journal, Record, changed_output
from nfresume.tasks.keys import Key
from nfresume.tasks.recording import Log

Decision = Literal["run", "restore", "reused", "ignored", "wait"]


class Reuse:
    """Decides for each call whether it is reused or run, and says why."""

    def __init__(
        self, journal: Journal, cache: Cache, work: Path, log: Log, selector: selectors.BaseSelector, *,
        resume: bool,
    ) -> None:
        self._journal = journal
        self._cache = cache
        self._work = work
        self._log = log
        self._selector = selector
        self._resume = resume
        self._turns: Counter[str] = Counter()  # calls by digest of their key
        self._digests: dict[str, str] = {}  # by path
        self._stamps: dict[str, str] = {}  # of the files that the helper has read, by path
        self._problems: dict[str, str] = {}  # why a path cannot be read, by path
        self._helper: subprocess.Popen[bytes] | None = None
        self._unsent = b""  # questions to the helper
        self._incomplete = b""  # the last line from the helper, as far as it was read
        self._misses: dict[Node, str] = {}  # why the journal's result cannot be reused
        self._newest: dict[str, list[Entry]] = {}  # cache entries by task, read once
        self._parked: dict[Node, int] = {}  # for how many digests each node waits
        self._waiting: dict[str, list[Node]] = {}  # nodes by the path whose digest they wait for

    # -- keys -----------------------------------------------------------------------------------

    def decide(self, node: Node) -> Decision:
        """Decide about a call whose dependencies are all done.

        "reused": it has its result. "restore": a worker must copy the cache entry. "run": it must run.
        "ignored": it failed in an earlier attempt, and its map succeeded without it.
        "wait": digests are missing; `read_answers` returns the node when they are there. Raises OSError,
        TypeError, LookupError, ValueError or values.Unreadable for inputs that cannot be read.
        """
        if node.key is None and not self._make_key(node):
            return "wait"
        assert node.key is not None
        task = node.task
        assert task is not None
        if node.key.unkeyed:
            if task.cache or self._resume:
                self._say(f"{node.name} runs: it is never reused: {node.key.unkeyed}")
            return "run"
        if node.always:
            return "run"
        if self._ignored_before(node):
            self._say(f"{node.name} is not tried again: it failed, and its map succeeded without it")
            return "ignored"
        if self._from_journal(node):
            return "reused"
        if task.cache:
            return self._from_cache(node)
        self._explain(node, None)
        return "run"

    def _make_key(self, node: Node) -> bool:
        """Compute the node's key. False: digests are missing, and the node was parked."""
        task = node.task
        assert task is not None
        unknown: list[str] = []
        asked: set[str] = set()

        def digest_path(path: Path) -> str:
            text = str(path)
            asked.add(text)
            if text in self._problems:
                raise OSError(0, self._problems[text])
            if text not in self._digests:
                unknown.append(text)
            return self._digests.get(text, "")

        found = {name: self._digest(value, task.hints.get(name, Any), digest_path)
                 for name, value in node.inputs.items() if name not in task.ignored}
        if unknown:
            self._park(node, set(unknown))
            return False
        shown = {name: "" if isinstance(value, promises.Promise) else keys.show(value)
                 for name, value in node.inputs.items() if name not in task.ignored}
        node.key = key = keys.of_call(self._cache.account, task, found, shown)
        node.read = {path: (self._stamps[path], self._digests[path]) for path in asked & self._stamps.keys()}
        node.turn = self._turns[key.digest]
        self._turns[key.digest] += 1
        return True

    def _digest(self, value: Any, kind: Any, digest_path: digests.PathDigest) -> str:
        if isinstance(value, promises.Promise) and not is_output(kind):
            node: Node = value._node
            if (known := node.digest(value._path)) is not None:
                return known
        return digests.of_value(promises.resolve(value, lambda node: node.value()), kind, digest_path)

    # -- the helper -----------------------------------------------------------------------------

    def _park(self, node: Node, paths: set[str]) -> None:
        """Let the node wait until the helper has digested all of these paths."""
        self._parked[node] = len(paths)
        new = [path for path in paths if path not in self._waiting]
        for path in paths:
            self._waiting.setdefault(path, []).append(node)
        self._ask(new)

    def _ask(self, paths: list[str]) -> None:
        if self._helper is None:
            self._helper = subprocess.Popen([sys.executable, "-P", "-m", "nfresume.tasks.digests"],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._helper.stdout is not None
            assert self._helper.stdin is not None
            os.set_blocking(self._helper.stdin.fileno(), False)
            self._selector.register(self._helper.stdout, selectors.EVENT_READ, "digests")
        self._unsent += b"".join(json.dumps(path).encode() + b"\n" for path in paths)
        self._send()

    def _send(self) -> None:
        """Write as much as the pipe takes. Writing more would block, and could deadlock with the helper."""
        assert self._helper is not None
        assert self._helper.stdin is not None
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                self._unsent = self._unsent[os.write(self._helper.stdin.fileno(), self._unsent):]

    def read_answers(self) -> list[Node]:
        """Read digests from the helper. Returns the nodes that now have all of theirs.

        Raises OSError when the helper has died.
        """
        assert self._helper is not None
        assert self._helper.stdout is not None
        data = os.read(self._helper.stdout.fileno(), 65536)
        if not data:
            raise OSError("the process that reads the inputs has died")
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        free: list[Node] = []
        for answer in map(json.loads, lines):
            path = answer["path"]
            if "error" in answer:
                self._problems[path] = f"{path}: {answer['error']}"
            else:
                self._digests[path], self._stamps[path] = answer["digest"], answer["stamp"]
            for node in self._waiting.pop(path, ()):
                self._parked[node] -= 1
                if not self._parked[node]:
                    del self._parked[node]
                    free.append(node)
        self._send()
        return free

    # -- results --------------------------------------------------------------------------------

    def keep_failure(self, node: Node) -> None:
        """Add an ignored element of a map that has succeeded to the journal."""
        if node.state is not State.IGNORED or node.key is None or node.key.unkeyed or node.always:
            return
        self._journal.add(Record(node.key, node.call, node.turn, str(node.task_dir or ""), 0.0, _map(node)))

    def _ignored_before(self, node: Node) -> bool:
        """True for an element that a relaunch does not try again. A map with another rule tries it."""
        assert node.key is not None
        if not self._resume or node.within is None:
            return False
        record = self._journal.find(node.key, node.turn)
        assert node.within.elements is not None
        return record is not None and record.ignored == _map(node) and node.within.elements.spare > 0

    def _from_journal(self, node: Node) -> bool:
        assert node.key is not None
        if not self._resume or (record := self._journal.find(node.key, node.turn)) is None or record.ignored:
            return False
        try:
            result = json.loads((Path(record.task_dir) / worker.RESULT).read_bytes())
            problem = changed_output(result)
            values.check(result["outputs"])
        except (OSError, ValueError, KeyError):
            problem = "its result is gone"
        except values.Unreadable as e:
            problem = f"its result cannot be read: {e}"
        if problem is not None:
            self._misses[node] = problem
            return False
        self._set_result(node, Path(record.task_dir), result)
        if record.call != node.call:
            self._journal.add(Record(node.key, node.call, node.turn, record.task_dir, record.seconds))
        return True

    def _from_cache(self, node: Node) -> Decision:
        assert node.key is not None
        try:
            entry = self._cache.find(node.key)
            if entry.files:
                return "restore"
            values.decode(entry.outputs)
        except Absent:
            self._explain(node, self._difference_from_nearest(node.key))
            return "run"
        except (Miss, values.Unreadable) as e:
            self.explain_miss(node, str(e))
            return "run"
        task_dir = self._work / task_dir_name(f"{node.key.digest}:{node.turn}:cached")
        task_dir.mkdir(parents=True, exist_ok=True)
        result = {"outputs": entry.outputs, **entry.result, "places": {}, "stamps": {},
                  "source": f"cached by {entry.execution}"}
        (task_dir / worker.RESULT).write_bytes(values.dumps(result))
        self._cache.mark_used(entry)
        self._set_result(node, task_dir, result)
        self._journal.add(Record(node.key, node.call, node.turn, str(task_dir), entry.seconds))
        return "reused"

    def _set_result(self, node: Node, task_dir: Path, result: Mapping[str, Any]) -> None:
        node.task_dir, node.result = task_dir, result
        self._digests.update(result["places"])
        self._log.cached(shown_hash(task_dir), node.name)

    def take_result(self, node: Node, seconds: float) -> None:
        """Read the result that a worker has written, and add it to the journal. It ran for `seconds`."""
        assert node.task_dir is not None
        assert node.key is not None
        node.result = json.loads((node.task_dir / worker.RESULT).read_bytes())
        self._digests.update(node.result["places"])
        if node.result["source"]:
            self._log.cached(shown_hash(node.task_dir), node.name)
        if changed := node.result.get("changed"):
            self._say(f"{node.name} is not reused later: its input {changed} has changed since the run began")
        elif not node.key.unkeyed:
            self._journal.add(Record(node.key, node.call, node.turn, str(node.task_dir), seconds))

    # -- why ------------------------------------------------------------------------------------

    def explain_miss(self, node: Node, why: str) -> None:
        """Say that a call runs because its cache entry cannot be used."""
        self._explain(node, f"not from the cache: {why}")

    def _explain(self, node: Node, cache: str | None) -> None:
        """Say why a call runs, if it could have been reused. `cache` is the cache's reason, if any."""
        assert node.key is not None
        task = node.task
        assert task is not None
        why = self._misses.get(node)
        if why is None and self._resume:
            before = self._journal.find_call(task.name, node.call)
            if before is None:
                why = "it had not finished before"
            else:
                why = "; ".join(keys.differences(before.key, node.key))
        if why := why or cache:
            self._say(f"{node.name} runs: {why}")

    def _say(self, text: str) -> None:
        self._log.line(text)
        print(f"nfresume: {text}", file=sys.stderr, flush=True)

    def _difference_from_nearest(self, key: Key) -> str | None:
        """What differs from the nearest cache entry; None for a task without entries."""
        if key.task not in self._newest:
            self._newest[key.task] = self._cache.newest(key.task)
        nearest = nearest_to(key, self._newest[key.task])
        if nearest is None:
            return None
        return f"not from the cache: {'; '.join(keys.differences(nearest.key, key))}"

    def close(self) -> None:
        """Close the journal, and end the helper."""
        self._journal.close()
        if self._helper is not None:
            assert self._helper.stdin is not None
            self._helper.stdin.close()
            self._helper.kill()
            self._helper.wait()


def _map(node: Node) -> str:
    """The number of elements of a node's map, and its rule: as the journal compares them."""
    assert node.within is not None
    assert node.within.elements is not None
    return f"{node.within.elements.total}: {node.within.elements.rule}"


def task_dir_name(identity: str) -> str:
    """The path of a task dir within the work dir, in Nextflow's form: `ab/cdef01...`."""
    digest = digests.of_text(identity)
    return f"{digest[:2]}/{digest[2:]}"


def shown_hash(task_dir: Path) -> str:
    """The short hash of a task dir, as in Nextflow's log: `ab/cdef01`."""
    return f"{task_dir.parent.name}/{task_dir.name[:6]}"
