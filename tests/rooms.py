"""The rooms of a checkout, counted: modules in each, and imports from one room into another.

Usage: python tests/rooms.py [CHECKOUT]
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


def name(path: Path, root: Path) -> str:
    """`nfresume.store.queries` for nfresume/store/queries.py."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def room(module: str) -> str:
    """The second part of a module's name: a package, or a module that lies flat in nfresume/."""
    return [*module.split("."), ""][1]


def imports(path: Path, modules: set[str]) -> Iterator[str]:
    """Modules of nfresume that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in modules else str(node.module)


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    paths = {name(path, root): path for path in (root / "nfresume").rglob("*.py")}
    crossing: Counter[tuple[str, str]] = Counter()
    for module, path in paths.items():
        for imported in set(imports(path, set(paths))):
            if room(module) != room(imported) and room(imported):
                crossing[room(module), room(imported)] += 1
    sizes = Counter(room(module) for module in paths if room(module))
    flat = sum((root / "nfresume" / f"{each}.py").exists() for each in sizes)
    for each, count in sorted(sizes.items()):
        out = ", ".join(f"{to} {n}" for (of, to), n in sorted(crossing.items()) if of == each)
        print(f"{each:20} {count:3} modules; imports {out or 'no other room'}")
    print(f"\n{len(paths)} modules, {flat} of them flat in nfresume/; {len(sizes)} rooms; "
          f"{sum(crossing.values())} imports cross rooms, along {len(crossing)} arrows")


if __name__ == "__main__":
    main()
