"""The command line. A command parses its arguments and prints; `nfresume.service` does the work."""

import gc
import os

__all__ = ["main"]


def main() -> None:
    """The entry point of `nfresume`."""
    gc.set_threshold(100_000, 50, 50)  # imports create no garbage: fewer collections save 10 % of the start
    try:
        from nfresume.system import inherited

        inherited.put_right()
        from nfresume.cli import streams

        streams.prepare()
        from nfresume.cli.app import run
    except KeyboardInterrupt:
        os._exit(130)  # nothing has begun
    run()
