"""When a request has waited too long, and for whom. Pure: whoever holds a request asks from time to time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from time import monotonic

BODY_PIECE_SECONDS = 30.0


class Waiting(Enum):
    """For whom a request waits."""

    CLIENT_BODY = "for the next piece of the request body"
    UPSTREAM_UPLOAD = "for the upstream to take more of the request body"
    FIRST_BYTE = "for the upstream's first byte"
    NEXT_CHUNK = "for the upstream's next chunk"
    CLIENT_READS = "for the client to read"
    TOTAL = "for the end of the request"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_byte` and `idle` count from the end of the request body."""

    first_byte: float
    idle: float
    write: float
    total: float
    body_piece: float = BODY_PIECE_SECONDS
    """How long a client may take between two pieces of its request body."""

    def limit(self, waiting: Waiting) -> float:
        """How long a request may wait so."""
        match waiting:
            case Waiting.CLIENT_BODY:
                return self.body_piece
            case Waiting.FIRST_BYTE:
                return self.first_byte
            case Waiting.CLIENT_READS:
                return self.write
            case Waiting.UPSTREAM_UPLOAD | Waiting.NEXT_CHUNK:
                return self.idle
            case Waiting.TOTAL:
                return self.total


class Deadlines:
    """One request's: what it waits for, and since when.

    On the hot path these are clock readings and nothing else: no timer is set for a request.
    """

    __slots__ = ("_since", "_timeouts", "_total_at", "_waiting")

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._since = monotonic()
        self._total_at = self._since + timeouts.total
        self._waiting = Waiting.FIRST_BYTE

    def wait_for(self, waiting: Waiting) -> None:
        """From now on the request waits so."""
        self._waiting = waiting
        self._since = monotonic()

    def progress(self) -> None:
        """What it waits for has come in part: the present wait begins again."""
        self._since = monotonic()

    def expired(self, now: float) -> Waiting | None:
        """The wait that has taken too long by then (`time.monotonic()`), if one has."""
        if now >= self._total_at:
            return Waiting.TOTAL
        return self._waiting if now >= self._since + self._timeouts.limit(self._waiting) else None
