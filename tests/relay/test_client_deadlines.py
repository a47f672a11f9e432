"""How long a client may take: for a head, between requests, between two pieces of a body, to leave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic

import pytest

from gateway.client_connection import LINGER_SECONDS
from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import UNARY, WHOLE, refusal
from tests.support.eventually import eventually
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.script import keep_open, send, wait_for
from tests.support.stack import Stack

LIMIT = 0.4
"""Seconds: the deadline under test."""
LATE = 2.0
"""Seconds after which it would be no deadline, on however busy a machine."""
LONG = 30.0
"""Seconds: deadlines that must not count."""


@contextmanager
def takes(least: float) -> Iterator[None]:
    began = monotonic()
    yield
    assert least - 0.02 <= monotonic() - began < least + LATE  # uvloop's clock has milliseconds


async def stays_open(client: RawClient, seconds: float) -> bool:
    """Whether for that long neither a byte nor an end comes."""
    with pytest.raises(TimeoutError):
        await client.peer_left(seconds)
    return True


async def drip(client: RawClient, data: bytes, gap: float) -> int:
    """Send byte by byte, with that pause behind each, until the peer leaves; how many it took."""
    for count in range(len(data)):
        try:
            await client.send(data[count : count + 1])
            await client.peer_left(gap)
        except TimeoutError:
            continue
        except ConnectionError:
            pass
        return count
    return len(data)


async def pour(client: RawClient) -> None:
    """Send until the connection breaks."""
    while True:
        await client.send(bytes(10_000))


async def test_a_connection_without_a_request(start: Start) -> None:
    stack = await start(head=LIMIT, client_idle=LONG)
    async with stack.client() as client:
        with takes(LIMIT):
            assert await client.peer_left() == "fin"
    assert stack.observer.exchanges == []


async def test_a_head_that_comes_drop_by_drop(start: Start) -> None:
    stack = await start(head=LIMIT, client_idle=LONG)
    request = stack.request()
    async with stack.client() as client:
        with takes(LIMIT):
            assert await drip(client, request, 0.05) < len(request) // 2
    assert stack.observer.exchanges == []


async def test_a_later_head_that_comes_drop_by_drop(start: Start, upstream: RawUpstream) -> None:
    stack = await start(head=LIMIT, client_idle=LONG)
    upstream.answer_always([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request())
        assert (await client.read_response()).body == UNARY
        assert await stays_open(client, 2 * LIMIT)  # no byte of a head has come by now
        with takes(LIMIT):
            assert await drip(client, stack.request(), 0.05) < len(stack.request()) // 2
    assert upstream.total_requests == 1


async def test_a_connection_between_two_requests(start: Start, upstream: RawUpstream) -> None:
    stack = await start(head=LONG, client_idle=LIMIT)
    upstream.answer_always([send(WHOLE)])
    async with stack.client() as client:
        for _ in range(3):
            await client.send(stack.request())
            assert (await client.read_response()).body == UNARY
            assert await stays_open(client, LIMIT / 2)
        with takes(LIMIT / 4):
            assert await client.peer_left() == "fin"


async def test_half_a_head_behind_a_request(start: Start, upstream: RawUpstream) -> None:
    stack = await start(head=LIMIT, client_idle=LONG)
    upstream.answer_always([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request() + stack.request()[:50])
        assert (await client.read_response()).body == UNARY
        assert await client.peer_left(LATE) == "fin"


async def test_a_long_answer_is_neither_idleness_nor_a_late_head(start: Start, upstream: RawUpstream) -> None:
    stack = await start(head=LIMIT, client_idle=LIMIT, body_piece=LIMIT)
    upstream.answer_always([wait_for("later"), send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request())
        assert await stays_open(client, 2.5 * LIMIT)
        upstream.set("later")
        assert (await client.read_response()).body == UNARY


def unfinished(stack: Stack, framing: str) -> bytes:
    """A good request with the beginning of its body."""
    if framing == "chunked":
        return stack.chunked_request(b"5\r\nhello\r\n")
    return stack.request(b"hello", framing=b"Content-Length: 100")


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_that_stops_coming(framing: str, start: Start, upstream: RawUpstream) -> None:
    stack = await start(head=LONG, client_idle=LONG, body_piece=LIMIT)
    upstream.answer_always([keep_open()], after_body=False)
    async with stack.client() as client:
        await client.send(unfinished(stack, framing))
        assert await (await upstream.request()).body_received(5) == b"hello"
        assert await client.read_some() == b""  # the end, and no answer before it
    await upstream.requests[0].closed()
    assert not upstream.requests[0].body_complete
    exchange = await stack.exchange()
    assert (exchange.ending, exchange.status, exchange.request_bytes) == (Ending.DEADLINE, 0, 5)


async def test_a_body_that_comes_slowly_but_steadily(start: Start, upstream: RawUpstream) -> None:
    stack = await start(body_piece=2 * LIMIT)
    upstream.answer_always([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request(b"", framing=b"Content-Length: 5"))
        with takes(4 * LIMIT):
            assert await drip(client, b"0123", LIMIT) == 4
        await client.send(b"4")
        assert (await client.read_response()).body == UNARY
    assert upstream.requests[0].body == b"01234"


async def test_a_refused_client_that_neither_ends_nor_leaves(start: Start) -> None:
    stack = await start()
    request = stack.chunked_request(b"5\r\nhello\r\n").replace(b"nt_live_", b"")
    async with stack.client() as client:
        await client.send(request)
        assert refusal(await client.read_response()) == (401, "CREDENTIAL_INVALID")
        assert await client.peer_left() == "fin"
        with takes(LINGER_SECONDS * 0.9):
            await eventually("the end of its connection", lambda: not stack.connections)


async def test_a_refused_client_that_sends_for_ever(start: Start) -> None:
    stack = await start()
    async with stack.client() as client:
        await client.send(stack.chunked_request(b"FFFFFFFF\r\n").replace(b"nt_live_", b""))
        with takes(LINGER_SECONDS * 0.9), pytest.raises(ConnectionError):
            await pour(client)
    assert (await stack.exchange()).request_bytes == 0


async def test_a_connection_too_many_that_stays(start: Start) -> None:
    stack = await start()
    stack.clients.limits = replace(stack.clients.limits, max_connections=0)
    async with stack.client() as client:
        assert refusal(await client.read_response()) == (503, "OVERLOADED")
        assert await client.peer_left() == "fin"
        with takes(LINGER_SECONDS * 0.9):
            await eventually("the end of its connection", lambda: not stack.connections)
