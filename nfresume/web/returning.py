"""Whoever opens a link without a session gets its page after the log-in."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from nfresume.web import access
from nfresume.web.site import site_of

_COOKIE = "nfresume_page"
_SECONDS = 3600
#: A page of an account, and nothing that a browser may take for another host.
_PAGE = re.compile(r"/a/[!-\[\]-~]{1,1500}")


def to_log_in(request: Request) -> Response:
    """A redirect to the log-in page, which remembers the page that was asked for."""
    response = RedirectResponse("/login", 303)
    parts = (request.scope["raw_path"], request.scope["query_string"])
    asked = b"?".join(filter(None, parts)).decode("latin-1")
    if "text/html" in request.headers.get("accept", "") and _PAGE.fullmatch(asked):
        response.set_cookie(access.cookie(request, _COOKIE), quote(asked, safe=""), max_age=_SECONDS,
                            httponly=True, samesite="lax", secure=site_of(request).secure, path="/")
    return response


def after_log_in(request: Request) -> Response:
    """A redirect to the page that was asked for, or to the first one; it is forgotten."""
    name = access.cookie(request, _COOKIE)
    asked = unquote(request.cookies.get(name, ""))
    response = RedirectResponse(asked if _PAGE.fullmatch(asked) else "/", 303)
    if asked:
        response.delete_cookie(name, path="/", secure=site_of(request).secure, httponly=True)
    return response
