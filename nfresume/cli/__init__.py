"""The terminal. Commands parse and print; everything else is `nfresume.service`."""

from nfresume.cli.app import main

__all__ = ["main"]
