"""How a window slides: integers in cells that others may share, so that nothing is kept here.

`gateway/counters/window.lua` is the same for Redis; the tests hold the two together.
"""

from __future__ import annotations

from array import array
from functools import cache

from gateway.limits import MOST
from gateway.quota.rules import Span

LAST, TOTAL, DEBT, LIMIT = range(4)
"""The newest bucket's number (seconds since the epoch / its width); what all buckets hold; what waits.

The limit is noted by whoever keeps many windows, to know how full each of them is.
"""
BUCKETS = 4
"""Where the ring of buckets begins: bucket `n` stands at `n` modulo their number."""


class SlidingWindow:
    """What was counted in the last minute, or day, and what was overdrawn.

    A limit is overdrawn by a request larger than the whole of it, or by one that used more than was reserved.
    What lies above the limit then waits as a debt: whatever leaves the window is replaced by it first, so
    that in the long run no more is used than the limit allows. All times are whole seconds that never go
    back; all amounts are from 0 to `limits.MOST`; a limit is at least 1. `level` is to be asked
    before any other method is called, with the same `now`.
    """

    __slots__ = ("_cells", "_size", "_unit", "_zeros")

    def __init__(self, cells: memoryview[int], span: Span) -> None:
        """cells: signed 64-bit integers, `cells_of(span)` of them; at first all 0."""
        self._cells = cells
        self._size = span.buckets
        self._unit = span.unit
        self._zeros = _zeros(span.buckets)

    def level(self, now: int) -> int:
        """What counts now, the debt included."""
        cells = self._cells
        at = now // self._unit
        if at > cells[LAST]:
            self._slide(at)
        return cells[TOTAL] + cells[DEBT]

    def add(self, amount: int, limit: int) -> None:
        """Count an amount from now on, whether there is room for it or not."""
        cells = self._cells
        total = cells[TOTAL]
        room = limit - total - cells[DEBT]
        if amount > room:
            over = amount - max(room, 0)
            cells[DEBT] = min(cells[DEBT] + over, MOST)
            amount -= over
        cells[BUCKETS + cells[LAST] % self._size] += amount
        cells[TOTAL] = total + amount

    def settle(self, reserved: int, used: int, *, limit: int, since: int) -> None:
        """Correct what was reserved at the second `since`.

        What was used beyond counts from now on. What was not used is given back, as far as it still counts:
        of an oversized reservation a limit's worth has left with each turn of the window.
        """
        if used >= reserved:
            if used > reserved:
                self.add(used - reserved, limit)
            return
        cells = self._cells
        bucket = since // self._unit
        left = (cells[LAST] - bucket) // self._size * limit
        back = max(reserved - left, 0) - max(used - left, 0) if left else reserved - used
        if debt := cells[DEBT]:
            paid = min(back, debt)
            cells[DEBT] = debt - paid
            back -= paid
        slot = BUCKETS + bucket % self._size
        held = cells[slot]
        back = min(back, held)
        cells[slot] = held - back
        cells[TOTAL] -= back

    def lifts_in(self, now: int, amount: int, limit: int) -> int:
        """Seconds until there is room for an amount, at least 1, for which there is none now.

        When nothing else happens; an empty window has room for everything.
        """
        return self._falls_in(now, max(limit - amount, 0))

    def empties_in(self, now: int) -> int:
        """Seconds until nothing counts any more, when nothing else happens."""
        cells = self._cells
        last = cells[LAST]
        if not cells[DEBT] and cells[BUCKETS + last % self._size]:
            return (last + self._size) * self._unit - now
        return self._falls_in(now, 0) if cells[TOTAL] else 0

    def _slide(self, at: int) -> None:
        """Let go of what is too old at the bucket number `at`."""
        cells = self._cells
        first = cells[LAST] + 1
        cells[LAST] = at  # first: who is killed here leaves a window that remembers too much, not too little
        total, debt, size = cells[TOTAL], cells[DEBT], self._size
        if not total:
            return
        # While the debt lasts, each turn of the window takes as much from it as the window holds.
        turns = min((at + 1 - first) // size, debt // total)
        debt -= turns * total
        first += turns * size
        if at + 1 - first >= (2 if debt else 1) * size:
            cells[BUCKETS:] = self._zeros
            cells[TOTAL] = cells[DEBT] = 0
            return
        for bucket in range(first, at + 1):
            slot = BUCKETS + bucket % size
            leaving = cells[slot]
            if leaving:
                stays = min(leaving, debt)
                debt -= stays
                total -= leaving - stays
                cells[slot] = stays
        cells[TOTAL] = total
        cells[DEBT] = debt

    def _falls_in(self, now: int, target: int) -> int:
        """Seconds until no more than that counts; less than now."""
        cells = self._cells
        total, debt, size = cells[TOTAL], cells[DEBT], self._size
        excess = total + debt - target
        turns = min(debt // total, (excess - 1) // total)
        debt -= turns * total
        excess -= turns * total
        ring = cells[BUCKETS:].tolist()
        bucket = cells[LAST] + turns * size
        while True:
            bucket += 1
            leaving = ring[bucket % size]
            excess -= leaving
            if excess <= 0:
                return bucket * self._unit - now
            ring[bucket % size] = stays = min(leaving, debt)
            debt -= stays

    def mend(self, now: int) -> None:
        """Make consistent what a process left that was killed while it changed it."""
        cells = self._cells
        ring = cells[BUCKETS:].tolist()
        if min(ring) < 0 or max(ring) > MOST:
            cells[BUCKETS:] = self._zeros
            ring = []
        cells[LAST] = min(max(cells[LAST], 0), now // self._unit)
        cells[TOTAL] = sum(ring)
        cells[DEBT] = min(max(cells[DEBT], 0), MOST) if cells[TOTAL] else 0


def cells_of(span: Span) -> int:
    """How many cells a window needs."""
    return BUCKETS + span.buckets


@cache
def _zeros(size: int) -> memoryview[int]:
    return memoryview(array("q", bytes(8 * size)))
