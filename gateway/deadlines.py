"""When a request has waited too long, and for whom: one timer for each request, whatever its phase."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from time import monotonic


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_byte` and `idle` count from the end of the request body."""

    first_byte: float
    idle: float
    write: float
    total: float


class Waiting(Enum):
    """For whom a request waits."""

    CLIENT_BODY = "for the next piece of the request body"
    UPSTREAM_UPLOAD = "for the upstream to take more of the request body"
    FIRST_BYTE = "for the upstream's first byte"
    NEXT_CHUNK = "for the upstream's next chunk"
    CLIENT_READS = "for the client to read"
    TOTAL = "for the end of the request"


BODY_PIECE_SECONDS = 30.0
"""How long a client may take between two pieces of its request body."""
LOOK_SECONDS = 1.0
"""How often an uploading client is looked at: while its bytes are held back, nothing tells that it left."""


class Deadlines:
    """The deadline in force, and the one timer that watches it.

    `wait_for` starts a new wait; `progress` (on every chunk, so only a clock reading) renews the present one.
    The timer looks again when the deadline it was set for has moved.
    """

    __slots__ = ("_expired", "_limits", "_look", "_loop", "_since", "_timer", "_total_at", "_waiting")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeouts: Timeouts,
        expired: Callable[[Waiting], None],
        look: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limits = {
            Waiting.CLIENT_BODY: BODY_PIECE_SECONDS,
            Waiting.UPSTREAM_UPLOAD: timeouts.idle,
            Waiting.FIRST_BYTE: timeouts.first_byte,
            Waiting.NEXT_CHUNK: timeouts.idle,
            Waiting.CLIENT_READS: timeouts.write,
        }
        self._expired = expired
        self._look = look
        self._since = monotonic()
        self._total_at = self._since + timeouts.total
        self._waiting = Waiting.FIRST_BYTE
        self._timer: asyncio.TimerHandle | None = None

    def wait_for(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._since = monotonic()
        self._arm()

    def progress(self) -> None:
        self._since = monotonic()

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    @property
    def _uploading(self) -> bool:
        return self._waiting in (Waiting.CLIENT_BODY, Waiting.UPSTREAM_UPLOAD)

    def _deadline(self) -> float:
        return min(self._since + self._limits[self._waiting], self._total_at)

    def _arm(self) -> None:
        self.stop()
        delay = self._deadline() - monotonic()
        self._timer = self._loop.call_later(
            min(delay, LOOK_SECONDS) if self._uploading else delay, self._check
        )

    def _check(self) -> None:
        self._timer = None
        now = monotonic()
        if now >= self._total_at:
            self._expired(Waiting.TOTAL)
        elif now >= self._deadline():
            self._expired(self._waiting)
        else:
            if self._uploading:
                self._look()
            self._arm()
