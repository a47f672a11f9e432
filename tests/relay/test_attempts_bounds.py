"""When no further attempt is made: an answer has begun, the client has gone, somebody's time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.exchange import Ending
from tests.relay.attempts import attempts, error, in_order, records
from tests.relay.conftest import Start
from tests.relay.google_errors import ABOUT_THE_TARGET, PER_MINUTE
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
    case,
    error_event,
    idle,
    refusal,
)
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, Step, chunk, keep_open, pause, response, send
from tests.support.stack import Stack

OVERLOAD = error(*ABOUT_THE_TARGET["503 overload"])
LONG = 60.0
"""Seconds that no test waits for."""
BEGUN = {
    "a letter": b"H",
    "a part of the head": WHOLE[:30],
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "the head": STREAM_HEAD,
    "an event": STREAM_HEAD + chunk(EVENT),
    "a part of an event": STREAM_HEAD + chunk(EVENT[:20]),
    "all but the last byte": WHOLE[:-1],
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "the head of an error of the client's": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 500\r\n\r\n{",
}


def long_pause(attempts: int) -> float:
    return LONG


@pytest.mark.parametrize("cut", CUTS)
async def test_an_answer_that_has_begun_is_asked_for_once(
    cut: str, start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second))
    for number, (what, sent) in enumerate(BEGUN.items(), 1):
        with case(what):
            upstream.answer_next([send(sent), *CUTS[cut]])
            async with stack.client() as client:
                await client.send(stack.request())
                answer = await client.read_response()
            assert answer.ended != "complete" or refusal(answer) == (502, "UPSTREAM_FAILED")
            assert attempts(answer) == 1
            assert (upstream.total_requests, second.total_connections) == (number, 0)
            assert (await stack.exchange(number - 1)).failed_attempts == ()


async def test_an_error_within_a_good_answer_passes(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second))
    events = EVENT + b"data: " + ABOUT_THE_TARGET["503 overload"][1].replace(b"\n", b"") + b"\r\n\r\n"
    for number, (action, field, body) in enumerate(
        (
            ("streamGenerateContent?alt=sse", SSE, events),
            ("streamGenerateContent", JSON, b"[" + UNARY + b",\r\n" + PER_MINUTE + b"]"),
            ("generateContent", JSON, PER_MINUTE),
        )
    ):
        with case(action):
            upstream.answer_next(response(200, [field], [body[:50], body[50:]], "chunked"))
            answer = await ask(stack, action=action)
            assert (answer.status, answer.body, attempts(answer)) == (200, body, 1)
            assert (await stack.exchange(number)).ending is Ending.UPSTREAM_ERROR_IN_STREAM
    assert second.total_connections == 0


async def test_a_stream_of_the_second_attempt_that_breaks_off_is_told_of(
    start: Start, upstream: RawUpstream, second: RawUpstream, third: RawUpstream, tmp_path: Path
) -> None:
    stack = await start(in_order(upstream, second, third))
    upstream.answer_next(OVERLOAD)
    second.answer_next([send(STREAM_HEAD + chunk(EVENT)), *CUTS["rst"]])
    answer = await ask(stack, action="streamGenerateContent?alt=sse")
    assert (answer.status, attempts(answer), error_event(answer.body, EVENT)) == (200, 2, 502)
    assert third.total_connections == 0
    failed, broken = await records(tmp_path, 2)
    assert (failed.attempt, failed.status, broken.attempt, broken.status) == (1, 503, 2, 200)
    assert broken.ending == Ending.TRUNCATED


async def in_its_pause(stack: Stack) -> None:
    """Returns once the first attempt is over, and the second not begun."""
    await idle(stack)
    assert len(stack.relay.live) == 1


async def test_a_client_that_leaves_in_the_pause_is_the_last_of_it(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    stack = await start(in_order(upstream, second), pause=long_pause)
    upstream.answer_next(OVERLOAD)
    async with stack.client() as client:
        await client.send(stack.request())
        await upstream.request()
        await in_its_pause(stack)
    assert (await stack.exchange()).ending is Ending.CLIENT_ABORTED
    assert second.total_connections == 0
    [record] = await records(tmp_path, 1)
    assert (record.upstream, record.attempt, record.status) == ("first", 1, 503)


async def test_a_client_that_leaves_in_the_second_attempt_aborts_it(
    start: Start, upstream: RawUpstream, second: RawUpstream, third: RawUpstream, tmp_path: Path
) -> None:
    stack = await start(in_order(upstream, second, third))
    upstream.answer_next(OVERLOAD)
    second.answer_next([keep_open()])
    async with stack.client() as client:
        await client.send(stack.request())
        await second.request()
    await second.connections_open(0)
    assert third.total_connections == 0
    failed, left = await records(tmp_path, 2)
    assert (failed.attempt, left.attempt, left.upstream) == (1, 2, "second")
    assert left.ending == Ending.CLIENT_ABORTED


ENDS: dict[Callable[[Stack], None], tuple[int, str]] = {
    lambda stack: stack.relay.cut_all(): (503, "DRAINING"),
    lambda stack: stack.relay.cut({stack.token.split("_")[2]}): (401, "CREDENTIAL_INVALID"),
}


@pytest.mark.parametrize("end", ENDS, ids=["drain", "revocation"])
async def test_the_pause_ends_with_what_ends_all(
    end: Callable[[Stack], None], start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    stack = await start(in_order(upstream, second), pause=long_pause)
    upstream.answer_next(OVERLOAD)
    async with stack.client() as client:
        await client.send(stack.request())
        await upstream.request()
        await in_its_pause(stack)
        end(stack)
        answer = await client.read_response()
        assert (refusal(answer), attempts(answer)) == (ENDS[end], 1)
    assert second.total_connections == 0
    assert [record.attempt for record in await records(tmp_path, 1)] == [1]


@pytest.mark.parametrize(("seconds", "made"), [("0.5", 1), ("59", 1), ("61", 2), ("soon", 2)])
async def test_no_attempt_begins_that_the_client_would_not_wait_for(
    seconds: str, made: int, start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second), pause=long_pause)
    upstream.answer_next(OVERLOAD)
    async with stack.client() as client:
        await client.send(stack.request(headers=[("X-Server-Timeout", seconds)]))
        await upstream.request()
        if made == 1:
            answer = await client.read_response()
            assert (answer.status, attempts(answer)) == (503, 1)
        else:
            await in_its_pause(stack)


@pytest.mark.parametrize("chunked", [False, True])
async def test_the_first_bytes_deadline_is_for_all_attempts(
    chunked: bool, start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    stack = await start(in_order(upstream, second), first_byte=1.0)
    upstream.answer_next([pause(0.8), *OVERLOAD])
    second.answer_next([keep_open()])
    async with stack.client() as client:
        if chunked:
            await client.send(stack.chunked_request(chunk(b"{")))
            await upstream.request()
        began = asyncio.get_running_loop().time()
        await client.send(chunk(b"}") + LAST_CHUNK if chunked else stack.request())
        answer = await client.read_response()
        assert 1.0 <= asyncio.get_running_loop().time() - began < 1.7
        assert (refusal(answer), attempts(answer)) == ((504, "UPSTREAM_TIMEOUT"), 2)
    failed, late = await records(tmp_path, 2)
    assert (failed.status, late.attempt, late.ending) == (503, 2, Ending.DEADLINE)


async def test_the_deadline_passes_in_the_pause(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    stack = await start(in_order(upstream, second), first_byte=0.2, pause=long_pause)
    upstream.answer_next(OVERLOAD)
    answer = await ask(stack)
    assert (refusal(answer), attempts(answer)) == ((504, "UPSTREAM_TIMEOUT"), 1)
    assert second.total_connections == 0
    assert [record.status for record in await records(tmp_path, 1)] == [503]


async def test_the_next_request_on_the_connection_is_a_new_one(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second))
    fail: list[Step] = [*OVERLOAD]
    async with stack.client() as client:
        for _ in range(3):
            for each in (fail, [send(WHOLE)]):
                upstream.answer_next(each)
                second.answer_always(response(200, [SSE], LAST_EVENT))
                await client.send(stack.request())
                answer = await client.read_response()
                expected = (LAST_EVENT, 2) if each is fail else (UNARY, 1)
                assert (answer.body, attempts(answer)) == expected
