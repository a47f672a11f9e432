"""Answers and requests cut anywhere, and any mixture of them: what arrives is what was sent, and all ends."""

from __future__ import annotations

import asyncio
import random
from typing import Literal

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.exchange import Ending
from gateway.upstreams.connection import State
from tests.relay.parts import (
    CUTS,
    EVENT,
    LAST_EVENT,
    SSE,
    STREAM_HEAD,
    UNARY,
    WHOLE,
    case,
    error_event,
    refusal,
)
from tests.support.eventually import eventually
from tests.support.raw_client import RawClient, RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, Script, chunk, close, pause, response, response_bytes, send
from tests.support.script import cut as cut_at
from tests.support.stack import Stack

examples = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Framing = Literal["length", "chunked", "close"]
framings: st.SearchStrategy[Framing] = st.sampled_from(["length", "chunked", "close"])
bodies = st.lists(st.binary(min_size=1, max_size=300) | st.just(EVENT), max_size=5)
splits = st.lists(st.integers(0, 2000), max_size=12)
STREAM = [EVENT, EVENT[:30], EVENT[30:], b"d", LAST_EVENT[1:]]
BODY = b"".join(STREAM)
SENT = response_bytes(200, [SSE], STREAM, "chunked")


@examples
@given(bodies, framings, splits)
async def test_any_answer_cut_anywhere(
    stack: Stack, upstream: RawUpstream, body: list[bytes], framing: Framing, cuts: list[int]
) -> None:
    upstream.answer_next(response(200, [SSE], body, framing, splits=cuts, gap=0.0002))
    before = len(stack.observer.exchanges)
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_response()
        assert (answer.status, answer.body, answer.ended) == (200, b"".join(body), "complete")
        # The connection stands between two whole messages, whatever its answer was.
        upstream.answer_next([send(WHOLE)])
        await client.send(stack.request(action="generateContent"))
        assert (await client.read_response()).body == UNARY
    assert (await stack.exchange(before)).response_bytes == len(answer.body)


async def test_an_answer_cut_once_at_every_byte(stack: Stack, upstream: RawUpstream) -> None:
    """An interim head, extensions and a trailer among it. The two parts never come in one read."""
    whole = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + SENT[: -len(LAST_CHUNK)]
    whole += b'%x;a="b"\r\n%b\r\n000;c\r\nX-A: b\r\n\r\n' % (len(EVENT), EVENT)
    async with stack.client() as client:
        for at in range(1, len(whole)):
            upstream.answer_next([send(whole[:at]), pause(0.0005), send(whole[at:])])
            await client.send(stack.request())
            answer = await client.read_response()
            assert (answer.status, answer.body, answer.ended) == (200, BODY + EVENT, "complete"), at
    assert upstream.total_connections == 1


async def test_an_answer_byte_by_byte(stack: Stack, upstream: RawUpstream) -> None:
    framings: list[Framing] = ["length", "chunked", "close"]
    async with stack.client() as client:
        for framing in framings:
            upstream.answer_next(response(200, [SSE], STREAM, framing, splits=range(2000), gap=0.0005))
            await client.send(stack.request())
            answer = await client.read_response()
            assert (answer.status, answer.body, answer.ended) == (200, BODY, "complete")


async def test_an_upstream_that_breaks_at_every_byte(stack: Stack, upstream: RawUpstream) -> None:
    for length in range(len(SENT)):
        upstream.answer_next([send(SENT[:length]), close()])
        async with stack.client() as client:
            await client.send(stack.request())
            answer = await client.read_response()
        exchange = await stack.exchange(length)
        if length < SENT.index(b"\r\n\r\n") + 4:
            assert refusal(answer) == (502, "UPSTREAM_FAILED")
            assert exchange.ending is Ending.REFUSED
        else:
            assert (answer.status, answer.ended) == (200, "eof_without_terminator")
            passed = answer.body[: exchange.response_bytes]
            assert BODY.startswith(passed)
            assert answer.body == passed or error_event(answer.body, passed) == 502
            assert exchange.ending is Ending.TRUNCATED


@examples
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), splits, st.booleans())
async def test_any_request_cut_anywhere(
    stack: Stack, upstream: RawUpstream, body: list[bytes], cuts: list[int], chunked: bool
) -> None:
    upstream.answer_next([send(WHOLE)])
    whole = b"".join(body)
    request = stack.request(whole)
    if chunked:
        request = stack.chunked_request(b"".join(map(chunk, body)) + LAST_CHUNK)
    async with stack.client() as client:
        await client.send(request, splits=cuts)
        assert (await client.read_response()).status == 200
    assert await upstream.requests[-1].whole_body() == whole


@examples
@given(st.integers(0, len(SENT)), st.sampled_from(sorted(CUTS)), splits)
@example(len(SENT), "rst", [])
@example(len(SENT) - 1, "close", [])
@example(SENT.index(b"\r\n\r\n") + 4, "fin", [])
async def test_an_upstream_that_breaks_anywhere(
    stack: Stack, upstream: RawUpstream, length: int, cut: str, cuts: list[int]
) -> None:
    """A client never takes it for whole, and is never told of more than was sent."""
    before = len(stack.observer.exchanges)
    await eventually("no connection is in use", lambda: State.ACTIVE not in stack.upstream_states)
    stack.pool.upstreams[0].connector.close()
    upstream.answer_next([*(send(piece) for piece in cut_at(SENT[:length], cuts)), *CUTS[cut]])
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_response()
    exchange = await stack.exchange(before)
    if answer.status == 502:
        assert refusal(answer) == (502, "UPSTREAM_FAILED")
        assert exchange.ending is Ending.REFUSED
    elif answer.ended == "complete":
        assert (length, answer.body, exchange.ending) == (len(SENT), BODY, Ending.COMPLETE)
    else:
        assert (answer.ended, exchange.ending) == ("eof_without_terminator", Ending.TRUNCATED)
        passed = answer.body[: exchange.response_bytes]
        assert BODY.startswith(passed)
        assert answer.body == passed or error_event(answer.body, passed) == 502


async def test_a_mixture_of_everything_at_once(stack: Stack, upstream: RawUpstream) -> None:
    """Clients and upstreams that come, break and leave: each stream is right or plainly broken."""
    chance = random.Random(11)
    scripts: list[Script] = [
        [send(SENT)],
        response(200, [SSE], STREAM, "chunked", splits=range(0, 600, 50), gap=0.001),
        response(200, [SSE], STREAM, "length"),
        response(200, [SSE], STREAM, "close"),
        response(429, [], b"{}"),
        response(401, [], b"{}"),
        [send(STREAM_HEAD + chunk(EVENT)), *CUTS["rst"]],
        [send(STREAM_HEAD + chunk(EVENT)), *CUTS["close"]],
        [*CUTS["close"]],
        [send(b"nonsense")],
    ]
    upstream.answer_always(lambda _: chance.choice(scripts))

    async def live(client: RawClient) -> None:
        for _ in range(chance.randrange(1, 6)):
            await client.send(stack.request(bytes(chance.choice([2, 2000, 100_000]))))
            if chance.random() < 0.2:
                return
            answer = await client.read_head()
            if chance.random() < 0.2:
                return client.reset()
            await client.read_body(answer)
            _is_right_or_broken(answer)
            if answer.ended != "complete" or answer.header("connection") == ["close"]:
                return

    async def one() -> None:
        async with stack.client() as client:
            await live(client)

    for _ in range(10):
        with case(chance.getstate()[1][:2]):
            await asyncio.gather(*(one() for _ in range(20)))
    assert upstream.total_requests > 200


def _is_right_or_broken(answer: RawResponse) -> None:
    if answer.status != 200:
        assert answer.ended == "complete"
        assert (answer.status, answer.body == b"{}") in [(429, True), (502, False)]
    elif answer.ended == "complete":
        assert answer.body == BODY
    else:
        assert answer.ended == "eof_without_terminator"
        assert error_event(answer.body, EVENT) == 502
