"""Whole files and parts of them as responses: RFC 9110, one range of bytes, streamed in small parts."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

_PART = 64 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
#: Documents a response of `of_file` in OpenAPI.
RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"content": {"text/plain": {}, "application/octet-stream": {}}},
    206: {"description": "The range of bytes that was asked for."},
    416: {"description": "There are no such bytes."},
}


def of_file(
    request: Request, fd: int, *, media_type: str = "text/plain; charset=utf-8", offset: int = 0,
    download: str | None = None,
) -> Response:
    """The bytes of an open regular file from `offset` on, or the range that the request asks for.

    Closes `fd`. `download`: the name under which a browser saves it. The size is that of now: what is
    appended later is not part of this response.
    """
    size = os.fstat(fd).st_size
    start, end, status = min(offset, size), size, 200
    headers = {"Accept-Ranges": "bytes"}
    if download is not None:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(download, safe='')}"
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    if wanted and not _is_backwards(wanted[1], wanted[2]):
        found = _bounds(wanted[1], wanted[2], size)
        if found is None:
            os.close(fd)
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        (start, end), status = found, 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    return _FileResponse(fd, _parts(fd, start, end), status, headers, media_type)


class _FileResponse(StreamingResponse):
    """Closes its file whatever happens: a client may be gone before the first part is asked for."""

    def __init__(self, fd: int, *args: Any) -> None:
        super().__init__(*args)
        self._fd = fd

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._fd)


def _is_backwards(first: str, last: str) -> bool:
    """True for a range such as `5-2`, which is to be ignored (RFC 9110, 14.1.1)."""
    return bool(first and last) and int(last) < int(first)


def _bounds(first: str, last: str, size: int) -> tuple[int, int] | None:
    """Start and end of a range; None if it has no byte of the file."""
    if not first:
        start, end = max(0, size - int(last or 0)), size
        return (start, end) if last and start < end else None
    start, end = int(first), min(size, int(last) + 1 if last else size)
    return (start, end) if start < end else None


async def _parts(fd: int, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        data = await asyncio.to_thread(os.pread, fd, min(_PART, end - start), start)
        if not data:
            return  # the file became shorter
        start += len(data)
        yield data
