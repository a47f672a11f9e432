"""Takes the record of each finished attempt, and has it on disk before long: a killed process loses little.

Where the disk takes no more, or as much waits as may, records wait here, up to a limit; beyond it they are
lost, and counted. Whoever asks `full` may rather serve nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.ledger.spool import Spool
from gateway.usage_record import UsageRecord

FLUSH_SECONDS = 0.1
"""The longest that a record waits before it is written: what a killed process loses."""
RETRY_SECONDS = 1.0
HELD_BYTES = 8 * 1024 * 1024
"""How much is held in memory that can't be written."""
_AT_ONCE = 32
"""Records encoded together: 30 µs of the event loop's time."""
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Ledger:
    """Appends to the spool in `folder`, in which at most `limit` bytes may wait. Made on an event loop."""

    def __init__(self, folder: Path, limit: int, *, held: int = HELD_BYTES) -> None:
        self.lost = 0
        """Records that were dropped."""
        self.full = False
        """The last attempt to write did not succeed."""
        self._spool = Spool(folder, limit)
        self._most_held = held
        self._encoder = msgspec.json.Encoder()
        self._records: list[UsageRecord] = []
        self._lines: deque[bytes] = deque()
        self._held = 0
        """Bytes of the lines."""
        self._losing = False
        """What is lost has been told of."""
        self._some = asyncio.Event()
        self._closing = asyncio.Event()
        self._writing_thread = ThreadPoolExecutor(1, "ledger")
        self._writing = asyncio.get_running_loop().create_task(self._write_on())

    @property
    def held_bytes(self) -> int:
        """How much waits in memory to be written."""
        return self._held

    def add(self, record: UsageRecord) -> None:
        """Keep a record. Never waits and never raises; not after `close`."""
        records = self._records
        records.append(record)
        if len(records) == 1:
            self._some.set()
        elif len(records) >= _AT_ONCE:
            self._encode()

    async def close(self) -> None:
        """Have everything on disk; what can't be written is lost. The end of what is added."""
        self._closing.set()
        self._some.set()
        await self._writing

    async def _write_on(self) -> None:
        """Until the end, and then once more."""
        left: float | None = None
        while not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._some.wait()
            self._some.clear()
            if self._records or self._lines:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_SECONDS if self.full else FLUSH_SECONDS):
                        await self._closing.wait()
                await self._write()
            left = RETRY_SECONDS if self.full else await self._run(self._spool.rotate)
        await self._write()
        await self._run(self._spool.close)
        self._writing_thread.shutdown(wait=False)
        if left_over := sum(lines.count(b"\n") for lines in self._lines):
            self.lost += left_over
            _log.error("usage of %d attempts is lost: it could not be written at the end", left_over)

    async def _write(self) -> None:
        self._encode()
        lines = b"".join(self._lines)
        self._lines.clear()
        written, error = await self._run(self._spool.write, lines)
        self._held -= written
        if written < len(lines):
            self._lines.appendleft(lines[written:])
        if error is not None and not self.full:
            reason = error.strerror or type(error).__name__
            _log.error(
                "usage can't be written to the spool: %s; it waits in memory, which holds little", reason
            )
        elif error is None and self.full:
            _log.warning("usage is written to the spool again; %d records have been lost by now", self.lost)
        self.full = error is not None
        self._losing &= self.full

    def _encode(self) -> None:
        records, self._records = self._records, []
        try:
            lines = self._encoder.encode_lines(records)
        except UnicodeEncodeError:  # something that an upstream said is no text
            lines = b"".join(self._encoded(record) for record in records)
        if self._held + len(lines) > self._most_held:
            if not self._losing:
                self._losing = True
                _log.error("usage is being lost: no more of it fits into memory")
            self.lost += len(records)
        elif lines:
            self._lines.append(lines)
            self._held += len(lines)

    def _encoded(self, record: UsageRecord) -> bytes:
        try:
            return self._encoder.encode(record) + b"\n"
        except UnicodeEncodeError:
            self.lost += 1
            _log.error("usage of request %s is lost: it can't be encoded", record.request_id)
            return b""

    async def _run(self, call: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._writing_thread, call, *arguments)
