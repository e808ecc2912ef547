"""Routes whose endpoints work as the operating system user of their account: the setting `run_as`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute

from nfresume.service.verbs import Service
from nfresume.system import acting


class AccountRoute(APIRoute):
    """A route whose endpoint, if it gets a Service or a frame, acts as the user of its account.

    An `async` endpoint does not: it touches no file, and leaves that to functions which act as the user.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        plain = not inspect.iscoroutinefunction(endpoint)
        super().__init__(path, _acting(endpoint) if plain else endpoint, **options)


def _acting(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(endpoint)
    def call(**arguments: Any) -> Any:
        given = (getattr(each, "service", each) for each in arguments.values())  # a frame has its Service
        service = next((each for each in given if isinstance(each, Service)), None)
        if service is None:
            return endpoint(**arguments)
        with acting.for_looking(service.conf, service.account):
            return endpoint(**arguments)

    return call
