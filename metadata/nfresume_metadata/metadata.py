"""Metadata classes with Latch's names, positional order and defaults, so that Latch's files load unchanged.

There are two differences. `storage_expiration_hours` is None unless declared, so that work dirs are not
stored by default (the site's setting can change that). It must be a finite number of hours >= 0. Nothing
else is checked that a public file could fail. Nothing prints, and nothing exits the process.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, field_validator
from pydantic.dataclasses import dataclass as checked_dataclass

from nfresume_metadata.files import LatchDir

T = TypeVar("T")


@checked_dataclass(frozen=True, config=ConfigDict(arbitrary_types_allowed=True))
class NextflowRuntimeResources:
    """The resources of Nextflow's head, and how long the work dir is kept after a failure.

    cpus: number; memory and storage_gib: GiB; storage_expiration_hours: hours, None = not declared,
    0 = not kept. Raises pydantic.ValidationError (a ValueError) for hours that are not a number >= 0.
    """

    cpus: Any = 4
    memory: Any = 8
    storage_gib: Any = 100
    storage_expiration_hours: float | None = None

    @field_validator("storage_expiration_hours", mode="before")
    @classmethod
    def _hours(cls, value: object) -> float | None:
        if value is None:
            return None
        try:
            if isinstance(value, bool):
                raise ValueError
            hours = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise ValueError(f"must be a number of hours >= 0, not {value!r}") from None
        if not math.isfinite(hours) or hours < 0:
            raise ValueError(f"must be a finite number of hours >= 0, not {value!r}")
        return hours


@dataclass
class LatchAuthor:
    """Who wrote a pipeline."""

    name: str | None = None
    email: str | None = None
    github: str | None = None


@dataclass
class LatchRule:
    """A regex that a parameter's value must match, and the message if it does not.

    Raises ValueError for a malformed regex.
    """

    regex: str
    message: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.regex)
        except re.error as e:
            raise ValueError(f"Malformed regex {self.regex!r}: {e}") from e

    @property
    def dict(self) -> dict[str, str]:
        """Both fields as a dict."""
        return {"regex": self.regex, "message": self.message}


class LatchAppearanceEnum(Enum):
    """How a text field is shown."""

    line = "line"
    paragraph = "paragraph"


LatchAppearanceType = LatchAppearanceEnum
LatchAppearance = LatchAppearanceEnum


@dataclass
class MultiselectOption:
    """One choice of a multi-select."""

    name: str
    value: object


@dataclass
class Multiselect:
    """A field with fixed choices."""

    options: list[Any] = field(default_factory=list)
    allow_custom: bool = False


@dataclass
class LatchParameter:
    """How one parameter is shown."""

    display_name: str | None = None
    description: str | None = None
    hidden: bool = False
    section_title: str | None = None
    placeholder: str | None = None
    comment: str | None = None
    output: bool = False
    batch_table_column: bool = False
    allow_dir: bool = True
    allow_file: bool = True
    appearance_type: LatchAppearanceEnum | Multiselect = LatchAppearanceEnum.line
    rules: list[LatchRule] = field(default_factory=list)
    detail: str | None = None
    samplesheet: bool | None = None
    allowed_tables: list[int] | None = None
    _custom_ingestion: str | None = None


@dataclass
class NextflowParameter(LatchParameter, Generic[T]):
    """A parameter of a Nextflow pipeline. A samplesheet constructor is stored, but never called."""

    type: Any = None
    default: Any = None
    samplesheet_type: Any = None
    samplesheet_constructor: Callable[..., Any] | Any = None
    results_paths: list[Path] | None = None


@dataclass
class NextflowFileParameter(LatchParameter, Generic[T]):
    """A file parameter, as in files of 2024-01. Latch's SDK has since dropped this class."""

    type: Any = None
    default: Any = None
    path: Path | None = None
    download: bool = True


@dataclass(init=False)
class SamplesheetItem(Generic[T]):
    """One row of a samplesheet."""

    data: Any
    record: Any = None

    def __init__(self, data: T | None = None, record: Any = None, **fields: Any) -> None:
        self.data = data if data is not None else fields
        self.record = record


@dataclass
class LatchMetadata:
    """The metadata of any workflow."""

    display_name: str
    author: LatchAuthor
    documentation: str | None = None
    repository: str | None = None
    license: str = "MIT"
    parameters: dict[str, Any] = field(default_factory=dict)
    wiki_url: str | None = None
    video_tutorial: str | None = None
    tags: list[str] = field(default_factory=list)
    flow: list[Any] = field(default_factory=list)
    no_standard_bulk_execution: bool = False
    _non_standard: dict[str, object] = field(default_factory=dict)
    about_page_path: Path | None = None


_last: NextflowMetadata | None = None


@dataclass
class NextflowMetadata(LatchMetadata):
    """The metadata of a Nextflow pipeline. Creating an instance registers it. The last one is used."""

    name: str | None = None
    runtime_resources: NextflowRuntimeResources = field(default_factory=NextflowRuntimeResources)
    execution_profiles: list[str] = field(default_factory=list)
    log_dir: LatchDir | None = None
    upload_command_logs: bool = False
    output_directory: Any = None  # files of 2024-01 pass it; Latch's SDK has since dropped it

    def __post_init__(self) -> None:
        if self.name is None:
            self.name = f"nf_{_identifier((self.display_name or '').lower())}"
        else:
            self.name = _identifier(self.name)
        global _last
        _last = self


def last_nextflow_metadata() -> NextflowMetadata | None:
    """The NextflowMetadata that was created last, or None."""
    return _last


def forget() -> None:
    """Forget the registered metadata, before another file is loaded."""
    global _last
    _last = None


def _identifier(text: str) -> str:
    return "".join(c if (c.isalnum() and c.isascii()) or c == "_" else "_" for c in text)


@dataclass
class DockerMetadata:
    """A private registry's user and the name of the secret with its password."""

    username: str
    secret_name: str


@dataclass
class EnvironmentConfig:
    """The environment in which Snakemake's rules run."""

    use_conda: bool = False
    use_container: bool = False
    container_args: list[str] = field(default_factory=list)


@dataclass
class SnakemakeParameter(LatchParameter, Generic[T]):
    """A parameter of a Snakemake workflow."""

    type: Any = None
    default: Any = None


@dataclass
class SnakemakeFileParameter(SnakemakeParameter[T]):
    """A file parameter of a Snakemake workflow (older form)."""

    path: Path | None = None
    config: bool = False
    download: bool = False


@dataclass
class SnakemakeFileMetadata:
    """Where to put the file of a file parameter."""

    path: Path
    config: bool = False
    download: bool = False


@dataclass
class SnakemakeMetadata(LatchMetadata):
    """The metadata of a Snakemake workflow."""

    output_dir: LatchDir | None = None
    name: str | None = None
    docker_metadata: DockerMetadata | None = None
    env_config: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    file_metadata: dict[str, Any] = field(default_factory=dict)
    cores: int = 4
    about_page_content: Path | None = None

    def __post_init__(self) -> None:
        if self.name is None:
            self.name = f"snakemake_{_identifier((self.display_name or '').lower())}"

