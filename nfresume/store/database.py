"""Open the state database, migrate it, and begin transactions, each with its time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from nfresume.domain.errors import NfresumeError, StoreRefused, StoreUnavailable
from nfresume.store.schema import HEAD
from nfresume.system.filesystems import is_network, type_of

BUSY_SECONDS = 30
#: PostgreSQL ends the session of a host that hangs in a transaction for so long, so that the others need not
#: wait. Our transactions take milliseconds.
TRANSACTION_SECONDS = 20.0
#: A database may vanish without a word: its host dies, or a firewall forgets the connection. Without these
#: the kernel waits two minutes for a connection and hours for an answer. The URL may say otherwise.
_PATIENCE = {"connect_timeout": 10, "tcp_user_timeout": 20_000,
             "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4}
#: Key of the PostgreSQL advisory lock under which one process migrates; any fixed number will do.
_MIGRATION_LOCK = 0x6E667265
_READ_ONLY = "nfresume_read_only"
#: The database is away, busy or full: asking again may help. Anything else is a fault of the statement.
_OPERATIONAL = (OperationalError, InterfaceError, PoolTimeout)
#: What to do when PostgreSQL does not allow a statement, by SQLSTATE: its users see to that, or a failover.
_NOT_ALLOWED = {
    "42501": "its user, in `database_url`, needs the rights of the user that made its tables",
    "25006": "it takes no changes now, as a standby does: try again when it does",
}


@dataclass(frozen=True)
class Tx:
    """One transaction: its connection and its time (UTC, the database server's where there is one)."""

    conn: sa.Connection
    now: datetime


class Store:
    """A database at the newest schema. Use `begin` for every read and every write."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Store:
        """Connect and migrate. Raises StoreUnavailable in one line, without the password."""
        try:
            parsed = sa.make_url(url)
            engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
            _bring_up_to_date(engine)
        except (SQLAlchemyError, ImportError, OSError) as e:
            cause = str(getattr(e, "orig", None) or e).strip().splitlines()[0]
            raise StoreUnavailable(
                f"cannot open the state database {_redacted(url)}: {cause}",
                "NFRESUME_DATABASE_URL or `database_url` in the settings file names it",
            ) from e
        return cls(engine)

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[Tx]:
        """One transaction: commits at the end, rolls back on any error. Readers never wait for writers.

        Raises StoreUnavailable when the database fails, StoreRefused when it refuses a statement.
        """
        try:
            with self._engine.connect().execution_options(**{_READ_ONLY: not write}) as conn, conn.begin():
                yield Tx(conn, self._now(conn))
        except NfresumeError:
            raise
        except SQLAlchemyError as e:
            cause = str(getattr(e, "orig", None) or e).strip().splitlines()[0]
            if (state := getattr(getattr(e, "orig", None), "sqlstate", None)) in _NOT_ALLOWED:
                raise StoreUnavailable(f"the state database failed: {cause}", _NOT_ALLOWED[state]) from e
            away = isinstance(e, _OPERATIONAL) or getattr(e, "connection_invalidated", False)
            if not away and type(e) is not DatabaseError:  # that one itself: the file is damaged
                raise StoreRefused(f"the state database refused: {cause}",
                                   "please report this: it is a fault of nfresume") from e
            raise StoreUnavailable(f"the state database failed: {cause}",
                                   "try again when it is back, or restored") from e

    def _now(self, conn: sa.Connection) -> datetime:
        if conn.dialect.name == "postgresql":
            # for this transaction only: behind a pooler the next one may be in another session
            now: datetime = conn.execute(sa.text(
                "SELECT clock_timestamp(), set_config('idle_in_transaction_session_timeout', :limit, true)"),
                {"limit": f"{int(TRANSACTION_SECONDS * 1000)}"}).scalar_one()
            return now.astimezone(UTC)
        return datetime.now(UTC)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _sqlite(url: sa.URL) -> sa.Engine:
    if url.database and url.database != ":memory:":
        file = Path(url.database)
        file.parent.mkdir(parents=True, exist_ok=True)
        fstype = type_of(file.parent)
        if is_network(fstype):
            raise StoreUnavailable(
                f"SQLite cannot be trusted on a network file system, and {file} is on {fstype}",
                "put it on a local disk, or use PostgreSQL: NFRESUME_DATABASE_URL=postgresql://...",
            )
    # Enough for each thread of a server; connections beyond the pool size would be reopened every time.
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, pool_size=50)

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we issue BEGIN ourselves, see _begin
        cursor = connection.cursor()
        _use_wal(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(conn: sa.Connection) -> None:
        # IMMEDIATE: else a transaction that reads first and writes later fails when busy, and does not wait
        conn.exec_driver_sql("BEGIN" if conn.get_execution_options().get(_READ_ONLY) else "BEGIN IMMEDIATE")

    return engine


def _use_wal(cursor: Any) -> None:
    """Switch to WAL. SQLite's busy timeout does not apply to the first switch, so retry it here."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _postgresql(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "postgresql":
        raise StoreUnavailable(
            f"{url.get_backend_name()!r} is not a database that nfresume knows",
            "use sqlite:////path/to/file or postgresql://user@host/database",
        )
    patience = {name: value for name, value in _PATIENCE.items() if name not in url.query}
    # Poolers such as PgBouncer do not know statements that psycopg has prepared in another session.
    return sa.create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True,
                            connect_args={**patience, "prepare_threshold": None})


def _bring_up_to_date(engine: sa.Engine) -> None:
    if _revision(engine) == HEAD:
        return
    from nfresume.store.migrations import upgrade

    with engine.begin() as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        upgrade(conn)


def _revision(engine: sa.Engine) -> str | None:
    with engine.connect().execution_options(**{_READ_ONLY: True}) as conn:
        if not sa.inspect(conn).has_table("alembic_version"):
            return None
        revision: str | None = conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision > HEAD:
        raise StoreUnavailable(
            f"the state database has schema {revision}, newer than this nfresume's {HEAD}",
            "upgrade nfresume",
        )
    return revision


def _redacted(url: str) -> str:
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "(malformed URL)"
