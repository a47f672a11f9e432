"""Writes put together: all of them, in their order, by the end of the turn; and none that is alone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from gateway.exchange import Ending
from gateway.outgoing import MANY, SMALL_BYTES, TOGETHER, Outgoing
from tests.relay.conftest import Start
from tests.relay.parts import EVENT, LAST_EVENT, SSE, STREAM_HEAD, UNARY, WHOLE, refusal
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, chunk, response, send, wait_for

Open = Callable[[], Awaitable[tuple[asyncio.Transport, socket.socket]]]
REFUSED = b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


@pytest.fixture
async def pair() -> AsyncIterator[Open]:
    """Opens a transport, and a socket that reads what it writes."""
    async with AsyncExitStack() as stack:

        async def open_pair() -> tuple[asyncio.Transport, socket.socket]:
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs).setblocking(False)
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
            stack.callback(transport.abort)
            return transport, theirs

        yield open_pair


def read(reader: socket.socket) -> bytes:
    """What is there by now."""
    try:
        return reader.recv(10 * SMALL_BYTES)
    except BlockingIOError:
        return b""


async def turn() -> None:
    """To the end of this turn of the event loop: whoever was to be called in it has been."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_soon(over.set)
    await over.wait()


async def test_one_of_few_is_written_at_once(pair: Open) -> None:
    transport, reader = await pair()
    Outgoing(range(MANY - 1)).write(transport, b"alone")
    assert read(reader) == b"alone"


async def test_those_of_many_are_written_at_the_end_of_the_turn(pair: Open) -> None:
    (first, first_reader), (second, second_reader) = await pair(), await pair()
    outgoing = Outgoing(range(MANY))
    for transport, data in ((first, b"a"), (second, b"b"), (first, b"c")):
        outgoing.write(transport, data)
    assert not read(first_reader) + read(second_reader)
    await turn()
    assert (read(first_reader), read(second_reader)) == (b"ac", b"b")


async def test_no_more_than_so_many_wait_for_it(pair: Open) -> None:
    transport, reader = await pair()
    outgoing = Outgoing(range(MANY))
    for _ in range(TOGETHER):
        assert not read(reader)
        outgoing.write(transport, b"x")
    assert read(reader) == b"x" * TOGETHER
    outgoing.write(transport, b"y")
    assert not read(reader)
    await turn()
    assert read(reader) == b"y"


async def test_a_large_one_goes_at_once_with_those_before_it(pair: Open) -> None:
    transport, reader = await pair()
    outgoing = Outgoing(range(MANY))
    large = b"x" * (SMALL_BYTES + 1)
    outgoing.write(transport, b"before")
    outgoing.write(transport, large)
    assert read(reader) == b"before" + large


async def test_one_overtakes_none_when_fewer_are_under_way(pair: Open) -> None:
    transport, reader = await pair()
    under_way = list(range(MANY))
    outgoing = Outgoing(under_way)
    outgoing.write(transport, b"first")
    under_way.pop()
    outgoing.write(transport, b"second")
    assert read(reader) == b"firstsecond"


async def test_what_was_for_a_closed_transport_is_dropped(
    pair: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a try: after some of them asyncio would complain."""
    (closed, _), (other, reader) = await pair(), await pair()
    outgoing = Outgoing(range(MANY))
    for _ in range(TOGETHER - 2):
        outgoing.write(closed, b"lost")
    outgoing.write(other, b"kept")
    closed.abort()
    outgoing.flush()
    assert read(reader) == b"kept"
    assert not caplog.records


async def test_answers_to_requests_sent_at_once(start: Start, upstream: RawUpstream) -> None:
    """In their order, whoever made them; the last one ends the connection, and none is lost with it."""
    stack = await start(busy=True)
    upstream.answer_next([send(WHOLE)])
    upstream.answer_next(response(200, [SSE], [EVENT, LAST_EVENT], "chunked"))
    async with stack.client() as client:
        asked = stack.request(action="generateContent")
        last = stack.request(headers=[("Connection", "close")])
        await client.send(REFUSED + asked + REFUSED + last)
        assert refusal(await client.read_response("GET"))[0] == 401
        assert (await client.read_response()).body == UNARY
        assert refusal(await client.read_response("GET"))[0] == 401
        answer = await client.read_response()
        assert (answer.body, answer.ended) == (EVENT + LAST_EVENT, "complete")
        await client.peer_left()


async def test_a_refusal_that_ends_the_connection(start: Start) -> None:
    stack = await start(busy=True)
    async with stack.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n")
        assert refusal(await client.read_response("GET"))[0] == 401
        await client.peer_left()


async def test_the_last_of_a_connection_that_is_closed(start: Start) -> None:
    stack = await start(busy=True)
    async with stack.client() as client:
        await client.send(REFUSED)
        await client.read_response("GET")
        [connection] = stack.connections
        connection.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
        connection.close()
        assert (await client.read_response("GET")).status == 500


async def test_a_body_sent_piece_by_piece(start: Start, upstream: RawUpstream) -> None:
    stack = await start(busy=True)
    upstream.answer_next([send(WHOLE)])
    pieces = [b"a" * 10, b"b" * (SMALL_BYTES + 1), b"c" * 10, b"d" * 10]
    async with stack.client() as client:
        head = stack.chunked_request(action="generateContent")
        for piece in (head, *map(chunk, pieces), LAST_CHUNK):
            await client.send(piece)
        assert (await client.read_response()).body == UNARY
    assert upstream.requests[0].body == b"".join(pieces)


async def test_events_right_behind_their_head(start: Start, upstream: RawUpstream) -> None:
    """What is read in one turn of the event loop may be told in several pieces."""
    stack = await start(busy=True)
    upstream.answer_next([wait_for("the test's end")])
    async with stack.client() as client:
        await client.send(stack.request())
        await upstream.request()
        [connection] = stack.pool.upstreams[0].connector.open
        for piece in (STREAM_HEAD + chunk(EVENT), chunk(LAST_EVENT), LAST_CHUNK):
            connection.data_received(piece)
        assert (await client.read_response()).body == EVENT + LAST_EVENT
        upstream.set("the test's end")


async def test_a_stream_whose_events_follow_its_head(start: Start, upstream: RawUpstream) -> None:
    stack = await start(busy=True)
    upstream.answer_next(
        [send(STREAM_HEAD + chunk(EVENT)), wait_for("more"), send(chunk(EVENT) + LAST_CHUNK)]
    )
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_head()
        await client.read_body(answer, len(EVENT))
        upstream.set("more")
        assert (await client.read_body(answer)).body == EVENT * 2
    assert (await stack.exchange()).ending is Ending.SUSPECT
