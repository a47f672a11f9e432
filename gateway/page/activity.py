"""What the gateway does just now: differences between what was counted now and lately."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.exchange import Ending
from gateway.metrics import Snapshot

SAMPLE_SECONDS = 5.0
WINDOW_SECONDS = 60.0
"""How far back it is looked."""


@dataclass(frozen=True, slots=True)
class Activity:
    """Requests of the whole gateway, of all its workers and all projects."""

    open_requests: int
    """Begun and not ended."""
    seconds: float
    """The time for which `ended` counts; 0 when the gateway has only just started."""
    ended: Mapping[Ending, int]
    """Requests by how they ended, in that time; all endings there are."""

    @property
    def total(self) -> int:
        """All that ended."""
        return sum(self.ended.values())


class Sampler:
    """Remembers for a minute how many requests had ended, and how.

    It adds up what is counted anyway, every 5 s, whether somebody looks or not: so the first look shows
    rates, and none waits for a second snapshot. `timer` gives seconds that never go back.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], timer: Callable[[], float]) -> None:
        self._snapshot = snapshot
        self._timer = timer
        self._samples: deque[tuple[float, Mapping[Ending, int]]] = deque(
            maxlen=int(WINDOW_SECONDS / SAMPLE_SECONDS) + 1
        )

    def sample(self) -> None:
        """Remember what is counted now."""
        self._samples.append((self._timer(), _endings(self._snapshot())))

    def activity(self) -> Activity:
        """Since the oldest sample that is young enough."""
        now, snapshot = self._timer(), self._snapshot()
        ended = _endings(snapshot)
        for at, before in self._samples:
            if now - at <= WINDOW_SECONDS:
                return Activity(
                    snapshot.open_requests,
                    now - at,
                    {ending: ended[ending] - before[ending] for ending in Ending},
                )
        return Activity(snapshot.open_requests, 0.0, dict.fromkeys(Ending, 0))

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(SAMPLE_SECONDS)


def _endings(snapshot: Snapshot) -> Counter[Ending]:
    ended: Counter[Ending] = Counter()
    for tally in snapshot.tallies:
        ended[tally.labels.ending] += tally.requests
    return ended
