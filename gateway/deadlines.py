"""How long a request may wait, and for whom. On the hot path these are sums of clock readings: no timer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from time import monotonic

BODY_PIECE_SECONDS = 30.0


class Waiting(IntEnum):
    """For whom a request waits."""

    CLIENT_BODY = 0
    """For the next piece of the request body."""
    UPSTREAM_UPLOAD = 1
    """For the upstream to take more of the request body."""
    FIRST_BYTE = 2
    """For the upstream's first byte, its connection included."""
    NEXT_CHUNK = 3
    CLIENT_READS = 4
    TOTAL = 5
    """For the end of the request."""


_CLIENT_READS, _TOTAL = Waiting.CLIENT_READS, Waiting.TOTAL


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_byte` and `idle` count from the end of the request body."""

    first_byte: float
    idle: float
    write: float
    total: float
    body_piece: float = BODY_PIECE_SECONDS
    """How long a client may take between two pieces of its request body."""
    limits: tuple[float, ...] = field(init=False)
    """How long a request may wait, by `Waiting`."""

    def __post_init__(self) -> None:
        waits = (self.body_piece, self.idle, self.first_byte, self.idle, self.write, self.total)
        object.__setattr__(self, "limits", waits)


class Deadline:
    """When what one request waits for is too late; first of all its first byte."""

    __slots__ = ("_due", "_limits", "_total_due", "waiting")

    def __init__(self, timeouts: Timeouts, began: float) -> None:
        """began: `time.monotonic()` seconds."""
        self.waiting = Waiting.FIRST_BYTE
        self._limits = timeouts.limits
        self._due = began + timeouts.first_byte
        self._total_due = began + timeouts.total

    def wait_for(self, waiting: Waiting) -> None:
        """From now on it is this that is waited for."""
        self.waiting = waiting
        self._due = monotonic() + self._limits[waiting]

    def passed(self, now: float, *, moved: bool) -> Waiting | None:
        """What was waited for too long by now (`time.monotonic()`).

        moved: what is waited for has come in part since this was last asked, so that the wait begins again.
        (Were it told of each part at once, a chunk would cost a reading of the clock.)
        """
        if now >= self._total_due:
            return _TOTAL
        if moved and self.waiting is not _CLIENT_READS:
            self._due = now + self._limits[self.waiting]
        return self.waiting if now >= self._due else None
