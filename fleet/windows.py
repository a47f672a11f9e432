"""Two figures of a run: the most that came in any sliding window, and the most that was under way at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


def heaviest(events: Iterable[tuple[float, int]], seconds: float) -> int:
    """The largest sum of amounts within so many seconds. Each event: moment, amount."""
    within: deque[tuple[float, int]] = deque()
    total = most = 0
    for moment, amount in sorted(events):
        while within and within[0][0] <= moment - seconds:
            total -= within.popleft()[1]
        within.append((moment, amount))
        total += amount
        most = max(most, total)
    return most


def most_at_once(spans: Iterable[tuple[float, float, int]]) -> int:
    """The largest sum of amounts that were under way at one moment. Each: begin, end, amount."""
    changes = []
    for begin, end, amount in spans:
        changes += [(begin, 0, amount), (end, 1, -amount)]  # who begins as another ends meets it
    total = most = 0
    for _, _, change in sorted(changes):
        total += change
        most = max(most, total)
    return most
