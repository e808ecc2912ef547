"""Which calls need not run: keys worked out, results of earlier attempts and of the cache looked up.

A head must stay awake, so it reads no files itself: a helper process digests what a workflow was given, each
task has digested what it wrote, and entries of the cache with files are restored by a worker.
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
from nfresume.tasks.graph import Node
from nfresume.tasks.inputs import is_output
from nfresume.tasks.journal import Journal, Record, changed
from nfresume.tasks.keys import Key
from nfresume.tasks.recording import Log

Decision = Literal["run", "restore", "reused", "wait"]


class Reuse:
    """Decides for each call, and says why."""

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
        self._turns: Counter[str] = Counter()
        self._known: dict[str, str] = {}  # digests by path
        self._problems: dict[str, str] = {}
        self._helper: subprocess.Popen[bytes] | None = None
        self._rest = self._questions = b""
        self._misses: dict[Node, str] = {}
        self._near: dict[str, list[Entry]] = {}  # by task, read once
        self._parked: dict[Node, int] = {}  # how many answers of the helper each waits for
        self._wanted: dict[str, list[Node]] = {}

    # -- keys -----------------------------------------------------------------------------------

    def decide(self, node: Node) -> Decision:
        """Once all that a call depends on is done; "wait" until `answered` returns it. Raises OSError,
        TypeError, LookupError, ValueError or values.Unreadable for inputs that cannot be read."""
        if node.key is None and not self._make_key(node):
            return "wait"
        assert node.key is not None
        if self._from_journal(node):
            return "reused"
        task = node.task
        assert task is not None
        if task.cache:
            return self._from_cache(node)
        self._explain(node, None)
        return "run"

    def _make_key(self, node: Node) -> bool:
        """False while the helper still reads."""
        task = node.task
        assert task is not None
        unknown: list[str] = []

        def place(path: Path) -> str:
            text = str(path)
            if text in self._problems:
                raise OSError(0, self._problems[text])
            if text not in self._known:
                unknown.append(text)
            return self._known.get(text, "")

        found = {name: self._digest(value, task.hints.get(name, Any), place)
                 for name, value in node.inputs.items()}
        if unknown:
            self._park(node, set(unknown))
            return False
        shown = {name: "" if isinstance(value, promises.Promise) else keys.show(value)
                 for name, value in node.inputs.items()}
        node.key = key = keys.of_call(self._cache.account, task, found, shown)
        node.turn = self._turns[key.digest]
        self._turns[key.digest] += 1
        return True

    def _digest(self, value: Any, kind: Any, place: digests.Place) -> str:
        if isinstance(value, promises.Promise) and not is_output(kind):
            node: Node = value._node
            if (known := node.digest(value._path)) is not None:
                return known
        return digests.of_value(promises.resolve(value, lambda node: node.value()), kind, place)

    # -- the helper -----------------------------------------------------------------------------

    def _park(self, node: Node, paths: set[str]) -> None:
        """Until the helper has said what is at each of these paths."""
        self._parked[node] = len(paths)
        new = [path for path in paths if path not in self._wanted]
        for path in paths:
            self._wanted.setdefault(path, []).append(node)
        self._ask(new)

    def _ask(self, paths: list[str]) -> None:
        if self._helper is None:
            self._helper = subprocess.Popen([sys.executable, "-P", "-m", "nfresume.tasks.digests"],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._helper.stdout is not None
            assert self._helper.stdin is not None
            os.set_blocking(self._helper.stdin.fileno(), False)
            self._selector.register(self._helper.stdout, selectors.EVENT_READ, "digests")
        self._questions += b"".join(json.dumps(path).encode() + b"\n" for path in paths)
        self._send()

    def _send(self) -> None:
        """As much as the pipe takes: the helper must not wait for us to read while we wait for it."""
        assert self._helper is not None
        assert self._helper.stdin is not None
        with contextlib.suppress(BlockingIOError):
            while self._questions:
                self._questions = self._questions[os.write(self._helper.stdin.fileno(), self._questions):]

    def answered(self) -> list[Node]:
        """Take in what the helper says; the calls that need not wait any more."""
        assert self._helper is not None
        assert self._helper.stdout is not None
        data = os.read(self._helper.stdout.fileno(), 65536)
        if not data:
            raise OSError("the process that reads the inputs has died")
        *lines, self._rest = (self._rest + data).split(b"\n")
        free: list[Node] = []
        for answer in map(json.loads, lines):
            path = answer["path"]
            if "error" in answer:
                self._problems[path] = f"{path}: {answer['error']}"
            else:
                self._known[path] = answer["digest"]
            for node in self._wanted.pop(path, ()):
                self._parked[node] -= 1
                if not self._parked[node]:
                    del self._parked[node]
                    free.append(node)
        self._send()
        return free

    # -- results --------------------------------------------------------------------------------

    def _from_journal(self, node: Node) -> bool:
        assert node.key is not None
        if not self._resume or (record := self._journal.find(node.key, node.turn)) is None:
            return False
        try:
            result = json.loads((Path(record.place) / worker.RESULT).read_bytes())
            problem = changed(result)
        except (OSError, ValueError, KeyError):
            problem = "its result is gone"
        if problem is not None:
            self._misses[node] = problem
            return False
        self._use(node, Path(record.place), result)
        if record.call != node.call:
            self._journal.add(Record(node.key, node.call, node.turn, record.place, record.seconds))
        return True

    def _from_cache(self, node: Node) -> Decision:
        assert node.key is not None
        try:
            entry = self._cache.find(node.key)
            if entry.files:
                return "restore"
            values.decode(entry.outputs)
        except Absent:
            self._explain(node, self._nearest_in_words(node.key))
            return "run"
        except (Miss, values.Unreadable) as e:
            self.missed(node, str(e))
            return "run"
        place = self._work / task_dir(f"{node.key.digest}:{node.turn}:cached")
        place.mkdir(parents=True, exist_ok=True)
        result = {"outputs": entry.outputs, **entry.result, "places": {}, "stamps": {},
                  "source": f"cached by {entry.execution}"}
        (place / worker.RESULT).write_bytes(values.dumps(result))
        self._cache.used(entry)
        self._use(node, place, result)
        self._journal.add(Record(node.key, node.call, node.turn, str(place), entry.seconds))
        return "reused"

    def _use(self, node: Node, place: Path, result: Mapping[str, Any]) -> None:
        node.place, node.result = place, result
        self._known.update(result["places"])
        self._log.cached(shown_hash(place), node.name)

    def keep(self, node: Node, seconds: float) -> None:
        """A worker has answered: remember the result."""
        assert node.place is not None
        assert node.key is not None
        node.result = json.loads((node.place / worker.RESULT).read_bytes())
        self._known.update(node.result["places"])
        if node.result["source"]:
            self._log.cached(shown_hash(node.place), node.name)
        self._journal.add(Record(node.key, node.call, node.turn, str(node.place), seconds))

    # -- why ------------------------------------------------------------------------------------

    def missed(self, node: Node, why: str) -> None:
        """Its entry cannot be used: it runs instead."""
        self._explain(node, f"not from the cache: {why}")

    def _explain(self, node: Node, cache: str | None) -> None:
        """Say why a call runs, where somebody could have expected that it need not."""
        assert node.key is not None
        task = node.task
        assert task is not None
        why = self._misses.get(node)
        if why is None and self._resume:
            before = self._journal.before(task.name, node.call)
            if before is None:
                why = "it had not finished before"
            else:
                why = "; ".join(keys.differences(before.key, node.key))
        if why := why or cache:
            text = f"{node.name} runs: {why}"
            self._log.line(text)
            print(f"nfresume: {text}", file=sys.stderr, flush=True)

    def _nearest_in_words(self, key: Key) -> str | None:
        """What differs from the nearest entry; nothing for a task that was never cached."""
        if key.task not in self._near:
            self._near[key.task] = self._cache.newest(key.task)
        nearest = nearest_to(key, self._near[key.task])
        if nearest is None:
            return None
        return f"not from the cache: {'; '.join(keys.differences(nearest.key, key))}"

    def close(self) -> None:
        """The journal on disk, the helper gone."""
        self._journal.close()
        if self._helper is not None:
            assert self._helper.stdin is not None
            self._helper.stdin.close()
            self._helper.kill()
            self._helper.wait()


def task_dir(identity: str) -> str:
    """The path of a task dir in the work dir, as Nextflow makes them: two characters, then the rest."""
    digest = digests.of_text(identity)
    return f"{digest[:2]}/{digest[2:]}"


def shown_hash(place: Path) -> str:
    """`ab/cdef01`, as logs show it."""
    return f"{place.parent.name}/{place.name[:6]}"
