"""Which calls need not run: keys worked out, results of earlier attempts and of the cache looked up.

A head must stay awake, so it reads no files itself: a helper process digests what a workflow was given, each
task has digested what it wrote, and entries of the cache with files are restored by a worker.
"""

from __future__ import annotations

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
from nfresume.tasks.cache import Cache, Miss
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
        self._asked: set[str] = set()
        self._problems: dict[str, str] = {}
        self._helper: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._misses: dict[Node, str] = {}

    # -- keys -----------------------------------------------------------------------------------

    def decide(self, node: Node) -> Decision:
        """Once all that a call depends on is done. Raises what its inputs raise."""
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
            self._ask(unknown)
            return False
        shown = {name: "" if isinstance(value, promises.Promise) else keys.show(value)
                 for name, value in node.inputs.items()}
        node.key = key = Key(self._cache.account, task.name, task.signature_text, task.version or task.code,
                             found, not task.version, shown)
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

    @property
    def asking(self) -> bool:
        """True while the helper owes answers."""
        return bool(self._asked)

    def _ask(self, paths: list[str]) -> None:
        if self._helper is None:
            self._helper = subprocess.Popen([sys.executable, "-P", "-m", "nfresume.tasks.digests"],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._helper.stdout is not None
            self._selector.register(self._helper.stdout, selectors.EVENT_READ, "digests")
        assert self._helper.stdin is not None
        for path in paths:
            if path not in self._asked:
                self._asked.add(path)
                self._helper.stdin.write(json.dumps(path).encode() + b"\n")
        self._helper.stdin.flush()

    def answered(self) -> None:
        """Take in what the helper says."""
        assert self._helper is not None
        assert self._helper.stdout is not None
        data = os.read(self._helper.stdout.fileno(), 65536)
        if not data:
            raise OSError("the process that reads the inputs has died")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for answer in map(json.loads, lines):
            self._asked.discard(answer["path"])
            if "error" in answer:
                self._problems[answer["path"]] = f"{answer['path']}: {answer['error']}"
            else:
                self._known[answer["path"]] = answer["digest"]

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
        except (Miss, values.Unreadable) as e:
            self._explain(node, str(e))
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

    def keep(self, node: Node, seconds: float, *, cached: bool) -> None:
        """A worker has answered: remember the result."""
        assert node.place is not None
        assert node.key is not None
        node.result = json.loads((node.place / worker.RESULT).read_bytes())
        self._known.update(node.result["places"])
        if cached:
            self._log.cached(shown_hash(node.place), node.name)
        self._journal.add(Record(node.key, node.call, node.turn, str(node.place), seconds))

    # -- why ------------------------------------------------------------------------------------

    def missed(self, node: Node, why: str) -> None:
        """A worker could not restore an entry: it runs instead."""
        self._explain(node, why)

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
        if why is None and cache is not None:
            why = self._why_not_cached(node.key, cache)
        if why:
            text = f"{node.name} runs: {why}"
            self._log.line(text)
            print(f"nfresume: {text}", file=sys.stderr, flush=True)

    def _why_not_cached(self, key: Key, why: str) -> str | None:
        """In words: what differs from the nearest entry; nothing for a task that was never cached."""
        if "nothing with this key" not in why:
            return f"not from the cache: {why}"
        nearest = self._cache.nearest(key)
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
