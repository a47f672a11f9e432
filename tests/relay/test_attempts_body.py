"""A body is sent again while it is kept: small ones, whole or still coming, and not too many at once."""

from __future__ import annotations

import asyncio

import pytest

from gateway.exchange import Ending
from tests.relay.attempts import attempts, error, in_order
from tests.relay.conftest import Start
from tests.relay.google_errors import ABOUT_THE_TARGET
from tests.relay.parts import CUTS, UNARY, WHOLE, ask, refusal
from tests.support.eventually import eventually
from tests.support.raw_client import RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, chunk, keep_open, send, wait_for
from tests.support.stack import Stack

KEPT = 64 * 1024
FIRST_BYTE = 0.3
"""Seconds that the upstream has for it."""
OVERLOAD = error(*ABOUT_THE_TARGET["503 overload"])


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("over", [False, True])
async def test_a_body_is_sent_again_that_is_small_enough(
    over: bool, chunked: bool, start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second))
    upstream.answer_next(OVERLOAD)
    second.answer_next([send(WHOLE)])
    body = bytes(KEPT - 100 * chunked + over * 101)  # what is kept is framed
    request = stack.chunked_request(chunk(body) + LAST_CHUNK) if chunked else stack.request(body)
    async with stack.client() as client:
        await client.send(request)
        answer = await client.read_response()
    if over:
        assert (answer.status, attempts(answer), second.total_connections) == (503, 1, 0)
    else:
        assert (answer.body, attempts(answer)) == (UNARY, 2)
        assert [one.body for one in second.requests] == [body]
    assert (await stack.exchange()).request_bytes == len(body)


async def test_how_much_is_kept_of_each_can_be_set(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second), kept_each=10)
    upstream.answer_always(OVERLOAD)
    second.answer_always([send(WHOLE)])
    assert attempts(await ask(stack, bytes(10))) == 2
    assert attempts(await ask(stack, bytes(11))) == 1


@pytest.mark.parametrize("whole", [True, False], ids=["error is whole", "error is not whole"])
async def test_an_upload_under_way_goes_on_to_the_next(
    whole: bool, start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    """It is answered early: what has come so far goes to the other first, then the rest as it comes."""
    stack = await start(in_order(upstream, second))
    early = [*OVERLOAD] if whole else [send(b"HTTP/1.1 503 No\r\nContent-Length: 50\r\n\r\n{")]
    upstream.answer_next([*early, wait_for("over")], after_body=False)
    second.answer_next([send(WHOLE)])
    pieces = [bytes([number]) * 1000 for number in range(20)]
    async with stack.client() as client:
        await client.send(stack.chunked_request(chunk(pieces[0])))
        again = await second.request()
        for piece in pieces[1:]:
            await client.send(chunk(piece))
        await client.send(LAST_CHUNK)
        answer = await client.read_response()
        assert (answer.body, attempts(answer)) == (UNARY, 2)
    assert again.body == b"".join(pieces)
    assert (await stack.exchange()).request_bytes == 20_000
    upstream.set("over")


@pytest.mark.parametrize("cut", CUTS)
async def test_an_upload_goes_on_where_its_upstream_leaves(
    cut: str, start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second))
    upstream.answer_next(CUTS[cut], after_body=False)
    second.answer_next([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request(b"", framing=b"Content-Length: 2"))
        again = await second.request()
        await client.send(b"{}")
        answer = await client.read_response()
        assert (answer.body, attempts(answer)) == (UNARY, 2)
    assert again.body == b"{}"


async def test_a_body_that_becomes_whole_in_the_pause_is_sent_whole(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second), pause=lambda attempts: 0.2)
    upstream.answer_next([*OVERLOAD, wait_for("over")], after_body=False)
    second.answer_next([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.chunked_request(chunk(b"{")))
        await upstream.request()
        await eventually("the first attempt is over", lambda: not stack.upstream_states)
        await client.send(chunk(b"}") + LAST_CHUNK)
        answer = await client.read_response()
        assert (answer.body, attempts(answer)) == (UNARY, 2)
    assert second.requests[0].body == b"{}"
    upstream.set("over")


async def test_a_body_read_whole_in_the_pause_begins_the_wait_for_a_first_byte(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    """What was waited for until then, the next piece of the body, has a deadline far longer."""
    stack = await start(in_order(upstream, second), pause=lambda attempts: 0.2, first_byte=FIRST_BYTE)
    upstream.answer_next([*OVERLOAD, wait_for("over")], after_body=False)
    second.answer_next([keep_open()])
    async with stack.client() as client:
        await client.send(stack.chunked_request(chunk(b"{")))
        await upstream.request()
        await eventually("the first attempt is over", lambda: not stack.upstream_states)
        [connection] = stack.connections
        connection.data_received(chunk(b"}") + LAST_CHUNK)  # of an event loop that had it when paused
        answer = await client.read_response()
        assert (refusal(answer), attempts(answer)) == ((504, "UPSTREAM_TIMEOUT"), 2)
    exchange = await stack.exchange()
    assert exchange.ending is Ending.DEADLINE
    assert FIRST_BYTE <= exchange.ended - exchange.began < FIRST_BYTE + 5
    upstream.set("over")


async def test_an_upload_that_outgrows_what_is_kept_passes_the_error_on(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second))
    upstream.answer_next([wait_for("grown"), *OVERLOAD], after_body=False)
    async with stack.client() as client:
        await client.send(stack.chunked_request(chunk(bytes(KEPT))))
        await (await upstream.request()).body_received(KEPT)
        await client.send(chunk(b"1") + LAST_CHUNK)
        await upstream.requests[0].whole_body()
        upstream.set("grown")
        answer = await client.read_response()
        assert (answer.status, attempts(answer), second.total_connections) == (503, 1, 0)


async def test_what_is_kept_of_all_is_bounded_and_given_back(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    """Of twelve bodies ten find room; those of the others are sent once."""
    size, room = 10_000, 100_000
    stack = await start(in_order(upstream, second), kept_together=room)
    upstream.answer_always([wait_for("all are here"), *OVERLOAD])
    second.answer_always([wait_for("looked"), send(WHOLE)])
    asking = [asyncio.create_task(ask(stack, bytes(size))) for _ in range(12)]
    await upstream.request(11)
    assert stack.relay.keeping.kept == room
    upstream.set("all are here")
    await second.request(9)
    assert stack.relay.keeping.kept == room
    second.set("looked")
    answers: list[RawResponse] = await asyncio.gather(*asking)
    assert sorted((one.status, attempts(one)) for one in answers) == [(200, 2)] * 10 + [(503, 1)] * 2
    assert stack.relay.keeping.kept == 0
    assert (upstream.total_requests, second.total_requests) == (12, 10)


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_is_kept_is_given_back_at_the_first_byte(
    chunked: bool, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([wait_for("kept"), send(WHOLE[:-1]), wait_for("looked"), send(WHOLE[-1:])])
    request = stack.chunked_request(chunk(b"{}") + LAST_CHUNK) if chunked else stack.request()
    async with stack.client() as client:
        await client.send(request)
        await upstream.request()
        assert stack.relay.keeping.kept > 0
        upstream.set("kept")
        await client.read_head()
        assert stack.relay.keeping.kept == 0
        upstream.set("looked")
