"""Waiting for what another thread or process brings about, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

POLL_SECONDS = 0.005
DEADLINE_SECONDS = 10.0


async def eventually(what: str, holds: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    """Return as soon as `holds()`; fail, naming `what`, when it does not within so many seconds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"never happened: {what}"
        await asyncio.sleep(POLL_SECONDS)
