"""What flytekit tells a running task: `current_context()`."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nfresume.tasks import checkpoints, cloud

LOGGER = logging.getLogger("flytekit")


class Deck:
    """A page that flytekit shows of a task. It is kept, and shown nowhere."""

    def __init__(self, name: str = "", html: str | None = "") -> None:
        self.name = name
        self.html = html or ""

    def append(self, html: str) -> Deck:
        """Add to the page."""
        self.html += f"\n{html}"
        return self

    @staticmethod
    def publish() -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Identifier:
    """The id of an execution, with the parts that one of Flyte has."""

    name: str
    project: str = ""
    domain: str = ""

    def __str__(self) -> str:
        return self.name


class Context:
    """What flytekit knows about the running task."""

    logging = LOGGER
    checkpoint = checkpoints.Checkpoint()
    default_deck = timeline_deck = Deck()
    decks: list[Deck] = []  # noqa: RUF012 - nobody reads it

    def has_attr(self, name: str) -> bool:
        """Whether there is something of this name, such as a SPARK_SESSION."""
        return hasattr(self, name)

    @property
    def working_directory(self) -> str:
        """The folder of the task."""
        return os.getcwd()

    @property
    def execution_id(self) -> Identifier:
        """The id of the execution: `execution_id.name`."""
        return Identifier(os.environ.get("NFRESUME_EXECUTION", ""))

    @property
    def execution_date(self) -> datetime:
        """The time of this call."""
        return datetime.now(UTC)

    class secrets:  # noqa: N801 - flytekit's name
        """The secrets of the task."""

        @staticmethod
        def get(group: str, key: str = "", **_: object) -> str:
            """The secret `key`, or `group` if there is no key. Raises NeedsLatch when it is not set."""
            return cloud.get_secret(key or group)

        @staticmethod
        def get_secrets_file(group: str, key: str = "", **_: object) -> str:
            """A file with the secret, which goes with the task. Raises NeedsLatch when it is not set."""
            file = Path(tempfile.mkdtemp(), key or group)
            file.write_text(cloud.get_secret(key or group))
            return str(file)
