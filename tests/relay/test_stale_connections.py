"""A pooled connection that its upstream closes just when a request is on its way, which is sent once more."""

from __future__ import annotations

import asyncio

import pytest

from gateway.exchange import Ending
from gateway.upstreams.connection import State
from tests.relay.parts import CUTS, LAST_EVENT, STREAM_HEAD, UNARY, WHOLE, ask, idle, refusal
from tests.support.eventually import eventually
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, Script, Step, chunk, close, keep_open, pause, send, wait_for
from tests.support.stack import Stack
from tests.support.upstream_request import UpstreamRequest

KEPT_BYTES = 64 * 1024
cuts = pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)


@cuts
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_stale_connection_is_replaced_once(
    cut: list[Step], chunked: bool, stack: Stack, upstream: RawUpstream
) -> None:
    body = b'{"contents": []}'
    request = stack.chunked_request(chunk(body) + LAST_CHUNK) if chunked else stack.request(body)
    upstream.answer_next([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next(cut)
    upstream.answer_next([send(STREAM_HEAD + chunk(LAST_EVENT) + LAST_CHUNK)])
    async with stack.client() as client:
        await client.send(request)
        assert (await client.read_response()).body == LAST_EVENT
    assert [one.connection.index for one in upstream.requests] == [0, 0, 1]
    first, second = upstream.requests[1:]
    assert first.raw_head == second.raw_head
    assert (first.body, second.body) == (body, body)
    exchange = await stack.exchange(1)
    assert (exchange.ending, exchange.request_bytes) == (Ending.COMPLETE, len(body))


@cuts
async def test_a_stale_connection_is_replaced_by_a_fresh_one_not_by_the_next_stale_one(
    cut: list[Step], stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_always([wait_for("all are here"), send(WHOLE)])
    asking = [asyncio.create_task(ask(stack)) for _ in range(5)]
    await upstream.request(4)
    upstream.set("all are here")
    await asyncio.gather(*asking)
    await idle(stack, 5)
    upstream.answer_next(cut)
    assert (await ask(stack)).body == UNARY
    assert upstream.requests[-1].connection.index == 5


@cuts
async def test_a_second_failure_is_the_clients(cut: list[Step], stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next(cut)
    upstream.answer_next(cut)
    assert refusal(await ask(stack)) == (502, "UPSTREAM_FAILED")
    assert upstream.total_requests == 3


@cuts
async def test_a_request_on_a_new_connection_is_never_sent_twice(
    cut: list[Step], stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next(cut)
    assert refusal(await ask(stack)) == (502, "UPSTREAM_FAILED")
    assert upstream.total_requests == 1


@cuts
@pytest.mark.parametrize("sent", [b"H", WHOLE[:30], WHOLE[:-1]])
async def test_a_request_with_a_byte_of_an_answer_is_never_sent_twice(
    cut: list[Step], sent: bytes, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next([send(sent), *cut])
    async with stack.client() as client:
        await client.send(stack.request(action="generateContent"))
        answer = await client.read_response()
    assert answer.status == 502 or answer.ended == "short"
    assert upstream.total_requests == 2


async def test_a_request_that_was_long_under_way_is_not_sent_twice(
    stack: Stack, upstream: RawUpstream
) -> None:
    """After a second without an answer it is no stale connection, but an upstream that has given up."""
    upstream.answer_next([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next([wait_for("later"), close()])
    async with stack.client() as client:
        await client.send(stack.request())
        with pytest.raises(TimeoutError):
            await client.read_some(1.1)
        upstream.set("later")
        assert refusal(await client.read_response()) == (502, "UPSTREAM_FAILED")
    assert upstream.total_requests == 2


@cuts
async def test_a_large_body_on_a_stale_connection_is_not_sent_twice(
    cut: list[Step], stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next(cut)
    assert refusal(await ask(stack, bytes(KEPT_BYTES + 1))) == (502, "UPSTREAM_FAILED")
    assert upstream.total_requests == 2


@cuts
async def test_a_stale_connection_under_an_upload(
    cut: list[Step], stack: Stack, upstream: RawUpstream
) -> None:
    """What has been sent so far goes to the fresh connection first, then the rest as it comes."""
    upstream.answer_next([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next(cut, after_body=False)
    upstream.answer_next([send(WHOLE)])
    pieces = [bytes([number]) * 1000 for number in range(20)]
    async with stack.client() as client:
        await client.send(stack.chunked_request(chunk(pieces[0])))
        await upstream.request(1)
        for piece in pieces[1:10]:
            await client.send(chunk(piece))
        again = await upstream.request(2)
        for piece in pieces[10:]:
            await client.send(chunk(piece))
        await client.send(LAST_CHUNK)
        assert (await client.read_response()).body == UNARY
    assert again.body == b"".join(pieces)
    assert (await stack.exchange(1)).request_bytes == 20_000


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_just_as_large_as_is_kept_is_sent_again(
    chunked: bool, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_always([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next([close()])
    body = bytes(KEPT_BYTES - 100 * chunked)  # what is kept is framed
    request = stack.chunked_request(chunk(body) + LAST_CHUNK) if chunked else stack.request(body)
    async with stack.client() as client:
        await client.send(request)
        assert (await client.read_response()).body == UNARY
    assert [one.connection.index for one in upstream.requests] == [0, 0, 1]
    assert upstream.requests[2].body == body


async def test_a_body_that_has_grown_beyond_what_is_kept_is_not_sent_again(
    stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_always([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next([wait_for("grown"), close()], after_body=False)
    async with stack.client() as client:
        await client.send(stack.chunked_request(chunk(bytes(KEPT_BYTES))))
        await (await upstream.request(1)).body_received(KEPT_BYTES)
        await client.send(chunk(b"1"))
        await upstream.requests[1].body_received(KEPT_BYTES + 1)
        upstream.set("grown")
        assert refusal(await client.read_response()) == (502, "UPSTREAM_FAILED")
    assert upstream.total_requests == 2


async def test_a_body_that_grows_meanwhile_beyond_what_is_kept_goes_up_once(
    stack: Stack, upstream: RawUpstream
) -> None:
    """Sent again while it was small, it flows on like any other on the fresh connection."""
    upstream.answer_always([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next([close()], after_body=False)
    pieces = [bytes([number]) * 10_000 for number in range(20)]
    async with stack.client() as client:
        await client.send(stack.chunked_request(chunk(pieces[0])))
        again = await upstream.request(2)
        await again.body_received(10_000)
        for piece in pieces[1:]:
            await client.send(chunk(piece))
        await client.send(LAST_CHUNK)
        assert (await client.read_response()).body == UNARY
    assert again.body == b"".join(pieces)
    assert (await stack.exchange(1)).request_bytes == 200_000


async def test_a_connection_that_closes_within_a_second_is_stale(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_always([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next([pause(0.5), close()])  # what is left of the second is for a busy machine
    assert (await ask(stack)).body == UNARY
    assert [one.connection.index for one in upstream.requests] == [0, 0, 1]


@cuts
async def test_an_interim_answer_is_an_answer_begun(
    cut: list[Step], stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next([send(b"HTTP/1.1 100 Continue\r\n\r\n"), *cut])
    assert refusal(await ask(stack)) == (502, "UPSTREAM_FAILED")
    assert upstream.total_requests == 2


async def test_a_client_that_leaves_while_a_stale_connection_is_replaced(
    stack: Stack, upstream: RawUpstream
) -> None:
    """In whatever moment that is, nothing stays behind."""

    def answer(request: UpstreamRequest) -> Script:
        if "stream" not in request.target:
            return [send(WHOLE)]
        return [close()] if len(request.connection.requests) > 1 else [keep_open()]

    upstream.answer_always(answer)
    for number in range(20):
        await ask(stack)
        await idle(stack)
        asked = upstream.total_requests
        async with stack.client() as client:
            await client.send(stack.request())
            await upstream.request(asked + number % 2)
        assert (await stack.exchange(2 * number + 1)).ending is Ending.CLIENT_ABORTED
        await eventually("no connection in use", lambda: State.ACTIVE not in stack.upstream_states)
