"""Uvicorn's server, which sleeps while nobody asks it anything."""

from __future__ import annotations

import asyncio
import contextlib

import uvicorn


class Server(uvicorn.Server):
    """A server that looks once a second for the date of its answers.

    Uvicorn's own looks ten times a second, also whether it must end: two minutes of CPU a day.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()

    async def main_loop(self) -> None:
        """Run until `end`."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 1.0)

    def end(self) -> None:
        """End it; any thread may call this, at any time."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._ending.set)
