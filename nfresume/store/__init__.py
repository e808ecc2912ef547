"""The state database: SQLAlchemy Core over SQLite (one machine) or PostgreSQL (several hosts)."""

from nfresume.store.database import Store, Tx

__all__ = ["Store", "Tx"]
