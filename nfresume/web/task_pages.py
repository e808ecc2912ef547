"""The tasks of an attempt, and a page for each of them."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from nfresume.domain.errors import NfresumeError, NotFound
from nfresume.nextflow import metrics, task_dirs
from nfresume.nextflow.record import Task
from nfresume.runs import task_index
from nfresume.runs.explaining import Explanation
from nfresume.runs.records import TASK_FILES, Records
from nfresume.runs.task_index import Query as TaskQuery
from nfresume.service import explaining
from nfresume.web import frames, highlighting, ranges
from nfresume.web.access import SiteOf, Viewing, VisitorOf
from nfresume.web.frames import Frame, FrameOf
from nfresume.web.routes import AccountRoute

router = APIRouter(route_class=AccountRoute, prefix="/a/{account}", include_in_schema=False)

#: So many tasks, inputs, outputs and attempts are on one page.
_TASKS, _INPUTS, _OUTPUTS, _ATTEMPTS = 100, 200, 200, 20
#: So many bytes of a script and of each output of a task are shown.
_SHOWN = 24 * 1024
#: The columns by which tasks are sorted: title, and its orders; the first one is that of a click.
_COLUMNS = (("task", ("name", "name-down")), ("task dir", ()), ("state", ("state", "state-down")),
            ("exit", ("exit-down", "exit")), ("took", ("longest", "shortest")),
            ("begun", ("newest", "appeared")))
Number = Annotated[int, Path(ge=1, le=100_000)]
TaskNumber = Annotated[int, Path(ge=0, le=2**40)]


def _query(
    state: Annotated[str, Query(max_length=20)] = "", process: Annotated[str, Query(max_length=500)] = "",
    text: Annotated[str, Query(max_length=200)] = "", sort: Annotated[str, Query(max_length=20)] = "newest",
    after: Annotated[int, Query(ge=0, le=2**40)] = 0,
) -> TaskQuery:
    """The tasks that a page shows."""
    return TaskQuery(state, process, text, sort, after, _TASKS)


@router.get("/executions/{execution_id}/tasks")
def tasks(request: Request, frame: FrameOf, chosen: Annotated[TaskQuery, Depends(_query)]) -> HTMLResponse:
    """A page of tasks: searched, filtered, sorted and counted here."""
    shown = task_index.Page([], 0)
    with frames.reading(frame):
        if frame.records is not None:
            with frame.records.tasks() as index:
                shown = index.page(chosen)
    states = {name: sum(getattr(row, name) for row in frame.progress if chosen.process in ("", row.process))
              for name in task_index.STATES}

    def link(**changes: object) -> str:
        return "?" + urlencode({"attempt": frame.number, "state": chosen.state, "process": chosen.process,
                                "text": chosen.text, "sort": chosen.sort, **changes},
                               errors="surrogateescape")

    return frames.show(request, frame, "tasks.html", "tasks", tasks=shown.tasks, total=shown.total,
                       chosen=chosen, columns=_COLUMNS, states=states, link=link, page_size=_TASKS)


def _found(frame: Frame, n: int) -> tuple[Records, Task]:
    """A task of the frame's attempt, and the records in which it is. Raises NotFound."""
    if frame.records is None:
        raise NotFound(f"the records of {frame.e.id} cannot be read", frame.unread)
    with frame.records.tasks() as index:
        task = index.task(n)
    if task is None:
        raise NotFound(f"attempt {frame.number} of {frame.e.id} has no task {n}", "its list shows them")
    return frame.records, task


@router.get("/executions/{execution_id}/tasks/{number}/{n}")
def task_page(
    account: str, execution_id: str, number: Number, n: TaskNumber, request: Request, site: SiteOf,
    who: VisitorOf, service: Viewing,
) -> HTMLResponse:
    """Everything that is known of one task."""
    frame = frames.of(account, execution_id, site, who, service, number)
    found, task = _found(frame, n)
    names = ("script", "stdout", "stderr", "log", "trace")
    files, kept, cut = frames.files_of(found, task, names, _SHOWN)
    reason, chain = _why(frame, task)
    return frames.show(
        request, frame, "task.html", "tasks", task=task, files=files, kept=kept, cut=cut,
        file_names=list(TASK_FILES),
        script=highlighting.script(files["script"]), metrics=metrics.parse(files["trace"]),
        outputs=found.outputs(task, _OUTPUTS), reason=reason, chain=chain,
        others=_others(frame, task), **_around(frame, found, task))


def _around(frame: Frame, found: Records, task: Task) -> dict[str, Any]:
    """Where the inputs of a task come from, who uses its files, and what of it was published."""
    ran = _original(frame, task)
    with found.tasks() as index:
        work = index.summary.work
        makers = {name: index.by_dir(name) for path, _, _ in ran.inputs[:_INPUTS]
                  if (name := task_dirs.of_path(path, work))}
        users = index.users_of(task, _INPUTS) if task.dir else []
        published = [each.target for each in index.published if each.task and each.task == task.dir]
    inputs = [(path.removeprefix(f"{work}/"), size, makers.get(task_dirs.of_path(path, work)))
              for path, size, _ in ran.inputs[:_INPUTS]]
    return {"inputs": inputs, "inputs_total": len(ran.inputs), "users": users, "ran": ran,
            "published": published[:_OUTPUTS]}


def _original(frame: Frame, task: Task) -> Task:
    """The line of the attempt that ran a cached task: it has its inputs and times."""
    if task.cached_from is None or not task.dir:
        return task
    try:
        with frame.records_of(task.cached_from).tasks() as index:
            return index.by_dir(task.dir) or task
    except (NfresumeError, OSError):
        return task


def _others(frame: Frame, task: Task) -> list[tuple[int, Task]]:
    """The tasks of this name in the last attempts, with the numbers of these."""
    found: list[tuple[int, Task]] = []
    last = frame.e.attempt
    for number in range(last, max(0, last - _ATTEMPTS), -1):
        try:
            with frame.records_of(number).tasks() as index:
                found += [(number, each) for each in index.named(task.name, _ATTEMPTS)]
        except (NfresumeError, OSError):
            continue  # the page says what it has
    return found[:_ATTEMPTS]


def _why(frame: Frame, task: Task) -> tuple[str, list[Explanation]]:
    """Why a task ran, in one sentence or as a chain of tasks that begins with it."""
    if task.status in ("CACHED", "STORED"):
        by = f" of attempt {task.cached_from}" if task.cached_from else ""
        return f"It did not run: its result{by} was reused", []
    if frame.number == 1:
        return "It ran because nothing had run before", []
    if not frame.ended:
        return "Why it ran is told when the attempt has ended", []
    try:
        explained = frame.service.explain_attempt(frame.e, frame.number)
    except (NfresumeError, OSError) as error:
        return f"Why it ran is not known: {error}", []
    if explained.whole:
        return f"Every task ran: {explained.whole}", []
    mine = [each for each in explained.tasks
            if (each.dir == task.dir if each.dir and task.dir else each.name == task.name)]
    if not mine:
        return "Why it ran is not known", []
    return "", explaining.chain(explained, mine[0])[:_ATTEMPTS]


@router.get("/executions/{execution_id}/tasks/{number}/{n}/{name}")
def task_file(
    account: str, execution_id: str, number: Number, n: TaskNumber, name: str, request: Request,
    site: SiteOf, who: VisitorOf, service: Viewing,
) -> Response:
    """One of TASK_FILES of a task as a download, whole or what was kept of it."""
    frame = frames.of(account, execution_id, site, who, service, number)
    found, task = _found(frame, n)
    fd, kept = found.open_task_file(task, name)
    return ranges.of_file(request, fd, download=f"{execution_id}-{number}-{n}{'-kept' if kept else ''}-"
                                                f"{TASK_FILES[name].lstrip('.')}")
