"""The limit of connections, the limit of files, and many streams through one process at once."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.service.rig import (
    EVENTS,
    SLOW_STREAM,
    access_lines,
    ask,
    at_home,
    client,
    metric,
    request,
    running,
)
from tests.service.test_output import ADMIN
from tests.support.eventually import eventually
from tests.support.gateway import Gateway
from tests.support.machine import program
from tests.support.process import Process
from tests.support.raw_client import RawClient, RawResponse
from tests.support.raw_upstream import RawUpstream

LIMIT = 4
STREAMS = 500
"""5,000 go as well, but take this test client half a minute."""
STREAM_BYTES = 100_000
"""Of memory, more than a stream that waits may take."""


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        running.answer_always(SLOW_STREAM)
        yield running


async def begin(gateway: Gateway, connection: RawClient) -> RawResponse:
    """Ask for a stream; returns with its first event."""
    await connection.send(request(gateway.token))
    return await connection.read_body(await connection.read_head(), EVENTS[0])


@pytest.mark.parametrize("asks", [True, False])
async def test_a_connection_too_many_is_told_to_come_again(
    tmp_path: Path, upstream: RawUpstream, asks: bool
) -> None:
    with running(tmp_path, upstream, SERVER__MAX_CONNECTIONS=str(LIMIT)) as gateway:
        async with AsyncExitStack() as taken:
            connections = [await taken.enter_async_context(client(gateway)) for _ in range(LIMIT)]
            streams = [(connection, await begin(gateway, connection)) for connection in connections]
            async with client(gateway) as beyond:
                if asks:
                    await beyond.send(request(gateway.token))
                answer = await beyond.read_response()
                assert (answer.status, answer.ended) == (503, "complete")
                assert b'"message":"gateway overloaded"' in answer.body
                assert answer.header("Retry-After") != []
                assert answer.header("Connection") == ["close"]
                assert await beyond.peer_left() == "fin"
            assert len(upstream.requests) == LIMIT
            upstream.set("go")
            for connection, stream in streams:
                assert (await connection.read_body(stream)).ended == "complete"
        await eventually("there is room again", lambda: ask(gateway.url, gateway.token).status == 200)


@pytest.mark.parametrize(("hard", "reached"), [(4096, 2256), (1024, 1024)])
def test_the_limit_of_files_is_raised_as_far_as_needed(tmp_path: Path, hard: int, reached: int) -> None:
    """Two for each connection and some; where that can't be, it is said."""
    process = Process(
        ["serve"],
        at_home(tmp_path, SERVER__MAX_CONNECTIONS="1000"),
        prefix=[program("prlimit"), f"--nofile=64:{hard}"],
    )
    try:
        assert metric(process.wait_for_line(ADMIN)[1], "process_max_fds") == reached
    finally:
        code = process.stop()
    assert code == 0
    assert any("open files are limited" in line for line in process.log_lines()) == (reached == hard)


@pytest.fixture
def streams() -> Iterator[int]:
    """How many this process can hold both ends of."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield STREAMS if hard == resource.RLIM_INFINITY else min(STREAMS, (hard - 200) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_many_streams_at_once(tmp_path: Path, upstream: RawUpstream, streams: int) -> None:
    with running(tmp_path, upstream, LIMITS__TOKENS_PER_MINUTE="0") as gateway:
        before = metric(gateway.admin_url, "process_resident_memory_bytes")
        async with AsyncExitStack() as opened:
            connections = [await opened.enter_async_context(client(gateway)) for _ in range(streams)]
            begun = await asyncio.gather(*(begin(gateway, connection) for connection in connections))
            assert metric(gateway.admin_url, "gateway_open_requests") == streams
            held = metric(gateway.admin_url, "process_resident_memory_bytes") - before
            assert held / streams < STREAM_BYTES
            upstream.set("go")
            ends = zip(connections, begun, strict=True)
            await asyncio.gather(*(connection.read_body(stream) for connection, stream in ends))
            assert {(stream.status, stream.ended, stream.body) for stream in begun} == {
                (200, "complete", b"".join(EVENTS))
            }
        assert gateway.stop() == 0
        lines = access_lines(gateway.log_lines())
    assert [(line["ending"], line["total_tokens"]) for line in lines] == [("complete", 5)] * streams
