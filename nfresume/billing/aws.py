"""AWS: the list price of EFS storage, how a file system's bytes are spread over classes, and the bill.

Every call is bounded in time: it returns a result or raises AwsUnavailable.
Credentials come from boto3's usual chain.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nfresume.domain.errors import AwsUnavailable
from nfresume.system import bounded, filesystems

if TYPE_CHECKING:
    import boto3

Result = TypeVar("Result")

#: How long one question may take in all, credentials included.
SECONDS = 10.0
#: Where amazon-efs-utils keeps a file for each mount. The mount table shows only 127.0.0.1 for such a mount.
EFS_UTILS_STATE = Path("/var/run/efs")

STANDARD, INFREQUENT, ARCHIVE = "Standard", "Infrequent Access", "Archive"

_DNS_NAME = re.compile(r"(?:[a-z0-9-]+\.)?(fs-[0-9a-f]+)\.efs\.([a-z0-9-]+)\.amazonaws\.com")
_ARN = re.compile(r"arn:aws[a-z-]*:elasticfilesystem:([a-z0-9-]+):\d*:file-system/(fs-[0-9a-f]+)")
_STORAGE_USAGE = re.compile(r"TimedStorage(?:-[A-Z]+)*-ByteHrs$")


@dataclass(frozen=True)
class FileSystem:
    """An EFS file system. `region` None: the region that boto3 is configured for."""

    id: str
    region: str | None = None


@dataclass(frozen=True)
class ListPrice:
    """The mean price of a GB-month over a file system's storage classes. `made_of` shows the calculation."""

    per_gb_month: Decimal
    currency: str
    made_of: str


@dataclass(frozen=True)
class Bill:
    """What AWS billed for EFS storage in a region over [start, end). `estimated`: some days are not final."""

    start: date
    end: date
    region: str
    amount: Decimal
    currency: str
    gb_months: Decimal
    estimated: bool


def parse_file_system(text: str) -> FileSystem:
    """The file system of an id such as `fs-0123`, or of an ARN, which also has the region."""
    found = _ARN.fullmatch(text)
    return FileSystem(found[2], found[1]) if found else FileSystem(text)


def mounted_at(path: Path) -> FileSystem | None:
    """The EFS file system that is mounted at `path` or above it; None for any other file system."""
    mount = filesystems.mount_of(path)
    return of_mount(mount) if mount else None


def of_mount(mount: filesystems.Mount, efs_utils_state: Path = EFS_UTILS_STATE) -> FileSystem | None:
    """The EFS file system of a mount, from the DNS name that was mounted.

    A mount by amazon-efs-utils goes through a proxy on 127.0.0.1. There the id comes from the name of its
    state file: `<id>.<mount point with dots>.<port>`.
    """
    if not mount.fstype.startswith("nfs"):
        return None
    if found := _DNS_NAME.match(mount.device):
        return FileSystem(found[1], found[2])
    try:
        names = os.listdir(efs_utils_state)
    except OSError:
        return None
    here = re.escape(mount.mountpoint.strip("/").replace("/", "."))
    for name in names:
        if mount.device.startswith("127.0.0.1:") and (
            found := re.fullmatch(rf"(fs-[0-9a-f]+)\.{here}\.\d+\+?", name)
        ):
            return FileSystem(found[1])
    return None


# -- prices ----------------------------------------------------------------------------------------


def list_price(file_system: FileSystem) -> ListPrice:
    """The list price of a file system's storage, weighted by its bytes by class. Raises AwsUnavailable."""

    def ask() -> ListPrice:
        session = _session()
        region = _region(session, file_system)
        stored, one_zone = _bytes_by_class(session, file_system.id, region)
        prices, currency = _prices(session, region, one_zone=one_zone)
        return mean_price(stored, prices, currency, f"EFS{' One Zone' if one_zone else ''} in {region}")

    return _bounded(ask)


def mean_price(
    stored: Mapping[str, int], prices: Mapping[str, Decimal], currency: str, what: str
) -> ListPrice:
    """The mean price over the classes, weighted by `stored` bytes. An empty file system has Standard's price.

    `what` names the storage in messages. Raises AwsUnavailable for a class with bytes but without a price.
    """
    if not any(stored.values()):
        stored = {STANDARD: 1}
    if missing := [name for name, size in stored.items() if size and name not in prices]:
        raise AwsUnavailable(f"AWS names no price for {missing[0]} storage of {what}")
    total = sum(stored.values())
    mean = sum((prices[name] * size for name, size in stored.items() if size), Decimal(0)) / total
    parts = [f"{100 * size / total:.3g} % {name} at {prices[name].normalize():f}"
             for name, size in stored.items() if size]
    return ListPrice(round(mean, 6), currency, f"{what}: {', '.join(parts)}")


def _bytes_by_class(session: boto3.Session, file_system_id: str, region: str) -> tuple[dict[str, int], bool]:
    client = session.client("efs", region_name=region, config=_config())
    found = client.describe_file_systems(FileSystemId=file_system_id)["FileSystems"][0]
    size: Mapping[str, Any] = found["SizeInBytes"]
    stored = {STANDARD: size.get("ValueInStandard") or 0, INFREQUENT: size.get("ValueInIA") or 0,
              ARCHIVE: size.get("ValueInArchive") or 0}
    return stored, bool(found.get("AvailabilityZoneName"))


def _prices(session: boto3.Session, region: str, *, one_zone: bool) -> tuple[dict[str, Decimal], str]:
    """List prices per GB-month by class, and their currency. Of several prices for a class, the highest."""
    client = session.client("pricing", region_name=_api_region(region), config=_config())
    pages = client.get_paginator("get_products").paginate(
        ServiceCode="AmazonEFS",
        Filters=[{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}],
    )
    prices: dict[str, Decimal] = {}
    currency = "CNY" if region.startswith("cn-") else "USD"
    for page in pages:
        for text in page["PriceList"]:
            offer = json.loads(text)
            attributes = offer["product"].get("attributes", {})
            kind = _storage_class(attributes, one_zone=one_zone)
            for amount in _per_gb_month(offer, currency) if kind else ():
                prices[kind] = max(prices.get(kind, Decimal(0)), amount)
    return prices, currency


def _storage_class(attributes: Mapping[str, str], *, one_zone: bool) -> str:
    """The storage class of a product; empty for other products, such as throughput or the other zones."""
    name = attributes.get("storageClass", "")
    if not _STORAGE_USAGE.search(attributes.get("usagetype", "")) or ("One Zone" in name) != one_zone:
        return ""
    for kind in (INFREQUENT, ARCHIVE):
        if kind in name:
            return kind
    return STANDARD if name.endswith(("General Purpose", "Standard")) else ""


def _per_gb_month(offer: Mapping[str, Any], currency: str) -> Iterable[Decimal]:
    for term in offer.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            if dimension["unit"] == "GB-Mo" and currency in dimension["pricePerUnit"]:
                yield Decimal(dimension["pricePerUnit"][currency])


# -- the bill --------------------------------------------------------------------------------------


def bill(file_system: FileSystem, start: date, end: date) -> Bill:
    """What Cost Explorer says AWS billed for EFS storage in the region, over whole days (UTC).

    AWS charges 0.01 USD for each page of an answer. Its figures are a day or two old. Raises AwsUnavailable.
    """

    def ask() -> Bill:
        session = _session()
        region = _region(session, file_system)
        client = session.client("ce", region_name=_api_region(region), config=_config())
        question: dict[str, Any] = {
            "TimePeriod": {"Start": start.isoformat(), "End": end.isoformat()},
            "Granularity": "DAILY",
            "Metrics": ["UnblendedCost", "UsageQuantity"],
            "GroupBy": [{"Type": "DIMENSION", "Key": "USAGE_TYPE"}],
            "Filter": {"And": [
                {"Dimensions": {"Key": "SERVICE", "Values": ["Amazon Elastic File System"]}},
                {"Dimensions": {"Key": "REGION", "Values": [region]}},
            ]},
        }
        days: list[Mapping[str, Any]] = []
        while True:
            page = client.get_cost_and_usage(**question)
            days += page["ResultsByTime"]
            if not page.get("NextPageToken"):
                return _sum(days, start, end, region)
            question["NextPageToken"] = page["NextPageToken"]

    return _bounded(ask)


def _sum(days: Iterable[Mapping[str, Any]], start: date, end: date, region: str) -> Bill:
    amount = gb_months = Decimal(0)
    currency, estimated = "USD", False
    for day in days:
        estimated = estimated or bool(day.get("Estimated"))
        for group in day.get("Groups", ()):
            if _STORAGE_USAGE.search(group["Keys"][0]):
                cost = group["Metrics"]["UnblendedCost"]
                amount += Decimal(cost["Amount"])
                currency = cost["Unit"]
                gb_months += Decimal(group["Metrics"]["UsageQuantity"]["Amount"])
    return Bill(start, end, region, amount, currency, gb_months, estimated)


# -- the connection --------------------------------------------------------------------------------


def _session() -> boto3.Session:
    import boto3

    return boto3.Session()


def _config() -> Any:
    from botocore.config import Config

    return Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2})


def _region(session: boto3.Session, file_system: FileSystem) -> str:
    region = file_system.region or session.region_name or os.environ.get("AWS_REGION")
    if not region:
        raise AwsUnavailable(f"the region of {file_system.id} is not known",
                             "give its ARN in `efs_file_system`, or set AWS_DEFAULT_REGION")
    return region


def _api_region(region: str) -> str:
    """The region that serves the Pricing API and Cost Explorer for the region's partition."""
    return "cn-northwest-1" if region.startswith("cn-") else "us-east-1"


def _bounded(ask: Callable[[], Result]) -> Result:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return bounded.call(SECONDS, ask)
    except (BotoCoreError, ClientError, TimeoutError, OSError) as e:
        raise AwsUnavailable(f"AWS cannot be asked: {e}", "credentials come from boto3's usual chain") from e
    except (KeyError, IndexError, ValueError, ArithmeticError) as e:
        raise AwsUnavailable(f"AWS answered something unexpected: {e!r}") from e
