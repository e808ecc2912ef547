"""Latch's functions on lists and dicts, named after operators of Nextflow's channels."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nfresume_metadata import LatchFile


def _combine(left: Any, right: Any) -> list[Any]:
    """Both values in one list. A value that is a list contributes its items."""
    return [*(left if isinstance(left, list) else [left]), *(right if isinstance(right, list) else [right])]


def _join(left: Mapping[str, Any], right: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: _combine(left[key], right[key]) if key in left and key in right
            else (left if key in left else right)[key] for key in keys}


def inner_join(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the keys that both have, joined into lists."""
    return _join(left, right, [key for key in left if key in right])


def left_join(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the keys of `left`, joined with those of `right` where it has the key."""
    return _join(left, right, list(left))


def right_join(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the keys of `right`, joined with those of `left` where it has the key."""
    return _join(left, right, list(right))


def outer_join(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the keys that either has, joined where both have the key."""
    return _join(left, right, list(dict.fromkeys((*left, *right))))


def group_tuple(channel: Sequence[Sequence[Any]], key_index: int | None = None) -> list[tuple[Any, ...]]:
    """One tuple for each key, in which every other member is the list of its values.

    Raises ValueError for a tuple that has no member at `key_index`.
    """
    at = key_index or 0
    groups: dict[Any, tuple[Any, ...]] = {}
    for row in channel:
        if not 0 <= at < len(row):
            raise ValueError(f"group_tuple: {row} has no member {at}")
        group = groups.setdefault(row[at], tuple(
            row[at] if place == at else [] for place in range(len(row))))
        for place, value in enumerate(row):
            if place != at:
                group[place].append(value)
    return list(groups.values())


def latch_filter(
    channel: Sequence[Any], predicate: Callable[[Any], Any] | re.Pattern[str] | type | None
) -> list[Any]:
    """The items for which a function is true, the texts that a pattern matches, or the items of a type.

    A type is callable, and Latch calls it: then the items stay that it makes something true of.
    """
    if isinstance(predicate, re.Pattern):
        return [item for item in channel if isinstance(item, str) and predicate.match(item)]
    if predicate is None:
        return list(channel)
    return [item for item in channel if predicate(item)]


def combine(channel_0: Sequence[Any], channel_1: Sequence[Any], by: int | None = None) -> list[Any]:
    """All pairs of an item of each list. With `by`: only of tuples that are equal there, the key first.

    Raises ValueError for an item that is no tuple, or has no member `by`.
    """
    if by is None:
        return list(itertools.product(channel_0, channel_1))
    groups: dict[Any, tuple[list[Any], list[Any]]] = {}
    for side, channel in enumerate((channel_0, channel_1)):
        for row in channel:
            if not isinstance(row, tuple) or not 0 <= by < len(row):
                raise ValueError(f"combine: {row!r} is not a tuple with a member {by}")
            groups.setdefault(row[by], ([], []))[side].append(row[:by] + row[by + 1:])
    return [(key, *first, *second) for key, (left, right) in groups.items()
            for first, second in itertools.product(left, right)]


def file_glob(pattern: str, remote_directory: str, target_dir: Path | None = None) -> list[LatchFile]:
    """The files that a pattern matches in the working folder or `target_dir`, with their remote paths.

    They are sorted. Where `remote_directory` is a local folder they have no remote paths. An empty list when
    it is another text, as in Latch's.
    """
    found = sorted((Path.cwd() if target_dir is None else Path(target_dir)).glob(pattern))
    if remote_directory.startswith("/"):
        return [LatchFile(str(path)) for path in found]
    if "://" not in remote_directory:
        return []
    return [LatchFile(str(path), remote_directory.removesuffix("/") + "/" + path.name) for path in found]
