"""The forecast of a relaunch, against a model of Nextflow with real tasks."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

from nfresume.runs import forecasting, lean_needs
from tests.conftest import until
from tests.proof.lean_model import SESSION, Engine, Pipeline, Process


def test_task_dirs_are_looked_at_side_by_side(tmp_path: Path):
    """On a shared file system the forecast does not wait for one task dir after the other."""
    pipeline, engine = Pipeline(random.Random(1)), Engine(tmp_path, random.Random(1))
    finished = [Process(f"P{number}", False, [], number) for number in range(8)]
    pipeline.processes = [*finished, Process("FAILS", False, [(each, "staged") for each in finished], 9,
                                              fails=True)]
    engine.number = 1
    engine.folder.provision(1)
    engine.hook = engine.folder.attempt(1) / "none.sh"
    assert not engine.run(pipeline)
    fifos = [Path(engine.work, task.dir, ".exitcode") for task in lean_needs.tasks(engine.folder, 1).values()
             if task.name != "FAILS"]
    for fifo in fifos:
        fifo.unlink()
        os.mkfifo(fifo)
    found: list[forecasting.Forecast] = []
    threading.Thread(target=lambda: found.append(forecasting.forecast(
        engine.folder, SESSION, 1, {}, readers=len(fifos))), daemon=True).start()
    writers: list[int] = []

    def all_are_read() -> bool:
        try:  # opening one for writing fails while nobody reads it
            writers.append(os.open(fifos[len(writers)], os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return len(writers) == len(fifos)

    until(all_are_read, 10, "all task dirs are looked at")
    for writer in writers:
        os.write(writer, b"0")
        os.close(writer)
    until(lambda: bool(found), 10, "the forecast is ready")
    assert found[0].again == []
    assert sorted(task.name for task in found[0].reused) == [process.name for process in finished]
    assert found[0].again == []
