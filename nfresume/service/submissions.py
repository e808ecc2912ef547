"""Launches from the web. No part of a request can become an option or a path outside its launch dir."""

from __future__ import annotations

import fnmatch
import ipaddress
import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from nfresume.domain.errors import UsageError
from nfresume.domain.executions import Execution, python_workflow
from nfresume.domain.workdirs import OnSuccess, Retain
from nfresume.retained import old_records
from nfresume.runs.relaunching import RelaunchRequest
from nfresume.service.verbs import LaunchRequest, Service, new_id
from nfresume.settings import Settings
from nfresume.system import bounded, durable

#: Limits of one request, in bytes.
MAX_PARAMS = 5_000_000
MAX_ATTACHED = 50_000_000

PARAMS_FILE = "params.json"
_PROFILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_SCHEMES = re.compile(r"(?:https?|ftp)://", re.IGNORECASE)
#: How long the resolution of one host name may take.
RESOLVE_SECONDS = 3.0
#: How many different hosts the URLs of one request may name.
MAX_HOSTS = 50
#: This machine, and the hosts from which a cloud's machines get their credentials.
_METADATA_HOSTS = frozenset({"localhost", "metadata", "metadata.google.internal", "instance-data"})


@dataclass(frozen=True)
class Submission:
    """A launch that a user asks for on the web. `attachments` are file contents by relative path."""

    pipeline: str
    params: Mapping[str, Any] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    revision: str | None = None
    storage_expiration_hours: object = None
    pinned: bool = False
    retain: Retain | None = None
    on_success: OnSuccess | None = None
    tags: Mapping[str, str] | None = None
    attachments: Mapping[str, bytes] = field(default_factory=dict)


def submit(service: Service, submission: Submission) -> Execution:
    """Check the submission, make a launch dir, and launch.

    Raises UsageError, and what `Service.launch` raises. Then the launch dir is removed again.
    """
    check(service.conf, submission)
    folder = service.conf.web_launches / service.account / new_id(submission.pipeline)
    folder.mkdir(parents=True, mode=0o700)
    try:
        _write(folder, submission.attachments)
        words = [submission.pipeline, *options(submission.profiles, submission.revision)]
        names = list(submission.attachments)
        if submission.params:
            durable.write(folder / PARAMS_FILE, json.dumps(submission.params, indent=2).encode())
            words += ["-params-file", PARAMS_FILE]
            names.append(PARAMS_FILE)
        return service.launch(LaunchRequest(
            tuple(words), folder, submission.storage_expiration_hours, pinned=submission.pinned,
            retain=submission.retain, on_success=submission.on_success, tags=submission.tags,
            attached=old_records.attached(folder, names),
        ))
    except BaseException:
        _remove(folder)
        raise


@dataclass(frozen=True)
class Resubmission:
    """A relaunch that a user asks for on the web. None or empty: unchanged."""

    pipeline: str | None = None
    params: Mapping[str, Any] | None = None
    profiles: tuple[str, ...] = ()
    revision: str | None = None
    storage_expiration_hours: object = None
    pinned: bool = False
    from_scratch: bool = False
    accept_version_change: bool = False
    jobs_are_gone: bool = False


def resubmit(service: Service, execution: Execution, resubmission: Resubmission) -> Execution:
    """Relaunch from the failed task. Raises UsageError, and what `Service.relaunch` raises."""
    conf = service.conf
    if resubmission.pipeline is not None:
        check_pipeline(conf, resubmission.pipeline)
    check_profiles(conf, resubmission.profiles)
    words = options(resubmission.profiles, resubmission.revision)
    attached: old_records.Attached = ()
    if resubmission.params is not None:
        check_params(resubmission.params)
        file = Path(execution.launch_dir) / f"params-{execution.attempt + 1}.json"
        durable.write(file, json.dumps(resubmission.params, indent=2).encode())
        words += ["-params-file", file.name]
        attached = old_records.attached(file.parent, [file.name])
    return service.relaunch(execution, RelaunchRequest(
        words=tuple(words), pipeline=resubmission.pipeline, from_scratch=resubmission.from_scratch,
        accept_version_change=resubmission.accept_version_change, jobs_are_gone=resubmission.jobs_are_gone,
        storage_expiration_hours=resubmission.storage_expiration_hours, pinned=resubmission.pinned,
        attached=attached,
    ))


def check(conf: Settings, submission: Submission) -> None:
    """Raise UsageError for anything that must not be launched from the web."""
    file, _ = python_workflow(submission.pipeline) or (submission.pipeline, "")
    check_pipeline(conf, submission.pipeline, attached=file in submission.attachments)
    check_params(submission.params)
    options(submission.profiles, submission.revision)
    check_profiles(conf, submission.profiles)
    if sum(map(len, submission.attachments.values())) > MAX_ATTACHED:
        raise UsageError(f"more than {MAX_ATTACHED // 1_000_000} MB of attachments",
                         "publish the pipeline instead")
    for name in submission.attachments:
        _relative(name)


def check_profiles(conf: Settings, profiles: Iterable[str]) -> None:
    """Raise UsageError for a profile that is not in `web_profiles`, if that is set."""
    for profile in profiles:
        if conf.web_profiles and profile not in conf.web_profiles:
            raise UsageError(f"profile {profile} is not allowed here",
                             f"allowed are {', '.join(conf.web_profiles)}")


def check_pipeline(conf: Settings, pipeline: str, *, attached: bool = False) -> None:
    """Raise UsageError for a pipeline that is malformed or not in `web_pipelines`, if that is set.

    An attached pipeline is never in that list.
    """
    if not pipeline or pipeline.startswith("-") or any(ord(c) < 32 for c in pipeline):
        raise UsageError(f"{pipeline!r} is not a pipeline",
                         "a pipeline is a path, owner/repo, or a URL of a Git repository")
    _check_urls(pipeline)
    allowed = conf.web_pipelines
    if allowed and (attached or not any(fnmatch.fnmatchcase(pipeline, pattern) for pattern in allowed)):
        raise UsageError(f"pipeline {pipeline} is not allowed here", f"allowed are {', '.join(allowed)}")


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
    if len(json.dumps(params)) > MAX_PARAMS:
        raise UsageError(f"more than {MAX_PARAMS // 1_000_000} MB of parameters", "put the data into a file")
    _check_urls(params)


def parse_params(text: str) -> dict[str, Any]:
    """Parameters from JSON text, checked. Empty text: no parameters. Raises UsageError."""
    try:
        params = json.loads(text.strip() or "{}")
    except (ValueError, RecursionError) as e:
        raise UsageError(f"the parameters are not JSON: {e}",
                         'for example {"input": "samples.csv"}') from None
    check_params(params)
    return dict(params)


def _check_urls(value: object) -> None:
    """Check each host once, however many URLs name it, because name resolution takes time."""
    hosts = sorted(set(_hosts(value)))
    if len(hosts) > MAX_HOSTS:
        raise UsageError(f"URLs of more than {MAX_HOSTS} hosts", "put them into a file")
    for host in hosts:
        _check_host(host)


def _hosts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _hosts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _hosts(each)
    elif isinstance(value, str):
        for found in _SCHEMES.finditer(value):
            try:
                yield (urlsplit(value[found.start():]).hostname or "").rstrip(".").lower()
            except ValueError:
                yield ""


def _check_host(host: str) -> None:
    if not host or host in _METADATA_HOSTS or host.endswith(".localhost") or _is_private(host) or any(
            map(_is_private, _addresses(host))):
        raise UsageError(f"a URL of host {host!r} is not allowed from the web",
                         "only public hosts may be named")


def _addresses(host: str) -> set[str]:
    """The IP addresses of a host name; empty when there is no such name, or resolution takes too long."""
    try:
        found = bounded.call(RESOLVE_SECONDS, lambda: socket.getaddrinfo(host, None))
    except (OSError, TimeoutError, UnicodeError):
        return set()
    return {str(entry[4][0]) for entry in found}


def _is_private(host: str) -> bool:
    """True for an IP address that is not public, in any notation that a resolver accepts.

    Examples are `0x7f.1` and `2852039166`. False for a name.
    """
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        pass
    parts = host.split(".")
    return all(re.fullmatch(r"0x[0-9a-f]*|\d+", part) for part in parts)


def _relative(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    bad = not name or path.is_absolute() or ".." in path.parts or any(ord(c) < 32 for c in name)
    if bad or path.parts[0].startswith("-") or len(name) > 500:
        raise UsageError(f"{name!r} is not allowed as the name of an attachment",
                         "a relative path such as bin/run.py is")
    return path


def _write(folder: Path, attachments: Mapping[str, bytes]) -> None:
    for name, data in attachments.items():
        file = folder / _relative(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _remove(folder: Path) -> None:
    """Remove a launch dir in which nothing was launched."""
    for place in sorted(folder.rglob("*"), reverse=True):
        place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()
    folder.rmdir()
