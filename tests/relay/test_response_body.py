"""The response on its way down: each piece at once, in every framing an upstream may choose."""

from __future__ import annotations

from typing import Literal

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import EVENT, JSON, LAST_EVENT, SSE, STREAM_HEAD, UNARY, WHOLE, refusal
from tests.support.raw_upstream import RawUpstream
from tests.support.script import (
    LAST_CHUNK,
    Step,
    chunk,
    close,
    keep_open,
    response,
    response_bytes,
    send,
    wait_for,
)
from tests.support.stack import Stack
from tests.support.tls import TestCertificates

PIECES = [EVENT, EVENT[:10], EVENT[10:57], EVENT[57:], b"\r\n", b"d", LAST_EVENT[1:]]
"""Events whole and in parts, one cut inside a character of two bytes."""


def stepwise(framing: Literal["length", "chunked", "close"]) -> list[Step]:
    """The head, then piece after piece, each only when the client has said that it has the one before."""
    body = b"".join(PIECES)
    head = response_bytes(200, [SSE], body, framing).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    steps = [send(head)]
    for number, piece in enumerate(PIECES):
        steps += [wait_for(f"got {number}"), send(chunk(piece) if framing == "chunked" else piece)]
    if framing == "chunked":
        return [*steps, wait_for("got all"), send(LAST_CHUNK)]
    return [*steps, close()] if framing == "close" else steps


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_each_piece_is_on_its_way_as_soon_as_it_comes(
    framing: Literal["length", "chunked", "close"],
    scheme: str,
    start: Start,
    certificates: TestCertificates,
) -> None:
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        upstream.answer_next(stepwise(framing))
        async with stack.client() as client:
            await client.send(stack.request())
            answer = await client.read_head()
            so_far = b""
            for number, piece in enumerate(PIECES):
                upstream.set(f"got {number}")
                so_far += piece
                await client.read_body(answer, len(so_far))
                assert answer.body == so_far
            upstream.set("got all")
            await client.read_body(answer)
        assert answer.ended == "complete"
    assert (await stack.exchange()).ending is Ending.COMPLETE


async def test_what_one_read_brings_is_one_chunk_for_the_client(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(STREAM_HEAD + chunk(EVENT) + chunk(EVENT) + chunk(LAST_EVENT) + LAST_CHUNK)])
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_response()
    assert answer.body == EVENT + EVENT + LAST_EVENT
    assert answer.incoming.chunk_sizes == [len(answer.body), 0]


async def test_an_event_of_two_megabytes(stack: Stack, upstream: RawUpstream) -> None:
    event = b'data: {"x": "' + b"\xc3\xbc" * (1 << 20) + b'"}\r\n\r\n'
    upstream.answer_next(response(200, [SSE], [event, LAST_EVENT], "chunked"))
    async with stack.client() as client:
        await client.send(stack.request())
        assert (await client.read_response()).body == event + LAST_EVENT


async def test_chunk_extensions_and_trailers_end_at_the_gateway(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next(
        [
            send(STREAM_HEAD + b'00003;a=b;c="d"\r\n' + LAST_EVENT[:3] + b"\r\n"),
            send(b"%X;e\r\n" % (len(LAST_EVENT) - 3) + LAST_EVENT[3:] + b"\r\n"),
            send(b"000;last\r\nx-gateway-error: INTERNAL\r\nSet-Cookie: a=b\r\n\r\n"),
        ]
    )
    upstream.answer_next([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_response()
        assert (answer.body, answer.incoming.trailers) == (LAST_EVENT, [])
        assert answer.header("set-cookie") == answer.header("x-gateway-error") == []
        await client.send(stack.request(action="generateContent"))
        assert (await client.read_response()).body == UNARY
    assert upstream.total_connections == 1


@pytest.mark.parametrize("interim", [100, 102, 103])
async def test_interim_answers_end_at_the_gateway(interim: int, stack: Stack, upstream: RawUpstream) -> None:
    head = b"HTTP/1.1 %d Wait\r\nLink: </a>; rel=preload\r\nServer: x\r\n\r\n" % interim
    upstream.answer_next([send(head), send(head), send(head + WHOLE)])
    upstream.answer_next([send(WHOLE)])
    async with stack.client() as client:
        for _ in range(2):
            await client.send(stack.request(action="generateContent"))
            answer = await client.read_response()
            assert (answer.status, answer.body, answer.header("link")) == (200, UNARY, [])
    assert upstream.total_connections == 1


@pytest.mark.parametrize("framing", [b"Content-Length: 999", b"Transfer-Encoding: chunked"])
async def test_an_interim_answer_has_no_body_whatever_it_says(
    framing: bytes, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(b"HTTP/1.1 103 Early Hints\r\n" + framing + b"\r\n\r\n" + WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request(action="generateContent"))
        answer = await client.read_response()
    assert (answer.status, answer.body) == (200, UNARY)


@pytest.mark.parametrize("status", [104, 110, 199])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2", b"Transfer-Encoding: chunked", b"Content-Length: 0"]
)
async def test_one_that_the_parser_would_read_a_body_of_must_not_announce_any(
    status: int, framing: bytes, stack: Stack, upstream: RawUpstream
) -> None:
    head = b"HTTP/1.1 %d Wait\r\n%b\r\n\r\n" % (status, framing)
    body = b"" if framing.endswith(b"0") else b"0\r\n\r\n" if b"chunked" in framing else b"{}"
    upstream.answer_next([send(head + body + WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request(action="generateContent"))
        answer = await client.read_response()
    if body:
        assert refusal(answer) == (502, "UPSTREAM_FAILED")
    else:
        assert (answer.status, answer.body) == (200, UNARY)


async def test_interim_answers_without_end_are_given_up(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3000), keep_open()])
    async with stack.client() as client:
        await client.send(stack.request(action="generateContent"))
        assert refusal(await client.read_response()) == (502, "UPSTREAM_FAILED")
    await upstream.connections_open(0)


@pytest.mark.parametrize(
    "head",
    [
        b"204 No Content\r\n",
        b"204 No Content\r\nContent-Length: 0\r\n",
        b"204 No Content\r\nContent-Length: 5\r\n",
        b"304 Not Modified\r\n",
        b"304 Not Modified\r\nContent-Length: 5\r\n",
        b"304 Not Modified\r\nTransfer-Encoding: chunked\r\n",
    ],
)
@pytest.mark.parametrize("body", [b"", b"hello", chunk(b"hello") + LAST_CHUNK])
async def test_answers_that_have_no_body(
    head: bytes, body: bytes, stack: Stack, upstream: RawUpstream
) -> None:
    """What comes all the same is no answer to the next request."""
    upstream.answer_next([send(b"HTTP/1.1 " + head + b"X-A: b\r\n\r\n" + body)])
    upstream.answer_next([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request(action="generateContent"))
        answer = await client.read_response()
        assert (answer.status, answer.header("x-a")) == (int(head[:3]), ["b"])
        assert answer.header("content-length") == answer.header("transfer-encoding") == []
        assert (await stack.exchange()).ending is Ending.COMPLETE
        await client.send(stack.request(action="generateContent"))
        assert (await client.read_response()).body == UNARY
    assert upstream.total_connections == (2 if body else 1)


async def test_an_empty_body_of_each_framing(stack: Stack, upstream: RawUpstream) -> None:
    for framing in "length", "chunked", "close":
        upstream.answer_next(response(500, [JSON], b"", framing))
        async with stack.client() as client:
            await client.send(stack.request())
            answer = await client.read_response()
        assert (answer.status, answer.body, answer.ended) == (500, b"", "complete")


@pytest.mark.parametrize("keep_alive", [b"", b"Connection: keep-alive\r\n"])
async def test_an_upstream_of_http_1_0(keep_alive: bytes, stack: Stack, upstream: RawUpstream) -> None:
    length = b"Content-Length: %d\r\n" % len(UNARY)
    upstream.answer_next([send(b"HTTP/1.0 200 OK\r\n" + length + keep_alive + b"\r\n" + UNARY)])
    upstream.answer_next([send(b"HTTP/1.0 200 OK\r\n\r\n" + UNARY), close()])
    async with stack.client() as client:
        for framing in "length", "chunked":
            await client.send(stack.request(action="generateContent"))
            answer = await client.read_response()
            assert (answer.body, answer.framing) == (UNARY, framing)
            assert answer.raw_head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert upstream.total_connections == (1 if keep_alive else 2)


async def test_a_redirect_is_passed_on_and_not_followed(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next(response(307, [("Location", f"{upstream.url}/elsewhere")], b"moved"))
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_response()
    assert (answer.status, answer.body) == (307, b"moved")
    assert answer.header("location") == [f"{upstream.url}/elsewhere"]
    assert upstream.total_requests == 1
