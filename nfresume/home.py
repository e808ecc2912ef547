"""The user's own folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import platformdirs

from nfresume.domain.errors import UsageError

#: Names the server's folder of embedded engines, which all users read.
ENGINES = "NFRESUME_ENGINES"


def folder(kind: Literal["cache", "config", "data", "state"]) -> Path:
    """The user's folder for nfresume's files of a kind, by the XDG Base Directory Specification.

    Raises UsageError for a user without a home folder, as in a container with an arbitrary user id.
    """
    find = {"cache": platformdirs.user_cache_path, "config": platformdirs.user_config_path,
            "data": platformdirs.user_data_path, "state": platformdirs.user_state_path}[kind]
    try:
        return find("nfresume")
    except RuntimeError:
        raise _homeless() from None


def engines() -> Path:
    """The folder of embedded engines: the user's own, or that of a server which this user's account uses."""
    return Path(os.environ.get(ENGINES) or folder("cache") / "engine")


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """The home folder: HOME, else that of the password database. Raises UsageError."""
    try:
        return Path(environ.get("HOME") or Path.home())
    except RuntimeError:
        raise _homeless() from None


def _homeless() -> UsageError:
    return UsageError(f"there is no home folder: HOME is not set, and user id {os.getuid()} has none",
                      "set HOME to a folder of yours")
