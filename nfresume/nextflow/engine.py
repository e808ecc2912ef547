"""Find the Nextflow to run: the configured one, the one on PATH, PyPI's launcher, or the embedded engine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nfresume import home
from nfresume.domain.errors import EngineUnavailable
from nfresume.nextflow import embedded
from nfresume.settings import Settings
from nfresume.system import acting, durable

#: The first version with NXF_CACHE_DIR, which moves cache and history; older ones ignore it.
MINIMUM = (24, 4)
EMBEDDED = "embedded engine"
#: Nextflow's own launcher, installed with the extra `nextflow`. It downloads the version that it runs.
LAUNCHER = "Nextflow's launcher from PyPI"
_VERSION = re.compile(r"version (\d+\.\d+\.\d+\S*)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m|\x1b\(B|.*\r\x1b\[K")
_PROBE_SECONDS = 180  # on its first use the launcher downloads Nextflow
#: How long a failed download is remembered.
_FAILED_SECONDS = 3600.0


@dataclass(frozen=True)
class Engine:
    """A Nextflow that can be run. `launcher`: first words of its argument vector; `source`: its origin.

    `why` says what chose it. `environment` is added to the user's.
    """

    launcher: tuple[str, ...]
    version: str
    source: str
    path: str
    environment: Mapping[str, str] = field(default_factory=dict)
    why: str = ""

    @property
    def name(self) -> str:
        """The name stored with an attempt: the path of the user's executable, or `embedded engine`."""
        return self.source if self.source in (EMBEDDED, LAUNCHER) else self.path

    def started_with(self, properties: Sequence[str]) -> tuple[str, ...]:
        """The launcher with the user's `-DNAME=VALUE` words, which Nextflow's own launcher gives to Java."""
        if self.source != EMBEDDED:
            return self.launcher
        return (self.launcher[0], *properties, *self.launcher[1:])


@dataclass(frozen=True)
class Wanted:
    """The version of Nextflow that is asked for, and what asks: NXF_VER, or a setting."""

    version: str
    source: str


def wanted(settings: Settings, environ: Mapping[str, str] = os.environ) -> Wanted | None:
    """The version that is asked for: NXF_VER comes first, then the setting `nextflow_version`."""
    if version := environ.get("NXF_VER"):
        return Wanted(version, "NXF_VER")
    if settings.nextflow_version is not None:
        return Wanted(settings.nextflow_version, settings.sources["nextflow_version"])
    return None


def find(
    settings: Settings, notify: Callable[[str], None] = lambda _: None, *, install: bool = True
) -> Engine:
    """The engine to use. Installs the embedded engine if it is needed and `install` is true.

    `notify` gets the progress of the installation. Raises EngineUnavailable, also when the version that is
    asked for cannot be had.
    """
    asked, own = wanted(settings), _own_launcher()
    if settings.nextflow is not None:
        return _executable(settings.nextflow, f"nextflow setting ({settings.sources['nextflow']})", asked)
    on_path = shutil.which("nextflow")
    if on_path and (own is None or os.path.realpath(on_path) != os.path.realpath(own)):
        return _executable(Path(on_path), "PATH", asked)
    if asked is not None and asked.version != embedded.VERSION:
        if own is None:
            raise EngineUnavailable(
                f"{asked.source} asks for Nextflow {asked.version}, and the embedded engine is "
                f"{embedded.VERSION}", "pip install 'nfresume[nextflow]' brings a launcher that "
                f"downloads any version; or unset {asked.source}")
        return _from_launcher(own, settings, asked)
    why = f"{asked.source} asks for {asked.version}" if asked else "no Nextflow is configured or on PATH"
    if asked is None and own is not None:
        try:
            return _from_launcher(own, settings, None)
        except EngineUnavailable as e:
            why = f"{LAUNCHER} cannot be used: {e.message}"
    return _embedded(settings, notify, install=install, why=why)


def _own_launcher() -> Path | None:
    """The `nextflow` that PyPI's package has put beside our Python; None when it is not installed."""
    program = Path(sysconfig.get_path("scripts")) / "nextflow"
    return program if os.access(program, os.X_OK) else None


def _from_launcher(program: Path, settings: Settings, asked: Wanted | None) -> Engine:
    """PyPI's launcher with our Java, unless the user names another. Raises EngineUnavailable."""
    environment = {}
    if asked is not None:
        environment["NXF_VER"] = asked.version
    if settings.java_home is not None or not any(
            os.environ.get(name) for name in ("NXF_JAVA_HOME", "JAVA_CMD", "JAVA_HOME")):
        environment["JAVA_CMD"] = str(embedded.java(settings.java_home, newest=embedded.LAUNCHER_JAVA_MAX))
    found = _executable(program, LAUNCHER, asked, environment)
    return replace(found, why=f"{asked.source} asks for {asked.version}" if asked else
                   "nfresume[nextflow] is installed")


def _embedded(settings: Settings, notify: Callable[[str], None], *, install: bool, why: str) -> Engine:
    java = embedded.java(settings.java_home)
    if not install and not embedded.folder().exists():
        raise EngineUnavailable(f"the embedded engine (Nextflow {embedded.VERSION}) is not installed yet",
                                "`nfresume engine install` installs it now; otherwise the first launch does")
    jars = embedded.install(java, notify)
    return Engine(
        launcher=tuple(embedded.launcher(java, jars, os.environ)), version=embedded.VERSION,
        source=EMBEDDED, path=str(jars), environment={"NXF_CLI": "nextflow"}, why=why,
    )


def _executable(
    path: Path, source: str, asked: Wanted | None = None, environment: Mapping[str, str] | None = None
) -> Engine:
    added = dict(environment or {})
    if not path.is_file() or not os.access(path, os.X_OK):
        raise EngineUnavailable(f"{path} is not an executable file (from {source})",
                                "NFRESUME_NEXTFLOW must name Nextflow's launcher")
    if asked is not None:
        added["NXF_VER"] = asked.version
    version = _version(path, added)
    if asked is not None and version != asked.version:
        raise EngineUnavailable(f"{asked.source} asks for Nextflow {asked.version}, {path} runs {version}",
                                f"unset {asked.source}, or name another launcher")
    if tuple(int(n) for n in version.split(".")[:2]) < MINIMUM:
        raise EngineUnavailable(
            f"Nextflow {version} ({path}) is too old: before 24.04 it ignores NXF_CACHE_DIR",
            "install 24.04 or newer, or unset NFRESUME_NEXTFLOW to use the embedded engine",
        )
    return Engine((str(path),), version, source, str(path), added, f"from {source}")


def _version(path: Path, added: Mapping[str, str]) -> str:
    """What `nextflow -version` prints, cached until the launcher, the version asked for or the Java changes.

    A failure is cached, too, for _FAILED_SECONDS: without a network a download may take minutes to fail.
    """
    real = Path(os.path.realpath(path))
    found = real.stat()
    environ = {**acting.environment(), **added}
    identity = [str(real), found.st_size, found.st_mtime_ns,
                *(environ.get(name, "") for name in ("NXF_VER", "JAVA_HOME", "NXF_JAVA_HOME", "JAVA_CMD",
                                                     "NXF_HOME", "NXF_DIST"))]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
    memory = home.folder("cache") / "versions" / key
    failure = memory.with_suffix(".failed")
    try:
        return memory.read_text()
    except OSError:
        pass
    try:
        if path == _own_launcher() and time.time() - failure.stat().st_mtime < _FAILED_SECONDS:
            raise EngineUnavailable(failure.read_text(), "it is tried again an hour after it failed")
    except OSError:
        pass
    try:
        version = _ask_version(path, environ)
    except EngineUnavailable as e:
        _remember(failure, e.message)
        raise
    _remember(memory, version)
    return version


def _remember(file: Path, text: str) -> None:
    """Cache a text. Where that cannot be done, it is asked for again next time."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        durable.write(file, text.encode())


def _ask_version(path: Path, environ: Mapping[str, str]) -> str:
    try:
        done = subprocess.run([str(path), "-version"], capture_output=True, text=True, errors="replace",
                              timeout=_PROBE_SECONDS, stdin=subprocess.DEVNULL, check=False,
                              env=dict(environ))
    except (OSError, subprocess.TimeoutExpired) as e:
        raise EngineUnavailable(f"{path} cannot be run: {e}", "check it with `nextflow -version`") from None
    if found := _VERSION.search(done.stdout):
        return found[1]
    lines = [_COLOUR.sub("", line).strip() for line in (done.stderr + done.stdout).splitlines()]
    said = next((line for line in lines if line), f"exit status {done.returncode} and no output")
    if path == _own_launcher():
        version = environ.get("NXF_VER") or "today's version"
        raise EngineUnavailable(f"Nextflow ({version}) cannot be downloaded: {said}",
                                "connect to the network once, or choose another with NXF_VER")
    raise EngineUnavailable(f"{path} -version failed: {said}", "repair it, or unset NFRESUME_NEXTFLOW")
