"""Run the graph of a workflow: decide which nodes are ready, reuse or start their calls, and end them."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nfresume.nextflow.command import LOG
from nfresume.tasks import calling, calls, coercion, executing, failing, options, promises, recording, source
from nfresume.tasks.cache import Cache
from nfresume.tasks.calls import Order
from nfresume.tasks.declaring import Task
from nfresume.tasks.executing import BAD_INPUT, Executor
from nfresume.tasks.failing import Failures, Scope
from nfresume.tasks.graph import Elements, Node, State
from nfresume.tasks.growing import Graph, resolved
from nfresume.tasks.journal import Journal
from nfresume.tasks.mapping import MapTask, call_inputs
from nfresume.tasks.promises import Promise
from nfresume.tasks.reusing import Reuse, shown_hash


class NoResult(failing.EagerException):
    """The workflow needs the value of a call that has failed or was skipped."""


class Stopped(BaseException):
    """A signal asked the head to stop. Not an Exception, so that `except Exception` does not catch it."""


class Head(Graph):
    """Runs one graph. It is the scheduler of all promises in it."""

    def __init__(self, order: Order, call: calls.Call) -> None:
        super().__init__()
        self._calls: Counter[str] = Counter()
        self._failures = Failures()
        self._handling = False  # a workflow has failed, and its on_failure runs
        self._function: Scope | None = None  # the call of a dynamic workflow whose function runs
        self._deprecated: set[str] = set()
        self.failed: list[Node] = []
        self.why = ""  # the first failure
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

    @property
    def scheduler(self) -> Head:
        """Itself."""
        return self

    def _keep_children(self, node: Node) -> None:
        for child in node.children:
            self.reuse.keep_failure(child)

    def submit(self, task: Task, given: Mapping[str, Any]) -> Promise:
        """Add the node of a call. It waits for the promises in its inputs."""
        return Promise(self, self._call(task, given), task.hints.get("return", Any))

    def _call(self, task: Task, given: Mapping[str, Any], within: Node | None = None) -> Node:
        self._calls[task.name] += 1
        if task.deprecated and task.name not in self._deprecated:
            self._deprecated.add(task.name)
            self.say(f"{task.short_name} is deprecated: {task.deprecated}")
        return self._add(Node(len(self._nodes), task, given, self._calls[task.name], within=within,
                              always=self._handling))

    def say(self, text: str) -> None:
        """Tell the user, and write it to the log."""
        self.log.line(text)
        print(f"nfresume: {text}", file=sys.stderr, flush=True)

    def submit_all(self, mapped: MapTask, lists: Mapping[str, Any]) -> Promise:
        """Add the node of a map. It adds its calls when the values of the lists are known."""

        def expand(node: Node) -> None:
            task = mapped.task.overridden(node.options) if node.options else mapped.task
            known = {name: resolved(value) for name, value in lists.items()}
            rows = call_inputs(task.name, known)
            node.elements = Elements(len(rows), len(rows) - mapped.rule.needed(len(rows)), mapped.rule)
            for at, row in enumerate(rows):
                given = {name: lists[name][at] if isinstance(lists[name], Promise) else value
                         for name, value in row.items()}
                node.children.append(self._call(task, task.bind(**mapped.bound, **given), node))

        node = Node(len(self._nodes), None, {"lists": [v for v in lists.values() if isinstance(v, Promise)]},
                    expand=expand, label=f"map of {mapped.task.short_name}")
        return Promise(self, self._add(node), list[mapped.task.hints.get("return", Any)])  # type: ignore[misc]

    def submit_dynamic(self, flow: Any, inputs: Mapping[str, Any]) -> Promise:
        """Add the node of a dynamic workflow. Its function is called here when its inputs are known.

        It is done when all its calls are.
        """

        def expand(node: Node) -> None:
            opened, outer = len(self._sections), self._function
            known = {name: resolved(value) for name, value in inputs.items()}
            try:
                with self.nested(flow, known) as scope:
                    self._function, node.inner, scope.node = scope, scope, node
                    node.chosen = flow.function(**known)
                coercion.check_given(node.chosen, source.hints_of(flow.function).get("return", Any))
                node.last = self._end_of(scope)
            except NoResult:
                self.leave_sections(opened)
                self._end(node, State.SKIPPED)
            except Exception as e:  # of the workflow's own code: the user needs the traceback
                self.leave_sections(opened)
                calling.print_traceback(e)
                raise ValueError(f"{type(e).__name__}: {e}") from None
            finally:
                self._function = outer

        node = Node(len(self._nodes), None, inputs, expand=expand, is_map=False,
                    label=flow.function.__name__)
        return Promise(self, self._add(node), source.hints_of(flow.function).get("return", Any))

    def override(self, promise: Promise, given: Mapping[str, Any]) -> None:
        """Change the options of a call that has not started."""
        node: Node = promise._node
        node.options = {**node.options, **given}
        for each in (node, *node.children):
            if each.task is not None and each.state in (State.WAITING, State.READY):
                each.task = each.task.overridden(given)

    def value(self, promise: Promise) -> Any:
        """Wait for the value of a promise. Raises NoResult, or Stopped."""
        node: Node = promise._node
        if self._branch is not None and node.branch is not None and not node.state.ended:
            promises.refuse(f"{promise!r} has no value before the conditional section is decided: "
                            "use it inside of a task or a dynamic workflow")
        while not node.state.ended:
            self.step()
        if not node.state.has_value:
            node.told = self._function
            raise NoResult(f"{node} has no result")
        return promises.take(node.value(), promise._path)

    # -- the loop -------------------------------------------------------------------------------

    def finish(self) -> None:
        """Run until all nodes have ended. Raises Stopped, and TypeError for a section without end."""
        if self._sections:
            raise TypeError(f"{self._sections[0]} has no else_()")
        while self._unfinished:
            self.step()
        if text := options.unused():
            self.say(text)

    def handle_failures(self) -> None:
        """Call the on_failure of each workflow that has failed, inner ones first. It changes no outcome.

        The calls of an on_failure always run.
        """
        self._handling = True
        while (scope := self._failures.next()) is not None:
            with contextlib.suppress(NoResult):  # what it has called so far still runs
                failing.call_handler(scope.workflow.on_failure, scope.inputs, scope.why, str(scope.failed))
            self.finish()

    def _expand(self, node: Node) -> None:
        """Let a node without a task add its calls, and wait for them."""
        expand, node.expand = node.expand, None
        assert expand is not None
        node.state = State.WAITING
        branch, self._branch = self._branch, None
        scope, self._scope = self._scope, node.scope
        outer = promises.running()
        promises.schedule(self)  # an eager function that waits has another one
        try:
            expand(node)
        except (TypeError, ValueError, LookupError, AttributeError) as e:
            self._fail(node, f"Process `{node}` cannot run: {e}")
            return
        finally:
            self._branch, self._scope = branch, scope
            promises.schedule(outer)
        last = [node.last] if node.last is not None else []
        self._wait_for(node, [*node.children, *promises.nodes_in(node.chosen), *last])
        if not node.waits_for and node.state is State.WAITING:
            self._end(node, State.DONE)

    def fileno(self) -> int:
        """What becomes readable when something has happened that `step` sees to."""
        return self._selector.fileno()

    def wait_seconds(self) -> float | None:
        """After how long `step` must be called at the latest; None: when something has happened."""
        return 0.0 if self._ready else self.executor.wait_seconds()

    def step(self, *, wait: bool = True) -> None:
        """Decide about the ready nodes, start the calls that fit, and `wait` for the next event."""
        if self._stop:
            raise Stopped
        before = self.ended
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
            elif decided == "ignored":
                self._ignore(node)
        for node, ended in self.executor.start():
            self._call_ended(node, ended)
        if not self._unfinished or self._ready or self.ended != before:  # a caller may wait for what ended
            return
        for key, _ in self._selector.select(self.executor.wait_seconds() if wait else 0):
            if key.fd == self._wake:
                os.read(self._wake, 4096)
            elif key.data == "digests":
                self._ready.extend(node for node in self.reuse.read_answers() if node.state is State.READY)
        for node, ended in self.executor.ended():
            self._call_ended(node, ended)

    def _call_ended(self, node: Node, ended: executing.Ended) -> None:
        if node.state.ended:  # the first failure has stopped it
            return
        if ended.problem is None:
            self.reuse.take_result(node, ended.seconds)
            self._end(node, State.DONE)
        elif ended.retry:
            if ended.cache_missed:
                self.reuse.explain_miss(node, ended.problem)
            self.executor.add(node, restore=False)
        else:
            self._fail(node, f"Process `{node}` {ended.problem}", node.task_dir)

    def _fail(self, node: Node, why: str, task_dir: Path | None = None) -> None:
        elements = node.within.elements if node.within is not None else None
        if elements is not None and elements.spare:
            if task_dir is not None:
                self.log.ignored(shown_hash(task_dir), why)
            self.say(f"{why}. Its map goes on without it ({elements.rule})")
            self._ignore(node)
            return
        if elements is not None and elements.ignored:
            why += f" ({elements.ignored + 1} of {elements.total} calls failed: {elements.rule})"
        print(f"nfresume: {why}", file=sys.stderr, flush=True)
        stopped = self._count(node, why, node.scope)
        self._end(node, State.FAILED)
        self._stop_calls(stopped)

    def _count(self, node: Node, why: str, scope: Scope | None) -> Scope | None:
        """Let a failure count from `scope` outwards, as far as an eager workflow. Returns what it stops."""
        stopped, eager = self._failures.note(scope, node.name, why)
        if eager is not None:
            eager.pending.append((node, why))
            return stopped
        if not self.failed:
            self.log.failed(why)
            self.why = why
        self.failed.append(node)
        return stopped

    def _decide(self, scope: Scope, *, succeeded: bool) -> None:
        pending, scope.pending = scope.pending, []
        for failed, why in pending if succeeded else reversed(pending):  # it got over the first ones
            if not succeeded or not failed.is_told(scope):
                self._stop_calls(self._count(failed, why, scope.outer))
            elif failed.task_dir is not None:
                self.log.ignored(shown_hash(failed.task_dir), why)

    def _ignore(self, node: Node) -> None:
        """End a call that failed, and whose map succeeds without it."""
        assert node.within is not None
        assert node.within.elements is not None
        node.within.elements.spare -= 1
        node.within.elements.ignored += 1
        self._end(node, State.IGNORED)

    def _stop_calls(self, scope: Scope | None) -> None:
        """Stop what runs of a call of a workflow, and skip what waits."""
        if scope is None:
            return
        scope.stopped = True
        found = set(self._calls_of(scope))
        self.executor.stop(found)
        self._ready = deque(node for node in self._ready if node not in found)
        for node in found:
            self._end(node, State.SKIPPED)

    def results(self, *, ran: bool | None = None) -> list[Mapping[str, Any]]:
        """The results of all calls that have one, in their order. `ran`: of those that ran, or did not."""
        return [node.result for node in self._nodes
                if node.result is not None and ran in (None, node.tries > 0)]

    def close(self) -> None:
        """Stop all tasks, and close the journal and the log."""
        self.executor.stop()
        self.log.ended(len(self.failed))
        self.reuse.close()
        self.log.close()
