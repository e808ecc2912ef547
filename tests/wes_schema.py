"""The documents of GA4GH WES 1.1.0, and of service-info 1.0.0, which it uses, as JSON Schema.

Written from the specification: names, types, what is required, what may be null. Properties that it does not
name are allowed, as there.
"""

from __future__ import annotations

from typing import Any

import jsonschema

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
TIME = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$"}
TEXT_MAP = {"type": "object", "additionalProperties": TEXT}
INT32 = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
STATE = {"enum": ["UNKNOWN", "QUEUED", "INITIALIZING", "RUNNING", "PAUSED", "COMPLETE", "EXECUTOR_ERROR",
                  "SYSTEM_ERROR", "CANCELED", "CANCELING", "PREEMPTED"]}


def document(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split()}


LOG = {"name": TEXT, "cmd": TEXTS, "start_time": TIME, "end_time": TIME, "stdout": TEXT, "stderr": TEXT,
       "exit_code": INT32, "system_logs": TEXTS}
TASK_LOG = document("id name", **LOG, id=TEXT, tes_uri=TEXT)
RUN_ID = document("run_id", run_id=TEXT)
RUN_STATUS = document("run_id", run_id=TEXT, state=STATE)
RUN_SUMMARY = document("run_id tags", run_id=TEXT, state=STATE, start_time=TIME, end_time=TIME, tags=TEXT_MAP)
RUN_REQUEST = document(
    "workflow_type workflow_type_version workflow_url workflow_params", workflow_params={"type": "object"},
    workflow_type=TEXT, workflow_type_version=TEXT, tags=TEXT_MAP, workflow_engine_parameters=TEXT_MAP,
    workflow_engine=TEXT, workflow_engine_version=TEXT, workflow_url=TEXT)
RUN_LOG = document(
    run_id=TEXT, request=RUN_REQUEST, state=STATE, run_log=document("", **LOG), task_logs_url=TEXT,
    task_logs={"type": ["array", "null"], "items": document("", **LOG)}, outputs={"type": "object"})
VERSIONS = {"type": "object", "additionalProperties": document(workflow_type_version=TEXTS)}
ENGINES = {"type": "object", "additionalProperties": document(workflow_engine_version=TEXTS)}
SERVICE_INFO = document(
    "id name type organization version workflow_type_versions supported_wes_versions "
    "supported_filesystem_protocols workflow_engine_versions default_workflow_engine_parameters "
    "system_state_counts auth_instructions_url tags",
    id=TEXT, name=TEXT, type=document("group artifact version", group=TEXT, artifact=TEXT, version=TEXT),
    description=TEXT, organization=document("name url", name=TEXT, url=TEXT), version=TEXT,
    workflow_type_versions=VERSIONS, supported_wes_versions=TEXTS, supported_filesystem_protocols=TEXTS,
    workflow_engine_versions=ENGINES, default_workflow_engine_parameters={
        "type": "array", "items": document("", name=TEXT, type=TEXT, default_value=TEXT)},
    system_state_counts={"type": "object", "propertyNames": STATE,
                         "additionalProperties": {"type": "integer"}},
    auth_instructions_url=TEXT, tags=TEXT_MAP)
RUN_LIST = document("runs next_page_token", runs={"type": "array", "items": RUN_SUMMARY},
                    next_page_token=TEXT)
TASK_LIST = document("task_logs next_page_token", task_logs={"type": "array", "items": TASK_LOG},
                     next_page_token=TEXT)
ERROR = document("msg status_code", msg=TEXT, status_code=INT32)


def check(answer: Any, schema: dict[str, Any]) -> Any:
    """The JSON of a successful answer; fails unless it is as the schema says."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    jsonschema.validate(answer.json(), schema)
    return answer.json()


def check_error(answer: Any, status: int) -> Any:
    """The JSON of an error with this status; fails unless it is as WES says."""
    assert answer.status_code == status, answer.text
    jsonschema.validate(answer.json(), ERROR)
    assert answer.json()["status_code"] == status
    return answer.json()
