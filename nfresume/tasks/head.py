"""The head of a Python workflow: what Nextflow's own process is to a pipeline.

`python -P -m nfresume.tasks.head ORDER WORDS...`, started by the same shim, in the same places, with the same
records. It calls the workflow's function, which gives a graph, runs what no earlier result answers, and
exits with 0 when all of it is done.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nfresume.domain.executions import python_workflow
from nfresume.nextflow import options
from nfresume.nextflow.command import LOG
from nfresume.tasks import calls, executing, inputs, loading, places, promises, recording, values
from nfresume.tasks.cache import Cache
from nfresume.tasks.calls import Order
from nfresume.tasks.declaring import Task, Workflow, rows
from nfresume.tasks.executing import BAD_INPUT, Executor
from nfresume.tasks.graph import Node, State
from nfresume.tasks.journal import Journal
from nfresume.tasks.promises import Promise
from nfresume.tasks.reusing import Reuse


class Failed(Exception):
    """A value was asked for that will never be there."""


class Stopped(BaseException):
    """SIGTERM: nothing of the user's may catch it."""


class Head:
    """Runs one graph; the scheduler behind every promise of it."""

    def __init__(self, order: Order, call: calls.Call) -> None:
        self._nodes: list[Node] = []
        self._calls: Counter[str] = Counter()
        self._ready: deque[Node] = deque()
        self._left = 0
        self.failed: list[Node] = []
        self.log = recording.Log(Path(order.attempt) / LOG)
        self._selector = selectors.DefaultSelector()
        self._wake, far = os.pipe()
        for fd in (self._wake, far):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(far, warn_on_full_buffer=False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        journal = Journal(Path(order.cache) / "cache" / order.session_id / "db")
        cache = Cache(Path(order.account_folder), order.account)
        self.reuse = Reuse(journal, cache, Path(order.work), self.log, self._selector, resume=order.resume)
        self.executor = Executor(order, call, self.log, self._selector)
        self._stop = False
        signal.signal(signal.SIGTERM, self._stopped)
        signal.signal(signal.SIGINT, self._stopped)

    def _stopped(self, *_: object) -> None:
        self._stop = True

    # -- the graph ------------------------------------------------------------------------------

    def submit(self, task: Task, given: Mapping[str, Any]) -> Promise:
        """A call of a task: a node that waits for what its inputs promise."""
        return Promise(self, self._call(task, given), task.hints.get("return", Any))

    def _call(self, task: Task, given: Mapping[str, Any]) -> Node:
        self._calls[task.name] += 1
        return self._add(Node(len(self._nodes), task, given, self._calls[task.name]))

    def _add(self, node: Node) -> Node:
        self._nodes.append(node)
        self._left += 1
        self._wait_for(node, promises.nodes_in(dict(node.inputs)))
        if not node.waits_for and node.state is State.WAITING:
            self._look_at(node)
        return node

    def _wait_for(self, node: Node, others: Any) -> None:
        for other in others:
            if other.state in (State.FAILED, State.SKIPPED):
                self._over(node, State.SKIPPED)
                return
            if not other.state.over and other not in node.waits_for:
                node.waits_for.add(other)
                other.dependants.append(node)

    def submit_all(self, task: Task, bound: Mapping[str, Any], lists: Mapping[str, Any]) -> Promise:
        """The list of a map: its calls are added as soon as the lists are known."""

        def expand(node: Node) -> None:
            known = {name: _list(value) for name, value in lists.items()}
            for at, row in enumerate(rows(task.name, known)):
                given = {name: lists[name][at] if isinstance(lists[name], Promise) else value
                         for name, value in row.items()}
                node.children.append(self._call(task, task.bind(**bound, **given)))

        node = Node(len(self._nodes), None, {"lists": [v for v in lists.values() if isinstance(v, Promise)]},
                    expand=expand)
        return Promise(self, self._add(node), list[task.hints.get("return", Any)])  # type: ignore[misc]

    def after(self, first: Any, second: Any) -> None:
        """`first >> second`."""
        for node in promises.nodes_in(second):
            if node.state in (State.WAITING, State.READY):
                if node in self._ready:
                    self._ready.remove(node)
                node.state = State.WAITING
                self._wait_for(node, promises.nodes_in(first))
                if not node.waits_for and node.state is State.WAITING:
                    self._look_at(node)

    def value(self, promise: Promise) -> Any:
        """Wait for one value. Raises Failed."""
        node: Node = promise._node
        while not node.state.over:
            self._step()
        if node.state is not State.DONE:
            raise Failed(f"{node} has no result")
        return promises.take(node.value(), promise._path)

    # -- the loop -------------------------------------------------------------------------------

    def finish(self) -> None:
        """Until every node is over. Raises Stopped."""
        while self._left:
            self._step()

    def _look_at(self, node: Node) -> None:
        """All that it depends on is done."""
        if node.task is not None:
            node.state = State.READY
            self._ready.append(node)
            return
        if node.expand is not None:
            expand, node.expand = node.expand, None
            try:
                expand(node)
            except (TypeError, ValueError) as e:
                self._fail(node, f"Process `{node}` cannot run: {e}")
                return
            self._wait_for(node, node.children)
        if not node.waits_for and node.state is State.WAITING:
            self._over(node, State.DONE)

    def _step(self) -> None:
        """Decide what can be decided, start what fits, wait for something to happen."""
        if self._stop:
            raise Stopped
        for _ in range(len(self._ready)):
            node = self._ready.popleft()
            try:
                decided = self.reuse.decide(node)
                if decided in ("run", "restore"):
                    self.executor.add(node, restore=decided == "restore")
                    node.state = State.RUNNING
            except BAD_INPUT as e:
                self._fail(node, f"Process `{node}` cannot run: its inputs: {e}")
                continue
            if decided == "reused":
                self._over(node, State.DONE)
        for node, ended in self.executor.start():
            self._ended(node, ended)
        if not self._left or self._ready:
            return
        for key, _ in self._selector.select(self.executor.patience()):
            if key.fd == self._wake:
                os.read(self._wake, 4096)
            elif key.data == "digests":
                self._ready.extend(node for node in self.reuse.answered() if node.state is State.READY)
        for node, ended in self.executor.ended():
            self._ended(node, ended)

    def _ended(self, node: Node, ended: executing.Ended) -> None:
        if ended.problem is None:
            self.reuse.keep(node, ended.seconds)
            self._over(node, State.DONE)
        elif ended.again:
            if ended.missed:
                self.reuse.missed(node, ended.problem)
            self.executor.add(node, restore=False)
        else:
            self._fail(node, f"Process `{node}` {ended.problem}")

    def _fail(self, node: Node, why: str) -> None:
        if not self.failed:
            self.log.failed(why)
        print(f"nfresume: {why}", file=sys.stderr, flush=True)
        self.failed.append(node)
        self._over(node, State.FAILED)

    def _over(self, node: Node, state: State) -> None:
        """Those that waited for it go on, or are skipped with it."""
        over = [(node, state)]
        while over:
            node, state = over.pop()
            if node.state.over:
                continue
            node.state = state
            self._left -= 1
            for other in node.dependants:
                other.waits_for.discard(node)
                if state is not State.DONE:
                    over.append((other, State.SKIPPED))
                elif not other.waits_for and other.state is State.WAITING:
                    self._look_at(other)
            node.dependants.clear()

    def close(self) -> None:
        """End what runs, and put the records on disk."""
        self.executor.stop()
        self.log.ended(len(self.failed))
        self.reuse.close()
        self.log.close()


def _list(value: Any) -> Any:
    return promises.resolve(value, lambda node: node.value()) if isinstance(value, Promise) else value


def run(order: Order) -> int:
    """Run a workflow to its end; returns the exit status."""
    parsed = options.parse([order.pipeline, *order.words])
    launch_dir = Path.cwd()
    call = calls.of_options(parsed, launch_dir)
    began = time.monotonic()
    cache = Path(order.cache)
    recording.history(cache, order.run_name, order.session_id, "-", order.pipeline)
    head = Head(order, call)
    status, code = "ERR", 1
    try:
        found = python_workflow(order.pipeline)
        assert found is not None
        flow = loading.workflow(loading.load((launch_dir / found[0]).resolve()), found[1])
        returned = _call(head, flow, inputs.of_workflow(flow.function, call.inputs, launch_dir, flow.hints))
        head.finish()
        if not head.failed:
            _deliver(promises.resolve(returned, lambda node: node.value()), Path(order.work), call.output)
            status, code = "OK", 0
    except Stopped:
        head.log.failed("stopped by a signal")
        code = 143
    except Exception as e:  # the workflow's own code: its traceback is what helps
        traceback.print_exc()
        head.log.failed(f"{order.pipeline}: {type(e).__name__}: {e}")
    finally:
        promises.schedule(None)
        head.close()
        recording.history(cache, order.run_name, order.session_id, status, order.pipeline,
                          time.monotonic() - began)
    return code


def _call(head: Head, flow: Workflow, given: Mapping[str, Any]) -> Any:
    promises.schedule(head)
    try:
        return flow.function(**given)
    except Failed:
        return None  # it waits for what will never be there; what does not depend on that goes on


def _deliver(value: Any, work: Path, output: Path) -> None:
    """What the workflow returned: files to the output folder, values to standard output as JSON."""
    encoded = values.Writer(work / ".outputs").encode(value)
    remotes = dict(values.remotes_in(encoded))
    where: dict[str, str] = {}
    for path in dict.fromkeys(values.paths_in(encoded)):
        if path.endswith(".pickle") and Path(path).parent == work / ".outputs":
            continue
        source = Path(path)
        if path in remotes:
            where[path] = str(places.published(path, remotes[path], output))
        elif source.exists() and work in source.parents:
            target, number = output / source.name, 2
            while str(target) in where.values():
                target, number = output / f"{number}-{source.name}", number + 1
            where[path] = str(target)
            places.publish(source, target)
    print(json.dumps(_shown(values.moved(encoded, where)), indent=2, ensure_ascii=False))


def _shown(value: Any) -> Any:
    """Encoded JSON as a person or a script wants it: no tags."""
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "path" in value:
        return value["path"]
    if value["$"] == "dict":
        return {str(_shown(k)): _shown(v) for k, v in value["v"]}
    if value["$"] == "dataclass":
        return {k: _shown(v) for k, v in value["v"].items()}
    return f"<{value['$']}>" if "v" not in value else _shown(value["v"])


def main() -> None:
    """Run the order in argv."""
    order = Order(**json.loads(sys.argv[1]), words=sys.argv[2:])
    code = run(order)
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
