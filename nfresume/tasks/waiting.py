"""flytekit's gates. Time passes by itself; people and signals are not asked."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any, NoReturn

from nfresume.tasks import declaring
from nfresume.tasks.declaring import Task
from nfresume.tasks.sizes import Resources

#: The number of the task that waits. It is in no file of a workflow.
NUMBER = -1


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


_declared = list(declaring.declared_tasks)
SLEEP = Task(_sleep, Resources(0, 0))
SLEEP.number = NUMBER
declaring.declared_tasks[:] = _declared


def sleep(duration: timedelta) -> Any:
    """A call that waits so long, for `first >> sleep(timedelta(minutes=5)) >> second`."""
    return SLEEP(seconds=duration.total_seconds())


def approve(*_: object, **__: object) -> NoReturn:
    """Refuse: nobody would be asked."""
    raise NotImplementedError("approve() waits for a person, and nfresume asks nobody: leave it out, or let "
                              "two workflows do what comes before and after it")


def wait_for_input(*_: object, **__: object) -> NoReturn:
    """Refuse: nobody would be asked."""
    raise NotImplementedError("wait_for_input() waits for a person, and nfresume asks nobody: make it an "
                              "input of the workflow")
