"""Classes of an installed `latch` and ours in one process: each passes for the other."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import nfresume_metadata as ours
from nfresume_metadata.real import real_classes

_CLASSES = {"latch.types.file": "LatchFile", "latch.types.directory": "LatchDir", "latch.ldata.path": "LPath"}
_ENGINE, _METADATA = "flytekit.core.type_engine", "latch.types.metadata"


def meet(modules: Mapping[str, ModuleType]) -> None:
    """Let our classes and those of the installed package's modules, by name, pass for each other."""
    for module, name in _CLASSES.items():
        found = getattr(modules.get(module), name, None)
        if isinstance(found, type) and name not in real_classes:
            real_classes[name] = found
    engine = modules.get(_ENGINE)
    if engine is not None and hasattr(engine, "TypeEngine"):
        for name in ("LatchFile", "LatchDir", "LPath"):
            if name in real_classes:
                _register(engine, getattr(ours, name), real_classes[name])
    if (metadata := modules.get(_METADATA)) is not None and ours.last_nextflow_metadata() is not None:
        metadata._nextflow_metadata = ours.last_nextflow_metadata()  # type: ignore[attr-defined]


def _register(engine: ModuleType, own: Any, real: Any) -> None:
    """Add a transformer for our class to flytekit's types. It uses that of the installed package's class."""
    registry = engine.TypeEngine._REGISTRY
    theirs = registry.get(real)
    if theirs is None or own in registry:
        return

    class Transformer(engine.TypeTransformer):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__(name=f"nfresume {own.__name__}", t=own, enable_type_assertions=False)

        def get_literal_type(self, _t: Any) -> Any:
            return theirs.get_literal_type(real)

        def to_literal(self, ctx: Any, python_val: Any, _t: Any, expected: Any) -> Any:
            value = real(python_val.path) if own is ours.LPath else real(
                python_val.path, python_val._raw_remote_path)
            return theirs.to_literal(ctx, value, real, expected)

        def to_python_value(self, ctx: Any, lv: Any, _t: Any) -> Any:
            found = theirs.to_python_value(ctx, lv, real)
            return own(str(found.path), getattr(found, "_raw_remote_path", None))

    registry[own] = Transformer()
