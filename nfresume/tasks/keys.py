"""The key of a task's call. A result is reused only for an equal key.

A key has account, task name, signature, version, what the code uses, and input digests. Nothing else matters:
not the workflow around the task, the folder of its file, the order of keywords, or defaults that were written
out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from nfresume.tasks.declaring import Task
from nfresume.tasks.digests import of_text

#: How many characters of an input an explanation shows.
_SHOWN = 60


@dataclass(frozen=True)
class Key:
    """`inputs` are digests by name. `shown` are their texts for people, which are not compared.

    `classes` are the shapes of the workflow's own classes in the signature, by name. `enclosed` is the digest
    of what the function encloses. `helpers` are the digests of what it uses of the workflow's own files, by
    name. `unkeyed`: why calls of this task cannot be told apart; such a key is equal to no other, and its
    result is never reused.
    """

    account: str
    task: str
    signature: str
    version: str
    inputs: Mapping[str, str]
    code: bool = True  # the version is a digest of the code
    shown: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)
    enclosed: str = ""
    unkeyed: str = ""
    helpers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """The digest of the key. It is the name of the entry's folder."""
        parts = [self.account, self.task, self.signature, self.version, dict(self.inputs), dict(self.classes),
                 self.enclosed, self.unkeyed, *([dict(self.helpers)] if self.helpers else [])]
        return of_text(json.dumps(parts, sort_keys=True))

    @property
    def code_digest(self) -> str:
        """The digest of the code in the version; empty when the version does not have it."""
        return self.version.partition(" ")[0] if self.code else ""

    def json(self) -> dict[str, Any]:
        """The key as JSON, to be stored with a result."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def of_call(account: str, task: Task, inputs: Mapping[str, str], shown: Mapping[str, str]) -> Key:
    """The key of a call, from the digests of its inputs."""
    try:
        version, enclosed, unkeyed = task.version or task.code, task.enclosed, ""
    except ValueError as e:
        version, enclosed, unkeyed = "", "", str(e)
    return Key(account, task.name, task.signature_text, version, inputs, not task.version, shown,
               task.classes, enclosed, unkeyed, {} if task.version else task.helpers)


def of_json(data: Mapping[str, Any]) -> Key:
    """The key from the JSON of `Key.json`. Raises KeyError or TypeError for other JSON."""
    return Key(str(data["account"]), str(data["task"]), str(data["signature"]), str(data["version"]),
               dict(data["inputs"]), bool(data["code"]), dict(data["shown"]),
               dict(data["classes"]), str(data["enclosed"]), str(data["unkeyed"]),
               dict(data.get("helpers", {})))


def show(value: Any) -> str:
    """A short text that shows a value to people."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN - 3] + "..."


def differences(before: Key, now: Key) -> list[str]:
    """What differs between two keys, one sentence per part. Empty for equal keys."""
    found = []
    if before.account != now.account:
        found.append(f"it belongs to account {before.account}, not {now.account}")
    if before.task != now.task:
        found.append(f"the task is {now.task}, not {before.task}")
    if before.signature != now.signature:
        found.append(f"its signature changed from {before.signature} to {now.signature}")
    if before.version != now.version:
        found.append(_version_change(before, now))
    if before.enclosed != now.enclosed and before.version == now.version:
        found.append("what its function encloses changed")
    if before.version == now.version:
        found += [f"{name}, which it uses, changed" for name in sorted({*before.helpers, *now.helpers})
                  if before.helpers.get(name) != now.helpers.get(name)]
    for name in sorted({*before.classes, *now.classes}):
        old, new = before.classes.get(name), now.classes.get(name)
        if old != new and before.signature == now.signature:
            found.append(f"its class {name.rpartition(':')[2]} changed: from ({old}) to ({new})")
    for name in [*before.inputs, *(n for n in now.inputs if n not in before.inputs)]:
        old, new = before.inputs.get(name), now.inputs.get(name)
        if old != new and old is not None and new is not None:
            found.append(f"its input {name} changed: {_change(before, now, name)}")
    return found


def _version_change(before: Key, now: Key) -> str:
    if not (before.code and now.code):
        return f"its version changed from {_version(before)} to {_version(now)}"
    same = before.code_digest == now.code_digest
    return "its environment, image or salt changed" if same else "its code changed"


def _version(key: Key) -> str:
    return "its code" if key.code else repr(key.version)


def _change(before: Key, now: Key, name: str) -> str:
    old, new = before.shown.get(name, "?"), now.shown.get(name, "?")
    if old == new:
        what = f"{new} has another content" if new else "it is another result"
        return f"{what} ({before.inputs[name][:8]}, now {now.inputs[name][:8]})"
    return f"from {old} to {new}"
