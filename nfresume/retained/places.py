"""Find the root and the folder of an execution."""

from __future__ import annotations

import os
from pathlib import Path

from nfresume.domain.errors import RootUnusable
from nfresume.domain.executions import Execution
from nfresume.storage import Root
from nfresume.storage.root import ExecutionFolder
from nfresume.store import Store, queries


def root_of(store: Store, execution: Execution) -> Root:
    """The marked root of an execution. Raises RootUnusable if it is missing or not the recorded one."""
    with store.begin(write=False) as tx:
        record = queries.root(tx, execution.root_id)
    root = Root.open(Path(record.path))
    if root.id != record.id:
        raise RootUnusable(f"{record.path} is not the recorded root",
                           "nothing was touched; mount the right one")
    return Root(root.path, record.id, record.inode)


class Folders:
    """The folders of many executions, for a report that only reads: each root is opened and checked once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._roots: dict[str, Root] = {}

    def of(self, execution: Execution) -> ExecutionFolder:
        """The folder of an execution in its root. Raises RootUnusable."""
        if execution.root_id not in self._roots:
            self._roots[execution.root_id] = root_of(self._store, execution)
        return self._roots[execution.root_id].execution(execution.account, execution.id)


def folder_of(store: Store, execution: Execution) -> ExecutionFolder:
    """The folder of an execution in its root. Raises RootUnusable."""
    return Folders(store).of(execution)


def of_others(folder: Path) -> str | None:
    """Why a folder is for another user to change; None when this process may, or when nothing is there."""
    try:
        owner = os.stat(folder).st_uid
    except FileNotFoundError:
        return None
    except PermissionError:
        return f"this user may not see {folder}"
    if os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        return None
    if os.statvfs(folder).f_flag & os.ST_RDONLY:  # nobody may
        return None
    return f"this user may not change {folder}, which is of user {owner}"
