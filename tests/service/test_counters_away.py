"""Redis goes away while requests are served, and comes back: a setting says whether they go on meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.rig import Reply, ask, metric, running
from tests.support.eventually import eventually
from tests.support.gateway import Gateway
from tests.support.redis_server import RedisServer

LIMIT = 5
"""Requests a minute."""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.stop()


def asked(gateway: Gateway) -> Reply:
    return ask(gateway.url, gateway.token)


def told(gateway: Gateway) -> list[str]:
    """What the log says of the counters."""
    return [line for line in gateway.log_lines() if "counters are" in line]


@pytest.mark.parametrize("when_unavailable", ["admit", "refuse"])
async def test_an_outage_of_the_counters(tmp_path: Path, redis: RedisServer, when_unavailable: str) -> None:
    settings = {
        "COUNTERS__URL": redis.url,
        "COUNTERS__WHEN_UNAVAILABLE": when_unavailable,
        "LIMITS__REQUESTS_PER_MINUTE": str(LIMIT),
    }
    with running(tmp_path, **settings) as gateway:
        statuses = [asked(gateway).status for _ in range(2 * LIMIT + 1)]
        assert statuses[-1] == 429  # of those, some may have got no verdict in time on a busy machine
        redis.stop()
        away = [asked(gateway) for _ in range(LIMIT + 1)]
        if when_unavailable == "admit":  # the machine's own limit, of which nothing was used by then
            assert (away[0].status, away[-1].status) == (200, 429)
            assert away[-1].message == "ai gateway per-minute request limit exceeded"
        else:
            assert {(reply.status, reply.message) for reply in away} == {(503, "gateway overloaded")}
            assert {reply.headers["Retry-After"] for reply in away} == {"1"}
        assert metric(gateway.admin_url, "gateway_counters_away") == 1
        assert len(told(gateway)) == 1
        redis.start()  # it remembers nothing
        await eventually("limits are counted there again", lambda: asked(gateway).status == 200)
