"""Classes with Latch's names meet those of the installed package, where it is loaded in the same process.

`isinstance` then accepts the one for the other, in both directions. Nothing here imports the package.
"""

from __future__ import annotations

from typing import Any

#: The installed package's class by the name of ours. Whoever loads the package fills it.
real_classes: dict[str, type] = {}


class _Meeting(type):
    """Lets `isinstance(theirs, Ours)` and `issubclass(Theirs, Ours)` be true."""

    def __instancecheck__(cls, instance: object) -> bool:
        return super().__instancecheck__(instance) or _accepts(cls, type(instance))

    def __subclasscheck__(cls, subclass: type) -> bool:
        return super().__subclasscheck__(subclass) or _accepts(cls, subclass)


def _accepts(ours: type, other: type) -> bool:
    real = real_classes.get(ours.__name__)
    return real is not None and type.__subclasscheck__(real, other)


class Meeting(metaclass=_Meeting):
    """A class of ours that has a counterpart of the same name in the installed package."""

    @property
    def __class__(self) -> Any:
        """The installed package's class, if it is loaded: so `isinstance(ours, Theirs)` is true."""
        return real_classes.get(type(self).__name__, type(self))

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TypeError("the class cannot be changed")
