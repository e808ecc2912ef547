"""URLs in text from the web may name public hosts only: a run must not reach services inside."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from nfresume.domain.errors import UsageError
from nfresume.service import fastq
from nfresume.system import bounded

#: Some programs take one slash, or backslashes, for two slashes. What follows are further schemes of curl.
_BEGIN = (r"(?:(?:https?|ftps?|sftp|ssh|git):[/\\]+|"
          r"(?:scp|tftp|rsync|gopher|dict|ldap|smb|telnet|rtsp|mqtt|ws|imap|pop3|smtp)s?://)")
_URL = re.compile(_BEGIN, re.IGNORECASE)
#: A user, which any other text may be, and the rest.
_URL_IN_BYTES = re.compile(
    _BEGIN.encode() + rb"(?:[^/?#\r\n]{0,500}@)?[^\s\"'<>,;|]{1,500}", re.IGNORECASE)
#: User, host and port of a URL. A host with other letters is none.
_AUTHORITY = re.compile(r"[^/\\?#\s,;|!'\"<>()]*")
_PATH = re.compile(r"[/?#]")
_SLASHES = re.compile(r":[/\\]+")
#: Some programs drop these from a URL.
_IGNORED = re.compile(r"[\t\r\n]")
_SCP = re.compile(r"[\w.-]+@([\w.-]+):")
#: How long the resolution of one host name may take.
RESOLVE_SECONDS = 3.0
#: How many different hosts the URLs of one request may name.
MAX_HOSTS = 50
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_CHUNK = 1 << 20
_LONGEST = 4200
#: A character that JSON and YAML write as an escape, and a line break that YAML takes away.
_ESCAPE = re.compile(rb"\\(?:u00|x|U000000)([0-7][0-9a-fA-F])|\\(/)|\\\r?\n[ \t]*")
#: Whatever is no ASCII text is a blank.
_AS_TEXT = bytes(byte if 33 <= byte <= 126 or byte in b"\t\n\r" else 32 for byte in range(256))
#: This machine, and the hosts from which a cloud's machines get their credentials.
_METADATA_HOSTS = frozenset({"localhost", "metadata", "metadata.google.internal", "instance-data"})


def check(value: object) -> None:
    """Raise UsageError unless every URL in a text, or in a JSON document, names a public host."""
    _check_hosts(_hosts(value))


def check_files(files: Iterable[Path]) -> None:
    """The same for the text in files, see `matches_in_file`."""
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
        yield from _hosts(inner_json(value))
        for text in {value, _IGNORED.sub("", value)}:
            for found in _URL.finditer(text):
                yield from _hosts_of(text[found.end():found.end() + 2000])
        if scp := _SCP.match(value):
            yield scp[1].lower()


def inner_json(text: str) -> object:
    """What a text with escapes, which may hide a name, is as JSON; else None. Python workflows read it."""
    if "\\" not in text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _hosts_of(rest: str) -> Iterator[str]:
    """The hosts that programs may see in a URL from behind its slashes.

    To Java and curl anything in front of an `@` names a user: `example.org;@host`, `example.org\\@host`.
    """
    for part in (rest, *_PATH.split(rest, maxsplit=1)[0].split("@")[1:]):
        yield _host_of(part)


def _host_of(rest: str) -> str:
    """The host of a URL from behind its slashes; empty for one that programs could read in several ways."""
    found = _AUTHORITY.match(rest)
    authority = found[0] if found else ""
    user, _, at = authority.rpartition("@")
    if "%" in user or "@" in user or ("%" in at and not at.startswith("[")):
        return ""
    try:
        return (urlsplit(f"//{at}").hostname or "").rstrip(".").lower()
    except ValueError:
        return ""


def _hosts_in_file(file: Path) -> Iterator[str]:
    for found in matches_in_file(file, _URL_IN_BYTES):
        yield from _hosts_of(_SLASHES.split(found, maxsplit=1)[1])


def matches_in_file(file: Path, pattern: re.Pattern[bytes], by_chance: int = 0) -> Iterator[str]:
    """What matches a pattern, in matches of at most 4,096 bytes; some may come twice.

    It is also read with the escapes of JSON and YAML taken for what they stand for. Qualities of reads do not
    count.

    A file with a NUL in its first 8 KiB may be a sheet all the same. Only its ASCII text counts, and no match
    of fewer than `by_chance` bytes, which other data may have by chance.
    """
    with fastq.without_qualities(file) as opened:
        binary = b"\0" in opened.read(8192)
        opened.seek(0)
        tail = b""
        while data := opened.read(_CHUNK):
            text = tail + (data.translate(_AS_TEXT) if binary else data)
            readings = {text, _ESCAPE.sub(_character, text)}
            for found in {each for one in readings for each in pattern.findall(one)}:  # a sheet repeats them
                if not binary or len(found) >= by_chance:
                    yield os.fsdecode(found)
            tail = text[-_LONGEST:]  # a match may lie across two chunks


def _character(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1], 16)]) if escape[1] else escape[2] or b""


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


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address to which a translator or a tunnel leads (RFC 6052, 3056, 4380); None for others."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _is_private(host: str) -> bool:
    """True for an IP address that is not public, in any notation that a resolver accepts.

    Examples are `0x7f.1` and `2852039166`. False for a name.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        inner = _embedded(address) if isinstance(address, ipaddress.IPv6Address) else None
        return not address.is_global or (inner is not None and not inner.is_global)
    parts = host.split(".")
    return all(re.fullmatch(r"0x[0-9a-f]*|\d+", part) for part in parts)
