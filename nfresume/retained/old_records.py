"""Remove what outlives a work dir, when that is long gone: records, logs, and attachments of web launches.

The setting `keep_records_days` says when. Nothing goes while the work dir is there, and of a launch dir only
the files that were attached, if they are still what was attached: results are the user's, wherever they are.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from nfresume.domain.errors import NotFound
from nfresume.domain.executions import ACCOUNT, Execution
from nfresume.domain.workdirs import WorkDirState
from nfresume.nextflow.command import DEFAULT_LOGS
from nfresume.retained import disposal
from nfresume.settings import Settings
from nfresume.storage import Root, removal, trash
from nfresume.store import Store, clock, queries
from nfresume.system import descriptors, durable

#: What nfresume itself makes in an execution's folder, beside what a work dir is.
_OURS = "attempts"
#: The key in an attempt's request that lists its attachments, each as name, size and mtime in ns.
ATTACHED = "attached"
#: Folder, beside an account's launch dirs, of parameters: those of relaunches of what a terminal launched.
PARAMS = ".params"

Attached = Sequence[tuple[str, int, int]]


def attached(folder: Path, names: Iterable[str]) -> list[tuple[str, int, int]]:
    """What came with a launch or relaunch from the web, for its request; `names` are relative to `folder`."""
    found = []
    for name in names:
        status = os.stat(folder / name)
        found.append((name, status.st_size, status.st_mtime_ns))
    return found


def expire(
    store: Store, conf: Settings, root: Root, stop: threading.Event,
    notify: Callable[[str], None] = lambda _: None, only: str | None = None,
) -> list[str]:
    """Remove the records of a root, or of one account, whose time is over. Returns the executions' ids.

    An execution that the database does not know stays. What cannot be removed is told to `notify`, and the
    others go on. Raises OSError, RootUnusable when the root is not there.
    """
    if conf.keep_records_days == 0:
        return []
    due = _due(store, conf, root, only)
    if not due or clock.believed(store) is None:
        return []
    gone = []
    for execution in due:
        if stop.is_set():
            break
        try:
            if _remove(conf, root, execution, stop):
                gone.append(execution.id)
        except FileNotFoundError:
            continue  # another sweep was faster
        except OSError as e:
            notify(f"the records of {execution.id} cannot be removed: {e}")
    return gone


def _due(store: Store, conf: Settings, root: Root, only: str | None) -> list[Execution]:
    """The executions on disk whose work dir was deleted long enough ago."""
    found = []
    with store.begin(write=False) as tx:
        before = tx.now - timedelta(days=conf.keep_records_days)
        for account, execution_id in _on_disk(root, only):
            try:
                execution = queries.get(tx, execution_id)
            except (NotFound, TypeError, ValueError):
                continue  # it is unknown, or its row cannot be read
            work_dir = execution.work_dir
            mine = (execution.account, execution.root_id) == (account, root.id)
            if mine and work_dir.state is WorkDirState.DELETED and (
                    work_dir.deleted_at is not None and work_dir.deleted_at < before):
                found.append(execution)
    return found


def _on_disk(root: Root, only: str | None) -> Iterator[tuple[str, str]]:
    """Account and id of each folder of an execution, of one account if it is named."""
    with os.scandir(root.path) as accounts:
        for account in accounts:
            wanted = only in (None, account.name) and ACCOUNT.fullmatch(account.name)
            if wanted and account.is_dir(follow_symlinks=False):
                with os.scandir(account.path) as executions:
                    yield from ((account.name, e.name) for e in executions
                                if not e.name.startswith(".") and e.is_dir(follow_symlinks=False))


def _remove(conf: Settings, root: Root, execution: Execution, stop: threading.Event) -> bool:
    """Remove one execution's folder; False when its work dir is still there."""
    folder = root.execution(execution.account, execution.id)
    requests = [folder.request(number) or {} for number in range(1, execution.attempt + 1)]
    with trash.folder(root, execution.account, execution.id) as (root_fd, fd):
        names = os.listdir(fd)
        if {"work", "cache"} & set(names):
            return False
        for request in requests:
            _remove_attachments(conf, execution, request.get(ATTACHED, ()))
        ours = [name for name in names if name == _OURS]
        if names and not ours:
            return False  # what is left is not ours, such as results that were published there
        if ours:
            trash.put(root_fd, execution.id, fd, ours)
    if len(names) == len(ours):
        with trash.folder(root, execution.account) as (_, account_fd):
            os.rmdir(execution.id, dir_fd=account_fd)
            durable.fsync_names(account_fd)
    removal.empty_trash(root, execution.id, pace=disposal.pace_of(conf, stop))
    return True


def _remove_attachments(conf: Settings, execution: Execution, files: Attached) -> None:
    """Remove what was attached to a launch from the web, Nextflow's logs, and folders that are empty then.

    Of a launch from a terminal these are the parameters of its relaunches from the web.
    """
    place, launches = Path(execution.launch_dir), conf.web_launches / execution.account
    files = [file for file in files if ".." not in Path(file[0]).parts]
    if place.parent != launches:
        files = [(name, size, mtime) for name, size, mtime in files
                 if Path(name).parent == Path(PARAMS) and Path(name).name.startswith(f"{execution.id}-")]
        place = launches
    for name, size, mtime in files:
        with contextlib.suppress(OSError), _opened(place, Path(name).parent.parts) as fd:
            found = os.lstat(Path(name).name, dir_fd=fd)
            if stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (size, mtime):
                os.unlink(Path(name).name, dir_fd=fd)
    for folder in sorted({parent for name, *_ in files for parent in Path(name).parents}, reverse=True):
        with contextlib.suppress(OSError), _opened(place, folder.parts[:-1]) as fd:
            if folder.parts:
                os.rmdir(folder.name, dir_fd=fd)
    if place != launches:
        with contextlib.suppress(OSError), _opened(place, ()) as fd:
            for name in DEFAULT_LOGS:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=fd)
        with contextlib.suppress(OSError):
            place.rmdir()


@contextmanager
def _opened(place: Path, parts: Iterable[str]) -> Iterator[int]:
    """A descriptor of a folder below a launch dir, opened without following a link. Raises OSError."""
    with descriptors.of(place.parent) as fd, descriptors.below(fd, (place.name, *parts)) as folder:
        yield folder
