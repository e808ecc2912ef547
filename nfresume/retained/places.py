"""Where an execution lies: its marked root, and its folder in it."""

from __future__ import annotations

from pathlib import Path

from nfresume.domain.errors import RootUnusable
from nfresume.domain.executions import Execution
from nfresume.storage import Root
from nfresume.storage.root import ExecutionFolder
from nfresume.store import Store, queries


def root_of(store: Store, execution: Execution) -> Root:
    """The marked root that holds an execution. Raises RootUnusable if it is not there, or another."""
    with store.begin(write=False) as tx:
        record = queries.root(tx, execution.root_id)
    root = Root.open(Path(record.path))
    if root.id != record.id:
        raise RootUnusable(f"{record.path} is another root than the one that was recorded",
                           "nothing was touched; mount the right one")
    return Root(root.path, record.id, record.inode)


def folder_of(store: Store, execution: Execution) -> ExecutionFolder:
    """The folder of an execution in its marked root."""
    return root_of(store, execution).execution(execution.account, execution.id)
