"""The price of the storage under the root: from the settings, AWS's list prices, or a dated table."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from nfresume import home
from nfresume.billing import aws
from nfresume.domain.costs import DEFAULT_CURRENCY, Price
from nfresume.domain.errors import AwsUnavailable
from nfresume.settings import Settings
from nfresume.store import Tx, ledger, queries
from nfresume.system import durable

#: USD per GB-month where no other price is known: EFS Standard in us-east-1.
TABLE_PRICE = Decimal("0.30")
TABLE_SOURCE = "dated table: EFS Standard in us-east-1, list price of 2025-01"

#: How long an answer of AWS is used.
_FRESH_SECONDS = 86_400.0
#: How long to wait after a failed question before the next.
_RETRY_SECONDS = 3600.0


def known_price(conf: Settings, now: datetime, recorded: Price | None = None) -> Price:
    """The price that is known without asking AWS. `recorded` is the newest price in the database."""
    if conf.price_per_gb_month is not None:
        return Price(now, conf.price_per_gb_month, conf.currency,
                     f"price_per_gb_month of {conf.sources['price_per_gb_month']}")
    file_system = file_system_of(conf)
    if file_system and "per_gb_month" in (answer := _load(_cache(file_system))):
        return Price(now, Decimal(answer["per_gb_month"]), answer["currency"], answer["source"])
    return recorded or Price(now, TABLE_PRICE, DEFAULT_CURRENCY, TABLE_SOURCE)


def unrecorded(tx: Tx, conf: Settings, root: queries.RootRecord) -> Price | None:
    """The root's current price, if the database does not have it yet. `root` is the configured one."""
    recorded = ledger.newest_price(tx, root.id)
    price = known_price(conf, tx.now, recorded)
    return None if recorded is not None and recorded.same_as(price) else price


def of_root(tx: Tx, conf: Settings, root_id: str) -> Price:
    """The price that is valid for a root now."""
    recorded = ledger.newest_price(tx, root_id)
    if recorded is not None and queries.root(tx, root_id).path != str(conf.root):
        return recorded
    return known_price(conf, tx.now, recorded)


def refresh(conf: Settings) -> str | None:
    """Ask AWS once a day for the price of a root on EFS, unless the settings have one.

    Returns why AWS could not be asked; None: it was asked, or need not be. The database is not changed.
    """
    file_system = file_system_of(conf)
    if conf.price_per_gb_month is not None or file_system is None:
        return None
    cache = _cache(file_system)
    answer = _load(cache)
    trouble: str | None = answer.get("failed")
    age = time.time() - answer.get("asked_at", 0.0)
    if 0 <= age < (_RETRY_SECONDS if trouble else _FRESH_SECONDS):
        return trouble
    try:
        found = aws.list_price(file_system)
    except AwsUnavailable as e:
        _save(cache, {**answer, "asked_at": time.time(), "failed": str(e)})
        return str(e)
    _save(cache, {
        "asked_at": time.time(), "per_gb_month": str(found.per_gb_month), "currency": found.currency,
        "source": f"AWS Pricing API, {datetime.now(UTC):%Y-%m-%d}: {found.made_of}",
    })
    return None


def file_system_of(conf: Settings) -> aws.FileSystem | None:
    """The EFS file system of the root, from the settings or from its mount; None: not on EFS."""
    if conf.efs_file_system is not None:
        return aws.parse_file_system(conf.efs_file_system)
    return aws.mounted_at(conf.root)


def _cache(file_system: aws.FileSystem) -> Path:
    return home.folder("cache") / f"price-{file_system.id}.json"


def _load(cache: Path) -> dict[str, Any]:
    try:
        answer = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _save(cache: Path, answer: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # without the file AWS is asked again; nothing else depends on it
        cache.parent.mkdir(parents=True, exist_ok=True)
        durable.write(cache, json.dumps(answer).encode())
