"""The API beyond WES: relaunch, extend, pin, delete a work dir, costs, and a stream of events."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from nfresume.billing import as_json
from nfresume.billing.report import By
from nfresume.domain import views
from nfresume.domain.periods import period
from nfresume.service import submissions
from nfresume.service.submissions import Resubmission
from nfresume.web import models
from nfresume.web.access import CallerOf, Governing, Listening, Reading, Writing
from nfresume.web.problems import API
from nfresume.web.routes import AccountRoute
from nfresume.web.wes import PROBLEM

router = APIRouter(route_class=AccountRoute, prefix=API, tags=["nfresume"],
                   responses=dict.fromkeys((400, 401, 403, 404, 409, 410, 422, 429), PROBLEM))


@router.get("/runs/{run_id}/details")
def details(run_id: str, service: Reading) -> dict[str, Any]:
    """An execution as `nfresume show --json` prints it: work dir, attempts, history."""
    found = service.details(service.get(run_id))
    return views.details(found.execution, found.attempts, found.events)


@router.post("/runs/{run_id}/relaunch")
def relaunch(run_id: str, service: Writing, wanted: models.Relaunch) -> models.RunStatus:
    """Relaunch from the failed task: a new attempt in the same session and work dir."""
    e = submissions.resubmit(service, service.get(run_id), Resubmission(
        pipeline=wanted.workflow_url, params=wanted.workflow_params, profiles=tuple(wanted.profiles or ()),
        revision=wanted.revision, storage_expiration_hours=wanted.storage_expiration_hours,
        pinned=wanted.pinned, from_scratch=wanted.from_scratch, jobs_are_gone=wanted.jobs_are_gone,
    ))
    return models.RunStatus(run_id=e.id, state="QUEUED")


@router.post("/runs/{run_id}/extend")
def extend(run_id: str, service: Writing, wanted: models.Extension) -> dict[str, Any]:
    """Keep a retained work dir for this number of hours from now."""
    return views.execution(service.extend(service.get(run_id), wanted.hours))


@router.post("/runs/{run_id}/pin")
def pin(run_id: str, service: Writing) -> dict[str, Any]:
    """Keep the work dir until it is unpinned."""
    return views.execution(service.pin(service.get(run_id)))


@router.post("/runs/{run_id}/unpin")
def unpin(run_id: str, service: Writing) -> dict[str, Any]:
    """Let a pinned work dir expire again."""
    return views.execution(service.unpin(service.get(run_id)))


@router.post("/runs/{run_id}/settle")
def settle(run_id: str, service: Governing, wanted: models.Settlement) -> dict[str, Any]:
    """Settle a run whose host is lost for good; for owners. Without it nfresume waits for that host."""
    assert wanted.host_is_gone
    return views.execution(service.settle(service.get(run_id)))


@router.delete("/runs/{run_id}/work-dir", status_code=202)
def delete_work_dir(run_id: str, service: Writing, response: Response) -> dict[str, Any]:
    """Order the deletion of a retained work dir: the next sweep materialises its results and removes it."""
    e = service.mark_for_deletion(service.get(run_id))
    response.headers["Location"] = f"{API}/runs/{e.id}/details"
    return views.execution(e)


@router.get("/costs")
def costs(
    service: Reading, by: By = By.EXECUTION,
    since: Annotated[str | None, Query(description="For example 30d.", max_length=20)] = None,
    month: Annotated[str | None, Query(description="YYYY-MM", max_length=7)] = None,
) -> dict[str, Any]:
    """What retained storage costs, as `nfresume costs --json` prints it."""
    report = service.costs(by, lambda now: period(now, since=since, start=None, end=None, month=month))
    return as_json.report(report)


@router.get("/events", response_class=StreamingResponse,
            responses={200: {"content": {"text/event-stream": {}}}})
async def events(
    request: Request, who: CallerOf, service: Listening,
    run_id: Annotated[str | None, Query(description="Only events of this run.", max_length=64)] = None,
) -> StreamingResponse:
    """Server-sent events: `event` for each line of a run's history, `progress` when its tasks changed."""
    if run_id is not None:
        await asyncio.to_thread(service.get, run_id)
    stream = request.app.state.changes.listen(service.account, run_id, who.user, who.token)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
