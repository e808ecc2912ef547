"""Samples the sizes of work dirs from time to time, in at most 1 % of the process's time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from nfresume.domain.errors import NfresumeError
from nfresume.domain.executions import Execution
from nfresume.retained import disposal
from nfresume.settings import Settings
from nfresume.store import Store
from nfresume.system import acting

_log = logging.getLogger("nfresume.sampling")
#: Seconds of rest for each second of measuring.
_REST = 99.0


class Sampler:
    """Measures work dirs and rests in proportion. The first measurement of a work dir never waits."""

    def __init__(self, store: Store, conf: Settings) -> None:
        self._store = store
        self._conf = conf
        self._rest_until = 0.0

    def measure(
        self, execution: Execution, stop: threading.Event, watch: Callable[[], None] = lambda: None
    ) -> bool:
        """Measure one work dir. While resting, return False and do nothing. Errors are logged, not raised.

        `watch` is called several times a second.
        """
        if execution.work_dir.measured_at is not None and time.monotonic() < self._rest_until:
            return False
        begun = time.monotonic()
        try:
            with acting.for_account(self._conf, execution.account):
                disposal.record_size(self._store, self._conf, execution, stop, lambda _: watch())
        except (NfresumeError, OSError) as e:
            _log.warning("%s: cannot be measured: %s", execution.id, e)
        now = time.monotonic()
        self._rest_until = max(self._rest_until, now) + _REST * (now - begun)
        return True
