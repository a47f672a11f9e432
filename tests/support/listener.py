"""Closing a server of this event loop while clients may just be connecting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


async def close(server: asyncio.Server) -> None:
    """Accept no more, then close: Python 3.11 loses the socket that it accepts in the turn of `close`."""
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        loop.remove_reader(sock)
    for _ in range(2):  # what was accepted has its transport by then
        await asyncio.sleep(0)
    server.close()


@asynccontextmanager
async def site(runner: web.AppRunner) -> AsyncIterator[str]:
    """Its base URL, `http://127.0.0.1:PORT`, while the application is served; cleaned up afterwards."""
    await runner.setup()
    try:
        assert runner.server
        server = await asyncio.get_running_loop().create_server(runner.server, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            await close(server)
    finally:
        await runner.cleanup()
