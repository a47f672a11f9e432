"""An upstream that ends, politely or not, over plain sockets and TLS: the gateway stops at once, too.

A transport that is closed may wait for its peer to take what is written, and under TLS for its close_notify,
half a minute for one that never sends it. Nobody here waits for that: no client, and no connection is kept.
"""

from __future__ import annotations

import asyncio
import fcntl
import termios
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic
from typing import Literal, TypeVar

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import (
    CUTS,
    EVENT,
    JSON,
    LAST_EVENT,
    SSE,
    STREAM_HEAD,
    UNARY,
    WHOLE,
    ask,
    error_event,
    idle,
    refusal,
)
from tests.support.census import sockets
from tests.support.eventually import eventually
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.script import (
    LAST_CHUNK,
    Step,
    chunk,
    goodbye,
    keep_open,
    response_bytes,
    send,
    stop_reading,
    wait_for,
)
from tests.support.stack import Stack
from tests.support.tls import TestCertificates

SOON = 1.0
"""Seconds; it takes some milliseconds where nothing waits."""
TLS_ENDS: dict[str, list[Step]] = CUTS | {
    "close_notify alone": [goodbye(), keep_open()],
    "close_notify, and reads no more": [stop_reading(), goodbye(), keep_open()],
}
PIECE = 10_000
ENDS = [("http", end) for end in CUTS] + [("https", end) for end in TLS_ENDS]
ends = pytest.mark.parametrize(("scheme", "end"), ENDS)
T = TypeVar("T")
Serve = Callable[[str], AbstractAsyncContextManager[tuple[RawUpstream, Stack]]]


@pytest.fixture
def serve(start: Start, certificates: TestCertificates) -> Serve:
    """Runs an upstream of that scheme, and a gateway over it."""

    @asynccontextmanager
    async def serve(scheme: str) -> AsyncIterator[tuple[RawUpstream, Stack]]:
        with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
            yield upstream, await start(upstream.url, ca_file=certificates.ca_file)

    return serve


async def soon(happens: Awaitable[T]) -> T:
    began = monotonic()
    result = await happens
    assert monotonic() - began < SOON
    return result


async def no_socket(upstream: RawUpstream) -> None:
    await eventually("no socket to the upstream", lambda: not sockets(remote={upstream.port}))


@ends
async def test_before_its_first_byte(scheme: str, end: str, serve: Serve) -> None:
    async with serve(scheme) as (upstream, stack):
        upstream.answer_next([wait_for("go"), *TLS_ENDS[end]])
        async with stack.client() as client:
            await client.send(stack.request())
            await upstream.request()
            upstream.set("go")
            assert refusal(await soon(client.read_response())) == (502, "UPSTREAM_FAILED")
        await soon(no_socket(upstream))


@ends
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_in_its_answer(
    scheme: str, end: str, framing: Literal["length", "chunked", "close"], serve: Serve
) -> None:
    whole = response_bytes(200, [SSE], [EVENT, LAST_EVENT], framing)
    sent = whole[: whole.index(EVENT) + len(EVENT)]
    async with serve(scheme) as (upstream, stack):
        upstream.answer_next([send(sent), wait_for("seen"), *TLS_ENDS[end]])
        async with stack.client() as client:
            await client.send(stack.request())
            answer = await client.read_head()
            await client.read_body(answer, len(EVENT))
            upstream.set("seen")
            await soon(client.read_body(answer))
        ending = (await stack.exchange()).ending
        if framing == "length":
            assert (answer.body, answer.ended, ending) == (EVENT, "short", Ending.TRUNCATED)
        elif framing == "close" and end not in ("rst", "fin" if scheme == "https" else ""):
            assert (answer.body, answer.ended, ending) == (EVENT, "complete", Ending.SUSPECT)
        else:
            assert (answer.ended, ending) == ("eof_without_terminator", Ending.TRUNCATED)
            assert error_event(answer.body, EVENT) == 502
        await soon(no_socket(upstream))


@ends
async def test_between_two_requests(scheme: str, end: str, serve: Serve) -> None:
    async with serve(scheme) as (upstream, stack):
        upstream.answer_next([send(WHOLE), wait_for("idle"), *TLS_ENDS[end]])
        upstream.answer_next([send(WHOLE)])
        await ask(stack)
        await idle(stack)
        upstream.set("idle")
        await soon(eventually("none in the pool", lambda: not stack.upstream_states))
        await soon(no_socket(upstream))
        assert (await ask(stack)).body == UNARY
        assert upstream.total_connections == 2


@ends
async def test_just_when_it_is_asked_again(scheme: str, end: str, serve: Serve) -> None:
    async with serve(scheme) as (upstream, stack):
        upstream.answer_next([send(WHOLE)])
        await ask(stack)
        await idle(stack)
        upstream.answer_next(TLS_ENDS[end])
        upstream.answer_next([send(STREAM_HEAD + chunk(LAST_EVENT) + LAST_CHUNK)])
        async with stack.client() as client:
            await client.send(stack.request())
            assert (await soon(client.read_response())).body == LAST_EVENT
        assert [one.connection.index for one in upstream.requests] == [0, 0, 1]


@pytest.mark.parametrize(("scheme", "end"), ENDS)
@pytest.mark.parametrize("answer", [b"", response_bytes(413, [JSON, ("Connection", "close")], UNARY)])
async def test_under_an_upload_that_it_does_not_take(
    scheme: str, end: str, answer: bytes, serve: Serve
) -> None:
    """With an answer and without: the gateway still has bytes for it that it will never take."""
    body = bytes(24 << 20)
    async with serve(scheme) as (upstream, stack):
        script = [stop_reading(), wait_for("stalled"), send(answer), *TLS_ENDS[end]]
        upstream.answer_next(script, after_body=False)
        async with stack.client() as client:
            await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(body)))
            assert await client.send_until_stalled(body) < len(body)
            upstream.set("stalled")
            got = await soon(client.read_response())
            if answer:
                assert (got.status, got.body) == (413, UNARY)
                assert await client.peer_left() == "fin"
            else:
                assert refusal(got) == (502, "UPSTREAM_FAILED")
        await soon(no_socket(upstream))


def in_kernel(transport: asyncio.BaseTransport, what: int) -> int:
    """Bytes that wait in a socket: to be read (FIONREAD) or for the peer to take them (TIOCOUTQ)."""
    count = array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), what, count)
    return count[0]


async def overfill(client: RawClient, stack: Stack) -> None:
    """Send chunks until the socket to the upstream takes no more: it keeps a little, and reads on."""
    [down] = [one.transport for one in stack.connections]
    [up] = [one.transport for one in stack.pool.upstreams[0].connector.open]
    assert down
    assert up
    waiting = before = 0
    while waiting < 10 * PIECE or waiting > before + PIECE // 2:
        await client.send(chunk(bytes(PIECE)))
        await eventually("all of it read", lambda: in_kernel(down, termios.FIONREAD) == 0)
        waiting, before = in_kernel(up, termios.TIOCOUTQ), waiting
    assert down.is_reading()


@ends
@pytest.mark.parametrize("then", ["no more", "the end", "more"])
async def test_with_a_little_of_an_upload_that_it_does_not_take(
    scheme: str, end: str, then: str, serve: Serve
) -> None:
    """So little that the client is not held back for it. What it sends meanwhile goes nowhere, quietly."""
    async with serve(scheme) as (upstream, stack):
        upstream.answer_next([stop_reading(), wait_for("go"), *TLS_ENDS[end]], after_body=False)
        async with stack.client() as client:
            await client.send(stack.request(b"", framing=b"Transfer-Encoding: chunked"))
            await upstream.request()
            await overfill(client, stack)
            if then == "the end":
                await client.send(LAST_CHUNK)
            upstream.set("go")
            answer = asyncio.create_task(soon(client.read_response()))
            while then == "more" and not answer.done():
                await client.send(chunk(bytes(10)))
            assert refusal(await answer) == (502, "UPSTREAM_FAILED")
        await soon(no_socket(upstream))
