"""A body that begins in one read with the request before it arrives whole and in its order."""

from __future__ import annotations

import pytest

from tests.relay.parts import WHOLE
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, chunk, send, wait_for
from tests.support.stack import Stack

FIRST = bytes(3000)
BODY = bytes(range(256)) * 800


@pytest.mark.parametrize("size", [1, 500, 3000, 9000, len(BODY)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_all_at_once(stack: Stack, upstream: RawUpstream, size: int, chunked: bool) -> None:
    upstream.answer_always([send(WHOLE)])
    body = BODY[:size]
    second = stack.chunked_request(chunk(body) + LAST_CHUNK) if chunked else stack.request(body)
    async with stack.client() as client:
        await client.send(stack.request(FIRST) + second)
        assert (await client.read_response()).status == 200
        assert (await client.read_response()).status == 200
    assert [request.body for request in upstream.requests] == [FIRST, body]


@pytest.mark.parametrize("answered", ["before", "after"])
@pytest.mark.parametrize("before", [1, 500, 3000, 9000, 100_000])
async def test_in_two_parts(stack: Stack, upstream: RawUpstream, before: int, answered: str) -> None:
    upstream.answer_next([wait_for("go"), send(WHOLE)])
    upstream.answer_always([send(WHOLE)])
    second = stack.request(BODY)
    cut = second.index(b"\r\n\r\n") + 4 + before
    async with stack.client() as client:
        await client.send(stack.request(FIRST) + second[:cut])
        await (await upstream.request()).whole_body()
        if answered == "before":
            upstream.set("go")
            assert (await client.read_response()).status == 200
            await client.send(second[cut:])
        else:
            await client.send(second[cut:])
            upstream.set("go")
            assert (await client.read_response()).status == 200
        assert (await client.read_response()).status == 200
    assert [request.body for request in upstream.requests] == [FIRST, BODY]
