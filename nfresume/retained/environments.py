"""Conda environments and container images that Nextflow makes: kept by account, not in each work dir.

    <root>/<account>/.environments/<kind>/<name>       what Nextflow makes, as it names it
    <root>/<account>/.environments/.used/<kind>/<name> an empty file; its mtime is when a task last used it

Nextflow itself takes a folder from its configuration first, then from these variables, then in the work dir.
It locks what it makes there, so runs may share it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nfresume.domain.costs import metered_bytes
from nfresume.domain.executions import ExecutionState
from nfresume.domain.workdirs import WorkDirState
from nfresume.retained import disposal, tidying
from nfresume.settings import Settings
from nfresume.storage import Root, removal, scan, trash
from nfresume.store import Store, clock, ledger, queries
from nfresume.system import durable, regular

FOLDER = ".environments"
#: Nextflow's variable for each kind; the kind is also the name of its folder in a work dir.
VARIABLES = {
    "NXF_CONDA_CACHEDIR": "conda", "NXF_SPACK_CACHEDIR": "spack", "NXF_SINGULARITY_CACHEDIR": "singularity",
    "NXF_APPTAINER_CACHEDIR": "apptainer", "NXF_CHARLIECLOUD_CACHEDIR": "charliecloud",
}
_USED = ".used"
_SIZES = ".sizes.json"
_GOING = ".going-"
#: What was used within this time stays, whatever the setting says.
_RECENT_SECONDS = 3600.0


@dataclass(frozen=True)
class Kept:
    """An environment or image of a cache. `used_at` is a POSIX timestamp."""

    kind: str
    name: str
    used_at: float
    metered: int


def variables(account_folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for a head, without those that the user's environment has."""
    return {name: str(account_folder / FOLDER / kind) for name, kind in VARIABLES.items()
            if not environ.get(name)}


def touch(account_folder: Path, path: str) -> bool:
    """Note that a task uses the environment or image at `path` now. False: it is not one of this cache."""
    place = account_folder / FOLDER
    if not path.startswith(f"{place}/"):
        return False
    kind, _, rest = path[len(str(place)) + 1:].partition("/")
    name = rest.partition("/")[0]
    if kind not in VARIABLES.values() or not name or name.startswith("."):
        return False
    marker = place / _USED / kind / name
    with contextlib.suppress(OSError):  # a full disk: it then counts from when it was made
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    return True


def accounts(root: Root, only: str | None = None) -> Iterator[str]:
    """The accounts that have a cache in a root, or one account if it has one."""
    for place in sorted(root.path.glob(f"{only or '[!.]*'}/{FOLDER}")):
        if place.is_dir() and not place.is_symlink():
            yield place.parent.name


def entries(root: Root, account: str) -> list[Kept]:
    """What is in the cache of an account. Each is measured once, and again when it has changed."""
    place = root.path / account / FOLDER
    known = _known(place)
    sizes: dict[str, tuple[int, int]] = {}
    found = []
    for kind in sorted(set(VARIABLES.values())):
        for path in _listed(place / kind):
            key = f"{kind}/{path.name}"
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            metered = known[key][1] if known.get(key, (0,))[0] == status.st_mtime_ns else _measure(path)
            sizes[key] = status.st_mtime_ns, metered
            with contextlib.suppress(OSError):
                status_used = (place / _USED / key).stat()
                found.append(Kept(kind, path.name, max(status.st_ctime, status_used.st_mtime), metered))
                continue
            found.append(Kept(kind, path.name, status.st_ctime, metered))
    if sizes != known:
        durable.write(place / _SIZES, json.dumps(sizes).encode())
    return found


def to_remove(found: Iterable[Kept], conf: Settings, now: float, needed: float | None) -> list[Kept]:
    """What was not used for `environment_cache_hours`, not within the last hour, and not since `needed`.

    `now` and `needed` are timestamps; see `_needed_since`.
    """
    oldest = now - max(conf.environment_cache_hours * 3600, _RECENT_SECONDS)
    if needed is not None:
        oldest = min(oldest, needed)
    return [kept for kept in found if kept.used_at < oldest]


def tidy(
    store: Store, conf: Settings, root: Root, stop: threading.Event, *, thorough: bool,
    believed: Callable[[Store], datetime | None] = clock.believed, only: str | None = None,
) -> None:
    """Remove what was not used for long, and sample each cache, for a sweep. Raises OSError, RootUnusable.

    `only`: just this account's. Nothing is done while the clock may be ahead.
    """
    for account in accounts(root, only):
        if stop.is_set():
            return
        place = root.path / account / FOLDER
        if not tidying.is_due(place, thorough=thorough):
            continue
        if (now := believed(store)) is None:
            return
        _drop_going(root, account)
        found = entries(root, account)
        old = to_remove(found, conf, now.timestamp(), _needed_since(store, account))
        gone = remove(store, conf, root, account, old) if old and not _in_use(store, account) else []
        with store.begin() as tx:
            ledger.sample_cache(tx, root.id, account, sum(kept.metered for kept in found if kept not in gone),
                                "environments")
        tidying.note(place)


def remove(store: Store, conf: Settings, root: Root, account: str, found: Iterable[Kept]) -> list[Kept]:
    """Remove environments and images; returns which are gone. None goes while an execution may use it.

    Each is renamed first, then live executions are looked for: one that was launched before finds it again,
    as it gets its name back; one that is launched later makes it anew.
    """
    gone: list[Kept] = []
    for kept in found:
        with trash.folder(root, account, FOLDER, kept.kind) as (root_fd, folder_fd):
            aside = f"{_GOING}{kept.name}"
            try:
                os.rename(kept.name, aside, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            except FileNotFoundError:
                continue
            if _in_use(store, account):
                with contextlib.suppress(OSError):  # made anew meanwhile: then this one goes
                    os.rename(aside, kept.name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
                    return gone
            trash.put(root_fd, trash.TASKS, folder_fd, [aside])
            gone.append(kept)
        with contextlib.suppress(FileNotFoundError):
            (root.path / account / FOLDER / _USED / kept.kind / kept.name).unlink()
    if gone:
        removal.empty_trash(root, trash.TASKS, pace=disposal.pace_of(conf))
    return gone


def _drop_going(root: Root, account: str) -> None:
    """Remove what an earlier removal had renamed when it died. The next sweep empties the trash."""
    for kind in set(VARIABLES.values()):
        if not (root.path / account / FOLDER / kind).is_dir():
            continue
        with trash.folder(root, account, FOLDER, kind) as (root_fd, folder_fd):
            if names := [name for name in os.listdir(folder_fd) if name.startswith(_GOING)]:
                trash.put(root_fd, trash.TASKS, folder_fd, names)


def _needed_since(store: Store, account: str) -> float | None:
    """When the account's oldest execution was launched whose work dir is not deleted; None: there is none.

    What was used since then may be one of its environments. Nextflow looks at the time of a conda
    environment's folder: made anew, it runs every task again that used it (measured with 24.10.5).
    """
    with store.begin(write=False) as tx:
        kept = [e.created_at for e in queries.newest(tx, account, limit=10**9)
                if e.work_dir.state is not WorkDirState.DELETED]
    return min(kept).timestamp() if kept else None


def _in_use(store: Store, account: str) -> bool:
    """True while an execution of the account is live."""
    live = [state for state in ExecutionState if state.live]
    with store.begin(write=False) as tx:
        return bool(queries.newest(tx, account, states=live, limit=1))


def _listed(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []


def _known(place: Path) -> dict[str, tuple[int, int]]:
    try:
        return {name: (int(mtime), int(size)) for name, (mtime, size)
                in regular.document(place / _SIZES).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _measure(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        return scan.measure(path / ".none", [path]).total.metered
    return metered_bytes(path.lstat().st_size)
