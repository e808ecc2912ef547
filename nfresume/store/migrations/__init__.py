"""Alembic migrations, run from code; loaded only when a database is not at the newest schema."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def config() -> Config:
    """Alembic's configuration: this folder, and a connection passed by the caller."""
    cfg = Config()
    cfg.set_main_option("script_location", str(Path(__file__).parent))
    return cfg


def upgrade(conn: sa.Connection, revision: str = "head") -> None:
    """Bring the database behind `conn` to a schema, the newest by default, inside its transaction."""
    cfg = config()
    cfg.attributes["connection"] = conn
    command.upgrade(cfg, revision)
