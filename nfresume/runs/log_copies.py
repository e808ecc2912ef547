"""Copy Nextflow's log to the `log_dir` that a pipeline's NextflowMetadata names, as Latch does.

The copy is `<log_dir>/<name of the pipeline>/<run name>/nextflow.log`, after each attempt.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nfresume.domain.errors import NfresumeError
from nfresume.domain.executions import Attempt, Execution
from nfresume.nextflow import options
from nfresume.nextflow.command import LOG
from nfresume.pipelines import metadata, remote
from nfresume.storage.root import ExecutionFolder, copy_if_exists

#: The key in an attempt's request that names the file with the metadata of a pipeline that is not remote.
METADATA = "metadata"
_NAME = "nextflow.log"


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


def to_option(folder: ExecutionFolder, execution: Execution, attempt: Attempt) -> None:
    """Copy the log to the path of the user's -log option."""
    parsed = options.stored(attempt.pipeline, attempt.options)
    if parsed.log is not None:
        with contextlib.suppress(OSError):  # a full disk must not prevent the settlement
            copy_if_exists(folder.attempt(attempt.number) / LOG, Path(execution.launch_dir) / parsed.log)


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
