"""The shared file system: roots, work dirs, published results. Nothing else touches it."""

from nfresume.storage.root import Root

__all__ = ["Root"]
