"""Pages about executions: the list, one execution, the launch form; and the forms on these pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from nfresume.domain.errors import Conflict, NfresumeError, NotFound
from nfresume.domain.executions import Attempt, Execution, ExecutionState, deletion
from nfresume.domain.people import Role
from nfresume.domain.workdirs import OnSuccess, Retain
from nfresume.nextflow.record import Task
from nfresume.pipelines import parameters
from nfresume.runs import records, task_index
from nfresume.runs.task_index import Query as TaskQuery
from nfresume.service import boundary, submissions
from nfresume.service.submissions import Resubmission, Submission
from nfresume.service.verbs import Service
from nfresume.web import ranges
from nfresume.web.access import Editing, Owning, SiteOf, Viewing, VisitorOf
from nfresume.web.rendering import page
from nfresume.web.routes import AccountRoute

router = APIRouter(route_class=AccountRoute, prefix="/a/{account}", include_in_schema=False)

_PAGE = 25  # executions
_TASKS = 200
_TAIL = 32 * 1024  # bytes
Text = Annotated[str, Form(max_length=5_000_000)]


@router.get("/executions")
def list_page(
    account: str, request: Request, site: SiteOf, who: VisitorOf, service: Viewing,
    state: Annotated[str, Query(max_length=20)] = "", search: Annotated[str, Query(max_length=200)] = "",
    sort: Annotated[str, Query(max_length=20)] = "newest", after: Annotated[str, Query(max_length=300)] = "",
) -> HTMLResponse:
    """The account's executions, filtered, searched, sorted and paged by the server."""
    states = [s for s in ExecutionState if s == state.upper()]
    offset = int(after) if after.isdecimal() and len(after) < 10 else 0
    found = service.search(states, search, sort, limit=_PAGE + 1, offset=offset)
    price = site.cached("price", found[0].root_id, lambda: service.price(found[0])) if found else None
    return page(
        request, "executions.html", user=who.user, account=account, csrf=who.csrf, found=found[:_PAGE],
        more=offset + _PAGE if len(found) > _PAGE else None, less=max(0, offset - _PAGE) if offset else None,
        state=state, search=search, sort=sort, states=list(ExecutionState), price=price,
        counts=site.cached("counts", account, service.state_counts),
        tasks=service.task_counts(found[:_PAGE]),
        may_edit=_may_edit(who, account),
    )


def _may_edit(who: VisitorOf, account: str) -> bool:
    return who.user.roles[account].includes(Role.EDITOR)


@router.post("/executions")
def bulk(
    account: str, service: Editing, action: Annotated[str, Form()],
    chosen: Annotated[list[str] | None, Form(alias="id")] = None, hours: Annotated[str, Form()] = "48",
) -> Response:
    """Extend or delete the chosen executions. Raises Conflict with the first error if some of them refuse."""
    refused = []
    for execution_id in (chosen or [])[:1000]:
        try:
            e = service.get(execution_id)
            service.extend(e, hours) if action == "extend" else service.mark_for_deletion(e)
        except (NfresumeError, OSError) as error:
            refused.append(str(error))
    if refused:
        raise Conflict(f"{len(refused)} of {len(chosen or [])} executions were not changed: {refused[0]}",
                       "the others were")
    return RedirectResponse(f"/a/{account}/executions", 303)


def _task_query(
    task_state: Annotated[str, Query(max_length=20)] = "",
    task_process: Annotated[str, Query(max_length=500)] = "",
    task_text: Annotated[str, Query(max_length=200)] = "",
    task_sort: Annotated[str, Query(max_length=20)] = "newest",
    task_from: Annotated[int, Query(ge=0, le=2**40)] = 0,
) -> TaskQuery:
    """The tasks that a page shows."""
    return TaskQuery(task_state, task_process, task_text, task_sort, task_from, _TASKS)


@router.get("/executions/{execution_id}")
def execution_page(
    account: str, execution_id: str, request: Request, who: VisitorOf, service: Viewing,
    chosen: Annotated[TaskQuery, Depends(_task_query)],
    attempt: Annotated[int | None, Query(ge=1, le=100_000)] = None,
    log: Annotated[str, Query(max_length=20)] = "stdout",
) -> HTMLResponse:
    """Everything about one execution; of its tasks those that are chosen."""
    details = service.details(service.get(execution_id))
    e = details.execution
    number = attempt or e.attempt
    if number > len(details.attempts):
        raise NotFound(f"{e.id} has no attempt {number}", f"it has {len(details.attempts)}")
    name = log if log in records.LOGS else "stdout"
    return page(
        request, "execution.html", user=who.user, account=account, csrf=who.csrf, e=e, details=details,
        deletion=deletion(details.events), number=number, attempt=details.attempts[number - 1],
        timeline=timeline(details.attempts),
        log_name=name, logs=list(records.LOGS),
        task_states=task_index.STATES, task_sorts=list(task_index.SORTS), task_page=_TASKS,
        may_edit=_may_edit(who, account), may_settle=who.user.roles[account].includes(Role.OWNER),
        waits=service.waits_for_host(e), price=service.price(e),
        **_of_attempt(service, e, number, name, chosen),
    )


def _of_attempt(
    service: Service, e: Execution, number: int, log_name: str, chosen: TaskQuery
) -> dict[str, Any]:
    """What the page shows of the attempt's records; nothing but the error if they cannot be read."""
    empty: dict[str, Any] = {
        "tasks": [], "total": 0, "progress": [], "failed": None, "log_text": "", "log_end": 0,
        "published": [], "published_total": 0, "unread": None, "chosen": chosen, "fault": ""}
    try:
        found = service.records(e, number)
        with found.tasks() as tasks:
            shown, failed = tasks.page(chosen), tasks.last_failed()
            total, published = tasks.summary, tasks.published[:_TASKS]
            progress = [replace(row) for row in total.processes.values()]
        size = found.size(log_name)
        start = max(0, size - _TAIL)
        text = found.part(log_name, start, _TAIL) if size else b""
    except (NfresumeError, OSError) as error:
        return {**empty, "unread": str(error)}
    return {
        **empty, "tasks": shown.tasks, "total": shown.total, "progress": progress,
        "failed": _failed(found, failed), "log_text": text.decode("utf-8", "replace"),
        "log_end": start + len(text), "published": published, "published_total": total.published,
        "fault": found.fault(),
    }


def _failed(found: records.Records, task: Task | None) -> dict[str, Any] | None:
    """A task that failed, with its script and the end of its output; None if no task failed."""
    if task is None:
        return None
    files, kept = {}, False
    for name in ("stdout", "stderr", "script"):
        try:
            part = found.task_part(task, name, 0 if name == "script" else -_TAIL, _TAIL)
            data, kept = part.data, kept or part.kept
        except (NfresumeError, OSError) as error:
            data = str(error).encode()
        files[name] = data.decode("utf-8", "replace")
    return {"task": task, "files": files, "kept": kept}


def timeline(attempts: Sequence[Attempt]) -> list[tuple[Attempt, float, float]]:
    """Each started attempt with its start and length, in percent of the time from first start to last end."""
    begun = [a for a in attempts if a.started_at]
    if not begun:
        return []
    first = min(a.started_at for a in begun if a.started_at)
    now = datetime.now(first.tzinfo)
    whole = max(1.0, (max(a.ended_at or now for a in begun) - first).total_seconds())
    bars = []
    for a in begun:
        assert a.started_at is not None
        start = 100 * (a.started_at - first).total_seconds() / whole
        length = 100 * ((a.ended_at or now) - a.started_at).total_seconds() / whole
        bars.append((a, round(start, 2), round(max(0.5, length), 2)))
    return bars


@router.get("/executions/{execution_id}/log/{number}/{name}")
def log_part(
    execution_id: str, number: int, name: str, request: Request, service: Viewing,
    offset: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> Response:
    """A whole log as a download; with `offset`, the part from this byte on, up to the header X-End."""
    e = service.get(execution_id)
    if not 1 <= number <= e.attempt:
        raise NotFound(f"{e.id} has no attempt {number}")
    found = service.records(e, number)
    if offset is None:
        return ranges.of_file(request, found.open_log(name), download=f"{e.id}-{number}-{name}.log")
    data = found.part(name, offset)
    return PlainTextResponse(data, headers={"X-End": str(offset + len(data))})


@router.post("/executions/{execution_id}/relaunch")
def relaunch(
    account: str, execution_id: str, service: Editing, pipeline: Text = "", revision: Text = "",
    params: Text = "", profiles: Text = "", hours: Text = "", from_scratch: Text = "", accept: Text = "",
    jobs_are_gone: Text = "",
) -> Response:
    """Relaunch from the failed task, with the changes of the form."""
    e = submissions.resubmit(service, service.get(execution_id), Resubmission(
        pipeline=pipeline.strip() or None, revision=revision.strip() or None,
        params=submissions.parse_params(params) if params.strip() else None, profiles=_words(profiles),
        storage_expiration_hours=hours.strip() or None, from_scratch=bool(from_scratch),
        accept_version_change=bool(accept), jobs_are_gone=bool(jobs_are_gone),
    ))
    return RedirectResponse(f"/a/{account}/executions/{e.id}", 303)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


@router.post("/executions/{execution_id}/settle")
def settle(account: str, execution_id: str, service: Owning) -> Response:
    """Settle an execution whose host is gone for good, as `nfresume settle --host-is-gone` does."""
    e = service.settle(service.get(execution_id))
    return RedirectResponse(f"/a/{account}/executions/{e.id}", 303)


@router.post("/executions/{execution_id}/{action}")
def act(account: str, execution_id: str, action: str, service: Editing, hours: Text = "48") -> Response:
    """Cancel, extend, pin, unpin or delete."""
    actions: dict[str, Callable[[Execution], Execution]] = {
        "cancel": service.cancel, "pin": service.pin, "unpin": service.unpin,
        "extend": lambda e: service.extend(e, hours), "delete": service.mark_for_deletion,
    }
    if action not in actions:
        raise NotFound(f"there is no action {action!r}", f"one of {', '.join(actions)}")
    e = actions[action](service.get(execution_id))
    return RedirectResponse(f"/a/{account}/executions/{e.id}", 303)


@router.get("/launch")
def launch_page(
    account: str, request: Request, who: VisitorOf, service: Viewing,
    pipeline: Annotated[str, Query(max_length=2000)] = "",
) -> HTMLResponse:
    """The launch form, with a field for each parameter that the pipeline declares."""
    declared, error = [], ""
    may_edit = _may_edit(who, account)
    if pipeline and may_edit:  # nothing is imported, downloaded or resolved: a GET only reads
        try:
            declared = service.declared_params(boundary.resolve(
                service.conf, pipeline, None, for_form=True))
        except NfresumeError as e:
            error = str(e)
    allowed = service.conf.web_pipelines
    return page(
        request, "launch.html", user=who.user, account=account, csrf=who.csrf, pipeline=pipeline,
        declared=declared, error=error, allowed=() if boundary.is_open(service.conf) else allowed,
        closed=not allowed, profiles=service.conf.web_profiles, may_edit=may_edit,
    )


@router.post("/launch")
async def launch(account: str, request: Request, service: Editing) -> Response:
    """Launch the pipeline of the form."""
    form = await request.form(max_files=100, max_part_size=submissions.MAX_PARAMS)
    texts = {name: value for name, value in form.items() if isinstance(value, str)}
    e = await asyncio.to_thread(submissions.submit, service, _submission(texts))
    return RedirectResponse(f"/a/{account}/executions/{e.id}", 303)


def _submission(texts: dict[str, str]) -> Submission:
    """The submission of a form. A field `param.NAME` is the parameter NAME; empty means the default."""
    params = submissions.parse_params(texts.get("params", ""))
    for name, value in texts.items():
        if name.startswith("param.") and value != "":
            params[name.removeprefix("param.")] = parameters.typed(value, texts.get(f"type.{name[6:]}", ""))
    return Submission(
        pipeline=texts.get("pipeline", "").strip(), params=params, profiles=_words(texts.get("profiles", "")),
        revision=texts.get("revision", "").strip() or None,
        storage_expiration_hours=texts.get("hours", "").strip() or None, pinned=bool(texts.get("pin")),
        retain=Retain.SLIM if texts.get("slim") else None,
        on_success=OnSuccess.KEEP if texts.get("keep") else None,
    )
