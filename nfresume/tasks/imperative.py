"""flytekit's imperative workflows: `Workflow(name="...")` to which inputs, tasks and outputs are added."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nfresume.tasks import failing, options, promises
from nfresume.tasks.declaring import Workflow


@dataclass(frozen=True)
class _Input:
    """Stands for an input of the workflow."""

    name: str


@dataclass(frozen=True)
class _Output:
    """Stands for an output of a node, such as `o0`."""

    node: int
    name: str


class _Outputs:
    """The outputs of a node by name."""

    def __init__(self, node: int) -> None:
        self._node = node

    def __getitem__(self, name: str) -> _Output:
        return _Output(self._node, name)

    def __getattr__(self, name: str) -> _Output:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]


class Node:
    """A call of a task or workflow. `outputs["o0"]` stands for its result; `first >> second` orders two."""

    def __init__(self, number: int, entity: Callable[..., Any], given: Mapping[str, Any]) -> None:
        self.number = number
        self.entity = entity
        self.given = given
        self.after: list[Node] = []
        self.options: dict[str, Any] = {}
        self.outputs = _Outputs(number)

    def __rshift__(self, other: Node) -> Node:
        other.after.append(self)
        return other

    def runs_before(self, other: Node) -> None:
        """Let the other one wait for this one."""
        other.after.append(self)

    def with_overrides(self, **given: Any) -> Node:
        """Change options of the call, as `with_overrides` of a promise does."""
        self.options.update(given)
        return self


class ImperativeWorkflow(Workflow):
    """A workflow that is built call by call. Latch files launch it by the name of its variable."""

    def __init__(self, name: str, failure_policy: Any = None, interruptible: bool = False,
                 **more: Any) -> None:
        options.note_unused(name, {"interruptible": interruptible, **more})
        self.inputs: dict[str, _Input] = {}
        self._nodes: list[Node] = []
        self._results: dict[str, Any] = {}

        def flow(**given: Any) -> Any:
            return self._run(given)

        flow.__name__ = flow.__qualname__ = name.rpartition(".")[2]
        flow.__annotations__ = {}
        fail_fast = getattr(failure_policy, "name", failure_policy) == "FAIL_IMMEDIATELY"
        super().__init__(flow, fail_fast=fail_fast)
        self._declare()

    def _declare(self) -> None:
        """Let the function have the inputs that there are now."""
        self.signature = inspect.Signature(
            [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in self.inputs])
        self.function.__signature__ = self.signature  # type: ignore[attr-defined]

    def add_workflow_input(self, input_name: str, python_type: Any) -> _Input:
        """Add an input. What is returned stands for it."""
        self.inputs[input_name] = _Input(input_name)
        self.function.__annotations__[input_name] = python_type
        self._declare()
        return self.inputs[input_name]

    def add_entity(self, entity: Callable[..., Any], **given: Any) -> Node:
        """Add a call of a task, a workflow or a launch plan."""
        self._nodes.append(Node(len(self._nodes), entity, given))
        return self._nodes[-1]

    add_task = add_subwf = add_launch_plan = add_entity

    def add_workflow_output(self, output_name: str, p: Any, python_type: Any = None) -> None:
        """Add an output: that of a node, an input, or a list of such. The only one is the result itself."""
        self._results[output_name] = p

    def add_on_failure_handler(self, entity: Any) -> None:
        """Call this task or workflow when the workflow has failed. Raises TypeError for unfit inputs."""
        failing.check_handler(entity, self.function)
        self.on_failure = entity

    def ready(self) -> bool:
        """True when there is something to run."""
        return bool(self._nodes)

    def _run(self, given: Mapping[str, Any]) -> Any:
        results: list[Any] = []

        def known(value: Any) -> Any:
            if isinstance(value, _Input):
                return given[value.name]
            if isinstance(value, _Output):
                return _part(results[value.node], value.name)
            if isinstance(value, list):
                return [known(item) for item in value]
            if isinstance(value, dict):
                return {key: known(item) for key, item in value.items()}
            return value

        for node in self._nodes:
            made = node.entity(**{name: known(value) for name, value in node.given.items()})
            results.append(made.with_overrides(**node.options) if node.options else made)
        if (scheduler := promises.running()) is not None:
            for node in self._nodes:
                for before in node.after:
                    scheduler.after(results[before.number], results[node.number])
        found = {name: known(value) for name, value in self._results.items()}
        return next(iter(found.values())) if len(found) == 1 else found or None


def _part(result: Any, name: str) -> Any:
    """An output by its name in flytekit: `o0` is the first, or the only one."""
    if hasattr(result, "with_overrides") or hasattr(type(result), "_fields"):
        return getattr(result, name)
    parts = result if isinstance(result, tuple) else (result,)
    return parts[int(name[1:])]
