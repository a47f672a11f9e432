"""The gateway's own deadlines, and its own end: what a client is told of them in each phase."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import EVENT, LAST_EVENT, STREAM_HEAD, UNARY, WHOLE, error_event, refusal
from tests.support.ports import refusing_port, silent_port
from tests.support.raw_client import RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import (
    LAST_CHUNK,
    chunk,
    keep_open,
    pause,
    resume_reading,
    send,
    stop_reading,
    wait_for,
)
from tests.support.stack import Stack
from tests.support.tls import TestCertificates

SHORT = 0.25
"""Seconds: the deadline that a test waits for."""
LATE = 2.0
"""Seconds that it may come late on a busy machine."""
MUCH = bytes(30 << 20)


async def took(stack: Stack, seconds: float = SHORT, ending: Ending = Ending.DEADLINE) -> None:
    exchange = await stack.exchange()
    assert exchange.ending is ending
    assert seconds <= exchange.ended - exchange.began < seconds + LATE


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_no_first_byte(sent: bytes, start: Start, upstream: RawUpstream) -> None:
    stack = await start(first_byte=SHORT)
    upstream.answer_next([send(sent), keep_open()])
    async with stack.client() as client:
        await client.send(stack.request())
        assert refusal(await client.read_response()) == (504, "UPSTREAM_TIMEOUT")
        await upstream.connections_open(0)
        await took(stack)
        upstream.answer_next([send(WHOLE)])
        await client.send(stack.request(action="generateContent"))
        assert (await client.read_response()).body == UNARY


async def test_the_first_byte_has_its_time_from_the_end_of_the_request(
    start: Start, upstream: RawUpstream
) -> None:
    stack = await start(first_byte=SHORT)
    upstream.answer_next([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request(b"", framing=b"Content-Length: 2", action="generateContent"))
        await upstream.request()
        for byte in b"{", b"}":
            with pytest.raises(TimeoutError):
                await client.read_some(SHORT)
            await client.send(byte)
        assert (await client.read_response()).body == UNARY


@pytest.mark.parametrize(
    ("head", "sent", "told"),
    [
        (STREAM_HEAD, [], True),
        (STREAM_HEAD, [EVENT], True),
        (STREAM_HEAD, [EVENT[:9]], False),
        (STREAM_HEAD.replace(b"text/event-stream", b"application/json"), [b"[{}"], False),
    ],
)
async def test_no_next_piece(
    head: bytes, sent: list[bytes], told: bool, start: Start, upstream: RawUpstream
) -> None:
    stack = await start(idle=SHORT)
    upstream.answer_next([send(head + b"".join(map(chunk, sent))), keep_open()])
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_response()
        assert (answer.status, answer.ended) == (200, "eof_without_terminator")
        if told:
            assert error_event(answer.body, b"".join(sent)) == 504
        else:
            assert answer.body == b"".join(sent)
        await upstream.connections_open(0)
    await took(stack)


async def test_a_stream_with_pauses_shorter_than_the_deadline_goes_on(
    start: Start, upstream: RawUpstream
) -> None:
    stack = await start(first_byte=SHORT, idle=SHORT)
    pieces = [step for _ in range(8) for step in (pause(SHORT / 2), send(chunk(EVENT)))]
    upstream.answer_next([send(STREAM_HEAD), *pieces, send(chunk(LAST_EVENT) + LAST_CHUNK)])
    async with stack.client() as client:
        await client.send(stack.request())
        assert (await client.read_response()).body == EVENT * 8 + LAST_EVENT


async def test_an_upstream_that_takes_no_more_of_the_request(start: Start, upstream: RawUpstream) -> None:
    stack = await start(idle=SHORT)
    upstream.answer_next([stop_reading(), wait_for("over"), resume_reading(), keep_open()], after_body=False)
    async with stack.client() as client:
        await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(MUCH)))
        assert await client.send_until_stalled(MUCH, quiet=0.1) < len(MUCH)
        assert refusal(await client.read_response()) == (504, "UPSTREAM_TIMEOUT")
    upstream.set("over")
    await upstream.connections_open(0)
    assert (await stack.exchange()).ending is Ending.DEADLINE


async def test_the_whole_takes_too_long(start: Start, upstream: RawUpstream) -> None:
    stack = await start(total=SHORT * 2)
    pieces = [step for _ in range(100) for step in (send(chunk(EVENT)), pause(0.05))]
    upstream.answer_next([send(STREAM_HEAD), *pieces])
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_response()
        assert answer.ended == "eof_without_terminator"
        events = answer.body.count(EVENT)
        assert events > 1
        assert error_event(answer.body, EVENT * events) == 504
        await upstream.connections_open(0)
    await took(stack, SHORT * 2)


async def test_the_whole_takes_too_long_before_its_first_byte(start: Start, upstream: RawUpstream) -> None:
    stack = await start(total=SHORT)
    upstream.answer_next([keep_open()])
    async with stack.client() as client:
        await client.send(stack.request())
        assert refusal(await client.read_response()) == (504, "UPSTREAM_TIMEOUT")
    await took(stack)


async def test_a_client_that_does_not_read(start: Start, upstream: RawUpstream) -> None:
    stack = await start(write=SHORT)
    upstream.answer_next([send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(MUCH)), send(MUCH)])
    async with stack.client(receive_buffer=4096) as client:
        await client.send(stack.request())
        await upstream.connections_open(1)
        await took(stack)
        await upstream.connections_open(0)


async def test_an_upstream_that_refuses_connections(start: Start) -> None:
    with refusing_port() as port:
        stack = await start(upstream_url=f"http://127.0.0.1:{port}")
        async with stack.client() as client:
            for _ in range(2):
                await client.send(stack.request())
                assert refusal(await client.read_response()) == (502, "UPSTREAM_FAILED")
    assert (await stack.exchange()).ending is Ending.REFUSED


async def test_an_upstream_that_does_not_accept_in_time(start: Start) -> None:
    with silent_port() as port:
        stack = await start(upstream_url=f"http://127.0.0.1:{port}", connect=SHORT)
        async with stack.client() as client:
            await client.send(stack.request())
            assert refusal(await client.read_response()) == (502, "UPSTREAM_FAILED")
    await took(stack, ending=Ending.REFUSED)


async def test_an_upstream_that_does_not_shake_hands_in_time(
    start: Start, certificates: TestCertificates
) -> None:
    with RawUpstream(tls=certificates.server.context()) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file, connect=SHORT)
        upstream.accept_next([stop_reading(), keep_open()])
        async with stack.client() as client:
            await client.send(stack.request())
            assert refusal(await client.read_response()) == (502, "UPSTREAM_FAILED")
        await upstream.connections_open(0)
        await took(stack, ending=Ending.REFUSED)


def drain(stack: Stack) -> None:
    stack.relay.cut_all()


def revoke(stack: Stack) -> None:
    stack.relay.cut({stack.token.split("_")[2]})


CUTS: dict[Callable[[Stack], None], tuple[int, str]] = {
    drain: (503, "DRAINING"),
    revoke: (401, "CREDENTIAL_INVALID"),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("whole", [True, False], ids=["whole request", "part of a request"])
async def test_cut_before_the_first_byte(
    cut: Callable[[Stack], None], whole: bool, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([keep_open()])
    async with stack.client() as client:
        await client.send(stack.request() if whole else stack.chunked_request(b"2\r\n{"))
        await upstream.request()
        cut(stack)
        assert refusal(await client.read_response()) == CUTS[cut]
        await upstream.connections_open(0)
    exchange = await stack.exchange()
    assert (exchange.ending, exchange.status, exchange.reason) == (Ending.REFUSED, *CUTS[cut])


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("sent", [b"", EVENT, EVENT[:20]], ids=["the head", "an event", "part of an event"])
async def test_cut_in_a_stream(
    cut: Callable[[Stack], None], sent: bytes, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(STREAM_HEAD + (chunk(sent) if sent else b"")), keep_open()])
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_head()
        await client.read_body(answer, len(sent))
        cut(stack)
        await client.read_body(answer)
        assert answer.ended == "eof_without_terminator"
        if sent in (b"", EVENT):
            assert error_event(answer.body, sent) == CUTS[cut][0]
        else:
            assert answer.body == sent
        await upstream.connections_open(0)
    assert (await stack.exchange()).ending is Ending.TRUNCATED


async def test_only_the_revoked_credentials_streams_are_cut(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(STREAM_HEAD), wait_for("cut"), send(chunk(LAST_EVENT) + LAST_CHUNK)])
    async with stack.client() as client:
        await client.send(stack.request())
        answer: RawResponse = await client.read_head()
        stack.relay.cut({"a" * 16})
        upstream.set("cut")
        await client.read_body(answer)
    assert (answer.body, answer.ended) == (LAST_EVENT, "complete")
