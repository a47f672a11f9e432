"""How many attempts beyond the first may be made: few enough that an outage is not doubled."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

WINDOW_SECONDS = 10
FLOOR = 3
"""Retries in that time that are always allowed: of next to no requests, no share is a whole one."""
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class RetryBudget:
    """A share of the requests of the last ten seconds. `clock` gives seconds that never go back."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._requests = [0] * WINDOW_SECONDS
        self._retries = [0] * WINDOW_SECONDS
        self._second = int(clock())
        self._slot = self._second % WINDOW_SECONDS

    def request(self) -> None:
        """One more request was taken."""
        if self._clock() >= self._second + 1:
            self._turn()
        self._requests[self._slot] += 1

    def take(self) -> bool:
        """Whether one more retry may be made; then it counts as made."""
        if self._clock() >= self._second + 1:
            self._turn()
        if not self._share or sum(self._retries) >= max(self._share * sum(self._requests), FLOOR):
            return False
        self._retries[self._slot] += 1
        return True

    def _turn(self) -> None:
        """Forget what is older than the window."""
        now = int(self._clock())
        for second in range(max(self._second + 1, now - WINDOW_SECONDS + 1), now + 1):
            self._requests[second % WINDOW_SECONDS] = self._retries[second % WINDOW_SECONDS] = 0
        self._second = now
        self._slot = now % WINDOW_SECONDS


def backoff(attempts: int) -> float:
    """Seconds before the next attempt after so many: full jitter, so that those who failed together part."""
    return random.uniform(0, min(_FIRST_PAUSE * 2 ** (attempts - 1), _LONGEST_PAUSE))  # noqa: S311 - no secret
