"""Writes lines to a file descriptor, in batches and off the event loop; drops lines rather than grow.

A pipe or a journal whose reader stalls blocks `write(2)` for as long as it likes. Only one worker thread
waits for it; the event loop gathers lines meanwhile, up to a limit, and drops and counts what comes after.

Where others write to the same pipe or socket (other processes, or this one's diagnostics), what is written
at once has at most PIPE_BUF bytes, which the kernel never mixes with another's, and ends with a line. (A file
takes a write of any size whole.) Who writes alone writes as much as a pipe holds, for each write costs the
event loop a turn of the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import stat
import threading
from queue import SimpleQueue

FLUSH_SECONDS = 0.1
"""The longest that a line waits before it is handed to the worker: what a killed process loses."""
LIMIT_BYTES = 8 * 1024 * 1024
STDERR = 2
"""Where this process's diagnostics go."""

_diagnostics = logging.getLogger(__name__)


class LineWriter:
    """Writes lines to `fd`, which stays the caller's to close; `shared`: other processes write to it, too.

    Everything but the write itself happens on the event loop of the first `write`. At most `limit` bytes are
    held, those being written included. `close` waits at most `close_seconds` for a reader that has stalled.
    """

    def __init__(
        self, fd: int, *, shared: bool = False, limit: int = LIMIT_BYTES, close_seconds: float = 5.0
    ) -> None:
        self.dropped = 0
        """Lines lost so far: over the limit, or refused by the file descriptor."""
        self._fd = fd
        status = os.fstat(fd)
        shared = shared or os.path.samestat(status, os.fstat(STDERR))
        self._may_mix = shared and (stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode))
        self._limit = limit
        self._close_seconds = close_seconds
        self._buffer = bytearray()
        self._in_flight = 0
        """Bytes with the worker: one batch at most, so that the next one gathers meanwhile."""
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._told = False
        self._torn = False
        """The worker's: the last byte written is not the end of a line."""
        self._batches: SimpleQueue[tuple[asyncio.AbstractEventLoop, bytearray] | None] = SimpleQueue()
        # A daemon: any other thread that is stuck in write(2) would keep the process from ending.
        self._worker = threading.Thread(target=self._work, name="line-writer", daemon=True)
        self._worker.start()

    @property
    def held(self) -> int:
        """Bytes taken and not known to be written."""
        return len(self._buffer) + self._in_flight

    def write(self, line: bytes) -> None:
        """Take one line, without its line feed. Never waits and never raises for what the descriptor does."""
        buffer = self._buffer
        if len(buffer) + self._in_flight + len(line) >= self._limit:
            self._lose(1, "the reader does not keep up")
            return
        buffer += line
        buffer += b"\n"
        if self._timer is None and not self._in_flight:  # idle
            self._idle.clear()
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    async def close(self) -> None:
        """Write out what is held and end the worker; lines that come later are dropped and counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._flush()
        try:
            async with asyncio.timeout(self._close_seconds):
                await self._idle.wait()
        except TimeoutError:
            _diagnostics.error(
                "log lines left unwritten at close: %d bytes", len(self._buffer) + self._in_flight
            )
        self._limit = 0
        self._batches.put(None)

    def _flush(self) -> None:
        self._timer = None
        batch, self._buffer = self._buffer, bytearray()
        self._in_flight = len(batch)
        self._batches.put((asyncio.get_running_loop(), batch))

    def _written(self, lost: int, why: str) -> None:
        self._in_flight = 0
        if lost:
            self._lose(lost, why)
        if not self._buffer:
            self._idle.set()
            self._told = self._told and lost > 0
        else:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def _lose(self, lines: int, why: str) -> None:
        """Say it once until everything held has been written again; the counter tells the rest."""
        self.dropped += lines
        if not self._told:
            self._told = True
            _diagnostics.error("log lines are being dropped: %s", why)

    def _work(self) -> None:
        while (item := self._batches.get()) is not None:
            loop, batch = item
            lost, why = self._deliver(batch)
            try:
                loop.call_soon_threadsafe(self._written, lost, why)
            except RuntimeError:  # the loop was closed without waiting for us: nobody is left to tell
                return

    def _deliver(self, batch: bytearray) -> tuple[int, str]:
        """Write the batch as far as it goes: how many of its lines were lost, and why."""
        done = 0
        with memoryview(batch) as view:
            try:
                if self._torn:  # a line broken off by an earlier error must not swallow the next one
                    self._put(b"\n")
                    self._torn = False
                while done < len(batch):
                    done += self._put(view[done : self._end_of_piece(batch, done)])
            except OSError as error:
                if done:
                    self._torn = not batch.endswith(b"\n", 0, done)
                return batch.count(b"\n", done), error.strerror or type(error).__name__
        return 0, ""

    def _end_of_piece(self, batch: bytearray, begin: int) -> int:
        """Where what is written at once ends; a line longer than PIPE_BUF is a piece by itself."""
        if not self._may_mix:
            return len(batch)
        return (batch.rfind(b"\n", begin, begin + select.PIPE_BUF) + 1) or (batch.find(b"\n", begin) + 1)

    def _put(self, data: bytes | memoryview) -> int:
        while True:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:  # whoever shares our standard output may have made it non-blocking
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
