"""flytekit's checkpoint: what a task keeps for its next try. It lies in the work dir, and goes with that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nfresume.system import durable
from nfresume.tasks import task_files

FOLDER = ".checkpoints"
#: Where the checkpoint of the running task is.
VARIABLE = "NFRESUME_CHECKPOINT"


class Checkpoint:
    """What the last try of this call has written. A relaunch has it too, if code and inputs are the same."""

    def _place(self) -> Path:
        place = os.environ.get(VARIABLE)
        if not place:
            raise NotImplementedError("only a running task has a checkpoint")
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        return Path(place)

    def prev_exists(self) -> bool:
        """True when an earlier try has written one."""
        return self._place().exists()

    def write(self, content: bytes) -> None:
        """Keep this content, instead of what was kept before."""
        durable.write(self._place(), content)

    def read(self) -> bytes | None:
        """The content that is kept; None: there is none."""
        return self._place().read_bytes() if self.prev_exists() else None

    def save(self, cp: Any) -> None:
        """Keep a file, or what is in an open one."""
        self.write(cp.read() if hasattr(cp, "read") else Path(cp).read_bytes())

    def restore(self, path: Any = None) -> Path | None:
        """Copy what is kept to a file. Returns its path; None: there is none."""
        if not self.prev_exists():
            return None
        target = Path(path or "checkpoint")
        task_files.copy(self._place(), target / "checkpoint" if target.is_dir() else target)
        return target
