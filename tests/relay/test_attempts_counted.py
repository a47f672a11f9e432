"""What attempts say of their targets: an answer is a good one when it has come to its end."""

from __future__ import annotations

import pytest

from gateway.upstreams.target import FAILURES_IN_A_ROW
from gateway.upstreams.target_state import State
from tests.relay.attempts import attempts, error, in_order
from tests.relay.conftest import Start
from tests.relay.google_errors import ABOUT_THE_TARGET
from tests.relay.parts import CUTS, EVENT, LAST_EVENT, STREAM_HEAD, WHOLE, ask, refusal
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, chunk, close, keep_open, send, wait_for
from tests.support.stack import Stack

STREAM = [send(STREAM_HEAD + chunk(EVENT)), wait_for("go on"), send(chunk(LAST_EVENT) + LAST_CHUNK)]


def states(stack: Stack) -> list[State]:
    return [one.state for one in stack.pool.targets()]


@pytest.mark.parametrize("cut", CUTS)
async def test_streams_that_break_off_put_their_target_out(
    cut: str, start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second), cooldown=True)
    upstream.set("go on")
    second.answer_always([send(WHOLE)])
    for _ in range(30):  # a good past
        upstream.answer_next(STREAM)
        await ask(stack, action="streamGenerateContent?alt=sse")
    for _ in range(FAILURES_IN_A_ROW):
        assert states(stack) == [State.READY] * 2
        upstream.answer_next([send(STREAM_HEAD + chunk(EVENT)), *CUTS[cut]])
        await ask(stack, action="streamGenerateContent?alt=sse")
    assert states(stack) == [State.COOLING, State.READY]
    await ask(stack)
    assert second.total_requests == 1


async def test_a_whole_stream_between_broken_ones_is_a_good_answer(
    start: Start, upstream: RawUpstream
) -> None:
    stack = await start(in_order(upstream), cooldown=True)
    upstream.set("go on")
    for number in range(2 * FAILURES_IN_A_ROW - 1):
        broken = [send(STREAM_HEAD + chunk(EVENT)), close()]
        upstream.answer_next(STREAM if number == FAILURES_IN_A_ROW - 1 else broken)
        await ask(stack, action="streamGenerateContent?alt=sse")
    assert states(stack) == [State.READY]


async def test_upstreams_that_hang_are_found_out_unless_the_client_hurries(
    start: Start, upstream: RawUpstream
) -> None:
    """A deadline of the client's that is longer than the gateway's own is no hurry."""
    stack = await start(in_order(upstream), cooldown=True, first_byte=0.1)
    upstream.answer_always([keep_open()])
    for seconds, state in ("0.05", State.READY), ("20", State.COOLING):
        request = stack.request(headers=[("X-Server-Timeout", seconds)])
        for _ in range(FAILURES_IN_A_ROW):
            assert states(stack) in ([], [State.READY])
            async with stack.client() as client:
                await client.send(request)
                assert refusal(await client.read_response()) == (504, "UPSTREAM_TIMEOUT")
        assert states(stack) == [state]


async def test_errors_that_pass_count_once_each(start: Start, upstream: RawUpstream) -> None:
    stack = await start(in_order(upstream), cooldown=True)
    for number in range(FAILURES_IN_A_ROW):
        assert states(stack) == [State.READY] * min(number, 1)
        upstream.answer_next(error(*ABOUT_THE_TARGET["503 overload"]))
        answer = await ask(stack)
        assert (answer.status, attempts(answer)) == (503, 1)
    assert refusal(await ask(stack)) == (503, "UPSTREAM_COOLDOWN")
    [state] = stack.pool.targets()
    assert (state.requests, state.error_share) == (FAILURES_IN_A_ROW, 1.0)
