"""Neither side is read faster than the other takes it, and what a stream holds meanwhile is bounded."""

from __future__ import annotations

import asyncio

import pytest

from tests.relay.conftest import Start
from tests.relay.parts import UNARY, WHOLE
from tests.support.raw_upstream import RawUpstream
from tests.support.script import (
    LAST_CHUNK,
    Step,
    chunk,
    read_body,
    resume_reading,
    send,
    stop_reading,
    wait_for,
)
from tests.support.stack import Stack
from tests.support.tls import TestCertificates

MEBIBYTE = 1 << 20
PIECE = bytes(range(256)) * 256
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
IN_KERNEL = 14 * MEBIBYTE
"""The most that two sockets' buffers may hold."""
IN_GATEWAY = MEBIBYTE
"""The most that the gateway itself may hold of a stream: its largest read and a transport's high mark."""


def much(framing: str, size: int) -> list[Step]:
    """An answer of that size, which a script sends piece by piece."""
    pieces = size // len(PIECE)
    if framing == "chunked":
        piece, head, end = chunk(PIECE), b"Transfer-Encoding: chunked", LAST_CHUNK
    else:
        piece, head, end = PIECE, b"Content-Length: %d" % size, b""
    return [send(HEAD + head + b"\r\n\r\n"), *[send(piece)] * pieces, send(end)]


def held(stack: Stack) -> int:
    """Bytes that the gateway has taken and not written, of all its connections."""
    upstreams = [one.transport for upstream in stack.pool.upstreams for one in upstream.connector.open]
    transports = [*upstreams, *(one.transport for one in stack.connections)]
    return sum(transport.get_write_buffer_size() for transport in transports if transport)


@pytest.mark.parametrize(("scheme", "framing"), [("http", "chunked"), ("https", "length")])
async def test_a_client_that_does_not_read_stops_the_upstream(
    scheme: str, framing: str, start: Start, certificates: TestCertificates
) -> None:
    size = 24 * MEBIBYTE
    tls = certificates.server.context() if scheme == "https" else None
    with RawUpstream(tls=tls, send_buffer=65_536) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        upstream.answer_next(much(framing, size))
        async with stack.client(receive_buffer=65_536) as client:
            await client.send(stack.request())
            answer = await client.read_head()
            request = await upstream.request()
            taken = await request.answer_stalled()
            assert taken < IN_KERNEL
            assert 0 < held(stack) < IN_GATEWAY
            await client.read_body(answer, 4 * MEBIBYTE)
            assert taken < await request.answer_stalled() < IN_KERNEL + len(answer.body)
            assert held(stack) < IN_GATEWAY
            await client.read_body(answer, deadline=20)
        assert (answer.ended, len(answer.body)) == ("complete", size)
        assert answer.body.count(PIECE) == size // len(PIECE)
    assert (await stack.exchange()).response_bytes == size


@pytest.mark.parametrize(("scheme", "framing"), [("http", "chunked"), ("https", "length")])
async def test_an_upstream_that_does_not_read_stops_the_client(
    scheme: str, framing: str, start: Start, certificates: TestCertificates
) -> None:
    body = PIECE * 480
    tls = certificates.server.context() if scheme == "https" else None
    with RawUpstream(tls=tls, receive_buffer=65_536) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        script = [stop_reading(), wait_for("read"), resume_reading(), wait_for("answer"), send(WHOLE)]
        upstream.answer_next(script, after_body=False)
        async with stack.client() as client:
            if framing == "chunked":
                await client.send(stack.chunked_request())
                rest = chunk(body) + LAST_CHUNK
            else:
                await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(body)))
                rest = body
            taken = await client.send_until_stalled(rest)
            assert taken < IN_KERNEL
            assert 0 < held(stack) < IN_GATEWAY
            upstream.set("read")
            await client.send(rest[taken:])
            assert await upstream.requests[0].whole_body() == body
            upstream.set("answer")
            assert (await client.read_response()).body == UNARY
    assert (await stack.exchange()).request_bytes == len(body)


async def test_both_sides_stalled_at_once_and_then_not(stack: Stack, upstream: RawUpstream) -> None:
    """An answer that begins before its request has ended: neither direction waits for the other."""
    size, body = 24 * MEBIBYTE, PIECE * 300
    *beginning, end = much("chunked", size)
    stalled = [stop_reading(), *beginning[:200], wait_for("read"), resume_reading(), *beginning[200:]]
    upstream.answer_next([*stalled, read_body(), end], after_body=False)
    async with stack.client(receive_buffer=65_536) as client:
        await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(body)))
        taken = await client.send_until_stalled(body)
        assert taken < len(body)
        assert await upstream.requests[0].answer_stalled() < size
        assert held(stack) < 2 * IN_GATEWAY
        upstream.set("read")
        sending = asyncio.create_task(client.send(body[taken:]))
        answer = await client.read_response(deadline=20)
        await sending
    assert (answer.ended, len(answer.body)) == ("complete", size)
    assert await upstream.requests[0].whole_body() == body


async def test_a_client_that_reads_slowly_is_not_cut(start: Start, upstream: RawUpstream) -> None:
    """At its pace the kernel has room for more only after many times the deadline."""
    stack = await start(write=0.3, idle=0.3)
    upstream.answer_next(much("length", 16 * MEBIBYTE))
    loop = asyncio.get_running_loop()
    async with stack.client(receive_buffer=16_384) as client:
        await client.send(stack.request())
        await client.read_head()
        for _ in range(30):
            due = loop.create_future()
            loop.call_later(0.05, due.set_result, None)
            await client.read_exactly(8000)
            await due
        assert stack.relay.live
