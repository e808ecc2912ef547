"""The head of a Python workflow. It has the role that the Nextflow process has for a pipeline.

The shim starts it as `python -P -m nfresume.tasks.head ORDER WORDS...`, in the same folders as Nextflow, and
it writes the same records. It calls the workflow's function to get the graph, reuses earlier results, runs
the other calls, and exits with status 0 when all have succeeded.
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

from nfresume_metadata import files

from nfresume.domain.executions import python_workflow
from nfresume.nextflow import options
from nfresume.nextflow.command import LOG
from nfresume.system import processes
from nfresume.tasks import calls, executing, inputs, loading, promises, publishing, recording, sections
from nfresume.tasks.cache import Cache
from nfresume.tasks.calls import Order
from nfresume.tasks.declaring import Task, Workflow, call_inputs
from nfresume.tasks.executing import BAD_INPUT, Executor
from nfresume.tasks.graph import Node, State
from nfresume.tasks.journal import Journal
from nfresume.tasks.promises import Expression, Promise
from nfresume.tasks.remote import Remote
from nfresume.tasks.reusing import Reuse


class NoResult(Exception):
    """The workflow needs the value of a call that has failed or was skipped."""


class Stopped(BaseException):
    """A signal asked the head to stop. Not an Exception, so that `except Exception` does not catch it."""


class Head:
    """Runs one graph. It is the scheduler of all promises in it."""

    def __init__(self, order: Order, call: calls.Call) -> None:
        self._nodes: list[Node] = []
        self._calls: Counter[str] = Counter()
        self._ready: deque[Node] = deque()
        self._unfinished = 0
        self._branch: Node | None = None
        self._sections: list[Node] = []
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
        """Add the node of a call. It waits for the promises in its inputs."""
        return Promise(self, self._call(task, given), task.hints.get("return", Any))

    def _call(self, task: Task, given: Mapping[str, Any]) -> Node:
        self._calls[task.name] += 1
        return self._add(Node(len(self._nodes), task, given, self._calls[task.name]))

    def _add(self, node: Node) -> Node:
        self._nodes.append(node)
        self._unfinished += 1
        node.branch = self._branch
        self._wait_for(node, [*promises.nodes_in(dict(node.inputs)), *filter(None, [self._branch])])
        if not node.waits_for and node.state is State.WAITING:
            self._make_ready(node)
        return node

    def _wait_for(self, node: Node, others: Any) -> None:
        for other in others:
            if other.state in (State.FAILED, State.SKIPPED):
                self._end(node, State.SKIPPED)
                return
            if not other.state.ended and other not in node.waits_for:
                node.waits_for.add(other)
                other.dependants.append(node)

    def submit_all(self, task: Task, bound: Mapping[str, Any], lists: Mapping[str, Any]) -> Promise:
        """Add the node of a map. It adds its calls when the values of the lists are known."""

        def expand(node: Node) -> None:
            known = {name: _resolved(value) for name, value in lists.items()}
            for at, row in enumerate(call_inputs(task.name, known)):
                given = {name: lists[name][at] if isinstance(lists[name], Promise) else value
                         for name, value in row.items()}
                node.children.append(self._call(task, task.bind(**bound, **given)))

        node = Node(len(self._nodes), None, {"lists": [v for v in lists.values() if isinstance(v, Promise)]},
                    expand=expand)
        return Promise(self, self._add(node), list[task.hints.get("return", Any)])  # type: ignore[misc]

    def submit_dynamic(self, function: Any, inputs: Mapping[str, Any], kind: Any) -> Promise:
        """Add the node of a dynamic workflow. Its function is called here when its inputs are known."""

        def expand(node: Node) -> None:
            try:
                node.chosen = function(**{name: _resolved(value) for name, value in inputs.items()})
            except NoResult:
                self._end(node, State.SKIPPED)
            except Exception as e:  # of the workflow's own code: the user needs the traceback
                traceback.print_exc()
                raise ValueError(f"{type(e).__name__}: {e}") from None

        node = Node(len(self._nodes), None, inputs, expand=expand, is_map=False, label=function.__name__)
        return Promise(self, self._add(node), kind)

    def constant(self, name: str, value: Any) -> Promise:
        """Add a node that is done: an input of the workflow of which it asks what only promises answer."""
        node = Node(len(self._nodes), None, {}, is_map=False, chosen=value, label=f"the input {name}")
        node.state = State.DONE
        self._nodes.append(node)
        return Promise(self, node)

    def section(self, name: str) -> Node:
        """Add the node of a conditional section. It waits until `choose` is called."""
        node = Node(len(self._nodes), None, {}, is_map=False, label=f"conditional section {name}")
        node.waits_for.add(node)
        self._sections.append(node)
        return self._add(node)

    def branch(self, section: Node) -> Node:
        """Add the node of a branch. Calls that follow wait for it."""
        self._branch = Node(len(self._nodes), None, {}, is_map=False, branch=section.branch,
                            label=f"branch of {section}")
        self._nodes.append(self._branch)
        self._unfinished += 1
        self._wait_for(self._branch, [section])
        return self._branch

    def end_branch(self) -> None:
        """Calls that follow wait for what the section itself waits for."""
        assert self._branch is not None
        self._branch = self._branch.branch

    def choose(self, section: Node, cases: list[tuple[Any, Node, Any]]) -> Promise:
        """Let the section decide when its conditions are known, and then wait for the value that it takes."""

        def expand(node: Node) -> None:
            taken = next(case for case in cases if self._true(case[0]))
            for case in cases:
                self._end(case[1], State.DONE if case is taken else State.SKIPPED)
            if isinstance(taken[2], sections.Failure):
                raise ValueError(taken[2].text)
            node.chosen = taken[2]

        self._sections.remove(section)
        section.expand = expand
        section.waits_for.discard(section)
        self._wait_for(section, promises.nodes_in([condition for condition, _, _ in cases]))
        if not section.waits_for and section.state is State.WAITING:
            self._make_ready(section)
        return Promise(self, section)

    @staticmethod
    def _true(condition: Any) -> bool:
        if isinstance(condition, Expression):
            return condition.value(lambda node: node.value())
        return bool(_resolved(condition))

    def override(self, promise: Promise, options: Mapping[str, Any]) -> None:
        """Change the options of a call that has not started."""
        node: Node = promise._node
        if node.task is not None and node.state in (State.WAITING, State.READY):
            node.task = node.task.overridden(options)

    def after(self, first: Any, second: Any) -> None:
        """Let `second` wait for `first`, as `first >> second` asks."""
        for node in promises.nodes_in(second):
            if node.state in (State.WAITING, State.READY):
                if node in self._ready:
                    self._ready.remove(node)
                node.state = State.WAITING
                self._wait_for(node, promises.nodes_in(first))
                if not node.waits_for and node.state is State.WAITING:
                    self._make_ready(node)

    def value(self, promise: Promise) -> Any:
        """Wait for the value of a promise. Raises NoResult, or Stopped."""
        node: Node = promise._node
        if self._branch is not None and node.branch is not None and not node.state.ended:
            promises.refuse(f"{promise!r} has no value before the conditional section is decided: "
                            "use it inside of a task or a dynamic workflow")
        while not node.state.ended:
            self._step()
        if node.state is not State.DONE:
            raise NoResult(f"{node} has no result")
        return promises.take(node.value(), promise._path)

    # -- the loop -------------------------------------------------------------------------------

    def finish(self) -> None:
        """Run until all nodes have ended. Raises Stopped, and TypeError for a section without end."""
        if self._sections:
            raise TypeError(f"{self._sections[0]} has no else_()")
        while self._unfinished:
            self._step()

    def _make_ready(self, node: Node) -> None:
        """Continue with a node whose dependencies are all done."""
        if node.task is not None or node.expand is not None:
            node.state = State.READY
            self._ready.append(node)
        else:
            self._end(node, State.DONE)

    def _expand(self, node: Node) -> None:
        """Let a node without a task add its calls, and wait for them."""
        expand, node.expand = node.expand, None
        assert expand is not None
        node.state = State.WAITING
        branch, self._branch = self._branch, None
        try:
            expand(node)
        except (TypeError, ValueError, LookupError, AttributeError) as e:
            self._fail(node, f"Process `{node}` cannot run: {e}")
            return
        finally:
            self._branch = branch
        self._wait_for(node, [*node.children, *promises.nodes_in(node.chosen)])
        if not node.waits_for and node.state is State.WAITING:
            self._end(node, State.DONE)

    def _step(self) -> None:
        """Decide about the ready nodes, start the calls that fit, and wait for the next event."""
        if self._stop:
            raise Stopped
        for _ in range(len(self._ready)):
            if not self._ready:  # a dynamic workflow has waited for a value meanwhile
                break
            node = self._ready.popleft()
            if node.task is None:
                self._expand(node)
                continue
            try:
                decided = self.reuse.decide(node)
                if decided in ("run", "restore"):
                    self.executor.add(node, restore=decided == "restore")
                    node.state = State.RUNNING
            except BAD_INPUT as e:
                self._fail(node, f"Process `{node}` cannot run: its inputs: {e}")
                continue
            if decided == "reused":
                self._end(node, State.DONE)
        for node, ended in self.executor.start():
            self._call_ended(node, ended)
        if not self._unfinished or self._ready:
            return
        for key, _ in self._selector.select(self.executor.wait_seconds()):
            if key.fd == self._wake:
                os.read(self._wake, 4096)
            elif key.data == "digests":
                self._ready.extend(node for node in self.reuse.read_answers() if node.state is State.READY)
        for node, ended in self.executor.ended():
            self._call_ended(node, ended)

    def _call_ended(self, node: Node, ended: executing.Ended) -> None:
        if ended.problem is None:
            self.reuse.take_result(node, ended.seconds)
            self._end(node, State.DONE)
        elif ended.retry:
            if ended.cache_missed:
                self.reuse.explain_miss(node, ended.problem)
            self.executor.add(node, restore=False)
        else:
            self._fail(node, f"Process `{node}` {ended.problem}")

    def _fail(self, node: Node, why: str) -> None:
        if not self.failed:
            self.log.failed(why)
        print(f"nfresume: {why}", file=sys.stderr, flush=True)
        self.failed.append(node)
        self._end(node, State.FAILED)

    def _end(self, node: Node, state: State) -> None:
        """Set a final state. If it is DONE, the dependants may continue; else they are skipped."""
        ending = [(node, state)]
        while ending:
            node, state = ending.pop()
            if node.state.ended:
                continue
            node.state = state
            self._unfinished -= 1
            for other in node.dependants:
                other.waits_for.discard(node)
                if state is not State.DONE:
                    ending.append((other, State.SKIPPED))
                elif not other.waits_for and other.state is State.WAITING:
                    self._make_ready(other)
            node.dependants.clear()

    def results(self) -> list[Mapping[str, Any]]:
        """The results of all calls that have one, in the order of the calls."""
        return [node.result for node in self._nodes if node.result is not None]

    def close(self) -> None:
        """Stop all tasks, and close the journal and the log."""
        self.executor.stop()
        self.log.ended(len(self.failed))
        self.reuse.close()
        self.log.close()


def _resolved(value: Any) -> Any:
    return promises.resolve(value, lambda node: node.value()) if isinstance(value, Promise) else value


def run(order: Order) -> int:
    """Run a workflow to its end. Returns the exit status."""
    parsed = options.stored(order.pipeline, order.words)
    launch_dir = Path.cwd()
    call = calls.of_options(parsed, launch_dir)
    began = time.monotonic()
    files.use(Remote(Path(order.work), decides=True))
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
            value = promises.resolve(returned, lambda node: node.value())
            publishing.upload(head.results())
            publishing.publish(value, Path(order.work), call.output)
            status, code = "OK", 0
    except Stopped:
        head.log.failed("stopped by a signal")
        code = 143
    except publishing.NotUploaded as e:
        head.log.failed(str(e))
        print(f"nfresume: {e}", file=sys.stderr, flush=True)
    except Exception as e:  # raised by the workflow's own code: the user needs the traceback
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
        return flow(**given)
    except NoResult:
        return None  # the function cannot continue; the calls that it has made so far still run


def main() -> None:
    """Run the workflow of the order in argv."""
    order = Order(**json.loads(sys.argv[1]), words=sys.argv[2:])
    code = run(order)
    processes.flush_streams()
    sys.exit(code)


if __name__ == "__main__":
    main()
