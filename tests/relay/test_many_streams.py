"""Thousands of streams at once, through a gateway in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest

from gateway.upstreams.connector import MAX_IDLE
from tests.relay.parts import EVENT, LAST_EVENT, STREAM_HEAD
from tests.support.eventually import eventually
from tests.support.gateway import Gateway, start_gateway
from tests.support.machine import open_files
from tests.support.raw_client import RawClient, RawResponse
from tests.support.script import LAST_CHUNK, chunk

STREAMS = 5000
FILES = 2 * STREAMS + 500
"""Open in this process: the clients' ends and the upstream's."""
CONFIGURATION = """
[[upstreams]]
name = "studio"
kind = "ai-studio"
base_url = "http://127.0.0.1:{port}"
keys = ["env:UPSTREAM_KEY"]
"""


class Upstream(asyncio.Protocol):
    """Answers every request with the beginning of a stream, and ends all of them when told to."""

    open: set[asyncio.Transport] = set()  # noqa: RUF012 - of the one upstream there is

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.open.add(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        assert data.endswith(b"\r\n\r\n{}")
        self.transport.write(STREAM_HEAD + chunk(EVENT))


@pytest.fixture
async def upstream_port() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for transport in tuple(Upstream.open):
        transport.abort()


@pytest.fixture
def files() -> Iterator[None]:
    with open_files(FILES):
        yield


@pytest.fixture
def gateway(tmp_path: Path, files: None, upstream_port: int) -> Iterator[Gateway]:
    running = start_gateway(
        tmp_path, CONFIGURATION.format(port=upstream_port), {"UPSTREAM_KEY": "the-upstreams-key"}
    )
    yield running
    assert running.stop() == 0


async def begin(client: RawClient, request: bytes) -> RawResponse:
    await client.connect()
    await client.send(request)
    return await client.read_body(await client.read_head(), len(EVENT))


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_thousands_of_open_streams(gateway: Gateway) -> None:
    url = urlsplit(gateway.url)
    assert url.hostname
    assert url.port
    request = (
        f"POST /v1/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse HTTP/1.1\r\n"
        f"Host: x\r\nx-goog-api-key: {gateway.token}\r\nContent-Length: 2\r\n\r\n{{}}"
    ).encode()
    clients = [RawClient(url.hostname, url.port, deadline=60) for _ in range(STREAMS)]
    try:
        answers: list[RawResponse] = []
        for first in range(0, STREAMS, 250):
            batch = clients[first : first + 250]
            answers += await asyncio.gather(*(begin(client, request) for client in batch))
        assert len(Upstream.open) == STREAMS
        for transport in Upstream.open:
            transport.write(chunk(LAST_EVENT) + LAST_CHUNK)
        for client, answer in zip(clients, answers, strict=True):
            await client.read_body(answer)
        assert {answer.body for answer in answers} == {EVENT + LAST_EVENT}
        assert {answer.ended for answer in answers} == {"complete"}
        await eventually("only as many connections as may be idle", lambda: len(Upstream.open) <= MAX_IDLE)
    finally:
        for client in clients:
            client.close()
