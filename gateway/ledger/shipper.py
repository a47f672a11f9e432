"""Moves usage from the spool of all processes of a machine into the store, and drops what is old there.

A file is deleted after its records are in the store, which counts none twice: whatever breaks off in between
is done once more. While the store is away everything stays where it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from gateway.errors import StoreError, StoreUnavailable
from gateway.ledger.backlog import Backlog
from gateway.ledger.segments import claimed, listed, read_lines
from gateway.usage_record import UsageRecord

LOOK_SECONDS = 0.5
FIRST_BACKOFF_SECONDS = 0.5
LAST_BACKOFF_SECONDS = 5.0
CLOSE_SECONDS = 5.0
DROP_SECONDS = 3600.0
_BATCH = 1000
"""Records that are enough for one transaction."""
_DROP_AT_ONCE = 5000
_DAY_SECONDS = 86400
_SLICE_BYTES = 32 * 1024
"""Decoded without giving other threads a turn: 150 µs."""
_log = logging.getLogger(__name__)


class UsageStore(Protocol):
    """Where usage goes; a store. Both raise StoreUnavailable."""

    async def add_usage(self, records: Sequence[UsageRecord]) -> int:
        """Keep all or none, none twice; how many were new. StoreError if one of them can't be kept."""

    async def drop_usage(self, before: float, most: int) -> int:
        """Delete old records; how many it did."""


@dataclass(slots=True)
class _Batch:
    """What goes into the store together."""

    claims: ExitStack = field(default_factory=ExitStack)
    """Of the files."""
    paths: list[Path] = field(default_factory=list)
    records: list[UsageRecord] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)
    """Why something in the files can't be kept, once for each."""


class Shipper:
    """Empties the spool in `folder` from `start` until `close`. Several do no harm, but one is enough."""

    def __init__(
        self,
        folder: Path,
        store: UsageStore,
        *,
        retention_days: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.shipped = 0
        """Records that were new to the store."""
        self.lost = 0
        """Records that were no records, or that the store can't keep."""
        self.away = False
        """The last attempt failed: the store gave no answer, or the spool could not be read."""
        self.backlog = Backlog(folder)
        """What waits to be moved."""
        self._folder = folder
        self._store = store
        self._retention_seconds = retention_days * _DAY_SECONDS
        self._clock = clock
        self._decoder = msgspec.json.Decoder(UsageRecord)
        self._unreadable: set[Path] = set()
        """Files that have been complained of."""
        self._closing = asyncio.Event()

    def start(self) -> None:
        """Begin; `close` is to be called then."""
        loop = asyncio.get_running_loop()
        self._shipping, self._dropping = loop.create_task(self._ship_on()), loop.create_task(self._drop_on())

    async def close(self) -> None:
        """Move what is there, if that is soon done; the rest waits for the next start."""
        self._closing.set()
        self._dropping.cancel()
        await asyncio.wait((self._shipping,), timeout=CLOSE_SECONDS)
        self._shipping.cancel()
        await asyncio.gather(self._shipping, self._dropping, return_exceptions=True)

    async def _ship_on(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            last = self._closing.is_set()
            try:
                await self.ship()
            except (StoreUnavailable, OSError) as error:
                if not self.away:
                    self.away = True
                    _log.error("usage waits on disk: %s", error)
                pause, backoff = backoff, min(2 * backoff, LAST_BACKOFF_SECONDS)
            else:
                if self.away:
                    self.away = False
                    _log.warning("usage goes into the store again")
                pause, backoff = LOOK_SECONDS, FIRST_BACKOFF_SECONDS
            if last:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closing.wait()

    async def ship(self) -> None:
        """Move all files that are finished by now. Raises StoreUnavailable and OSError."""
        waiting = await asyncio.to_thread(self._listed)
        while waiting:
            batch = await self._next(waiting)
            with batch.claims:
                await self._add(batch, batch.records)
                for path in batch.paths:
                    path.unlink()
            for reason in batch.unfit:  # not before: what is left in the spool comes again
                self.lost += 1
                _log.error("usage of one attempt is lost: %s", reason)

    def _listed(self) -> list[Path]:
        try:
            found = listed(self._folder)
        except FileNotFoundError:  # nothing was ever used
            found = []
        return [path for path, _ in found][::-1]

    async def _next(self, waiting: list[Path]) -> _Batch:
        """Take files from the end of `waiting`. When this was cancelled, nobody holds them."""
        taking = asyncio.get_running_loop().run_in_executor(None, self._take, waiting)
        try:
            await asyncio.wait((taking,))
        except asyncio.CancelledError:
            await asyncio.wait((taking,))  # a thread can't be cancelled, and it has claims
            taking.result().claims.close()
            raise
        return taking.result()

    def _take(self, waiting: list[Path]) -> _Batch:
        batch = _Batch()
        while waiting and len(batch.records) < _BATCH:
            path = waiting.pop()
            try:
                descriptor = batch.claims.enter_context(claimed(path))
                if descriptor is not None:
                    self._decode(read_lines(descriptor), batch)
                    batch.paths.append(path)
            except OSError as error:  # it must not keep the others waiting
                if path not in self._unreadable:
                    self._unreadable.add(path)
                    _log.error("usage can't be read from %s: %s", path, error.strerror)
        return batch

    def _decode(self, lines: bytes, batch: _Batch) -> None:
        begin = 0
        while begin < len(lines):
            end = (lines.rfind(b"\n", begin, begin + _SLICE_BYTES) + 1) or (lines.find(b"\n", begin) + 1)
            try:
                batch.records += self._decoder.decode_lines(lines[begin:end])
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._decode_singly(lines[begin:end], batch)
            begin = end

    def _decode_singly(self, lines: bytes, batch: _Batch) -> None:
        for line in lines.splitlines():
            try:
                batch.records.append(self._decoder.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                batch.unfit.append("a line of the spool is no record")

    async def _add(self, batch: _Batch, records: Sequence[UsageRecord]) -> None:
        """To the store, except for what it can't keep."""
        if not records:
            return
        try:
            self.shipped += await self._store.add_usage(records)
        except StoreUnavailable:
            raise
        except StoreError as error:
            if len(records) == 1:
                batch.unfit.append(str(error))
                return
            half = len(records) // 2
            await self._add(batch, records[:half])
            await self._add(batch, records[half:])

    async def _drop_on(self) -> None:
        while True:
            with suppress(StoreUnavailable):
                while await self._store.drop_usage(self._clock() - self._retention_seconds, _DROP_AT_ONCE):
                    pass
            await asyncio.sleep(DROP_SECONDS)
