"""Containers for tasks: their image, the engine that runs them, and what a Dockerfile would install.

A task that has an image runs in it: its tools are those of the image. Its function runs in nfresume's own
Python, which is mounted. So the image needs no Python, and packages that it has for another one are not seen.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nfresume
from nfresume import settings
from nfresume.tasks import gpus
from nfresume.tasks.digests import of_text

ENGINES = ("docker", "podman", "apptainer")
#: Environment variables that a task may need in its container, beside those that its decorator sets.
_PASSED = re.compile(r"(AWS_\w+|NFRESUME_\w+|https?_proxy|no_proxy|SSL_CERT_FILE)", re.IGNORECASE)
_INSTALL = re.compile(
    r"(?:apt(?:-get)?|apk|yum|dnf|pip3?|uv pip|conda|mamba|micromamba)\b.*?\b(?:install|add)\b(.*)")
_SYSTEM = ("/", "/usr", "/usr/local")
_NAME = re.compile(r"[A-Za-z][\w.+-]*")


class CannotBuild(ValueError):
    """An image cannot be built. The message says why."""


@dataclass(frozen=True)
class Container:
    """An image, and the program that runs it. `kind` is one of ENGINES."""

    engine: str
    kind: str
    image: str

    def command(self, words: Sequence[str], task_dir: Path, writable: Iterable[str],
                readable: Iterable[str], gpu_names: tuple[str, ...] = ()) -> list[str]:
        """The command that runs `words` in a container, which sees these places at their own paths."""
        devices = gpus.options(self.kind, gpu_names)
        mounts = {str(path): ":ro" for path in (*_python(), *readable)}
        mounts |= {str(path): "" for path in (task_dir, *writable)}
        names = [name for name in os.environ if _PASSED.fullmatch(name)]
        if self.kind == "apptainer":
            binds = [word for path, how in mounts.items() for word in ("--bind", f"{path}:{path}{how}")]
            return [self.engine, "exec", "--contain", "--writable-tmpfs", "--pwd", str(task_dir), *devices,
                    *binds, self.image, *words]
        volumes = [word for path, how in mounts.items() for word in ("--volume", f"{path}:{path}{how}")]
        passed = [word for name in names for word in ("--env", name)]
        owner = ["--env", f"NFRESUME_OWNER={os.getuid()}:{os.getgid()}"] if self.kind == "docker" else []
        init = ["--init"] if self.kind == "docker" or _has_init() else []
        return [self.engine, "run", "--rm", *init, "--workdir", str(task_dir), "--entrypoint", words[0],
                *devices, *volumes, *passed, *owner, self.image, *words[1:]]


def _has_init() -> bool:
    """True when podman has the program that `--init` needs: Debian's package only recommends it."""
    folders = (os.environ.get("PATH", os.defpath), "/usr/libexec/podman", "/usr/lib/podman",
               "/usr/libexec/catatonit")
    return any(shutil.which("catatonit", path=folder) for folder in folders)


def _python() -> list[Path]:
    """What this Python consists of: its installation, its environment, and nfresume."""
    places = {Path(sys.prefix), Path(nfresume.__file__).parent.parent, Path(sys.base_prefix)}
    if sys.base_prefix in _SYSTEM:  # the tools of the image are there
        places = {place for place in places if str(place) not in _SYSTEM}
        places |= {Path(sys.executable), Path(os.path.realpath(sys.executable)),
                   Path(sysconfig.get_path("stdlib"))}
    places |= {Path(each) for each in sys.path if each and Path(each).is_dir()}
    real = {Path(os.path.realpath(place)) for place in places} | places
    return sorted(path for path in real if not any(other in path.parents for other in real))


class Containers:
    """The container of each task. `folders` are where a Dockerfile may be, the workflow file's own first."""

    def __init__(self, conf: settings.Settings, folders: Sequence[Path]) -> None:
        self._image = conf.container_image
        self._folders = folders
        self._wish = conf.container_engine
        self._built: dict[Path, str | None] = {}
        self.notes: list[str] = []

    def of(self, dockerfile: str | None, image: str | None = None) -> Container | None:
        """The container of a task whose decorator names `dockerfile` or `image`; None: it runs on the host.

        A reason to run on the host is in `notes`, once for each Dockerfile. Raises CannotBuild.
        """
        if (chosen := image or self._image) is not None:
            if self._engine[0]:
                return Container(*self._engine, chosen)
            self._note(Path(chosen))
            return None
        file = self._find(dockerfile)
        if file is None:
            return None
        if self._engine[1] in ("", "apptainer"):
            self._note(file)
            return None
        if self._built.get(file) is None:
            self._built[file] = self._build(file)
        return Container(*self._engine, str(self._built[file]))

    @functools.cached_property
    def _engine(self) -> tuple[str, str]:
        """Program and kind of the engine; two empty texts: there is none that works."""
        if self._wish == "none":
            return "", ""
        for name in ENGINES if self._wish is None else (self._wish,):
            found = shutil.which(name)
            if found is not None and (self._wish is not None or _works(found)):
                return found, next((kind for kind in ENGINES if kind in Path(name).name), "docker")
        return "", ""

    def _find(self, named: str | None) -> Path | None:
        candidates = [folder / (named or "Dockerfile") for folder in self._folders]
        return next((path for path in candidates if path.is_file()), None)

    def _build(self, file: Path) -> str:
        tag = f"nfresume-{of_text(str(file))[:12]}"
        words = [self._engine[0], "build", "--tag", tag, "--file", str(file), str(self._folders[-1])]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace")
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise CannotBuild(f"the image of {file} cannot be built: {lines[-1]} "
                              "(container_engine = \"none\" runs tasks on the host)")
        return tag

    def _note(self, file: Path) -> None:
        """Note that tasks run on the host, and not in the image of a Dockerfile, or of this name."""
        if file in self._built:
            return
        self._built[file] = None
        why = ("apptainer builds no Dockerfiles: set container_image" if self._engine[0]
               else "there is no container engine that works")
        if not file.is_file():
            self.notes.append(f"tasks use the tools of this host, not those of {file} ({why})")
            return
        tools = ", ".join(installed_by(file.read_text(errors="replace"))) or "nothing that its text names"
        self.notes.append(f"tasks use the tools of this host ({why}); {file.name} would install: {tools}")


def _works(engine: str) -> bool:
    """True when an engine answers: a client whose daemon does not run is of no use."""
    words = [engine, "version" if "apptainer" in Path(engine).name else "info"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def installed_by(dockerfile: str) -> list[str]:
    """The packages that a Dockerfile installs, in its order, as far as its text tells."""
    found: list[str] = []
    for line in re.sub(r"\\\s*\n(?:\s*#.*\n)*", " ", dockerfile).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "RUN":
            for command in re.split(r"&&|;|\|\|", rest):
                if (match := _INSTALL.search(command)) is not None:
                    found += _packages(match[1])
    return list(dict.fromkeys(found))


def _packages(words: str) -> list[str]:
    try:
        split = shlex.split(words)
    except ValueError:
        split = words.split()
    takes_value = {"-r", "-c", "--channel", "-n", "--name", "-p", "--prefix", "-f", "--file", "-i",
                   "--index-url"}
    names = [word for at, word in enumerate(split)
             if not word.startswith("-") and (at == 0 or split[at - 1] not in takes_value)]
    return [match[0] for name in names if (match := _NAME.match(name.rpartition("::")[2])) is not None]
