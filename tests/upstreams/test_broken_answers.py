"""An answer that begins well and breaks off: its target is no better for it."""

from __future__ import annotations

import pytest

from gateway.upstreams.faults import CONNECTION_FAULT
from gateway.upstreams.pool import Pool
from gateway.upstreams.rest import FIRST_OVERLOAD_SECONDS
from gateway.upstreams.target import FAILURES_IN_A_ROW, Target
from tests.upstreams.pool_rig import FLASH, SetClock, attempt, is_ready, studio


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def pool(clock: SetClock) -> Pool:
    return Pool([await studio()], clock=clock)


def breaks_off(target: Target) -> None:
    trial = target.begin()
    target.answered(0.1, trial, whole=False)
    target.failed(CONNECTION_FAULT)
    target.end(trial)


async def test_answers_that_break_off_count_in_a_row(pool: Pool) -> None:
    for _ in range(100):
        attempt(pool.choose(FLASH), 0.1)
    for _ in range(FAILURES_IN_A_ROW):
        assert is_ready(pool)
        breaks_off(pool.choose(FLASH))
    assert not is_ready(pool)


async def test_a_trial_that_breaks_off_ends_no_rest_for_good(pool: Pool, clock: SetClock) -> None:
    """Others are let in with its first byte, for it may take minutes; with its failure they are not."""
    for _ in range(FAILURES_IN_A_ROW):
        attempt(pool.choose(FLASH), CONNECTION_FAULT)
    clock.passes(FIRST_OVERLOAD_SECONDS)
    target = pool.choose(FLASH)
    trial = target.begin()
    assert not is_ready(pool)
    target.answered(0.1, trial, whole=False)
    assert is_ready(pool)
    target.failed(CONNECTION_FAULT)
    target.end(trial)
    assert not is_ready(pool)


async def test_a_trial_that_comes_to_its_end_does(pool: Pool, clock: SetClock) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        attempt(pool.choose(FLASH), CONNECTION_FAULT)
    clock.passes(FIRST_OVERLOAD_SECONDS)
    target = pool.choose(FLASH)
    trial = target.begin()
    target.answered(0.1, trial, whole=False)
    target.completed()
    target.end(trial)
    for _ in range(FAILURES_IN_A_ROW):
        assert is_ready(pool)
        attempt(pool.choose(FLASH), CONNECTION_FAULT)
    assert not is_ready(pool)
