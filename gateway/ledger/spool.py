"""A process's end of the spool: whole lines go into files that are finished soon, and not beyond a limit.

All of it blocks, so it runs in a thread of its own.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path

from gateway.ledger.segments import Segment, listed

SEGMENT_SECONDS = 1.0
"""How long a file is written to: what is used shows in the store not much later."""
SEGMENT_BYTES = 1024 * 1024
_SECONDS_BY_WAITING = 0.01
"""Where many files wait, as the store is away, they take longer, so that they don't become too many."""


class Spool:
    """Writes to a folder that may be shared, as long as less than `limit` bytes wait in it.

    `clock` is in seconds and never goes back.
    """

    def __init__(self, folder: Path, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._limit = limit
        self._clock = clock
        self._segment: Segment | None = None
        self._until = 0.0

    def write(self, lines: bytes) -> tuple[int, OSError | None]:
        """Write as many of these lines as go: how many bytes that were, whole lines, and why not all."""
        done = 0
        try:
            self.rotate()
            while done < len(lines):
                segment = self._segment or self._begin()
                done += segment.write(memoryview(lines)[done:])
        except OSError as error:
            # A line cut off here is nothing to a reader: it is written again, in another file.
            self.close()
            return lines.rfind(b"\n", 0, done) + 1, error
        return done, None

    def rotate(self) -> float | None:
        """Finish the file if it is old or large enough; how many seconds are left to it, if there is one."""
        if self._segment is None:
            return None
        left = self._until - self._clock()
        if left <= 0 or self._segment.size >= SEGMENT_BYTES:
            self.close()
            return None
        return left

    def close(self) -> None:
        """Finish the file; the next line begins another."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _begin(self) -> Segment:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        waiting = listed(self._folder)
        if sum(size for _, size in waiting) >= self._limit:
            raise OSError(errno.EDQUOT, f"{self._limit} bytes wait in it already")
        self._segment = Segment.create(self._folder)
        self._until = self._clock() + max(SEGMENT_SECONDS, _SECONDS_BY_WAITING * len(waiting))
        return self._segment
