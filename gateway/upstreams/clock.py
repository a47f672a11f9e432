"""The time as the upstreams' rests need it: by both clocks at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


class Now(NamedTuple):
    """One moment by both clocks, in seconds: the one that never goes back, and that since the epoch."""

    monotonic: float
    wall: float


class Clock:
    """Reads both clocks; tests hand in another."""

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    wall: Callable[[], float] = staticmethod(time.time)

    def now(self) -> Now:
        """This moment."""
        return Now(self.monotonic(), self.wall())
