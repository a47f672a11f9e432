"""A limit remembers what was used when the gateway is started anew in the middle of a minute."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from tests.service.rig import SLOW_STREAM, UPSTREAM_KEY, ask, over
from tests.service.test_workers_ending import ended
from tests.service.worker_rig import begin, processes, total
from tests.support.eventually import eventually
from tests.support.gateway import Gateway, start_gateway
from tests.support.raw_upstream import RawUpstream
from tests.support.redis_server import RedisServer
from tests.support.script import Script, response
from tests.support.upstream_request import UpstreamRequest

TOKENS, REQUESTS = 100_000, 100
"""A minute; more than is used here."""
USED = 900
"""Tokens that each unary answer reports."""
ASKED = 5
LEAST_RESERVED = 500
"""For one request of which next to nothing is known."""
_USAGE = {"promptTokenCount": USED - 1, "candidatesTokenCount": 1, "totalTokenCount": USED}
_UNARY = response(
    headers=[("Content-Type", "application/json")], body=json.dumps({"usageMetadata": _USAGE}).encode()
)


def answer(request: UpstreamRequest) -> Script:
    return SLOW_STREAM if "stream" in request.target else _UNARY


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        running.answer_always(answer)
        yield running


@pytest.fixture(params=["memory", "redis"])
def counters(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings. On Redis what a killed gateway had open counts until its leases end: there is room for it."""
    if request.param == "memory":
        yield {"LIMITS__CONCURRENT_REQUESTS": "3"}
        return
    server = RedisServer()
    try:
        yield {"COUNTERS__URL": server.url, "LIMITS__CONCURRENT_REQUESTS": "5"}
    finally:
        server.stop()


@contextmanager
def started(folder: Path, upstream: RawUpstream, counters: dict[str, str]) -> Iterator[Gateway]:
    """A gateway with two workers on that folder, which has ended in the end, in whatever way."""
    settings = {
        "SERVER__WORKERS": "2",
        "LIMITS__TOKENS_PER_MINUTE": str(TOKENS),
        "LIMITS__REQUESTS_PER_MINUTE": str(REQUESTS),
    }
    environment = {f"GATEWAY_{name}": value for name, value in (settings | counters).items()}
    gateway = start_gateway(folder, over(upstream), environment | {"SERVICE_UPSTREAM_KEY": UPSTREAM_KEY})
    try:
        yield gateway
    finally:
        if gateway.process.popen.poll() is None:
            gateway.stop()


async def kill_all(gateway: Gateway) -> None:
    """`kill -9` of every process at once."""
    workers = processes(gateway).values()
    for process in (gateway.process.popen.pid, *workers):
        os.kill(process, signal.SIGKILL)
    gateway.process.wait()
    await eventually("the workers are gone", lambda: all(map(ended, workers)))


def remaining(gateway: Gateway) -> tuple[int, int]:
    """Tokens and requests that are left in the minute, says the answer to one more request."""
    reply = ask(gateway.url, gateway.token)
    assert reply.status == 200
    assert 0 < int(reply.headers["x-ratelimit-reset-tokens"]) <= 61
    return (
        int(reply.headers["x-ratelimit-remaining-tokens"]),
        int(reply.headers["x-ratelimit-remaining-requests"]),
    )


async def test_a_limit_remembers(tmp_path: Path, upstream: RawUpstream, counters: dict[str, str]) -> None:
    async with AsyncExitStack() as opened:
        with started(tmp_path, upstream, counters) as gateway:
            tokens, requests = remaining(gateway)
            for _ in range(ASKED - 1):
                remaining(gateway)
            assert gateway.stop() == 0
        with started(tmp_path, upstream, counters) as gateway:
            # Neither had learnt anything when it was asked: both reserved the same for that request.
            assert remaining(gateway) == (tokens - ASKED * USED, requests - ASKED)
            await eventually("it is settled", lambda: total(gateway, "gateway_requests_total") == 1)
            await begin(gateway, opened, 2)
            await kill_all(gateway)
        with started(tmp_path, upstream, counters) as gateway:
            after = remaining(gateway)
            # What the two streams had reserved stays; as they were open they count no more.
            assert after[0] <= tokens - (ASKED + 1) * USED - 2 * LEAST_RESERVED
            assert after[1] == requests - ASKED - 3
            await begin(gateway, opened, 3)
            upstream.set("go")
