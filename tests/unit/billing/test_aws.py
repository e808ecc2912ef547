"""EFS mounts, AWS's price lists and AWS's bills are parsed. No network."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from nfresume.billing import aws
from nfresume.billing.aws import ARCHIVE, INFREQUENT, STANDARD, FileSystem
from nfresume.domain.errors import AwsUnavailable
from nfresume.system.filesystems import Mount
from tests.aws import OFFERS


@pytest.mark.parametrize(("device", "fstype", "expected"), [
    ("fs-0a1b.efs.eu-west-1.amazonaws.com:/", "nfs4", FileSystem("fs-0a1b", "eu-west-1")),
    ("us-east-1c.fs-0a1b.efs.us-east-1.amazonaws.com:/x", "nfs4", FileSystem("fs-0a1b", "us-east-1")),
    ("fs-0a1b.efs.cn-north-1.amazonaws.com.cn:/", "nfs4", FileSystem("fs-0a1b", "cn-north-1")),
    ("127.0.0.1:/", "nfs4", FileSystem("fs-77", None)),
    ("server:/export", "nfs4", None),
    ("fs-0a1b.efs.eu-west-1.amazonaws.com:/", "ext4", None),
])
def test_the_file_system_is_found_from_its_mount(
    tmp_path: Path, device: str, fstype: str, expected: FileSystem | None
):
    """It is found by its DNS name, or by the state file of amazon-efs-utils for this mount point."""
    for name in ("fs-66.mnt.other.20048", "fs-77.mnt.efs.20049", "stunnel-config.fs-88.mnt.efs.20049"):
        (tmp_path / name).touch()
    assert aws.of_mount(Mount(device, "/mnt/efs", fstype), tmp_path) == expected
    assert aws.of_mount(Mount("127.0.0.1:/", "/mnt/efs", "nfs4"), tmp_path / "none") is None


def test_ids_and_arns():
    """An ARN has the region. For an id boto3's region is used."""
    arn = "arn:aws:elasticfilesystem:eu-west-1:123456789012:file-system/fs-0a1b"
    assert aws.parse_file_system(arn) == FileSystem("fs-0a1b", "eu-west-1")
    assert aws.parse_file_system("fs-0a1b") == FileSystem("fs-0a1b")


class Session(boto3.Session):
    """A session whose Pricing client is stubbed by botocore's own Stubber."""

    def __init__(self, pages: list[list[str]]) -> None:
        super().__init__("key", "secret", region_name="us-west-2")
        self.pricing = super().client("pricing", region_name="us-east-1")
        stubber = Stubber(self.pricing)
        for at, page in enumerate(pages):
            more: dict[str, Any] = {"NextToken": str(at)} if at + 1 < len(pages) else {}
            asked: dict[str, Any] = {
                "ServiceCode": "AmazonEFS",
                "Filters": [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": "us-west-2"}],
                **({"NextToken": str(at - 1)} if at else {}),
            }
            stubber.add_response("get_products", {"PriceList": page, **more}, asked)
        stubber.activate()

    def client(self, name: str, **words: Any) -> Any:
        assert name == "pricing"
        return self.pricing


@pytest.mark.parametrize(("one_zone", "expected"), [
    (False, {STANDARD: "0.3", INFREQUENT: "0.016", ARCHIVE: "0.008"}),
    (True, {STANDARD: "0.16", INFREQUENT: "0.0133"}),
])
def test_the_price_list_by_class(one_zone: bool, expected: dict[str, str]):
    """Only prices of storage per GB-month are taken, regional or One Zone, from several pages."""
    session = Session([OFFERS[:2], OFFERS[2:]])
    prices, currency = aws._prices(session, "us-west-2", one_zone=one_zone)
    assert (prices, currency) == ({kind: Decimal(p) for kind, p in expected.items()}, "USD")


def test_the_price_of_a_mix():
    """The mean is weighted by bytes. An empty file system costs as Standard. A missing price is an error."""
    prices = {STANDARD: Decimal("0.30"), INFREQUENT: Decimal("0.016")}
    mixed = aws.mean_price({STANDARD: 1, INFREQUENT: 3}, prices, "USD", "EFS in x")
    assert (mixed.per_gb_month, mixed.made_of) == (
        Decimal("0.087"), "EFS in x: 25 % Standard at 0.3, 75 % Infrequent Access at 0.016")
    assert aws.mean_price({STANDARD: 0}, prices, "USD", "x").per_gb_month == Decimal("0.30")
    with pytest.raises(AwsUnavailable, match="no price for Archive"):
        aws.mean_price({ARCHIVE: 1}, prices, "USD", "x")


def test_a_bill_is_the_sum_of_storage():
    """Days and classes are added up. Requests and throughput are not counted."""
    def group(usage_type: str, amount: str, quantity: str) -> dict[str, Any]:
        return {"Keys": [usage_type], "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": "USD"},
                                                  "UsageQuantity": {"Amount": quantity, "Unit": "GB-Month"}}}

    days = [
        {"Groups": [group("USW2-TimedStorage-ByteHrs", "1.5", "5"),
                    group("USW2-IATimedStorage-ByteHrs", "0.1", "6"),
                    group("USW2-ETDataAccess-Bytes", "9", "9")]},
        {"Groups": [group("USW2-TimedStorage-ByteHrs", "1.5", "5")], "Estimated": True},
    ]
    bill = aws._sum(days, date(2026, 3, 1), date(2026, 3, 3), "us-west-2")
    assert (bill.amount, bill.gb_months, bill.currency, bill.estimated) == (Decimal("3.1"), 16, "USD", True)
