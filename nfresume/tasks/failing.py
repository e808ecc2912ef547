"""What happens after a workflow has failed: its `on_failure` is called, as Flyte calls it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nfresume.tasks import source


class FlyteException(Exception):
    """The base of flytekit's exceptions. A task that raises one fails, and is retried as after any other."""


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


def call_handler(handler: Any, given: Mapping[str, Any], message: str, node: str) -> Any:
    """Call the `on_failure` of a workflow with the workflow's inputs and its error.

    `handler` is a task or a workflow.
    """
    hints = source.hints_of(handler.function)
    inputs = dict(given)
    for name in inspect.signature(handler.function).parameters:
        if name not in inputs and (name == "err" or "FlyteError" in str(hints.get(name))):
            inputs[name] = FlyteError(message, node)
    return handler(**inputs)
