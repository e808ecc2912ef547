"""Requests for a run as WES 1.1 has them: a form, whose fields are checked by name, type and version."""

from __future__ import annotations

import platform
from typing import Annotated, Any, BinaryIO

from fastapi import Depends, Request
from starlette.datastructures import FormData, UploadFile

from nfresume.domain.errors import UsageError
from nfresume.domain.workdirs import OnSuccess, Retain
from nfresume.service import submissions
from nfresume.service.submissions import Submission

#: The names that `workflow_engine_parameters` may have, with type and default.
ENGINE_PARAMETERS = {
    "profile": ("string", None), "revision": ("string", None), "storage_expiration_hours": ("number", None),
    "pin": ("boolean", "false"), "retain": ("string", "full"), "on_success": ("string", "delete"),
}
#: The fields of a request for a run; those in REQUIRED must be there.
FIELDS = ("workflow_params", "workflow_type", "workflow_type_version", "tags", "workflow_engine",
          "workflow_engine_version", "workflow_engine_parameters", "workflow_url", "workflow_attachment")
REQUIRED = ("workflow_type", "workflow_type_version", "workflow_url")
DSL = "DSL2"
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def python_versions() -> list[str]:
    major, minor, _ = platform.python_version_tuple()
    return [major, f"{major}.{minor}", platform.python_version()]


async def _form(request: Request) -> FormData:
    """The form of a request for a run, with parts of up to 5 MB. Raises UsageError for unknown fields."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise UsageError(f"the body is {kind or 'of no type'}", "send multipart/form-data")
    return await request.form(max_files=100, max_fields=100, max_part_size=submissions.MAX_PARAMS)


FormOf = Annotated[FormData, Depends(_form)]
BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
    "type": "object", "required": list(REQUIRED), "additionalProperties": False, "properties": {
        **{name: {"type": "string"} for name in FIELDS[:-1]},
        "workflow_attachment": {"type": "array", "items": {"type": "string", "format": "binary"}}}}}}}}


def _fields(form: FormData) -> dict[str, str]:
    """The texts of a form. Raises UsageError for a field that WES does not know, or that is missing."""
    if unknown := sorted(set(form) - set(FIELDS)):
        raise UsageError(f"{unknown[0][:100]!r} is not a field of a run request",
                         f"fields: {', '.join(FIELDS)}")
    texts = {name: value for name, value in form.items() if isinstance(value, str)}
    for name, value in form.multi_items():
        if isinstance(value, str) == (name == "workflow_attachment"):
            kind = "a file" if isinstance(value, str) else "a text"
            raise UsageError(f"{name[:100]} must be {kind}", "see /docs")
    if any("\0" in value for value in texts.values()):
        raise UsageError("a field contains a NUL character", "remove it")
    for name in REQUIRED:
        if not texts.get(name):
            raise UsageError(f"{name} is missing", f"required are {', '.join(REQUIRED)}")
    return texts


def _check_versions(given: dict[str, str], engine_version: str) -> None:
    """Raise UsageError for a workflow type, an engine or a version that this service does not have."""
    kind = given["workflow_type"].upper()
    versions = {"NFL": [DSL], "NEXTFLOW": [DSL], "PY": python_versions()}
    if kind not in versions:
        raise UsageError(f"workflow_type {given['workflow_type'][:100]!r} is not supported",
                         "use NFL or PY")
    if given["workflow_type_version"] not in versions[kind]:
        raise UsageError(f"workflow_type_version {given['workflow_type_version'][:100]!r} is not supported",
                         f"for {kind} use {', '.join(versions[kind])}")
    engine, wanted = given.get("workflow_engine", "").lower(), given.get("workflow_engine_version", "")
    own = "python" if kind == "PY" else "nextflow"
    if engine not in ("", own):
        raise UsageError(f"workflow_engine {engine[:100]!r} is not supported for {kind}", f"use {own}")
    if wanted and not engine:
        raise UsageError("workflow_engine_version without workflow_engine", "name the engine, too")
    there = engine_version if own == "nextflow" else platform.python_version()
    if wanted and wanted != there:
        raise UsageError(f"workflow_engine_version {wanted[:100]!r} is not supported",
                         f"this service has {there or 'none installed yet'}")


def _tags(tags: dict[str, Any]) -> dict[str, str]:
    for name, value in tags.items():
        if not isinstance(value, str) or len(name) > 200 or len(value) > 2000 or "\0" in name + value:
            raise UsageError(f"tags: {name[:100]!r} must be a text of at most 2,000 characters",
                             'for example tags={"project": "x"}')
    if len(tags) > 100:
        raise UsageError("more than 100 tags", "leave some out")
    return tags


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
            "pinned": _BOOLEANS[str(known.get("pin") or "false").lower()],
            "retain": Retain(known["retain"]) if known.get("retain") else None,
            "on_success": OnSuccess(known["on_success"]) if known.get("on_success") else None,
        }
    except KeyError:
        raise UsageError(f"workflow_engine_parameters: pin is {str(known['pin'])[:100]!r}",
                         "pin: true, false") from None
    except ValueError as e:
        raise UsageError(f"workflow_engine_parameters: {e}",
                         "retain: full, slim, lean; on_success: delete, keep") from None


def attachments(form: FormData, field: str) -> dict[str, BinaryIO]:
    """The files of a field of a form, by name. Raises UsageError for two of one name: one would be lost."""
    found: dict[str, BinaryIO] = {}
    for file in form.getlist(field):
        if isinstance(file, UploadFile):
            name = file.filename or ""
            if name in found:
                raise UsageError(f"two attachments have the name {name[:200]!r}", "rename one of them")
            found[name] = file.file
    return found


def submission(form: FormData, engine_version: str) -> Submission:
    """What a form asks for. Raises UsageError for anything that is unknown, missing or not supported."""
    given = _fields(form)
    _check_versions(given, engine_version)
    chosen = engine_parameters(submissions.parse_object(
        given.get("workflow_engine_parameters", ""), "workflow_engine_parameters"))
    return Submission(
        pipeline=given["workflow_url"], attachments=attachments(form, "workflow_attachment"),
        params=submissions.parse_object(given.get("workflow_params", ""), "workflow_params"),
        tags=_tags(submissions.parse_object(given.get("tags", ""), "tags")), **chosen,
    )
