"""Files of Latch Data by the installed SDK. All functions but `logged_in` need it, and raise OSError."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nfresume.tasks import standins

#: What to say of a URL of Latch where the SDK is not installed, or not logged in.
NEEDED = "is on Latch: install latch and log in with it, or give a copy of it"


def logged_in() -> bool:
    """True when the SDK is installed, and knows who calls: by its token, or inside one of Latch's pods."""
    with standins.set_aside():
        if importlib.util.find_spec("latch") is None:
            return False
    return "FLYTE_INTERNAL_EXECUTION_ID" in os.environ or Path(os.path.expanduser("~/.latch/token")).is_file()


@contextlib.contextmanager
def _real(url: str) -> Iterator[Any]:
    """The SDK's LPath of a URL. Whatever the SDK raises is an OSError."""
    try:
        with standins.set_aside():
            from latch.ldata.path import LPath  # type: ignore[import-not-found, unused-ignore]

            yield LPath(url)
    except OSError:
        raise
    except ModuleNotFoundError as e:
        raise OSError(f"{url} {NEEDED}" if e.name == "latch" else f"{url}: {e}") from None
    except Exception as e:  # the SDK has no common class of errors
        raise OSError(f"{url}: {type(e).__name__}: {' '.join(str(e).split())}") from None


def version(url: str) -> str:
    """What identifies the content: the version of a file, or size and time of a folder."""
    with _real(url) as path:
        return str(path.version_id() or f"{path.size_recursive()}:{path.modify_time()}")


def download(url: str, target: Path) -> None:
    """Download a file or folder to `target`."""
    with _real(url) as path:
        path.download(target)


def upload(path: str, url: str) -> None:
    """Upload a file or folder."""
    with _real(url) as there:
        there.upload_from(Path(path))


def children(url: str) -> list[tuple[str, bool]]:
    """URL of each file and folder directly in a folder, and whether it is a folder."""
    with _real(url) as path:
        return sorted((str(each.path), bool(each.is_dir())) for each in path.iterdir())


def size(url: str) -> int:
    """Bytes of a file, or of all files in a folder."""
    with _real(url) as path:
        return int(path.size_recursive() or 0)


def exists(url: str) -> bool:
    """True when there is a file or folder."""
    with _real(url) as path:
        return bool(path.exists())
