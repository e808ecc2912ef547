"""The command line. A command parses its arguments and prints; `nfresume.service` does the work."""

import gc

__all__ = ["main"]


def main() -> None:
    """The entry point of `nfresume`."""
    gc.set_threshold(100_000, 50, 50)  # imports create no garbage: fewer collections save 10 % of the start
    from nfresume.cli.app import run

    run()
