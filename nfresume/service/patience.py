"""Whoever follows a run waits for a database that is away, as the run and its supervisor do."""

from __future__ import annotations

from collections.abc import Callable

from nfresume.domain.errors import StoreUnavailable
from nfresume.domain.executions import Execution


class Patience:
    """Asks about an execution. While the database is away the last answer counts; `say` is told once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._away = False

    def ask(self, question: Callable[[Execution], Execution], known: Execution) -> Execution:
        """The answer to `question`, or what is `known` while the database is away."""
        try:
            found = question(known)
        except StoreUnavailable as e:
            if not self._away:
                self._say(f"{e.message}; waiting for it, and {known.id} goes on meanwhile")
            self._away = True
            return known
        self._away = False
        return found
