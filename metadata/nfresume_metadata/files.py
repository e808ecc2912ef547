"""Paths that may be remote: LatchFile, LatchDir, LPath. Nothing here uses the network.

What a remote path needs is done by the `Transfer` of the running process, which nfresume's tasks set. Without
one, a remote path is a name only.

Unlike Latch's own classes they are hashable. Many public files use them as dataclass defaults, and since
Python 3.11 such a default must be hashable.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Protocol, Self

from nfresume_metadata.annotations import FlyteAnnotation
from nfresume_metadata.real import Meeting

_REMOTE = re.compile(r"(latch|s3|gs|az)://.*")


class Transfer(Protocol):
    """Brings remote files here. URLs are absolute; all methods raise OSError."""

    def version(self, url: str, *, folder: bool | None) -> str:
        """What identifies the content at a URL. `folder` None: it may be either, or nothing."""

    def fetch(self, url: str, *, folder: bool) -> str:
        """The path of a local copy of the file or folder at a URL."""

    def children(self, url: str) -> list[tuple[str, bool]]:
        """URL of each file and folder directly in a folder, and whether it is a folder."""

    def size(self, url: str) -> int:
        """Bytes of a file, or of all files in a folder."""

    def exists(self, url: str) -> bool:
        """True when there is a file or folder."""

    def upload(self, path: str, url: str) -> None:
        """Copy a local file or folder to a URL."""


_transfer: Transfer | None = None


def use(transfer: Transfer | None) -> None:
    """Let this process reach remote paths through `transfer`."""
    global _transfer
    _transfer = transfer


def version(value: LatchFile | LatchDir | LPath) -> str:
    """What identifies the content of a remote file or folder; empty when this process cannot tell.

    Raises OSError when it cannot be reached.
    """
    if _transfer is None or not _is_url(value.path):
        return ""
    return _transfer.version(value.path, folder=None if isinstance(value, LPath) else value._folder)


def _remote(url: str) -> Transfer:
    if _transfer is None:
        raise OSError(f"{url} is remote: only a running task can reach it")
    return _transfer


def _is_url(text: str) -> bool:
    return "://" in text and not text.startswith("file://")


class _LatchPath(Meeting):
    """A path or URL, with the URL that it has remotely."""

    _folder = False

    def __init__(self, path: str | os.PathLike[str], remote_path: str | os.PathLike[str] | None = None,
                 **_other: object) -> None:
        if path is None:
            raise ValueError(f"{type(self).__name__}: the path must not be None")
        self.path = str(path)
        remote = str(remote_path if remote_path is not None else path)
        here = remote_path is not None and remote.startswith("file:///")
        self._raw_remote_path = remote if here or _REMOTE.fullmatch(remote) else None
        #: A local path that it got as its remote one, because that of a local input was used to make it.
        self.near = remote if remote_path is not None and remote.startswith("/") else None
        self._fetched: str | None = None
        self._given = False

    @classmethod
    def place(cls, path: str | os.PathLike[str]) -> Self:
        """A place on this machine for output. What gets a remote path made of its own goes there."""
        return cls(path, f"file://{path}")

    @property
    def is_place(self) -> bool:
        """True for a place for output on this machine."""
        return self._raw_remote_path == f"file://{self.path}"

    @property
    def is_input(self) -> bool:
        """True for what a task got as an input, or has returned."""
        return self._given

    def given(self) -> Self:
        """Mark it as the input of a task, and return it. See `remote_path`."""
        self._given = True
        return self

    @property
    def remote_path(self) -> str | None:
        """The `latch://`, `s3://`, `gs://` or `az://` URL; of a local place for output its `file://` URL.

        Any other local path has none. On Latch every input of a task has one, and files take names from it.
        So for a local input it is the local path.
        """
        return self._raw_remote_path or (self.local_path if self._given else None)

    remote_source = remote_path

    @property
    def local_path(self) -> str:
        """A path on this machine. What is remote is downloaded when a task asks for it. Raises OSError."""
        if not _is_url(self.path):
            return self.path.removeprefix("file://")
        if _transfer is None:
            return self.path
        if self._fetched is None:
            self._fetched = _transfer.fetch(self.path, folder=self._folder)
        return self._fetched

    def download(self, *_: object, **__: object) -> Any:
        """The same as `local_path`. Raises OSError."""
        return self.local_path

    def exists(self) -> bool:
        """True when there is something at the path. Raises OSError when that cannot be seen."""
        return _remote(self.path).exists(self.path) if _is_url(self.path) else Path(self.local_path).exists()

    def size(self) -> int:
        """Bytes of the file, or of all files in the folder. Raises OSError."""
        if _is_url(self.path):
            return _remote(self.path).size(self.path)
        path = Path(self.local_path)
        if not path.is_dir():
            return path.stat().st_size
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())

    size_recursive = size

    def iterdir(self) -> list[Any]:
        """LatchFile and LatchDir of what is directly in the folder, by name. Raises OSError."""
        return [self._child(url, folder) for url, folder in self._children()]

    def _children(self) -> list[tuple[str, bool]]:
        if _is_url(self.path):
            return _remote(self.path).children(self.path)
        return [(str(each), each.is_dir()) for each in sorted(Path(self.local_path).iterdir())]

    def _child(self, path: str, folder: bool) -> Any:
        remote = self._raw_remote_path
        beside = None if remote is None else f"{remote.rstrip('/')}/{path.rstrip('/').rpartition('/')[2]}"
        found = (LatchDir if folder else LatchFile)(path, beside)
        return found.given() if self._given else found

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        """In a model of pydantic it may be given as text."""
        from pydantic_core import core_schema

        def validated(value: Any) -> Any:
            if isinstance(value, str | os.PathLike) and not isinstance(value, _LatchPath):
                return cls(value)
            if not isinstance(value, cls):
                raise ValueError(f"{value!r} is no {cls.__name__}")
            return value

        return core_schema.no_info_plain_validator_function(
            validated, serialization=core_schema.plain_serializer_function_ser_schema(lambda each: each.path))

    def __fspath__(self) -> str:
        return self.local_path

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (
            (other.path, other._raw_remote_path) == (self.path, self._raw_remote_path)
        )

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.path, self._raw_remote_path))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self._raw_remote_path)


class LatchFile(_LatchPath):
    """A file, local or remote."""

    def open(self, mode: str = "r", **options: Any) -> IO[Any]:
        """Open the file on this machine. Raises OSError."""
        return open(self.local_path, mode, **options)

    @classmethod
    def extension(cls) -> str:
        """Nothing: flytekit's name for the format of a file."""
        return ""

    def __class_getitem__(cls, _format: object) -> type[LatchFile]:
        """The class itself: flytekit's `FlyteFile["csv"]` names a format."""
        return cls

    @classmethod
    def new_remote_file(cls, name: str | None = None, **_: object) -> LatchFile:
        """A new file, to be written and returned by the task that calls this."""
        return cls(os.path.join(tempfile.mkdtemp(), name or "file"))

    new = new_remote_file


class LatchDir(_LatchPath):
    """A folder, local or remote."""

    _folder = True

    @property
    def remote_directory(self) -> str | None:
        """The older name of `remote_path`."""
        return self.remote_path

    @classmethod
    def extension(cls) -> str:
        """Nothing: flytekit's name for the format of a folder."""
        return ""

    def __class_getitem__(cls, _format: object) -> type[LatchDir]:
        """The class itself, as for LatchFile."""
        return cls

    @classmethod
    def listdir(cls, directory: LatchDir) -> list[Any]:
        """The same as `directory.iterdir()`: flytekit's name. Raises OSError."""
        return directory.iterdir()

    def crawl(self, **_: object) -> Iterator[tuple[str, str]]:
        """The folder, and the relative path of each file below it. Raises OSError."""
        top = Path(self.local_path)
        for each in sorted(top.rglob("*")):
            if each.is_file():
                yield str(top), str(each.relative_to(top))

    @classmethod
    def new_remote(cls, *_: object, **__: object) -> LatchDir:
        """A new folder, to be filled and returned by the task that calls this."""
        return cls(tempfile.mkdtemp())

    new = new_remote

    def new_file(self, name: str | None = None) -> LatchFile:
        """A new file in the folder, to be written."""
        return LatchFile(os.path.join(self.local_path, name or "file"))

    def new_dir(self, name: str | None = None) -> LatchDir:
        """A new folder in the folder. Raises OSError."""
        path = Path(self.local_path, name or "folder")
        path.mkdir(parents=True, exist_ok=True)
        return LatchDir(str(path))


class LPath(_LatchPath):
    """A path that may be remote, with operations on it."""

    @property
    def local_path(self) -> str:
        """The path that was passed in. `download` brings a remote one here."""
        return self.path.removeprefix("file://")

    def download(self, dst: Any = None, *_: object, **__: object) -> Path:
        """Bring it here, to `dst` if given. Returns the local path. Raises OSError."""
        here = Path(_remote(self.path).fetch(self.path, folder=self.is_dir())
                    if _is_url(self.path) else self.local_path)
        if dst is None:
            return here
        target = Path(dst)
        target.parent.mkdir(parents=True, exist_ok=True)
        if here.is_dir():
            shutil.copytree(here, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(here, target)
        return target

    def upload_from(self, src: Any, **_: object) -> None:
        """Copy a local file or folder to this path. Raises OSError."""
        if _is_url(self.path):
            _remote(self.path).upload(str(src), self.path)
        else:
            LPath(str(src)).download(self.path)

    def copy_to(self, dst: LPath) -> None:
        """Copy it to another path. Raises OSError."""
        dst.upload_from(self.download())

    def mkdirp(self) -> None:
        """Make the folder. A remote one is there once something is in it. Raises OSError."""
        if not _is_url(self.path):
            Path(self.local_path).mkdir(parents=True, exist_ok=True)

    def rmr(self) -> None:
        """Remove a local file or folder. Raises OSError for a remote one: nothing is deleted there."""
        if _is_url(self.path):
            raise OSError(f"{self.path}: a task of nfresume deletes nothing on remote storage")
        path = Path(self.local_path)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def fetch_metadata(self) -> None:
        """Do nothing: no answer is remembered."""

    def node_id(self, **_: object) -> str:
        """A name for the path that contains no slash, always the same."""
        return hashlib.sha256(self.path.encode()).hexdigest()[:16]

    def type(self, **_: object) -> str | None:
        """`dir` or `obj`, as in LDataNodeType; None if nothing is there. Raises OSError."""
        return ("dir" if self.is_dir() else "obj") if self.exists() else None

    def content_type(self, **_: object) -> str | None:
        """The kind of content, as the name tells it; None when it does not."""
        return mimetypes.guess_type(self.path)[0]

    def version_id(self, **_: object) -> str:
        """What changes with the content. Raises OSError."""
        return version(self) if _is_url(self.path) else str(Path(self.local_path).stat().st_mtime_ns)

    def name(self, **_: object) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def exists(self, **_: object) -> bool:
        """True when there is something at the path. Raises OSError."""
        return super().exists()

    def is_dir(self, **_: object) -> bool:
        """True for a folder. Raises OSError for a remote path that cannot be reached."""
        if not _is_url(self.path):
            return Path(self.local_path).is_dir()
        return bool(_remote(self.path).children(self.path))

    def size(self, **_: object) -> int:
        """Bytes of the file, or of all files in the folder. Raises OSError."""
        return super().size()

    size_recursive = size

    def iterdir(self) -> Any:
        """The paths directly in the folder, by name. Raises OSError."""
        found: Iterator[LPath] = (LPath(path) for path, _ in self._children())
        return found

    def __truediv__(self, other: object) -> LPath:
        return LPath(f"{self.path.rstrip('/')}/{other}")


LatchOutputFile = Annotated[LatchFile, FlyteAnnotation({"output": True})]
LatchOutputDir = Annotated[LatchDir, FlyteAnnotation({"output": True})]
