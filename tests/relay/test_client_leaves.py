"""A client that leaves, in any way and any phase: its upstream request ends at once, and is so recorded."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from time import monotonic

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import EVENT, LAST_EVENT, STREAM_HEAD, UNARY, WHOLE
from tests.support.eventually import eventually
from tests.support.ports import silent_port
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.script import (
    LAST_CHUNK,
    chunk,
    keep_open,
    resume_reading,
    send,
    stop_reading,
    wait_for,
)
from tests.support.stack import Stack
from tests.support.tls import TestCertificates

AT_ONCE = 1.0
"""Seconds; the gateway needs 50 ms where it is reading the client's bytes."""
HELD_BACK = 3.0
"""The gateway looks once a second while it reads nothing."""
WAYS: dict[str, Callable[[RawClient], None]] = {
    "fin": RawClient.close,
    "rst": RawClient.reset,
    "half-close": RawClient.half_close,
}
MUCH = bytes(30 << 20)
ways = pytest.mark.parametrize("leave", WAYS.values(), ids=WAYS)


async def leaves(
    stack: Stack, upstream: RawUpstream, client: RawClient, leave: Callable[[RawClient], None]
) -> None:
    """The client leaves now, and its upstream request, the last one, is ended at once."""
    request = upstream.requests[-1]
    left_at = monotonic()
    leave(client)
    assert (await request.closed()).at - left_at < AT_ONCE
    assert (await stack.exchange()).ending is Ending.CLIENT_ABORTED


@ways
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("seen", [None, b"", EVENT], ids=["no byte", "the head", "an event"])
async def test_while_the_upstream_answers(
    leave: Callable[[RawClient], None],
    scheme: str,
    seen: bytes | None,
    start: Start,
    certificates: TestCertificates,
) -> None:
    sent = b"" if seen is None else STREAM_HEAD + (chunk(seen) if seen else b"")
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        upstream.answer_next([send(sent), keep_open()])
        async with stack.client() as client:
            await client.send(stack.request())
            await (await upstream.request()).whole_body()
            if seen is not None:
                await client.read_body(await client.read_head(), len(seen))
            await leaves(stack, upstream, client, leave)
        exchange = await stack.exchange()
        assert (exchange.status, exchange.response_bytes) == (0 if seen is None else 200, len(seen or b""))
        assert not stack.upstream_states


@ways
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_while_it_sends_its_body(
    leave: Callable[[RawClient], None], framing: str, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([keep_open()])
    async with stack.client() as client:
        if framing == "chunked":
            await client.send(stack.chunked_request(chunk(b"x" * 1000) + b"ff\r\n"))
        else:
            await client.send(stack.request(b"x" * 1000, framing=b"Content-Length: 2000"))
        await (await upstream.request()).body_received(1000)
        await leaves(stack, upstream, client, leave)
    assert (await stack.exchange()).request_bytes == 1000
    assert not upstream.requests[0].body_complete


@ways
async def test_between_its_head_and_its_body(
    leave: Callable[[RawClient], None], stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([keep_open()])
    async with stack.client() as client:
        await client.send(
            stack.request(b"", framing=b"Content-Length: 5", headers=[("Expect", "100-continue")])
        )
        await client.read_head()
        await upstream.request()
        await leaves(stack, upstream, client, leave)


@ways
async def test_while_its_upload_is_held_back(
    leave: Callable[[RawClient], None], stack: Stack, upstream: RawUpstream
) -> None:
    """The upstream takes nothing, so the gateway reads nothing, and is not told of an end behind that."""
    upstream.answer_next([stop_reading(), wait_for("left"), resume_reading(), keep_open()], after_body=False)
    async with stack.client() as client:
        await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(MUCH)))
        [connection] = stack.connections
        transport = connection.transport
        assert transport
        while transport.is_reading():
            await client.send(bytes(10_000))
        left_at = monotonic()
        leave(client)
        exchange = await stack.exchange()
        assert exchange.ended - left_at < HELD_BACK
        assert exchange.ending is Ending.CLIENT_ABORTED
        await eventually("the upstream's connection closed", lambda: not stack.upstream_states)
    upstream.set("left")
    await upstream.connections_open(0)


async def test_by_a_reset_while_the_buffers_are_full(stack: Stack, upstream: RawUpstream) -> None:
    """A FIN would wait in the client's own kernel, behind what the gateway does not take."""
    upstream.answer_next([stop_reading(), wait_for("left"), resume_reading(), keep_open()], after_body=False)
    async with stack.client() as client:
        await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(MUCH)))
        assert await client.send_until_stalled(MUCH) < len(MUCH)
        left_at = monotonic()
        client.reset()
        exchange = await stack.exchange()
        assert exchange.ended - left_at < HELD_BACK
        assert exchange.ending is Ending.CLIENT_ABORTED
    upstream.set("left")


async def test_before_it_is_told_of_a_deadline(start: Start, upstream: RawUpstream) -> None:
    """Its reset is not seen while nothing is read from it; the end of its connection finds it out."""
    stack = await start(idle=0.3)
    upstream.answer_next([stop_reading(), wait_for("left"), resume_reading(), keep_open()], after_body=False)
    async with stack.client() as client:
        await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(MUCH)))
        await client.send_until_stalled(MUCH, quiet=0.05)
        client.reset()
        assert (await stack.exchange()).ending in (Ending.CLIENT_ABORTED, Ending.DEADLINE)
    upstream.set("left")


@ways
async def test_while_it_does_not_read(
    leave: Callable[[RawClient], None], stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(MUCH)), send(MUCH)])
    async with stack.client(receive_buffer=4096) as client:
        await client.send(stack.request())
        assert await (await upstream.request()).answer_stalled() < len(MUCH)
        await leaves(stack, upstream, client, leave)


@ways
async def test_while_a_little_is_still_to_be_written_to_it(
    leave: Callable[[RawClient], None], stack: Stack, upstream: RawUpstream
) -> None:
    """Less than what makes the gateway pause: the end of such a connection must not wait for its reader."""
    pieces = [[wait_for(f"more {number}"), send(chunk(bytes(8000)))] for number in range(2000)]
    upstream.answer_next([send(STREAM_HEAD), *chain.from_iterable(pieces)])
    async with stack.client(receive_buffer=4096) as client:
        await client.send(stack.request())
        await client.read_head()
        [connection] = stack.connections
        transport = connection.transport
        assert transport
        numbers = iter(range(2000))
        while not transport.get_write_buffer_size():
            sent = upstream.requests[0].sent
            upstream.set(f"more {next(numbers)}")
            await upstream.requests[0].answer_sent(sent + 8000)
        assert not connection.writing_paused
        await leaves(stack, upstream, client, leave)


@ways
async def test_while_its_upstream_is_being_connected_to(
    leave: Callable[[RawClient], None], start: Start
) -> None:
    with silent_port() as port:
        stack = await start(upstream_url=f"http://127.0.0.1:{port}")
        async with stack.client() as client:
            await client.send(stack.request())
            await eventually("the request under way", lambda: bool(stack.relay.live))
            left_at = monotonic()
            leave(client)
            exchange = await stack.exchange()
            assert exchange.ended - left_at < AT_ONCE
            assert (exchange.ending, exchange.status) == (Ending.CLIENT_ABORTED, 0)


@ways
@pytest.mark.parametrize("behind", [1, 100])
async def test_with_requests_waiting_behind_the_one_that_is_answered(
    leave: Callable[[RawClient], None], behind: int, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_always([keep_open()])
    async with stack.client() as client:
        await client.send(stack.request() * (1 + behind))
        request = await upstream.request()
        left_at = monotonic()
        leave(client)
        assert (await request.closed()).at - left_at < HELD_BACK
        assert (await stack.exchange()).ending is Ending.CLIENT_ABORTED
    await eventually("every connection gone", lambda: not stack.connections)
    assert (upstream.total_requests, len(stack.observer.exchanges)) == (1, 1)


@ways
async def test_after_the_last_byte_all_is_complete(
    leave: Callable[[RawClient], None], stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_always([send(STREAM_HEAD + chunk(LAST_EVENT) + LAST_CHUNK)])
    for number in range(5):
        async with stack.client() as client:
            await client.send(stack.request())
            assert (await client.read_response()).body == LAST_EVENT
            leave(client)
        assert (await stack.exchange(number)).ending is Ending.COMPLETE
    assert upstream.total_connections == 1


async def test_the_next_client_is_not_given_what_the_last_one_left(
    stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next(
        [send(STREAM_HEAD + chunk(EVENT)), wait_for("left"), send(chunk(EVENT) + LAST_CHUNK)]
    )
    upstream.answer_next([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request())
        await client.read_body(await client.read_head(), len(EVENT))
        await leaves(stack, upstream, client, RawClient.close)
    upstream.set("left")
    async with stack.client() as client:
        await client.send(stack.request(action="generateContent"))
        assert (await client.read_response()).body == UNARY
    assert upstream.total_connections == 2
