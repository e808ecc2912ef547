"""Changes stored events, which the database forbids, for tests that need old ones."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nfresume.store import Tx, schema


def forge(tx: Tx, **values: Any) -> None:
    """Set columns of every event. First drops the trigger that forbids this, in the test's database only."""
    if tx.conn.dialect.name == "postgresql":
        tx.conn.execute(sa.text("DROP TRIGGER IF EXISTS events_no_change ON events"))
    else:
        tx.conn.execute(sa.text("DROP TRIGGER IF EXISTS events_no_update"))
    tx.conn.execute(schema.events.update().values(**values))
