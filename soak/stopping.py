"""A program that takes everything down when it is stopped, and says so."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine

import uvloop


def run_until_stopped(work: Coroutine[None, None, int]) -> int:
    """The exit code: what the work returns, or 128 and the signal's number when it was stopped."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_stopped(work))


async def _until_stopped(work: Coroutine[None, None, int]) -> int:
    loop = asyncio.get_running_loop()
    working = asyncio.create_task(work)
    stopped: list[int] = []

    def stop(number: int) -> None:
        stopped.append(number)
        working.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await working
    except asyncio.CancelledError:
        print("stopped", flush=True)
        return 128 + stopped[0]
