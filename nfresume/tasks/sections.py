"""Conditional sections: `create_conditional_section("name").if_(...).then(...).else_().then(...)`.

The calls in the arguments of `then` are made before it is known which branch is taken. In a running workflow
they wait for that. Outside of one, calls of branches that are not taken are left out.
"""

from __future__ import annotations

from typing import Any

from nfresume.tasks import promises

_UNSET = object()


class Failure:
    """What a branch ends in that must not be taken."""

    def __init__(self, text: str) -> None:
        self.text = text


class Section:
    """A conditional section that has no `else_()` yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._scheduler = promises.running()
        self._node = self._scheduler.section(name) if self._scheduler is not None else None
        self._cases: list[tuple[Any, Any, Any]] = []
        self._taken: Any = _UNSET

    def if_(self, condition: Any) -> Case:
        """The first branch. Calls that follow, up to `then`, belong to it."""
        return self._case(condition)

    def elif_(self, condition: Any) -> Case:
        """Another branch, for when no condition before it is true."""
        return self._case(condition)

    def else_(self) -> Case:
        """The last branch. Its `then` gives the result of the section."""
        return self._case(True, last=True)

    def _case(self, condition: Any, *, last: bool = False) -> Case:
        if self._scheduler is None:
            taken = self._taken is _UNSET and bool(condition)
            promises.leave_out(not taken)
            return Case(self, condition, taken, last)
        return Case(self, condition, self._scheduler.branch(self._node), last)

    def _end(self, case: Case, value: Any) -> Any:
        if self._scheduler is None:
            promises.leave_out(False)
            if case.branch and isinstance(value, Failure):
                raise ValueError(f"conditional section {self.name!r}: {value.text}")
            self._taken = value if case.branch else self._taken
            return self._taken if case.last else self
        self._scheduler.end_branch()
        self._cases.append((case.condition, case.branch, value))
        return self._scheduler.choose(self._node, self._cases) if case.last else self


class Case:
    """A branch of a section. `branch`: the scheduler's; outside of a workflow, whether it is taken."""

    def __init__(self, section: Section, condition: Any, branch: Any, last: bool) -> None:
        self.section = section
        self.condition = condition
        self.branch = branch
        self.last = last

    def then(self, value: Any) -> Any:
        """The value of the branch. Returns the section, after `else_()` its result."""
        return self.section._end(self, value)

    def fail(self, text: str) -> Any:
        """Let the section fail when this branch is taken."""
        return self.section._end(self, Failure(text))


def create_conditional_section(name: str) -> Section:
    """Begin a section, in which the values of tasks decide which tasks run."""
    return Section(name)


def create_node(entity: Any, *values: Any, **inputs: Any) -> Any:
    """Flyte's older way to call a task or workflow: `.o0` is its first output."""
    return entity(*values, **inputs)
