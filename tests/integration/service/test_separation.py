"""`run_as` is refused at the start of a server, with the reason, where users could not be kept apart."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from nfresume import settings, web
from nfresume.domain.errors import InvalidSettings
from nfresume.domain.separation import NoUser, parse
from nfresume.service import separation
from nfresume.settings import LauncherName, Settings
from nfresume.storage import Root
from nfresume.store import Store, transitions
from nfresume.system import acting
from nfresume.web.routes import AccountRoute
from tests.conftest import privileged

as_root = pytest.mark.skipif(os.geteuid() != 0 or not privileged(), reason="only root becomes other users")
USER = 54001


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that every user can enter: those of pytest are closed to others."""
    place = Path(tempfile.mkdtemp(prefix="nfresume-separation-", dir="/var/tmp"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings under which nothing but the database and Python could be refused."""
    file = tmp_path / "nfresume.toml"
    file.touch(0o600)
    monkeypatch.setenv(settings.CONFIG_ENV, str(file))
    Root.mark(tmp_path / "root")
    (tmp_path / "launches").mkdir()
    return settings.load({
        settings.CONFIG_ENV: str(file), "NFRESUME_ROOT": str(tmp_path / "root"),
        "NFRESUME_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "NFRESUME_RUN_AS": json.dumps({"ada": USER}),
        "NFRESUME_WEB_LAUNCHES": str(tmp_path / "launches")})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """What the server has stored; that users could not open it does not matter here."""
    made = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield made
    made.close()


@as_root
@pytest.mark.parametrize(("changes", "reason"), [
    ({"database_url": "sqlite:////x.db"}, "needs PostgreSQL"),
    ({"launcher": LauncherName.SLURM}, "does not go with launcher = slurm"),
    ({"sources": {"root": "default"}}, "needs a root"),
    ({"run_as": parse({"ada": 0})}, "is root"),
    ({"run_as": parse({"ada": "nobody-here"})}, "there is no user nobody-here"),
    ({}, "cannot open the state database"),
])
def test_what_is_refused(conf: Settings, store: Store, changes: dict[str, Any], reason: str):
    """The server does not start, and says what is missing. The last one has nothing else amiss."""
    with pytest.raises(InvalidSettings, match=reason):
        separation.check(replace(conf, **changes), store)
    assert (os.getresuid(), os.getresgid()) == ((0, 0, 0), (0, 0, 0))


@as_root
def test_files_that_the_user_must_not_have(conf: Settings, store: Store, tmp_path: Path):
    """A settings file that the user can read, a root that it can change, and a folder of someone else."""
    (tmp_path / "nfresume.toml").chmod(0o644)
    with pytest.raises(InvalidSettings, match="which names the database"):
        separation.check(conf, store)
    (tmp_path / "nfresume.toml").chmod(0o600)
    conf.root.chmod(0o777)
    with pytest.raises(InvalidSettings, match="can rename the folders of others"):
        separation.check(conf, store)
    conf.root.chmod(0o755)
    (conf.root / "ada").rmdir()
    os.symlink("/etc", conf.root / "ada")
    with pytest.raises(InvalidSettings, match="is not a folder of 54001"):
        separation.check(conf, store)


@as_root
def test_work_dirs_of_an_account_without_a_user(conf: Settings, store: Store):
    """Nobody could expire them: the server asks for a line of this account."""
    root = Root.open(conf.root)
    with store.begin() as tx:
        transitions.register_root(tx, root.id, str(root.path), root.inode)
        transitions.launch(tx, transitions.NewExecution(
            id="x-222222", account="zoe", root_id=root.id, work_dir="/w", pipeline="m.nf", launch_dir="/l",
            session_id="s", storage_expiration_hours=0, storage_expiration_source="default", pinned=False),
            transitions.NewAttempt("m.nf", (), False, "/n", "24.10.5", "local"), "me")
    conf = replace(conf, run_as=parse({"adb": USER}))
    with pytest.raises(InvalidSettings):  # of adb: the database
        separation.check(conf, store)
    conf = replace(conf, run_as=parse({"zzz": USER}))
    with pytest.raises(InvalidSettings, match="account zoe has no operating system user"):
        separation.check(conf, store)


def test_without_the_setting_nothing_is_checked(conf: Settings, store: Store):
    """Any user may start a server, with any database."""
    separation.check(replace(conf, run_as=(), database_url="sqlite:////x.db"), store)


@as_root
def test_a_thread_is_the_user(tmp_path: Path, conf: Settings):
    """Inside of the block this thread, and what it starts, is the user; other threads are not.

    A program is the user for good; the thread is root again afterwards.
    """
    seen: list[object] = []
    started, over = threading.Event(), threading.Event()

    def bystander() -> None:
        started.wait()
        seen.append(os.geteuid())
        over.set()

    other = threading.Thread(target=bystander)
    other.start()
    with acting.for_account(conf, "ada"):
        started.set()
        over.wait()
        inner = threading.Thread(target=lambda: seen.append(os.geteuid()))
        inner.start()
        inner.join()
        with pytest.raises(PermissionError):
            (tmp_path / "nfresume.toml").read_text()
        words = [sys.executable if os.access(sys.executable, os.X_OK) else "/usr/bin/python3", "-c",
                 "import os; print([*os.getresuid(), *os.getresgid(), *os.getgroups()])"]
        program = subprocess.run(words, capture_output=True, text=True, check=True)
        with acting.as_server():
            seen.append(os.geteuid())
        seen.append(os.geteuid())
    other.join()
    assert seen == [0, USER, 0, USER]
    assert json.loads(program.stdout) == [USER] * 7
    assert (os.getresuid(), os.getresgid()) == ((0, 0, 0), (0, 0, 0))


@as_root
def test_a_folder_is_never_opened_as_another_user(conf: Settings):
    """Whatever forgets to act as the user of an account fails. Nor does a program of a user get secrets."""
    code = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from nfresume import settings\n"
        "from nfresume.storage import Root\n"
        "from nfresume.system import acting\n"
        "conf = settings.load()\n"
        "acting.enforce(conf)\n"
        "root = Root.open(conf.root)\n"
        "try:\n    root.execution('ada', 'x')\n"
        "except RuntimeError as e:\n    print(e)\n"
        "with acting.for_account(conf, 'ada'):\n"
        "    root.execution('ada', 'x')\n"
        "    for env in (None, dict(os.environ)):\n"
        "        try:\n            subprocess.run(['true'], env=env)\n"
        "        except RuntimeError as e:\n            print(e)\n"
        "    print(sorted(name for name in acting.environment() if 'NFRESUME' in name))\n"
        "    subprocess.run(['true'], env=acting.environment())\n")
    env = {**os.environ, "NFRESUME_RUN_AS": json.dumps({"ada": USER}), "NFRESUME_ROOT": str(conf.root),
           "NFRESUME_WEB_LAUNCHES": str(conf.web_launches), "NFRESUME_DATABASE_URL": conf.database_url}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "a folder of account ada would be opened as uid 0",
        *["a program of another user would get the server's environment"] * 2,
        "['NFRESUME_CONFIG', 'NFRESUME_ENGINES']"], done.stderr


def test_an_ordinary_user_acts_for_nobody(conf: Settings):
    """A process that is not root refuses accounts of other users."""
    pid = os.fork()
    if pid == 0:
        code = 1
        if os.geteuid() == 0:
            os.setresuid(54009, 54009, 54009)
        with contextlib.suppress(Exception):
            try:
                acting.for_account(conf, "ada").__enter__()
            except NoUser:
                code = 0
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@as_root
def test_an_account_without_a_user_is_nobody(conf: Settings):
    """An endpoint for it can use the database, and no file that is not everybody's; it launches nothing."""
    with acting.for_looking(conf, "zoe"):
        assert os.geteuid() == 65534
        with pytest.raises(PermissionError):
            settings.config_file().read_text()
    with pytest.raises(NoUser), acting.for_account(conf, "zoe"):
        pass


@as_root
def test_removals_of_the_time_before(conf: Settings, store: Store):
    """Users have parts of the trash of their own: what is in it already must go first."""
    (conf.root / ".trash/x-222222-abcdef01").mkdir()
    with pytest.raises(InvalidSettings, match="1 removals of the time before"):
        separation.check(conf, store)


def test_every_endpoint_with_a_service_acts_as_the_user():
    """Whatever gets the Service of an account, or a frame of its pages, is an AccountRoute."""
    modules = [importlib.import_module(f"nfresume.web.{each.name}")
               for each in pkgutil.iter_modules(web.__path__)]
    routes = [route for module in modules if hasattr(module, "router")
              for route in module.router.routes if isinstance(route, APIRoute)]

    def gets(route: APIRoute) -> set[str]:
        annotations = inspect.get_annotations(inspect.unwrap(route.endpoint), eval_str=True)
        return set(re.findall(r"\w+", " ".join(map(str, annotations.values()))))

    given = [route for route in routes if {"Service", "Frame"} & gets(route)]
    assert len(given) > 40
    assert [route.path for route in given if not isinstance(route, AccountRoute)] == []
