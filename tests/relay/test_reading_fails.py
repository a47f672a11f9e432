"""Where a response can't be read for its usage, by no fault of its bytes, it passes all the same."""

from __future__ import annotations

import gzip
import logging

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import EVENT, JSON, LAST_EVENT, SSE, UNARY
from tests.support.raw_upstream import RawUpstream
from tests.support.script import response, response_bytes, send


def _no_memory(*arguments: object) -> None:
    raise MemoryError


@pytest.mark.parametrize("decoder", ["events.decode_object", "document.decode", "report.decode_usage"])
async def test_its_usage_is_unknown_and_an_operator_is_told(
    start: Start,
    upstream: RawUpstream,
    decoder: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stack = await start()
    stream = decoder != "document.decode"
    body = EVENT * 40 + LAST_EVENT if stream else UNARY
    content_type = SSE if stream else JSON
    upstream.answer_next(response(200, [content_type], body, "chunked", splits=range(100, 4200, 100)))
    upstream.answer_next([send(response_bytes(200, [JSON], UNARY))])
    action = "streamGenerateContent?alt=sse" if stream else "generateContent"
    async with stack.client() as client:
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(f"gateway.metering.{decoder}", _no_memory)  # as msgspec's, where there is none
            await client.send(stack.request(action=action))
            answer = await client.read_response()
            exchange = await stack.exchange()
        assert (answer.status, answer.body) == (200, body)
        assert (exchange.usage, exchange.model_version) == (None, "")
        assert (exchange.ending, exchange.response_bytes) == (Ending.SUSPECT, len(body))
        assert "a response was not read for its usage: MemoryError" in caplog.text
        await client.send(stack.request(action="generateContent"))
        assert (await client.read_response()).body == UNARY
        later = await stack.exchange(1)
        assert (later.ending, later.model_version) == (Ending.COMPLETE, "gemini-2.5-flash")


async def test_so_is_one_that_cannot_be_inflated(
    start: Start, upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stack = await start()
    body = gzip.compress(EVENT * 3 + LAST_EVENT)
    headers = [SSE, ("Content-Encoding", "gzip")]
    upstream.answer_next(response(200, headers, body, "chunked", splits=range(120, 180, 20)))
    monkeypatch.setattr("gateway.metering.inflate.zlib.decompressobj", _no_memory)
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_response()
        exchange = await stack.exchange()
    assert (answer.ended, answer.body, exchange.usage) == ("complete", body, None)
    assert "a response was not read for its usage: MemoryError" in caplog.text
