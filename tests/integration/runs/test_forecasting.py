"""The forecast of a relaunch, against a model of Nextflow with real tasks."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from nfresume.nextflow.causes import Cause
from nfresume.runs import forecasting, lean_needs, taskdirs
from tests.proof.lean_model import SESSION, Engine, Pipeline, Process


def test_task_dirs_are_looked_at_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a shared file system the forecast does not wait for one task dir after the other."""
    pipeline, engine = Pipeline(random.Random(1)), Engine(tmp_path, random.Random(1))
    finished = [Process(f"P{number}", False, [], number) for number in range(8)]
    pipeline.processes = [*finished, Process("FAILS", False, [(each, "staged") for each in finished], 9,
                                              fails=True)]
    engine.number = 1
    engine.folder.provision(1)
    engine.hook = engine.folder.attempt(1) / "none.sh"
    assert not engine.run(pipeline)
    together = threading.Barrier(len(finished), timeout=10)  # raises unless all read at the same time
    read = taskdirs.exit_status

    def exit_status(place: Path) -> Cause | None:
        if place.name not in failed:
            together.wait()
        return read(place)

    failed = {Path(task.dir).name for task in lean_needs.tasks(engine.folder, 1).values()
              if task.name == "FAILS"}
    monkeypatch.setattr(taskdirs, "exit_status", exit_status)
    found = [forecasting.forecast(engine.folder, SESSION, 1, {}, readers=len(finished))]
    assert found[0].again == []
    assert sorted(task.name for task in found[0].reused) == [process.name for process in finished]
    assert found[0].again == []
