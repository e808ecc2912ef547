"""What happens when a workflow fails: its `on_failure` is called, and its `failure_policy` obeyed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from nfresume.tasks import source


class FlyteException(Exception):
    """The base of flytekit's exceptions. A task that raises one fails, and is retried as after any other."""


class EagerException(FlyteException):
    """What an eager workflow gets that awaits a call which has failed. It may catch that, and go on."""


class FlyteUserException(FlyteException):
    """An exception of the workflow's own code."""


#: The exceptions of `flytekit.exceptions.user` by name.
USER_EXCEPTIONS: Mapping[str, type] = {"FlyteUserException": FlyteUserException} | {
    name: type(name, (FlyteUserException, base), {"__module__": __name__}) for name, base in {
        "FlyteAssertion": AssertionError, "FlyteDataNotFoundException": ValueError,
        "FlyteRecoverableException": Exception, "FlyteTimeout": AssertionError,
        "FlyteTypeException": TypeError, "FlyteValidationException": AssertionError,
        "FlyteValueException": ValueError, "FlyteDisapprovalException": AssertionError,
        "FlyteEntityNotExistException": AssertionError, "FlyteInvalidInputException": Exception,
        "FlyteAuthenticationException": AssertionError, "FlyteMissingReturnValueException": Exception,
    }.items()}


@dataclass
class FlyteError:
    """What an `on_failure` gets in an input of this type, or named `err`: why the workflow has failed."""

    message: str
    failed_node_id: str


@dataclass(eq=False)
class Scope:
    """A call of a workflow that has an on_failure, or a failure_policy that stops its calls.

    `outer` is the call around it. `failed` is the first of its calls that failed, and `why` its error.
    `stopped`: no call of it may start any more. `first`: the number of its first node. `node`: its own, if it
    is dynamic. `pending`: the calls that have failed, each with its error, and that it may catch.
    """

    workflow: Any  # a Workflow of `declaring`, which calls this module
    inputs: Mapping[str, Any]
    outer: Scope | None
    first: int = 0
    failed: str | None = None
    why: str = ""
    stopped: bool = False
    node: Any = None
    pending: list[tuple[Any, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.depth: int = self.outer.depth + 1 if self.outer is not None else 0

    def chain(self) -> Iterator[Scope]:
        """This call, the one around it, and so on."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer


@dataclass
class Failures:
    """The calls of workflows that have failed, and whose on_failure is still to be called."""

    waiting: list[Scope] = field(default_factory=list)

    def note(self, scope: Scope | None, node: str, why: str) -> tuple[Scope | None, Scope | None]:
        """Note that a call in `scope` has failed, out to an eager workflow around it, which may catch that.

        Returns the outermost scope whose calls it stops, and that of the eager workflow.
        """
        stops = None
        for each in scope.chain() if scope is not None else ():
            if each.workflow.catches:
                return stops, each
            if each.failed is None:
                each.failed, each.why = node, why
                if each.workflow.on_failure is not None:
                    self.waiting.append(each)
            if each.workflow.fail_fast:
                stops = each
        return stops, None

    def next(self) -> Scope | None:
        """Take the failed scope that is nested deepest; of several the one that failed first."""
        if not self.waiting:
            return None
        found = max(self.waiting, key=lambda scope: scope.depth)
        self.waiting.remove(found)
        return found


def check_handler(handler: Any, flow: Any) -> None:
    """Raise TypeError when a workflow's on_failure lacks an input of the workflow, or wants another one.

    Others may be the error, optional, or have a default.
    """
    hints, taken = source.hints_of(handler.function), inspect.signature(handler.function).parameters
    names = inspect.signature(flow).parameters
    problems = [f"it has no input {name!r}" for name in names if name not in taken and name != "err"]
    problems += [f"its input {name!r} is none of the workflow's, and not optional"
                 for name, parameter in taken.items()
                 if name not in names and parameter.default is parameter.empty
                 and not _wants_error(name, hints) and not _optional(hints.get(name))]
    if problems:
        raise TypeError(f"{handler.function.__name__} cannot be the on_failure of {flow.__name__}: "
                        f"{problems[0]}")


def _wants_error(name: str, hints: Mapping[str, Any]) -> bool:
    return name == "err" or "FlyteError" in str(hints.get(name))


def _optional(kind: Any) -> bool:
    return type(None) in get_args(kind)


def call_handler(handler: Any, given: Mapping[str, Any], message: str, node: str) -> Any:
    """Call the `on_failure` of a workflow with the workflow's inputs and its error.

    `handler` is a task or a workflow.
    """
    hints = source.hints_of(handler.function)
    inputs = {name: value for name, value in given.items() if name != "err"}
    for name, parameter in inspect.signature(handler.function).parameters.items():
        if name not in inputs and _wants_error(name, hints):
            inputs[name] = FlyteError(message, node)
        elif name not in inputs and parameter.default is parameter.empty:
            inputs[name] = None
    return handler(**inputs)
