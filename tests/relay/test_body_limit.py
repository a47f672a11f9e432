"""Request bodies that are too large, or no HTTP: refused, and the upstream's request ended unfinished."""

from __future__ import annotations

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import EVENT, STREAM_HEAD, UNARY, WHOLE, case, error_event, refusal
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, chunk, keep_open, read_body, send, wait_for
from tests.support.stack import Stack

LIMIT = 100_000
TOO_LARGE = (413, "BODY_TOO_LARGE")
MALFORMED = (400, "HTTP_MALFORMED")


@pytest.mark.parametrize("announced", [LIMIT + 1, 10**9, 10**18 - 1])
@pytest.mark.parametrize("sent", [0, 1000, LIMIT])
async def test_announced_as_too_large(announced: int, sent: int, start: Start, upstream: RawUpstream) -> None:
    stack = await start(max_body_bytes=LIMIT)
    async with stack.client() as client:
        await client.send(stack.request(bytes(sent), framing=b"Content-Length: %d" % announced))
        assert refusal(await client.read_response()) == TOO_LARGE
        assert await client.peer_left() == "fin"
    assert upstream.total_connections == 0
    exchange = await stack.exchange()
    assert (exchange.ending, exchange.request_bytes) == (Ending.REFUSED, 0)


@pytest.mark.parametrize("sizes", [[LIMIT], [1, LIMIT - 1], [10_000] * 10, [LIMIT - 1, 1]])
async def test_just_as_large_as_allowed(sizes: list[int], start: Start, upstream: RawUpstream) -> None:
    stack = await start(max_body_bytes=LIMIT)
    upstream.answer_always([send(WHOLE)])
    body = bytes(LIMIT)
    for request in (
        stack.request(body),
        stack.chunked_request(b"".join(chunk(bytes(s)) for s in sizes) + LAST_CHUNK),
    ):
        async with stack.client() as client:
            await client.send(request)
            assert (await client.read_response()).body == UNARY
    assert [one.body for one in upstream.requests] == [body, body]


@pytest.mark.parametrize("at_once", [True, False])
async def test_grows_too_large(at_once: bool, start: Start, upstream: RawUpstream) -> None:
    stack = await start(max_body_bytes=LIMIT)
    upstream.answer_next([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.chunked_request(chunk(bytes(LIMIT))))
        if not at_once:
            await (await upstream.request()).body_received(LIMIT)
        await client.send(chunk(b"1"))
        assert refusal(await client.read_response()) == TOO_LARGE
        assert await client.peer_left() == "fin"
        await upstream.connections_open(0)
    assert not any(request.body_complete for request in upstream.requests)
    exchange = await stack.exchange()
    assert (exchange.ending, exchange.status) == (Ending.REFUSED, 413)
    assert exchange.request_bytes > LIMIT


async def test_too_large_in_one_read_with_its_head_is_never_sent_up(
    start: Start, upstream: RawUpstream
) -> None:
    stack = await start(max_body_bytes=LIMIT)
    async with stack.client() as client:
        await client.send(stack.chunked_request(chunk(bytes(LIMIT + 1)) + LAST_CHUNK))
        assert refusal(await client.read_response()) == TOO_LARGE
        await upstream.connections_open(0)
    assert not any(request.body_complete for request in upstream.requests)


async def test_grows_too_large_under_an_answer(start: Start, upstream: RawUpstream) -> None:
    stack = await start(max_body_bytes=LIMIT)
    upstream.answer_next([send(STREAM_HEAD + chunk(EVENT)), read_body(), keep_open()], after_body=False)
    async with stack.client() as client:
        await client.send(stack.chunked_request(chunk(b"1")))
        answer = await client.read_head()
        await client.read_body(answer, len(EVENT))
        await client.send(chunk(bytes(LIMIT)))
        await client.read_body(answer)
        assert answer.ended == "eof_without_terminator"
        assert error_event(answer.body, EVENT) == 413
        await upstream.connections_open(0)
    assert (await stack.exchange()).ending is Ending.TRUNCATED


LARGEST = bytes(32 << 20)
"""As large as a body may be where nothing is configured."""
framings = pytest.mark.parametrize("framing", ["length", "chunked"])


@framings
async def test_32_mebibytes_pass(framing: str, stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(WHOLE)])
    async with stack.client(deadline=30) as client:
        if framing == "chunked":
            await client.send(stack.chunked_request())
            for at in range(0, len(LARGEST), 1 << 20):
                await client.send(chunk(LARGEST[at : at + (1 << 20)]))
            await client.send(LAST_CHUNK)
        else:
            await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(LARGEST)))
            await client.send(LARGEST)
        assert (await client.read_response()).body == UNARY
    assert upstream.requests[0].body == LARGEST
    exchange = await stack.exchange()
    assert (exchange.ending, exchange.request_bytes) == (Ending.COMPLETE, len(LARGEST))


@framings
async def test_32_mebibytes_and_one_byte_do_not(framing: str, stack: Stack, upstream: RawUpstream) -> None:
    """Without a length that shows only at the last byte, when the upstream has all the others."""
    upstream.answer_next([keep_open()], after_body=False)
    async with stack.client(deadline=30) as client:
        if framing == "chunked":
            await client.send(stack.chunked_request(chunk(LARGEST)))
            await (await upstream.request()).body_received(len(LARGEST), deadline=30)
            await client.send(chunk(b"1"))
        else:
            await client.send(stack.request(b"", framing=b"Content-Length: %d" % (len(LARGEST) + 1)))
        assert refusal(await client.read_response()) == TOO_LARGE
        assert await client.peer_left() == "fin"
    if framing == "chunked":
        await upstream.requests[0].closed()
        assert (len(upstream.requests[0].body), upstream.requests[0].body_complete) == (len(LARGEST), False)
    else:
        assert upstream.total_connections == 0
    exchange = await stack.exchange()
    assert (exchange.ending, exchange.status) == (Ending.REFUSED, 413)


BAD_CHUNKS = {
    "no number": b"zz\r\n",
    "negative": b"-1\r\n",
    "0x": b"0x2\r\n{}\r\n",
    "a size of 64 bits and more": b"fffffffffffffffff\r\n{}\r\n",
    "more data than its size": b"1\r\n{}\r\n",
    "no size": b"\r\n{}\r\n",
    "a bare LF": b"2\n{}\r\n",
    "a space in its size": b"2 2\r\n{}\r\n",
}


async def test_a_malformed_chunk(stack: Stack, upstream: RawUpstream) -> None:
    """In one read with the head, and after the upstream has begun to get the body."""
    upstream.answer_always([send(WHOLE)])
    for what, bad in BAD_CHUNKS.items():
        for first in (b"", chunk(b'{"a": 1')):
            with case((what, first)):
                async with stack.client() as client:
                    asked = upstream.total_requests
                    await client.send(stack.chunked_request(first, action="generateContent"))
                    await (await upstream.request(asked)).body_received(len(first and b'{"a": 1'))
                    await client.send(bad + LAST_CHUNK)
                    assert refusal(await client.read_response()) == MALFORMED
                    assert await client.peer_left() == "fin"
                    await upstream.connections_open(0)
                async with stack.client() as client:
                    await client.send(
                        stack.chunked_request(first + bad + LAST_CHUNK, action="generateContent")
                    )
                    assert refusal(await client.read_response()) == MALFORMED
                    assert await client.peer_left() == "fin"
                    await upstream.connections_open(0)
    assert not any(request.body_complete for request in upstream.requests)
    assert {one.ending for one in stack.observer.exchanges} == {Ending.REFUSED}


@pytest.mark.parametrize("action", ["streamGenerateContent?alt=zz", "generateContent"])
async def test_a_refusal_names_no_upstream_that_was_not_asked(action: str, stack: Stack) -> None:
    async with stack.client() as client:
        await client.send(stack.request(action=action, framing=b"Content-Length: 99999999"))
        assert refusal(await client.read_response())[0] in {400, 413}
    [line] = await stack.log_lines()
    assert line["upstream"] == ""


async def test_a_malformed_chunk_under_an_answer(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(STREAM_HEAD + chunk(EVENT)), wait_for("never")], after_body=False)
    async with stack.client() as client:
        await client.send(stack.chunked_request(chunk(b"1")))
        answer = await client.read_head()
        await client.read_body(answer, len(EVENT))
        await client.send(b"zz\r\n")
        await client.read_body(answer)
        assert answer.ended == "eof_without_terminator"
        assert error_event(answer.body, EVENT) == 400
        await upstream.connections_open(0)
    assert not upstream.requests[0].body_complete
