"""What a remote pipeline declares, read once Nextflow has pulled it, at the revision that ran."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nfresume.domain.errors import InvalidMetadata
from nfresume.domain.retention import check_hours
from nfresume.nextflow import assets
from nfresume.pipelines import metadata


@dataclass(frozen=True)
class Declared:
    """The hours that a remote pipeline declares, and where they come from: file and commit."""

    hours: float
    source: str


def metadata_of(
    pipeline: str, log: Path, environ: Mapping[str, str] = os.environ
) -> Declared | None:
    """The storage expiration that a remote pipeline declares at the commit that its attempt ran.

    `log` is Nextflow's log of that attempt, which names the commit. None when nothing was pulled, or the
    pipeline declares no hours. Raises InvalidMetadata for a file that cannot be loaded.
    """
    commit = assets.commit_of(log)
    if commit is None:
        return None
    with tempfile.TemporaryDirectory(prefix="nfresume-revision-") as scratch:
        folder = assets.at_commit(pipeline, commit, Path(scratch) / "tree", environ)
        file = metadata.find(folder, None) if folder is not None else None
        if folder is None or file is None:
            return None
        hours = metadata.load(file).storage_expiration_hours
        if hours is None:
            return None
        source = f"{file.relative_to(folder)} of {assets.project(pipeline, environ)} at {commit}"
        try:
            return Declared(check_hours(hours), source)
        except ValueError as e:
            raise InvalidMetadata(f"{source}: {e}") from None
