"""Checks at the start of a server whether it can separate accounts by operating system users: `run_as`."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager

from nfresume.domain.errors import InvalidSettings, NfresumeError
from nfresume.domain.separation import OTHERS
from nfresume.settings import LauncherName, Settings, config_file
from nfresume.storage import Root, trash
from nfresume.store import Store, queries
from nfresume.system import acting

#: How long Python may take to import nfresume as another user.
_SECONDS = 60.0


def check(conf: Settings, store: Store) -> None:
    """Raise InvalidSettings with the reason why accounts could not be separated; else enforce that they are.

    Each user is tried: its folders, Python, the database, and what it must not read.
    """
    if not conf.run_as:
        return
    _check_server(conf)
    with store.begin(write=False) as tx:
        stored = queries.accounts_with_work_dirs(tx)
    for account in sorted({*stored, *(e.account for e in conf.run_as)} - {OTHERS}):
        with _refusing(account):
            _check_account(conf, account)
    acting.enforce(conf)


def _check_server(conf: Settings) -> None:
    if os.geteuid() != 0 or not acting.supported():
        raise InvalidSettings("run_as: this server cannot become other users",
                              "start it as root, on Linux on x86-64 or ARM; or start a server for each user")
    if conf.launcher is not LauncherName.LOCAL:
        raise InvalidSettings(f"run_as does not go with launcher = {conf.launcher}: users could read the URL "
                              "of the database in its order file",
                              "use the local launcher, or a server for each user")
    if not conf.database_url.startswith("postgresql"):
        raise InvalidSettings("run_as needs PostgreSQL: a file of SQLite would have to be open to every user",
                              "set database_url to postgresql://...")
    if conf.sources["root"] == "default":
        raise InvalidSettings("run_as needs a root that all users reach", "set root")
    os.makedirs(conf.web_launches, mode=0o755, exist_ok=True)
    if left := trash.entries(Root.open(conf.root)):
        raise InvalidSettings(f"run_as: {len(left)} removals of the time before are not done, such as "
                              f"{min(left)}", "run `nfresume sweep` without run_as first")


@contextmanager
def _refusing(account: str) -> Iterator[None]:
    try:
        yield
    except InvalidSettings:
        raise
    except NfresumeError as e:
        raise InvalidSettings(f"run_as: account {account}: {e.message}", e.hint) from None
    except (OSError, subprocess.SubprocessError) as e:
        raise InvalidSettings(f"run_as: account {account}: {e}", "see docs/security.md") from None


def _check_account(conf: Settings, account: str) -> None:
    user = acting.user_of(conf, account)
    with acting.for_account(conf, account):
        _check_hidden(conf, str(user))
        root = Root.open(conf.root)
        root.check_space(account)
        probe = conf.root / account / f".probe-{uuid.uuid4().hex[:8]}"
        probe.mkdir()
        probe.rename(conf.root / ".trash" / f".{os.geteuid()}" / probe.name)
        (conf.root / ".trash" / f".{os.geteuid()}" / probe.name).rmdir()
        with closing(Store.open(conf.database_url)):
            pass
        tried = subprocess.run(
            [sys.executable, "-I", "-c", "import nfresume.runs.supervising, nfresume.tasks.head"],
            env=acting.environment(conf, user), cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=_SECONDS, check=False)
    if tried.returncode != 0:
        last = (tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"])[-1]
        raise InvalidSettings(f"run_as: {user} cannot run nfresume's Python: {last}",
                              f"{sys.prefix} must be readable for all users")


def _check_hidden(conf: Settings, user: str) -> None:
    """Refuse a settings file that the user can read: it names the database, and holds secrets."""
    file = config_file()
    if os.access(file, os.R_OK):
        raise InvalidSettings(f"run_as: {user} can read {file}, which names the database",
                              f"chmod 600 {file}")
    for folder in (conf.root, conf.root / ".trash", conf.web_launches):
        if os.access(folder, os.W_OK):
            raise InvalidSettings(f"run_as: {user} can rename the folders of others in {folder}",
                                  f"chmod 755 {folder}")
