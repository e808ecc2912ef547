"""Nextflow's log where others look for it.

A pipeline's NextflowMetadata may name a `log_dir`, as on Latch: after each attempt a copy goes to
`<log_dir>/<name of the pipeline>/<run name>/nextflow.log`. Some pipelines report on `.nextflow.log` of the
launch dir, where Nextflow has it by default.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nfresume.domain.errors import NfresumeError
from nfresume.domain.executions import Attempt, Execution, python_workflow
from nfresume.nextflow import options, sources
from nfresume.nextflow.command import DEFAULT_LOGS, LOG
from nfresume.pipelines import metadata, remote
from nfresume.storage.root import ExecutionFolder, copy_if_exists

#: The key in an attempt's request that names the file with the metadata of a pipeline that is not remote.
METADATA = "metadata"
_NAME = "nextflow.log"


def show(attempt_dir: Path, launch_dir: Path, attempt: Attempt) -> None:
    """Let `.nextflow.log` lead to the log if the pipeline's code names it, or is not known before the run.

    Earlier logs get numbers behind their name, up to 9, as Nextflow gives them.
    """
    log = options.stored(attempt.pipeline, attempt.options).log
    place = launch_dir / DEFAULT_LOGS[0]
    if log is not None or python_workflow(attempt.pipeline) or not sources.may_name(
            attempt_dir, place.name):
        return
    with contextlib.suppress(OSError):  # nobody may write there
        if place.is_symlink():
            place.unlink()
        elif place.exists():
            for newer, older in reversed(list(pairwise(DEFAULT_LOGS))):
                if os.path.lexists(launch_dir / newer):
                    os.rename(launch_dir / newer, launch_dir / older)
        place.symlink_to(attempt_dir / LOG)


def copy(folder: ExecutionFolder, execution: Execution, attempt: Attempt) -> dict[str, str]:
    """Copy the log of an ended attempt. Returns a note for the history: where to, or why not.

    Empty when the pipeline names no `log_dir`, or there is no log.
    """
    file = (folder.request(attempt.number) or {}).get(METADATA)
    log = folder.attempt(attempt.number) / LOG
    if not log.exists():
        return {}
    try:
        declared = _metadata(file, attempt, log)
        if declared is None or declared.log_dir is None:
            return {}
        parts = (declared.log_dir.rstrip("/"), declared.name or "pipeline", attempt.run_name, _NAME)
        target = "/".join(parts)
        return {"to": _copy(log, target, Path(execution.launch_dir))}
    except NfresumeError as e:
        return {"failed": str(e)}
    except OSError as e:
        return {"failed": f"{type(e).__name__}: {e}"}


def to_launch_dir(folder: ExecutionFolder, execution: Execution, attempt: Attempt) -> None:
    """Copy the log to the path of the user's -log option, and to where `show` has put a link to it."""
    parsed = options.stored(attempt.pipeline, attempt.options)
    log = folder.attempt(attempt.number) / LOG
    target = Path(execution.launch_dir) / (parsed.log or DEFAULT_LOGS[0])
    with contextlib.suppress(OSError):  # a full disk must not prevent the settlement
        shown = target.is_symlink() and os.readlink(target) == str(log)
        if shown:
            target.unlink()
        if shown or parsed.log is not None:
            copy_if_exists(log, target)


def _metadata(file: str | None, attempt: Attempt, log: Path) -> metadata.PipelineMetadata | None:
    if file is not None:
        return metadata.load(Path(file))
    found = remote.metadata_of(attempt.pipeline, log)
    return found[0] if found else None


def _copy(log: Path, target: str, launch_dir: Path) -> str:
    """Copy the log; returns where to. Raises OSError or NfresumeError."""
    url = urlsplit(target)
    if url.scheme == "s3":
        _upload(log, url.netloc, url.path.lstrip("/"))
        return target
    if url.scheme not in ("", "file"):
        needed = "latch:// needs Latch" if url.scheme == "latch" else f"{url.scheme}:// is not supported"
        raise NfresumeError(f"the log was not copied to {target}: {needed}", "use a path, or s3://")
    path = launch_dir / (unquote(url.path) if url.scheme else target)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(log, path)
    return str(path)


def _upload(log: Path, bucket: str, key: str) -> None:
    import boto3  # takes 300 ms, and few need it
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        boto3.client("s3").upload_file(str(log), bucket, key)
    except (Boto3Error, BotoCoreError, ClientError) as e:
        raise NfresumeError(f"the log was not copied to s3://{bucket}/{key}: {e}", "see AWS's credentials"
                            ) from None
