"""A pipeline has replaced files of its execution: pages neither wait for them nor fill the memory."""

from __future__ import annotations

import os

import pytest

from nfresume.nextflow.record import Status, Task
from nfresume.system import bounded
from tests.integration.web.test_tasks import PAGE, WES, Web, web

__all__ = ["web"]  # a fixture


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_pages_of_an_execution_with_replaced_files(web: Web, kind: str):
    """Nobody waits for whoever writes to a FIFO: two such pages would hold all reads of a user, four those of
    all users.
    """
    web.write(Task(1, "A", Status.RUNNING, "ab/cdef01"))
    for file in (web.writer.path, web.attempt / "sources.json", web.folder.cache / "history"):
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        os.mkfifo(file) if kind == "fifo" else file.symlink_to("/dev/zero")
    for path in (PAGE, f"{PAGE}/tasks", f"{PAGE}/log", f"{PAGE}/relaunch", WES, f"{WES}/tasks"):
        answer = bounded.call(20, lambda path=path: web.client.get(path, headers=web.token))
        assert answer.status_code == 200, path
