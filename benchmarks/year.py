"""A database with a year of executions, for benchmarks of pages and reports."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from nfresume import settings
from nfresume.domain.costs import Price
from nfresume.storage import Root
from nfresume.store import Store, Tx, ledger, schema, transitions


def year(base: Path, count: int, url: str) -> tuple[settings.Settings, Store]:
    """A database with `count` executions of one account, over a year: each was kept for days, then deleted.

    The last of them are still kept. Each has four sizes, of eight processes.
    """
    (base / "c.toml").touch()
    conf = settings.load({
        "NFRESUME_CONFIG": str(base / "c.toml"), "NFRESUME_DATABASE_URL": url or f"sqlite:///{base}/s.db",
        "NFRESUME_ACCOUNT": "team", "NFRESUME_ROOT": str(base / "root"), "HOME": str(base),
        "NFRESUME_PRICE_PER_GB_MONTH": "0.3"})
    store, root = Store.open(conf.database_url), Root.mark(base / "root")
    with store.begin() as tx:
        now = tx.now
        transitions.register_root(tx, root.id, str(root.path), root.inode)
        ledger.set_price(tx, root.id, Price(now, Decimal("0.3")))
    written = min(count, WRITTEN)
    step = timedelta(days=364) / written
    rows: dict[sa.Table, list[dict[str, object]]] = {
        schema.executions: [], schema.work_dirs: [], schema.events: [], schema.attempts: [],
        schema.size_samples: []}
    for number in range(written):
        add(rows, f"run-{number:07d}", number, now, now - step * (written - number), root.id)
    with store.begin() as tx:
        for table, found in rows.items():
            tx.conn.execute(table.insert(), found)
    for number in range(1, count // written):
        with store.begin() as tx:
            for table in rows:
                copy(tx, table, f"-c{number}")
    return conf, store


def copy(tx: Tx, table: sa.Table, suffix: str) -> None:
    """Let the database copy what was written, with other ids."""
    named = table.c.id if table is schema.executions else table.c.execution_id
    chosen = {column.name: sa.type_coerce(column, sa.Text).concat(suffix) if column.name in UNIQUE else column
              for column in table.columns if column.autoincrement is not True}
    if "session_id" in chosen:
        chosen["session_id"] = sa.func.substr(table.c.session_id, 25).concat(suffix)
    tx.conn.execute(table.insert().from_select(
        list(chosen), sa.select(*chosen.values()).where(~named.contains("-c"))))


#: So many executions are written; more are copies of them.
WRITTEN = 5000
UNIQUE = ("id", "execution_id", "run_name")


def add(
    rows: dict[sa.Table, list[dict[str, object]]], name: str, number: int, now: datetime, at: datetime,
    root_id: str,
) -> None:
    """The rows of one execution, launched at `at`."""
    gone, metered = at + timedelta(hours=24 + number % 100), (number % 97 + 1) * 2**30
    kept, failed = gone > now, number % 3 == 0
    launched_by = f"user{number % 7}"
    rows[schema.executions].append({
        "id": name, "account": "team", "root_id": root_id, "pipeline": f"nf-core/p{number % 50}",
        "launch_dir": "/here", "session_id": str(uuid.UUID(int=number)),
        "state": "FAILED" if failed or kept else "SUCCEEDED", "attempt": 1, "storage_expiration_hours": 48.0,
        "storage_expiration_source": "bench", "retain": "full", "on_success": "delete", "created_at": at,
        "updated_at": at, "launched_by": f"{launched_by}@web(10.0.0.1)",
        "tags": {"project": f"x{number % 9}"}})
    rows[schema.work_dirs].append({
        "execution_id": name, "path": f"/w/{name}", "state": "RETAINED" if kept else "DELETED",
        "keep_kind": "rule" if kept else None, "kept_why": "bench" if kept else None,
        "expires_at": gone if kept else None, "metered_bytes": metered, "bytes": metered, "files": 1000,
        "directories": 100, "partial": False, "measured_at": at, "deleted_at": None if kept else gone,
        "notice_at": gone if kept else None})
    rows[schema.attempts].append({
        "execution_id": name, "number": 1, "run_name": f"{name}-1", "launcher": "local", "state": "FAILED",
        "pipeline": "p", "options": [], "resume": False, "clean_end": True, "token": 1, "created_at": at,
        "submitted": 9, "cached": 0, "succeeded": 8, "failed": 1, "ignored": 0, "retried": 0})
    rows[schema.events].append({
        "execution_id": name, "attempt": 1, "at": at, "actor": f"{launched_by}@web(10.0.0.1)", "detail": {},
        "name": "launch"})
    rows[schema.size_samples] += [
        {"execution_id": name, "at": at + share * (gone - at), "metered_bytes": int(part * metered),
         "processes": {f"PROCESS_{n}": int(part * metered) // 9 for n in range(8)}}
        for share, part in ((0.05, 0.3), (0.1, 0.7), (0.2, 1), (1, 0)) if at + share * (gone - at) < now]
