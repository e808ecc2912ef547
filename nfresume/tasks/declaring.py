"""The decorators with which a Python file declares tasks and workflows. They are those of Latch's SDK.

Inside a running workflow, calling a task returns a promise. Anywhere else it calls the function.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from nfresume.tasks import coercion, pods, promises, shapes, sizes, source
from nfresume.tasks.sizes import Resources

#: Options of Latch's and flytekit's tasks that nfresume accepts and ignores.
_WITHOUT_EFFECT = frozenset({
    "interruptible", "deprecated", "secret_requests", "execution_mode", "task_resolver",
    "enable_memory_profiling", "disable_deck", "enable_deck", "docs", "node_name", "name", "pod_template",
    "pod_template_name", "accelerator", "deck_fields", "pickle_untyped", "shared_memory", "labels",
    "annotations",
})
#: All tasks that the loaded file declares, in its order. A worker process finds its task by its number here.
declared_tasks: list[Task] = []


@dataclass(eq=False)
class Task:
    """A function that runs in a process of its own. `resources` may be a function of the inputs.

    `ignored` are inputs that no key contains: a result is reused whatever they are. `timeout` is in seconds;
    0 means no timeout. If `version` is empty, a digest of the code is used instead.
    """

    function: Callable[..., Any]
    resources: Resources | Callable[..., Resources] = field(default_factory=lambda: Resources(1, 0))
    cache: bool = False
    cache_serialize: bool = False
    version: str = ""
    retries: int = 0
    timeout: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    dockerfile: str = ""
    image: str = ""

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.function)
        named: Any = getattr(self.function, "func", self.function)  # of a partial
        self.name = f"{named.__module__}.{getattr(named, '__qualname__', type(named).__qualname__)}"
        self.signature = inspect.signature(self.function)
        for parameter in self.signature.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ValueError(f"{self.name}: a task cannot take *{parameter.name}: name its parameters")
        if unknown := sorted(self.ignored - self.signature.parameters.keys()):
            raise ValueError(f"{self.name}: cache_ignore_input_vars names {unknown[0]!r}, which is no input")
        if self.cache_serialize and not self.cache:
            raise ValueError(f"{self.name}: cache_serialize needs cache=True")
        self.number = len(declared_tasks)
        declared_tasks.append(self)

    @functools.cached_property
    def hints(self) -> dict[str, Any]:
        """Types by parameter name; `return` for the result's."""
        return source.hints_of(self.function)

    @functools.cached_property
    def signature_text(self) -> str:
        """Names and types of inputs and result, as the task cache compares them."""
        return source.signature_text(self.function)

    @functools.cached_property
    def classes(self) -> dict[str, str]:
        """The shapes of the workflow's own classes in the signature, by name."""
        return shapes.shapes_in(self.hints.values())

    @functools.cached_property
    def source(self) -> str:
        """The function's source text, for people to read."""
        try:
            return inspect.getsource(self.function)
        except (OSError, TypeError):
            return f"# {self.name}\n"

    @functools.cached_property
    def code(self) -> str:
        """The digest of the function's code. Raises ValueError when its source cannot be read."""
        return source.code_digest(self.function)

    @functools.cached_property
    def enclosed(self) -> str:
        """The digest of what the function encloses. Raises closures.NoKey, a ValueError."""
        from nfresume.tasks import closures  # digests files, which most who import this module never do

        return closures.digest_of(self.function, pinned=bool(self.version))

    def bind(self, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The inputs of a call by name, with defaults. Raises TypeError for arguments that do not fit."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{self.name}: {e}") from None
        bound.apply_defaults()
        return {name: coercion.as_declared(value, self.hints.get(name, Any))
                for name, value in bound.arguments.items()}

    def needs(self, inputs: Mapping[str, Any]) -> Resources:
        """The resources of a call with these inputs."""
        return self.resources if isinstance(self.resources, Resources) else self.resources(**inputs)

    def call(self, given: Mapping[str, Any]) -> Any:
        """Call the function with inputs by name."""
        bound = inspect.BoundArguments(self.signature, dict(given))
        return self.function(*bound.args, **bound.kwargs)

    def overridden(self, options: Mapping[str, Any]) -> Task:
        """The same task with other options, as `with_overrides` gives them."""
        made = copy.copy(self)  # not a task of its own: it keeps its number
        made.resources = pods.of_options(options) or made.resources
        made.retries = int(options.get("retries", made.retries))
        made.timeout = _seconds(options.get("timeout", made.timeout))
        made.cache = bool(options.get("cache", made.cache))
        made.version = str(options.get("cache_version") or made.version)
        return made

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        scheduler = promises.running()
        if scheduler is None:
            return None if promises.left_out() else self.function(*args, **kwargs)
        return scheduler.submit(self, self.bind(*args, **kwargs))


class Cache:
    """Flyte's `cache=Cache(version="1")`. Without a version the digest of the code counts, as for `True`."""

    def __init__(self, version: str | None = None, serialize: bool = False,
                 ignored_inputs: str | Sequence[str] = (), **_policies: object) -> None:
        self.version = version or ""
        self.serialize = serialize
        self.ignored_inputs = (ignored_inputs,) if isinstance(ignored_inputs, str) else tuple(ignored_inputs)


def task(
    _task_function: Callable[..., Any] | None = None, *, resources: Any = None, cache: bool | Cache = False,
    cache_serialize: bool = False, cache_version: str | None = "",
    cache_ignore_input_vars: Sequence[str] = (), retries: int = 0, timeout: int | timedelta | None = 0,
    environment: Mapping[str, str] | None = None, task_config: Any = None, requests: Any = None,
    limits: Any = None, dockerfile: Any = None, container_image: Any = None, **more: Any,
) -> Any:
    """Declare a task: `@task`, `@task(cache=True)` or `task(function, cache=True)`. `timeout` is in seconds.

    Raises TypeError for an unknown option, ValueError for a bad value.
    """
    if unknown := sorted(set(more) - _WITHOUT_EFFECT):
        raise TypeError(f"a task has no option {unknown[0]!r}")
    if isinstance(cache, Cache):
        cache_serialize, cache_version, cache_ignore_input_vars, cache = (
            cache.serialize, cache.version, cache.ignored_inputs, True)
    seconds = _seconds(timeout)
    if retries < 0:
        raise ValueError("retries must not be negative")
    image = container_image if isinstance(container_image, str) and "{{" not in container_image else ""
    asked = pods.of_options({"task_config": task_config, "requests": requests, "limits": limits})

    def declare(function: Callable[..., Any]) -> Task:
        return Task(function, asked or resources or Resources(1, 0), cache, cache_serialize,
                    str(cache_version or ""), retries, seconds, dict(environment or {}),
                    frozenset(cache_ignore_input_vars), str(dockerfile or ""), image)

    return declare if _task_function is None else declare(_task_function)


def _seconds(timeout: Any) -> float:
    if not isinstance(timeout, int | float | timedelta | None):
        raise ValueError(f"timeout={timeout!r}: seconds, or a timedelta")
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout or 0)
    if seconds < 0:
        raise ValueError("timeout must not be negative")
    return seconds


@dataclass(eq=False)
class Dynamic:
    """A workflow whose function is called when the values of its inputs are known. So it may test them."""

    function: Callable[..., Any]

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.function)
        self.signature = inspect.signature(self.function)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        scheduler = promises.running()
        if scheduler is None:
            return None if promises.left_out() else self.function(*args, **kwargs)
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{self.function.__name__}: {e}") from None
        bound.apply_defaults()
        kind = source.hints_of(self.function).get("return", Any)
        return scheduler.submit_dynamic(self.function, dict(bound.arguments), kind)


def dynamic(function: Callable[..., Any] | None = None, **_options: Any) -> Any:
    """Declare a dynamic workflow: `@dynamic`. Its tasks have options; its own have no effect."""
    return Dynamic if function is None else Dynamic(function)


def _sized(name: str) -> Any:
    return functools.partial(task, resources=sizes.SIZES[name])


small_task, medium_task, large_task = (_sized(name) for name in ("small", "medium", "large"))
small_gpu_task, large_gpu_task = _sized("small_gpu"), _sized("large_gpu")
#: All decorators of a fixed size, by name.
SIZED = {f"{name}_task": _sized(name) for name in sizes.SIZES}


def custom_task(cpu: Any, memory: Any, *, storage_gib: Any = 500, **options: Any) -> Any:
    """Declare a task with this number of CPUs and GiB. Each may be a function of some of the task's inputs.

    Raises ValueError for more than any machine has.
    """
    requested = (cpu, memory, storage_gib)
    if not any(callable(each) for each in requested):
        return functools.partial(task, resources=sizes.custom(cpu, memory, storage_gib), **options)

    def compute(**inputs: Any) -> Resources:
        def evaluate(each: Any) -> Any:
            if not callable(each):
                return each
            return each(**{name: inputs[name] for name in inspect.signature(each).parameters})

        return sizes.custom(*(evaluate(each) for each in requested))

    return functools.partial(task, resources=compute, **options)


def nextflow_runtime_task(cpu: int, memory: int, storage_gib: int = 50) -> Any:
    """The task in which Latch's generated entrypoints run Nextflow. `memory` is in GiB."""
    return custom_task(cpu, memory, storage_gib=storage_gib)


def lustre_setup_task() -> Any:
    """The task with which Latch's entrypoints prepare a file system."""
    return functools.partial(task, resources=Resources(2, 1))


def custom_memory_optimized_task(cpu: int, memory: int) -> Any:
    """Latch's older name for a custom task with much memory. `memory` is in GiB."""
    return custom_task(cpu, memory)


def _cached(size: str) -> Callable[[str], Any]:
    def decorator(cache_version: str) -> Any:
        if cache_version is None:
            raise ValueError("Must provide a cache version to a cached task.")
        return functools.partial(task, resources=sizes.SIZES[size], cache=True, cache_version=cache_version)

    decorator.__name__ = f"cached_{size}_task"
    decorator.__doc__ = f"The older form of {size}_task(cache=True, cache_version=...)."
    return decorator


#: Latch's older cached decorators, such as `cached_small_task("version")`, by name.
CACHED = {f"cached_{name}_task": _cached(name) for name in sizes.SIZES}


@dataclass(eq=False)
class MapTask:
    """A task that is mapped over lists: one call per element. Each call has its own cache entry."""

    task: Task
    bound: Mapping[str, Any] = field(default_factory=dict)

    def with_overrides(self, **options: Any) -> MapTask:
        """The same map with other options of its task."""
        return MapTask(self.task.overridden(options), self.bound)

    def __call__(self, /, **lists: Any) -> Any:
        scheduler = promises.running()
        if scheduler is not None:
            return scheduler.submit_all(self.task, self.bound, lists)
        return [self.task(**self.bound, **row) for row in call_inputs(self.task.name, lists)]


def call_inputs(name: str, lists: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The inputs of each call of a map over `lists`; `name` is the task's.

    Raises TypeError for a value that is not a list, ValueError for lists of different lengths.
    """
    for parameter, value in lists.items():
        if not isinstance(value, list | tuple):
            raise TypeError(f"map_task({name}): {parameter} must be a list, not {type(value).__name__}")
    if len({len(value) for value in lists.values()}) > 1:
        raise ValueError(f"map_task({name}): the lists differ in length: "
                         + ", ".join(f"{key} {len(value)}" for key, value in lists.items()))
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def map_task(task_function: Any, *, metadata: Any = None, **_options: Any) -> MapTask:
    """Map a task, or a functools.partial of one, over lists. Raises TypeError for anything else.

    `metadata`: flytekit's TaskMetadata, whose cache, cache_version, retries and timeout then hold.
    """
    bound: dict[str, Any] = {}
    if isinstance(task_function, functools.partial):
        if task_function.args:
            raise TypeError("map_task(partial(...)): bind by keyword")
        task_function, bound = task_function.func, dict(task_function.keywords)
    if not isinstance(task_function, Task):
        raise TypeError(f"map_task needs a task, not {task_function!r}")
    return MapTask(task_function.overridden(vars(metadata)) if metadata else task_function, bound)


@dataclass(eq=False)
class Workflow:
    """A function whose calls of tasks make the graph. `metadata` is a LatchMetadata, or None."""

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
        """Types by parameter name; `return` for the result's."""
        return source.hints_of(self.function)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        scheduler = promises.running()
        if scheduler is None or not (asked := source.asked_as_promises(self.function)):
            return self.function(*args, **kwargs)
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for name in asked & bound.arguments.keys():
            if not isinstance(bound.arguments[name], promises.Promise):
                bound.arguments[name] = scheduler.constant(name, bound.arguments[name])
        return self.function(*bound.args, **bound.kwargs)


def workflow(
    metadata: Any = None, *, storage_expiration_hours: float | None = None, **_options: Any
) -> Any:
    """Declare a workflow: `@workflow`, `@workflow(metadata)` or `@workflow(storage_expiration_hours=48)`."""
    if callable(metadata) and inspect.isfunction(metadata):
        return Workflow(metadata)
    return lambda function: Workflow(function, metadata, storage_expiration_hours)


class LaunchPlan:
    """Named inputs for a workflow. Latch files declare them for tests. In a workflow one can be called."""

    def __init__(self, workflow: Workflow, name: str, default_params: Mapping[str, Any] | None = None, *,
                 fixed: Mapping[str, Any] | None = None, **_options: Any) -> None:
        self.workflow = workflow
        self.name = name
        self.default_params = dict(default_params or {})
        self.fixed = dict(fixed or {})

    @classmethod
    def create(
        cls, name: str, workflow: Workflow, default_inputs: Mapping[str, Any] | None = None,
        fixed_inputs: Mapping[str, Any] | None = None, **_options: Any,
    ) -> LaunchPlan:
        """The form of flytekit."""
        return cls(workflow, name, default_inputs, fixed=fixed_inputs)

    @classmethod
    def get_or_create(cls, workflow: Workflow, name: str | None = None, **options: Any) -> LaunchPlan:
        """The form of flytekit. Without a name it has that of the workflow."""
        return cls.create(name or workflow.function.__name__, workflow, **options)

    @classmethod
    def get_default_launch_plan(cls, _context: object, workflow: Workflow) -> LaunchPlan:
        """The plan of a workflow that fixes nothing: flytekit's form."""
        return cls(workflow, workflow.function.__name__)

    def __call__(self, /, **given: Any) -> Any:
        """Call the workflow. Raises TypeError for an input that the plan fixes."""
        if taken := sorted(given.keys() & self.fixed.keys()):
            raise TypeError(f"launch plan {self.name}: it fixes {taken[0]}")
        return self.workflow(**{**self.default_params, **given, **self.fixed})


def message(typ: str, data: Mapping[str, Any]) -> None:
    """Latch's message from inside a task. It is printed to the task's standard error."""
    import sys

    print(f"{typ}: {data.get('title', '')}: {data.get('body', '')}", file=sys.stderr, flush=True)
