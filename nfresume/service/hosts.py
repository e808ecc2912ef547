"""URLs in text from the web may name public hosts only: a run must not reach services inside."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from nfresume.domain.errors import UsageError
from nfresume.system import bounded

_URL = re.compile(r"(?:https?|ftps?|sftp|ssh|git)://", re.IGNORECASE)
_URL_IN_BYTES = re.compile(rb"(?:https?|ftps?|sftp|ssh|git)://[^\s\"'<>,;|]{1,500}", re.IGNORECASE)
_SCP = re.compile(r"[\w.-]+@([\w.-]+):")
#: How long the resolution of one host name may take.
RESOLVE_SECONDS = 3.0
#: How many different hosts the URLs of one request may name.
MAX_HOSTS = 50
_CHUNK = 1 << 20
_LONGEST_URL = 600
#: This machine, and the hosts from which a cloud's machines get their credentials.
_METADATA_HOSTS = frozenset({"localhost", "metadata", "metadata.google.internal", "instance-data"})


def check(value: object) -> None:
    """Raise UsageError unless every URL in a text, or in a JSON document, names a public host."""
    _check_hosts(_hosts(value))


def check_files(files: Iterable[Path]) -> None:
    """The same for the text in files. Binary files (with a NUL in the first 8 KiB) are skipped."""
    _check_hosts(host for file in files for host in _hosts_in_file(file))


def _check_hosts(found: Iterable[str]) -> None:
    """Check each host once, however many URLs name it, because name resolution takes time."""
    hosts: set[str] = set()
    for host in found:
        hosts.add(host)
        if len(hosts) > MAX_HOSTS:
            raise UsageError(f"URLs of more than {MAX_HOSTS} hosts", "copy the files to one place first")
    for host in sorted(hosts):
        _check_host(host)


def _hosts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _hosts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _hosts(each)
    elif isinstance(value, str):
        for found in _URL.finditer(value):
            yield _host_of(value[found.start():found.start() + 2000])
        if scp := _SCP.match(value):
            yield scp[1].lower()


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".").lower()
    except ValueError:
        return ""


def _hosts_in_file(file: Path) -> Iterator[str]:
    with file.open("rb") as opened:
        if b"\0" in opened.read(8192):
            return
        opened.seek(0)
        tail = b""
        while data := opened.read(_CHUNK):
            text = tail + data
            for found in _URL_IN_BYTES.findall(text):
                yield _host_of(found.decode("utf-8", "replace"))
            tail = text[-_LONGEST_URL:]  # a URL may lie across two chunks


def _check_host(host: str) -> None:
    if not host or host in _METADATA_HOSTS or host.endswith(".localhost") or _is_private(host) or any(
            map(_is_private, _addresses(host))):
        raise UsageError(f"a URL of host {host[:200]!r} is not allowed from the web",
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
