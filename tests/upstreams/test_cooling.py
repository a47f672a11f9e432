"""When a target or a key is left alone, for how long, and how it comes back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from gateway import config
from gateway.upstreams.faults import CONNECTION_FAULT, TIMEOUT_FAULT, Cause, Fault, read_answer
from gateway.upstreams.opening import adjust, open_upstream
from gateway.upstreams.pool import Pool
from gateway.upstreams.rest import KEY_SECONDS, LONGEST_DELAY_SECONDS, QUOTA_SECONDS
from gateway.upstreams.target_state import State
from tests.upstreams.pool_rig import FLASH, PRO, SetClock, attempt, is_ready, quota, refusal, studio

CALIFORNIA = ZoneInfo("America/Los_Angeles")
REFUSED = Fault(Cause.KEY)
HOUR = 3600.0
Alone = Callable[..., Awaitable[Pool]]


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def alone(clock: SetClock) -> Alone:
    """A pool of one upstream."""

    async def pool(*keys: str, cooldown: bool = True) -> Pool:
        return Pool([await studio("studio", *keys, cooldown=cooldown)], clock=clock)

    return pool


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (quota(38.0), 38.0),
        (quota(12.5), 12.5),
        (quota(), QUOTA_SECONDS),
        (quota(9e8), LONGEST_DELAY_SECONDS),
    ],
)
async def test_a_quota_ends_by_itself(alone: Alone, clock: SetClock, fault: Fault, seconds: float) -> None:
    pool = await alone()
    attempt(pool.choose(FLASH), fault)
    assert pool.choose(PRO).at_ease  # it is one of the model
    clock.passes(seconds - 0.01)
    assert not is_ready(pool)
    clock.passes(0.02)
    assert [pool.choose(FLASH).begin() for _ in range(3)] == [None] * 3  # nobody is on trial


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        (datetime(2026, 3, 3, 10, 30, tzinfo=CALIFORNIA), 13.5),
        (datetime(2026, 3, 8, 1, 0, tzinfo=CALIFORNIA), 22.0),  # clocks go forward that night
        (datetime(2026, 11, 1, 0, 0, tzinfo=CALIFORNIA), 25.0),  # and back
        (datetime(2026, 12, 31, 23, 59, tzinfo=CALIFORNIA), 1 / 60),
        (datetime(2026, 7, 1, 6, 59, tzinfo=ZoneInfo("UTC")), 1 / 60),
    ],
)
async def test_a_quota_of_the_day_ends_at_midnight_in_california(now: datetime, hours: float) -> None:
    clock = SetClock(now.timestamp())
    pool = Pool([await studio()], clock=clock)
    attempt(pool.choose(FLASH), quota(38.0, day=True))
    clock.passes(hours * HOUR - 0.1)
    assert not is_ready(pool)
    clock.passes(0.2)
    assert is_ready(pool)


async def test_a_simulated_one_never_rests(clock: SetClock) -> None:
    """It fails when a request's labels ask for it, which says nothing of the next one."""
    upstream = await open_upstream(config.Upstream(name="s", kind="simulated", cooldown=True), 5.0)
    try:
        pool = Pool([upstream], clock=clock)
        for _ in range(2):
            for fault in (quota(38.0), quota(day=True), REFUSED, *[CONNECTION_FAULT] * 20):
                attempt(pool.choose(FLASH), fault)
            assert is_ready(pool)
            assert pool.choose(FLASH).at_ease
            # A configuration that is taken up again does not change that.
            adjust(upstream, config.Upstream(name="s", kind="simulated", cooldown=True))
    finally:
        await upstream.close()


async def test_of_two_quotas_the_longer_counts(alone: Alone, clock: SetClock) -> None:
    pool = await alone()
    target = pool.choose(FLASH)
    for seconds in (10.0, 50.0, 20.0):
        attempt(target, quota(seconds))
    clock.passes(49.9)
    assert not is_ready(pool)
    clock.passes(0.2)
    assert is_ready(pool)


@pytest.mark.parametrize(
    "fault", [CONNECTION_FAULT, TIMEOUT_FAULT, read_answer(503, b"", b"", client_deadline=False)]
)
async def test_failures_in_a_row(alone: Alone, clock: SetClock, fault: Fault) -> None:
    pool = await alone()
    target = pool.choose(FLASH)
    for _ in range(3):
        for _ in range(4):
            attempt(target, fault)
        attempt(target, 0.1)
    for _ in range(4):
        assert is_ready(pool)
        attempt(target, fault)
    attempt(target, None)  # it says nothing, not even something good
    assert is_ready(pool)
    attempt(target, fault)
    assert refusal(pool) == (503, "upstream overloaded", {"Retry-After": "5"})
    clock.passes(1.5)
    assert refusal(pool)[2] == {"Retry-After": "4"}
    clock.passes(3.5)
    assert is_ready(pool)


async def test_half_of_twenty_within_the_window(alone: Alone, clock: SetClock) -> None:
    pool = await alone()
    target = pool.choose(FLASH)
    for number in range(19):
        attempt(target, CONNECTION_FAULT if number % 2 else 0.1)
    assert is_ready(pool)
    attempt(target, CONNECTION_FAULT)
    assert refusal(pool)[0] == 503


async def test_what_is_older_than_the_window_does_not_count(alone: Alone, clock: SetClock) -> None:
    pool = await alone()
    target = pool.choose(FLASH)
    for _ in range(5):
        for number in range(18):
            attempt(target, CONNECTION_FAULT if number % 2 else 0.1)
            assert target.at_ease
        clock.passes(31.0)


async def test_what_is_within_the_window_counts_though_its_half_is_over(
    alone: Alone, clock: SetClock
) -> None:
    pool = await alone()
    target = pool.choose(FLASH)
    for number in range(18):
        attempt(target, CONNECTION_FAULT if number % 2 else 0.1)
    clock.passes(16.0)
    attempt(target, 0.1)
    assert target.at_ease
    attempt(target, CONNECTION_FAULT)
    assert not target.at_ease


async def test_a_rest_ends_with_the_success_of_one_real_request(
    alone: Alone, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await alone()
    for _ in range(5):
        attempt(pool.choose(FLASH), CONNECTION_FAULT)
    for seconds in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        clock.passes(seconds - 0.01)
        assert not is_ready(pool)
        clock.passes(0.02)
        target = pool.choose(FLASH)
        trial = target.begin()
        assert trial
        assert not is_ready(pool)
        [state] = pool.targets()
        assert state.state is State.TRIAL
        target.end(trial)  # says nothing
        target = pool.choose(FLASH)
        attempt(target, CONNECTION_FAULT)
        assert not is_ready(pool)
    clock.passes(60.0)
    target = pool.choose(FLASH)
    trial = target.begin()
    clock.passes(30.0)
    assert not is_ready(pool)
    target.answered(30.0, trial)
    assert [pool.choose(FLASH).begin() for _ in range(3)] == [None] * 3
    [first, *_, last] = [record.message for record in caplog.records]
    assert first == "upstream studio, key 1, model gemini-2-5-flash rests for 5 s: overload"
    assert last == "upstream studio, key 1, model gemini-2-5-flash answers again"
    for _ in range(5):
        assert is_ready(pool)
        attempt(pool.choose(FLASH), CONNECTION_FAULT)
    clock.passes(5.0)
    assert is_ready(pool)  # it begins anew with five seconds


@pytest.mark.parametrize(("delay", "seconds"), [(3.0, 5.0), (20.0, 20.0), (9e8, 60.0)])
async def test_an_overloaded_one_may_ask_for_longer(
    alone: Alone, clock: SetClock, delay: float, seconds: float
) -> None:
    pool = await alone()
    for _ in range(5):
        attempt(pool.choose(FLASH), Fault(Cause.OVERLOAD, delay))
    assert refusal(pool)[2] == {"Retry-After": f"{seconds:.0f}"}


async def test_failures_from_before_the_rest_do_not_make_it_longer(alone: Alone, clock: SetClock) -> None:
    pool = await alone()
    target = pool.choose(FLASH)
    trials = [target.begin() for _ in range(20)]
    for trial in trials:
        target.failed(CONNECTION_FAULT)
        target.end(trial)
    assert target.in_flight == 0
    clock.passes(5.0)
    assert is_ready(pool)


async def test_a_refused_key_is_out_with_one_alarm(
    alone: Alone, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await alone("bad", "good")
    bad = pool.choose(FLASH)
    began = [bad.begin() for _ in range(3)]
    for trial in began:
        bad.failed(REFUSED)
        bad.end(trial)
    alarms = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert alarms == ["upstream studio refuses the gateway's key 1"]
    for model in (FLASH, PRO):
        assert {pool.choose(model).key.name for _ in range(10)} == {"2"}
    assert {state.key: state.state for state in pool.targets()} == {"1": State.OUT, "2": State.READY}
    clock.passes(KEY_SECONDS - 0.1)
    assert {pool.choose(FLASH).key.name for _ in range(10)} == {"2"}
    clock.passes(0.2)
    tried = next(target for _ in range(9) if (target := pool.choose(PRO)).key.name == "1")
    trial = tried.begin()
    assert trial
    assert {pool.choose(FLASH).key.name for _ in range(10)} == {"2"}
    tried.answered(0.1, trial)
    assert {pool.choose(FLASH).key.name for _ in range(10)} == {"1", "2"}
    assert caplog.records[-1].message == "upstream studio takes key 1 again"


async def test_only_refused_keys(alone: Alone, clock: SetClock) -> None:
    pool = await alone("x", "y")
    for _ in range(2):
        attempt(pool.choose(FLASH), REFUSED)
    assert refusal(pool) == (502, "upstream request failed", {})
    assert pool.another(PRO, "", ()) is None


async def test_a_refused_key_is_tried_once_for_all_models_though_one_of_them_failed_before(
    alone: Alone, clock: SetClock
) -> None:
    pool = await alone()
    flash, pro = pool.choose(FLASH), pool.choose(PRO)
    for _ in range(5):
        attempt(flash, CONNECTION_FAULT)
    attempt(pro, REFUSED)
    clock.passes(KEY_SECONDS)
    trial = pool.choose(FLASH).begin()
    assert pool.another(PRO, "", ()) is None
    flash.answered(0.1, trial)
    flash.end(trial)
    assert pool.choose(PRO).at_ease
    trial = pool.choose(FLASH).begin()  # what it had failed of is another matter
    assert trial
    flash.answered(0.1, trial)
    assert flash.at_ease


async def test_another_key_in_its_place_is_asked_at_once(alone: Alone) -> None:
    pool = await alone()
    target = pool.choose(FLASH)
    attempt(target, REFUSED)
    assert not is_ready(pool)
    target.key.renew(b"x-goog-api-key: new\r\n")
    assert pool.choose(FLASH).at_ease


async def test_a_key_that_lacks_is_none(alone: Alone) -> None:
    pool = await alone()
    pool.choose(FLASH).key.lack()
    assert refusal(pool) == (502, "upstream request failed", {})
    [state] = pool.targets()
    assert state.state is State.UNAVAILABLE


async def test_where_it_is_not_wanted_nothing_rests(alone: Alone, caplog: pytest.LogCaptureFixture) -> None:
    pool = await alone(cooldown=False)
    target = pool.choose(FLASH)
    for fault in (quota(30.0), quota(day=True), *[CONNECTION_FAULT] * 30, REFUSED):
        attempt(target, fault)
    assert is_ready(pool)
    assert [record.message for record in caplog.records] == ["upstream studio refuses the gateway's key 1"]
