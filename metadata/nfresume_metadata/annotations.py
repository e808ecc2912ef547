"""The annotation class that Latch files use in `Annotated[...]`."""

from __future__ import annotations

from typing import Any


class FlyteAnnotation:
    """Adds a dict to a type: `Annotated[LatchDir, FlyteAnnotation({"output": True})]`."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    @property
    def data(self) -> dict[str, Any]:
        """The dict that was passed in."""
        return self._data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FlyteAnnotation) and other._data == self._data

    def __hash__(self) -> int:
        return hash(repr(self._data))

    def __repr__(self) -> str:
        return f"FlyteAnnotation({self._data!r})"
