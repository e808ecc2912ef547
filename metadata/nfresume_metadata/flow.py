"""The layout of a launch form: the elements of a `flow`."""

from __future__ import annotations

from dataclasses import dataclass


class FlowBase:
    """The base class of the elements of a flow."""


@dataclass(frozen=True, init=False)
class Section(FlowBase):
    """A titled box: `Section("Input", Params("reads"))`."""

    section: str
    flow: tuple[FlowBase, ...]

    def __init__(self, section: str, *flow: FlowBase) -> None:
        object.__setattr__(self, "section", section)
        object.__setattr__(self, "flow", flow)


@dataclass(frozen=True, init=False)
class Spoiler(FlowBase):
    """A box that is collapsed at first."""

    spoiler: str
    flow: tuple[FlowBase, ...]

    def __init__(self, spoiler: str, *flow: FlowBase) -> None:
        object.__setattr__(self, "spoiler", spoiler)
        object.__setattr__(self, "flow", flow)


@dataclass(frozen=True, init=False)
class Params(FlowBase):
    """The fields of some parameters, by name."""

    params: tuple[str, ...]

    def __init__(self, *args: str) -> None:
        object.__setattr__(self, "params", args)


@dataclass(frozen=True)
class Text(FlowBase):
    """A paragraph of markdown."""

    text: str


@dataclass(frozen=True)
class Title(FlowBase):
    """A heading."""

    title: str


@dataclass(frozen=True, init=False)
class ForkBranch(FlowBase):
    """One choice of a fork."""

    display_name: str
    flow: tuple[FlowBase, ...]

    def __init__(self, display_name: str, *flow: FlowBase) -> None:
        object.__setattr__(self, "display_name", display_name)
        object.__setattr__(self, "flow", flow)


@dataclass(frozen=True, init=False)
class Fork(FlowBase):
    """A choice between branches. `fork` is the name of the parameter that holds the choice."""

    fork: str
    display_name: str
    branches: dict[str, ForkBranch]

    def __init__(self, fork: str, display_name: str, **branches: ForkBranch) -> None:
        object.__setattr__(self, "fork", fork)
        object.__setattr__(self, "display_name", display_name)
        object.__setattr__(self, "branches", branches)
