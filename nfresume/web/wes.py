"""GA4GH Workflow Execution Service 1.1. A run is an execution; its tasks are those of the last attempt."""

from __future__ import annotations

import base64
import json
import platform
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, UploadFile
from fastapi.responses import PlainTextResponse

from nfresume import __version__
from nfresume.domain import views
from nfresume.domain.errors import NotFound, UsageError
from nfresume.domain.executions import Attempt, Execution, ExecutionState, python_workflow
from nfresume.domain.workdirs import OnSuccess, Retain
from nfresume.nextflow import options
from nfresume.nextflow.log import Task
from nfresume.runs import records
from nfresume.service import submissions
from nfresume.service.submissions import Submission
from nfresume.web import models
from nfresume.web.access import Reading, SiteOf, Writing
from nfresume.web.problems import API

PROBLEM = {"model": models.Problem, "content": {"application/problem+json": {}}}
router = APIRouter(prefix=API, responses=dict.fromkeys((400, 401, 403, 404, 409, 422, 429), PROBLEM))

STATES = {
    ExecutionState.QUEUED: "QUEUED", ExecutionState.RUNNING: "RUNNING",
    ExecutionState.CANCELLING: "CANCELING", ExecutionState.SUCCEEDED: "COMPLETE",
    ExecutionState.FAILED: "EXECUTOR_ERROR", ExecutionState.CANCELLED: "CANCELED",
}
#: The names that `workflow_engine_parameters` may have, with type and default.
ENGINE_PARAMETERS = {
    "profile": ("string", None), "revision": ("string", None), "storage_expiration_hours": ("number", None),
    "pin": ("boolean", "false"), "retain": ("string", "full"), "on_success": ("string", "delete"),
}
RunLimit = Annotated[int, Query(ge=1, le=1000)]
PageToken = Annotated[str, Query(max_length=300)]


@router.get("/service-info")
def service_info(site: SiteOf, service: Reading) -> models.ServiceInfo:
    """What this service can do, and how many of the account's runs are in each state."""
    counts = {STATES[state]: number for state, number in service.state_counts().items()}
    url = site.conf.web_url or "http://localhost"
    return models.ServiceInfo(
        id="nfresume", name="nfresume", version=__version__,
        description="Runs Nextflow pipelines; a failed run can be relaunched from the failed task.",
        organization=models.Organization(name="nfresume", url=url),
        workflow_type_versions={
            "NFL": models.WorkflowTypeVersion(workflow_type_version=["DSL2"]),
            "PY": models.WorkflowTypeVersion(workflow_type_version=[platform.python_version()])},
        supported_filesystem_protocols=["file", "http", "https", "s3"],
        workflow_engine_versions={"nextflow": models.WorkflowEngineVersion(
            workflow_engine_version=[service.engine_version()])},
        default_workflow_engine_parameters=[
            models.DefaultWorkflowEngineParameter(name=name, type=kind, default_value=default)
            for name, (kind, default) in ENGINE_PARAMETERS.items()],
        system_state_counts=counts, auth_instructions_url=f"{url}/docs",
    )


@router.get("/runs")
def list_runs(
    service: Reading, page_size: RunLimit = 50, page_token: PageToken = "",
    state: Annotated[str | None, Query(description="Only runs in this state.")] = None,
) -> models.RunList:
    """The account's runs, newest first."""
    states = [ours for ours, theirs in STATES.items() if theirs == state]
    if state is not None and not states:
        raise UsageError(f"{state!r} is not a state of WES", f"states: {', '.join(STATES.values())}")
    found = service.newest(states, page_size + 1, before=_position(page_token))
    runs = [summary(e) for e in found[:page_size]]
    more = len(found) > page_size
    return models.RunList(runs=runs, next_page_token=_token(found[page_size - 1]) if more else "")


def _token(last: Execution) -> str:
    return base64.urlsafe_b64encode(f"{last.created_at.isoformat()}|{last.id}".encode()).decode()


def _position(token: str) -> tuple[datetime, str] | None:
    if not token:
        return None
    try:
        moment, _, execution_id = base64.urlsafe_b64decode(token.encode()).decode().partition("|")
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None or not execution_id:
            raise ValueError
    except ValueError:
        raise UsageError("this page token is not valid", "begin again without one") from None
    return at, execution_id


def summary(e: Execution) -> models.RunSummary:
    """An execution as WES lists it."""
    return models.RunSummary(
        run_id=e.id, state=STATES[e.state], start_time=views.time(e.created_at), tags=dict(e.tags or {}),
        end_time=None if e.state.live else views.time(e.updated_at),
    )


@router.post("/runs")
def run_workflow(
    service: Writing,
    workflow_url: Annotated[str, Form(max_length=2000)],
    workflow_type: Annotated[str, Form()] = "NFL",
    workflow_type_version: Annotated[str, Form()] = "DSL2",  # noqa: ARG001 required by WES; Nextflow knows
    workflow_params: Annotated[str, Form()] = "{}",
    workflow_engine_parameters: Annotated[str, Form()] = "{}",
    workflow_engine: Annotated[str, Form()] = "nextflow",
    workflow_engine_version: Annotated[str, Form()] = "",  # noqa: ARG001 the site has one Nextflow
    tags: Annotated[str, Form()] = "{}",
    workflow_attachment: Annotated[list[UploadFile] | None, Form()] = None,
) -> models.RunId:
    """Launch a workflow. `storage_expiration_hours` defaults to the pipeline's, then the site's setting."""
    if workflow_type.upper() not in ("NFL", "NEXTFLOW", "PY"):
        raise UsageError(f"workflow_type {workflow_type!r} is not supported", "use NFL or PY")
    if workflow_engine.lower() not in ("nextflow", "python"):
        raise UsageError(f"workflow_engine {workflow_engine!r} is not supported", "use nextflow or python")
    chosen = engine_parameters(_object(workflow_engine_parameters, "workflow_engine_parameters"))
    attached = {file.filename or "": file.file for file in workflow_attachment or ()}
    execution = submissions.submit(service, Submission(
        pipeline=workflow_url, params=_object(workflow_params, "workflow_params"), attachments=attached,
        tags={str(key): str(value) for key, value in _object(tags, "tags").items()}, **chosen,
    ))
    return models.RunId(run_id=execution.id)


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise UsageError(f"{name} is not JSON", f'for example {name}={{"a": 1}}') from None
    if not isinstance(value, dict):
        raise UsageError(f"{name} must be a JSON object", f'for example {name}={{"a": 1}}')
    return value


def engine_parameters(given: dict[str, Any]) -> dict[str, Any]:
    """`workflow_engine_parameters` as keyword arguments of a Submission. Raises UsageError."""
    known = {name.lstrip("-"): value for name, value in given.items()}
    if "r" in known:
        known["revision"] = known.pop("r")
    if unknown := sorted(set(known) - set(ENGINE_PARAMETERS)):
        raise UsageError(f"workflow_engine_parameters: {unknown[0]!r} is not known",
                         f"known are {', '.join(ENGINE_PARAMETERS)}")
    try:
        return {
            "profiles": tuple(p for p in str(known.get("profile") or "").split(",") if p),
            "revision": str(known["revision"]) if known.get("revision") else None,
            "storage_expiration_hours": known.get("storage_expiration_hours"),
            "pinned": str(known.get("pin", "false")).lower() in ("true", "1", "yes"),
            "retain": Retain(known["retain"]) if known.get("retain") else None,
            "on_success": OnSuccess(known["on_success"]) if known.get("on_success") else None,
        }
    except ValueError as e:
        raise UsageError(f"workflow_engine_parameters: {e}",
                         "retain: full, slim; on_success: delete, keep") from None


@router.get("/runs/{run_id}")
def run_log(run_id: str, request: Request, service: Reading) -> models.RunLog:
    """Everything about one run; `stdout` and `stderr` are URLs."""
    details = service.details(service.get(run_id))
    e, last = details.execution, details.attempts[-1]
    base = f"{str(request.base_url).rstrip('/')}{API}/runs/{e.id}"
    return models.RunLog(
        run_id=e.id, state=STATES[e.state], request=_request(e, last), task_logs_url=f"{base}/tasks",
        run_log=models.Log(
            name=last.run_name, cmd=["nextflow", "run", last.pipeline, *last.options],
            start_time=views.time(last.started_at), end_time=views.time(last.ended_at),
            exit_code=last.exit_code, stdout=f"{base}/logs/stdout", stderr=f"{base}/logs/stderr",
            system_logs=[last.error] if last.error else [],
        ),
        outputs={"launch_dir": e.launch_dir},
    )


def _request(e: Execution, last: Attempt) -> models.RunRequest:
    parsed = options.parse([last.pipeline, *last.options])
    chosen = {"profile": parsed.value("-profile"), "revision": parsed.value("-r", "-revision"),
              "storage_expiration_hours": f"{e.storage_expiration_hours:g}",
              "pin": str(e.work_dir.pinned).lower()}
    python = python_workflow(last.pipeline) is not None
    return models.RunRequest(
        workflow_type="PY" if python else "NFL", workflow_engine="python" if python else "nextflow",
        workflow_type_version="" if python else "DSL2", workflow_url=last.pipeline,
        workflow_engine_version=last.nextflow_version, tags=dict(e.tags or {}),
        workflow_params=_params(e, parsed.value("-params-file")),
        workflow_engine_parameters={name: value for name, value in chosen.items() if value},
    )


def _params(e: Execution, file: str | None) -> dict[str, Any] | None:
    """The parameters of a JSON file given with -params-file; None if it cannot be read."""
    if file is None or not file.endswith(".json"):
        return None
    try:
        params = json.loads(records.part(Path(e.launch_dir) / file, 0, submissions.MAX_PARAMS))
    except (NotFound, ValueError):
        return None
    return params if isinstance(params, dict) else None


@router.get("/runs/{run_id}/status")
def run_status(run_id: str, service: Reading) -> models.RunStatus:
    """The state of one run."""
    e = service.get(run_id)
    return models.RunStatus(run_id=e.id, state=STATES[e.state])


@router.post("/runs/{run_id}/cancel")
def cancel_run(run_id: str, service: Writing) -> models.RunId:
    """Stop a run; its work dir is kept for its storage expiration hours."""
    return models.RunId(run_id=service.cancel(service.get(run_id)).id)


@router.get("/runs/{run_id}/tasks")
def list_tasks(
    run_id: str, request: Request, service: Reading, page_size: RunLimit = 200, page_token: PageToken = "",
) -> models.TaskList:
    """The tasks of a run's last attempt, in the order in which they appeared."""
    e = service.get(run_id)
    tasks = list(service.records(e).log().tasks.values())
    if page_token and not page_token.isdecimal():
        raise UsageError("this page token is not valid", "begin again without one")
    start = int(page_token or 0)
    rows = [task_log(request, e, task) for task in tasks[start:start + page_size]]
    end = start + page_size
    return models.TaskList(task_logs=rows, next_page_token=str(end) if end < len(tasks) else "")


@router.get("/runs/{run_id}/tasks/{task_id:path}")
def get_task(run_id: str, task_id: str, request: Request, service: Reading) -> models.TaskLog:
    """One task of a run's last attempt, by its hash (`ab/cdef01`)."""
    e = service.get(run_id)
    return task_log(request, e, service.records(e).task(task_id))


def task_log(request: Request, e: Execution, task: Task) -> models.TaskLog:
    """A task as WES shows it."""
    base = f"{str(request.base_url).rstrip('/')}{API}/runs/{e.id}/task-logs/{task.hash}"
    return models.TaskLog(
        id=task.hash, name=task.name, system_state=records.state(task),
        start_time=views.time(task.submitted_at), end_time=views.time(task.completed_at),
        stdout=f"{base}/stdout", stderr=f"{base}/stderr",
        exit_code=int(task.exit) if task.exit and task.exit.lstrip("-").isdecimal() else None,
    )


Offset = Annotated[
    int, Query(ge=0, le=2**62, description=f"From this byte on; at most {records.MAX_BYTES:,} at once.")
]


@router.get("/runs/{run_id}/logs/{name}", response_class=PlainTextResponse)
def run_output(run_id: str, name: str, service: Reading, offset: Offset = 0) -> PlainTextResponse:
    """What Nextflow wrote. `name`: stdout, stderr, or nextflow for its log."""
    return PlainTextResponse(service.records(service.get(run_id)).part(name, offset))


@router.get("/runs/{run_id}/task-logs/{first}/{rest}/{name}", response_class=PlainTextResponse)
def task_output(
    run_id: str, first: str, rest: str, name: str, service: Reading, offset: Offset = 0
) -> PlainTextResponse:
    """What a task wrote. `name`: stdout, stderr, or script for the task's script."""
    last = service.records(service.get(run_id))
    return PlainTextResponse(last.task_part(last.task(f"{first}/{rest}"), name, offset))
