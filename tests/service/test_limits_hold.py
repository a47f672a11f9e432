"""Limits hold over all workers of a machine without another server; what a killed one had open returns."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.service.rig import EVENTS, client, request, running
from tests.service.worker_rig import answer, asked, complete, owned, processes
from tests.support.eventually import eventually
from tests.support.gateway import Gateway
from tests.support.loop_thread import DEADLINE
from tests.support.raw_client import RawClient, RawResponse
from tests.support.raw_upstream import RawUpstream

ON_EACH = 3
"""Streams of each of two workers."""
MOST_CONNECTIONS = 200


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        running.answer_always(answer)
        yield running


async def connections(gateway: Gateway, opened: AsyncExitStack, count: int) -> dict[int, list[RawClient]]:
    """So many connections to each worker, by its process."""
    found: dict[int, list[RawClient]] = {process: [] for process in processes(gateway).values()}
    for _ in range(MOST_CONNECTIONS):
        connection = await opened.enter_async_context(client(gateway))
        await eventually("it is accepted", lambda c=connection: owned(gateway, [c]) != [None])  # type: ignore[misc]
        [process] = owned(gateway, [connection])
        assert process
        found[process].append(connection)
        if all(len(some) >= count for some in found.values()):
            return {process: some[:count] for process, some in found.items()}
    raise AssertionError("a worker gets no connections")


async def begin(gateway: Gateway, connection: RawClient) -> RawResponse:
    """A stream whose first event has arrived, or the refusal that came instead."""
    await connection.send(request(gateway.token))
    head = await connection.read_head()
    return await connection.read_body(head, EVENTS[0] if head.status == 200 else None)


def message(refusal: RawResponse) -> str:
    """Of a block."""
    assert refusal.status == 429
    return str(json.loads(refusal.body)["message"])


async def test_all_workers_count_together(tmp_path: Path, upstream: RawUpstream) -> None:
    settings = {"SERVER__WORKERS": "2", "LIMITS__REQUESTS_PER_MINUTE": "20"}
    with running(tmp_path, upstream, **settings) as gateway:
        async with AsyncExitStack() as opened:
            (one,), (other,) = (await connections(gateway, opened, 1)).values()
            statuses = [await asked(gateway, connection) for _ in range(11) for connection in (one, other)]
    assert statuses == [200] * 20 + [429] * 2


async def test_what_a_killed_worker_had_open_comes_back(tmp_path: Path, upstream: RawUpstream) -> None:
    settings = {"SERVER__WORKERS": "2", "LIMITS__CONCURRENT_REQUESTS": str(2 * ON_EACH)}
    with running(tmp_path, upstream, **settings) as gateway:
        async with AsyncExitStack() as opened:
            doomed, spared = (await connections(gateway, opened, ON_EACH + 1)).items()
            streams = {
                process: [(connection, await begin(gateway, connection)) for connection in some[:ON_EACH]]
                for process, some in (doomed, spared)
            }
            assert {stream.status for some in streams.values() for _, stream in some} == {200}
            for _, some in (doomed, spared):
                refusal = await begin(gateway, some[ON_EACH])
                assert message(refusal) == "ai gateway concurrent request limit exceeded"
                assert not refusal.header("Retry-After")

            os.kill(doomed[0], signal.SIGKILL)
            for connection, stream in streams[doomed[0]]:
                await connection.read_body(stream)
                assert stream.ended in ("eof_without_terminator", "reset")
            more = [await opened.enter_async_context(client(gateway)) for _ in range(ON_EACH + 1)]
            # The kernel ends a killed process's connections a moment before it gives back its locks.
            first = await begin(gateway, more[0])
            async with asyncio.timeout(DEADLINE):
                while first.status == 429:
                    first = await begin(gateway, more[0])
            answers = [
                (more[0], first),
                *[(connection, await begin(gateway, connection)) for connection in more[1:]],
            ]
            assert [stream.status for _, stream in answers] == [200] * ON_EACH + [429]
            upstream.set("go")
            await complete([*streams[spared[0]], *answers[:ON_EACH]])
            assert await asked(gateway, answers[ON_EACH][0]) == 200
