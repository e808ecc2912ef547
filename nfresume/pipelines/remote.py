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
) -> tuple[metadata.PipelineMetadata, str] | None:
    """The metadata of a remote pipeline at the commit that its attempt ran, and its file and commit.

    `log` is Nextflow's log of that attempt, which names the commit. None when nothing was pulled, or the
    pipeline has no metadata. Raises InvalidMetadata for a file that cannot be loaded.
    """
    commit = assets.commit_of(log)
    if commit is None:
        return None
    with tempfile.TemporaryDirectory(prefix="nfresume-revision-") as scratch:
        folder = assets.at_commit(pipeline, commit, Path(scratch) / "tree", environ)
        file = metadata.find(folder, None) if folder is not None else None
        if folder is None or file is None:
            return None
        source = f"{file.relative_to(folder)} of {assets.project(pipeline, environ)} at {commit}"
        return metadata.load(file), source


def hours_of(pipeline: str, log: Path, environ: Mapping[str, str] = os.environ) -> Declared | None:
    """The storage expiration that a remote pipeline declares; None for none. See `metadata_of`."""
    found = metadata_of(pipeline, log, environ)
    if found is None or found[0].storage_expiration_hours is None:
        return None
    declared, source = found
    try:
        return Declared(check_hours(declared.storage_expiration_hours), source)
    except ValueError as e:
        raise InvalidMetadata(f"{source}: {e}") from None
