"""An upstream that breaks off: never a clean end for the client, never a reset, one event where it fits."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Literal

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import CUTS, EVENT, LAST_EVENT, SSE, STREAM_HEAD, case, error_event, refusal
from tests.support.raw_client import RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import Step, chunk, close, mark, response_bytes, rst, send, wait_for
from tests.support.stack import Stack
from tests.support.tls import TestCertificates


@dataclass(frozen=True)
class Break:
    """What an upstream sends before it breaks off, and what of it a client sees."""

    sent: bytes
    seen: bytes
    told: bool
    """Whether the client is told in an event."""


TWO = EVENT + EVENT.replace(b"\r\n", b"\n")
JSON_HEAD = STREAM_HEAD.replace(b"text/event-stream", b"application/json")
GZIP_HEAD = STREAM_HEAD.replace(b"\r\nT", b"\r\nContent-Encoding: gzip\r\nT")
ZIPPED = gzip.compress(EVENT)

CHUNKED = {
    "after the head": Break(STREAM_HEAD, b"", True),
    "in a chunk-size line": Break(STREAM_HEAD + chunk(EVENT) + b"4", EVENT, True),
    "in the end of a chunk-size line": Break(STREAM_HEAD + chunk(EVENT) + b"4\r", EVENT, True),
    "after a chunk-size line": Break(STREAM_HEAD + chunk(EVENT) + b"4\r\n", EVENT, True),
    "in a chunk and in an event": Break(STREAM_HEAD + b"fff\r\n" + EVENT[:20], EVENT[:20], False),
    "in a chunk between two events": Break(STREAM_HEAD + b"fff\r\n" + EVENT, EVENT, True),
    "before the end of a chunk": Break(STREAM_HEAD + chunk(EVENT)[:-2], EVENT, True),
    "after a chunk": Break(STREAM_HEAD + chunk(EVENT), EVENT, True),
    "after a chunk with two kinds of line end": Break(STREAM_HEAD + chunk(TWO), TWO, True),
    "after a part of an event": Break(
        STREAM_HEAD + chunk(EVENT) + chunk(b"data: {"), EVENT + b"data: {", False
    ),
    "before an event's last byte": Break(STREAM_HEAD + chunk(EVENT[:-1]), EVENT[:-1], False),
    "after an event's last byte": Break(
        STREAM_HEAD + chunk(EVENT[:-3]) + chunk(EVENT[-3:-1]) + chunk(EVENT[-1:]), EVENT, True
    ),
    "before the last chunk": Break(STREAM_HEAD + chunk(LAST_EVENT), LAST_EVENT, True),
    "in the last chunk": Break(STREAM_HEAD + chunk(LAST_EVENT) + b"0\r\n", LAST_EVENT, True),
    "before the last byte": Break(STREAM_HEAD + chunk(LAST_EVENT) + b"0\r\n\r", LAST_EVENT, True),
    "in a trailer": Break(STREAM_HEAD + chunk(LAST_EVENT) + b"0\r\nA: b\r\n", LAST_EVENT, True),
    "in compressed events": Break(GZIP_HEAD + chunk(ZIPPED), ZIPPED, False),
    "in a JSON array": Break(JSON_HEAD + chunk(b"[{}"), b"[{}", False),
    "in a JSON array that ends like an event": Break(
        JSON_HEAD + chunk(b"[{}\r\n\r\n"), b"[{}\r\n\r\n", False
    ),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_chunked_stream_that_breaks(
    cut: str, scheme: str, start: Start, certificates: TestCertificates
) -> None:
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        for number, (what, broken) in enumerate(CHUNKED.items()):
            with case(what):
                answer = await _relay(stack, upstream, broken, CUTS[cut], number)
                assert (answer.status, answer.ended) == (200, "eof_without_terminator")
                if broken.told:
                    assert error_event(answer.body, broken.seen) == 502
                else:
                    assert answer.body == broken.seen
                exchange = await stack.exchange(number)
                assert (exchange.ending, exchange.status) == (Ending.TRUNCATED, 200)
                assert exchange.response_bytes == len(broken.seen)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_json_array_that_breaks(
    cut: str, scheme: str, start: Start, certificates: TestCertificates
) -> None:
    """In the same places as a stream of events; there is no event that could say so."""
    places = {what: one for what, one in CHUNKED.items() if one.sent.startswith(STREAM_HEAD)}
    assert len(places) > 10
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        for number, (what, one) in enumerate(places.items()):
            with case(what):
                broken = Break(one.sent.replace(STREAM_HEAD, JSON_HEAD), one.seen, False)
                answer = await _relay(stack, upstream, broken, CUTS[cut], number)
                assert (answer.status, answer.body) == (200, broken.seen)
                assert answer.ended == "eof_without_terminator"
                assert (await stack.exchange(number)).ending is Ending.TRUNCATED


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_breaks_right_after_its_last_byte_is_whole(
    cut: str, framing: Literal["length", "chunked"], scheme: str, start: Start, certificates: TestCertificates
) -> None:
    whole = response_bytes(200, [SSE], [EVENT, LAST_EVENT], framing)
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        upstream.answer_always([send(whole), *CUTS[cut]])
        async with stack.client() as client:
            for number in range(3):
                await client.send(stack.request())
                answer = await client.read_response()
                assert (answer.body, answer.ended) == (EVENT + LAST_EVENT, "complete")
                assert (await stack.exchange(number)).ending is Ending.COMPLETE
                await upstream.connections_open(0)
        assert upstream.total_connections == 3


async def _relay(
    stack: Stack, upstream: RawUpstream, broken: Break, cut: list[Step], number: int
) -> RawResponse:
    """The upstream breaks off only when the client has all that it sent before, so that nothing is lost."""
    upstream.answer_next([send(broken.sent), mark(f"sent {number}"), wait_for(f"seen {number}"), *cut])
    async with stack.client() as client:
        action = "streamGenerateContent" if b"json" in broken.sent else "streamGenerateContent?alt=sse"
        await client.send(stack.request(action=action))
        answer = await client.read_head()
        await client.read_body(answer, len(broken.seen))
        await upstream.reached(f"sent {number}")
        upstream.set(f"seen {number}")
        return await client.read_body(answer)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_body_shorter_than_announced(
    cut: str, scheme: str, start: Start, certificates: TestCertificates
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\n"
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        for number, seen in enumerate([b"", EVENT, EVENT[:9], bytes(999)]):
            with case(seen):
                answer = await _relay(stack, upstream, Break(head + seen, seen, False), CUTS[cut], number)
                assert (answer.body, answer.ended) == (seen, "short")
                assert (await stack.exchange(number)).ending is Ending.TRUNCATED


@pytest.mark.parametrize(("scheme", "cut"), [("http", "rst"), ("https", "rst"), ("https", "fin")])
async def test_a_body_until_the_close_that_is_not_closed_properly(
    scheme: str, cut: str, start: Start, certificates: TestCertificates
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        answer = await _relay(stack, upstream, Break(head + EVENT, EVENT, True), CUTS[cut], 0)
        assert answer.ended == "eof_without_terminator"
        assert error_event(answer.body, EVENT) == 502
        assert (await stack.exchange()).ending is Ending.TRUNCATED


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
BEFORE_THE_END_OF_THE_HEAD = {
    "nothing": b"",
    "one byte": b"H",
    "the status line without its end": b"HTTP/1.1 200 OK",
    "in a header": STREAM_HEAD[:-3],
    "all but the last byte": STREAM_HEAD[:-1],
    "an interim answer": INTERIM,
    "half an interim answer": INTERIM[:30],
    "interim answers and half a head": INTERIM + INTERIM + STREAM_HEAD[:30],
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_upstream_that_breaks_before_its_first_byte(
    cut: str, scheme: str, start: Start, certificates: TestCertificates
) -> None:
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        async with stack.client() as client:
            for number, (what, sent) in enumerate(BEFORE_THE_END_OF_THE_HEAD.items()):
                with case(what):
                    upstream.answer_next([send(sent), *CUTS[cut]])
                    await client.send(stack.request())
                    assert refusal(await client.read_response()) == (502, "UPSTREAM_FAILED")
                    exchange = await stack.exchange(number)
                    assert (exchange.ending, exchange.status, exchange.reason) == (
                        Ending.REFUSED,
                        502,
                        "UPSTREAM_FAILED",
                    )
        assert upstream.total_connections == len(BEFORE_THE_END_OF_THE_HEAD)


async def test_usage_of_a_stream_that_breaks_is_what_came_last(stack: Stack, upstream: RawUpstream) -> None:
    await _relay(stack, upstream, Break(STREAM_HEAD + chunk(LAST_EVENT), LAST_EVENT, True), [rst()], 0)
    [line] = await stack.log_lines()
    assert (line["ending"], line["total_tokens"], line["usage"]) == ("truncated", 12, "reported")


async def test_a_client_that_goes_on_sending_gets_the_end_all_the_same(
    stack: Stack, upstream: RawUpstream
) -> None:
    """Bytes that nobody reads make the kernel answer a close with a reset: they are read for a while."""
    upstream.answer_next([send(STREAM_HEAD + chunk(EVENT)), wait_for("cut"), close()])
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_head()
        await client.send(stack.request(bytes(200_000)))
        upstream.set("cut")
        await client.send(bytes(1000))
        await client.read_body(answer)
        assert answer.ended == "eof_without_terminator"
        assert error_event(answer.body, EVENT) == 502
    assert upstream.total_requests == 1
