"""The decorators with which a Python file declares tasks and workflows. They are those of Latch's SDK.

Inside a running workflow, calling a task returns a promise. Anywhere else it calls the function.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nfresume.tasks import coercion, failing, options, promises, shapes, sizes, source
from nfresume.tasks.sizes import Resources

#: Options of a task's cache and of its resources.
_OF_TASKS = frozenset({"cache", "cache_serialize", "cache_version", "cache_ignore_input_vars", "resources",
                       "requests", "limits", "task_config", "pod_template"})
#: All tasks that the loaded file declares, in its order. A worker process finds its task by its number here.
declared_tasks: list[Task] = []


@dataclass(eq=False)
class Task:
    """A function that runs in a process of its own. `resources` may be a function of the inputs.

    `ignored` are inputs that no key contains: a result is reused whatever they are. `timeout` is in seconds;
    0 means no timeout. If `version` is empty, a digest of the code is used instead, with `salt`. `secrets`
    are names by environment variable. `deprecated`: what to say about the task when it is called.
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
    salt: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    deprecated: str = ""

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.function)
        named: Any = getattr(self.function, "func", self.function)  # of a partial
        self.short_name = str(getattr(named, "__name__", type(named).__name__))
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
    def digest(self) -> str:
        """The digest of the function's code. Raises ValueError when its source cannot be read."""
        return source.code_digest(self.function)

    @property
    def code(self) -> str:
        """The digest of the code, and the options that change a result: salt, environment and image."""
        seen = {name: value for name, value in (
            ("environment", dict(self.environment)), ("image", self.image)) if value}
        text = hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16] if seen else ""
        return " ".join(filter(None, (self.digest, self.salt, text)))

    @functools.cached_property
    def enclosed(self) -> str:
        """The digest of what the function encloses. Raises closures.NoKey, a ValueError."""
        from nfresume.tasks import closures  # digests files, which most who import this module never do

        return closures.digest_of(self.function, pinned=bool(self.version))

    @functools.cached_property
    def helpers(self) -> dict[str, str]:
        """The digests of what the function uses of the workflow's own files, by name."""
        from nfresume.tasks import helpers

        return helpers.used_by(self.function)

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

    def overridden(self, given: Mapping[str, Any]) -> Task:
        """The same task with other options, as `with_overrides` gives them."""
        made = copy.copy(self)  # not a task of its own: it keeps its number
        made.resources = options.resources(given) or made.resources
        made.retries = options.retries(given["retries"]) if "retries" in given else made.retries
        made.timeout = options.seconds(given["timeout"]) if "timeout" in given else made.timeout
        made.image = options.image(self.short_name, given.get("container_image")) or made.image
        if given.get("cache") is not None:
            caching = options.caching(given, self.function)
            made.cache, made.salt = caching.on, caching.salt or made.salt
            made.cache_serialize = caching.on and (caching.serialize or made.cache_serialize)
            made.ignored |= caching.ignored
            made.version = caching.version or made.version
        made.version = str(given.get("cache_version") or made.version)
        options.note_unused(self.short_name, {k: v for k, v in given.items() if k not in options.OVERRIDABLE})
        return made

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        scheduler = promises.running()
        if scheduler is None:
            return None if promises.left_out() else self.call(self.bind(*args, **kwargs))
        return scheduler.submit(self, self.bind(*args, **kwargs))


def task(
    _task_function: Callable[..., Any] | None = None, *, retries: int = 0, timeout: Any = 0,
    environment: Mapping[str, str] | None = None, dockerfile: Any = None, container_image: Any = None,
    secret_requests: Any = None, deprecated: str = "", **more: Any,
) -> Any:
    """Declare a task: `@task`, `@task(cache=True)` or `task(function, cache=True)`. `timeout` is in seconds.

    `more` are options of its cache and its resources, and such without effect. Raises TypeError for an
    unknown option, ValueError for a bad value.
    """
    options.check("a task", more, options.UNUSED_OF_TASKS | _OF_TASKS)
    seconds, tries = options.seconds(timeout), options.retries(retries)
    resources = options.resources(more) or Resources(1, 0)

    def declare(function: Callable[..., Any]) -> Task:
        caching = options.caching(more, function)
        name = getattr(function, "__name__", "task")
        options.note_unused(name, {k: v for k, v in more.items() if k not in _OF_TASKS})
        return Task(function, resources, caching.on, caching.serialize, caching.version, tries, seconds,
                    dict(environment or {}), caching.ignored, str(dockerfile or ""),
                    options.image(name, container_image), caching.salt,
                    options.secret_variables(name, secret_requests), deprecated or "")

    return declare if _task_function is None else declare(_task_function)


@dataclass(eq=False)
class Dynamic:
    """A workflow whose function is called when the values of its inputs are known. So it may test them."""

    function: Callable[..., Any]
    fail_fast: bool = False
    on_failure: Any = None
    catches: ClassVar[bool] = False  # whether it may go on after a call has failed

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
        return scheduler.submit_dynamic(self, dict(bound.arguments))


def dynamic(function: Callable[..., Any] | None = None, **more: Any) -> Any:
    """Declare a dynamic workflow: `@dynamic`. Its tasks have options; its own have no effect."""
    known = inspect.signature(task).parameters.keys() | options.UNUSED_OF_TASKS | _OF_TASKS
    options.check("a dynamic workflow", more, known)

    def declare(declared: Callable[..., Any]) -> Dynamic:
        options.note_unused(declared.__name__, more)
        return Dynamic(declared)

    return declare if function is None else declare(function)


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
class Workflow:
    """A function whose calls of tasks make the graph. `metadata` is a LatchMetadata, or None.

    `fail_fast`: its first failure stops all its calls. `on_failure`: a task or workflow with the same inputs,
    which is called when the workflow has failed.
    """

    function: Callable[..., Any]
    metadata: Any = None
    storage_expiration_hours: float | None = None
    fail_fast: bool = False
    on_failure: Any = None
    catches: ClassVar[bool] = False

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.function)
        self.signature = inspect.signature(self.function)
        if self.storage_expiration_hours is None and self.metadata is not None:
            declared_hours = getattr(self.metadata, "_non_standard", None) or {}
            runtime = getattr(self.metadata, "runtime_resources", None)
            self.storage_expiration_hours = declared_hours.get(
                "storage_expiration_hours", getattr(runtime, "storage_expiration_hours", None))
        if self.on_failure is not None:
            failing.check_handler(self.on_failure, self.function)

    @functools.cached_property
    def hints(self) -> dict[str, Any]:
        """Types by parameter name; `return` for the result's."""
        return source.hints_of(self.function)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        scheduler = promises.running()
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        if scheduler is None:
            return self._call_plainly(bound)
        for name in source.asked_as_promises(self.function) & given.keys():
            if not isinstance(given[name], promises.Promise):
                given[name] = scheduler.constant(f"the input {name}", given[name])
        with scheduler.nested(self, given) as scope:
            value = self.function(*bound.args, **bound.kwargs)
            value = coercion.named(value, kind := self.hints.get("return", Any))
            coercion.check_given(value, kind)
            return scheduler.returned(scope, value)

    def _call_plainly(self, bound: inspect.BoundArguments) -> Any:
        """Call the function outside of an execution. After an error the on_failure is called too."""
        try:
            return self.function(*bound.args, **bound.kwargs)
        except Exception as e:
            if self.on_failure is not None:
                failing.call_handler(self.on_failure, bound.arguments, str(e), "")
            raise


def workflow(
    metadata: Any = None, *, storage_expiration_hours: float | None = None, failure_policy: Any = None,
    on_failure: Any = None, _workflow_function: Any = None, **more: Any,
) -> Any:
    """Declare a workflow: `@workflow`, `@workflow(metadata)` or `@workflow(storage_expiration_hours=48)`.

    `failure_policy`: with FAIL_IMMEDIATELY the first failure stops everything. Without it, and with
    FAIL_AFTER_EXECUTABLE_NODES_COMPLETE, a failed task stops only what depends on it.
    """
    options.check("a workflow", more, options.UNUSED_OF_WORKFLOWS)
    fail_fast = getattr(failure_policy, "name", failure_policy) == "FAIL_IMMEDIATELY"

    def declare(function: Callable[..., Any], given: Any = None) -> Workflow:
        options.note_unused(function.__name__, more)
        return Workflow(function, given, storage_expiration_hours, fail_fast, on_failure)

    if inspect.isfunction(metadata):
        return declare(metadata)
    if _workflow_function is not None:
        return declare(_workflow_function, metadata)
    return lambda function: declare(function, metadata)


def message(typ: str, data: Mapping[str, Any]) -> None:
    """Latch's message from inside a task. It is printed to the task's standard error."""
    import sys

    print(f"{typ}: {data.get('title', '')}: {data.get('body', '')}", file=sys.stderr, flush=True)
