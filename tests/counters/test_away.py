"""Requests are admitted, or refused, while the counters' server is away: said once, and in the figures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.counters.memory import MemoryCounters
from gateway.counters.redis import RedisCounters
from gateway.errors import CountersUnavailable, GatewayError
from gateway.exchange import Exchange
from gateway.limiter import STEADY_SECONDS, Limiter
from gateway.limits import Limits
from gateway.stores.sqlite import SqliteStore
from gateway.token_usage import Usage
from tests.counters.rig import LENIENT
from tests.support.eventually import eventually
from tests.support.finished import finished
from tests.support.identity import Clock, damaged, opened
from tests.support.redis_server import RedisServer

LIMITS = Limits(requests_per_minute=3)


@dataclass
class Rig:
    """A limiter over a server that the test may stop."""

    limiter: Limiter
    server: RedisServer
    redis: RedisCounters
    store: SqliteStore
    store_path: Path
    clock: Clock

    async def admitted(self) -> Exchange:
        """One more request, which may go on."""
        exchange = finished(usage=Usage(prompt=7, total=7))
        if waiting := self.limiter.admit(exchange, 10):
            await waiting
        return exchange

    async def back(self) -> None:
        """The server is there again, and the counters know it."""
        self.server.start()
        await eventually("the server is asked again", lambda: self.redis.available)


@pytest.fixture(params=["admit", "refuse"])
def when_away(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def rig(tmp_path: Path, when_away: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Rig]:
    caplog.set_level(logging.INFO)
    server = RedisServer()
    redis, memory = RedisCounters(server.url, deadline=LENIENT), MemoryCounters(tmp_path / "counters")
    clock = Clock()
    path = tmp_path / "gateway.db"
    async with opened(path) as store:
        limiter = Limiter(
            redis,
            store,
            defaults=LIMITS,
            counters_away=memory if when_away == "admit" else None,
            clock=clock,
        )
        await limiter.look()
        yield Rig(limiter, server, redis, store, path, clock)
        await redis.close()
        await memory.close()
    server.stop()


async def test_an_outage_is_told_once_and_ends_when_all_has_been_well_for_a_while(
    rig: Rig, when_away: str, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = rig.limiter
    open_before = await rig.admitted()
    assert (limiter.counters_away, caplog.messages) == (False, [])
    rig.server.stop()
    for number in range(3):
        if when_away == "admit":
            limiter.settle(await rig.admitted())  # by this machine's own count
        else:
            with pytest.raises(GatewayError, match="503 OVERLOADED"):
                await rig.admitted()
        assert limiter.counters_away, number
    if when_away == "admit":
        with pytest.raises(GatewayError, match="429"):
            await rig.admitted()
    assert limiter.unsettled == 0
    limiter.settle(open_before)
    assert limiter.unsettled == 1
    await rig.back()
    await rig.admitted()
    assert limiter.counters_away  # for a while yet: it may go away again at once
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert caplog.messages[0].startswith("counters are away: ")
    rig.clock.now += STEADY_SECONDS
    assert not limiter.counters_away
    await rig.admitted()
    assert caplog.messages[1:] == ["counters are back"]
    await rig.admitted()
    with pytest.raises(GatewayError, match="429"):
        await rig.admitted()
    assert len(caplog.records) == 2


async def test_a_server_that_comes_and_goes_is_not_told_of_each_time(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        rig.server.stop()
        with pytest.raises(CountersUnavailable):
            await rig.redis.levels([])
        await asyncio.gather(rig.admitted(), return_exceptions=True)
        await rig.back()
        await asyncio.gather(rig.admitted(), return_exceptions=True)
        rig.clock.now += STEADY_SECONDS / 2
    assert [message.partition(":")[0] for message in caplog.messages] == ["counters are away"]


async def test_the_store_being_away_is_told_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    with damaged(rig.store_path):
        for _ in range(3):
            await rig.limiter.look_or_wait()
            assert rig.limiter.store_away
    for _ in range(3):
        await rig.limiter.look_or_wait()
        assert not rig.limiter.store_away
    assert [(record.levelname, record.getMessage().partition(",")[0]) for record in caplog.records] == [
        ("ERROR", "the store is away"),
        ("WARNING", "the store is back"),
    ]
