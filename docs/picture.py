"""Turn terminal output into an SVG picture: `make demo 2>&1 | python docs/picture.py docs/demo.svg`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text


def main() -> None:
    lines = [line.split("\r")[-1].rstrip() for line in sys.stdin.read().splitlines()]
    start = next(i for i, line in enumerate(lines) if "Launch a pipeline" in line)
    folder = str(Path.cwd())
    console = Console(record=True, width=118, file=Path("/dev/null").open("w"))  # noqa: SIM115
    for line in lines[start:]:
        line = re.sub(r"\b(root|supervisor|\w+)@\S+", r"\1@host", line.replace(folder, "~"))
        text = Text.from_ansi(line.replace("root@", "me@"))
        if line.startswith("# "):
            text.stylize("bold yellow")
        elif line.startswith("$ "):
            text.stylize("cyan")
        elif line.startswith("nfresume: "):
            text.stylize("green")
        console.print(text, overflow="ellipsis", no_wrap=True, highlight=False)
    svg = console.export_svg(title="make demo")
    # Without web fonts the picture needs no network; the viewer uses a font of its own.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", "monospace")
    Path(sys.argv[1]).write_text(svg)


main()
