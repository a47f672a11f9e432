"""The simulated upstream inside this process: the simulator's application on a loopback port of its own."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.exchange import Route
from gateway.simulator import create_runner

KIND = "simulated"


def path(route: Route, model: str) -> str:
    """As Google's own API has it."""
    return f"/{route.version or 'v1beta'}/models/{model}:{route.action}"


def authorization(credential: str) -> bytes:
    """Never asked for: a simulated upstream has no key."""
    raise AssertionError("a simulated upstream has no key")


async def start(pace: float) -> tuple[web.AppRunner, int]:
    """Start the simulator (pace: seconds between two chunks). Its runner, to clean up, and its port."""
    runner = create_runner(pace=pace)
    try:
        await runner.setup()
        # To its end even when cancelled: half-way, asyncio listens already and has told nobody where.
        listening = asyncio.ensure_future(web.TCPSite(runner, "127.0.0.1", 0).start())
        try:
            await asyncio.shield(listening)
        finally:
            await listening
    except BaseException:
        await runner.cleanup()
        raise
    return runner, runner.addresses[0][1]
