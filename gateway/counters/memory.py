"""Counts for the processes of one machine, in memory that they share and a file that survives them.

A decision takes about two microseconds and waits for nothing but another process's. What a killed process had
reserved stays in the windows until it is old enough, as what an aborted request had; what it had under way is
given back as soon as that stands in somebody's way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.counters.mutex import HOLDER_DIED
from gateway.counters.slots import Slots
from gateway.counters.table import EVICTED, REUSED, SKEW, WALL, Table
from gateway.quota.admission import Admission, Estimate, Standing, settled_on
from gateway.quota.rules import COST, TOKENS, Rule, Span
from gateway.quota.windows import BUCKETS, TOTAL, SlidingWindow

PLANS = 10_000
"""For how many combinations of rules their windows are remembered."""


class OpenWindow:
    """What is under way, by the process that serves it: what of a `SlidingWindow` makes sense for that."""

    __slots__ = ("_cells", "_mine", "_slots")

    def __init__(self, cells: memoryview[int], slots: Slots, slot: int) -> None:
        self._cells = cells
        self._slots = slots
        self._mine = BUCKETS + slot

    def level(self, now: int) -> int:
        """How many are under way."""
        return self._cells[TOTAL]

    def add(self, amount: int, limit: int) -> None:
        """One more of this process."""
        self._cells[self._mine] += 1
        self._cells[TOTAL] += 1

    def settle(self, reserved: int, used: int, *, limit: int, since: int) -> None:
        """One less; none where the window has been given to another key meanwhile."""
        if self._cells[self._mine] > 0:
            self._cells[self._mine] -= 1
            self._cells[TOTAL] -= 1

    def lifts_in(self, now: int, amount: int, limit: int) -> None:
        """Not by itself."""

    def release_dead(self, *, beginning: bool = False) -> int:
        """Forget what was under way in processes that are gone; how many requests that were.

        beginning: this one has nothing under way yet, so what is in its slot is of one that had it before.
        """
        cells = self._cells
        released = 0
        for number, count in enumerate(cells[BUCKETS:].tolist(), BUCKETS):
            if not count:
                continue
            lives = not beginning if number == self._mine else self._slots.is_held(number - BUCKETS)
            if not lives:
                cells[number] = 0
                released += count
        cells[TOTAL] -= released
        return released

    def mend(self, now: int) -> None:
        """Make consistent what a process left that was killed while it changed it."""
        self._cells[TOTAL] = sum(self._cells[BUCKETS:])


Window = SlidingWindow | OpenWindow
Plan = list[tuple[Rule, Window, int, int]]
"""The rules of a request, each with its window, its measure and its limit."""


class MemoryCounters:
    """See `Counters`; every verdict comes at once. Raises OSError where the file can't be used.

    `path` is a file of its own, for all processes of one machine that share limits, on a local file system.
    `clock` gives seconds since the epoch, and may go back: it is then as if it had stood still.
    """

    available = True
    unsettled = 0

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._table = Table(path)
        self._head = self._table.head
        self._acquire = self._table.mutex.acquire
        self._release = self._table.mutex.release
        self._plans: dict[int, tuple[tuple[Rule, ...], Plan]] = {}
        """By the identity of the rules, which are kept with it: the caller uses them over and over."""
        self._reused = self._head[REUSED]
        if code := self._acquire():
            self._recover(code)
        try:
            if self._table.was_alone:
                self._mend()
            for span, cells in self._table.windows():
                window = self._window(cells, span)
                if isinstance(window, OpenWindow):
                    window.release_dead(beginning=True)
        finally:
            self._release()

    @property
    def evicted(self) -> int:
        """How many windows in use have been forgotten because there was no room for another."""
        return self._head[EVICTED]

    def admit(self, rules: tuple[Rule, ...], estimate: Estimate) -> Admission:
        """See `Counters`."""
        if not rules:
            return Admission()
        tokens, cost_nanos = estimate.tokens, estimate.cost_nanos
        amounts = (tokens, cost_nanos, 1)
        if code := self._acquire():
            self._recover(code)
        try:
            now = self._now()
            plan = self._plan(rules, now)
            for _, window, measure, limit in plan:
                level = window.level(now)
                # An empty window has room for everything, and a full one not even for 0.
                if (
                    level
                    and level + (amounts[measure] or 1) > limit
                    and (refused := _refuse(plan, now, amounts))
                ):
                    return refused
            for _, window, measure, limit in plan:
                window.add(amounts[measure], limit)
            return Admission(rules, tokens, cost_nanos, now, *_standings(plan, now))
        finally:
            self._release()

    def settle(
        self, admission: Admission, tokens: int | None, cost_nanos: int | None, *, final: bool
    ) -> None:
        """See `Counters`."""
        rules = admission.rules
        if not rules:
            return
        reserved = (admission.tokens, admission.cost_nanos, 1)
        used = (
            settled_on(admission.tokens, tokens, final=final),
            settled_on(admission.cost_nanos, cost_nanos, final=final),
            1,
        )
        since = admission.since
        if code := self._acquire():
            self._recover(code)
        try:
            now = self._now()
            for _, window, measure, limit in self._plan(rules, now):
                window.level(now)
                window.settle(reserved[measure], used[measure], limit=limit, since=since)
        finally:
            self._release()

    def levels(self, rules: Sequence[Rule]) -> list[int]:
        """See `Counters`."""
        return [self._level(rule) for rule in rules]  # not all at once: others wait for the lock

    def _level(self, rule: Rule) -> int:
        if code := self._acquire():
            self._recover(code)
        try:
            at = self._table.find(rule)
            return self._window(at[1], rule.span).level(self._now()) if at else 0
        finally:
            self._release()

    async def close(self) -> None:
        """See `Counters`."""
        self._plans.clear()
        self._table.close()

    def _recover(self, code: int) -> None:
        """Another process was killed while it held the lock, which is ours now."""
        if code != HOLDER_DIED:
            raise OSError(code, os.strerror(code))
        self._mend()
        self._table.mutex.mended()

    def _now(self) -> int:
        head = self._head
        wall = int(self._clock())
        passed = wall - head[WALL]
        if passed:
            head[WALL] = wall
            if passed < 0:
                head[SKEW] -= passed
        return wall + head[SKEW]

    def _plan(self, rules: tuple[Rule, ...], now: int) -> Plan:
        if self._reused != self._head[REUSED]:
            self._plans.clear()
        elif known := self._plans.get(id(rules)):
            return known[1]
        found = [self._table.find(rule) for rule in rules]
        keep = [at[0] for at in found if at]
        plan: Plan = []
        for rule, at in zip(rules, found, strict=True):
            place, cells = at or self._table.take(rule, now, keep)
            keep.append(place)
            plan.append((rule, self._window(cells, rule.span), rule.measure, rule.limit))
        if len(self._plans) >= PLANS or self._reused != self._head[REUSED]:
            self._plans.clear()
        self._reused = self._head[REUSED]
        self._plans[id(rules)] = rules, plan
        return plan

    def _window(self, cells: memoryview[int], span: Span | None) -> Window:
        if span is None:
            return OpenWindow(cells, self._table.slots, self._table.slot)
        return SlidingWindow(cells, span)

    def _mend(self) -> None:
        now = self._now()
        for span, cells in self._table.windows():
            self._window(cells, span).mend(now)


def _refuse(plan: Plan, now: int, amounts: tuple[int, int, int]) -> Admission | None:
    """The refusal of a request that a window has no room for, unless it has when it looks again."""
    blocked_by: Rule | None = None
    longest: int | None = 0
    for rule, window, measure, limit in plan:
        level, amount = window.level(now), amounts[measure] or 1
        if isinstance(window, OpenWindow) and level >= limit:
            level -= window.release_dead()
        if level and level + amount > limit and longest is not None:
            wait = window.lifts_in(now, amount, limit)
            if wait is None or wait > longest:
                blocked_by, longest = rule, wait
    if blocked_by is None:
        return None
    tokens, requests = _standings(plan, now)
    return Admission(
        token_standing=tokens, request_standing=requests, blocked_by=blocked_by, retry_after=longest
    )


def _standings(plan: Plan, now: int) -> tuple[Standing | None, Standing | None]:
    """The tightest windows of tokens and of requests."""
    tokens: Standing | None = None
    requests: Standing | None = None
    for _, window, measure, limit in plan:
        if measure == COST or isinstance(window, OpenWindow):
            continue
        remaining = max(limit - window.level(now), 0)
        if measure == TOKENS:
            if tokens is None or remaining < tokens.remaining:
                tokens = Standing(limit, remaining, window.empties_in(now))
        elif requests is None or remaining < requests.remaining:
            requests = Standing(limit, remaining, window.empties_in(now))
    return tokens, requests
