"""The simulated upstream on a real port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.simulator import create_runner


@asynccontextmanager
async def simulator(runner: web.AppRunner | None = None) -> AsyncIterator[str]:
    """Its base URL, `http://127.0.0.1:PORT`, while it runs in this event loop; by default without a pace."""
    runner = runner or create_runner(pace=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
