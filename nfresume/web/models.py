"""Documents of the GA4GH Workflow Execution Service API 1.1, and of our extensions to it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Organization(BaseModel):
    """Who runs this service."""

    name: str
    url: str


class ServiceType(BaseModel):
    """What kind of GA4GH service this is."""

    group: str = "org.ga4gh"
    artifact: str = "wes"
    version: str = "1.1.0"


class WorkflowTypeVersion(BaseModel):
    """Versions of a workflow language."""

    workflow_type_version: list[str]


class WorkflowEngineVersion(BaseModel):
    """Versions of a workflow engine."""

    workflow_engine_version: list[str]


class DefaultWorkflowEngineParameter(BaseModel):
    """An engine parameter that a run may set."""

    name: str
    type: str
    default_value: str | None = None


class ServiceInfo(BaseModel):
    """What this service can do, and how many runs are in each state."""

    id: str
    name: str
    type: ServiceType = ServiceType()
    description: str
    organization: Organization
    version: str
    workflow_type_versions: dict[str, WorkflowTypeVersion]
    supported_wes_versions: list[str] = ["1.1.0"]
    supported_filesystem_protocols: list[str]
    workflow_engine_versions: dict[str, WorkflowEngineVersion]
    default_workflow_engine_parameters: list[DefaultWorkflowEngineParameter]
    system_state_counts: dict[str, int]
    auth_instructions_url: str
    tags: dict[str, str] = {}


class RunId(BaseModel):
    """A run by its id."""

    run_id: str


class RunStatus(RunId):
    """A run and its state."""

    state: str


class RunSummary(RunStatus):
    """A run in a list."""

    start_time: str | None = None
    end_time: str | None = None
    tags: dict[str, str] = {}


class RunList(BaseModel):
    """A page of runs, newest first."""

    runs: list[RunSummary]
    next_page_token: str = ""


class RunRequest(BaseModel):
    """The request that started a run."""

    workflow_params: dict[str, Any] | None = None
    workflow_type: str = "NFL"
    workflow_type_version: str = "DSL2"
    tags: dict[str, str] = {}
    workflow_engine_parameters: dict[str, str] = {}
    workflow_engine: str = "nextflow"
    workflow_engine_version: str | None = None
    workflow_url: str


class Log(BaseModel):
    """The command, times and exit code of a run or a task; `stdout` and `stderr` are URLs."""

    name: str | None = None
    cmd: list[str] | None = None
    start_time: str | None = None
    end_time: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    exit_code: int | None = None
    system_logs: list[str] | None = None


class TaskLog(Log):
    """One task of a run."""

    id: str
    name: str
    system_state: str = Field(description="RUNNING, CACHED, STORED, COMPLETED, FAILED or ABORTED")


class TaskList(BaseModel):
    """A page of tasks."""

    task_logs: list[TaskLog]
    next_page_token: str = ""


class RunLog(BaseModel):
    """Everything about a run."""

    run_id: str
    request: RunRequest
    state: str
    run_log: Log
    task_logs_url: str
    task_logs: list[TaskLog] | None = None
    outputs: dict[str, Any] = {}


class Problem(BaseModel):
    """An error, as WES (`msg`, `status_code`) and RFC 9457 describe one; `hint` says what to do about it."""

    msg: str
    status_code: int
    type: str
    title: str
    status: int
    detail: str
    hint: str = ""


class Relaunch(BaseModel):
    """Changes for a relaunch from the failed task; a field that is left out stays as it was."""

    model_config = ConfigDict(extra="forbid")

    workflow_params: dict[str, Any] | None = None
    workflow_url: str | None = None
    revision: str | None = None
    profiles: list[str] | None = None
    storage_expiration_hours: float | None = Field(None, ge=0, le=87_600)
    pinned: bool = False
    from_scratch: bool = False
    jobs_are_gone: bool = False


class Settlement(BaseModel):
    """What only a person can know: the host on which a run was lost will never come back."""

    model_config = ConfigDict(extra="forbid")

    host_is_gone: Literal[True]


class Extension(BaseModel):
    """How many hours from now a work dir is to be kept."""

    model_config = ConfigDict(extra="forbid")

    hours: float = Field(gt=0, le=87_600)
