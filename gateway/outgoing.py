"""Small writes to many connections, put together at the end of a turn of the event loop.

A write that wakes its reader costs the writer as much as all else that the kernel does for a request. Of
several in a row the first wakes, and the reader finds the others; with the handling of a request between
them, it has gone to sleep again. A write that would be alone is never held back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sized

MANY = 4
"""So many requests are under way before any write waits for another."""
TOGETHER = 16
"""So many writes wait at most, and then none waits for the end of the turn."""
SMALL_BYTES = 16 * 1024
"""More than this is written at once: so it shows at once, too, when its reader is behind."""


class Outgoing:
    """Writes in the order in which it is asked to. Who writes past it, or closes, flushes first."""

    __slots__ = ("_loop", "_under_way", "_writes")

    def __init__(self, under_way: Sized) -> None:
        """under_way: the requests that are."""
        self._loop = asyncio.get_running_loop()
        self._under_way = under_way
        self._writes: list[tuple[asyncio.Transport, bytes]] = []

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write it at the end of this turn of the event loop, at the latest."""
        writes = self._writes
        if len(self._under_way) < MANY or len(data) > SMALL_BYTES:
            if writes:
                self.flush()
            transport.write(data)
            return
        if not writes:
            self._loop.call_soon(self.flush)
        writes.append((transport, data))
        if len(writes) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Write all that waits, now. What was meant for a transport that is closed meanwhile is dropped."""
        if writes := self._writes:
            self._writes = []
            for transport, data in writes:
                if not transport.is_closing():
                    transport.write(data)
