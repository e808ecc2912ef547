"""The metadata classes that a pipeline's `latch_metadata` uses, under a name of nfresume's own.

This package needs pydantic only, and works without the rest of nfresume:

>>> from nfresume_metadata import NextflowMetadata, NextflowRuntimeResources, LatchAuthor
>>> meta = NextflowMetadata("RNA-seq", LatchAuthor("A. Author"),
...                         runtime_resources=NextflowRuntimeResources(storage_expiration_hours=12))
>>> meta.runtime_resources.storage_expiration_hours
12.0
"""

from nfresume_metadata.annotations import FlyteAnnotation
from nfresume_metadata.files import LatchDir, LatchFile, LatchOutputDir, LatchOutputFile, LPath
from nfresume_metadata.flow import (
    FlowBase,
    Fork,
    ForkBranch,
    Params,
    Section,
    Spoiler,
    Text,
    Title,
)
from nfresume_metadata.metadata import (
    DockerMetadata,
    EnvironmentConfig,
    LatchAppearance,
    LatchAppearanceEnum,
    LatchAppearanceType,
    LatchAuthor,
    LatchMetadata,
    LatchParameter,
    LatchRule,
    Multiselect,
    MultiselectOption,
    NextflowFileParameter,
    NextflowMetadata,
    NextflowParameter,
    NextflowRuntimeResources,
    SamplesheetItem,
    SnakemakeFileMetadata,
    SnakemakeFileParameter,
    SnakemakeMetadata,
    SnakemakeParameter,
    forget,
    last_nextflow_metadata,
)

__all__ = [
    "DockerMetadata", "EnvironmentConfig", "FlowBase", "FlyteAnnotation", "Fork", "ForkBranch", "LPath",
    "LatchAppearance", "LatchAppearanceEnum", "LatchAppearanceType", "LatchAuthor", "LatchDir", "LatchFile",
    "LatchMetadata", "LatchOutputDir", "LatchOutputFile", "LatchParameter", "LatchRule", "Multiselect",
    "MultiselectOption", "NextflowFileParameter", "NextflowMetadata", "NextflowParameter",
    "NextflowRuntimeResources", "Params", "SamplesheetItem", "Section", "SnakemakeFileMetadata",
    "SnakemakeFileParameter", "SnakemakeMetadata", "SnakemakeParameter", "Spoiler", "Text", "Title",
    "forget", "last_nextflow_metadata",
]
