"""Tells a test which tasks ran."""

from __future__ import annotations

from pathlib import Path


def ran(name: str, value: object = "") -> None:
    """Append a line for a call that ran. Appending a short line is atomic."""
    with (Path(__file__).parent / "ran.txt").open("a") as file:
        file.write(f"{name} {value}\n")
