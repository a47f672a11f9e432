"""Connections of clients: kept where both sides can, requests answered in order, HTTP/1.0 understood."""

from __future__ import annotations

import asyncio

import pytest

from gateway.limits import Limits
from tests.relay.conftest import Start
from tests.relay.parts import (
    EVENT,
    JSON,
    LAST_EVENT,
    STREAM_HEAD,
    UNARY,
    WHOLE,
    case,
    idle,
    refusal,
)
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, Script, chunk, close, response, response_bytes, send, wait_for
from tests.support.stack import Stack
from tests.support.upstream_request import UpstreamRequest

UNTIL_CLOSE = [send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + UNARY), close()]


async def stays(client: RawClient, stack: Stack, upstream: RawUpstream) -> None:
    """The connection takes another request."""
    upstream.answer_next([send(WHOLE)])
    await client.send(stack.request(action="generateContent"))
    assert (await client.read_response()).body == UNARY


async def test_a_connection_is_kept_after_every_whole_answer(stack: Stack, upstream: RawUpstream) -> None:
    answers = {
        "with a length": response(200, [JSON], UNARY),
        "chunked": response(200, [JSON], [UNARY], "chunked"),
        "until the upstream's close": UNTIL_CLOSE,
        "an upstream that closes": [send(WHOLE.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)), close()],
        "without a body": response(204),
        "an error": response(404, [JSON], b"{}"),
        "an error that is looked at": response(429, [JSON], b"{}"),
        "a refusal of the key": response(401, [JSON], b"{}"),
        "a failure": [close()],
    }
    async with stack.client() as client:
        for what, answer in answers.items():
            with case(what):
                upstream.answer_next(answer)
                await client.send(stack.request(action="generateContent"))
                got = await client.read_response()
                assert got.ended == "complete"
                assert got.header("connection") in ([], ["keep-alive"])
                await stays(client, stack, upstream)
    assert len(stack.observer.exchanges) == 2 * len(answers)


async def test_a_client_that_wants_to_close_is_let_go(stack: Stack, upstream: RawUpstream) -> None:
    for number, value in enumerate(["close", "Close", "keep-alive, close"]):
        with case(value):
            end = chunk(LAST_EVENT) + LAST_CHUNK
            upstream.answer_next([send(STREAM_HEAD), wait_for(f"further request {number}"), send(end)])
            async with stack.client() as client:
                await client.send(stack.request(headers=[("Connection", value)]))
                answer = await client.read_head()
                assert answer.header("connection") == ["close"]
                await client.send(stack.request())
                upstream.set(f"further request {number}")
                await client.read_body(answer)
                assert (answer.body, answer.ended) == (LAST_EVENT, "complete")
                assert await client.peer_left() == "fin"
    assert upstream.total_requests == 3
    await idle(stack)


def numbered(request: UpstreamRequest) -> Script:
    """An answer that repeats its request's body."""
    return [send(STREAM_HEAD + chunk(b"data: " + request.body + b"\r\n\r\n") + LAST_CHUNK)]


@pytest.mark.parametrize("count", [2, 50])
async def test_pipelined_requests_are_answered_in_their_order(
    count: int, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_always(numbered)
    bodies = [b'{"number": %d}' % number for number in range(count)]
    async with stack.client() as client:
        sending = asyncio.create_task(client.send(b"".join(stack.request(body) for body in bodies)))
        for body in bodies:
            assert (await client.read_response()).body == b"data: " + body + b"\r\n\r\n"
        await sending
    assert [request.body for request in upstream.requests] == bodies
    assert upstream.total_connections == 1


async def test_a_pipelined_request_has_the_room_of_the_one_before_it(
    start: Start, upstream: RawUpstream
) -> None:
    """Of one that the gateway answers itself, too."""
    stack = await start(limits=Limits(concurrent_requests=1))
    for answer in (WHOLE, WHOLE, b"none\r\n\r\n", WHOLE):
        upstream.answer_next([send(answer)])
    async with stack.client() as client:
        await client.send(4 * stack.request(action="generateContent"))
        statuses = [(await client.read_response()).status for _ in range(4)]
    assert statuses == [200, 200, 502, 200]


async def test_a_pipelined_request_waits_for_the_one_before_it(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next(
        [send(STREAM_HEAD + chunk(EVENT)), wait_for("go on"), send(chunk(LAST_EVENT) + LAST_CHUNK)]
    )
    upstream.answer_next([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request() + stack.request(action="generateContent"))
        answer = await client.read_head()
        await client.read_body(answer, len(EVENT))
        assert upstream.total_requests == 1
        upstream.set("go on")
        await client.read_body(answer)
        assert answer.body == EVENT + LAST_EVENT
        assert (await client.read_response()).body == UNARY


async def test_good_and_bad_pipelined_requests(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([wait_for("the bad one"), send(WHOLE)])
    upstream.answer_next([send(WHOLE)])
    good = stack.request(action="generateContent")
    async with stack.client() as client:
        await client.send(good + stack.request(model="gemini-9") + good)
        await upstream.request()
        await client.send(b"GARBAGE\r\n\r\n" + good)
        upstream.set("the bad one")
        assert (await client.read_response()).body == UNARY
        assert refusal(await client.read_response()) == (400, "MODEL_UNKNOWN")
        assert (await client.read_response()).body == UNARY
        assert refusal(await client.read_response()) == (400, "HTTP_MALFORMED")
        assert await client.peer_left() == "fin"
    assert upstream.total_requests == 2


async def test_what_follows_a_broken_answer_is_not_answered(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_always([send(STREAM_HEAD + chunk(EVENT)), close()])
    async with stack.client() as client:
        await client.send(stack.request() * 3)
        answer = await client.read_response()
        assert answer.ended == "eof_without_terminator"
    assert upstream.total_requests == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods(method: str, stack: Stack, upstream: RawUpstream) -> None:
    async with stack.client() as client:
        await client.send(stack.request(b"", action="generateContent").replace(b"POST", method.encode(), 1))
        answer = await client.read_response(method)
        assert (answer.status, answer.header("allow"), answer.header("x-gateway-error")) == (
            405,
            ["POST"],
            ["METHOD"],
        )
        if method == "HEAD":
            assert int(answer.header("content-length")[0]) > 0
        else:
            assert refusal(answer) == (405, "METHOD")
        await stays(client, stack, upstream)
    assert upstream.total_requests == 1


HTTP_1_0 = {"version": "HTTP/1.0", "action": "generateContent"}


@pytest.mark.parametrize("keep", [True, False])
async def test_http_1_0(keep: bool, stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_always([send(WHOLE)])
    headers = [("Connection", "keep-alive")] if keep else []
    request = stack.request(headers=headers, **HTTP_1_0)  # type: ignore[arg-type]
    async with stack.client() as client:
        for _ in range(2 if keep else 1):
            await client.send(request)
            answer = await client.read_response()
            assert (answer.framing, answer.body, answer.ended) == ("length", UNARY, "complete")
            assert answer.header("connection") == ["keep-alive" if keep else "close"]
        if not keep:
            assert await client.peer_left() == "fin"
    assert upstream.requests[0].version == "HTTP/1.1"


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_http_1_0_gets_a_body_without_a_length_until_the_close(
    keep: bool, framing: str, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next(
        UNTIL_CLOSE
        if framing == "close"
        else [send(response_bytes(200, [JSON], [UNARY[:9], UNARY[9:]], "chunked"))]
    )
    headers = [("Connection", "keep-alive")] if keep else []
    async with stack.client() as client:
        await client.send(stack.request(headers=headers, **HTTP_1_0))  # type: ignore[arg-type]
        answer = await client.read_response()
    assert (answer.framing, answer.body, answer.ended) == ("close", UNARY, "complete")
    assert answer.header("connection") == ["close"]
    assert answer.header("transfer-encoding") == []


async def test_http_1_0_is_not_asked_to_continue(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(WHOLE)])
    request = stack.request(headers=[("Expect", "100-continue")], **HTTP_1_0)  # type: ignore[arg-type]
    async with stack.client() as client:
        await client.send(request, splits=[len(request) - 2])
        assert (await client.read_response()).body == UNARY


@pytest.mark.parametrize("action", ["streamGenerateContent?alt=sse", "streamGenerateContent"])
async def test_http_1_0_gets_no_stream(action: str, stack: Stack, upstream: RawUpstream) -> None:
    """It could not tell where one breaks off."""
    async with stack.client() as client:
        await client.send(
            stack.request(version="HTTP/1.0", action=action, headers=[("Connection", "keep-alive")])
        )
        assert refusal(await client.read_response()) == (400, "HTTP_MALFORMED")
        assert await client.peer_left() == "fin"
    assert upstream.total_connections == 0


async def test_clients_do_not_wait_for_one_another(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next(
        [send(STREAM_HEAD + chunk(EVENT)), wait_for("the other"), send(chunk(LAST_EVENT) + LAST_CHUNK)]
    )
    async with stack.client() as slow, stack.client() as quick:
        await slow.send(stack.request())
        answer = await slow.read_head()
        for _ in range(3):
            await stays(quick, stack, upstream)
        upstream.set("the other")
        await slow.read_body(answer)
    assert answer.body == EVENT + LAST_EVENT
