"""The options of tasks and workflows: how they are read, and which of them have no effect here.

Source of the names: `task`, `workflow`, `map_task`, `LaunchPlan` and `with_overrides` of flytekit and Latch's
SDK. An option that no version of these has is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from nfresume.tasks import pods
from nfresume.tasks.sizes import Resources

#: Options of a task that are accepted and have no effect.
UNUSED_OF_TASKS = frozenset({
    "interruptible", "execution_mode", "node_dependency_hints", "task_resolver", "docs", "disable_deck",
    "enable_deck", "deck_fields", "pod_template_name", "accelerator", "shared_memory", "labels",
    "annotations", "enable_memory_profiling", "node_name", "name",
})
#: Options of a task that are accepted, and need nothing to be done: values of any type are taken anyway.
_NEED_NOTHING = frozenset({"pickle_untyped"})
UNUSED_OF_WORKFLOWS = frozenset({"interruptible", "docs", "default_options", "wf_name_override"})
UNUSED_OF_MAPS = UNUSED_OF_TASKS | {"security_ctx", "environment"}
UNUSED_OF_PLANS = frozenset({
    "schedule", "notifications", "labels", "annotations", "raw_output_data_config", "max_parallelism",
    "security_context", "auth_role", "trigger", "overwrite_cache", "auto_activate", "concurrency", "options",
    "cluster_assignment",
})
#: Options that a call can change, with `with_overrides` or a map's TaskMetadata.
OVERRIDABLE = frozenset({
    "requests", "limits", "resources", "task_config", "pod_template", "retries", "timeout", "cache",
    "cache_version", "cache_serialize", "cache_ignore_input_vars", "container_image",
})
#: Values with which an option asks for nothing.
_NOTHING: tuple[Any, ...] = (None, False, "", (), [], {})

_unused: dict[str, list[str]] = {}  # names of tasks and workflows by option
_told: set[str] = set()


def check(owner: str, given: Iterable[str], known: Set[str]) -> None:
    """Raise TypeError for an option that is not known."""
    if unknown := sorted(set(given) - known - _NEED_NOTHING):
        raise TypeError(f"{owner} has no option {unknown[0]!r}")


def note_unused(owner: str, given: Mapping[str, Any]) -> None:
    """Remember that `owner` has options without effect. Values that ask for nothing do not count."""
    for name, value in given.items():
        quiet = name in _NEED_NOTHING or any(value is each or value == each for each in _NOTHING)
        if not quiet and not (name == "disable_deck" and value):
            names = _unused.setdefault(name, [])
            if owner not in names:
                names.append(owner)


def unused() -> str | None:
    """One line about the options without effect that were not told before; None: there are none."""
    new = {name: owners for name, owners in _unused.items() if name not in _told}
    _told.update(new)
    if not new:
        return None
    parts = (f"{name} ({', '.join(owners[:3])}{', ...' if len(owners) > 3 else ''})"
             for name, owners in new.items())
    return f"options without effect here: {'; '.join(parts)}"


def seconds(timeout: Any) -> float:
    """A timeout in seconds, from seconds or a timedelta; 0 for None. Raises ValueError."""
    if not isinstance(timeout, int | float | timedelta | None):
        raise ValueError(f"timeout={timeout!r}: seconds, or a timedelta")
    found = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout or 0)
    if found < 0:
        raise ValueError("timeout must not be negative")
    return found


def retries(count: Any) -> int:
    """How often a task is tried again; 0 for None. Raises ValueError."""
    if not isinstance(count, int | None) or (count or 0) < 0:
        raise ValueError(f"retries={count!r}: a whole number that is not negative")
    return count or 0


def image(owner: str, container_image: Any) -> str:
    """The name of an image. An ImageSpec and a text with placeholders have no effect, which is noted."""
    if isinstance(container_image, str) and "{{" not in container_image:
        return container_image
    note_unused(owner, {"container_image": container_image})
    return ""


def resources(given: Mapping[str, Any]) -> Resources | Callable[..., Resources] | None:
    """What `resources`, `requests`, `limits` or a pod ask for; None: nothing.

    `resources` may be nfresume's own, or a function of the inputs. Raises ValueError for `resources` together
    with requests or limits.
    """
    whole = given.get("resources")
    if whole is None or isinstance(whole, Resources) or callable(whole):
        return pods.of_options(given) or whole
    if given.get("requests") or given.get("limits"):
        raise ValueError("resources cannot be used together with requests or limits")
    return pods.of_options({"requests": whole})


def secret_variables(owner: str, requested: Sequence[Any] | None) -> dict[str, str]:
    """The secrets that a task wants in environment variables, by variable.

    Any other request needs nothing: a task reads secrets by name. One that wants a file is noted.
    """
    found = {}
    for secret in requested or ():
        if not (variable := getattr(secret, "env_var", None)):
            continue
        if getattr(getattr(secret, "mount_requirement", None), "name", "") == "FILE":
            note_unused(owner, {"Secret(env_var=..., mount_requirement=FILE)": variable})
        else:
            found[variable] = secret.key or secret.group
    return found


# -- the cache ------------------------------------------------------------------------------------


@dataclass
class VersionParameters:
    """What a policy of a Cache makes a version of."""

    func: Callable[..., Any]
    container_image: Any = None
    pod_template: Any = None
    pod_template_name: str | None = None


class Cache:
    """Flyte's `cache=Cache(version="1")`.

    Without a version its policies make one of the function. Without policies the digest of the code counts,
    as for `True`, and `salt` with it.
    """

    def __init__(self, version: str | None = None, serialize: bool = False,
                 ignored_inputs: str | Sequence[str] = (), salt: str = "", policies: Any = None) -> None:
        self.version = version or ""
        self.serialize = serialize
        self.ignored_inputs = (ignored_inputs,) if isinstance(ignored_inputs, str) else tuple(ignored_inputs)
        self.salt = salt
        self.policies = policies if isinstance(policies, list | tuple | None) else [policies]

    def version_of(self, function: Callable[..., Any]) -> str:
        """The version for a function; empty: the digest of its code counts."""
        if self.version or not self.policies:
            return self.version
        parts = [str(each.get_version(self.salt, VersionParameters(function))) for each in self.policies]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Caching:
    """How a task is cached. `version` and `salt` as in Cache, `ignored` are inputs that do not count."""

    on: bool = False
    serialize: bool = False
    version: str = ""
    ignored: frozenset[str] = frozenset()
    salt: str = ""


def caching(given: Mapping[str, Any], function: Callable[..., Any]) -> Caching:
    """How the options of a task say that it is cached.

    Raises ValueError for a Cache together with the older options that it replaces.
    """
    cache = given.get("cache", False)
    version, serialize = given.get("cache_version"), given.get("cache_serialize")
    ignored = given.get("cache_ignore_input_vars")
    if not isinstance(cache, Cache):
        return Caching(bool(cache), bool(serialize), str(version or ""), frozenset(ignored or ()))
    if version or serialize or ignored:
        raise ValueError("cache=Cache(...) replaces cache_version, cache_serialize and "
                         "cache_ignore_input_vars")
    return Caching(True, cache.serialize, cache.version_of(function), frozenset(cache.ignored_inputs),
                   "" if cache.version else cache.salt)
