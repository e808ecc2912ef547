"""How a supervisor starts."""

from nfresume.launchers.local import LocalLauncher

__all__ = ["LocalLauncher"]
