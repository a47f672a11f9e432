"""No more retries than their share of the requests, and pauses before them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.budget import FLOOR, WINDOW_SECONDS, RetryBudget, backoff
from tests.upstreams.pool_rig import SetClock

SHARE = 0.2


def retries(budget: RetryBudget, wanted: int) -> int:
    return sum(budget.take() for _ in range(wanted))


def test_it_is_a_share_of_the_requests_of_the_last_ten_seconds() -> None:
    clock = SetClock()
    budget = RetryBudget(SHARE, clock.monotonic)
    for _ in range(100):
        budget.request()
    assert retries(budget, 50) == 20
    clock.passes(9.0)
    assert retries(budget, 50) == 0
    clock.passes(1.0)
    for _ in range(30):
        budget.request()
    assert retries(budget, 50) == 6


def test_a_few_are_always_allowed() -> None:
    clock = SetClock()
    budget = RetryBudget(SHARE, clock.monotonic)
    assert retries(budget, 10) == FLOOR
    clock.passes(1000.0)
    assert retries(budget, 10) == FLOOR


def test_a_share_of_nothing_is_none() -> None:
    budget = RetryBudget(0.0, SetClock().monotonic)
    budget.request()
    assert retries(budget, 10) == 0


@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=30)
)
def test_it_is_never_exceeded_whatever_comes_when(steps: list[tuple[float, int, int]]) -> None:
    """Requests and retries are counted by the second: those of the current one and of the nine before."""
    clock = SetClock()
    budget = RetryBudget(SHARE, clock.monotonic)
    log: list[tuple[int, int, int]] = []
    for pause, requests, wanted in steps:
        clock.passes(pause)
        for _ in range(requests):
            budget.request()
        log.append((int(clock.monotonic()), requests, retries(budget, wanted)))
        recent = [entry for entry in log if entry[0] > log[-1][0] - WINDOW_SECONDS]
        asked, made = sum(entry[1] for entry in recent), sum(entry[2] for entry in recent)
        if log[-1][2]:
            assert made < max(SHARE * asked, FLOOR) + 1
        if log[-1][2] < wanted:
            assert made >= max(SHARE * asked, FLOOR)


@given(st.integers(1, 10))
def test_a_pause_is_any_up_to_one_that_doubles(attempts: int) -> None:
    longest = min(0.05 * 2 ** (attempts - 1), 1.0)
    pauses = [backoff(attempts) for _ in range(100)]
    assert all(0.0 <= pause <= longest for pause in pauses)
    assert max(pauses) - min(pauses) > longest / 2
