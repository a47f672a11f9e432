"""Windows: they slide, pay debts off, and say to the second when there is room."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits import MOST
from gateway.quota.rules import DAY, MINUTE, Span
from gateway.quota.windows import BUCKETS, DEBT, LAST, TOTAL, SlidingWindow, cells_of

SMALL = Span(unit=3, buckets=5)
"""15 s, of which every part is reached soon."""
LIMIT = 100
BEGIN = 1_000_000


class Tried:
    """A window, and what one must know of it that it forgets."""

    def __init__(self, span: Span = SMALL) -> None:
        self.cells = array("q", bytes(8 * cells_of(span)))
        self.span = span
        self.window = SlidingWindow(memoryview(self.cells), span)
        self.now = BEGIN
        self.kept: list[int] = []
        """By request, what it used, or what it still has reserved."""
        self.open: list[tuple[int, int, int]] = []
        """Requests under way: number, reserved, since."""

    def copy(self) -> Tried:
        other = Tried(self.span)
        other.cells[:] = self.cells
        return other

    def room(self, now: int, amount: int, limit: int = LIMIT) -> bool:
        level = self.window.level(now)
        return not level or level + amount <= limit

    def do(self, step: tuple[int, int, int]) -> None:
        """Some seconds later: admit a request if there is room, or end one that had been admitted."""
        seconds, what, amount = step
        self.now += seconds
        if what < len(self.open):
            number, reserved, since = self.open.pop(what)
            self.window.level(self.now)
            self.window.settle(reserved, amount, limit=LIMIT, since=since)
            self.kept[number] = amount
        elif self.room(self.now, amount):
            self.window.add(amount, LIMIT)
            self.open.append((len(self.kept), amount, self.now))
            self.kept.append(amount)


def done(steps: list[tuple[int, int, int]]) -> Tried:
    tried = Tried()
    for step in steps:
        tried.do(step)
        tried.window.level(tried.now)
    return tried


seconds = st.one_of(st.integers(0, 4), st.integers(0, 20), st.integers(0, 200))
amounts = st.one_of(st.integers(0, 40), st.integers(0, 3 * LIMIT), st.integers(0, 30 * LIMIT))
steps = st.lists(st.tuples(seconds, st.integers(0, 5), amounts), max_size=25)


@given(steps)
def test_nothing_is_lost_and_nothing_below_zero(steps: list[tuple[int, int, int]]) -> None:
    cells = done(steps).cells
    assert min(cells) >= 0
    assert cells[TOTAL] == sum(cells[BUCKETS:])
    assert cells[TOTAL] <= LIMIT
    assert cells[TOTAL] or not cells[DEBT]


@given(steps, st.integers(0, 400))
def test_time_passes_alike_in_one_step_and_in_many(steps: list[tuple[int, int, int]], later: int) -> None:
    tried = done(steps)
    other = tried.copy()
    for second in range(tried.now, tried.now + later + 1):
        level = other.window.level(second)
    assert tried.window.level(tried.now + later) == level
    assert tried.cells == other.cells


@given(steps, amounts.filter(bool), st.integers(1, 2 * LIMIT))
def test_there_is_room_when_it_says_so_and_no_second_earlier(
    steps: list[tuple[int, int, int]], amount: int, limit: int
) -> None:
    tried = done(steps)
    if tried.room(tried.now, amount, limit):
        return
    wait = tried.window.lifts_in(tried.now, amount, limit)
    assert wait >= 1
    other = tried.copy()
    assert not other.room(tried.now + wait - 1, amount, limit)
    assert other.room(tried.now + wait, amount, limit)


@given(steps)
def test_it_is_empty_when_it_says_so_and_no_second_earlier(steps: list[tuple[int, int, int]]) -> None:
    tried = done(steps)
    wait = tried.window.empties_in(tried.now)
    other = tried.copy()
    if wait:
        assert other.window.level(tried.now + wait - 1)
    assert not other.window.level(tried.now + wait)


@given(steps)
def test_what_is_admitted_within_the_time_is_within_the_limit(steps: list[tuple[int, int, int]]) -> None:
    """But for an oversized request, which has a window for itself, and what was used beyond reservations."""
    tried = Tried()
    admitted: list[tuple[int, int]] = []
    for step in steps:
        before = len(tried.kept)
        tried.do(step)
        if len(tried.kept) > before:
            admitted.append((tried.now, step[2]))
    reserved_or_less = [min(kept, reserved) for kept, (_, reserved) in zip(tried.kept, admitted, strict=True)]
    for last, (end, _) in enumerate(admitted):
        within = [n for n in range(last + 1) if admitted[n][0] > end - SMALL.unit * (SMALL.buckets - 1)]
        counted = [reserved_or_less[number] for number in within]
        assert sum(counted) <= max(LIMIT, *counted)


@given(steps, st.integers(0, 100))
def test_in_the_long_run_no_more_is_used_than_the_limit_allows(
    steps: list[tuple[int, int, int]], later: int
) -> None:
    tried = done(steps)
    end = tried.now + later
    turns = (end // SMALL.unit - BEGIN // SMALL.unit) // SMALL.buckets
    assert sum(tried.kept) <= LIMIT * turns + tried.window.level(end)


@given(steps)
def test_mending_leaves_alone_what_is_whole(steps: list[tuple[int, int, int]]) -> None:
    tried = done(steps)
    before = tried.copy()
    tried.window.mend(tried.now)
    assert tried.cells == before.cells


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=BUCKETS + 5, max_size=BUCKETS + 5), steps)
def test_mended_whatever_it_was_it_works(garbage: list[int], steps: list[tuple[int, int, int]]) -> None:
    tried = Tried()
    tried.cells[:] = array("q", garbage)
    tried.window.mend(BEGIN)
    assert min(tried.cells[LAST], tried.cells[TOTAL], tried.cells[DEBT]) >= 0
    assert tried.cells[LAST] <= BEGIN // SMALL.unit
    for step in steps:
        tried.do(step)
    assert not tried.window.level(BEGIN + 10**18)


@pytest.mark.parametrize(("span", "lasts"), [(MINUTE, 61), (DAY, 86460)])
def test_how_long_something_counts(span: Span, lasts: int) -> None:
    tried = Tried(span)
    begin = BEGIN - BEGIN % span.unit
    tried.window.level(begin)
    tried.window.add(5, LIMIT)
    assert tried.window.empties_in(begin) == lasts
    assert tried.window.level(begin + lasts - 1) == 5
    assert tried.window.level(begin + lasts) == 0


def test_a_limit_that_was_raised_is_kept_to_the_second_too() -> None:
    tried = Tried()
    tried.window.level(tried.now)
    tried.window.add(2 * LIMIT, LIMIT)
    assert not tried.room(tried.now, 50, 150)
    wait = tried.window.lifts_in(tried.now, 50, 150)
    assert wait == 14  # when the first bucket leaves, of whose 15 s one is over
    assert not tried.copy().room(tried.now + wait - 1, 50, 150)
    assert tried.room(tried.now + wait, 50, 150)


def test_the_largest_amounts_do_not_overflow() -> None:
    tried = Tried()
    for number in range(40):
        tried.window.level(BEGIN + number)
        tried.window.add(MOST, MOST)
    assert tried.window.level(BEGIN + 40) == 2 * MOST
    assert tried.window.lifts_in(BEGIN + 40, 1, MOST) > 0
