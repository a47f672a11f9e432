"""A head that begins behind another request, in one read or while it is answered, has the same limits."""

from __future__ import annotations

from time import monotonic

import pytest

from gateway.request_reader import HEAD_BYTES
from tests.relay.conftest import Start
from tests.relay.parts import WHOLE, refusal
from tests.support.raw_upstream import RawUpstream
from tests.support.script import send, wait_for
from tests.support.stack import Stack

REFUSED = b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
BEGUN = b"POST / HTTP/1.1\r\nHost: gateway.test\r\n"
HEAD_SECONDS = 0.4


def lines(count: int) -> bytes:
    return b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(count))


async def test_it_has_to_be_whole_in_time(start: Start) -> None:
    stack = await start(head=HEAD_SECONDS, client_idle=30.0)
    async with stack.client() as client:
        await client.send(REFUSED + BEGUN)
        assert refusal(await client.read_response("GET"))[0] == 401
        began = monotonic()
        await client.peer_left()
        assert monotonic() - began < HEAD_SECONDS + 2


@pytest.mark.parametrize("before", [10, 45])
async def test_it_counts_from_its_first_byte(before: int, stack: Stack) -> None:
    async with stack.client() as client:
        await client.send(REFUSED + BEGUN + lines(before))
        assert refusal(await client.read_response("GET"))[0] == 401
        await client.send(lines(10))
        assert refusal(await client.read_response("POST"))[0] == 431
        await client.peer_left()


async def test_it_is_not_parsed_while_another_request_is_answered(
    stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([wait_for("go"), send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request())
        await upstream.request()
        await client.send(BEGUN + lines(HEAD_BYTES // 1000 + 2))
        upstream.set("go")
        assert (await client.read_response("POST")).status == 200
        assert refusal(await client.read_response("POST"))[0] == 431
        await client.peer_left()
    assert upstream.total_requests == 1


async def test_a_short_one_is_answered(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_always([send(WHOLE)])
    request = stack.request()
    async with stack.client() as client:
        await client.send(request + request[:40])
        assert (await client.read_response("POST")).status == 200
        await client.send(request[40:])
        assert (await client.read_response("POST")).status == 200
