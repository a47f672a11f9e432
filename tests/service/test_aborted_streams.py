"""A client that leaves each stream just before its end gains nothing: its window holds what was reserved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.quota.estimate import Estimator
from tests.service.rig import client, request, running
from tests.service.worker_rig import samples
from tests.support.eventually import eventually
from tests.support.gateway import Gateway
from tests.support.raw_upstream import RawUpstream
from tests.support.script import Script, chunk, keep_open, send

CLIENTS = 8
RESERVED = Estimator().estimate("gemini-2-5-flash", 2).tokens
"""For a request with a body of two bytes, as long as no stream has told what it used in the end."""


def all_but_the_end(tokens: int) -> tuple[Script, bytes]:
    """A stream without its last event, and the events that come: they report as many tokens."""
    usage = {"promptTokenCount": tokens - 1, "candidatesTokenCount": 1, "totalTokenCount": tokens}
    events = b"data: %b\r\n\r\n" % json.dumps({"usageMetadata": usage}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [send(head + chunk(events)), keep_open()], events


async def abort(gateway: Gateway, events: bytes, numbers: Iterator[int]) -> None:
    """Take all that comes of each stream, and leave: by FIN, or by RST."""
    for number in numbers:
        async with client(gateway) as connection:
            await connection.send(request(gateway.token))
            answer = await connection.read_head()
            assert answer.status == 200, number
            await connection.read_body(answer, until=len(events))
            if number % 2:
                connection.reset()


def aborted(gateway: Gateway) -> float:
    """How many have been counted as left by their client."""
    return sum(
        value
        for (name, labels), value in samples(gateway).items()
        if name == "gateway_requests_total" and ("ending", "client_aborted") in labels
    )


@pytest.mark.parametrize(("times", "reported"), [(1000, 40), (100, RESERVED + 40)])
async def test_aborted_streams_use_up_the_minute(tmp_path: Path, times: int, reported: int) -> None:
    script, events = all_but_the_end(reported)
    settings = {"SERVER__WORKERS": "2", "LIMITS__TOKENS_PER_MINUTE": str(times * max(reported, RESERVED))}
    with RawUpstream(forgetful=True) as upstream, running(tmp_path, upstream, **settings) as gateway:
        upstream.answer_always(script)
        numbers = iter(range(times))
        await asyncio.gather(*(abort(gateway, events, numbers) for _ in range(CLIENTS)))
        await eventually("all are counted", lambda: aborted(gateway) == times)
        async with client(gateway) as connection:
            await connection.send(request(gateway.token))
            blocked = await connection.read_response()
        assert blocked.status == 429
        assert blocked.header("x-ratelimit-remaining-tokens") == ["0"]
        assert gateway.stop() == 0
        [sums] = json.loads(gateway.command("usage", "--by", "model", "--json"))
        assert (sums["requests"], sums["total_tokens"]) == (times, times * reported)
