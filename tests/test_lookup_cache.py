"""The cache between requests and the store: freshness, outages, sharing, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from gateway.errors import StoreUnavailable
from gateway.lookup_cache import LookupCache
from tests.support.eventually import eventually
from tests.support.identity import Clock


class Source:
    """Something to look up in, that can be away, or hold its answers back."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.asked: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.away = False
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self, key: str) -> str | None:
        self.asked.append(key)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.open.wait()
        finally:
            self.at_once -= 1
        if self.away:
            raise StoreUnavailable("away")
        return self.values.get(key)


class Cached:
    """A cache before a source."""

    def __init__(self, *, patience: float = 2.0, waiting: int = 512, size: int = 10_000) -> None:
        self.clock = Clock()
        self.source = Source()
        self.cache: LookupCache[str, str] = LookupCache(
            clock=self.clock, size=size, concurrent=2, waiting=waiting, patience=patience
        )

    async def get(self, key: str) -> str | None:
        return await self.cache.get(key, lambda: self.source.fetch(key))


def at_once(call: Coroutine[object, None, str | None]) -> str | None:
    """What a call returns that does not wait for anything."""
    with pytest.raises(StopIteration) as ended:
        call.send(None)
    return ended.value.value  # type: ignore[no-any-return]


async def test_an_answer_is_asked_for_once_in_four_seconds() -> None:
    cached = Cached()
    cached.source.values["a"] = "1"
    assert await cached.get("a") == "1"
    cached.source.values["a"] = "2"
    cached.clock.now += 3.99
    assert await cached.get("a") == "1"
    answer = cached.cache.fresh("a")
    assert answer is not None
    assert answer.value == "1"
    cached.clock.now += 0.01
    assert cached.cache.fresh("a") is None
    assert await cached.get("a") == "2"
    assert cached.source.asked == ["a", "a"]


async def test_nothing_found_is_remembered_and_forgotten_alike() -> None:
    cached = Cached()
    assert await cached.get("a") is None
    assert await cached.get("a") is None
    assert cached.source.asked == ["a"]
    cached.source.values["a"] = "1"
    cached.clock.now += 4
    assert await cached.get("a") == "1"
    del cached.source.values["a"]
    cached.clock.now += 4
    assert await cached.get("a") is None
    assert at_once(cached.get("a")) is None


async def test_an_answer_ages_from_when_it_was_asked_for() -> None:
    cached = Cached()
    cached.source.open.clear()
    waiter = asyncio.create_task(cached.get("a"))
    await eventually("the source is asked", lambda: cached.source.asked == ["a"])
    cached.clock.now += 3
    cached.source.open.set()
    await waiter
    cached.clock.now += 1
    assert cached.cache.fresh("a") is None


async def test_an_old_answer_serves_for_a_minute_only_while_the_store_is_away() -> None:
    cached = Cached()
    cached.source.values["a"] = "1"
    await cached.get("a")
    cached.source.away = True
    cached.clock.now += 59.9
    assert await cached.get("a") == "1"
    cached.clock.now += 0.1
    with pytest.raises(StoreUnavailable):
        await cached.get("a")
    cached.source.away = False
    cached.source.values["a"] = "2"
    assert await cached.get("a") == "2"


async def test_without_an_old_answer_an_outage_is_told() -> None:
    cached = Cached()
    cached.source.away = True
    with pytest.raises(StoreUnavailable):
        await cached.get("a")
    cached.source.away = False
    assert await cached.get("a") is None


async def test_in_an_outage_only_the_first_waits_for_the_store() -> None:
    cached = Cached()
    cached.source.values["a"] = "1"
    await cached.get("a")
    cached.source.away = True
    cached.clock.now += 5
    assert await cached.get("a") == "1"
    cached.source.open.clear()  # the store now takes for ever, and nobody notices
    assert at_once(cached.get("a")) == "1"
    assert len(cached.cache._flights) == 1  # but it is asked again
    cached.source.away = False
    cached.source.values["a"] = "2"
    cached.source.open.set()
    await eventually("the next answer", lambda: not cached.cache._flights)
    assert await cached.get("a") == "2"


async def test_an_outage_is_over_as_soon_as_the_store_answers_anybody() -> None:
    cached = Cached()
    cached.source.values["a"] = "1"
    await cached.get("a")
    cached.source.away = True
    cached.clock.now += 5
    assert await cached.get("a") == "1"
    cached.source.away = False
    del cached.source.values["a"]
    assert await cached.get("b") is None
    assert await cached.get("a") is None


async def test_an_outage_that_nobody_noticed_the_end_of_hides_no_revocation() -> None:
    cached = Cached()
    cached.source.values["a"] = "1"
    await cached.get("a")
    cached.source.away = True
    cached.clock.now += 5
    assert await cached.get("a") == "1"
    cached.source.away = False
    del cached.source.values["a"]
    cached.clock.now += 1
    assert await cached.get("a") is None


async def test_a_store_that_hangs_costs_a_caller_its_patience_and_no_more() -> None:
    cached = Cached(patience=0.05)
    cached.source.values["a"] = "1"
    await cached.get("a")
    cached.source.open.clear()
    cached.clock.now += 5
    assert await cached.get("a") == "1"
    assert at_once(cached.get("a")) == "1"
    with pytest.raises(StoreUnavailable):
        await cached.get("b")
    cached.source.open.set()
    await eventually("the hung answers", lambda: not cached.cache._flights)
    assert await cached.get("b") is None
    assert cached.source.asked == ["a", "a", "b"]


async def test_many_who_ask_at_once_share_one_look_up() -> None:
    cached = Cached()
    cached.source.values["a"] = "1"
    cached.source.open.clear()
    waiters = [asyncio.create_task(cached.get("a")) for _ in range(50)]
    await eventually("the source is asked", lambda: cached.source.asked == ["a"])
    cached.source.open.set()
    assert await asyncio.gather(*waiters) == ["1"] * 50
    assert cached.source.asked == ["a"]


async def test_one_that_stops_waiting_takes_nothing_from_the_others() -> None:
    cached = Cached()
    cached.source.values["a"] = "1"
    cached.source.open.clear()
    first, second = asyncio.create_task(cached.get("a")), asyncio.create_task(cached.get("a"))
    await eventually("the source is asked", lambda: cached.source.asked == ["a"])
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    cached.source.open.set()
    assert await second == "1"
    # Nor does it end when all of them stop.
    cached.clock.now += 4
    cached.source.open.clear()
    third = asyncio.create_task(cached.get("a"))
    await eventually("the source is asked", lambda: cached.source.asked == ["a", "a"])
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    cached.source.open.set()
    await eventually("the answer is kept", lambda: cached.cache.fresh("a") is not None)


async def test_look_ups_are_bounded_at_once_and_waiting_but_known_keys_are_let_in() -> None:
    cached = Cached(waiting=5)
    cached.source.values["good"] = "1"
    await cached.get("good")
    cached.clock.now += 4
    cached.source.open.clear()
    waiters = [asyncio.create_task(cached.get(f"stranger {n}")) for n in range(5)]
    await eventually("as many look-ups as may", lambda: cached.source.at_once == 2)
    with pytest.raises(StoreUnavailable):
        await cached.get("one more")
    known = asyncio.create_task(cached.get("good"))
    joined = asyncio.create_task(cached.get("stranger 0"))
    await eventually("the known key waits", lambda: len(cached.cache._flights) == 6)
    cached.source.open.set()
    assert await known == "1"
    assert await asyncio.gather(*waiters, joined) == [None] * 6
    assert cached.source.most_at_once == 2
    assert "one more" not in cached.source.asked


async def test_strangers_push_out_strangers_only() -> None:
    cached = Cached(size=3)
    cached.source.values["good"] = "1"
    await cached.get("good")
    for n in range(10):
        await cached.get(f"stranger {n}")
    assert cached.cache.fresh("good") is not None
    assert [n for n in range(10) if cached.cache.fresh(f"stranger {n}")] == [7, 8, 9]
    for n in range(3):
        cached.source.values[f"good {n}"] = "1"
        await cached.get(f"good {n}")
    assert cached.cache.fresh("good") is None


async def test_the_answer_longest_out_of_use_makes_room() -> None:
    cached = Cached(size=2)
    cached.source.values = {"a": "1", "b": "1", "c": "1"}
    await cached.get("a")
    await cached.get("b")
    cached.clock.now += 4
    await cached.get("a")
    await cached.get("c")
    assert cached.cache.fresh("a") is not None
    assert cached.cache.fresh("c") is not None
    assert cached.source.asked == ["a", "b", "a", "c"]


async def test_closing_frees_those_who_wait() -> None:
    cached = Cached()
    cached.source.open.clear()
    waiter = asyncio.create_task(cached.get("a"))
    await eventually("the source is asked", lambda: cached.source.asked == ["a"])
    await cached.cache.close()
    with pytest.raises(StoreUnavailable):
        await waiter
    assert cached.source.at_once == 0


async def test_a_fault_of_ours_is_not_taken_for_an_outage() -> None:
    cached = Cached()

    async def broken() -> str | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await cached.cache.get("a", broken)
    assert await cached.get("a") is None
