"""Find the Nextflow to run: the configured one, the one on PATH, or the embedded engine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from nfresume.domain.errors import EngineUnavailable
from nfresume.nextflow import embedded
from nfresume.settings import Settings
from nfresume.system import durable

#: The first version with NXF_CACHE_DIR, which moves cache and history; older ones ignore it.
MINIMUM = (24, 4)
EMBEDDED = "embedded engine"
_VERSION = re.compile(r"version (\d+\.\d+\.\d+\S*)")
_PROBE_SECONDS = 180  # on its first use the launcher downloads Nextflow


@dataclass(frozen=True)
class Engine:
    """A Nextflow that can be run. `launcher`: first words of its argument vector; `source`: its origin."""

    launcher: tuple[str, ...]
    version: str
    source: str
    path: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name stored with an attempt: the path of the user's executable, or `embedded engine`."""
        return self.source if self.source == EMBEDDED else self.path


def find(
    settings: Settings, notify: Callable[[str], None] = lambda _: None, *, install: bool = True
) -> Engine:
    """The engine to use. Installs the embedded engine if it is needed and `install` is true.

    `notify` gets the progress of the installation. Raises EngineUnavailable.
    """
    if settings.nextflow is not None:
        return _executable(settings.nextflow, f"nextflow setting ({settings.sources['nextflow']})")
    if on_path := shutil.which("nextflow"):
        return _executable(Path(on_path), "PATH")
    java = embedded.java(settings.java_home)
    if not install and not embedded.folder().exists():
        raise EngineUnavailable(f"the embedded engine (Nextflow {embedded.VERSION}) is not installed yet",
                                "`nfresume engine install` installs it now; otherwise the first launch does")
    jars = embedded.install(java, notify)
    return Engine(
        launcher=tuple(embedded.launcher(java, jars, os.environ)), version=embedded.VERSION,
        source=EMBEDDED, path=str(jars), environment={"NXF_CLI": "nextflow"},
    )


def _executable(path: Path, source: str) -> Engine:
    if not path.is_file() or not os.access(path, os.X_OK):
        raise EngineUnavailable(f"{path} is not an executable file (from {source})",
                                "NFRESUME_NEXTFLOW must name Nextflow's launcher")
    version = _version(path)
    if tuple(int(n) for n in version.split(".")[:2]) < MINIMUM:
        raise EngineUnavailable(
            f"Nextflow {version} ({path}) is too old: before 24.04 it ignores NXF_CACHE_DIR",
            "install 24.04 or newer, or unset NFRESUME_NEXTFLOW to use the embedded engine",
        )
    return Engine((str(path),), version, source, str(path))


def _version(path: Path) -> str:
    """What `nextflow -version` prints, cached until the launcher, NXF_VER or the Java home changes."""
    real = Path(os.path.realpath(path))
    found = real.stat()
    identity = [str(real), found.st_size, found.st_mtime_ns, os.environ.get("NXF_VER", ""),
                os.environ.get("JAVA_HOME", ""), os.environ.get("NXF_JAVA_HOME", "")]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
    memory = platformdirs.user_cache_path("nfresume") / "versions" / key
    try:
        return memory.read_text()
    except OSError:
        version = _ask_version(path)
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        durable.write(memory, version.encode())
    except OSError:
        pass  # not cached: asked again next time
    return version


def _ask_version(path: Path) -> str:
    try:
        done = subprocess.run([str(path), "-version"], capture_output=True, text=True, errors="replace",
                              timeout=_PROBE_SECONDS, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise EngineUnavailable(f"{path} cannot be run: {e}", "check it with `nextflow -version`") from None
    if found := _VERSION.search(done.stdout):
        return found[1]
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    said = lines[0] if lines else f"exit status {done.returncode} and no output"
    raise EngineUnavailable(f"{path} -version failed: {said}", "repair it, or unset NFRESUME_NEXTFLOW")
