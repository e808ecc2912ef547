"""The cost report over a real database: past, present and future costs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from nfresume import settings
from nfresume.billing import as_json, pricing, usage
from nfresume.billing import report as costs_report
from nfresume.billing.report import By
from nfresume.domain import costs
from nfresume.domain.costs import GB, Price
from nfresume.domain.errors import UsageError
from nfresume.domain.periods import Period, period
from nfresume.domain.workdirs import RemovalProgress
from nfresume.service.inspection import Inspection
from nfresume.store import Store, guarded, ledger, removals, schema, transitions
from nfresume.store.transitions import NewAttempt, NewExecution, Owner
from tests.outcomes import CLAIMANT, kept

MARCH, APRIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture
def conf(tmp_path: Path) -> settings.Settings:
    (tmp_path / "c.toml").touch()
    return settings.load({"NFRESUME_CONFIG": str(tmp_path / "c.toml"), "NFRESUME_ACCOUNT": "team",
                          "NFRESUME_ROOT": "/root"})


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    with opened.begin() as tx:
        transitions.register_root(tx, "root", "/root", 1)
    yield opened
    opened.close()


def failed(store: Store, execution_id: str, account: str = "team", pipeline: str = "main.nf",
           hours: float | None = 5.0) -> None:
    """A failed execution whose work dir is retained."""
    with store.begin() as tx:
        new = NewExecution(execution_id, account, "root", f"/root/{execution_id}", pipeline, "/here",
                           str(uuid.uuid4()), 5.0, "test", False)
        transitions.launch(tx, new, NewAttempt(pipeline, (), False, None, None), "me")
        lease = transitions.claim(tx, execution_id, Owner("h", "b"), 30)
        until = tx.now + timedelta(hours=hours) if hours is not None else None
        transitions.settle(tx, lease, kept(until), transitions.TaskCounts(), "me", CLAIMANT)


def at(store: Store, execution_id: str, moment: datetime, gigabytes: int) -> None:
    """A sample of the past."""
    with store.begin() as tx:
        tx.conn.execute(schema.size_samples.insert().values(execution_id=execution_id, at=moment,
                                                            metered_bytes=gigabytes * GB))


def price(
    store: Store, moment: datetime, per_gb_month: str, currency: str = "USD", root: str | None = None
) -> None:
    with store.begin() as tx:
        tx.conn.execute(schema.prices.insert().values(
            root_id=root, since=moment, per_gb_month=per_gb_month, currency=currency, source="t"))


def report(store: Store, conf: settings.Settings, by: By = By.EXECUTION, account: str | None = "team",
           span: Period | None = None):
    return costs_report.build(store, conf, account, by, lambda _now: span or Period(MARCH, APRIL))


def test_the_check_value_of_aws(store: Store, conf: settings.Settings):
    """132,000 GB-hours in March; the sum of its days is the same."""
    failed(store, "run-a1")
    price(store, MARCH, "0.30")
    at(store, "run-a1", MARCH, 100)
    at(store, "run-a1", MARCH + timedelta(days=15), 250)
    whole = report(store, conf)
    assert whole.total.gb_hours == 132_000
    days = report(store, conf, By.DAY)
    assert len(days.lines) == 31
    assert days.total == whole.total
    assert (days.lines[0].usage.gb_hours, days.lines[30].usage.gb_hours) == (2400, 6000)


def test_lines_by_execution_account_and_pipeline(store: Store, conf: settings.Settings):
    """Each grouping has the same total. Other accounts appear only in a report of all accounts."""
    price(store, MARCH, "0.30")
    for execution_id, account, pipeline, gigabytes in (
        ("run-a1", "team", "a.nf", 10), ("run-a2", "team", "b.nf", 20), ("run-a3", "team", "a.nf", 30),
        ("run-a4", "other", "a.nf", 40),
    ):
        failed(store, execution_id, account, pipeline)
        at(store, execution_id, MARCH, gigabytes)
    assert [line.key for line in report(store, conf).lines] == ["run-a3", "run-a2", "run-a1"]
    by_pipeline = {line.key: line.usage.gb_months for line in report(store, conf, By.PIPELINE).lines}
    assert by_pipeline == {"a.nf": 40, "b.nf": 20}
    everybody = report(store, conf, By.ACCOUNT, account=None)
    assert {line.key: line.usage.cost() for line in everybody.lines} == {"team": 18, "other": 12}
    assert everybody.total.cost() == 30


def test_what_was_deleted_keeps_its_history(store: Store, conf: settings.Settings):
    """A removal ends the samples and keeps them. Nothing is stored any more."""
    failed(store, "run-a1")
    with store.begin() as tx:
        removals.measured(tx, "run-a1", bytes=1, disk_bytes=1, metered_bytes=5 * GB, files=1, directories=1,
                          partial=False)
    at(store, "run-a1", MARCH, 5)
    stored = report(store, conf)
    assert (stored.metered, stored.work_dirs, stored.without_expiry) == (5 * GB, 1, 0)
    assert stored.per_month == 5 * pricing.TABLE_PRICE
    five_hours = 5 * 5 * pricing.TABLE_PRICE / 730
    assert stored.until_expiry == pytest.approx(five_hours, rel=Decimal("0.01"))
    with store.begin() as tx:
        claim = removals.delete(tx, "run-a1", 1, "test", "me", CLAIMANT)
        removals.removed(tx, claim, "me", RemovalProgress(files=1))
    gone = report(store, conf)
    assert (gone.metered, gone.work_dirs, gone.until_expiry) == (0, 0, 0)
    assert gone.lines[0].usage == stored.lines[0].usage
    with store.begin() as tx:
        assert [s.metered for s in ledger.samples(tx, "team", None, tx.now + timedelta(1))["run-a1"]] == [
            5 * GB, 5 * GB, 0]


def test_a_new_price_holds_from_now_on(store: Store, conf: settings.Settings):
    """A new price does not change the cost of the past. The same price again is not stored."""
    failed(store, "run-a1")
    at(store, "run-a1", MARCH, 1)
    price(store, MARCH, "0.30")
    before = report(store, conf).total.cost()
    with store.begin() as tx:
        ledger.set_price(tx, "root", Price(tx.now, Decimal("0.30"), source="again"))
        ledger.set_price(tx, "root", Price(tx.now, Decimal("0.08"), source="cheaper"))
        history = ledger.price_history(tx)["root"]
        assert [p.per_gb_month for p in history] == [Decimal("0.30"), Decimal("0.08")]
    assert report(store, conf).total.cost() == before
    assert report(store, conf).price.per_gb_month == Decimal("0.08")


def test_periods():
    """A period is hours, days or weeks back, dates, or a calendar month. Anything else is refused."""
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def asked(**words: str) -> Period:
        given = {"since": None, "start": None, "end": None, "month": None, **words}
        return period(now, **given)

    assert asked() == Period(now - timedelta(days=30), now)
    assert asked(since="2w").start == now - timedelta(weeks=2)
    assert asked(month="2026-02") == Period(datetime(2026, 2, 1, tzinfo=UTC), MARCH)
    assert asked(start="2026-03-01", end="2026-04-01") == Period(MARCH, APRIL)
    beginning = datetime(1970, 1, 1, tzinfo=UTC)
    assert asked(end="2026-04-01") == Period(beginning, APRIL)
    assert asked(start="0001-01-01") == asked(since="17750000h") == Period(beginning, now)
    for bad in ({"since": "soon"}, {"since": ""}, {"month": "2026-13"}, {"start": "x"}, {"since": "nand"},
                {"month": "0001-01"}, {"end": "1969-12-31"},
                {"start": "2026-04-01", "end": "2026-03-01"}, {"since": "1d", "month": "2026-02"}):
        with pytest.raises(UsageError):
            asked(**bad)


@pytest.mark.parametrize("by", list(By))
def test_a_report_of_all_time(store: Store, conf: settings.Settings, by: By):
    """`--to` alone reports everything up to that day."""
    failed(store, "run-a1")
    price(store, MARCH, "0.30")
    at(store, "run-a1", MARCH, 100)
    found = costs_report.build(store, conf, "team", by, lambda now: period(
        now, since=None, start=None, end="2026-04-01", month=None))
    assert found.total.gb_hours == 100 * 31 * 24


def test_a_clock_that_goes_back(store: Store, conf: settings.Settings):
    """What was measured while the clock was ahead does not outlive its removal, nor a price its successor."""
    failed(store, "run-a1")
    with store.begin() as tx:
        before = replace(tx, now=tx.now - timedelta(hours=1))
        ledger.set_price(tx, "root", Price(tx.now, Decimal("0.30")))
        ledger.sample(tx, "run-a1", 5 * GB, {"ALIGN": 5 * GB})
        ledger.sample_cache(tx, "root", "team", 5 * GB)
        for _ in range(2):
            ledger.set_price(before, "root", Price(before.now, Decimal("0.10")))
            ledger.sample(before, "run-a1", 0)
            ledger.sample_cache(before, "root", "team", 0)
        later = tx.now + timedelta(days=30)
        assert [s.metered for s in ledger.samples(tx, "team", None, later)["run-a1"]] == [5 * GB, 0]
        assert [[s.metered for s in each] for each in ledger.samples_of_caches(tx, "team", later).values()
                ] == [[5 * GB, 0]]
        assert [str(p.per_gb_month) for p in ledger.price_history(tx)["root"]] == ["0.30", "0.10"]
        used = costs.usage(ledger.samples(tx, "team", None, later)["run-a1"], [], before.now, later)
    assert used.gb_hours < Decimal("0.0001")


def test_lines_by_process(store: Store, conf: settings.Settings):
    """Usage by process, from the scan joined with the trace. Its sum is that of the executions."""
    failed(store, "run-a1")
    price(store, MARCH, "0.30")
    for moment, total, processes in (
        (MARCH, 30, {"ALIGN": 20 * GB, "SORT": 10 * GB}), (MARCH + timedelta(days=15), 25, {"SORT": 20 * GB}),
    ):
        with store.begin() as tx:
            tx.conn.execute(schema.size_samples.insert().values(
                execution_id="run-a1", at=moment, metered_bytes=total * GB, processes=processes))
    found = report(store, conf, By.PROCESS)
    hours = {line.key: line.usage.gb_hours for line in found.lines}
    assert hours == {"ALIGN": 20 * 15 * 24, "SORT": 10 * 15 * 24 + 20 * 16 * 24, "(unknown)": 5 * 16 * 24}
    assert found.total == report(store, conf).total


def test_what_a_removal_has_left_costs_on(store: Store, conf: settings.Settings):
    """A removal that is paused or blocked stores a sample of what is left, by process too."""
    failed(store, "run-a1")
    with store.begin() as tx:
        removals.measured(tx, "run-a1", {"ALIGN": 4 * GB, "SORT": GB}, bytes=1, disk_bytes=1,
                          metered_bytes=5 * GB, files=10, directories=1, partial=False)
        removals.measured(tx, "run-a1", {"ALIGN": 4 * GB, "SORT": GB}, bytes=1, disk_bytes=1,
                          metered_bytes=5 * GB, files=10, directories=1, partial=False)
        claim = removals.delete(tx, "run-a1", 1, "test", "me", CLAIMANT)
        removals.paused(tx, claim, RemovalProgress(files=4), "me")
        removals.blocked(tx, claim, "1 thing cannot be removed", "me", RemovalProgress(files=8))
        removals.removed(tx, claim, "me", RemovalProgress(files=10))
    with store.begin(write=False) as tx:
        later = tx.now + timedelta(1)
        assert [s.metered / GB for s in ledger.samples(tx, None, None, later)["run-a1"]] == [5, 3, 1, 0]
        [(_, steps)] = ledger.process_samples(tx, None, None, later)
        assert [sizes.get("ALIGN", 0) / GB for _, sizes in steps] == pytest.approx([4, 2.4, 0.8, 0])


def test_each_root_has_its_price_and_currency(store: Store, conf: settings.Settings):
    """Each root has its own price. Costs in different currencies are never added."""
    with store.begin() as tx:
        transitions.register_root(tx, "other", "/other", 2)
        ledger.set_price(tx, "root", Price(tx.now, Decimal("0.30")))
        ledger.set_price(tx, "other", Price(tx.now, Decimal("0.10"), "EUR"))
    failed(store, "run-a1")
    failed(store, "run-a2")
    with store.begin() as tx:
        tx.conn.execute(schema.executions.update().where(schema.executions.c.id == "run-a2")
                        .values(root_id="other"))
    at(store, "run-a1", MARCH, 1)
    at(store, "run-a2", MARCH, 1)
    found = report(store, conf, By.ACCOUNT)
    assert found.total.costs == {"USD": Decimal("0.3"), "EUR": Decimal("0.1")}
    assert (found.currency, found.total.gb_months) == ("USD", 2)


@pytest.mark.parametrize("by", list(By))
def test_what_was_gone_before_the_period_is_not_read(store: Store, conf: settings.Settings, by: By):
    """A work dir that was deleted long before costs nothing in the period; its pipeline's others do."""
    price(store, MARCH, "0.30")
    for name, gone in (("run-a1", MARCH - timedelta(days=9)), ("run-a2", MARCH + timedelta(days=10)),
                       ("run-a3", None)):
        failed(store, name)
        at(store, name, MARCH - timedelta(days=20), 100)
        if gone is not None:
            at(store, name, gone, 0)
            with store.begin() as tx:
                tx.conn.execute(schema.work_dirs.update().where(schema.work_dirs.c.execution_id == name)
                                .values(state="DELETED", deleted_at=gone))
    with store.begin(write=False) as tx:
        everything = ledger.samples(tx, "team", None, APRIL)
    read = usage.read(store, conf, "team", APRIL, MARCH)
    assert set(read.executions) == set(read.samples) == {"run-a2", "run-a3"} < set(everything)
    found = report(store, conf, by)
    assert found.total.gb_hours == 100 * (10 + 31) * 24
    if by in (By.PIPELINE, By.PROCESS, By.ACCOUNT):
        assert len(found.lines) == 1


@pytest.mark.scale
@pytest.mark.long
def test_a_year_of_ten_thousand_executions(store: Store, conf: settings.Settings):
    """At 10,000 executions every grouping still has the same total."""
    year = Period(MARCH - timedelta(days=365), MARCH)
    executions, work_dirs, samples = [], [], []
    for number in range(10_000):
        begun = year.start + timedelta(hours=number * 0.8)
        kept, size = timedelta(hours=24 + number % 144), (number % 97 + 1) * GB
        executions.append(_EXECUTION | {
            "id": f"run-{number}", "session_id": str(number), "pipeline": f"p{number % 20}.nf",
            "account": f"a{number % 3}", "created_at": begun, "updated_at": begun})
        work_dirs.append({"execution_id": f"run-{number}", "path": "/p", "state": "DELETED",
                          "partial": False})
        samples += [{"execution_id": f"run-{number}", "at": begun + share * kept, "metered_bytes": metered,
                     "processes": {"ALIGN": metered // 2, "SORT": metered // 4}}
                    for share, metered in ((0.0, size // 2), (0.1, size), (1.0, 0))]
    with store.begin() as tx:
        tx.conn.execute(schema.executions.insert(), executions)
        tx.conn.execute(schema.work_dirs.insert(), work_dirs)
        tx.conn.execute(schema.size_samples.insert(), samples)
    totals = [report(store, conf, by, account=None, span=year).total for by in By]
    assert [total.parts for total in totals] == [totals[0].parts] * len(By)
    assert totals[0].gb_hours > 1_000_000


_EXECUTION = {"root_id": "root", "launch_dir": "/here", "state": "FAILED", "attempt": 1,
              "storage_expiration_hours": 5.0, "storage_expiration_source": "test", "retain": "full",
              "on_success": "delete"}


def test_a_report_writes_nothing(store: Store, conf: settings.Settings):
    """A report with another price in the asker's settings uses it, and leaves no trace in the database."""
    failed(store, "run-a1")
    price(store, MARCH, "0.30")
    at(store, "run-a1", MARCH, 100)

    def rows() -> list[list[tuple[object, ...]]]:
        with store.begin(write=False) as tx:
            return [[tuple(row) for row in tx.conn.execute(table.select())]
                    for table in schema.metadata.sorted_tables]

    before = rows()
    dear = replace(conf, price_per_gb_month=Decimal(99))
    found = Inspection(dear, store).costs(By.EXECUTION, lambda _now: Period(MARCH, APRIL))
    assert found.price.per_gb_month == 99
    assert found.total.cost("USD") == costs_report.build(
        store, conf, "team", By.EXECUTION, lambda _now: Period(MARCH, APRIL)).total.cost("USD")
    assert rows() == before


def test_what_slim_retention_saves(store: Store, conf: settings.Settings):
    """Removed files of failed tasks count as long as their work dir is stored, as EFS would meter them."""
    for name in ("run-a1", "run-a2", "run-a3"):
        failed(store, name)
        at(store, name, MARCH, 100)
    with store.begin() as tx:
        tx.conn.execute(schema.executions.update().where(schema.executions.c.id != "run-a3")
                        .values(retain="slim"))
        tx.conn.execute(schema.work_dirs.update().values(metered_bytes=100 * GB))
        for name in ("run-a1", "run-a1", "run-a2", "run-a3"):
            guarded.record(tx, name, "slimmed", "me", 1, {
                "files": 2, "directories": 1, "bytes": GB, "blocked": 0})
        guarded.record(tx, "run-a1", "slimmed", "me", 1, {"left_alone": "it is pinned"})
        tx.conn.execute(schema.work_dirs.update().where(schema.work_dirs.c.execution_id == "run-a2").values(
            metered_bytes=0))
    found = report(store, conf)
    assert found.slimmed == 2 * (GB + 3 * 2048)
    document = as_json.report(replace(found, emptied=GB))["now"]
    assert document["slimmed_metered_bytes"] == found.slimmed
    assert Decimal(document["slimmed_saves_per_month"]) == pytest.approx(found.saves(found.slimmed))
    assert Decimal(document["emptied_saves_per_month"]) == found.price.per_gb_month
