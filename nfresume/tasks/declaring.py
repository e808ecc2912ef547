"""Tasks and workflows as a Python file declares them: Latch's decorators.

Called inside a running workflow a task gives a promise; called anywhere else it is the function itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from nfresume.tasks import promises, sizes, source
from nfresume.tasks.sizes import Resources

#: Options of Latch's and flytekit's tasks that change nothing on a machine of one's own.
_WITHOUT_EFFECT = frozenset({
    "task_config", "interruptible", "deprecated", "container_image", "requests", "limits", "secret_requests",
    "execution_mode", "dockerfile", "task_resolver", "enable_memory_profiling", "disable_deck", "enable_deck",
})
#: Every task that the loaded file declares, in its order: how a fresh process finds one again.
declared: list[Task] = []


@dataclass(eq=False)
class Task:
    """A function that runs in a process of its own. `resources` may be computed from the inputs.

    `timeout` is in seconds, 0 for none. `version` empty: a digest of the code stands for it.
    """

    function: Callable[..., Any]
    resources: Resources | Callable[..., Resources] = field(default_factory=lambda: Resources(1, 0))
    cache: bool = False
    cache_serialize: bool = False
    version: str = ""
    retries: int = 0
    timeout: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.function)
        self.name = f"{self.function.__module__}.{self.function.__qualname__}"
        self.signature = inspect.signature(self.function)
        for parameter in self.signature.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ValueError(f"{self.name}: a task cannot take *{parameter.name}: name its parameters")
        if self.cache_serialize and not self.cache:
            raise ValueError(f"{self.name}: cache_serialize needs cache=True")
        self.number = len(declared)
        declared.append(self)

    @functools.cached_property
    def hints(self) -> dict[str, Any]:
        """Types by parameter, and of `return`."""
        return source.hints_of(self.function)

    @functools.cached_property
    def signature_text(self) -> str:
        """Names and types of inputs and outputs, as the cache compares them."""
        return source.signature_text(self.function)

    @functools.cached_property
    def source(self) -> str:
        """Its text, for people."""
        try:
            return inspect.getsource(self.function)
        except (OSError, TypeError):
            return f"# {self.function.__qualname__}\n"

    @functools.cached_property
    def code(self) -> str:
        """The digest of the code. Raises ValueError where there is no source."""
        return source.code_digest(self.function)

    def bind(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Inputs by name, defaults included. Raises TypeError."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{self.name}: {e}") from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def needs(self, inputs: Mapping[str, Any]) -> Resources:
        """What one call asks for."""
        return self.resources if isinstance(self.resources, Resources) else self.resources(**inputs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        scheduler = promises.running()
        if scheduler is None:
            return self.function(*args, **kwargs)
        return scheduler.submit(self, self.bind(*args, **kwargs))


def task(
    _task_function: Callable[..., Any] | None = None, *, resources: Any = None, cache: bool = False,
    cache_serialize: bool = False, cache_version: str | None = "", retries: int = 0,
    timeout: int | timedelta | None = 0, environment: Mapping[str, str] | None = None, **more: Any,
) -> Any:
    """Declare a task: `@task`, `@task(cache=True)` or `task(function, cache=True)`.

    Raises TypeError for an option that no task has, ValueError for one that cannot be.
    """
    if unknown := sorted(set(more) - _WITHOUT_EFFECT):
        raise TypeError(f"a task has no option {unknown[0]!r}")
    if not isinstance(timeout, int | float | timedelta | None):
        raise ValueError(f"timeout={timeout!r}: seconds, or a timedelta")
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout or 0)
    if seconds < 0 or retries < 0:
        raise ValueError("timeout and retries must not be negative")

    def declare(function: Callable[..., Any]) -> Task:
        chosen = Resources(1, 0) if resources is None else resources
        return Task(function, chosen, cache, cache_serialize, str(cache_version or ""), retries, seconds,
                    dict(environment or {}))

    return declare if _task_function is None else declare(_task_function)


def _sized(name: str) -> Any:
    return functools.partial(task, resources=sizes.SIZES[name])


small_task, medium_task, large_task = (_sized(name) for name in ("small", "medium", "large"))
small_gpu_task, large_gpu_task = _sized("small_gpu"), _sized("large_gpu")
#: Every decorator of a fixed size, by its name.
SIZED = {f"{name}_task": _sized(name) for name in sizes.SIZES}


def custom_task(cpu: Any, memory: Any, *, storage_gib: Any = 500, **options: Any) -> Any:
    """A task with so many CPUs and GiB; each may be a function of the task's inputs.

    Raises ValueError for more than any machine has.
    """
    asked = (cpu, memory, storage_gib)
    if not any(callable(each) for each in asked):
        return functools.partial(task, resources=sizes.custom(cpu, memory, storage_gib), **options)

    def compute(**inputs: Any) -> Resources:
        def number(each: Any) -> Any:
            if not callable(each):
                return each
            return each(**{name: inputs[name] for name in inspect.signature(each).parameters})

        return sizes.custom(*(number(each) for each in asked))

    return functools.partial(task, resources=compute, **options)


def custom_memory_optimized_task(cpu: int, memory: int) -> Any:
    """The older name of a custom task with much memory."""
    return custom_task(cpu, memory)


def _cached(size: str) -> Callable[[str], Any]:
    def decorator(cache_version: str) -> Any:
        if cache_version is None:
            raise ValueError("Must provide a cache version to a cached task.")
        return functools.partial(task, resources=sizes.SIZES[size], cache=True, cache_version=cache_version)

    decorator.__name__ = f"cached_{size}_task"
    decorator.__doc__ = f"The older form of {size}_task(cache=True, cache_version=...)."
    return decorator


#: The older cached decorators: `cached_small_task("version")`, one for each size.
CACHED = {f"cached_{name}_task": _cached(name) for name in sizes.SIZES}


@dataclass(eq=False)
class MapTask:
    """A task over lists: one call for each element, each cached by itself."""

    task: Task
    bound: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, **lists: Any) -> Any:
        scheduler = promises.running()
        if scheduler is not None:
            return scheduler.submit_all(self.task, self.bound, lists)
        return [self.task(**self.bound, **row) for row in rows(self.task.name, lists)]


def rows(name: str, lists: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Inputs of each call of a map. Raises TypeError for what is no list, ValueError for unequal lengths."""
    for parameter, value in lists.items():
        if not isinstance(value, list | tuple):
            raise TypeError(f"map_task({name}): {parameter} must be a list, not {type(value).__name__}")
    if len({len(value) for value in lists.values()}) > 1:
        raise ValueError(f"map_task({name}): the lists differ in length: "
                         + ", ".join(f"{key} {len(value)}" for key, value in lists.items()))
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def map_task(task_function: Any, **_options: Any) -> MapTask:
    """Run a task (or a functools.partial of one) over lists. Raises TypeError for anything else."""
    bound: dict[str, Any] = {}
    if isinstance(task_function, functools.partial):
        if task_function.args:
            raise TypeError("map_task(partial(...)): bind by keyword")
        task_function, bound = task_function.func, dict(task_function.keywords)
    if not isinstance(task_function, Task):
        raise TypeError(f"map_task needs a task, not {task_function!r}")
    return MapTask(task_function, bound)


@dataclass(eq=False)
class Workflow:
    """A function whose calls of tasks are the graph. `metadata` is a LatchMetadata, or None."""

    function: Callable[..., Any]
    metadata: Any = None
    storage_expiration_hours: float | None = None

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.function)
        self.signature = inspect.signature(self.function)
        if self.storage_expiration_hours is None and self.metadata is not None:
            declared_hours = getattr(self.metadata, "_non_standard", None) or {}
            runtime = getattr(self.metadata, "runtime_resources", None)
            self.storage_expiration_hours = declared_hours.get(
                "storage_expiration_hours", getattr(runtime, "storage_expiration_hours", None))

    @functools.cached_property
    def hints(self) -> dict[str, Any]:
        """Types by parameter, and of `return`."""
        return source.hints_of(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def workflow(
    metadata: Any = None, *, storage_expiration_hours: float | None = None, **_options: Any
) -> Any:
    """Declare a workflow: `@workflow`, `@workflow(metadata)` or `@workflow(storage_expiration_hours=48)`."""
    if callable(metadata) and inspect.isfunction(metadata):
        return Workflow(metadata)
    return lambda function: Workflow(function, metadata, storage_expiration_hours)


class LaunchPlan:
    """Inputs for a workflow under a name, as Latch files list them for testing."""

    def __init__(self, workflow: Workflow, name: str, default_params: Mapping[str, Any] | None = None,
                 **_options: Any) -> None:
        self.workflow = workflow
        self.name = name
        self.default_params = dict(default_params or {})


def message(typ: str, data: Mapping[str, Any]) -> None:
    """Say something from inside a task: it goes to the task's standard error."""
    import sys

    print(f"{typ}: {data.get('title', '')}: {data.get('body', '')}", file=sys.stderr, flush=True)
