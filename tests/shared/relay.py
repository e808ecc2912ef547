"""Relay TCP connections in a network namespace to PostgreSQL's Unix socket in a folder: `relay.py FOLDER`."""

from __future__ import annotations

import asyncio
import sys


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _relay(folder: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
        await asyncio.gather(_pump(reader, back_writer), _pump(back_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "10.98.1.1", 5432)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(_relay(sys.argv[1]))
