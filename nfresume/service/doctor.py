"""What `nfresume doctor` looks at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nfresume.domain.errors import NfresumeError, NotFound
from nfresume.nextflow import engine
from nfresume.runs import preflight
from nfresume.service import repairing
from nfresume.service.repairing import Stray
from nfresume.settings import Settings, user_name
from nfresume.storage import Root, trash
from nfresume.store import Store, queries
from nfresume.system import processes


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


def run(conf: Settings) -> list[Check]:
    """All checks, in the order in which a launch needs them."""
    return [
        _check("database", lambda: _database(conf)),
        _check("root", lambda: _root(conf)),
        _check("trash", lambda: _trash(conf)),
        _check("strays", lambda: _strays(conf)),
        _check("engine", lambda: _engine(conf)),
    ]


def mark_root(conf: Settings) -> Path:
    """Mark the root of the settings; returns its path."""
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
    return f"opens, is up to date; {len(running)} executions live"


def _root(conf: Settings) -> str:
    if not conf.root.exists() and conf.sources["root"] == "default":
        return f"{conf.root} will be made by the first launch"
    root = Root.open(conf.root)
    with closing(Store.open(conf.database_url)) as store:
        preflight.check_known(store, root)
    root.check_room()
    with root.descriptor():
        return f"{root.path} is marked and writable"


def _trash(conf: Settings) -> str:
    if not conf.root.exists():
        return "nothing in it"
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
    return "nothing in it that does not belong there"


def _strays(conf: Settings) -> str:
    found = strays(conf)
    if found:
        raise NotFound(f"{len(found)} executions on disk that this database does not know, left alone: "
                       f"{', '.join(stray.id for stray in found[:5])}", "`nfresume doctor --repair`")
    return "the database knows every execution's folder"


def strays(conf: Settings) -> list[Stray]:
    """Executions in the root of the settings that the database does not know."""
    if not conf.root.exists():
        return []
    with closing(Store.open(conf.database_url)) as store:
        return repairing.strays(store, Root.open(conf.root))


def repair(conf: Settings, stray: Stray, *, keep: bool) -> str:
    """Adopt a stray (`keep`), or delete its work dir; returns what became of it, in a line."""
    with closing(Store.open(conf.database_url)) as store:
        root = Root.open(conf.root)
        with store.begin(write=False) as tx:
            record = queries.root_at(tx, str(root.path))
        preflight.register(store, root, record)
        actor = f"{user_name()}@{processes.host()}"
        if keep:
            repairing.adopt(store, root, stray, actor)
            return f"{stray.id} is adopted: kept until you decide (`nfresume relaunch`, `extend`, `delete`)"
        done = repairing.release(store, conf, root, stray, actor)
        return f"{stray.id}: its work dir is {done.work_dir.state}"


def _engine(conf: Settings) -> str:
    found = engine.find(conf, install=False)
    return f"Nextflow {found.version} from {found.source}"
