"""Whoever follows a run waits for a database or files that are away, as the run and its supervisor do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nfresume.domain.errors import RootUnusable, StoreUnavailable

#: After so many seconds without its files the supervisor gives up, too.
_AWAY_SECONDS = 600.0


class Patience:
    """Passes over the errors of one source, which is asked again. `say` is told of the first in a row.

    `away`: the last question could not be answered.
    """

    def __init__(self, say: Callable[[str], None], execution_id: str) -> None:
        self._say = say
        self._id = execution_id
        self._since: float | None = None

    @property
    def away(self) -> bool:
        return self._since is not None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What is asked within; when it cannot be answered now, the last answer counts.

        Raises RootUnusable when files were away for ten minutes.
        """
        try:
            yield
        except StoreUnavailable as e:
            self._note(e.message)
        except OSError as e:
            if self._since is not None and time.monotonic() - self._since > _AWAY_SECONDS:
                raise RootUnusable(f"the files of {self._id} cannot be read ({e})",
                                   f"`nfresume show {self._id}` tells how it ended, once they can be") from e
            self._note(f"its files cannot be read now ({e})")
        else:
            self._since = None

    def _note(self, what: str) -> None:
        if self._since is None:
            self._since = time.monotonic()
            self._say(f"{what}; waiting for it, and {self._id} goes on meanwhile")
