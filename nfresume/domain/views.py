"""Executions as JSON documents, the same for terminal and web."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from nfresume.domain.executions import Attempt, Event, Execution, deletion
from nfresume.domain.people import AuditEntry
from nfresume.domain.workdirs import Keep, WorkDir, WorkDirState


def time(value: datetime | None) -> str | None:
    """ISO 8601 in UTC; None stays None."""
    return value.isoformat().replace("+00:00", "Z") if value else None


def execution(e: Execution) -> dict[str, Any]:
    """One execution without attempts and events; times are ISO 8601 in UTC, sizes are bytes."""
    w = e.work_dir
    return {
        "id": e.id,
        "account": e.account,
        "pipeline": e.pipeline,
        "state": str(e.state),
        "storage_expiration_hours": e.storage_expiration_hours,
        "storage_expiration_source": e.storage_expiration_source,
        "retain": str(e.retain),
        "on_success": str(e.on_success),
        "launch_dir": e.launch_dir,
        "created_at": time(e.created_at),
        "work_dir": {
            "path": w.path,
            "state": str(w.state),
            "expires_at": time(w.expires_at),
            "pinned": w.pinned,
            "keep": _keep(w.keep),
            "look_again_at": time(w.look_again_at),
            "bytes": w.bytes,
            "disk_bytes": w.disk_bytes,
            "metered_bytes": w.metered_bytes,
            "files": w.files,
            "directories": w.directories,
            "partial": w.partial,
            "measured_at": time(w.measured_at),
            "reason": w.reason,
            "deleted_at": time(w.deleted_at),
            "removal": _removal(w),
        },
    }


def _keep(keep: Keep | None) -> dict[str, Any] | None:
    """How long it is kept: `until` null means until somebody decides."""
    if keep is None:
        return None
    return {"kind": str(keep.kind), "until": time(keep.until), "by": keep.by, "why": keep.why}


def _removal(w: WorkDir) -> dict[str, Any] | None:
    if w.removal is None:
        return None
    deleted = w.state is WorkDirState.DELETED
    return {
        **asdict(w.removal),
        "files_per_second": round(w.removal.files_per_second, 1),
        "remaining_files": 0 if deleted else w.removal.remaining_files(w.files),
        "remaining_seconds": 0.0 if deleted else w.removal.remaining_seconds(w.files),
    }


def details(e: Execution, attempts: list[Attempt], events: list[Event]) -> dict[str, Any]:
    """One execution with its attempts and its history."""
    return {
        **execution(e),
        "deletion": _deletion(e, deletion(events)),
        "attempts": [_attempt(a, e.session_id) for a in attempts],
        "events": [
            {"at": time(v.at), "name": v.name, "actor": v.actor, "attempt": v.attempt,
             "detail": dict(v.detail)}
            for v in events
        ],
    }


def _deletion(e: Execution, event: Event | None) -> dict[str, Any] | None:
    """The deletion of a work dir: by which rule, who ordered it and when, and when the last byte was gone."""
    if event is None:
        return None
    return {"rule": event.name, "ordered_by": event.actor, "ordered_at": time(event.at),
            "reason": e.work_dir.reason, "gone_at": time(e.work_dir.deleted_at)}


def _attempt(a: Attempt, session_id: str) -> dict[str, Any]:
    return {
        "number": a.number,
        "run_name": a.run_name,
        "session_id": session_id,
        "state": str(a.state),
        "exit_code": a.exit_code,
        "started_at": time(a.started_at),
        "ended_at": time(a.ended_at),
        "nextflow_version": a.nextflow_version,
        "pipeline": a.pipeline,
        "options": list(a.options),
        "tasks": asdict(a.tasks),
        "error": a.error,
    }


def audit_entry(entry: AuditEntry) -> dict[str, Any]:
    """One entry of the audit trail; the time is ISO 8601 in UTC."""
    return {"at": time(entry.at), "name": entry.name, "actor": entry.actor, "address": entry.address,
            "account": entry.account, "execution": entry.execution, "detail": dict(entry.detail)}
