"""The graph of a running workflow as it grows: what each node waits for, sections, nested workflows."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nfresume.tasks import promises, sections
from nfresume.tasks.failing import Scope
from nfresume.tasks.graph import Node, State
from nfresume.tasks.promises import Expression, Promise


class Graph:
    """The nodes, and which of them are ready. The head, which runs them, adds the calls."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._ready: deque[Node] = deque()
        self._unfinished = 0
        self.ended = 0  # how many nodes have ended
        self._branch: Node | None = None
        self._sections: list[Node] = []
        self._scope: Scope | None = None
        self._returned: dict[int, tuple[Any, Scope]] = {}  # results of nested workflows by id

    def _keep_children(self, node: Node) -> None:
        """Called when a node is done that has children. The head keeps what it must know of them."""

    def _decide(self, scope: Scope, *, succeeded: bool) -> None:
        """Called when a call of an eager workflow has ended in which some have failed."""

    def _add(self, node: Node) -> Node:
        self._nodes.append(node)
        self._unfinished += 1
        node.branch, node.scope = self._branch, self._scope
        self._wait_for(node, [*promises.nodes_in(dict(node.inputs)), *filter(None, [self._branch])])
        if node.scope is not None and any(scope.stopped for scope in node.scope.chain()):
            self._end(node, State.SKIPPED)
        self._continue(node)
        return node

    def _wait_for(self, node: Node, others: Iterable[Node]) -> None:
        for other in others:
            if other.state.ended and not other.state.has_value and not node.passes(other):
                other.dependants.append(node)
                self._end(node, other.state.of_dependants)
                return
            if not other.state.ended and other not in node.waits_for:
                node.waits_for.add(other)
                other.dependants.append(node)

    def _continue(self, node: Node) -> None:
        if not node.waits_for and node.state is State.WAITING:
            self._make_ready(node)

    def _make_ready(self, node: Node) -> None:
        """Continue with a node whose dependencies are all done."""
        if node.within is not None and not node.within.admit(node):
            return
        if node.only_waits:
            self._end(node, State.DONE)
        else:
            node.state = State.READY
            self._ready.append(node)

    def _end(self, node: Node, state: State) -> None:
        """Set a final state. If the node has a value, the dependants may continue; else they are skipped."""
        ending = [(node, state)]
        while ending:
            node, state = ending.pop()
            if node.state.ended:
                continue
            node.state = state
            self._unfinished -= 1
            self.ended += 1
            if state is State.DONE and node.children:
                self._keep_children(node)
            for other in node.dependants:
                other.waits_for.discard(node)
                if not state.has_value and not other.passes(node):
                    ending.append((other, state.of_dependants))
                elif other.only_waits and not other.waits_for:
                    ending.append((other, State.DONE))
                else:
                    self._continue(other)
            if state.has_value:
                node.dependants.clear()
            if node.inner is not None and node.inner.pending:
                self._decide(node.inner, succeeded=state.has_value)
            if node.within is not None and (following := node.within.leave(node)) is not None:
                self._make_ready(following)

    # -- conditional sections -------------------------------------------------------------------

    def constant(self, name: str, value: Any) -> Promise:
        """Add a node that is done: an input of the workflow of which it asks what only promises answer."""
        node = Node(len(self._nodes), None, {}, is_map=False, chosen=value, label=name)
        node.state = State.DONE
        self._nodes.append(node)
        return Promise(self.scheduler, node)

    @property
    def scheduler(self) -> promises.Scheduler:
        """The scheduler of the promises of this graph."""
        raise NotImplementedError

    def section(self, name: str) -> Node:
        """Add the node of a conditional section. It waits until `choose` is called."""
        node = Node(len(self._nodes), None, {}, is_map=False, label=f"conditional section {name}")
        node.waits_for.add(node)
        self._sections.append(node)
        return self._add(node)

    def branch(self, section: Node) -> Node:
        """Add the node of a branch. Calls that follow wait for it."""
        self._branch = Node(len(self._nodes), None, {}, is_map=False, branch=section.branch,
                            label=f"branch of {section}", scope=self._scope)
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
            taken = next(case for case in cases if _true(case[0]))
            for case in cases:
                self._end(case[1], State.DONE if case is taken else State.LEFT_OUT)
            if isinstance(taken[2], sections.Failure):
                raise ValueError(taken[2].text)
            node.chosen = taken[2]

        self._sections.remove(section)
        section.expand = expand
        section.waits_for.discard(section)
        self._wait_for(section, promises.nodes_in([condition for condition, _, _ in cases]))
        self._continue(section)
        return Promise(self.scheduler, section)

    def leave_sections(self, opened: int = 0) -> None:
        """End the sections that a function has begun which cannot continue. `opened` had begun before it."""
        self._branch = None
        while len(self._sections) > opened:
            self._end(self._sections.pop(), State.SKIPPED)

    # -- nested workflows, and order ------------------------------------------------------------

    @contextlib.contextmanager
    def nested(self, workflow: Any, inputs: Mapping[str, Any]) -> Iterator[Scope]:
        """Let the calls until the end of the block belong to a call of a workflow."""
        outer, self._scope = self._scope, Scope(
            workflow, dict(inputs), self._scope, len(self._nodes))
        try:
            yield self._scope
        finally:
            self._scope = outer

    def returned(self, scope: Scope, value: Any) -> Any:
        """The result of a nested workflow, with which `>>` finds its calls. For None it is a promise."""
        if value is None:
            value = Promise(self.scheduler, self._end_of(scope))
        elif isinstance(value, Promise):
            value = type(value)(value._scheduler, value._node, value._kind, value._path)
        self._returned[id(value)] = (value, scope)
        return value

    def _calls_of(self, scope: Scope) -> list[Node]:
        """The nodes of a call of a workflow, and of those that it calls."""
        return [node for node in self._nodes[scope.first:]
                if node.scope is not None and scope in node.scope.chain()]

    def _end_of(self, scope: Scope) -> Node:
        """A node that is done when all calls of a workflow are, except in branches that are not taken."""
        node = Node(len(self._nodes), None, {}, is_map=False, ends=scope,
                    label=f"the end of {scope.workflow.function.__name__}")
        waited = self._calls_of(scope)
        self._nodes.append(node)
        self._unfinished += 1
        self._wait_for(node, waited)
        self._continue(node)
        return node

    def after(self, first: Any, second: Any) -> None:
        """Let `second` wait for `first`, as `first >> second` asks. Each may be the result of a workflow."""
        before, then = self._returned.get(id(first)), self._returned.get(id(second))
        waited = [self._end_of(before[1])] if before is not None else list(promises.nodes_in(first))
        for node in self._calls_of(then[1]) if then is not None else promises.nodes_in(second):
            if node.state in (State.WAITING, State.READY) and node.within is None:
                if node in self._ready:
                    self._ready.remove(node)
                node.state = State.WAITING
                self._wait_for(node, waited)
                self._continue(node)


def _true(condition: Any) -> bool:
    if isinstance(condition, Expression):
        return condition.value(lambda node: node.value())
    return bool(resolved(condition))


def resolved(value: Any) -> Any:
    """The value of a promise; any other value as it is."""
    return promises.resolve(value, lambda node: node.value()) if isinstance(value, Promise) else value
