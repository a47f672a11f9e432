"""Every recorded exchange, in each framing, whole and cut anywhere: what arrives is what was sent."""

from __future__ import annotations

import random
from itertools import product
from typing import Any, Literal

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.support.raw_upstream import RawUpstream
from tests.support.recorded import RecordedExchange, last_usage, recorded_exchanges
from tests.support.script import response
from tests.support.stack import Stack
from tests.support.tls import TestCertificates

DROPPED = {"server", "alt-svc"}
FRAMINGS: tuple[Literal["length", "chunked", "close"], ...] = ("length", "chunked", "close")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_recorded_exchanges_pass_unchanged(
    scheme: str, start: Start, certificates: TestCertificates
) -> None:
    chance = random.Random(scheme)
    expected = []
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        for exchange, framing in product(recorded_exchanges(), FRAMINGS):
            pieces = _pieces(exchange.body, chance)
            splits = chance.sample(range(len(exchange.body) + 200), 12)
            for body, cuts in ([exchange.body], []), (pieces, splits):
                upstream.answer_next(response(exchange.status, exchange.headers, body, framing, splits=cuts))
                try:
                    await _ask(stack, exchange, framing)
                except Exception as error:
                    error.add_note(f"in {exchange} with {framing} and {cuts}")
                    raise
                ending = Ending.COMPLETE if exchange.status == 200 else Ending.UPSTREAM_ERROR
                expected.append((exchange.name, ending, len(exchange.body), *_expected_usage(exchange)))
        names = [row[0] for row in expected]
        lines = [_summary(line) for line in await stack.log_lines()]
        assert [(name, *line) for name, line in zip(names, lines, strict=True)] == expected


async def _ask(stack: Stack, exchange: RecordedExchange, framing: str) -> None:
    sent = "length" if framing == "length" else "chunked"
    alt = f"?alt={exchange.alt}" if exchange.alt else ""
    request = stack.request(
        exchange.request or b"{}",
        action=exchange.action + alt,
        headers=[("Accept-Encoding", "gzip"), ("Connection", "close")],
    )
    async with stack.client() as client:
        await client.send(request)
        answer = await client.read_response()
        assert await client.peer_left() == "fin"
    assert (answer.status, answer.framing, answer.ended) == (exchange.status, sent, "complete")
    assert answer.body == exchange.body
    kept = [(name, value) for name, value in exchange.headers if name not in DROPPED]
    assert answer.headers[: len(kept)] == kept
    added = "content-length" if sent == "length" else "transfer-encoding"
    names = [name.lower() for name, _ in answer.headers[len(kept) :]]
    assert names == [added, "x-request-id", "x-gateway-attempts", "connection"]


def _pieces(body: bytes, chance: random.Random) -> list[bytes]:
    """The body cut into chunks of very different sizes."""
    pieces = []
    at = 0
    while at < len(body):
        size = chance.choice([1, 2, 17, 400, 9000, 70_000])
        pieces.append(body[at : at + size])
        at += size
    return pieces


def _summary(line: dict[str, Any]) -> tuple[Any, ...]:
    names = ("ending", "response_bytes", "input_tokens", "output_tokens", "cached_tokens", "total_tokens")
    return tuple(line[name] for name in names)


def _expected_usage(exchange: RecordedExchange) -> tuple[Any, ...]:
    said = last_usage(exchange)
    if said is None:
        return None, None, None, None
    return (
        said.get("promptTokenCount", 0) + said.get("toolUsePromptTokenCount", 0),
        said.get("candidatesTokenCount", 0) + said.get("thoughtsTokenCount", 0),
        said.get("cachedContentTokenCount", 0),
        said["totalTokenCount"],
    )
