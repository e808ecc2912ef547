"""Launch plans: named inputs for a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nfresume.tasks import options
from nfresume.tasks.declaring import Workflow


class LaunchPlan:
    """Named inputs for a workflow. Latch files declare them for tests. In a workflow one can be called."""

    def __init__(self, workflow: Workflow, name: str, default_params: Mapping[str, Any] | None = None, *,
                 fixed: Mapping[str, Any] | None = None, **more: Any) -> None:
        options.check("a launch plan", more, options.UNUSED_OF_PLANS)
        options.note_unused(f"launch plan {name}", more)
        self.workflow = workflow
        self.name = name
        self.default_params = dict(default_params or {})
        self.fixed = dict(fixed or {})

    @classmethod
    def create(
        cls, name: str, workflow: Workflow, default_inputs: Mapping[str, Any] | None = None,
        fixed_inputs: Mapping[str, Any] | None = None, **more: Any,
    ) -> LaunchPlan:
        """The form of flytekit."""
        return cls(workflow, name, default_inputs, fixed=fixed_inputs, **more)

    @classmethod
    def get_or_create(cls, workflow: Workflow, name: str | None = None, **more: Any) -> LaunchPlan:
        """The form of flytekit. Without a name it has that of the workflow."""
        return cls.create(name or workflow.function.__name__, workflow, **more)

    @classmethod
    def get_default_launch_plan(cls, _context: object, workflow: Workflow) -> LaunchPlan:
        """The plan of a workflow that fixes nothing: flytekit's form."""
        return cls(workflow, workflow.function.__name__)

    def __call__(self, /, **given: Any) -> Any:
        """Call the workflow. Raises TypeError for an input that the plan fixes."""
        if taken := sorted(given.keys() & self.fixed.keys()):
            raise TypeError(f"launch plan {self.name}: it fixes {taken[0]}")
        return self.workflow(**{**self.default_params, **given, **self.fixed})
