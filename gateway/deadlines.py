"""How long a request may wait, and for whom. On the hot path these are sums of clock readings: no timer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

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
