"""The read-only part of the service, for one account of one database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfresume.billing import pricing
from nfresume.domain.costs import Price
from nfresume.domain.errors import EngineUnavailable, NotFound
from nfresume.domain.executions import Attempt, Event, Execution, ExecutionState, TaskCounts, python_workflow
from nfresume.domain.periods import Period
from nfresume.domain.workdirs import WorkDirState
from nfresume.nextflow import assets, engine, history
from nfresume.retained import emptied, places
from nfresume.settings import Settings
from nfresume.storage.emptying import Total
from nfresume.storage.root import ExecutionFolder, Root
from nfresume.store import Store, ledger, listing, outcomes, queries

if TYPE_CHECKING:  # imported in the methods that need them, so that a launch starts fast
    from nfresume.billing import aws_bill, page, report, usage
    from nfresume.domain.headline import Reusable
    from nfresume.pipelines import parameters
    from nfresume.runs.explaining import Explained
    from nfresume.runs.records import Records
    from nfresume.tasks.cache import Cache, Entry


@dataclass(frozen=True)
class Details:
    """An execution with its attempts and its history."""

    execution: Execution
    attempts: list[Attempt]
    events: list[Event]


class Inspection:
    """Queries about one account. Executions of other accounts count as not existing."""

    def __init__(self, conf: Settings, store: Store) -> None:
        self.conf = conf
        self.store = store
        self.account = conf.account

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def get(self, execution_id: str) -> Execution:
        """The account's execution with this exact id. Raises NotFound."""
        with self.store.begin(write=False) as tx:
            execution = queries.get(tx, execution_id)
        if execution.account != self.account:
            raise NotFound(f"account {self.account} has no execution {execution_id!r}")
        return execution

    def current(self, execution: Execution) -> Execution:
        """The execution as it is now."""
        return self.get(execution.id)

    def find(self, prefix: str) -> Execution:
        """The account's execution whose id begins with `prefix`. Raises NotFound; UsageError for several."""
        with self.store.begin(write=False) as tx:
            return queries.find(tx, prefix, self.account)

    def newest(
        self, states: Iterable[ExecutionState] = (), limit: int = 50,
        before: tuple[datetime, str] | None = None,
    ) -> list[Execution]:
        """The account's executions, newest first; `before` is the previous page's last (created_at, id)."""
        with self.store.begin(write=False) as tx:
            return queries.newest(tx, self.account, states=states, limit=limit, before=before)

    def search(self, wanted: listing.Filter, sort: str, limit: int, offset: int) -> list[Execution]:
        """The account's executions that match. `sort` is one of `listing.SORTS`."""
        with self.store.begin(write=False) as tx:
            return listing.page(tx, self.account, wanted, sort, limit, offset)

    def count(self, wanted: listing.Filter) -> int:
        """How many of the account's executions match; at most `listing.MOST_COUNTED` are counted."""
        with self.store.begin(write=False) as tx:
            return listing.count(tx, self.account, wanted)

    def task_counts(self, executions: Iterable[Execution]) -> dict[str, TaskCounts]:
        """The task counts of each execution's last attempt, by execution id."""
        with self.store.begin(write=False) as tx:
            return queries.task_counts(tx, [e.id for e in executions])

    def declared_params(self, pipeline: str) -> list[parameters.Parameter]:
        """The parameters of a pipeline that is an absolute path or was pulled before; empty for any other."""
        from nfresume.pipelines import parameters

        if (python := python_workflow(pipeline)) and python[0].startswith("/"):
            return parameters.of_workflow(Path(python[0]), python[1]) if Path(python[0]).is_file() else []
        path = Path(pipeline) if pipeline.startswith("/") else assets.copy(pipeline)
        return parameters.declared(path) if path.exists() else []

    def waits_for_host(self, execution: Execution) -> str | None:
        """Why a lost attempt waits for its host, or for a person who says that it is gone; else None."""
        from nfresume.runs import lost

        if not execution.state.live or execution.id not in {e.id for e in lost.find(self.store, self.conf)}:
            return None
        action, reason = lost.diagnose(self.store, self.conf, execution)
        if action != "keep":
            return None  # the next sweep settles it
        said, _ = lost.diagnose(self.store, self.conf, execution, host_is_gone=True)
        return None if said == "keep" else reason

    def can_resume(self, execution: Execution) -> bool:
        """True when a relaunch can reuse something: Nextflow got as far as its cache."""
        folder = self.folder(execution)
        return history.resumable(folder.cache, execution.session_id) is None

    def reusable(self, details: Details) -> Reusable | None:
        """What a relaunch finds of what has finished; None while an attempt runs, and without a work dir."""
        from nfresume.runs import reusable

        e = details.execution
        if e.state.live or e.work_dir.state is not WorkDirState.RETAINED or not details.attempts:
            return None
        return reusable.of(e, details.attempts, details.events, self.folder(e),
                           lambda number: self.records(e, number).tasks())

    def run_nextflow(self, execution: Execution, words: Sequence[str]) -> int:
        """Run a command of Nextflow that only reads, with the cache and history of an execution.

        Standard streams are the caller's. Returns its exit status. Raises UsageError for any other command,
        Expired when the cache was deleted with the work dir.
        """
        from nfresume.runs import programs

        with self.store.begin(write=False) as tx:
            last = queries.attempt(tx, execution.id, execution.attempt)
        return programs.run_nextflow(self.conf, execution, last, self.folder(execution), words)

    def task_cache(self) -> Cache:
        """The account's task cache in the configured root. Raises RootUnusable."""
        from nfresume.tasks.cache import Cache

        return Cache(Root.open(self.conf.root).path / self.account, self.account)

    def cache_entries(self, task: str | None = None) -> list[Entry]:
        """The entries of the task cache, newest first; with `task`, those of the task with this full name."""
        found = [e for e in self.task_cache().entries() if task in (None, e.key.task)]
        return sorted(found, key=lambda e: -e.created_at)

    def explain(self, task: str, words: tuple[str, ...], here: Path) -> dict[str, Any]:
        """Why a call of `file.py:task` would be reused or run. See `tasks.explaining.explain`."""
        from nfresume.tasks import explaining

        return explaining.explain(task, words, here, self.task_cache().path.parent)

    def explain_attempt(self, execution: Execution, number: int | None = None) -> Explained:
        """Why the tasks of attempt `number` (default: the last one) ran. Raises NotFound."""
        from nfresume.runs import explaining

        self.records(execution, number)  # raises NotFound
        return explaining.of(self.folder(execution), execution.session_id, number or execution.attempt)

    def state_counts(self) -> dict[ExecutionState, int]:
        """How many of the account's executions are in each state."""
        with self.store.begin(write=False) as tx:
            return queries.state_counts(tx, self.account)

    def run_outcomes(self, executions: Iterable[Execution]) -> dict[str, outcomes.Outcome]:
        """How the last attempts of executions began and ended, by id."""
        with self.store.begin(write=False) as tx:
            return outcomes.of(tx, [e.id for e in executions])

    def first_starts(self, executions: Iterable[Execution]) -> dict[str, datetime | None]:
        """When the first attempts of executions started, by id."""
        with self.store.begin(write=False) as tx:
            return outcomes.first_starts(tx, [e.id for e in executions])

    def failures(self) -> list[outcomes.Outcome]:
        """The outcome of each of the account's failed executions."""
        with self.store.begin(write=False) as tx:
            return outcomes.of_failed(tx, self.account)

    def details(self, execution: Execution) -> Details:
        """The execution as it is now, with its attempts and events."""
        with self.store.begin(write=False) as tx:
            return Details(
                queries.get(tx, execution.id), queries.attempts_of(tx, execution.id),
                queries.events_of(tx, execution.id),
            )

    def folder(self, execution: Execution) -> ExecutionFolder:
        """The execution's folder in its root. Raises RootUnusable."""
        return places.folder_of(self.store, execution)

    def engine_version(self) -> str:
        """The version of the Nextflow that a launch would use; empty when there is none."""
        try:
            return engine.find(self.conf, install=False).version
        except EngineUnavailable:
            return ""

    def records(
        self, execution: Execution, number: int | None = None, patience: float | None = None
    ) -> Records:
        """The records of attempt `number` (default: the last one). Raises NotFound if there are none.

        `patience`: see Records.
        """
        from nfresume.runs.records import Records

        if number is not None and not 1 <= number <= execution.attempt:
            raise NotFound(f"{execution.id} has no attempt {number}", f"its last one is {execution.attempt}")
        chosen = number or execution.attempt
        folder = self.folder(execution)
        if execution.work_dir.state is WorkDirState.DELETED and not folder.path.exists():
            raise NotFound(f"the records of {execution.id} have expired",
                           f"they were kept for keep_records_days = {self.conf.keep_records_days:g}")
        ended = chosen < execution.attempt or not execution.state.live
        return Records(folder, chosen, ended=ended, patience=patience)

    def wait_until_measured(self, execution: Execution, timeout: float) -> Execution:
        """Wait at most `timeout` seconds until the work dir was measured. Returns the current execution."""
        end = time.monotonic() + timeout
        while execution.work_dir.bytes is None and time.monotonic() < end:
            time.sleep(0.03)
            execution = self.get(execution.id)
        return execution

    def with_work_dir(self) -> list[Execution]:
        """The account's executions whose work dir is in use or retained, newest first."""
        with self.store.begin(write=False) as tx:
            found = queries.newest(tx, self.account, limit=100_000)
        return [e for e in found if e.work_dir.state in (WorkDirState.ACTIVE, WorkDirState.RETAINED)]

    def price(self, execution: Execution) -> Price:
        """The current price of the storage of an execution's root."""
        with self.store.begin(write=False) as tx:
            return pricing.of_root(tx, self.conf, execution.root_id)

    def emptied(self, execution: Execution) -> Total | None:
        """What lean retention saves of an execution; None when it has emptied nothing."""
        return emptied.of(self.store, self.conf, execution)

    def lean_refusal(self, execution: Execution) -> str | None:
        """Why lean retention will be refused for an execution, as seen from here; None when it will not."""
        from nfresume.storage import emptying

        if python_workflow(execution.pipeline) is not None:
            return "it is a Python workflow"
        try:
            return emptying.refusal(self.folder(execution).path)
        except OSError as e:
            return f"{e.filename}: {e.strerror}"

    def storage(self, execution: Execution) -> usage.Storage:
        """What an execution has stored until now, and what that cost."""
        from nfresume.billing import usage

        return usage.of_execution(self.store, self.conf, execution)

    def costs(
        self, by: report.By, choose_period: Callable[[datetime], Period], *, all_accounts: bool = False,
        notify: Callable[[str], None] = lambda _: None,
    ) -> report.Report:
        """The cost report of the account, or of all accounts. `choose_period` makes the period from now.

        Nothing is written: another price in the settings of the asker is for this report only. When AWS could
        not be asked for its price, `notify` is called with the reason.
        """
        from nfresume.billing import report

        if trouble := pricing.refresh(self.conf):
            notify(trouble)
        return report.build(self.store, self.conf, None if all_accounts else self.account, by, choose_period)

    def costs_lines(
        self, by: report.By, accounts: Iterable[str], choose_period: Callable[[datetime], Period]
    ) -> tuple[list[report.Line], str]:
        """The lines of a report, and their currency; by account those of several accounts."""
        from nfresume.billing import report

        return report.lines_of(self.store, self.conf, by, accounts, choose_period)

    def costs_figures(self, choose_period: Callable[[datetime], Period]) -> page.CostsPage:
        """The cost report with the data of its plots, for the console."""
        from nfresume.billing import page

        return page.gather(self.store, self.conf, self.account, choose_period)

    def costs_version(self) -> tuple[int, ...]:
        """What changes whenever an event, a size or a price is stored, of whatever account."""
        with self.store.begin(write=False) as tx:
            return ledger.version(tx)

    @property
    def on_efs(self) -> bool:
        """True if the configured root is on AWS EFS."""
        return pricing.file_system_of(self.conf) is not None

    def costs_page(self, choose_period: Callable[[datetime], Period], *, all_accounts: bool = False) -> str:
        """The cost report as an HTML page with plots. It opens offline."""
        from nfresume.billing import page

        return page.build(self.store, self.conf, None if all_accounts else self.account, choose_period)

    def bill(self, choose_period: Callable[[datetime], Period]) -> aws_bill.Comparison:
        """What AWS billed for the root's storage in a period, compared with the measured usage."""
        from nfresume.billing import aws_bill

        return aws_bill.compare(self.store, self.conf, choose_period)
