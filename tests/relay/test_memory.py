"""What a gateway's process grows by while many streams stand still: little, however much is offered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.relay.parts import UNARY, WHOLE
from tests.support.gateway import Gateway, start_gateway
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.script import resume_reading, send, stop_reading, wait_for
from tests.support.tls import TestCertificates

MEBIBYTE = 1 << 20
CLIENTS = 20
OFFERED = 24 * MEBIBYTE
GROWTH = 60 * MEBIBYTE
"""Of the 480 MiB that all of them offer. TLS holds more than plain sockets do."""
CONFIGURATION = """
[[upstreams]]
name = "studio"
kind = "ai-studio"
base_url = "{url}"
keys = ["env:UPSTREAM_KEY"]
"""
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


@pytest.fixture(params=["http", "https"])
def upstream(request: pytest.FixtureRequest, certificates: TestCertificates) -> Iterator[RawUpstream]:
    with RawUpstream(tls=certificates.server.context() if request.param == "https" else None) as running:
        yield running


@pytest.fixture
def gateway(tmp_path: Path, upstream: RawUpstream, certificates: TestCertificates) -> Iterator[Gateway]:
    configuration = CONFIGURATION.format(url=upstream.url)
    if upstream.tls:
        configuration += f'ca_file = "{certificates.ca_file}"'
    running = start_gateway(tmp_path, configuration, {"UPSTREAM_KEY": "the-upstreams-key"})
    yield running
    assert running.stop() == 0


def most_memory(gateway: Gateway) -> int:
    """The most bytes that its process has held so far."""
    status = Path(f"/proc/{gateway.process.popen.pid}/status").read_text("ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) * 1024


async def connected(gateway: Gateway, body_length: int, **options: int) -> RawClient:
    """A client that has sent the head of a request."""
    url = urlsplit(gateway.url)
    client = RawClient(url.hostname or "", url.port or 0, deadline=30, **options)
    await client.connect()
    await client.send(
        f"POST /v1/gemini/v1beta/models/gemini-2.5-flash:generateContent HTTP/1.1\r\nHost: x\r\n"
        f"x-goog-api-key: {gateway.token}\r\nContent-Length: {body_length}\r\n\r\n".encode()
    )
    return client


async def warm_up(gateway: Gateway, upstream: RawUpstream) -> int:
    """One request of the same size that flows; what the process holds then."""
    upstream.answer_next([send(WHOLE)])
    client = await connected(gateway, OFFERED)
    await client.send(bytes(OFFERED))
    assert (await client.read_response()).body == UNARY
    client.close()
    return most_memory(gateway)


async def test_clients_that_do_not_read(gateway: Gateway, upstream: RawUpstream) -> None:
    before = await warm_up(gateway, upstream)
    upstream.answer_always(
        [send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % OFFERED), send(bytes(OFFERED))]
    )
    clients = [await connected(gateway, 0, receive_buffer=65_536) for _ in range(CLIENTS)]
    answers = [await client.read_head() for client in clients]
    await asyncio.gather(*(request.answer_stalled(deadline=30) for request in upstream.requests[1:]))
    for client, answer in zip(clients, answers, strict=True):
        await client.read_body(answer)
        client.close()
        assert (answer.ended, len(answer.body)) == ("complete", OFFERED)
    grown = most_memory(gateway) - before
    assert grown < GROWTH


async def test_upstreams_that_do_not_read(gateway: Gateway, upstream: RawUpstream) -> None:
    before = await warm_up(gateway, upstream)
    upstream.answer_always(
        [stop_reading(), wait_for("go on"), resume_reading(), send(WHOLE)], after_body=False
    )
    clients = [await connected(gateway, OFFERED) for _ in range(CLIENTS)]
    body = bytes(OFFERED)
    sent = await asyncio.gather(*(client.send_until_stalled(body) for client in clients))
    assert max(sent) < OFFERED
    grown = most_memory(gateway) - before
    for client in clients:
        client.close()
    upstream.set("go on")
    assert grown < GROWTH
