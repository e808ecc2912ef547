"""The tables, the same for SQLite and PostgreSQL. Every change is also an Alembic migration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

#: The newest migration; `Store.open` compares it with the database before it loads Alembic.
HEAD = "0014"


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite keeps it as text without a zone, PostgreSQL with one."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime: {value!r}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def clean(text: str) -> str:
    """Text as both databases can hold it: no NUL (PostgreSQL), no half of a surrogate pair (both).

    Tasks write NULs into their errors, and names of files need not be UTF-8.
    """
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


class Text(sa.TypeDecorator[str]):
    """Text of any length, cleaned where it enters the database."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean(value)


class Unsigned(sa.TypeDecorator[int]):
    """A number of 64 bits without a sign, such as an inode; to a database it is negative from 2**63 on."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return value if value is None or value < 1 << 63 else value - (1 << 64)

    def process_result_value(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else value % (1 << 64)


class Json(sa.TypeDecorator[Any]):
    """A JSON document, its texts cleaned."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return _clean_all(value)


def _clean_all(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _clean_all(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_all(each) for each in value]
    return value


metadata = sa.MetaData()


def _column(name: str, kind: Any, *args: Any, null: bool = False, **kw: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, *args, nullable=null, **kw)


roots = sa.Table(
    "roots",
    metadata,
    _column("id", sa.String(36), primary_key=True),
    _column("path", Text, unique=True),
    _column("inode", Unsigned),
    _column("created_at", UtcDateTime),
)

executions = sa.Table(
    "executions",
    metadata,
    _column("id", sa.String(64), primary_key=True),
    _column("account", sa.String(63)),
    _column("root_id", sa.String(36), sa.ForeignKey("roots.id")),
    _column("pipeline", Text),
    _column("launch_dir", Text),
    _column("session_id", sa.String(36), unique=True),
    _column("state", sa.String(16)),
    _column("attempt", sa.Integer),
    _column("storage_expiration_hours", sa.Float),
    _column("storage_expiration_source", Text),
    _column("retain", sa.String(8)),
    _column("on_success", sa.String(8)),
    _column("tags", Json, null=True),
    _column("created_at", UtcDateTime),
    _column("updated_at", UtcDateTime),
    _column("launched_by", Text, null=True),
    sa.Index("executions_newest", "account", "created_at"),
    sa.Index("executions_state", "state"),
    sa.Index("executions_counts", "account", "state"),
    sa.Index("executions_launchers", "account", "launched_by", "id"),
    sa.Index("executions_pipelines", "account", "pipeline", "created_at", "id"),
    # PostgreSQL has no order of JSON documents, and reads its rows fast enough
    sa.Index("executions_tags", "account", "tags", "id").ddl_if(dialect="sqlite"),
)

work_dirs = sa.Table(
    "work_dirs",
    metadata,
    _column("execution_id", sa.String(64), sa.ForeignKey("executions.id"), primary_key=True),
    _column("path", Text),
    _column("state", sa.String(16)),
    _column("keep_kind", sa.String(8), null=True),  # rule | extended | pinned | held
    _column("expires_at", UtcDateTime, null=True),  # kept until; null: until somebody decides
    _column("kept_by", Text, null=True),
    _column("kept_why", Text, null=True),
    _column("look_again_at", UtcDateTime, null=True),
    _column("looks", sa.Integer, server_default="0"),
    _column("reason", Text, null=True),
    _column("bytes", sa.BigInteger, null=True),
    _column("files", sa.BigInteger, null=True),
    _column("directories", sa.BigInteger, null=True),
    _column("disk_bytes", sa.BigInteger, null=True),
    _column("metered_bytes", sa.BigInteger, null=True),
    _column("partial", sa.Boolean),
    _column("measured_at", UtcDateTime, null=True),
    _column("deleted_at", UtcDateTime, null=True),
    _column("claimed_by", Text, null=True),
    _column("claimed_until", UtcDateTime, null=True),
    _column("claim_token", sa.Integer, server_default="0"),
    _column("secured_at", UtcDateTime, null=True),
    _column("removal", Json, null=True),
    _column("notice_at", UtcDateTime, null=True),
    # Not a partial index: that would import both dialects in every process.
    sa.Index("work_dirs_due", "state", "expires_at"),
    sa.Index("work_dirs_look_again", "state", "look_again_at"),
    sa.Index("work_dirs_notice", "notice_at"),
    sa.Index("work_dirs_measured", "state", "measured_at"),
    sa.Index("work_dirs_gone", "state", "deleted_at"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    _column("execution_id", sa.String(64), sa.ForeignKey("executions.id"), primary_key=True),
    _column("number", sa.Integer, primary_key=True),
    _column("run_name", sa.String(80), unique=True),
    _column("state", sa.String(16)),
    _column("pipeline", Text),
    _column("options", Json),
    _column("resume", sa.Boolean),
    _column("nextflow", Text, null=True),
    _column("nextflow_version", Text, null=True),
    _column("exit_code", sa.Integer, null=True),
    _column("error", Text, null=True),
    _column("clean_end", sa.Boolean),
    _column("launcher", sa.String(16)),
    _column("host", Text, null=True),
    _column("boot_id", Text, null=True),
    _column("token", sa.Integer),
    _column("lease_until", UtcDateTime, null=True),
    _column("created_at", UtcDateTime),
    _column("started_at", UtcDateTime, null=True),
    _column("ended_at", UtcDateTime, null=True),
    _column("submitted", sa.Integer),
    _column("cached", sa.Integer),
    _column("succeeded", sa.Integer),
    _column("failed", sa.Integer),
    _column("ignored", sa.Integer),
    _column("retried", sa.Integer),
)

events = sa.Table(
    "events",
    metadata,
    _column("id", sa.Integer, primary_key=True, autoincrement=True),
    _column("execution_id", sa.String(64), sa.ForeignKey("executions.id")),
    _column("attempt", sa.Integer, null=True),
    _column("at", UtcDateTime),
    _column("name", sa.String(40)),
    _column("actor", Text),
    _column("detail", Json),
    sa.Index("events_of", "execution_id", "id"),
    sa.Index("events_named", "name", "at"),
    sa.Index("events_recent", "at"),
)

size_samples = sa.Table(
    "size_samples",
    metadata,
    _column("id", sa.Integer, primary_key=True, autoincrement=True),
    _column("execution_id", sa.String(64), sa.ForeignKey("executions.id")),
    _column("at", UtcDateTime),
    _column("metered_bytes", sa.BigInteger),
    _column("processes", Json, null=True),
    sa.Index("size_samples_of", "execution_id", "at"),
)

clocks = sa.Table(  # what machines noted of the time, see clock.py
    "clocks",
    metadata,
    _column("id", sa.Integer, primary_key=True, autoincrement=True),
    _column("boot", sa.String(36)),
    _column("seen_at", UtcDateTime),
    _column("uptime", sa.Float),  # seconds
    _column("held_until", UtcDateTime, null=True),
)

cache_samples = sa.Table(
    "cache_samples",
    metadata,
    _column("id", sa.Integer, primary_key=True, autoincrement=True),
    _column("root_id", sa.String(36), sa.ForeignKey("roots.id")),
    _column("account", sa.String(63)),
    _column("at", UtcDateTime),
    _column("metered_bytes", sa.BigInteger),
    _column("kind", sa.String(12), server_default="tasks"),  # tasks or environments
    sa.Index("cache_samples_of", "root_id", "account", "at"),
)

prices = sa.Table(
    "prices",
    metadata,
    _column("id", sa.Integer, primary_key=True, autoincrement=True),
    _column("root_id", sa.String(36), sa.ForeignKey("roots.id"), null=True),  # null: of every root
    _column("since", UtcDateTime),
    _column("per_gb_month", sa.String(40)),
    _column("currency", sa.String(3)),
    _column("source", Text),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    _column("event_id", sa.Integer, sa.ForeignKey("events.id"), primary_key=True),
    _column("channel", sa.String(16), primary_key=True),
    _column("tries", sa.Integer),
    _column("next_try_at", UtcDateTime, null=True),  # null: delivered, or given up
    _column("delivered_at", UtcDateTime, null=True),
    _column("error", Text, null=True),
)

users = sa.Table(
    "users",
    metadata,
    _column("id", sa.String(36), primary_key=True),
    _column("name", sa.String(63), unique=True),
    _column("issuer", Text, null=True),  # of an OpenID Connect user, with its subject there
    _column("subject", Text, null=True),
    _column("created_at", UtcDateTime),
    _column("disabled_at", UtcDateTime, null=True),
    sa.UniqueConstraint("issuer", "subject"),
)

members = sa.Table(
    "members",
    metadata,
    _column("account", sa.String(63), primary_key=True),
    _column("user_id", sa.String(36), sa.ForeignKey("users.id"), primary_key=True),
    _column("role", sa.String(8)),
)

invitations = sa.Table(
    "invitations",
    metadata,
    _column("account", sa.String(63), primary_key=True),
    _column("name", sa.String(63), primary_key=True),
    _column("user_id", sa.String(36), null=True),  # null: there was no user of this name; nobody can accept
    _column("role", sa.String(8)),
    _column("invited_by", Text),
    _column("at", UtcDateTime),
)

audit = sa.Table(
    "audit",
    metadata,
    _column("id", sa.Integer, primary_key=True, autoincrement=True),
    _column("at", UtcDateTime),
    _column("name", sa.String(40)),
    _column("actor", Text),
    _column("address", Text, null=True),
    _column("account", sa.String(63), null=True),
    _column("detail", Json),
    sa.Index("audit_recent", "at"),
    sa.Index("audit_of", "account", "at"),
)

tokens = sa.Table(
    "tokens",
    metadata,
    _column("id", sa.String(16), primary_key=True),
    _column("user_id", sa.String(36), sa.ForeignKey("users.id")),
    _column("kind", sa.String(8)),  # api | login | session
    _column("digest", sa.String(64), unique=True),
    _column("name", Text),
    _column("account", sa.String(63), null=True),  # null: every account of the user
    _column("created_at", UtcDateTime),
    _column("expires_at", UtcDateTime, null=True),
    _column("used_at", UtcDateTime, null=True),
    _column("revoked_at", UtcDateTime, null=True),
    sa.Index("tokens_of", "user_id"),
)
