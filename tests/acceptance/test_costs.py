"""`nfresume costs` on the real command line, with a stand-in for AWS over real HTTP."""

from __future__ import annotations

import csv
import io
import json
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from nfresume.domain.costs import GB
from nfresume.store import Store, schema
from tests import aws
from tests.conftest import Site, until


def failed(site: Site, hours: str = "48") -> str:
    """A failed execution whose work dir is retained; its id."""
    site.pipeline("fail-late")
    site.run("launch", "--storage-expiration-hours", hours, "fail-late")
    return site.show()["id"]


def held(site: Site, execution_id: str, gigabytes: int, days: int) -> None:
    """Store usage as if the work dir had this size, in GB, for `days` days."""
    store = Store.open(site.env["NFRESUME_DATABASE_URL"])
    with store.begin() as tx:
        tx.conn.execute(schema.size_samples.delete())
        tx.conn.execute(schema.size_samples.insert().values(
            execution_id=execution_id, at=tx.now - timedelta(days=days), metered_bytes=gigabytes * GB))
        tx.conn.execute(sa.update(schema.work_dirs).values(metered_bytes=gigabytes * GB))
    store.close()


def cached(site: Site) -> None:
    """Store as much usage in the task cache of the root."""
    store = Store.open(site.env["NFRESUME_DATABASE_URL"])
    with store.begin() as tx:
        tx.conn.execute(schema.cache_samples.insert().from_select(
            ["root_id", "account", "kind", "at", "metered_bytes"],
            sa.select(schema.roots.c.id, sa.literal("team"), sa.literal("tasks"), schema.size_samples.c.at,
                      schema.size_samples.c.metered_bytes)
            .select_from(schema.roots.join(schema.size_samples, sa.true()))))
    store.close()


@pytest.mark.long
def test_the_price_of_aws_and_its_bill(site: Site):
    """The price is AWS's for the file system's mix of classes, with its source; --bill shows AWS's bill."""
    execution_id = failed(site)
    held(site, execution_id, 100, days=3)
    with aws.aws() as env:
        site.env.update(env)
        stored = {"ValueInStandard": 25 * GB, "ValueInIA": 75 * GB}
        site.env["NFRESUME_EFS_FILE_SYSTEM"] = aws.file_system(env, stored)
        site.env["HOME"] = str(site.base)
        report = site.ok("costs", "--json").json()
        assert (report["price_per_gb_month"], report["currency"]) == ("0.087000", "USD")
        assert "AWS Pricing API" in report["price_source"]
        assert "75 % Infrequent Access at 0.016" in report["price_source"]
        assert report["now"]["cost_per_month"] == "8.700000000"
        group = {"Keys": ["USW2-TimedStorage-ByteHrs"],
                 "Metrics": {"UnblendedCost": {"Amount": "2.5", "Unit": "USD"},
                             "UsageQuantity": {"Amount": "28", "Unit": "GB-Month"}}}
        answer = {"ResultsByTime": [{"Groups": [group], "Estimated": True}]}
        urllib.request.urlopen(urllib.request.Request(
            f"{env['AWS_ENDPOINT_URL']}/moto-api/static/ce/cost-and-usage-results", method="POST",
            data=json.dumps({"results": [answer]}).encode(), headers={"Content-Type": "application/json"}))
        bill = site.ok("costs", "--since", "7d", "--bill", "--json").json()["bill"]
        today = datetime.now(UTC).date()
        assert (bill["from"], bill["to"]) == (str(today - timedelta(days=3)), str(today))
        assert (bill["billed"], bill["region"], bill["estimated"]) == ("2.500000000", aws.REGION, True)
        assert Decimal(bill["difference"]) == Decimal("2.5") - Decimal(bill["ledger"]) != Decimal("2.5")
        cached(site)
        both = site.ok("costs", "--since", "7d", "--bill", "--json").json()["bill"]
        assert Decimal(both["ledger_gb_months"]) == pytest.approx(2 * Decimal(bill["ledger_gb_months"]))
        shown = site.ok("costs", "--since", "7d", "--bill").out
        assert "2.50 USD for 28 GB-months of EFS in us-west-2" in shown
    # Without AWS, today's price is still known: it is stored.
    assert site.ok("costs", "--json").json()["price_per_gb_month"] == "0.087000"
    refused = site.run("costs", "--bill", "--since", "7d")
    assert refused.code == 76
    assert refused.err.count("\n") == 2


@pytest.mark.long
def test_an_aws_that_never_answers(site: Site):
    """A launch does not ask AWS; a sweep asks for a bounded time and warns once; the report asks no more."""
    with aws.unresponsive() as (url, connections):
        site.env.update(aws.CREDENTIALS, AWS_ENDPOINT_URL=url, NFRESUME_EFS_FILE_SYSTEM="fs-0a1b")
        failed(site)
        site.env["HOME"] = str(site.base)
        assert not connections
        begun = time.monotonic()
        swept = site.ok("sweep")
        assert time.monotonic() - begun < 20
        assert connections
        assert len([line for line in swept.err.splitlines() if "AWS cannot be asked" in line]) == 1
        asked = len(connections)
        report = site.ok("costs", "--json")
        assert len(connections) == asked
    assert "AWS cannot be asked" in report.err
    assert "dated table" in report.json()["price_source"]


@pytest.mark.long
def test_no_credentials(site: Site):
    """Without credentials costs work with the dated table, and one line says so."""
    failed(site)
    site.env.update(AWS_EC2_METADATA_DISABLED="true", HOME=str(site.base), AWS_DEFAULT_REGION="us-east-1",
                    NFRESUME_EFS_FILE_SYSTEM="fs-0a1b")
    report = site.ok("costs")
    assert report.err.count("credentials") >= 1
    assert len(report.err.splitlines()) <= 2
    assert "dated table" in report.out
    refused = site.run("costs", "--bill", "--since", "7d")
    assert refused.code in (64, 76)


@pytest.mark.long
def test_every_form_of_the_report(site: Site):
    """Table, CSV and JSON agree for each kind of line, on what a relaunch saves and the break-even hours."""
    execution_id = failed(site)
    held(site, execution_id, 10, days=2)
    site.env.update(NFRESUME_PRICE_PER_CPU_HOUR="1000", NFRESUME_PRICE_PER_GB_MONTH="0.10",
                    NFRESUME_CURRENCY="EUR")
    for by, key in (("execution", execution_id), ("account", "team"), ("pipeline", "fail-late"),
                    ("process", "(unknown)"), ("day", f"{datetime.now(UTC):%Y-%m-%d}")):
        report = site.ok("costs", "--by", by, "--json").json()
        assert report["currency"] == "EUR"
        assert key in [line["key"] for line in report["lines"]]
        rows = list(csv.DictReader(io.StringIO(site.ok("costs", "--by", by, "--csv").out)))
        assert [row[by] for row in rows] == [line["key"] for line in report["lines"]]
        assert {row["currency"] for row in rows} == {"EUR"}
        if by in ("execution", "pipeline"):
            line = report["lines"][0]
            assert line["relaunch_saves_seconds"] > 0
            expected = float(line["relaunch_saves_cost"]) / (10 * 0.10 / 730)
            assert abs(line["break_even_hours"] - expected) < 0.001
            assert line["suggested_storage_expiration_hours"] == int(line["break_even_hours"])
    assert execution_id in site.ok("costs").out
    shown = site.ok("costs", "--by", "pipeline").out
    assert "keep for" in shown
    assert "0.1 EUR per GB-month (price_per_gb_month of NFRESUME_PRICE_PER_GB_MONTH)" in shown
    now = datetime.now(UTC)
    spans = (["--since", "72h"], ["--month", f"{now:%Y-%m}"],
             ["--from", str((now - timedelta(days=2)).date()), "--to", str((now + timedelta(days=1)).date())])
    for span in spans:
        report = site.ok("costs", *span, "--json").json()
        assert float(report["total"]["cost"]) > 0
        assert report["to"] <= f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    assert site.run("costs", "--month", "2999-01").code == 64


def test_a_run_is_sampled_while_it_runs(site: Site):
    """The supervisor measures a running execution regularly, so that its usage is known without a server."""
    site.pipeline("slow")
    site.ok("launch", "--detach", "slow", NFRESUME_SAMPLE_SECONDS="0.5")
    until(lambda: site.show()["work_dir"]["metered_bytes"], what="a measurement while it runs")
    assert site.show()["state"] == "RUNNING"
    site.ok("cancel", site.show()["id"])
    assert site.run("wait", site.show()["id"]).code != 0  # Nextflow's, or the signal's if it had just started
    assert site.show()["state"] == "CANCELLED"
