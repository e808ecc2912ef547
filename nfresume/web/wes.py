"""GA4GH Workflow Execution Service 1.1. A run is an execution; its tasks are those of the last attempt."""

from __future__ import annotations

import base64
import contextlib
import os
import platform
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, unquote_to_bytes

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.convertors import Convertor, register_url_convertor

from nfresume import __version__
from nfresume.domain.errors import NotFound, UsageError
from nfresume.domain.executions import Attempt, Execution, ExecutionState, python_workflow
from nfresume.nextflow import options, record
from nfresume.nextflow.record import Task
from nfresume.runs import records
from nfresume.runs.task_index import Query as TaskQuery
from nfresume.service import submissions
from nfresume.service.outputs import Published
from nfresume.store.outcomes import Outcome
from nfresume.web import models, ranges, run_requests
from nfresume.web.access import MaybeReading, Reading, SiteOf, Writing
from nfresume.web.problems import API
from nfresume.web.routes import AccountRoute
from nfresume.web.run_requests import BODY, DSL, ENGINE_PARAMETERS, FormOf, python_versions


class _Bytes(Convertor[str]):
    """The rest of a path, whatever its bytes are: in Starlette's `path` no line may break."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("bytes", _Bytes())
PROBLEM = {"model": models.Problem, "content": {"application/problem+json": {}}}
router = APIRouter(route_class=AccountRoute, prefix=API,
                   responses=dict.fromkeys((400, 401, 403, 404, 409, 429), PROBLEM))

STATES = {
    ExecutionState.QUEUED: "QUEUED", ExecutionState.RUNNING: "RUNNING",
    ExecutionState.CANCELLING: "CANCELING", ExecutionState.SUCCEEDED: "COMPLETE",
    ExecutionState.FAILED: "EXECUTOR_ERROR", ExecutionState.CANCELLED: "CANCELED",
}
SYSTEM_ERROR = "SYSTEM_ERROR"
MAX_PAGE = 1000
_BEGINNING = "beginning"  # the page token of the first page

PageSize = Annotated[int, Query(ge=0, description=f"At most so many; {MAX_PAGE} for any larger number.")]
PageToken = Annotated[str, Query(max_length=300)]


@router.get("/service-info", response_model_exclude_none=True)
def service_info(site: SiteOf, service: MaybeReading) -> models.ServiceInfo:
    """What this service can do. With a token also how many of the account's runs are in each state."""
    url = site.conf.web_url or "http://localhost"
    engine = [site.engine_version] if site.engine_version else []
    return models.ServiceInfo(
        id="nfresume", name="nfresume", version=__version__,
        description="Runs Nextflow pipelines; a failed run can be relaunched from the failed task.",
        organization=models.Organization(name="nfresume", url=url),
        workflow_type_versions={
            "NFL": models.WorkflowTypeVersion(workflow_type_version=[DSL]),
            "PY": models.WorkflowTypeVersion(workflow_type_version=python_versions())},
        supported_filesystem_protocols=["file", "http", "https", "s3"],
        workflow_engine_versions={
            "nextflow": models.WorkflowEngineVersion(workflow_engine_version=engine),
            "python": models.WorkflowEngineVersion(workflow_engine_version=[platform.python_version()])},
        default_workflow_engine_parameters=[
            models.DefaultWorkflowEngineParameter(name=name, type=kind, default_value=default)
            for name, (kind, default) in ENGINE_PARAMETERS.items()],
        system_state_counts=_counts(service) if service is not None else {},
        auth_instructions_url=f"{url}/docs",
    )


def _counts(service: Any) -> dict[str, int]:
    counts = {STATES[state]: number for state, number in service.state_counts().items()}
    system = sum(_is_system_error(outcome) for outcome in service.failures())
    return {**counts, "EXECUTOR_ERROR": counts["EXECUTOR_ERROR"] - system, SYSTEM_ERROR: system}


def _is_system_error(outcome: Outcome | Attempt) -> bool:
    """True when not the workflow failed, but what runs it: no exit status, a signal, no space left."""
    code = outcome.exit_code
    return code is None or code < 0 or (outcome.error or "").startswith("no space left")


def state(e: Execution, outcome: Outcome | Attempt | None) -> str:
    """The state of an execution in the words of WES."""
    failed = e.state is ExecutionState.FAILED and outcome is not None and _is_system_error(outcome)
    return SYSTEM_ERROR if failed else STATES[e.state]


def moment(value: datetime | None) -> str | None:
    """A time as WES writes it, in UTC and whole seconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if value else None


@router.get("/runs", response_model_exclude_none=True)
def list_runs(
    service: Reading, page_size: PageSize = 50, page_token: PageToken = "",
    state: Annotated[str | None, Query(description="Only runs in this state.")] = None,
) -> models.RunList:
    """The account's runs, newest first."""
    known = [*STATES.values(), SYSTEM_ERROR]
    if state is not None and state not in known:
        raise UsageError(f"{state!r} is not a state of WES", f"states: {', '.join(known)}")
    wanted = "EXECUTOR_ERROR" if state == SYSTEM_ERROR else state
    states = [ours for ours, theirs in STATES.items() if theirs == wanted]
    if page_size == 0:
        return models.RunList(runs=[], next_page_token=page_token or _BEGINNING)
    size = min(page_size, MAX_PAGE)
    found = service.newest(states, size + 1, before=_position(page_token))
    outcomes, starts = service.run_outcomes(found), service.first_starts(found)
    runs = [run for e in found[:size]
            if (run := summary(e, outcomes[e.id], starts[e.id])).state == (state or run.state)]
    return models.RunList(runs=runs, next_page_token=_token(found[size - 1]) if len(found) > size else "")


def _token(last: Execution) -> str:
    return base64.urlsafe_b64encode(f"{last.created_at.isoformat()}|{last.id}".encode()).decode()


def _position(token: str) -> tuple[datetime, str] | None:
    if token in ("", _BEGINNING):
        return None
    try:
        at_text, _, execution_id = base64.urlsafe_b64decode(token.encode()).decode().partition("|")
        at = datetime.fromisoformat(at_text)
        if at.tzinfo is None or not execution_id or "\0" in execution_id:
            raise ValueError
        at = at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError("this page token is not valid", "begin again without one") from None
    return at, execution_id


def summary(e: Execution, outcome: Outcome, started_at: datetime | None) -> models.RunSummary:
    """An execution as WES lists it: from the start of its first attempt to the end of its last."""
    return models.RunSummary(
        run_id=e.id, state=state(e, outcome), start_time=moment(started_at), tags=dict(e.tags or {}),
        end_time=None if e.state.live else moment(outcome.ended_at or e.updated_at),
    )


@router.post("/runs", response_model_exclude_none=True, openapi_extra=BODY)
def run_workflow(site: SiteOf, service: Writing, form: FormOf) -> models.RunId:
    """Launch a workflow. `storage_expiration_hours` defaults to the pipeline's, then the site's setting."""
    execution = submissions.submit(service, run_requests.submission(form, site.engine_version))
    site.engine_version = site.engine_version or service.engine_version()
    return models.RunId(run_id=execution.id)


@router.get("/runs/{run_id}", response_model_exclude_none=True)
def run_log(run_id: str, request: Request, service: Reading) -> models.RunLog:
    """Everything about one run; `stdout`, `stderr` and the `outputs` are URLs."""
    details = service.details(service.get(run_id))
    e, last = details.execution, details.attempts[-1]
    base = _base(request, e)
    found: records.Records | None = None
    with contextlib.suppress(NotFound):  # the records have expired
        found = service.records(e)
    return models.RunLog(
        run_id=e.id, state=state(e, last), request=_request(e, last, found), task_logs_url=f"{base}/tasks",
        run_log=models.Log(
            name=last.run_name, cmd=_command(last), start_time=moment(last.started_at),
            end_time=moment(last.ended_at), exit_code=last.exit_code, stdout=f"{base}/logs/stdout",
            stderr=f"{base}/logs/stderr", system_logs=[last.error] if last.error else [],
        ),
        outputs=_outputs(base, e, found) if found is not None else {},
    )


def _base(request: Request, e: Execution) -> str:
    return f"{str(request.base_url).rstrip('/')}{API}/runs/{e.id}"


def _command(last: Attempt) -> list[str]:
    program = ["nextflow", "run"] if python_workflow(last.pipeline) is None else ["nfresume", "launch"]
    return [*program, *options.stored(last.pipeline, last.options).words]


def _outputs(base: str, e: Execution, found: records.Records) -> dict[str, str]:
    """The URL of each published file by its name; files in other storage have their own URLs."""
    published = Published.of(e, found)
    here = {shown(name): f"{base}/outputs/{quote(os.fsencode(name))}" for name in published.names()}
    return {**here, **{shown(url): shown(url) for url in published.elsewhere}}


def shown(name: str) -> str:
    """The name of a file as text: bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _request(e: Execution, last: Attempt, found: records.Records | None) -> models.RunRequest:
    parsed = options.stored(last.pipeline, last.options)
    chosen = {"profile": parsed.value("-profile"), "revision": parsed.value("-r", "-revision"),
              "storage_expiration_hours": f"{e.storage_expiration_hours:g}",
              "pin": str(e.work_dir.pinned).lower()}
    python = python_workflow(last.pipeline) is not None
    return models.RunRequest(
        workflow_type="PY" if python else "NFL", workflow_engine="python" if python else "nextflow",
        workflow_type_version=platform.python_version_tuple()[0] if python else DSL,
        workflow_url=last.pipeline,
        workflow_engine_version=last.nextflow_version, tags=dict(e.tags or {}),
        workflow_params=found.params() if found is not None else {},
        workflow_engine_parameters={name: value for name, value in chosen.items() if value},
    )


@router.get("/runs/{run_id}/status", response_model_exclude_none=True)
def run_status(run_id: str, service: Reading) -> models.RunStatus:
    """The state of one run."""
    e = service.get(run_id)
    return models.RunStatus(run_id=e.id, state=state(e, service.run_outcomes([e])[e.id]))


@router.post("/runs/{run_id}/cancel", response_model_exclude_none=True)
def cancel_run(run_id: str, service: Writing) -> models.RunId:
    """Stop a run; its work dir is kept for its storage expiration hours."""
    return models.RunId(run_id=service.cancel(service.get(run_id)).id)


@router.get("/runs/{run_id}/tasks", response_model_exclude_none=True)
def list_tasks(
    run_id: str, request: Request, service: Reading, page_size: PageSize = 200, page_token: PageToken = "",
) -> models.TaskList:
    """The tasks of a run's last attempt, in the order in which they appeared."""
    if page_token and not (page_token.isdecimal() and len(page_token) < 16):
        raise UsageError("this page token is not valid", "begin again without one")
    start, size = int(page_token or 0), min(page_size, MAX_PAGE)
    e = service.get(run_id)
    with service.records(e).tasks() as tasks:
        found = tasks.page(TaskQuery(offset=start, limit=size))
    end = start + size
    return models.TaskList(task_logs=[task_log(request, e, task) for task in found.tasks],
                           next_page_token=str(end) if end < found.total else "")


@router.get("/runs/{run_id}/tasks/{task_id:path}", response_model_exclude_none=True)
def get_task(run_id: str, task_id: str, request: Request, service: Reading) -> models.TaskLog:
    """One task of a run's last attempt, by its id (`ab/cdef01...`)."""
    e = service.get(run_id)
    return task_log(request, e, service.records(e).task_with_id(task_id))


def task_log(request: Request, e: Execution, task: Task) -> models.TaskLog:
    """A task as WES shows it."""
    base = f"{_base(request, e)}/task-logs/{task.label}" if task.label else None
    return models.TaskLog(
        id=task.label or str(task.n), name=task.name, system_state=task.status,
        cmd=["bash", "-ue", ".command.sh"],
        start_time=moment(record.moment(task.submitted if task.started is None else task.started)),
        end_time=moment(task.completed_at), exit_code=task.exit,
        stdout=base and f"{base}/stdout", stderr=base and f"{base}/stderr",
        system_logs=[task.error] if task.error else [],
    )


Offset = Annotated[int, Query(ge=0, le=2**62, description="From this byte on.")]


@router.get("/runs/{run_id}/logs/{name}", response_class=Response, responses=ranges.RESPONSES)
def run_output(run_id: str, name: str, request: Request, service: Reading, offset: Offset = 0) -> Response:
    """What Nextflow wrote, whole or the range of bytes asked for. `name`: stdout, stderr, or nextflow."""
    return ranges.of_file(request, service.records(service.get(run_id)).open_log(name), offset=offset)


@router.get("/runs/{run_id}/task-logs/{first}/{rest}/{name}", response_class=Response,
            responses=ranges.RESPONSES)
def task_output(
    run_id: str, first: str, rest: str, name: str, request: Request, service: Reading, offset: Offset = 0
) -> Response:
    """What a task wrote, whole or the range of bytes asked for.

    `name`: stdout, stderr, log, script, wrapper or exitcode. When its task dir is gone, it is what was kept
    of it; then there is a header X-Kept.
    """
    last = service.records(service.get(run_id))
    fd, kept = last.open_task_file(last.task_with_id(f"{first}/{rest}"), name)
    response = ranges.of_file(request, fd, offset=offset)
    if kept:
        response.headers["X-Kept"] = "yes"
    return response


@router.get("/runs/{run_id}/outputs/{name:bytes}", response_class=Response, responses=ranges.RESPONSES)
def output(run_id: str, name: str, request: Request, service: Reading) -> Response:
    """A published file, whole or the range of bytes asked for. `name` may have bytes that are no UTF-8."""
    e = service.get(run_id)
    name = _raw(request, run_id) or name
    fd = Published.of(e, service.records(e)).open(name)
    return ranges.of_file(request, fd, media_type="application/octet-stream",
                          download=shown(os.path.basename(name)))


def _raw(request: Request, run_id: str) -> str:
    """The name of an output, byte for byte: the decoded path has lost what is no UTF-8."""
    path: bytes = request.scope.get("raw_path", b"").partition(b"?")[0]
    return os.fsdecode(unquote_to_bytes(path.partition(f"/runs/{run_id}/outputs/".encode())[2]))
