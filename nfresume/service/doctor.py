"""The checks and repairs of `nfresume doctor`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nfresume.domain.errors import NfresumeError, NotFound
from nfresume.nextflow import engine
from nfresume.runs import preflight
from nfresume.service import repairing
from nfresume.service.repairing import UnknownFolder
from nfresume.settings import Settings, user_name
from nfresume.storage import Root, trash
from nfresume.store import Store, queries
from nfresume.system import acting


@dataclass(frozen=True)
class Check:
    """The result of one check: `detail` is what was found, `hint` what to do when it is not `ok`."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


def run(conf: Settings) -> list[Check]:
    """All checks, in the order in which a launch depends on them."""
    return [
        _check("database", lambda: _database(conf)),
        _check("root", lambda: _root(conf)),
        _check("trash", lambda: _trash(conf)),
        _check("folders", lambda: _folders(conf)),
        _check("engine", lambda: _engine(conf)),
    ]


def mark_root(conf: Settings) -> Path:
    """Mark the configured root as nfresume's; returns its path. Raises RootUnusable."""
    with closing(Store.open(conf.database_url)) as store:
        return preflight.mark_root(store, conf).path


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except NfresumeError as e:
        return Check(name, False, e.message, e.hint)
    except OSError as e:
        return Check(name, False, str(e))


def _database(conf: Settings) -> str:
    with closing(Store.open(conf.database_url)) as store:
        with store.begin(write=False) as tx:
            running = [e for e in queries.newest(tx, None, limit=1000) if e.state.live]
    return f"can be opened, its schema is current; {len(running)} executions live"


def _root(conf: Settings) -> str:
    if not conf.root.exists() and conf.sources["root"] == "default":
        return f"{conf.root} does not exist yet; the first launch creates it"
    root = Root.open(conf.root)
    with closing(Store.open(conf.database_url)) as store:
        preflight.check_known(store, root)
    root.check_space()
    with root.descriptor():
        return f"{root.path} is marked and writable"


def _trash(conf: Settings) -> str:
    if not conf.root.exists():
        return "empty"
    with closing(Store.open(conf.database_url)) as store:
        unknown = []
        for execution_id in trash.entries(Root.open(conf.root)):
            with store.begin(write=False) as tx:
                try:
                    queries.get(tx, execution_id)
                except NfresumeError:
                    unknown.append(execution_id)
    if unknown:
        return f"{len(unknown)} entries of executions that this database does not know, left alone"
    return "the database knows everything in it"


def _folders(conf: Settings) -> str:
    found = unknown_folders(conf)
    kinds = {"executions on disk that this database does not know": [f for f in found if not f.known],
             "work dirs that were deleted are there again": [f for f in found if f.deleted],
             "executions with attempts that this database does not know":
                 [f for f in found if f.known and not f.deleted]}
    told = [f"{len(some)} {what}, left alone: {', '.join(folder.id for folder in some[:5])}"
            for what, some in kinds.items() if some]
    if told:
        raise NotFound("; ".join(told), "`nfresume doctor --repair`")
    return "the database knows every execution's folder"


def unknown_folders(conf: Settings) -> list[UnknownFolder]:
    """Executions in the configured root that the database does not know, and work dirs that came back."""
    if not conf.root.exists():
        return []
    with closing(Store.open(conf.database_url)) as store:
        return repairing.unknown_folders(store, Root.open(conf.root))


def repair(conf: Settings, unknown: UnknownFolder, *, keep: bool) -> str:
    """Adopt an unknown folder (`keep`), or delete its work dir. Returns one line that says what was done."""
    with closing(Store.open(conf.database_url)) as store:
        root = Root.open(conf.root)
        with store.begin(write=False) as tx:
            record = queries.root_at(tx, str(root.path))
        preflight.register(store, root, record)
        actor = f"{user_name()}@{conf.host}"
        with acting.for_account(conf, unknown.account):
            if keep:
                repairing.adopt(store, root, unknown, actor)
                return (f"{unknown.id} is adopted: kept until you decide (`nfresume relaunch`, `extend`, "
                        "`delete`)")
            done = repairing.release(store, conf, root, unknown, actor)
            return f"{unknown.id}: its work dir is {done.work_dir.state}"


def _engine(conf: Settings) -> str:
    found = engine.find(conf, install=False)
    return f"Nextflow {found.version} from {found.source}"
