"""Pages about one execution: overview, logs, results, storage, history; and the forms on these pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from nfresume.domain.errors import NotFound
from nfresume.domain.executions import Attempt, Execution
from nfresume.runs import records
from nfresume.service.outputs import Published
from nfresume.web import frames, ranges
from nfresume.web.access import Editing, Owning, Viewing
from nfresume.web.frames import FrameOf
from nfresume.web.routes import AccountRoute

router = APIRouter(route_class=AccountRoute, prefix="/a/{account}", include_in_schema=False)

#: So many published files are on one page.
_RESULTS = 200
#: So many events are on one page.
_EVENTS = 200
#: So many failed tasks have their script and output on the overview.
_SHOWN = 3
Text = Annotated[str, Form(max_length=5_000_000)]


@router.get("/executions/{execution_id}")
def overview(request: Request, frame: FrameOf) -> HTMLResponse:
    """What happened to an execution, what stopped it, and how far its processes are."""
    failed = []
    if frame.records is not None:
        failed = [(task, *frames.files_of(frame.records, task)) for task in frame.failed[:_SHOWN]]
    return frames.show(request, frame, "overview.html", "", failed=failed,
                       bars=bars(frame.details.attempts))


def bars(attempts: Sequence[Attempt]) -> list[tuple[Attempt, float, float]]:
    """Each started attempt with its start and length, in percent of the time from first start to last end."""
    begun = [a for a in attempts if a.started_at]
    if not begun:
        return []
    first = min(a.started_at for a in begun if a.started_at)
    now = datetime.now(first.tzinfo)
    whole = max(1.0, (max(a.ended_at or now for a in begun) - first).total_seconds())
    found = []
    for a in begun:
        assert a.started_at is not None
        start = 100 * (a.started_at - first).total_seconds() / whole
        length = 100 * ((a.ended_at or now) - a.started_at).total_seconds() / whole
        found.append((a, round(start, 2), round(max(0.5, length), 2)))
    return found


@router.get("/executions/{execution_id}/log")
def logs(
    request: Request, frame: FrameOf, name: Annotated[str, Query(max_length=20)] = "stdout",
) -> HTMLResponse:
    """The end of a log."""
    name = name if name in records.LOGS else "stdout"
    text, end, size = b"", 0, 0
    with frames.reading(frame):
        if frame.records is not None and (size := frame.records.size(name)):
            start = max(0, size - frames.TAIL)
            text = frame.records.part(name, start, frames.TAIL)
            end = start + len(text)
    return frames.show(request, frame, "log.html", "log", name=name, names=list(records.LOGS), size=size,
                       text=text.decode("utf-8", "replace"), end=end)


@router.get("/executions/{execution_id}/log/{number}/{name}")
def log_part(
    execution_id: str, number: int, name: str, request: Request, service: Viewing,
    offset: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> Response:
    """A whole log as a download; with `offset`, the part from this byte on, up to the header X-End."""
    e = service.get(execution_id)
    found = service.records(e, number)
    if offset is None:
        return ranges.of_file(request, found.open_log(name), download=f"{e.id}-{number}-{name}.log")
    data = found.part(name, offset)
    return PlainTextResponse(data, headers={"X-End": str(offset + len(data))})


@router.get("/executions/{execution_id}/results")
def results(
    request: Request, frame: FrameOf, after: Annotated[int, Query(ge=0, le=2**40)] = 0,
) -> HTMLResponse:
    """What the attempt published, each file as a link."""
    shown, known = [], 0
    if frame.records is not None and frame.published:
        with frame.records.tasks() as tasks:
            known = len(tasks.published)
            shown = [(each, tasks.by_dir(each.task) if each.task else None)
                     for each in tasks.published[after:after + _RESULTS]]
    here = f"{frame.e.launch_dir}/"
    rows = [(each.target, None if "://" in each.target else each.target.removeprefix(here).lstrip("/"), task)
            for each, task in shown]
    return frames.show(request, frame, "results.html", "results", rows=rows, after=after, known=known,
                       page_size=_RESULTS)


@router.get("/executions/{execution_id}/result/{number}/{name:path}")
def result(execution_id: str, number: int, name: str, request: Request, service: Viewing) -> Response:
    """One published file as a download. Raises NotFound for whatever was not published."""
    e = service.get(execution_id)
    fd = Published.of(e, service.records(e, number)).open(name)
    return ranges.of_file(request, fd, media_type="application/octet-stream",
                          download=name.rpartition("/")[2])


@router.get("/executions/{execution_id}/storage")
def storage(request: Request, frame: FrameOf) -> HTMLResponse:
    """What the work dir stores by process, what that has cost, and until when it is kept."""
    processes = sorted(frame.storage.processes.items(), key=lambda item: -item[1])
    return frames.show(request, frame, "storage.html", "storage", storage=frame.storage, processes=processes)


@router.get("/executions/{execution_id}/history")
def history(
    request: Request, frame: FrameOf, after: Annotated[int, Query(ge=0, le=2**40)] = 0,
) -> HTMLResponse:
    """The events of the execution, the newest first."""
    events = frame.details.events[::-1]
    return frames.show(request, frame, "history.html", "history", events=events[after:after + _EVENTS],
                       total=len(events), after=after, page_size=_EVENTS)


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
