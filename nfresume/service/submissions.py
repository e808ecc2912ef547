"""Launches that come from the web: nothing in them becomes an option or a path outside their folder."""

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
from nfresume.runs.relaunching import RelaunchRequest
from nfresume.service.verbs import LaunchRequest, Service, new_id
from nfresume.settings import Settings
from nfresume.system import bounded, durable

#: Limits on what a request may bring.
MAX_PARAMS = 5_000_000
MAX_ATTACHED = 50_000_000

PARAMS_FILE = "params.json"
_PROFILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_SCHEMES = re.compile(r"(?:https?|ftp)://", re.IGNORECASE)
#: How long the resolver may take to say where a name leads.
RESOLVE_SECONDS = 3.0
#: Most hosts that the URLs of one request may name.
MOST_HOSTS = 50
#: Names under which clouds serve credentials to their own machines.
_METADATA_HOSTS = frozenset({"localhost", "metadata", "metadata.google.internal", "instance-data"})


@dataclass(frozen=True)
class Submission:
    """What somebody wants launched from the web; `attachments` are file contents by relative name."""

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


def submit(service: Service, wanted: Submission) -> Execution:
    """Check, make a launch folder, launch. Raises UsageError and what a launch raises, and leaves nothing."""
    check(service.conf, wanted)
    folder = service.conf.web_launches / service.account / new_id(wanted.pipeline)
    folder.mkdir(parents=True, mode=0o700)
    try:
        _write(folder, wanted.attachments)
        words = [wanted.pipeline, *options(wanted.profiles, wanted.revision)]
        if wanted.params:
            durable.write(folder / PARAMS_FILE, json.dumps(wanted.params, indent=2).encode())
            words += ["-params-file", PARAMS_FILE]
        return service.launch(LaunchRequest(
            tuple(words), folder, wanted.storage_expiration_hours, pinned=wanted.pinned, retain=wanted.retain,
            on_success=wanted.on_success, tags=wanted.tags,
        ))
    except BaseException:
        _remove(folder)
        raise


@dataclass(frozen=True)
class Changed:
    """What a relaunch from the web changes; None or empty: as it was."""

    pipeline: str | None = None
    params: Mapping[str, Any] | None = None
    profiles: tuple[str, ...] = ()
    revision: str | None = None
    storage_expiration_hours: object = None
    pinned: bool = False
    from_scratch: bool = False
    accept_version_change: bool = False
    jobs_are_gone: bool = False


def resubmit(service: Service, execution: Execution, wanted: Changed) -> Execution:
    """Relaunch from the failed task. Raises what a launch from the web and a relaunch raise."""
    conf = service.conf
    if wanted.pipeline is not None:
        check_pipeline(conf, wanted.pipeline)
    check_profiles(conf, wanted.profiles)
    words = options(wanted.profiles, wanted.revision)
    if wanted.params is not None:
        check_params(wanted.params)
        file = Path(execution.launch_dir) / f"params-{execution.attempt + 1}.json"
        durable.write(file, json.dumps(wanted.params, indent=2).encode())
        words += ["-params-file", file.name]
    return service.relaunch(execution, RelaunchRequest(
        words=tuple(words), pipeline=wanted.pipeline, from_scratch=wanted.from_scratch,
        accept_version_change=wanted.accept_version_change, jobs_are_gone=wanted.jobs_are_gone,
        storage_expiration_hours=wanted.storage_expiration_hours, pinned=wanted.pinned,
    ))


def check(conf: Settings, wanted: Submission) -> None:
    """Refuse what must not come from the web. Raises UsageError."""
    file, _ = python_workflow(wanted.pipeline) or (wanted.pipeline, "")
    check_pipeline(conf, wanted.pipeline, attached=file in wanted.attachments)
    check_params(wanted.params)
    options(wanted.profiles, wanted.revision)
    check_profiles(conf, wanted.profiles)
    if sum(map(len, wanted.attachments.values())) > MAX_ATTACHED:
        raise UsageError(f"more than {MAX_ATTACHED // 1_000_000} MB of attachments",
                         "publish the pipeline instead")
    for name in wanted.attachments:
        _relative(name)


def check_profiles(conf: Settings, profiles: Iterable[str]) -> None:
    """Only those on the list, where there is one. Raises UsageError."""
    for profile in profiles:
        if conf.web_profiles and profile not in conf.web_profiles:
            raise UsageError(f"profile {profile} is not allowed here",
                             f"allowed are {', '.join(conf.web_profiles)}")


def check_pipeline(conf: Settings, pipeline: str, *, attached: bool = False) -> None:
    """A pipeline is code: only those on the list, where there is one. Raises UsageError."""
    if not pipeline or pipeline.startswith("-") or any(ord(c) < 32 for c in pipeline):
        raise UsageError(f"{pipeline!r} is no pipeline", "a path, owner/repo, or a URL of a Git repository")
    _check_urls(pipeline)
    allowed = conf.web_pipelines
    if allowed and (attached or not any(fnmatch.fnmatchcase(pipeline, pattern) for pattern in allowed)):
        raise UsageError(f"pipeline {pipeline} is not allowed here", f"allowed are {', '.join(allowed)}")


def options(profiles: Iterable[str], revision: str | None) -> list[str]:
    """`-profile` and `-r` as words; values that could be anything else are refused. Raises UsageError."""
    words: list[str] = []
    chosen = list(profiles)
    for profile in chosen:
        if not _PROFILE.fullmatch(profile):
            raise UsageError(f"{profile!r} is no profile name", "letters, digits, '_', '.' and '-'")
    if chosen:
        words += ["-profile", ",".join(chosen)]
    if revision:
        if not _REVISION.fullmatch(revision) or ".." in revision:
            raise UsageError(f"{revision!r} is no revision", "a branch, a tag or a commit")
        words += ["-r", revision]
    return words


def check_params(params: object) -> None:
    """Parameters are a JSON object of limited size, without URLs of hosts that only this machine reaches."""
    if not isinstance(params, Mapping):
        raise UsageError("parameters must be a JSON object", 'for example {"input": "samples.csv"}')
    if len(json.dumps(params)) > MAX_PARAMS:
        raise UsageError(f"more than {MAX_PARAMS // 1_000_000} MB of parameters", "put the data into a file")
    _check_urls(params)


def parse_params(text: str) -> dict[str, Any]:
    """Parameters from a text, JSON; empty is none. Raises UsageError."""
    try:
        params = json.loads(text.strip() or "{}")
    except (ValueError, RecursionError) as e:
        raise UsageError(f"the parameters are not JSON: {e}",
                         'for example {"input": "samples.csv"}') from None
    check_params(params)
    return dict(params)


def _check_urls(value: object) -> None:
    """Each host once, however many URLs name it: asking a resolver takes time."""
    hosts = sorted(set(_hosts(value)))
    if len(hosts) > MOST_HOSTS:
        raise UsageError(f"URLs of more than {MOST_HOSTS} hosts", "put them into a file")
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
    if not host or host in _METADATA_HOSTS or host.endswith(".localhost") or _is_inside(host) or any(
            map(_is_inside, _addresses(host))):
        raise UsageError(f"a URL of host {host!r} is not allowed from the web",
                         "only hosts that are public may be named")


def _addresses(host: str) -> set[str]:
    """What a name resolves to from here; none when that takes too long, or there is no such name."""
    try:
        found = bounded.call(RESOLVE_SECONDS, lambda: socket.getaddrinfo(host, None))
    except (OSError, TimeoutError, UnicodeError):
        return set()
    return {str(entry[4][0]) for entry in found}


def _is_inside(host: str) -> bool:
    """True for an address that is not public, in any notation that a resolver takes (0x7f.1, 2852039166)."""
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
        raise UsageError(f"{name!r} is no name for an attachment", "a relative path such as bin/run.py")
    return path


def _write(folder: Path, attachments: Mapping[str, bytes]) -> None:
    for name, data in attachments.items():
        file = folder / _relative(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _remove(folder: Path) -> None:
    """Take away a launch folder of ours in which nothing was launched."""
    for place in sorted(folder.rglob("*"), reverse=True):
        place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()
    folder.rmdir()
