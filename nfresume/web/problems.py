"""Errors of the web: a problem document (RFC 9457) for programs, a page for people."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from nfresume.domain.errors import NfresumeError
from nfresume.runs.task_index import StillReading
from nfresume.web import access, rendering, returning
from nfresume.web.access import Unauthorized

_log = logging.getLogger("nfresume.web")
API = "/ga4gh/wes/v1"


def install(app: FastAPI) -> None:
    """Register the handlers for errors of nfresume, of FastAPI and of Starlette, and for bugs."""

    @app.exception_handler(NfresumeError)
    def _ours(request: Request, error: NfresumeError) -> Response:
        return of_error(request, error)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return answer(request, 422, "invalid-request", f"{where}: {first['msg']}", "see /docs")

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        asked = access.noted_visitor(request) is not None
        if not asked and not _is_api(request) and not request.url.path.startswith("/static"):
            access.maybe_visitor(request)  # but not for what caches may keep
        response = answer(request, error.status_code, "http", str(error.detail), "")
        if error.status_code == 405:  # Starlette names only the methods of the first route at this path
            response.headers["Allow"] = ", ".join(sorted(_methods(request)))
        return response

    @app.exception_handler(StillReading)
    def _reading(request: Request, error: StillReading) -> Response:
        reads = request.method == "GET"  # a form that was sent would be lost
        page = answer(request, 503, "reading", str(error), "The page comes by itself as soon as they are."
                      if reads else "Send it again in a few seconds: reload the page.", title="A moment")
        page.headers["Retry-After"] = "1"
        if reads:
            page.headers["Refresh"] = "1"
        return page

    @app.exception_handler(PermissionError)
    def _unreadable(request: Request, error: PermissionError) -> Response:
        _log.warning("not permitted: %s", error)
        return answer(request, 409, "not-permitted", "the server may not read a file that this needs",
                      "see the log of `nfresume serve`, or change the mode of the file")

    @app.exception_handler(Exception)
    def _fault(request: Request, error: Exception) -> Response:
        _log.error("a fault of nfresume", exc_info=error)
        return answer(request, 500, "fault", "this is a bug in nfresume; nothing was deleted because of it",
                      "see the log of `nfresume serve`")


def of_error(request: Request, error: NfresumeError) -> Response:
    """The response for an error of nfresume; a page without a session leads to the log-in page."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    if isinstance(error, Unauthorized) and not _is_api(request) and request.method == "GET":
        return returning.to_log_in(request)
    return answer(request, error.http_status, name, error.message, error.hint)


def answer(
    request: Request, status: int, name: str, detail: str, hint: str, title: str = ""
) -> Response:
    """The error as a problem document if the path is the API's, otherwise as a page.

    The page has the navigation of the user if somebody has asked who it is: the database may be the trouble.
    """
    if status == 422 and _is_api(request):
        status = 400  # WES knows no 422
    title = title or HTTPStatus(status).phrase
    if _is_api(request):
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        body = {"msg": detail, "status_code": status, "type": f"urn:nfresume:{name}", "title": title,
                "status": status, "detail": detail, "hint": hint}
        return JSONResponse(body, status, headers, media_type="application/problem+json")
    return rendering.page(request, "error.html", status=status, title=title, detail=detail, hint=hint,
                          **access.navigation(request, access.noted_visitor(request)))


def _methods(request: Request) -> set[str]:
    document = request.app.openapi()["paths"] if _is_api(request) else {}
    for path, operations in document.items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), request.url.path):
            return {method.upper() for method in operations}
    return {"GET", "POST"}


def _is_api(request: Request) -> bool:
    return request.url.path.startswith((API, "/metrics"))
