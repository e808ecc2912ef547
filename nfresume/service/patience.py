"""Whoever follows a run waits for a database or files that are away, as the run and its supervisor do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nfresume.domain.errors import StoreUnavailable


class Patience:
    """Passes over the errors of one source, which is asked again. `say` is told of the first in a row."""

    def __init__(self, say: Callable[[str], None], execution_id: str) -> None:
        self._say = say
        self._id = execution_id
        self._away = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What is asked within; when it cannot be answered now, the last answer counts."""
        try:
            yield
        except (StoreUnavailable, OSError) as e:
            if not self._away:
                what = e.message if isinstance(e, StoreUnavailable) else f"its files cannot be read now ({e})"
                self._say(f"{what}; waiting, and {self._id} goes on meanwhile")
            self._away = True
        else:
            self._away = False
