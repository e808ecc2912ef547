"""Change what a database never lets anybody change, for tests of what time does."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nfresume.store import Tx, schema


def forge(tx: Tx, **values: Any) -> None:
    """Change every event, as no client can: the triggers that forbid it go first, in this database only."""
    if tx.conn.dialect.name == "postgresql":
        tx.conn.execute(sa.text("DROP TRIGGER IF EXISTS events_no_change ON events"))
    else:
        tx.conn.execute(sa.text("DROP TRIGGER IF EXISTS events_no_update"))
    tx.conn.execute(schema.events.update().values(**values))
