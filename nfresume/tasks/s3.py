"""Objects of S3 by boto3: look at, list, download and upload them. Credentials come from boto3's usual chain.

All functions raise OSError with one line: what was asked of which URL, and S3's answer.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.tasks import task_files

#: How often a broken download is continued before it is given up.
_ATTEMPTS = 5
_CHUNK = 1 << 20
_THREADS = 8


@dataclass(frozen=True)
class Object:
    """One object: its URL, its ETag without quotes, and its size in bytes."""

    url: str
    etag: str
    size: int


@functools.lru_cache(maxsize=1)
def _client_of(_pid: int) -> Any:
    import boto3  # takes 200 ms, and few workflows need it

    return boto3.client("s3")


def _client() -> Any:
    """A client of this process: connections must not be shared with the process that forked it."""
    return _client_of(os.getpid())


def split(url: str) -> tuple[str, str]:
    """Bucket and key. Raises OSError for another URL."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not url.startswith("s3://") or not bucket:
        raise OSError(f"{url} is not a URL of S3")
    return bucket, key


@contextlib.contextmanager
def _asking(url: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as e:
        raise OSError(f"{url}: {' '.join(str(e).split())}") from None


def look(url: str) -> Object | None:
    """The object at a URL; None when there is none."""
    from botocore.exceptions import ClientError

    bucket, key = split(url)
    with _asking(url):
        try:
            found = _client().head_object(Bucket=bucket, Key=key) if key else None
        except ClientError as e:
            if e.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                raise
            found = None
    return found and Object(url, found["ETag"].strip('"'), found["ContentLength"])


def objects(url: str) -> list[Object]:
    """All objects in a folder, by key. Empty ones that stand for folders are left out."""
    bucket, key = split(url)
    prefix = key.rstrip("/") + "/" if key.rstrip("/") else ""
    found = []
    with _asking(url):
        for page in _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            found += [Object(f"s3://{bucket}/{each['Key']}", each["ETag"].strip('"'), each["Size"])
                      for each in page.get("Contents", []) if not each["Key"].endswith("/")]
    return sorted(found, key=lambda each: each.url)


def download(found: Object, target: Path) -> None:
    """Download an object, or what is missing of it, verify it, and put it at `target` completely.

    Raises OSError, also when the object is no longer the one that was found.
    """
    version = hashlib.sha256(found.etag.encode()).hexdigest()[:16]
    part = task_files.beside(target, f"{version}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file() and _is_right(found, target):
        return
    for attempt in range(_ATTEMPTS):
        try:
            _continue(found, part)
            break
        except OSError:
            if attempt == _ATTEMPTS - 1:
                raise
    if not _is_right(found, part):
        part.unlink()
        raise OSError(f"{found.url}: what was downloaded has another checksum")
    part.replace(target)


def _continue(found: Object, part: Path) -> None:
    from urllib3.exceptions import HTTPError

    bucket, key = split(found.url)
    with part.open("ab") as file, _asking(found.url):
        if file.tell() > found.size:
            file.truncate(0)
        if file.tell() == found.size:
            return
        answer = _client().get_object(Bucket=bucket, Key=key, Range=f"bytes={file.tell()}-",
                                      IfMatch=f'"{found.etag}"')
        try:
            for data in answer["Body"].iter_chunks(_CHUNK):
                file.write(data)
        except HTTPError as e:
            raise OSError(f"{found.url}: {e}") from None
        if file.tell() != found.size:
            raise OSError(f"{found.url}: the connection ended after {file.tell()} of {found.size} bytes")


def _is_right(found: Object, part: Path) -> bool:
    """True when size and ETag fit. An ETag that is no checksum (encrypted, odd parts) proves nothing."""
    if part.stat().st_size != found.size:
        return False
    bucket, key = split(found.url)
    digest, _, parts = found.etag.partition("-")
    with _asking(found.url):
        asked = {"PartNumber": 1} if parts else {}  # for the size of the parts
        head = _client().head_object(Bucket=bucket, Key=key, **asked)
    if len(digest) != 32 or str(head.get("ServerSideEncryption", "")).startswith("aws:kms"):
        return True
    if not parts:
        return _md5s(part, found.size or 1)[0].hex() == digest
    size = head["ContentLength"]
    if not size or math.ceil(found.size / size) != int(parts):
        return True
    return hashlib.md5(b"".join(_md5s(part, size)), usedforsecurity=False).hexdigest() == digest


def _md5s(path: Path, part_size: int) -> list[bytes]:
    found: list[bytes] = []
    with path.open("rb") as file:
        while True:
            digest, left = hashlib.md5(usedforsecurity=False), part_size
            while left and (data := file.read(min(left, _CHUNK))):
                digest.update(data)
                left -= len(data)
            if left == part_size and found:
                return found
            found.append(digest.digest())
            if left:
                return found


def download_all(found: list[Object], top: str, target: Path) -> None:
    """Download objects of the folder at the URL `top` into the folder `target`, several at a time."""
    target.mkdir(parents=True, exist_ok=True)
    places = {each.url: target / each.url.removeprefix(top.rstrip("/") + "/") for each in found}
    for url, place in places.items():
        if target.resolve() not in place.resolve().parents:
            raise OSError(f"{url}: its key leads out of the folder")
    _client()  # one for all threads
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda each: download(each, places[each.url]), found):
            pass


def upload(path: Path, url: str) -> int:
    """Upload a file, or all files of a folder, those behind links too. Returns the bytes."""
    bucket, key = split(url)
    if path.is_file():
        return _upload(path, bucket, key + path.name if not key or key.endswith("/") else key)
    above = key.rstrip("/")
    return sum([_upload(file, bucket, f"{above}/{name}" if above else name) for file, name in _files(path)])


def _files(folder: Path, top: str = "", above: tuple[Path, ...] = ()) -> Iterator[tuple[Path, str]]:
    """The files below a folder, and their names from its top. S3 has no links: they are followed."""
    real = folder.resolve()
    if real in above:
        raise OSError(f"{folder} is a link to a folder that contains it")
    for path in sorted(folder.iterdir()):
        name = f"{top}{path.name}"
        if path.is_dir():
            yield from _files(path, f"{name}/", (*above, real))
        elif path.is_file():
            yield path, name
        else:
            raise OSError(f"{path} is neither file nor folder")


def _upload(file: Path, bucket: str, key: str) -> int:
    url = f"s3://{bucket}/{key}"
    with _asking(url):
        try:
            _client().upload_file(str(file), bucket, key)
        except UnicodeEncodeError:
            raise OSError(f"{os.fsencode(url)!r}: a key of S3 is UTF-8") from None
        except Exception as e:  # boto3 wraps what it raises in its own class
            if type(e).__name__ != "S3UploadFailedError":
                raise
            raise OSError(f"{url}: {' '.join(str(e).split())}") from None
    return file.stat().st_size
