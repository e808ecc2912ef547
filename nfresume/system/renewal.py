"""Renew a lease or a claim in a thread of its own, whatever its owner is doing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from nfresume.domain.errors import NfresumeError, StoreUnavailable


class Renewal:
    """Calls `renew` every `seconds` while the block runs. A database that is away is asked again.

    When `renew` raises anything else, the right is lost: `check` raises that error from then on.
    """

    def __init__(self, renew: Callable[[], None], seconds: float) -> None:
        self._renew = renew
        self._seconds = seconds
        self._over = threading.Event()
        self._lost: NfresumeError | None = None
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def __enter__(self) -> Renewal:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what `renew` raised (StaleLease, StaleClaim): the caller must stop."""
        if self._lost is not None:
            raise self._lost

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            try:
                self._renew()
            except StoreUnavailable:
                continue
            except NfresumeError as e:
                self._lost = e
                return
