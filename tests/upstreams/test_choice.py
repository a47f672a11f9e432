"""Which target a request goes to, by what is known of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from gateway.catalog import Catalog, CatalogSettings, Model
from gateway.errors import GatewayError
from gateway.upstreams.faults import CONNECTION_FAULT, Cause, Fault
from gateway.upstreams.pool import KNOWN_CALLERS, KNOWN_MODELS, Pool
from gateway.upstreams.target import Target
from tests.upstreams.pool_rig import FLASH, PRO, SetClock, studio

SPENT = Fault(Cause.QUOTA, 30.0, message="spent", quota_id="PerMinute")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def shares(pool: Pool, requests: int, *, keep: bool = False) -> Counter[str]:
    """How many of so many requests go to each upstream and key; kept: they stay in flight."""
    counted: Counter[str] = Counter()
    for _ in range(requests):
        target = pool.choose(FLASH)
        if keep:
            target.begin()
        counted[f"{target.upstream.name} {target.key.name}"] += 1
    return counted


async def test_the_lowest_priority_comes_first(clock: SetClock) -> None:
    pool = Pool([await studio("b", priority=2), await studio("a", priority=1)], clock=clock)
    assert shares(pool, 100) == {"a 1": 100}
    pool.choose(FLASH).failed(SPENT)
    assert shares(pool, 100) == {"b 1": 100}
    clock.passes(30.0)
    assert shares(pool, 100) == {"a 1": 100}


async def test_equal_ones_have_their_weights_shares_to_the_request(clock: SetClock) -> None:
    upstreams = [await studio("a", weight=3), await studio("b", "x", "y"), await studio("c", weight=4)]
    pool = Pool(upstreams, clock=clock)
    for _ in range(10):
        assert shares(pool, 16) == {"a 1": 6, "b 1": 1, "b 2": 1, "c 1": 8}


async def test_who_has_more_in_flight_is_asked_less(clock: SetClock) -> None:
    pool = Pool([await studio("slow"), await studio("fast")], clock=clock)
    for _ in range(20):
        target = pool.choose(FLASH)
        trial = target.begin()
        if target.upstream.name == "fast":
            target.end(trial)
    counted: Counter[str] = Counter()
    for _ in range(100):
        counted[pool.choose(FLASH).upstream.name] += 1
    assert counted["fast"] > 85


async def test_what_stays_in_flight_is_spread_by_weight(clock: SetClock) -> None:
    pool = Pool([await studio("a", weight=3), await studio("b")], clock=clock)
    counted = shares(pool, 400, keep=True)
    assert 210 <= counted["a 1"] <= 300


async def test_who_was_away_gets_its_share_again_and_no_more(clock: SetClock) -> None:
    pool = Pool([await studio("a"), await studio("b")], clock=clock)
    shares(pool, 3)
    next(target for _ in range(2) if (target := pool.choose(FLASH)).upstream.name == "a").failed(SPENT)
    assert shares(pool, 1000) == {"b 1": 1000}
    clock.passes(30.0)
    counted = shares(pool, 10)
    assert 4 <= counted["a 1"] <= 6


async def test_an_upstream_serves_its_models(clock: SetClock) -> None:
    pool = Pool([await studio("flash", models=["gemini-2-5-flash"]), await studio("pro", models=["*pro"])])
    assert pool.choose(FLASH).upstream.name == "flash"
    assert pool.choose(PRO).upstream.name == "pro"
    lite = Model("gemini-2-5-flash-lite")
    with pytest.raises(GatewayError) as caught:
        pool.choose(lite)
    assert (caught.value.refusal.reason, caught.value.metadata) == (
        "MODEL_NOT_ON_ENDPOINT",
        {"model": "gemini-2-5-flash-lite"},
    )
    assert pool.another(lite, "", ()) is None


async def test_another_is_none_that_was_tried(clock: SetClock) -> None:
    pool = Pool([await studio("a", "x", "y"), await studio("b", priority=2)], clock=clock)
    tried: list[Target] = [pool.choose(FLASH)]
    for _ in range(2):
        target = pool.another(FLASH, "", tried)
        assert target
        tried.append(target)
    assert pool.another(FLASH, "", tried) is None
    assert [target.upstream.name for target in tried] == ["a", "a", "b"]
    assert len(set(tried)) == 3


async def test_who_rests_is_no_other(clock: SetClock) -> None:
    pool = Pool([await studio("a"), await studio("b", priority=2)], clock=clock)
    first = pool.choose(FLASH)
    other = pool.another(FLASH, "", [first])
    assert other
    other.failed(SPENT)
    assert pool.another(FLASH, "", [first]) is None


Sticky = Callable[[], Awaitable[Pool]]


@pytest.fixture
def sticky(clock: SetClock) -> Sticky:
    """Three equal upstreams and one behind them, where callers stay for a minute."""

    async def pool() -> Pool:
        equal = [await studio(name) for name in "abc"]
        return Pool([*equal, await studio("later", priority=2)], sticky_seconds=60.0, clock=clock)

    return pool


async def test_a_caller_stays_where_its_model_was_asked(sticky: Sticky, clock: SetClock) -> None:
    pool = await sticky()
    first = {caller: pool.choose(FLASH, caller) for caller in ("ann", "bob", "cay")}
    assert {target.upstream.name for target in first.values()} == {"a", "b", "c"}
    for _ in range(20):
        for caller, target in first.items():
            assert pool.choose(FLASH, caller) is target
    assert {pool.choose(PRO, "ann").model_id for _ in range(5)} == {PRO.id}
    assert {pool.choose(FLASH).upstream.name for _ in range(6)} == {"a", "b", "c"}  # whoever that was
    clock.passes(59.9)
    assert pool.choose(FLASH, "ann") is first["ann"]
    pool.choose(FLASH)
    clock.passes(0.1)
    assert {pool.choose(FLASH, caller) is target for caller, target in first.items()} == {False}
    again = pool.choose(FLASH, "ann")
    clock.passes(59.9)
    assert pool.choose(FLASH, "ann") is again


async def test_it_leaves_who_rests_and_stays_with_the_next(sticky: Sticky, clock: SetClock) -> None:
    pool = await sticky()
    first = pool.choose(FLASH, "ann")
    first.failed(SPENT)
    second = pool.choose(FLASH, "ann")
    assert second is not first
    clock.passes(30.0)
    assert {pool.choose(FLASH, "ann") for _ in range(10)} == {second}


async def test_no_lower_priority_keeps_it(sticky: Sticky, clock: SetClock) -> None:
    pool = await sticky()
    for name in "abc":
        target = pool.choose(FLASH, name)
        target.failed(SPENT)
    assert pool.choose(FLASH, "ann").upstream.name == "later"
    clock.passes(30.0)
    assert pool.choose(FLASH, "ann").upstream.name in "abc"


async def test_another_attempt_of_a_caller_goes_elsewhere_and_there_it_stays(sticky: Sticky) -> None:
    pool = await sticky()
    first = pool.choose(FLASH, "ann")
    second = pool.another(FLASH, "ann", [first])
    assert second not in (None, first)
    assert pool.choose(FLASH, "ann") is second


async def test_callers_and_models_without_end_are_not_all_remembered(sticky: Sticky, clock: SetClock) -> None:
    pool = await sticky()
    kept = pool.choose(FLASH, "kept")
    others = {pool.choose(FLASH, str(number)) for number in range(KNOWN_CALLERS - 1)}
    assert len(others) == 3
    assert pool.choose(FLASH, "kept") is kept
    clock.passes(60.0)
    pool.choose(FLASH)
    kept = pool.choose(FLASH, "kept")  # which makes it the latest
    for number in range(KNOWN_CALLERS - 1):
        pool.choose(FLASH, f"new {number}")
    assert {pool.choose(FLASH, "kept") for _ in range(3)} == {kept}
    for number in range(KNOWN_CALLERS + 10):
        pool.choose(FLASH, str(number))
    assert len(pool._callers) == KNOWN_CALLERS
    catalog = Catalog.build(CatalogSettings(allow=("gemini-x*",)))
    for number in range(KNOWN_MODELS + 10):
        pool.choose(catalog.resolve(f"gemini-x{number}"))
    assert len(pool.targets()) == 4 * KNOWN_MODELS


async def test_a_failure_counts_for_its_model_and_key_alone(clock: SetClock) -> None:
    pool = Pool([await studio("a", "x", "y")], clock=clock)
    failing = pool.choose(FLASH)
    for _ in range(5):
        failing.failed(CONNECTION_FAULT)
    assert {pool.choose(FLASH).key.name for _ in range(4)} == {"1", "2"} - {failing.key.name}
    assert {pool.choose(PRO).key.name for _ in range(4)} == {"1", "2"}
