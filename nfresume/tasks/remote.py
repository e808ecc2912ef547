"""Remote files in a running workflow: `s3://` by boto3, `latch://` by the installed SDK.

Downloads are kept in the work dir of the execution, once for all its tasks and attempts. An interrupted
download is continued. The version of a remote file (S3's ETag) is part of the keys of tasks that get it. If
it has another version when it is downloaded, the task fails.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
from nfresume_metadata import files

from nfresume.system import durable
from nfresume.tasks import inputs, latch_data, s3
from nfresume.tasks.digests import of_text

DOWNLOADS = ".downloads"
_VERSION = ".version.json"


class Remote:
    """Reaches remote files. It is the files.Transfer of the head and of each worker.

    `stage` gives the task that asked for a download a view or copy of it that the task may change. The head
    decides which version its tasks get (`decides`).
    """

    def __init__(
        self, work: Path, stage: Callable[[Path], Path] = lambda path: path, *, decides: bool = False
    ) -> None:
        self._folder = work / DOWNLOADS
        self._decides = decides
        self.stage = stage
        self._versions: dict[str, str] = {}

    def version(self, url: str, *, folder: bool | None) -> str:
        """What identifies the content at a URL, which need not exist; asked for once. Raises OSError."""
        if not url.startswith(("s3://", "latch://")) or problem(url) is not None:
            return ""
        if url not in self._versions:
            place = self._place(url)
            known = "" if self._decides else self._expected(place)
            self._versions[url] = found = known or self._current(url, folder)
            if self._decides:
                place.mkdir(parents=True, exist_ok=True)
                durable.write(place / _VERSION, json.dumps([url, found]).encode())
        return self._versions[url]

    @staticmethod
    def _current(url: str, folder: bool | None) -> str:
        if url.startswith("latch://"):
            return latch_data.version(url)
        return of_text(json.dumps([[each.url, each.etag, each.size] for each in _found(url, folder)]))

    def _place(self, url: str) -> Path:
        return self._folder / of_text(url)

    def fetch(self, url: str, *, folder: bool) -> str:
        """The path of a local copy. A URL of another kind is returned as it is. Raises OSError."""
        if not url.startswith(("s3://", "latch://")):
            return url
        place = self._place(url)
        place.mkdir(parents=True, exist_ok=True)
        target = place / (url.rstrip("/").rpartition("/")[2] or "folder")
        with filelock.FileLock(place / ".lock"):
            expected = self._expected(place)
            complete = place / f".complete-{expected}"
            if not expected or not complete.exists():
                if list(place.glob(".complete-*")) and target.exists():  # of another version
                    shutil.rmtree(target) if target.is_dir() else target.unlink()
                found = self._download(url, target, folder, expected)
                (place / f".complete-{found}").touch()
        return str(self.stage(target))

    @staticmethod
    def _expected(place: Path) -> str:
        """The version that the head has put into the keys of tasks; empty when it has not."""
        file = place / _VERSION
        return str(json.loads(file.read_bytes())[1]) if file.exists() else ""

    def _download(self, url: str, target: Path, folder: bool, expected: str) -> str:
        found = self._current(url, folder)
        if expected and found != expected:
            raise OSError(f"{url} was changed while the workflow ran")
        began = time.monotonic()
        if url.startswith("latch://"):
            latch_data.download(url, target)
            size = files.LPath(str(target)).size()
        elif folder:
            objects = _objects(url, folder)
            s3.download_all(objects, url, target)
            size = sum(each.size for each in objects)
        else:
            (only,) = _objects(url, folder)
            s3.download(only, target)
            size = only.size
        seconds = time.monotonic() - began
        print(f"nfresume: downloaded {url}: {size} bytes in {seconds:.1f} s", file=sys.stderr, flush=True)
        return found

    def children(self, url: str) -> list[tuple[str, bool]]:
        """URL of each file and folder directly in a folder, and whether it is a folder. Raises OSError."""
        if url.startswith("latch://"):
            return latch_data.children(url)
        top = url.rstrip("/") + "/"
        found: dict[str, bool] = {}
        for each in s3.objects(url):
            first, slash, _ = each.url.removeprefix(top).partition("/")
            found[top + first] = bool(slash)
        return sorted(found.items())

    def size(self, url: str) -> int:
        """Bytes of a file, or of all files in a folder. Raises OSError."""
        if url.startswith("latch://"):
            return latch_data.size(url)
        found = s3.look(url)
        return found.size if found is not None else sum(each.size for each in _objects(url, True))

    def exists(self, url: str) -> bool:
        """True when there is a file or folder. Raises OSError."""
        if url.startswith("latch://"):
            return latch_data.exists(url)
        return s3.look(url) is not None or bool(s3.objects(url))

    def upload(self, path: str, url: str) -> None:
        """Copy a local file or folder to a URL. Raises OSError."""
        if url.startswith("latch://"):
            latch_data.upload(path, url)
        else:
            s3.upload(Path(path), url)


def _found(url: str, folder: bool | None) -> list[s3.Object]:
    """The object at a URL, or those in a folder; `folder` None: either."""
    only = None if folder else s3.look(url)
    return [only] if only is not None else s3.objects(url) if folder is not False else []


def _objects(url: str, folder: bool) -> list[s3.Object]:
    """The same. Raises OSError when there is none."""
    if not (found := _found(url, folder)):
        raise OSError(f"{url} does not exist, or is empty")
    return found


def unreachable(given: Mapping[str, Any], hints: Mapping[str, Any]) -> Iterator[str]:
    """What to say of each input that no task could get, by name. Places for output are left out."""
    for name, value in given.items():
        for url in inputs.urls_in(value, hints.get(name, Any)):
            if (why := problem(url)) is not None:
                yield f"--{name}: {url} {why}"


def problem(url: str) -> str | None:
    """Why a task could not get what is at a URL; None: it can be tried."""
    if url.startswith("latch://") and not latch_data.logged_in():
        return latch_data.NEEDED
    if url.startswith(("gs://", "az://")):
        return "cannot be downloaded: copy it, for example to s3://"
    return None
