"""A server that speaks Redis's protocol, and answers what the script never does: nobody hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.counters.redis import RedisCounters
from gateway.errors import CountersUnavailable
from gateway.limits import Limits
from gateway.quota.admission import Estimate
from tests.counters.rig import LENIENT, answer, rules
from tests.support.eventually import eventually
from tests.support.listener import close

REQUESTS = rules(Limits(requests_per_minute=1000))


@pytest.fixture(params=[b"+OK", b"$-1", b"*1\r\n:7", b"*3\r\n:7\r\n:0\r\n:0", b"*2\r\n$-1\r\n$-1"])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[RedisCounters]:
    """On a server that says that to the script, and OK to all else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while count := await reader.readline():
            arguments = []
            for _ in range(int(count[1:])):
                length = int((await reader.readline())[1:])
                arguments.append((await reader.readexactly(length + 2))[:-2])
            writer.write((request.param if arguments[0] == b"EVALSHA" else b"+OK") + b"\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    counters = RedisCounters(f"redis://127.0.0.1:{port}", deadline=LENIENT)
    yield counters
    await counters.close()
    await close(server)


async def test_each_request_is_told_that_there_is_no_verdict(counters: RedisCounters) -> None:
    async with asyncio.timeout(LENIENT / 2):
        for _ in range(2):
            verdicts = [answer(counters.admit(REQUESTS, Estimate(1, 1))) for _ in range(3)]
            for verdict in await asyncio.gather(*verdicts, return_exceptions=True):
                assert isinstance(verdict, CountersUnavailable)
            assert not counters.available
            await eventually("the server is asked again", lambda: counters.available)
