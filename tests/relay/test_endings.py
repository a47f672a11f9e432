"""How each request ended, as its line in the access log tells it: every ending there is, under its name."""

from __future__ import annotations

from typing import Any

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import EVENT, JSON, LAST_EVENT, STREAM_HEAD, case
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, Script, chunk, close, keep_open, response, rst, send
from tests.support.stack import Stack

ERROR = b'data: {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}\r\n\r\n'
BEGUN = STREAM_HEAD + chunk(EVENT)
USED = 12
"""Tokens, as `LAST_EVENT` says."""

Line = tuple[str, int, str, int, int | None]
"""Of a line of the log: ending, status, reason, body bytes for the client, tokens in all."""
REFUSAL = -1
"""In place of those bytes, where they are the gateway's own error."""

WITH_THE_UPSTREAM: dict[str, tuple[Script, Line]] = {
    "a whole stream": (
        [send(BEGUN + chunk(LAST_EVENT) + LAST_CHUNK)],
        ("complete", 200, "", len(EVENT + LAST_EVENT), USED),
    ),
    "no finishReason": ([send(BEGUN + LAST_CHUNK)], ("suspect", 200, "", len(EVENT), None)),
    "an error in the stream": (
        [send(BEGUN + chunk(ERROR) + LAST_CHUNK)],
        ("upstream_error_in_stream", 200, "", len(EVENT + ERROR), None),
    ),
    "an error in a stream that breaks off then": (
        [send(BEGUN + chunk(ERROR)), close()],
        ("truncated", 200, "", len(EVENT + ERROR), None),
    ),
    "cut between two events": ([send(BEGUN), close()], ("truncated", 200, "", len(EVENT), None)),
    "cut after the last event": (
        [send(STREAM_HEAD + chunk(LAST_EVENT)), close()],
        ("truncated", 200, "", len(LAST_EVENT), USED),
    ),
    "no next event": ([send(BEGUN), keep_open()], ("deadline", 200, "", len(EVENT), None)),
    "no answer": ([keep_open()], ("deadline", 504, "UPSTREAM_TIMEOUT", REFUSAL, None)),
    "no answer, but an end": ([close()], ("refused", 502, "UPSTREAM_FAILED", REFUSAL, None)),
    "reset in the head": (
        [send(STREAM_HEAD[:20]), rst()],
        ("refused", 502, "UPSTREAM_FAILED", REFUSAL, None),
    ),
    "an error": (response(503, [JSON], b"{}"), ("upstream_error", 503, "", 2, None)),
}
"""What the upstream does, while its client stays and reads."""


def told(line: dict[str, Any]) -> Line:
    return (
        line["ending"],
        line["status"],
        line["reason"],
        line["response_bytes"],
        line["total_tokens"],
    )


async def test_every_ending_stands_in_the_log_under_its_name(start: Start, upstream: RawUpstream) -> None:
    stack = await start(first_byte=0.3, idle=0.3)
    expected = []
    for what, (script, line) in WITH_THE_UPSTREAM.items():
        with case(what):
            upstream.answer_next(script)
            async with stack.client() as client:
                await client.send(stack.request())
                answer = await client.read_response()
            ending, status, reason, size, tokens = line
            expected.append((ending, status, reason, len(answer.body) if size == REFUSAL else size, tokens))
    for seen in None, EVENT:
        expected.append(await left_by_its_client(stack, upstream, seen))
    lines = await stack.log_lines()
    assert [told(line) for line in lines] == expected
    assert {line["ending"] for line in lines} == set(Ending)
    assert {line["upstream"] for line in lines} == {"studio"}


async def left_by_its_client(stack: Stack, upstream: RawUpstream, seen: bytes | None) -> Line:
    """A client leaves before the first byte, or after an event."""
    upstream.answer_next([send(BEGUN) if seen else send(b""), keep_open()])
    exchange, asked = len(stack.observer.exchanges), upstream.total_requests
    async with stack.client() as client:
        await client.send(stack.request())
        await upstream.request(asked)
        if seen:
            await client.read_body(await client.read_head(), len(seen))
    await stack.exchange(exchange)
    return ("client_aborted", 200 if seen else 0, "", len(seen or b""), None)
