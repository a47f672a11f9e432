"""The server of the counters while it is away, slow or takes nothing: it holds nobody up, and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from gateway.counters.pipeline import DEADLINE, MOST_WAITING
from gateway.counters.redis import RedisCounters
from gateway.errors import CountersUnavailable
from gateway.limits import Limits
from tests.counters.rig import LENIENT, admit, rules
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer

OPEN = rules(Limits(concurrent_requests=3))
REQUESTS = rules(Limits(requests_per_minute=1000))
TOKENS = rules(Limits(tokens_per_minute=1000))


@pytest.fixture
async def own() -> AsyncIterator[tuple[RedisServer, RedisCounters]]:
    """A server that the test may stop, and counters on it, by the server's clock."""
    server = RedisServer()
    counters = RedisCounters(server.url, deadline=LENIENT)
    await admit(counters, REQUESTS)
    yield server, counters
    await counters.close()
    server.stop()


@pytest.fixture
async def hasty(own: tuple[RedisServer, RedisCounters]) -> AsyncIterator[RedisCounters]:
    """Others on that server, connected, and with the deadline that counters have in earnest."""
    server, _ = own
    counters = RedisCounters(server.url)
    while True:
        try:
            await admit(counters, REQUESTS)
            break
        except CountersUnavailable:
            await back(counters)
    yield counters
    await counters.close()


async def back(counters: RedisCounters) -> None:
    await eventually("the server is asked again", lambda: counters.available)


async def test_while_the_server_is_away_it_is_said_so_and_then_no_more(
    own: tuple[RedisServer, RedisCounters],
) -> None:
    server, counters = own
    admission = await admit(counters, OPEN)
    server.stop()
    with pytest.raises(CountersUnavailable, match="ConnectionError"):
        await admit(counters, REQUESTS)
    assert not counters.available
    with pytest.raises(CountersUnavailable, match="ConnectionError"):
        await counters.levels(REQUESTS)
    counters.settle(admission, 1, 1, final=True)
    assert counters.unsettled == 1
    server.start()
    await back(counters)
    assert (await admit(counters, REQUESTS)).blocked_by is None
    assert await counters.levels(REQUESTS) == [1]


async def test_a_server_that_was_never_there() -> None:
    server = RedisServer()
    server.stop()
    counters = RedisCounters(server.url, deadline=LENIENT)
    with pytest.raises(CountersUnavailable):
        await admit(counters, REQUESTS)
    server.start()
    await back(counters)
    assert (await admit(counters, REQUESTS)).blocked_by is None
    await counters.close()
    server.stop()


async def test_a_server_that_does_not_answer_holds_nobody_up(
    own: tuple[RedisServer, RedisCounters], hasty: RedisCounters
) -> None:
    (server, _), counters = own, hasty
    server.freeze(frozen=True)
    begin = time.monotonic()
    verdicts = await asyncio.gather(*(admit(counters, REQUESTS) for _ in range(100)), return_exceptions=True)
    took = time.monotonic() - begin
    assert {type(verdict) for verdict in verdicts} == {CountersUnavailable}
    assert DEADLINE / 2 <= took < DEADLINE + 0.5
    begin = time.monotonic()
    with pytest.raises(CountersUnavailable, match="TimeoutError"):
        await admit(counters, REQUESTS)
    assert time.monotonic() - begin < DEADLINE / 4
    server.freeze(frozen=False)
    await back(counters)
    standing = (await admit(counters, rules(Limits(tokens_per_minute=77)))).token_standing
    assert standing  # not what somebody else asked for before
    assert standing.limit == 77


async def test_who_had_to_wait_for_too_long_is_not_sent(hasty: RedisCounters) -> None:
    counters = hasty
    before = await counters.levels(REQUESTS)
    first = asyncio.create_task(admit(counters, REQUESTS))
    late = asyncio.create_task(admit(counters, REQUESTS))
    await asyncio.sleep(0)
    time.sleep(DEADLINE)  # the event loop has no time for it
    with pytest.raises(CountersUnavailable, match="too slow"):
        await late
    with pytest.raises(CountersUnavailable, match="too slow"):
        await first
    assert counters.available
    assert await counters.levels(REQUESTS) == before


async def test_what_a_request_used_is_told_however_late(
    own: tuple[RedisServer, RedisCounters], hasty: RedisCounters
) -> None:
    _, patient = own
    admission = await admit(hasty, TOKENS, 500)
    hasty.settle(admission, 700, None, final=True)
    time.sleep(DEADLINE)  # the event loop has no time for it
    await hasty.close()
    assert (hasty.unsettled, await patient.levels(TOKENS)) == (0, [700])


async def test_an_answer_that_nobody_had_time_to_read_is_no_failure(hasty: RedisCounters) -> None:
    admission = asyncio.create_task(admit(hasty, REQUESTS))
    for _ in range(8):  # turns of the loop, until it is sent
        await asyncio.sleep(0)
    time.sleep(DEADLINE)
    assert (await admission).blocked_by is None


async def test_no_more_wait_than_may(own: tuple[RedisServer, RedisCounters]) -> None:
    server, counters = own
    admission = await admit(counters, REQUESTS)
    server.freeze(frozen=True)
    for _ in range(MOST_WAITING):
        counters.settle(admission, 1, 1, final=True)
    assert counters.unsettled == 0
    with pytest.raises(CountersUnavailable, match="too many requests wait"):
        await admit(counters, REQUESTS)
    server.freeze(frozen=False)


async def test_a_server_that_forgot_the_script_is_told_it_again(
    own: tuple[RedisServer, RedisCounters],
) -> None:
    server, counters = own
    server.client().script_flush()
    verdicts = await asyncio.gather(*(admit(counters, REQUESTS) for _ in range(5)))
    assert [verdict.blocked_by for verdict in verdicts] == [None] * 5
    assert await counters.levels(REQUESTS) == [6]
    assert counters.available


async def test_a_server_that_takes_nothing_is_away(own: tuple[RedisServer, RedisCounters]) -> None:
    server, counters = own
    client = server.client()
    client.config_set("maxmemory", 1)
    with pytest.raises(CountersUnavailable, match="OutOfMemoryError"):
        await admit(counters, rules(Limits(tokens_per_day=7)))
    failed = client.info("errorstats")["errorstat_OOM"]["count"]
    await eventually(
        "it is tried again, in vain", lambda: client.info("errorstats")["errorstat_OOM"]["count"] > failed
    )
    assert not counters.available
    client.config_set("maxmemory", 0)
    await back(counters)
    assert (await admit(counters, rules(Limits(tokens_per_day=7)))).blocked_by is None
    client.close()
