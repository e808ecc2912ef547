"""Launches from the web. No part of a request becomes an option, code, or a path outside its launch dir."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from nfresume.domain.errors import UsageError
from nfresume.domain.executions import Execution, python_workflow
from nfresume.domain.workdirs import OnSuccess, Retain
from nfresume.nextflow import options as nextflow_options
from nfresume.retained import old_records
from nfresume.runs.relaunching import RelaunchRequest
from nfresume.service import boundary, hosts
from nfresume.service.verbs import LaunchRequest, Service, new_id
from nfresume.settings import Settings
from nfresume.system import acting, durable

#: Limits of one request, in bytes.
MAX_PARAMS = 5_000_000
MAX_ATTACHED = 50_000_000
#: How many values a JSON document may have. Each takes up to a hundred bytes of memory, whatever its length.
MAX_VALUES = 200_000

#: Folder of nfresume's own files in a launch dir; no attachment can be there.
OWN_FOLDER = ".nfresume"
PARAMS_FILE = f"{OWN_FOLDER}/params.json"
_PROFILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")


@dataclass(frozen=True)
class Submission:
    """A launch that a user asks for on the web. `attachments` are open files by relative path."""

    pipeline: str
    params: Mapping[str, Any] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    revision: str | None = None
    storage_expiration_hours: object = None
    pinned: bool = False
    retain: Retain | None = None
    on_success: OnSuccess | None = None
    tags: Mapping[str, str] | None = None
    attachments: Mapping[str, BinaryIO] = field(default_factory=dict)


def submit(service: Service, submission: Submission) -> Execution:
    """Check the submission, make a launch dir, and launch.

    Raises UsageError, and what `Service.launch` raises. Then the launch dir is removed again.
    """
    with acting.for_account(service.conf, service.account):
        return _submit(service, submission)


def _submit(service: Service, submission: Submission) -> Execution:
    pipeline = check(service.conf, submission)
    folder = service.conf.web_launches / service.account / new_id(submission.pipeline)
    boundary.check_param_values(service.conf, submission.params, folder)
    folder.mkdir(parents=True, mode=0o700)
    try:
        _write(folder, submission.attachments)
        boundary.check_files(service.conf, (folder / name for name in submission.attachments), folder)
        boundary.check_launch_dir(service.conf, pipeline, folder)
        words = [pipeline, *options(submission.profiles, submission.revision)]
        names = list(submission.attachments)
        if submission.params:
            (folder / OWN_FOLDER).mkdir(mode=0o700)
            durable.write(folder / PARAMS_FILE, json.dumps(submission.params, indent=2).encode())
            words += ["-params-file", PARAMS_FILE]
            names.append(PARAMS_FILE)
        return service.launch(LaunchRequest(
            tuple(words), folder, submission.storage_expiration_hours, pinned=submission.pinned,
            retain=submission.retain, on_success=submission.on_success, tags=submission.tags,
            attached=old_records.attached(folder, names),
        ))
    except BaseException:
        shutil.rmtree(folder)  # nothing was launched in it, and only this request has written to it
        raise


@dataclass(frozen=True)
class Resubmission:
    """A relaunch that a user asks for on the web. None or empty: unchanged.

    `without`: options of the last attempt that are left out, such as `--min_reads`.
    """

    pipeline: str | None = None
    params: Mapping[str, Any] | None = None
    profiles: tuple[str, ...] = ()
    revision: str | None = None
    storage_expiration_hours: object = None
    pinned: bool = False
    from_scratch: bool = False
    jobs_are_gone: bool = False
    without: tuple[str, ...] = ()

    @property
    def changes_what_runs(self) -> bool:
        """True when other code would run, or the same code with other inputs."""
        return bool(self.pipeline or self.profiles or self.revision) or self.params is not None


def resubmit(service: Service, execution: Execution, resubmission: Resubmission) -> Execution:
    """Relaunch from the failed task. Raises UsageError, and what `Service.relaunch` raises.

    What was launched at a terminal can be relaunched as it is. Anything else is checked like a launch.
    """
    conf = service.conf
    pipeline = checked_pipeline(service, execution, resubmission)
    check_profiles(conf, resubmission.profiles)
    words = options(resubmission.profiles, resubmission.revision)
    file = None
    attached: old_records.Attached = ()
    if resubmission.params is not None:
        check_params(resubmission.params)
        boundary.check_param_values(conf, resubmission.params, Path(execution.launch_dir))
        file, attached = _params_file(conf, execution, resubmission.params)
        words += ["-params-file", str(file)]
    try:
        return service.relaunch(execution, RelaunchRequest(
            words=tuple(words), pipeline=pipeline, from_scratch=resubmission.from_scratch,
            pinned=resubmission.pinned, jobs_are_gone=resubmission.jobs_are_gone, attached=attached,
            without=resubmission.without,
            storage_expiration_hours=resubmission.storage_expiration_hours,
        ))
    except BaseException:
        if file is not None:
            file.unlink()
        raise


def checked_pipeline(service: Service, execution: Execution, resubmission: Resubmission) -> str | None:
    """The pipeline that a relaunch names, None if it stays as it is. Raises UsageError if it may not run."""
    launch_dir = Path(execution.launch_dir)
    if not resubmission.changes_what_runs and not boundary.from_web(service.conf, launch_dir):
        return None
    last = service.details(execution).attempts[-1]
    before = nextflow_options.stored(last.pipeline, last.options)
    named = resubmission.pipeline or last.pipeline
    if resubmission.pipeline:
        boundary.check_urls(named)
    if not boundary.is_open(service.conf):
        named = as_found(named, launch_dir)
    resolved = boundary.resolve(service.conf, named, resubmission.revision or before.value("-r", "-revision"))
    return None if resolved == last.pipeline else resolved


def as_found(pipeline: str, launch_dir: Path) -> str:
    """A pipeline as Nextflow finds it: a file or folder in the launch dir comes first. Raises OSError."""
    there = (python_workflow(pipeline) or (pipeline, ""))[0]
    return str(launch_dir / pipeline) if "\0" not in there and (launch_dir / there).exists() else pipeline


def as_shown(pipeline: str, launch_dir: Path) -> str:
    """A pipeline `as_found`, for a form: as it was named where the launch dir cannot be seen."""
    if pipeline.startswith("/"):
        return pipeline
    try:
        return as_found(pipeline, launch_dir)
    except OSError:
        return pipeline


def _params_file(
    conf: Settings, execution: Execution, params: Mapping[str, Any]
) -> tuple[Path, old_records.Attached]:
    """Write the parameters of a relaunch to a new file, which no file of the user can be.

    It is in our own folder of a launch dir from the web; or, for a launch from a terminal, beside the launch
    dirs. It expires like an attachment.
    """
    launch_dir, launches = Path(execution.launch_dir), conf.web_launches / conf.account
    place, own = (launch_dir, OWN_FOLDER) if launch_dir.parent == launches else (launches, old_records.PARAMS)
    (place / own).mkdir(parents=True, exist_ok=True, mode=0o700)
    file = place / own / f"{execution.id}-{execution.attempt + 1}-{uuid.uuid4().hex[:8]}.json"
    durable.write(file, json.dumps(params, indent=2).encode())
    return file, old_records.attached(place, [f"{own}/{file.name}"])


def check(conf: Settings, submission: Submission) -> str:
    """The resolved pipeline of a submission. Raises UsageError for anything that must not be launched."""
    pipeline = boundary.resolve(conf, submission.pipeline, submission.revision)
    boundary.check_urls(submission.pipeline)
    check_params(submission.params)
    options(submission.profiles, submission.revision)
    check_profiles(conf, submission.profiles)
    for name in submission.attachments:
        boundary.check_attachment(conf, pipeline, name)
        if boundary.relative(name).parts[0] == OWN_FOLDER:
            raise UsageError(f"{name!r} is not allowed as the name of an attachment",
                             f"the folder {OWN_FOLDER} belongs to nfresume")
    return pipeline


def check_profiles(conf: Settings, profiles: Iterable[str]) -> None:
    """Raise UsageError for a profile that is not in `web_profiles`, if that is set."""
    for profile in profiles:
        if conf.web_profiles and profile not in conf.web_profiles:
            raise UsageError(f"profile {profile} is not allowed here",
                             f"allowed are {', '.join(conf.web_profiles)}")


def options(profiles: Iterable[str], revision: str | None) -> list[str]:
    """The words `-profile ...` and `-r ...`. Raises UsageError for values that are no profile or revision."""
    words: list[str] = []
    chosen = list(profiles)
    for profile in chosen:
        if not _PROFILE.fullmatch(profile):
            raise UsageError(f"{profile!r} is not a profile name", "letters, digits, '_', '.' and '-'")
    if chosen:
        words += ["-profile", ",".join(chosen)]
    if revision:
        if not _REVISION.fullmatch(revision) or ".." in revision:
            raise UsageError(f"{revision!r} is not a revision", "a revision is a branch, a tag or a commit")
        words += ["-r", revision]
    return words


def check_params(params: object) -> None:
    """Raise UsageError unless `params` is a JSON object of limited size, with URLs of public hosts only."""
    if not isinstance(params, Mapping):
        raise UsageError("parameters must be a JSON object", 'for example {"input": "samples.csv"}')
    try:
        text = json.dumps(params, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as e:  # NaN, or half of a surrogate pair
        raise UsageError(f"the parameters are not JSON: {e}", "leave that value out") from None
    check_structure(text, "the parameters")
    hosts.check(params)


def parse_params(text: str) -> dict[str, Any]:
    """Parameters from JSON text, checked. Empty text: no parameters. Raises UsageError."""
    params = parse_object(text, "the parameters")
    check_params(params)
    return params


def check_structure(text: str | bytes, name: str) -> None:
    """Raise UsageError for JSON text that is too long, or whose many values would fill the memory."""
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if len(data) > MAX_PARAMS or sum(map(data.count, (b"[", b"{", b","))) > MAX_VALUES:
        raise UsageError(f"{name}: more than {MAX_PARAMS // 1_000_000} MB or {MAX_VALUES:,} values",
                         "put the data into a file")


def parse_object(text: str, name: str) -> dict[str, Any]:
    """A JSON object from text of limited size. Raises UsageError, which calls it `name`."""
    check_structure(text, name)
    try:
        found = json.loads(text.strip() or "{}")
    except (ValueError, RecursionError) as e:
        raise UsageError(f"{name}: not JSON: {e}", 'for example {"input": "samples.csv"}') from None
    if not isinstance(found, dict):
        raise UsageError(f"{name} must be a JSON object", 'for example {"input": "samples.csv"}')
    return found


def _write(folder: Path, attachments: Mapping[str, BinaryIO]) -> None:
    written = []
    left = MAX_ATTACHED
    for name, data in attachments.items():
        file = folder / boundary.relative(name)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            target = file.open("xb")
        except OSError as e:  # a file and a folder of one name, or a name that is too long
            raise UsageError(f"{name[:200]!r} cannot be created: {e.strerror}",
                             "choose another name") from None
        with target:
            while part := data.read(min(1 << 20, left + 1)):
                left -= target.write(part)
                if left < 0:
                    raise UsageError(f"more than {MAX_ATTACHED // 1_000_000} MB of attachments",
                                     "put the data where the pipeline can read it, and name its path")
        written.append(file)
    hosts.check_files(written)
