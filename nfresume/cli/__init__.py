"""The terminal. Commands parse and print; everything else is `nfresume.service`."""

import gc

__all__ = ["main"]


def main() -> None:
    """The entry point of `nfresume`."""
    gc.set_threshold(100_000, 50, 50)  # loading modules allocates and frees nothing: a tenth of the start
    from nfresume.cli.app import run

    run()
