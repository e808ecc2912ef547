"""The verbs that only look, for one account over one database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
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
from nfresume.nextflow import engine
from nfresume.nextflow.command import assets
from nfresume.retained import places
from nfresume.settings import Settings
from nfresume.storage.root import ExecutionFolder, Root
from nfresume.store import Store, queries

if TYPE_CHECKING:  # what only some verbs need is loaded by them: a launch waits for none of it
    from nfresume.billing import aws_bill, page, report
    from nfresume.pipelines import parameters
    from nfresume.runs.records import Records
    from nfresume.tasks.cache import Cache, Entry


@dataclass(frozen=True)
class Details:
    """An execution with its attempts and its history."""

    execution: Execution
    attempts: list[Attempt]
    events: list[Event]


class Inspection:
    """What can be asked; other accounts' executions are not there."""

    def __init__(self, conf: Settings, store: Store) -> None:
        self.conf = conf
        self.store = store
        self.account = conf.account

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def get(self, execution_id: str) -> Execution:
        """The execution with this exact id, if it is the account's."""
        with self.store.begin(write=False) as tx:
            execution = queries.get(tx, execution_id)
        if execution.account != self.account:
            raise NotFound(f"account {self.account} has no execution {execution_id!r}")
        return execution

    def find(self, prefix: str) -> Execution:
        """The account's execution with this unique prefix."""
        with self.store.begin(write=False) as tx:
            return queries.find(tx, prefix, self.account)

    def newest(
        self, states: Iterable[ExecutionState] = (), limit: int = 50,
        before: tuple[datetime, str] | None = None,
    ) -> list[Execution]:
        """The account's executions, newest first; `before` is where an earlier page ended."""
        with self.store.begin(write=False) as tx:
            return queries.newest(tx, self.account, states=states, limit=limit, before=before)

    def search(
        self, states: Iterable[ExecutionState], text: str, sort: str, limit: int, offset: int
    ) -> list[Execution]:
        """The account's executions with `text` in id or pipeline; `sort` is one of queries.SORTS."""
        with self.store.begin(write=False) as tx:
            return queries.search(tx, self.account, states, text, sort, limit, offset)

    def task_counts(self, executions: Iterable[Execution]) -> dict[str, TaskCounts]:
        """Tasks of the last attempt of each, by execution."""
        with self.store.begin(write=False) as tx:
            return queries.task_counts(tx, [e.id for e in executions])

    def declared_params(self, pipeline: str) -> list[parameters.Parameter]:
        """What a pipeline declares, when it is local and absolute, or was pulled before."""
        from nfresume.pipelines import parameters

        if (python := python_workflow(pipeline)) and python[0].startswith("/"):
            return parameters.of_workflow(pipeline) if Path(python[0]).is_file() else []
        place = Path(pipeline) if pipeline.startswith("/") else assets(pipeline)
        return parameters.declared(place) if place.exists() else []

    def task_cache(self) -> Cache:
        """The account's task cache in the root of the settings. Raises RootUnusable."""
        from nfresume.tasks.cache import Cache

        return Cache(Root.open(self.conf.root).path / self.account, self.account)

    def cached(self, task: str | None = None) -> list[Entry]:
        """What is in it, newest first; of one task, by its full name."""
        found = [e for e in self.task_cache().entries() if task in (None, e.key.task)]
        return sorted(found, key=lambda e: -e.created_at)

    def explain(self, task: str, words: tuple[str, ...], here: Path) -> dict[str, Any]:
        """Why a call of `file.py:task` would be reused or run; see `explaining.explain`."""
        from nfresume.tasks import explaining

        return explaining.explain(task, words, here, self.task_cache().path.parent)

    def state_counts(self) -> dict[ExecutionState, int]:
        """How many of the account's executions are in each state."""
        with self.store.begin(write=False) as tx:
            return queries.state_counts(tx, self.account)

    def details(self, execution: Execution) -> Details:
        """An execution with attempts and events."""
        with self.store.begin(write=False) as tx:
            return Details(
                queries.get(tx, execution.id), queries.attempts_of(tx, execution.id),
                queries.events_of(tx, execution.id),
            )

    def folder(self, execution: Execution) -> ExecutionFolder:
        """Where an execution keeps its files."""
        return places.folder_of(self.store, execution)

    def engine_version(self) -> str:
        """The version of the Nextflow that a launch would use; empty when there is none."""
        try:
            return engine.find(self.conf, install=False).version
        except EngineUnavailable:
            return ""

    def records(self, execution: Execution, number: int | None = None) -> Records:
        """What an attempt left on disk (default: the last one)."""
        from nfresume.runs.records import Records

        return Records(self.folder(execution), number or execution.attempt)

    def wait_measured(self, execution: Execution, timeout: float) -> Execution:
        """Until a retained work dir's size is known, or time runs out."""
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
        """The price that holds now for the storage of an execution's root."""
        with self.store.begin(write=False) as tx:
            return pricing.of_root(tx, self.conf, execution.root_id)

    def costs(
        self, by: report.By, chosen: Callable[[datetime], Period], *, all_accounts: bool = False,
        notify: Callable[[str], None] = lambda _: None,
    ) -> report.Report:
        """What retained storage costs the account, or all of them; `chosen` makes the period from now.

        `notify` is told why AWS could not be asked for its price.
        """
        from nfresume.billing import report

        if trouble := pricing.record(self.store, self.conf):
            notify(trouble)
        return report.build(self.store, self.conf, None if all_accounts else self.account, by, chosen)

    def costs_figures(self, chosen: Callable[[datetime], Period]) -> page.CostsPage:
        """The cost report with its plots, for the console."""
        from nfresume.billing import page

        return page.gather(self.store, self.conf, self.account, chosen)

    def costs_page(self, chosen: Callable[[datetime], Period], *, all_accounts: bool = False) -> str:
        """The cost report as an HTML page with plots that opens offline."""
        from nfresume.billing import page

        return page.build(self.store, self.conf, None if all_accounts else self.account, chosen)

    def bill(self, chosen: Callable[[datetime], Period]) -> aws_bill.Comparison:
        """What AWS billed for the root's storage in a period, beside the ledger."""
        from nfresume.billing import aws_bill

        return aws_bill.compare(self.store, self.conf, chosen)
