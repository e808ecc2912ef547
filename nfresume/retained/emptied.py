"""What lean retention saves of an execution, from its manifest."""

from __future__ import annotations

from nfresume.domain.errors import NfresumeError
from nfresume.domain.executions import Execution
from nfresume.domain.workdirs import WorkDirState
from nfresume.retained import places
from nfresume.settings import Settings
from nfresume.storage import emptying
from nfresume.storage.emptying import Total
from nfresume.store import Store
from nfresume.system import acting


def of(store: Store, conf: Settings, execution: Execution) -> Total | None:
    """The emptied files of an execution. None: there are none, or its root is not mounted."""
    if execution.work_dir.state not in (WorkDirState.RETAINED, WorkDirState.ACTIVE):
        return None
    try:
        with acting.for_account(conf, execution.account):
            entries = emptying.load(places.folder_of(store, execution).cache)
    except NfresumeError:
        return None
    return emptying.total(entries) if entries else None
