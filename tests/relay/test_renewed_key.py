"""A key that is renewed while requests are under way: their refusals say nothing about the new one."""

from __future__ import annotations

from tests.relay.conftest import Start
from tests.support.raw_upstream import RawUpstream
from tests.support.script import response, wait_for

REFUSAL = response(401, [("Content-Type", "application/json")], b'{"error": {"code": 401}}')


async def test_a_refusal_of_the_old_key_is_none_of_the_new_one(start: Start, upstream: RawUpstream) -> None:
    stack = await start(cooldown=True)
    (key,) = stack.pool.upstreams[0].keys
    upstream.answer_next([wait_for("go"), *REFUSAL])
    async with stack.client() as client:
        await client.send(stack.request())
        await upstream.request(0)
        key.renew(b"x-goog-api-key: the-new-one\r\n")
        upstream.set("go")
        assert (await client.read_response()).status == 502
        assert key.rest is None
        await client.send(stack.request())
        assert (await client.read_response()).status == 200
        assert upstream.requests[1].header("x-goog-api-key") == ["the-new-one"]
        upstream.answer_next(REFUSAL)
        await client.send(stack.request())
        assert (await client.read_response()).status == 502
        assert key.rest is not None
