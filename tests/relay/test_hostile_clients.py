"""What one client does wrong takes no key and no target away from its neighbour."""

from __future__ import annotations

import asyncio
import random

from gateway.exchange import Ending
from gateway.upstreams.target_state import State
from tests.relay.attempts import attempts, error, in_order
from tests.relay.conftest import Start
from tests.relay.google_errors import ABOUT_THE_REQUEST, google_error
from tests.relay.parts import UNARY, WHOLE, ask
from tests.support.places import Place
from tests.support.raw_upstream import RawUpstream
from tests.support.script import Script, chunk, keep_open, rst, send
from tests.support.stack import Stack
from tests.support.upstream_request import UpstreamRequest

REQUESTS = 1000
AT_ONCE = 20
ANSWERS: dict[bytes, Script] = {
    b'{"fileUri": "files/of-somebody-else"}': error(*ABOUT_THE_REQUEST["403 about a file"]),
    b'{"hurry": 1}': error(504, google_error(504, "Deadline expired", status="DEADLINE_EXCEEDED")),
    b'{"contents": "bad"}': error(*ABOUT_THE_REQUEST["400"]),
    b'{"leaves": "at once"}': [keep_open()],
    b'{"leaves": "later"}': [send(WHOLE[:-1]), keep_open()],
    b'{"leaves": "while sending"': [keep_open()],
}
"""What an upstream does with each of the hostile client's bodies."""
STATUSES = dict(zip(ANSWERS, (403, 504, 400), strict=False))


def answer(request: UpstreamRequest) -> Script:
    return ANSWERS.get(request.body, [send(WHOLE)])


async def misbehave(stack: Stack, body: bytes) -> None:
    async with stack.client() as client:
        if b"sending" in body:
            await client.send(stack.chunked_request(chunk(body)))
            client.reset()
            return
        hurry = [("X-Server-Timeout", "1")] if b"hurry" in body else []
        await client.send(stack.request(body, headers=hurry, action="generateContent"))
        if body in STATUSES:
            told = await client.read_response()
            assert (told.status, attempts(told)) == (STATUSES[body], 1)
        elif b"later" in body:
            await client.read_head()


async def test_a_thousand_hostile_requests_put_nothing_out(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    keys = ("AQ.one", "AQ.two")
    stack = await start(
        [Place(upstream.url, keys=keys), *in_order(second, second)[1:]], cooldown=True, first_byte=30.0
    )
    for each in upstream, second:
        each.answer_always(answer)
    chance = random.Random(4)
    bodies = [chance.choice(list(ANSWERS)) for _ in range(REQUESTS)]
    for begin in range(0, REQUESTS, AT_ONCE):
        await asyncio.gather(*(misbehave(stack, body) for body in bodies[begin : begin + AT_ONCE]))
        neighbours = await ask(stack)
        assert (neighbours.status, neighbours.body, attempts(neighbours)) == (200, UNARY, 1)
    endings = [(await stack.exchange(number)).ending for number in range(REQUESTS)]
    assert endings.count(Ending.CLIENT_ABORTED) > REQUESTS // 3
    states = stack.pool.targets()
    assert [(one.state, one.cause) for one in states] == [(State.READY, "")] * 3
    assert second.total_connections == 0  # for nothing was wrong with the first


async def test_what_is_wrong_with_a_key_does_put_it_out(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    """By the same measure."""
    stack = await start(in_order(upstream, second), cooldown=True)
    upstream.answer_next([rst()])
    upstream.answer_next(error(401, google_error(401, "no")))
    second.answer_always([send(WHOLE)])
    await ask(stack)
    await ask(stack)
    assert [one.state for one in stack.pool.targets()] == [State.OUT, State.READY]
