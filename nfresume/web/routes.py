"""Routes whose endpoints work as the operating system user of their account: the setting `run_as`."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi.routing import APIRoute

from nfresume.service.verbs import Service
from nfresume.system import acting

Result = TypeVar("Result")


class AccountRoute(APIRoute):
    """A route whose endpoint, if it gets a Service or a frame, acts as the user of its account.

    An `async` endpoint does not: it touches no file, and leaves that to `in_thread`.
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


async def in_thread(service: Service, work: Callable[[], Result]) -> Result:
    """What an `async` endpoint leaves to a thread, which acts as the user of the account."""

    def act() -> Result:
        with acting.for_looking(service.conf, service.account):
            return work()

    return await asyncio.to_thread(act)
