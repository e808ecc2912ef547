"""What every page of an execution has: its headline, its sections, and what may be done with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.responses import HTMLResponse

from nfresume.billing.usage import Storage
from nfresume.domain import headline
from nfresume.domain.costs import Price
from nfresume.domain.errors import NfresumeError, NotFound
from nfresume.domain.executions import Attempt, Execution, TaskCounts, deletion
from nfresume.domain.headline import FailedTask, Reusable
from nfresume.domain.people import Role
from nfresume.nextflow import summary
from nfresume.nextflow.record import Task
from nfresume.nextflow.summary import Progress
from nfresume.runs.records import Records
from nfresume.service.inspection import Details
from nfresume.service.verbs import Service
from nfresume.storage.emptying import Total
from nfresume.system import acting
from nfresume.web.access import SiteOf, Viewing, VisitorOf
from nfresume.web.rendering import page

#: The sections of an execution: the end of their URL, and their title.
SECTIONS = (("", "Overview"), ("tasks", "Tasks"), ("timeline", "Timeline"), ("graph", "Graph"),
            ("why", "Why it ran"), ("log", "Logs"), ("results", "Results"),
            ("storage", "Storage and cost"), ("history", "History"))
#: So many bytes of the end of a file are shown.
TAIL = 32 * 1024
#: A page waits so many seconds for the records of tasks. Then it says that they are being read.
_PATIENCE = 0.05


@dataclass
class Frame:
    """One attempt of an execution, and what was read of its records.

    `unread`: why its records cannot be read. `failed` are tasks that failed for good; the first one stopped
    the run, and `why` is what is said of it.
    """

    account: str
    who: VisitorOf
    service: Service
    details: Details
    number: int
    price: Price
    now: datetime
    records: Records | None = None
    unread: str = ""
    fault: str = ""
    counts: TaskCounts = field(default_factory=TaskCounts)
    progress: list[Progress] = field(default_factory=list)
    published: int = 0
    failed: list[Task] = field(default_factory=list)
    why: FailedTask | None = None
    planned: Reusable | None = None  # by a forecast, which has looked at each task

    @property
    def e(self) -> Execution:
        return self.details.execution

    @property
    def attempt(self) -> Attempt:
        return self.details.attempts[self.number - 1]

    @property
    def url(self) -> str:
        return f"/a/{self.account}/executions/{self.e.id}"

    @property
    def ended(self) -> bool:
        """True when nothing of this attempt changes any more."""
        return self.number < self.e.attempt or not self.e.state.live

    def records_of(self, number: int) -> Records:
        """The records of an attempt, for a page. Raises NotFound."""
        return self.service.records(self.e, number, _PATIENCE)

    def role(self, role: Role) -> bool:
        """True if the user has at least this role in the account."""
        return self.who.user.roles[self.account].includes(role)

    @property
    def happened(self) -> str:
        return headline.happened(self.attempt, self.counts, self.why, self.now, lost=bool(self.waits))

    @cached_property
    def advice(self) -> str:
        reusable = self.planned
        if reusable is None and self.number == self.e.attempt:
            with reading(self):
                reusable = self.service.reusable(self.details)
        return headline.advice(self.e, self.attempt, reusable, lost=bool(self.waits))

    @cached_property
    def waits(self) -> str:
        """Why a lost attempt waits for its host; empty for any other."""
        return (self.service.waits_for_host(self.e) or "") if self.number == self.e.attempt else ""

    @property
    def from_scratch(self) -> bool:
        """True when it reused nothing on purpose."""
        return self.number > 1 and not self.attempt.resume

    @cached_property
    def emptied(self) -> Total | None:
        """The files whose content lean retention did not keep."""
        return self.service.emptied(self.e)

    @cached_property
    def storage(self) -> Storage:
        """What its work dir has stored until now."""
        return self.service.storage(self.e)

    @property
    def cost(self) -> Decimal | None:
        """What its storage has cost so far; None when nothing was measured."""
        return self.storage.used.cost(self.price.currency) if self.storage.steps else None


def frame(
    account: str, execution_id: str, site: SiteOf, who: VisitorOf, service: Viewing,
    attempt: Annotated[int | None, Query(ge=1, le=100_000)] = None,
) -> Frame:
    """The frame of a page, for a viewer of the account. Raises NotFound."""
    return of(account, execution_id, site, who, service, attempt)


FrameOf = Annotated[Frame, Depends(frame)]


def of(
    account: str, execution_id: str, site: SiteOf, who: VisitorOf, service: Service,
    attempt: int | None = None,
) -> Frame:
    """The frame of an attempt (default: the last one). Raises NotFound."""
    with acting.for_looking(service.conf, service.account):
        return _of(account, execution_id, site, who, service, attempt)


def _of(
    account: str, execution_id: str, site: SiteOf, who: VisitorOf, service: Service, attempt: int | None,
) -> Frame:
    details = service.details(service.get(execution_id))
    e = details.execution
    number = attempt or e.attempt
    if number > len(details.attempts):
        raise NotFound(f"{e.id} has no attempt {number}", f"it has {len(details.attempts)}")
    price = site.cached("price", e.root_id, lambda: service.price(e))
    made = Frame(account, who, service, details, number, price, datetime.now(UTC))
    made.counts = made.attempt.tasks
    with reading(made):
        _read(made)
    return made


@contextmanager
def reading(made: Frame) -> Iterator[None]:
    """Read records; why they cannot be read is noted in the frame, and the page shows it."""
    try:
        yield
    except (NfresumeError, OSError) as error:
        made.unread = str(error)


def _read(made: Frame) -> None:
    found = made.records = made.records_of(made.number)
    sums = found.sums()
    made.failed = _first(sums.failed, made.attempt.error or "")
    made.progress = [Progress(*row) for row in sums.processes]
    made.published = sums.published
    if made.progress:
        made.counts = summary.counts(made.progress)
    made.fault = found.fault()
    if made.failed:
        task = made.failed[0]
        texts = files_of(found, task, ("stderr", "stdout"))[0]
        made.why = FailedTask(task.name, task.exit, headline.reason(
            texts["stderr"], texts["stdout"], task.error))


def _first(failed: Sequence[Task], error: str) -> list[Task]:
    """The failed tasks, the one that the error of the run names first."""
    return sorted(failed, key=lambda task: task.name not in error)


def files_of(
    found: Records, task: Task, names: tuple[str, ...] = ("script", "stdout", "stderr"), most: int = TAIL
) -> tuple[dict[str, str], bool, set[str]]:
    """The end of some files of a task, of its script the beginning; empty where there is none.

    True with it: the task dir is gone, and this is what was kept. Last: which of them are longer.
    """
    texts, kept, cut = {}, False, set()
    for name in names:
        begins = name == "script"
        try:
            part = found.task_part(task, name, 0 if begins else -most - 1, most + 1)
        except (NfresumeError, OSError):
            texts[name] = ""
            continue
        if len(part.data) > most:
            cut.add(name)
        data = part.data[:most] if begins else part.data[-most:]
        texts[name], kept = data.decode("utf-8", "replace"), kept or part.kept
    return texts, kept, cut


def show(request: Request, made: Frame, template: str, section: str, **values: Any) -> HTMLResponse:
    """Render a section of an execution."""
    return page(request, template, user=made.who.user, account=made.account, csrf=made.who.csrf,
                **context(made, section), **values)


def context(made: Frame, section: str) -> Mapping[str, Any]:
    """The variables that the template `execution.html` needs."""
    return {
        "f": made, "e": made.e, "details": made.details, "number": made.number, "attempt": made.attempt,
        "section": section, "sections": SECTIONS, "deletion": deletion(made.details.events),
        "may_edit": made.role(Role.EDITOR), "may_settle": made.role(Role.OWNER),
        "waits": made.waits,
    }
